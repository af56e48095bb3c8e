//! What `scripts/ensure-control-plane`, `scripts/ensure-traefik` and `scripts/ensure-kustomize` take without building, and
//! what they say when they cannot build, on a machine that has no Go.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics has failed, as it should"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{self, Command};

/// A folder of the test's own: `bin` is all of `PATH`, `cache` is where the scripts keep what they built.
struct Machine(PathBuf);

impl Machine {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tidegate-{name}-{}", process::id()));
        fs::create_dir_all(folder.join("bin")).unwrap();
        let path = std::env::var_os("PATH").unwrap();
        for program in ["bash", "awk", "dirname"] {
            let found = std::env::split_paths(&path).find(|place| place.join(program).exists());
            symlink(found.unwrap().join(program), folder.join("bin").join(program)).unwrap();
        }
        Self(folder)
    }

    fn program(&self, path: &str, script: &str) -> String {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn control_plane(&self, folder: &str) -> String {
        for program in ["kube-apiserver", "kube-controller-manager", "kubectl", "etcd"] {
            self.program(&format!("{folder}/{program}"), "");
        }
        self.0.join(folder).to_str().unwrap().to_owned()
    }

    /// What the script prints, or what it says when it fails.
    fn ensure(&self, tool: &str, variables: &[(&str, &str)]) -> Result<String, String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("scripts/ensure-{tool}"));
        let output = Command::new(script)
            .env_clear()
            .env("PATH", self.0.join("bin"))
            .env("XDG_CACHE_HOME", self.0.join("cache"))
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        if output.status.success() {
            return Ok(printed.trim_end().to_owned());
        }
        assert_eq!(printed, "", "{tool} failed and printed a place");
        Err(said.trim_end().to_owned())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The version of a module that a wrapper module pins.
fn pinned(wrapper: &str, module: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/e2e/tools/{wrapper}/go.mod"));
    let go_mod = fs::read_to_string(path).unwrap();
    let required = go_mod
        .lines()
        .find_map(|line| line.trim().strip_prefix(&format!("{module} v")));
    required.unwrap().split(' ').next().unwrap().to_owned()
}

#[test]
fn a_control_plane_of_ones_own_is_taken_whole_or_not_at_all() {
    let machine = Machine::new("own-control-plane");
    let own = machine.control_plane("own");
    let ensure = || machine.ensure("control-plane", &[("KUBEBUILDER_ASSETS", &own)]);
    assert_eq!(ensure(), Ok(own.clone()));

    fs::remove_file(Path::new(&own).join("kubectl")).unwrap();
    fs::remove_file(Path::new(&own).join("etcd")).unwrap();
    let said = ensure().unwrap_err();
    assert!(said.contains(&format!("{own} has no kubectl etcd:")), "{said}");
}

#[test]
fn without_go_only_what_is_in_the_cache_is_taken() {
    let machine = Machine::new("no-go");
    for tool in ["control-plane", "traefik", "gateway-api"] {
        let said = machine.ensure(tool, &[]).unwrap_err();
        assert!(said.starts_with("Go 1.26.0 or newer"), "{tool}: {said}");
        assert_eq!(said.lines().count(), 1, "{tool}: {said}");
    }
    assert!(
        !machine.0.join("cache").exists(),
        "a failure leaves nothing behind"
    );

    let version = pinned("kubernetes", "k8s.io/kubernetes");
    let built = machine.control_plane(&format!("cache/tidegate/kubernetes-v{version}"));
    assert_eq!(machine.ensure("control-plane", &[]), Ok(built));
}

#[test]
fn a_traefik_of_ones_own_is_taken_when_it_knows_ingress_nginx() {
    let machine = Machine::new("own-traefik");
    let version = pinned("traefik", "github.com/traefik/traefik/v3");
    let folder = format!("cache/tidegate/traefik-v{version}");
    let built = machine.program(&format!("{folder}/traefik"), "");
    fs::create_dir(machine.0.join(&folder).join("gateway-api")).unwrap();
    assert_eq!(machine.ensure("traefik", &[]), Ok(built.clone()));

    let cases = [
        ("echo 'Version:      3.6.12'", false),
        ("echo 'Version:      3.7.0'", true),
        ("echo 'Version:      v3.10.1'", true),
        ("echo 'Version:      4.0.0'", true),
        ("echo 'Version:      2.11.0'", false),
        ("echo 'Version:      dev'", false),
        ("exit 3", false),
    ];
    for (answer, is_taken) in cases {
        let own = machine.program("bin/traefik", answer);
        let expected = if is_taken { &own } else { &built };
        assert_eq!(machine.ensure("traefik", &[]).as_ref(), Ok(expected), "{answer}");
        assert_eq!(
            machine.ensure("traefik", &[("TRAEFIK", &own)]),
            Ok(own),
            "{answer}"
        );
    }
    let said = machine
        .ensure("traefik", &[("TRAEFIK", "/nowhere/traefik")])
        .unwrap_err();
    assert!(
        said.starts_with("TRAEFIK=/nowhere/traefik is not a program"),
        "{said}"
    );
}

#[test]
fn a_kustomize_of_ones_own_is_taken_when_it_is_new_enough() {
    let machine = Machine::new("own-kustomize");
    let said = machine.ensure("kustomize", &[]).unwrap_err();
    assert!(said.starts_with("Kustomize 5 or newer is needed"), "{said}");
    for (answer, is_taken) in [
        ("echo v5.8.1", true),
        ("echo 5.0.0", true),
        ("echo v10.0.0", true),
        ("echo '{Version:kustomize/v4.5.7 GitCommit:56d8}'", false),
        ("echo '(devel)'", false),
        ("exit 3", false),
    ] {
        let own = machine.program("bin/kustomize", answer);
        assert_eq!(
            machine.ensure("kustomize", &[]).ok(),
            is_taken.then(|| own.clone()),
            "{answer}"
        );
        let named = machine.ensure("kustomize", &[("KUSTOMIZE", &own)]);
        assert_eq!(named.is_ok(), is_taken, "{answer}: {named:?}");
    }
}

//! The manifest for krew, as `scripts/krew-manifest` makes it of the archives of a release.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Output};

use serde_json::{Value, json};

const PLATFORMS: [(&str, &str); 4] = [
    ("darwin", "amd64"),
    ("darwin", "arm64"),
    ("linux", "amd64"),
    ("linux", "arm64"),
];

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Archives of a release, which hold nothing here but their name.
fn release(name: &str) -> Folder {
    let folder = Folder(std::env::temp_dir().join(format!("tidegate-krew-{name}-{}", process::id())));
    fs::create_dir_all(&folder.0).unwrap();
    for (os, arch) in PLATFORMS {
        let archive = format!("kubectl-tidegate-{os}-{arch}.tar.gz");
        fs::write(folder.0.join(&archive), &archive).unwrap();
    }
    folder
}

fn manifest(version: &str, folder: &Folder) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/krew-manifest");
    Command::new(script)
        .args([
            version,
            "https://tidegate.example",
            "https://releases.example/v1.2.3",
        ])
        .arg(&folder.0)
        .output()
        .unwrap()
}

fn sha256(text: &str) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_manifest_is_what_krew_accepts() {
    let output = manifest("v1.2.3", &release("whole"));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.replace("\"$@\"", "").contains('@'), "{text}");
    let plugin: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(
        plugin["apiVersion"],
        "krew.googlecontainertools.github.com/v1alpha2"
    );
    assert_eq!(
        (&plugin["kind"], &plugin["metadata"]["name"]),
        (&json!("Plugin"), &json!("tidegate"))
    );
    let spec = &plugin["spec"];
    assert_eq!(spec["version"], "v1.2.3");
    assert_eq!(spec["homepage"], "https://tidegate.example");
    let short = spec["shortDescription"].as_str().unwrap();
    assert!(short.len() <= 50 && !short.ends_with('.'), "{short}");
    assert!(spec["description"].is_string());

    let mut platforms = BTreeSet::new();
    for platform in spec["platforms"].as_array().unwrap() {
        let labels = &platform["selector"]["matchLabels"];
        let (os, arch) = (labels["os"].as_str().unwrap(), labels["arch"].as_str().unwrap());
        let archive = format!("kubectl-tidegate-{os}-{arch}.tar.gz");
        assert_eq!(
            platform["uri"],
            format!("https://releases.example/v1.2.3/{archive}")
        );
        assert_eq!(platform["sha256"], sha256(&archive));
        assert_eq!(platform["bin"], "kubectl-tidegate");
        let files: Vec<&str> = platform["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| file["from"].as_str().unwrap())
            .collect();
        assert_eq!(files, ["kubectl-tidegate", "LICENSE"]);
        platforms.insert((os, arch));
    }
    assert_eq!(platforms, PLATFORMS.into());
}

#[test]
fn a_release_that_is_not_whole_has_no_manifest() {
    let folder = release("part");
    fs::remove_file(folder.0.join("kubectl-tidegate-darwin-arm64.tar.gz")).unwrap();
    let output = manifest("v1.2.3", &folder);
    assert!(!output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("kubectl-tidegate-darwin-arm64.tar.gz is missing"),
        "{said}"
    );
}

#[test]
fn a_version_does_not_reach_into_the_script() {
    let output = manifest("v1#e id", &release("odd"));
    assert!(!output.status.success());
}

//! What scripts leave behind when they are interrupted.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that panics has failed, as it should"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::thread::sleep;
use std::time::Duration;

/// Stands for cargo: the simulation starts a program of its own and waits for it, the other tests take their time.
const CARGO: &str = r#"#!/bin/sh
case "$*" in
*--no-run*) ;;
*--nocapture*)
    sleep 600 &
    echo $! >"$FOLDER/simulation.new"
    mv "$FOLDER/simulation.new" "$FOLDER/simulation"
    wait
    ;;
*) exec sleep 600 ;;
esac
"#;

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn signal(signal: &str, whom: &str) -> bool {
    let kill = Command::new("kill").args([signal, "--", whom]).output();
    kill.unwrap().status.success()
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(20));
    }
    panic!("{what}");
}

#[test]
fn an_interrupted_test_run_takes_the_simulation_with_it() {
    let folder = Folder(std::env::temp_dir().join(format!("tidegate-scripts-{}", process::id())));
    fs::create_dir_all(&folder.0).unwrap();
    let cargo = folder.0.join("cargo");
    fs::write(&cargo, CARGO).unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    let mut script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/test"))
        .env("CARGO", &cargo)
        .env("FOLDER", &folder.0)
        .process_group(0)
        .spawn()
        .unwrap();
    let begun = folder.0.join("simulation");
    eventually("the simulation did not begin", || begun.exists());
    let simulation = fs::read_to_string(&begun).unwrap().trim().to_owned();
    // As a terminal does on Ctrl-C.
    assert!(signal("-INT", &format!("-{}", script.id())));
    script.wait().unwrap();
    let is_gone = || !signal("-0", &simulation);
    for _ in 0..100 {
        if is_gone() {
            return;
        }
        sleep(Duration::from_millis(20));
    }
    signal("-KILL", &simulation);
    panic!("the simulation outlived the script");
}

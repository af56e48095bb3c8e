//! A network of the tests' own. EndpointSlices refuse loopback addresses, so pods need others; in a network namespace
//! every address of [`PODS`] is this machine's and nobody else's.

use std::process::{Command, ExitCode};

/// Where pods and Traefik listen.
const PODS: &str = "10.77.0.0/16";
const INSIDE: &str = "TIDEGATE_E2E_INSIDE";

/// Runs the tests in a network of their own.
pub fn run_inside(tests: impl Future<Output = ExitCode>) -> ExitCode {
    if std::env::var_os(INSIDE).is_none() {
        return enter();
    }
    set_up();
    tidegate::providers::install_tls();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(tests)
}

/// Runs this program again, with the same arguments, in a network of its own. Whatever it starts ends with it: it is the
/// first process of a process namespace, and is killed when this one ends.
fn enter() -> ExitCode {
    // With root's rights first; else in a user namespace, where the system allows one.
    let attempts: [&[&str]; 2] = [&["--net"], &["--net", "--user", "--map-root-user"]];
    let Some(flags) = attempts.into_iter().find(|flags| works(flags)) else {
        eprintln!(
            "the end-to-end tests need a network namespace of their own and may not make one: run them as root, or \
             allow unprivileged user namespaces (Debian: sysctl kernel.unprivileged_userns_clone=1), and install \
             util-linux (unshare, setpriv) and iproute2 (ip)"
        );
        return ExitCode::FAILURE;
    };
    let program = std::env::current_exe().unwrap();
    let status = unshare(flags)
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .status()
        .unwrap();
    match status.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Makes every pod address local.
fn set_up() {
    for words in ["link set lo up", &format!("route add local {PODS} dev lo")] {
        let status = Command::new("ip").args(words.split(' ')).status().unwrap();
        assert!(status.success(), "ip {words}: {status}");
    }
}

fn works(flags: &[&str]) -> bool {
    let probe = unshare(flags).args(["ip", "link", "set", "lo", "up"]).output();
    probe.is_ok_and(|output| output.status.success())
}

fn unshare(flags: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare"]).args(flags);
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command
}

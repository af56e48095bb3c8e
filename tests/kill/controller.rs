//! The controller as a process that is killed, with SIGKILL, at moments drawn from a seed.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegate::sandbox::api_server::hooks::Interceptor;
use tidegate::sandbox::api_server::store::{Commit, Store};
use tidegate::sandbox::cluster::Cluster;
use tidegate::sandbox::rng::Rng;
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// Of a process, until it is killed by the clock.
const LONGEST_LIFE_MS: u64 = 3_000;
/// Of a process, until it is killed after a write.
const MOST_WRITES: u64 = 8;
/// A controller that has nothing to write is killed all the same.
const PATIENCE: Duration = Duration::from_secs(5);

/// The controller's commits so far, as the API server sees them, and the kind of the newest.
#[derive(Clone)]
pub struct Progress(Arc<watch::Sender<(u64, String)>>);

impl Default for Progress {
    fn default() -> Self {
        Progress(Arc::new(watch::Sender::new((0, String::new()))))
    }
}

impl Interceptor for Progress {
    fn committed(&mut self, commit: &Commit, _: &Store) {
        if commit.actor.starts_with("tidegate/") {
            self.0.send_modify(|(count, kind)| {
                *count += 1;
                kind.clone_from(&commit.kind);
            });
        }
    }
}

pub struct Killer {
    command: Command,
    child: Child,
    progress: watch::Receiver<(u64, String)>,
    rng: Rng,
    /// How often what was the last thing before a kill.
    moments: BTreeMap<String, u64>,
}

impl Killer {
    pub async fn start(cluster: &Cluster, progress: Progress, rng: Rng) -> Self {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let kubeconfig = directory.join(format!("kill-kubeconfig-{}", cluster.http.address.port()));
        cluster.http.write_kubeconfig(&kubeconfig).await.unwrap();
        let mut command = controller(&kubeconfig, &cluster.prometheus.url());
        command.stderr(File::create(directory.join("kill-controller.log")).unwrap());
        let child = spawn(&mut command);
        Killer {
            command,
            child,
            progress: progress.0.subscribe(),
            rng,
            moments: BTreeMap::new(),
        }
    }

    /// Lets the controller live for some time or for some writes, kills it and starts the next one. Killed right
    /// after a write it has often not heard of its success.
    pub async fn kill_at_some_moment(&mut self) {
        let moment = if self.rng.chance(0.5) {
            let life = Duration::from_millis(self.rng.below(LONGEST_LIFE_MS));
            tokio::time::sleep(life).await;
            "some time".to_owned()
        } else {
            let wanted = self.progress.borrow().0 + 1 + self.rng.below(MOST_WRITES);
            let written = self.progress.wait_for(|(count, _)| *count >= wanted);
            match tokio::time::timeout(PATIENCE, written).await {
                Ok(newest) => format!("a write of {}", newest.unwrap().1),
                Err(_) => "nothing to write".to_owned(),
            }
        };
        // A controller that ended by itself is a failure of its own.
        assert_eq!(self.child.try_wait().unwrap(), None, "see kill-controller.log");
        self.child.kill().await.unwrap();
        *self.moments.entry(moment).or_default() += 1;
        self.child = spawn(&mut self.command);
    }

    pub fn moments(&self) -> String {
        format!("killed after {:?}", self.moments)
    }
}

fn controller(kubeconfig: &Path, prometheus_url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command
        .arg("controller")
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(["--prometheus-url", prometheus_url, "--allow-loopback-metrics"])
        // The next one is to act at once, not when the lease of the killed one has run out.
        .args(["--metrics-address", "127.0.0.1:0", "--leader-elect=false"])
        .kill_on_drop(true);
    command
}

fn spawn(command: &mut Command) -> Child {
    command.spawn().unwrap()
}

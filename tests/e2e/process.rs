//! A process of the tests: its log in a file, killed when it is dropped.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tidegate::clock::Stopwatch;
use tokio::process::{Child, Command};

const POLL: Duration = Duration::from_millis(50);

/// An empty folder for logs; those of the run before go.
pub fn log_folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // There may be none.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts a program; what it says goes to `<directory>/<name>.log`.
    pub fn start<A: AsRef<OsStr>>(
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        variables: &[(&str, &Path)],
        directory: &Path,
    ) -> Self {
        let log = directory.join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .envs(variables.iter().copied())
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        Process {
            name: name.to_owned(),
            log,
            child,
        }
    }

    /// Waits until it is `ready`, which it has to become within a minute.
    pub async fn await_ready<F: Future<Output = bool>>(&mut self, ready: impl Fn() -> F) {
        let stopwatch = Stopwatch::start();
        while !ready().await {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && stopwatch.elapsed() < Duration::from_secs(60),
                "{} is not ready ({ended:?}): {}",
                self.name,
                self.last_words()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// SIGKILL.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM; waits until it has ended.
    pub async fn terminate(mut self) {
        let id = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().await.unwrap();
        assert!(sent.success());
        let ended = self.child.wait().await.unwrap();
        assert!(ended.success(), "{}: {ended}: {}", self.name, self.last_words());
    }

    /// Stops it without its noticing, or lets it go on.
    pub async fn freeze(&self, frozen: bool) {
        let signal = if frozen { "-STOP" } else { "-CONT" };
        let id = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().await.unwrap();
        assert!(sent.success());
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

//! A server that is a process of its own, such as Prometheus: started on a free port with a directory for its files, and
//! gone, with them, when dropped.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::process::{Child, Command};

const READY_WITHIN: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(50);
/// How long a killed process may take to be gone before its directory is left behind.
const GONE_POLLS: u32 = 100;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{program} was not found: {remedy}")]
    Missing { program: String, remedy: &'static str },
    #[error("cannot {verb} {}", path.display())]
    File {
        verb: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("no free port on 127.0.0.1 for {0}")]
    Port(&'static str, #[source] io::Error),
    #[error("{name} did not become ready: {log}")]
    NotReady { name: &'static str, log: String },
}

/// Which program, and what to do where there is none.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Of the server, for people.
    pub name: &'static str,
    /// Names on PATH, the first that is there; at least one.
    pub candidates: &'static [&'static str],
    /// Names another executable.
    pub variable: &'static str,
    pub remedy: &'static str,
}

impl Program {
    fn find(&self) -> String {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let is_there = |name: &&&str| std::env::split_paths(&path).any(|place| place.join(name).is_file());
        let on_path = || self.candidates.iter().find(is_there).or(self.candidates.first());
        std::env::var(self.variable).unwrap_or_else(|_| on_path().copied().unwrap_or_default().to_owned())
    }
}

pub struct Process {
    name: &'static str,
    address: SocketAddr,
    directory: PathBuf,
    child: Child,
}

impl Process {
    /// Starts it and waits until it says that it is ready. `prepare` writes its files into the directory and says with
    /// which arguments it listens on the address.
    pub async fn start(
        program: Program,
        prepare: impl FnOnce(&Path, SocketAddr) -> Result<Vec<String>, Error>,
    ) -> Result<Self, Error> {
        let name = program.name;
        let address = free_address().map_err(|source| Error::Port(name, source))?;
        let directory = format!("tidegate-{name}-{}-{}", std::process::id(), address.port());
        let directory = std::env::temp_dir().join(directory.to_lowercase());
        std::fs::create_dir_all(&directory).map_err(file_error("create", &directory))?;
        let launched =
            prepare(&directory, address).and_then(|arguments| launch(program, &directory, &arguments));
        let child = launched.inspect_err(|_| drop(std::fs::remove_dir_all(&directory)))?;
        let mut process = Process {
            name,
            address,
            directory,
            child,
        };
        process.wait_until_ready().await?;
        Ok(process)
    }

    /// The base of its HTTP API.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    async fn wait_until_ready(&mut self) -> Result<(), Error> {
        let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let Ok(uri) = format!("{}/-/ready", self.url()).parse::<http::Uri>() else {
            return Err(self.not_ready());
        };
        let poll = async {
            loop {
                let answer = client.get(uri.clone()).await;
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    return true;
                }
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return false;
                }
                tokio::time::sleep(READY_POLL).await;
            }
        };
        match tokio::time::timeout(READY_WITHIN, poll).await {
            Ok(true) => Ok(()),
            _ => Err(self.not_ready()),
        }
    }

    /// Its last words.
    fn not_ready(&self) -> Error {
        let log = std::fs::read_to_string(log_file(&self.directory)).unwrap_or_default();
        Error::NotReady {
            name: self.name,
            log: log.lines().last().unwrap_or("it said nothing").to_owned(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        for _ in 0..GONE_POLLS {
            if !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn launch(program: Program, directory: &Path, arguments: &[String]) -> Result<Child, Error> {
    let log_path = log_file(directory);
    let log = std::fs::File::create(&log_path).map_err(file_error("create", &log_path))?;
    let executable = program.find();
    Command::new(&executable)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::Missing {
                program: executable,
                remedy: program.remedy,
            },
            _ => Error::File {
                verb: "run",
                path: executable.into(),
                source,
            },
        })
}

fn log_file(directory: &Path) -> PathBuf {
    directory.join("log")
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Writes a file of the process.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Error> {
    std::fs::write(path, content).map_err(file_error("write", path))
}

pub fn file_error(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { verb, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_program_is_told_in_one_line_with_the_remedy() {
        let program = Program {
            name: "None",
            candidates: &["no-such-program"],
            variable: "TIDEGATE_NO_SUCH_PROGRAM",
            remedy: "install it",
        };
        let mut made = None;
        let error = Process::start(program, |directory, _| {
            made = Some(directory.to_owned());
            Ok(vec![])
        });
        let message = error.await.err().unwrap().to_string();
        assert_eq!(message, "no-such-program was not found: install it");
        assert!(!made.unwrap().exists(), "nothing is left behind");
    }
}

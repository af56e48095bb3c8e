//! Files that are read again when they change. They are looked at, not watched: a Secret that is mounted changes by a
//! link being put in another's place, and a look every few seconds costs nothing.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use thiserror::Error;

use crate::controllers::metrics::Metrics;

const LOOK_EVERY: Duration = Duration::from_secs(5);
const MAX_FILE_BYTES: u64 = 1_048_576;

#[derive(Debug, Error)]
pub enum FileError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is longer than {MAX_FILE_BYTES} bytes", path.display())]
    TooLong { path: PathBuf },
    #[error("{} cannot be used: {problem}", path.display())]
    Content { path: PathBuf, problem: String },
}

type Parse<T> = fn(&[Vec<u8>]) -> Result<T, String>;

/// What some files say together, as of the last time that they could be used.
pub struct Followed<T> {
    /// For people and metrics.
    name: &'static str,
    paths: Arc<[PathBuf]>,
    parse: Parse<T>,
    current: Arc<RwLock<Arc<T>>>,
    contents: Vec<Vec<u8>>,
}

impl<T> Clone for Followed<T> {
    fn clone(&self) -> Self {
        Followed {
            name: self.name,
            paths: Arc::clone(&self.paths),
            parse: self.parse,
            current: Arc::clone(&self.current),
            contents: self.contents.clone(),
        }
    }
}

impl<T> Followed<T> {
    pub fn read(name: &'static str, paths: Vec<PathBuf>, parse: Parse<T>) -> Result<Self, FileError> {
        let contents = read_all(&paths)?;
        let parsed = parse_all(&paths, &contents, parse)?;
        Ok(Followed {
            name,
            paths: paths.into(),
            parse,
            current: Arc::new(RwLock::new(Arc::new(parsed))),
            contents,
        })
    }

    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether there is something new; an error leaves everything as it was, and is told once for each change.
    fn look(&mut self) -> Result<bool, FileError> {
        let contents = read_all(&self.paths)?;
        if contents == self.contents {
            return Ok(false);
        }
        self.contents = contents;
        let parsed = parse_all(&self.paths, &self.contents, self.parse)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(parsed);
        Ok(true)
    }
}

/// Keeps up with the files until dropped.
pub async fn follow<T>(mut files: Followed<T>, metrics: &Metrics) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match files.look() {
            Ok(false) => {}
            Ok(true) => {
                metrics.alerts.count_reload(files.name, "ok");
                tracing::info!(files = files.name, "the alert receiver goes by new files");
            }
            Err(error) => {
                metrics.alerts.count_reload(files.name, "error");
                tracing::error!(files = files.name, error = %crate::api::failure::with_causes(&error),
                    "the alert receiver goes on with what the files said before");
            }
        }
    }
}

fn read_all(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, FileError> {
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_FILE_BYTES {
        return Err(FileError::TooLong {
            path: path.to_owned(),
        });
    }
    std::fs::read(path).map_err(failed)
}

fn parse_all<T>(paths: &[PathBuf], contents: &[Vec<u8>], parse: Parse<T>) -> Result<T, FileError> {
    parse(contents).map_err(|problem| FileError::Content {
        path: paths.first().cloned().unwrap_or_default(),
        problem,
    })
}

//! `tidegate crds`: the CustomResourceDefinitions as YAML, to standard output or one file each.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::api::crd::{self, CrdError};

#[derive(Debug, Error)]
pub enum CrdsError {
    #[error("cannot make the CustomResourceDefinitions")]
    Make(#[from] CrdError),
    #[error("cannot write {path}")]
    Write { path: String, source: io::Error },
}

/// Writes `<out>/<plural>.yaml`, or one stream of documents without `out`.
pub fn run(out: Option<PathBuf>) -> Result<(), CrdsError> {
    match out {
        Some(directory) => write_files(&directory),
        None => write_stream(),
    }
}

fn write_files(directory: &Path) -> Result<(), CrdsError> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |source| CrdsError::Write { path, source }
    };
    std::fs::create_dir_all(directory).map_err(failed(directory))?;
    for crd in crd::all()? {
        let path = directory.join(format!("{}.yaml", crd::plural_of(&crd)));
        std::fs::write(&path, crd::to_yaml(&crd)?).map_err(failed(&path))?;
    }
    Ok(())
}

fn write_stream() -> Result<(), CrdsError> {
    let mut documents = String::new();
    for crd in crd::all()? {
        documents.push_str("---\n");
        documents.push_str(&crd::to_yaml(&crd)?);
    }
    match io::stdout().lock().write_all(documents.as_bytes()) {
        // `tidegate crds | head` is no error.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|source| CrdsError::Write {
            path: "standard output".to_owned(),
            source,
        }),
    }
}

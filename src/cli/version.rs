//! `version`: of the plugin and of the API it speaks.

use serde::Serialize;

use super::error::{CliError, Exit};
use super::output::Output;
use super::plugin::Format;
use crate::api::names::API_VERSION;

#[derive(Clone, Debug, clap::Args)]
pub struct VersionArgs {
    /// Output format
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    plugin: &'static str,
    api_version: &'static str,
}

pub fn run(args: &VersionArgs, out: &mut Output) -> Result<Exit, CliError> {
    let version = Version {
        plugin: env!("CARGO_PKG_VERSION"),
        api_version: API_VERSION,
    };
    match args.output {
        Some(Format::Json) => out.json(&version)?,
        Some(Format::Yaml) => out.yaml(&version)?,
        _ => out.line(format!(
            "kubectl-tidegate {} ({})",
            version.plugin, version.api_version
        ))?,
    }
    Ok(Exit::Ok)
}

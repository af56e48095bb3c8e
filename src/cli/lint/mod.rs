//! x
use super::error::{CliError, Exit};
use super::output::Output;
#[derive(Clone, Debug, clap::Args)]
pub struct LintArgs {}
pub fn run(_: &LintArgs, _: &mut Output) -> Result<Exit, CliError> {
    Ok(Exit::Ok)
}

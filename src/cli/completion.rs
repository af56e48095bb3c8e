//! `completion`: the shell's script, made from the same definitions that parse the command line.

use clap::CommandFactory;
use clap_complete::Shell;

use super::error::{CliError, Exit};
use super::output::Output;
use super::plugin::Plugin;

#[derive(Clone, Debug, clap::Args)]
pub struct CompletionArgs {
    #[arg(value_enum)]
    pub shell: Shell,
}

pub fn run(args: &CompletionArgs, out: &mut Output) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(
        args.shell,
        &mut Plugin::command(),
        "kubectl-tidegate",
        &mut script,
    );
    out.text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}

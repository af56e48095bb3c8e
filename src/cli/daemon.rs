//! The command line of `tidegate`: the controller and what belongs to it.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{OsStr, Resettable};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

#[cfg(feature = "sandbox")]
use super::demo;
use super::{controller, crds};
use crate::api::failure::with_causes;

#[derive(Parser)]
#[command(name = "tidegate", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the controller against a cluster.
    Controller(Box<controller::ControllerArguments>),
    /// Watch five releases of a small shop, on a cluster in this process.
    #[cfg(feature = "sandbox")]
    Demo(demo::DemoArguments),
    /// Print the CustomResourceDefinitions, or write one file each.
    Crds {
        /// Directory for the files.
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

/// The whole program, on the process's own arguments and streams.
pub fn main() -> ExitCode {
    let ended: Result<(), Box<dyn Error>> = match parse().command {
        Command::Controller(arguments) => controller::run(*arguments).map_err(Into::into),
        #[cfg(feature = "sandbox")]
        Command::Demo(arguments) => demo::run(arguments).map_err(Into::into),
        Command::Crds { out } => crds::run(out).map_err(Into::into),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {}", with_causes(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// A manifest that leaves a variable empty means that it is not set.
fn parse() -> Arguments {
    let ignore_empty = |argument: clap::Arg| {
        let value = argument.get_env().and_then(std::env::var_os);
        match value.is_some_and(|value| value.is_empty()) {
            true => argument.env(Resettable::<OsStr>::Reset),
            false => argument,
        }
    };
    let command = Arguments::command().mut_subcommands(|subcommand| subcommand.mut_args(ignore_empty));
    Arguments::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

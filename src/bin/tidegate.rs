//! `tidegate`: the controller and what belongs to it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tidegate::cli::{controller, crds};

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the controller against a cluster.
    Controller(controller::ControllerArguments),
    /// Print the CustomResourceDefinitions, or write one file each.
    Crds {
        /// Directory for the files.
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let ended: Result<(), Box<dyn std::error::Error>> = match Arguments::parse().command {
        Command::Controller(arguments) => controller::run(arguments).map_err(Into::into),
        Command::Crds { out } => crds::run(out).map_err(Into::into),
    };
    let Err(error) = ended else {
        return ExitCode::SUCCESS;
    };
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    eprintln!(
        "Error: {}",
        causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
    );
    ExitCode::FAILURE
}

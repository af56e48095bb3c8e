//! `explain`: why a Rollout is where it is, what comes next and when.

use super::error::{CliError, Exit};
use super::output::Output;
use super::plugin::Format;
use super::session::Session;
use super::target::RolloutName;
use crate::view::age::Moments;
use crate::view::explain::explain;

#[derive(Clone, Debug, clap::Args)]
pub struct ExplainArgs {
    /// NAME or rollout/NAME
    pub name: RolloutName,
    /// Output format
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
}

pub async fn run(args: &ExplainArgs, session: &Session, out: &mut Output) -> Result<Exit, CliError> {
    let objects = session.get_objects(&args.name).await?;
    let moments = match args.output {
        Some(Format::Json | Format::Yaml) => Moments::Absolute,
        _ => Moments::Spans {
            now: session.clock.now(),
        },
    };
    let explanation = explain(&objects, moments);
    match args.output {
        Some(Format::Json) => out.json(&explanation)?,
        Some(Format::Yaml) => out.yaml(&explanation)?,
        Some(Format::Name) => out.line(args.name.qualified())?,
        Some(Format::Wide) => out.lines(explanation.render(None))?,
        None => out.lines(explanation.render(out.screen.width))?,
    }
    Ok(Exit::Ok)
}

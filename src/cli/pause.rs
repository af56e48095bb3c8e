//! `pause` and `resume`: `spec.paused`, which stops advancing and nothing else.

use serde_json::json;

use super::command::{out_object, out_unchanged};
use super::error::{CliError, Exit};
use super::output::Output;
use super::plugin::Format;
use super::session::Session;
use super::target::RolloutName;

#[derive(Clone, Debug, clap::Args)]
pub struct PauseArgs {
    /// NAME or rollout/NAME
    pub name: RolloutName,
    /// Output format
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
}

/// Sets `spec.paused` to `paused`; says so when it is so already.
pub async fn run(
    paused: bool,
    args: &PauseArgs,
    session: &Session,
    out: &mut Output,
) -> Result<Exit, CliError> {
    let rollout = session.get_rollout(&args.name).await?;
    let name = args.name.qualified();
    let done = if paused { "paused" } else { "resumed" };
    if rollout.spec.paused.unwrap_or(false) == paused {
        let state = if paused { "paused already" } else { "not paused" };
        return out_unchanged(out, args.output, &rollout, &name, &format!("it is {state}"));
    }
    // The uid keeps the edit from an object of the same name made anew; the status may change meanwhile.
    let operations = json!([
        {"op": "test", "path": "/metadata/uid", "value": rollout.metadata.uid},
        {"op": "add", "path": "/spec/paused", "value": paused},
    ]);
    let patched = session.patch_rollout(&args.name, operations).await?;
    match args.output {
        Some(format) => out_object(out, format, &patched, &name),
        None => {
            out.line(format!("{name} {done}"))?;
            Ok(Exit::Ok)
        }
    }
}

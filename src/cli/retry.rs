//! `retry`: start an aborted revision again from its first step.

use super::command::{Decision, Standing, carry_out};
use super::error::{CliError, Exit};
use super::output::Output;
use super::plugin::Format;
use super::session::Session;
use super::target::RolloutName;
use crate::api::rollout_command::Verb;

#[derive(Clone, Debug, clap::Args)]
pub struct RetryArgs {
    /// NAME or rollout/NAME
    pub name: RolloutName,
    /// Why; kept in the Rollout's history
    #[arg(long)]
    pub reason: Option<String>,
    /// Output format
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
}

pub async fn run(args: &RetryArgs, session: &Session, out: &mut Output) -> Result<Exit, CliError> {
    let rollout = session.get_rollout(&args.name).await?;
    let decision = decide(&Standing::of(&rollout), args.reason.clone())?;
    carry_out(session, &args.name, &rollout, decision, args.output, out).await
}

pub fn decide(standing: &Standing, reason: Option<String>) -> Result<Decision, CliError> {
    standing.require_fresh()?;
    standing.require_revision()?;
    match standing.status.abort {
        true => Ok(Decision::Send(standing.ask(Verb::Retry, reason))),
        false => Err(CliError::Refused(format!(
            "{} of {} is not aborted: nothing to retry",
            standing.revision_text(),
            standing.name
        ))),
    }
}

//! `abort`: all traffic back to stable. The precondition is the revision alone: a step that ends while the command is on
//! its way is no reason to let a bad version go on.

use super::command::{Decision, Standing, carry_out};
use super::error::{CliError, Exit};
use super::output::Output;
use super::plugin::Format;
use super::session::Session;
use super::target::RolloutName;
use crate::api::names::Weight;
use crate::api::rollout_command::{Expectation, RolloutCommandSpec, Verb};

#[derive(Clone, Debug, clap::Args)]
pub struct AbortArgs {
    /// NAME or rollout/NAME
    pub name: RolloutName,
    /// Why; kept in the Rollout's history
    #[arg(long)]
    pub reason: Option<String>,
    /// Output format
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
}

pub async fn run(args: &AbortArgs, session: &Session, out: &mut Output) -> Result<Exit, CliError> {
    let rollout = session.get_rollout(&args.name).await?;
    let decision = decide(&Standing::of(&rollout), args.reason.clone());
    carry_out(session, &args.name, &rollout, decision, args.output, out).await
}

pub fn decide(standing: &Standing, reason: Option<String>) -> Decision {
    // While the controller lags behind the spec nothing can be told from the status: ask it, without a precondition.
    if standing.stale {
        return Decision::Send(RolloutCommandSpec {
            expect: None,
            ..standing.ask(Verb::Abort, reason)
        });
    }
    if standing.status.abort {
        let why = standing
            .status
            .abort_reason
            .as_ref()
            .map(|abort| format!(": {}", abort.reason));
        return Decision::Nothing(format!(
            "{} is aborted already{}",
            standing.revision_text(),
            why.unwrap_or_default()
        ));
    }
    if standing.is_first_deploy() {
        return Decision::Nothing(format!(
            "{} is the first, there is no stable version to go back to",
            standing.revision_text()
        ));
    }
    let weight = standing.canary_weight().filter(|weight| *weight > Weight::ZERO);
    if let (false, Some(weight)) = (standing.in_progress, weight) {
        return Decision::Nothing(format!(
            "the traffic goes back to stable already, {} is wanted and the weight was {weight} when last seen",
            standing.revision_text()
        ));
    }
    if !standing.in_progress {
        return Decision::Nothing(format!(
            "nothing is in progress, {} serves all traffic",
            standing.revision_text()
        ));
    }
    let expect = Expectation {
        revision: standing.status.revision,
        step: None,
    };
    Decision::Send(RolloutCommandSpec {
        expect: Some(expect),
        ..standing.ask(Verb::Abort, reason)
    })
}

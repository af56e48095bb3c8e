//! `promote`: end the pause or skip the running step; with `--full` skip everything that is left.

use super::command::{Decision, Standing, carry_out};
use super::error::{CliError, Exit};
use super::output::Output;
use super::plugin::Format;
use super::session::Session;
use super::target::RolloutName;
use crate::api::analysis_run::Verdict;
use crate::api::rollout_command::{RolloutCommandSpec, Verb};

#[derive(Clone, Debug, clap::Args)]
pub struct PromoteArgs {
    /// NAME or rollout/NAME
    pub name: RolloutName,
    /// Skip all remaining steps and analyses
    #[arg(long)]
    pub full: bool,
    /// Promote fully although an analysis failed or could not decide
    #[arg(long, requires_all = ["full", "reason"])]
    pub force: bool,
    /// Why; kept in the Rollout's history
    #[arg(long)]
    pub reason: Option<String>,
    /// Output format
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
}

pub async fn run(args: &PromoteArgs, session: &Session, out: &mut Output) -> Result<Exit, CliError> {
    let rollout = session.get_rollout(&args.name).await?;
    let decision = decide(&Standing::of(&rollout), args)?;
    carry_out(session, &args.name, &rollout, decision, args.output, out).await
}

pub fn decide(standing: &Standing, args: &PromoteArgs) -> Result<Decision, CliError> {
    let name = &standing.name;
    standing.require_fresh()?;
    standing.require_revision()?;
    if standing.status.abort {
        return Err(CliError::Refused(format!(
            "{} of {name} is aborted and cannot be promoted; `kubectl tidegate retry {name}` starts it again",
            standing.revision_text()
        )));
    }
    if standing.is_first_deploy() {
        return Ok(Decision::Nothing(format!(
            "{} is the first and becomes stable without steps",
            standing.revision_text()
        )));
    }
    if !standing.in_progress {
        return Ok(Decision::Nothing(format!(
            "{} is promoted already",
            standing.revision_text()
        )));
    }
    if standing.status.promotion.is_some() && standing.status.pause_conditions.is_empty() {
        return Ok(Decision::Nothing(format!(
            "{} has done its steps and is being promoted",
            standing.revision_text()
        )));
    }
    if standing.spec_paused {
        return Err(CliError::Refused(format!(
            "{name} is paused by spec.paused and goes nowhere; `kubectl tidegate resume {name}` first"
        )));
    }
    let bad = bad_verdict(standing);
    if let (true, false, Some((run, verdict))) = (args.full, args.force, bad) {
        return Err(CliError::Refused(format!(
            "analysis {run} is {verdict:?}; to promote {name} all the same: --full --force --reason=…"
        )));
    }
    let verb = if args.full {
        Verb::PromoteFull
    } else {
        Verb::Promote
    };
    Ok(Decision::Send(RolloutCommandSpec {
        force: args.force,
        ..standing.ask(verb, args.reason.clone())
    }))
}

/// Of the analyses that are open: those are what the controller asks about, too.
fn bad_verdict(standing: &Standing) -> Option<(&str, Verdict)> {
    let canary = &standing.status.canary;
    let runs = [
        &canary.current_step_analysis_run_status,
        &canary.current_background_analysis_run_status,
    ];
    runs.into_iter()
        .flatten()
        .map(|run| (run.name.as_str(), run.status))
        .find(|(_, verdict)| *verdict >= Verdict::Inconclusive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::names::{PodTemplateHash, Revision};
    use crate::api::rollout_status::RolloutStatus;

    fn decide_full(spec_paused: bool) -> Result<Decision, CliError> {
        let status = RolloutStatus {
            stable_rs: Some(PodTemplateHash("5d4".to_owned())),
            verdict: Some(Verdict::Failed),
            revision: Some(Revision(2)),
            ..RolloutStatus::default()
        };
        let standing = Standing {
            name: "checkout".to_owned(),
            status,
            spec_paused,
            stale: false,
            in_progress: true,
        };
        let args = PromoteArgs {
            name: "checkout".parse().unwrap(),
            full: true,
            force: false,
            reason: None,
            output: None,
        };
        decide(&standing, &args)
    }

    /// The controller asks the open analyses alone, and a verdict of the revision before may still stand there.
    #[test]
    fn a_verdict_without_an_open_analysis_refuses_nothing() {
        assert!(matches!(decide_full(false), Ok(Decision::Send(_))));
    }

    #[test]
    fn nothing_is_promoted_while_it_is_paused() {
        assert!(matches!(decide_full(true), Err(CliError::Refused(_))));
    }
}

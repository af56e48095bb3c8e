//! `status`: follow a release to its end and tell the end by the exit code. A pause that ends by itself is waited
//! out; one that needs a person ends the command.

use std::time::Duration as StdDuration;

use chrono::{DateTime, TimeDelta, Utc};

use super::error::{CliError, Exit};
use super::output::Output;
use super::patience::{self, Patience};
use super::session::Session;
use super::target::RolloutName;
use crate::api::duration::Duration;
use crate::api::rollout_status::Phase;
use crate::view::model::InvalidView;
use crate::view::table::without_controls;
use crate::view::tree::{describe_step, describe_weight};
use crate::view::{Objects, RolloutView, build};

const POLL: StdDuration = StdDuration::from_millis(500);
/// How long something may be missing before it is taken for the end.
const INCOMPLETE: TimeDelta = TimeDelta::seconds(15);

#[derive(Clone, Debug, clap::Args)]
pub struct StatusArgs {
    /// NAME or rollout/NAME
    pub name: RolloutName,
    /// Give up after this long (exit code 124): 30s, 5m, 1h30m; 0s looks once
    #[arg(short, long, value_parser = Duration::parse)]
    pub timeout: Option<Duration>,
}

pub async fn run(args: &StatusArgs, session: &Session, out: &mut Output) -> Result<Exit, CliError> {
    let mut said = String::new();
    let Some(limit) = args.timeout else {
        return follow(args, session, &mut said, out).await;
    };
    if limit.is_zero() {
        let ended = look(args, session, &mut said, out).await?;
        return Ok(ended.unwrap_or(Exit::Timeout));
    }
    let millis = u64::try_from(limit.as_millis()).unwrap_or_default();
    let followed = tokio::time::timeout(
        StdDuration::from_millis(millis),
        follow(args, session, &mut said, out),
    );
    match followed.await {
        Ok(ended) => ended,
        Err(_) => {
            out.note(format!(
                "error: timed out after {limit}: {} is not done",
                args.name
            ));
            Ok(Exit::Timeout)
        }
    }
}

async fn follow(
    args: &StatusArgs,
    session: &Session,
    said: &mut String,
    out: &mut Output,
) -> Result<Exit, CliError> {
    // With --timeout that is what ends the waiting.
    let limit = args.timeout.is_none().then_some(patience::DEFAULT);
    let mut patience = Patience::new(limit);
    loop {
        match look(args, session, said, out).await {
            Ok(Some(exit)) => return Ok(exit),
            Ok(None) => {
                patience.restore();
                tokio::time::sleep(POLL).await;
            }
            Err(failure) => patience.bear(failure, out).await?,
        }
    }
}

/// Prints what is new; the exit code once the release stands still.
async fn look(
    args: &StatusArgs,
    session: &Session,
    said: &mut String,
    out: &mut Output,
) -> Result<Option<Exit>, CliError> {
    let view = build(&Objects::alone(session.get_rollout(&args.name).await?));
    let line = describe(&view);
    if line != *said {
        out.line(&line)?;
        *said = line;
    }
    Ok(outcome(&view, session.clock.now()))
}

fn describe(view: &RolloutView) -> String {
    if view.stale {
        return format!("{}: waiting for the controller to see the newest spec", view.name);
    }
    let revision = view
        .revision
        .map(|revision| format!(" revision {revision},"))
        .unwrap_or_default();
    let message = view
        .message
        .as_ref()
        .map(|message| format!(": {}", without_controls(message)))
        .unwrap_or_default();
    format!(
        "{:?}:{revision} {}, weight {}{message}",
        view.phase,
        describe_step(view),
        describe_weight(view)
    )
}

/// Nothing while the release may still move by itself.
pub fn outcome(view: &RolloutView, now: DateTime<Utc>) -> Option<Exit> {
    match view.phase {
        _ if view.stale || is_just_incomplete(view, now) => None,
        Phase::Healthy => Some(Exit::Ok),
        Phase::Degraded => Some(Exit::Degraded),
        Phase::Paused if view.waits_for_a_person() => Some(Exit::Paused),
        Phase::Paused | Phase::Progressing => None,
    }
}

/// What belongs together is applied one after another: a Service that is missing may come in a moment.
fn is_just_incomplete(view: &RolloutView, now: DateTime<Utc>) -> bool {
    let is_missing = |invalid: &InvalidView| invalid.reason.ends_with("NotFound");
    let waiting = view.waiting_on.as_ref();
    view.invalid.as_ref().is_some_and(is_missing)
        && waiting.is_some_and(|waiting| (now - waiting.since).abs() < INCOMPLETE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::rollout_status::{WaitingOn, WaitingReason};

    fn view(phase: Phase, waiting: Option<WaitingReason>) -> RolloutView {
        let since = chrono::DateTime::UNIX_EPOCH;
        let on = |reason| WaitingOn {
            reason,
            message: String::new(),
            since,
            until: None,
        };
        RolloutView {
            phase,
            waiting_on: waiting.map(on),
            ..RolloutView::default()
        }
    }

    #[test]
    fn exit_codes_of_api_md() {
        for (phase, waiting, exit) in [
            (Phase::Healthy, None, Some(0)),
            (Phase::Degraded, None, Some(2)),
            (Phase::Degraded, Some(WaitingReason::Invalid), Some(2)),
            (Phase::Paused, Some(WaitingReason::Promotion), Some(3)),
            (Phase::Paused, Some(WaitingReason::SpecPaused), Some(3)),
            (Phase::Paused, Some(WaitingReason::InconclusiveAnalysis), Some(3)),
            (Phase::Paused, Some(WaitingReason::ScaledToZero), Some(3)),
            (Phase::Paused, Some(WaitingReason::RouteContended), Some(3)),
            (Phase::Paused, Some(WaitingReason::PauseDuration), None),
            (Phase::Paused, Some(WaitingReason::CanaryPods), None),
            (Phase::Paused, Some(WaitingReason::OldPods), None),
            (Phase::Paused, None, None),
            (Phase::Progressing, Some(WaitingReason::Analysis), None),
        ] {
            assert_eq!(
                outcome(&view(phase, waiting), later(60)).map(Exit::code),
                exit,
                "{phase:?} {waiting:?}"
            );
        }
    }

    #[test]
    fn a_stale_status_ends_nothing() {
        let stale = RolloutView {
            stale: true,
            ..view(Phase::Healthy, None)
        };
        assert_eq!(outcome(&stale, later(60)), None);
    }

    fn later(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    #[test]
    fn what_is_missing_may_come_in_a_moment() {
        let degraded = Some(Exit::Degraded);
        for (reason, seconds, ended) in [
            ("ServiceNotFound", 14, None),
            ("ServiceNotFound", 16, degraded),
            ("ServiceNotFound", -60, degraded),
            ("InvalidSpec", 1, degraded),
        ] {
            let mut incomplete = view(Phase::Degraded, Some(WaitingReason::Invalid));
            incomplete.invalid = Some(InvalidView {
                reason: reason.to_owned(),
                message: String::new(),
            });
            assert_eq!(outcome(&incomplete, later(seconds)), ended, "{reason} {seconds}");
        }
    }
}

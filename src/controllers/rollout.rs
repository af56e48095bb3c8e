//! One turn for one Rollout: observe, plan, apply, report.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::context::{Context, Next};
use crate::api::resource::{ObjectKey, Resource, metadata_text};
use crate::api::rollout_command::RolloutCommand;
use crate::api::rollout_status::{AbortReason, AbortSource, RolloutStatus};
use crate::api::time::from_meta;
use crate::apply::problem::{self, Problem};
use crate::apply::{self, Applied, ApplyError};
use crate::client::Failure;
use crate::observe::rollout::Observed;
use crate::observe::{GOOD_FOR, ObserveError};
use crate::plan::command::plan_unaddressed;
use crate::plan::event::Regarding;
use crate::plan::model::Plan;
use crate::plan::snapshot::Snapshot;
use crate::plan::witness;

/// How long a write that was refused is left alone.
const REFUSED_RETRY: TimeDelta = TimeDelta::minutes(5);

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReconcileError {
    #[error("cannot observe")]
    Observe(#[from] ObserveError),
    #[error("cannot apply")]
    Apply(#[from] ApplyError),
    #[error("no longer the leader")]
    CutOff,
}

impl ReconcileError {
    /// Bounded, for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            ReconcileError::Observe(ObserveError::Read { source, .. }) => source.category(),
            ReconcileError::Observe(ObserveError::Undecodable { .. }) => "undecodable",
            ReconcileError::Apply(error) => error.source.category(),
            ReconcileError::CutOff => Failure::NotLeader.category(),
        }
    }
}

/// Our own writes come back as changes until the plan is empty.
pub async fn reconcile_rollout(context: &Context, key: &ObjectKey) -> Result<Next, ReconcileError> {
    let now = context.clock.now();
    if context.is_of_others(key).await? {
        return Ok(leave(context, key));
    }
    let observed = match context.observer.observe_rollout(key, now).await {
        Err(error) if is_refused(&error) => return refuse(context, key, error).await,
        observed => observed?,
    };
    let Some(mut observed) = observed else {
        forget(context, key);
        return refuse_commands(context, key, now).await;
    };
    // Read live, it may have been given to another controller just now.
    if !context.selector.matches(&observed.snapshot.rollout) {
        return Ok(leave(context, key));
    }
    tell(context, key, &observed.snapshot.rollout, now);
    observed.snapshot.unwritten = context.postponed.recall(&observed.snapshot.rollout);
    match witness::question(&observed.snapshot, now) {
        Some(question) => observed.snapshot.data_plane = context.data_planes.ask(key, question, now),
        None => context.data_planes.forget(key),
    }
    let (mut plan, mut applied) = take_turn(context, key, &mut observed, now).await?;
    if let Some(rollout) = find_decided(context, key, &plan, &applied, now).await? {
        // It is on record: what follows from it need not wait for another look.
        let now = context.clock.now();
        tell(context, key, &rollout, now);
        observed.snapshot.rollout = rollout;
        observed.snapshot.unwritten = None;
        (plan, applied) = take_turn(context, key, &mut observed, now).await?;
    }
    let rollout = Some(&observed.snapshot.rollout);
    after(
        context,
        key,
        conclude(context, key, rollout, applied, plan.requeue_at).await?,
    )
}

/// Plans, on endpoints that were read just now if requests depend on them, and carries it out.
async fn take_turn(
    context: &Context,
    key: &ObjectKey,
    observed: &mut Observed,
    now: DateTime<Utc>,
) -> Result<(Plan, Applied), ReconcileError> {
    let Observed {
        snapshot,
        remembers_endpoints,
    } = observed;
    let mut plan = (context.planner)(snapshot, now);
    if *remembers_endpoints && plan.rests_on_endpoints() {
        context.observer.read_endpoints(key, snapshot, now).await?;
        *remembers_endpoints = false;
        plan = (context.planner)(snapshot, now);
    }
    context.metrics.count_plan(&plan);
    let applied = apply::apply_plan(context.writer(), snapshot, &plan, now).await;
    context.note_written(&applied.writes);
    if let Some(status) = &applied.status {
        match applied.refused {
            Some(_) => context.postponed.forget(key),
            None => context.postponed.keep(snapshot, &plan, now),
        }
        context.metrics.rollouts.show(key, status);
        measure_abort(context, snapshot, &plan);
    }
    Ok((plan, applied))
}

/// The Rollout as a decision left it: if nothing else was written, nobody has changed it since, and what the decision was
/// made on `then` was read a moment ago.
async fn find_decided(
    context: &Context,
    key: &ObjectKey,
    plan: &Plan,
    applied: &Applied,
    then: DateTime<Utc>,
) -> Result<Option<Value>, ReconcileError> {
    let is_to_go_on = plan.requeue_at.is_some_and(|at| at <= then) && plan.stages.is_empty();
    let ([written], Some(_)) = (applied.writes.as_slice(), &applied.status) else {
        return Ok(None);
    };
    if !is_to_go_on || context.clock.now() - then >= GOOD_FOR {
        return Ok(None);
    }
    fn version(rollout: &Value) -> Option<&str> {
        metadata_text(rollout, "resourceVersion")
    }
    let written = written.object.as_ref().and_then(version);
    let rollout = context.observer.read(Resource::Rollout, key).await?;
    Ok(rollout.filter(|rollout| version(rollout) == written))
}

fn is_refused(error: &ObserveError) -> bool {
    matches!(
        error,
        ObserveError::Read {
            source: Failure::Refused { .. },
            ..
        }
    )
}

/// A Rollout that names something we may not read.
async fn refuse(context: &Context, key: &ObjectKey, error: ObserveError) -> Result<Next, ReconcileError> {
    let rollout = context.observer.read(Resource::Rollout, key).await?;
    let rollout = rollout.filter(|rollout| context.selector.matches(rollout));
    if let Some(rollout) = &rollout {
        report_refusal(context, key, rollout, &error).await;
    }
    let now = context.clock.now();
    context.observer.note_refused(key, rollout.as_ref(), now);
    context
        .metrics
        .count_error(ReconcileError::from(error).category());
    after(context, key, After::Later(Some(now + REFUSED_RETRY)))
}

fn leave(context: &Context, key: &ObjectKey) -> Next {
    forget(context, key);
    Next::OnChange
}

fn forget(context: &Context, key: &ObjectKey) {
    context.postponed.forget(key);
    context.recorder.forget(key);
    context.data_planes.forget(key);
    context.observer.forget(key);
    context.metrics.rollouts.forget(key);
}

/// People hear of what is persisted, not of what is planned.
fn tell(context: &Context, key: &ObjectKey, rollout: &Value, now: DateTime<Utc>) {
    let status = rollout.get("status").map(RolloutStatus::deserialize);
    // One that cannot be read has ended the round before.
    let status = status.and_then(Result::ok).unwrap_or_default();
    let rollout = Regarding {
        key: key.clone(),
        uid: metadata_text(rollout, "uid").unwrap_or_default().to_owned(),
    };
    let news = context.recorder.look(&rollout, &status, now, &context.metrics);
    // What is new at first sight may have been counted by the leader before.
    for event in news.events.iter().filter(|_| !news.is_first_look) {
        match (event.reason.as_str(), &status.abort_reason) {
            ("Promoted", _) => context.metrics.count_promotion(),
            ("Aborted", Some(abort)) if abort.at == event.at => context.metrics.count_abort(abort.by),
            _ => {}
        }
    }
}

/// When the last of the new version's traffic is taken away, how long it took since somebody or something asked for it.
fn measure_abort(context: &Context, snapshot: &Snapshot, plan: &Plan) {
    let Some(abort) = &plan.status.abort_reason else {
        return;
    };
    let written = || {
        let status = snapshot.rollout.get("status").map(RolloutStatus::deserialize);
        status.and_then(Result::ok).unwrap_or_default()
    };
    let unwritten = snapshot.unwritten.as_ref();
    let before = unwritten.map_or_else(written, |unwritten| unwritten.status.clone());
    if !before.spares_current() && plan.status.spares_current() {
        let took = context.clock.now() - asked_at(snapshot, abort);
        // Objects are dated to the second, and by another clock.
        context
            .metrics
            .observe_abort(abort.by, took.to_std().unwrap_or_default());
    }
}

fn asked_at(snapshot: &Snapshot, abort: &AbortReason) -> DateTime<Utc> {
    let asked = match abort.by {
        AbortSource::Command => {
            let command = abort
                .rule
                .as_deref()
                .and_then(|rule| rule.strip_prefix("RolloutCommand "));
            let command = command.and_then(|name| snapshot.commands.get(name));
            command.and_then(created_at)
        }
        AbortSource::Alert => {
            let is_its = |command: &&RolloutCommand| {
                command.spec.alert.is_some() && command.spec.requested_by == abort.who
            };
            let asked = snapshot.commands.values().filter(is_its);
            asked.filter_map(created_at).filter(|at| *at <= abort.at).max()
        }
        AbortSource::Analysis => {
            let run = abort.who.as_ref().and_then(|name| snapshot.runs.get(name));
            run.and_then(|run| run.status.as_ref()?.completed_at)
        }
        AbortSource::ProgressDeadline => None,
    };
    asked.unwrap_or(abort.at)
}

fn created_at(command: &RolloutCommand) -> Option<DateTime<Utc>> {
    command.metadata.creation_timestamp.as_ref().map(from_meta)
}

fn after(context: &Context, key: &ObjectKey, after: After) -> Result<Next, ReconcileError> {
    match after {
        After::Soon => Ok(Next::Soon),
        // A lost event heals all the same.
        After::Later(retry) => {
            let deadlines = retry.into_iter().chain(context.observer.next_heal(key));
            Ok(deadlines.min().map_or(Next::OnChange, Next::At))
        }
    }
}

/// Whoever asked something of a Rollout that is not there would wait for an answer for ever.
async fn refuse_commands(
    context: &Context,
    key: &ObjectKey,
    now: DateTime<Utc>,
) -> Result<Next, ReconcileError> {
    let commands = context.observer.unaddressed_commands(key).await?;
    let (writes, next) = plan_unaddressed(key, &commands, now);
    let applied = apply::apply_writes(context.writer(), key, &writes).await;
    context.note_written(&applied.writes);
    after(context, key, conclude(context, key, None, applied, next).await?)
}

/// When to look again.
enum After {
    Soon,
    /// Then, or when a live look is due.
    Later(Option<DateTime<Utc>>),
}

/// That it could not be reported is no news: the next round tries again.
async fn report_refusal(
    context: &Context,
    key: &ObjectKey,
    rollout: &Value,
    error: &(dyn std::error::Error + Sync),
) {
    let refused = Problem::refused(error);
    let Some(status) = problem::status(rollout, &refused, context.clock.now()) else {
        return;
    };
    context.metrics.rollouts.show(key, &status);
    if let Some((written, _)) = apply::report_problem(context.writer(), rollout, &status).await {
        context.note_written(&[written]);
    }
}

/// What the writes that failed mean for the round.
async fn conclude(
    context: &Context,
    key: &ObjectKey,
    rollout: Option<&Value>,
    applied: Applied,
    planned: Option<DateTime<Utc>>,
) -> Result<After, ReconcileError> {
    if let Some(error) = &applied.refused {
        context.metrics.count_error(error.source.category());
    }
    let Some(error) = applied.failure else {
        let is_left = applied.left || applied.refused.is_some();
        let retry = is_left.then(|| context.clock.now() + REFUSED_RETRY);
        return Ok(After::Later(planned.into_iter().chain(retry).min()));
    };
    match error.source {
        Failure::Conflict | Failure::AlreadyExists | Failure::NotFound => Ok(After::Soon),
        Failure::Refused { .. } => {
            context.metrics.count_error(error.source.category());
            if let Some(rollout) = rollout {
                report_refusal(context, key, rollout, &error).await;
            }
            Ok(After::Later(Some(context.clock.now() + REFUSED_RETRY)))
        }
        Failure::Busy(_) | Failure::Unknown(_) | Failure::Unsent(_) | Failure::NotLeader => Err(error.into()),
    }
}

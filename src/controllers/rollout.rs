//! One turn for one Rollout: observe, plan, apply, report.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use thiserror::Error;

use super::context::{Context, Next};
use crate::api::resource::{ObjectKey, Resource};
use crate::apply::problem::Problem;
use crate::apply::{self, Applied, ApplyError};
use crate::client::Failure;
use crate::observe::ObserveError;
use crate::plan::command::refuse_unaddressed;

/// How long a write that was refused is left alone.
const REFUSED_RETRY: TimeDelta = TimeDelta::minutes(5);

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReconcileError {
    #[error("cannot observe")]
    Observe(#[from] ObserveError),
    #[error("cannot apply")]
    Apply(#[from] ApplyError),
}

impl ReconcileError {
    /// Bounded, for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            ReconcileError::Observe(ObserveError::Read { source, .. }) => source.category(),
            ReconcileError::Observe(ObserveError::Undecodable { .. }) => "undecodable",
            ReconcileError::Apply(error) => error.source.category(),
        }
    }
}

/// Our own writes come back as changes until the plan is empty.
pub async fn reconcile_rollout(context: &Context, key: &ObjectKey) -> Result<Next, ReconcileError> {
    let now = context.clock.now();
    let observed = context.observer.observe_rollout(key, now).await;
    if let Err(error @ ObserveError::Undecodable { .. }) = &observed {
        report_undecodable(context, key, error).await?;
    }
    let Some(snapshot) = observed? else {
        return refuse_commands(context, key, now).await;
    };
    let plan = (context.planner)(&snapshot, now);
    context.metrics.count_plan(&plan);
    let applied = apply::apply_plan(context.writer(), &snapshot, &plan).await;
    match conclude(context, Some(&snapshot.rollout), applied).await? {
        Some(next) => Ok(next),
        None => {
            let deadlines = plan.requeue_at.into_iter().chain(context.observer.next_heal(key));
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
    let answers = refuse_unaddressed(key, &commands, now);
    let applied = apply::apply_writes(context.writer(), key, &answers).await;
    Ok(conclude(context, None, applied).await?.unwrap_or(Next::OnChange))
}

/// Nothing is decided on what is not understood; the user learns why nothing happens.
async fn report_undecodable(
    context: &Context,
    key: &ObjectKey,
    error: &ObserveError,
) -> Result<(), ReconcileError> {
    let problem = Problem {
        reason: "Undecodable",
        message: error.to_string(),
    };
    if let Some(rollout) = context.observer.read(Resource::Rollout, key).await? {
        report(context, &rollout, &problem).await;
    }
    Ok(())
}

/// That it could not be reported is no news: the next round tries again.
async fn report(context: &Context, rollout: &Value, problem: &Problem) {
    let now = context.clock.now();
    if let Some((written, _)) = apply::report_problem(context.writer(), rollout, problem, now).await {
        context.metrics.count_write(&written);
    }
}

/// What a failed write means for the round; `None` if nothing failed.
async fn conclude(
    context: &Context,
    rollout: Option<&Value>,
    applied: Applied,
) -> Result<Option<Next>, ReconcileError> {
    applied
        .writes
        .iter()
        .for_each(|written| context.metrics.count_write(written));
    let Some(error) = applied.failure else {
        return Ok(None);
    };
    match error.source {
        Failure::Conflict | Failure::AlreadyExists | Failure::NotFound => Ok(Some(Next::Soon)),
        Failure::Refused { .. } => {
            if let Some(rollout) = rollout {
                report(context, rollout, &Problem::refused(&error)).await;
            }
            Ok(Some(Next::At(context.clock.now() + REFUSED_RETRY)))
        }
        Failure::Busy(_) | Failure::Unknown(_) | Failure::Unsent(_) => Err(error.into()),
    }
}

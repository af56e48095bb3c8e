//! One turn for one AnalysisRun: what is due, measure it, record it.

use chrono::{DateTime, Utc};
use futures::future::join_all;
use serde_json::json;

use super::context::{Context, Next};
use super::rollout::ReconcileError;
use crate::api::analysis_run::{AnalysisRun, AnalysisRunStatus};
use crate::api::measure::{MeasureTask, Measured};
use crate::api::names::ROLLOUT_LABEL;
use crate::api::resource::{ObjectKey, Resource};
use crate::apply::write_status;
use crate::client::{Expected, Failure};
use crate::observe::ObserveError;
use crate::plan::analysis::{record, schedule};

/// A run that cannot be understood is left alone, as is one that is finished.
pub async fn reconcile_run(context: &Context, key: &ObjectKey) -> Result<Next, ReconcileError> {
    let Some(object) = context.observer.read(Resource::AnalysisRun, key).await? else {
        return Ok(Next::OnChange);
    };
    if context.is_run_of_others(&object) {
        return Ok(Next::OnChange);
    }
    let mut run: AnalysisRun = serde_json::from_value(object).map_err(|error| ObserveError::Undecodable {
        resource: Resource::AnalysisRun,
        key: key.clone(),
        problem: error.to_string(),
    })?;
    let now = context.clock.now();
    let scheduled = schedule(&run, now);
    match scheduled.next_at {
        None => return Ok(Next::OnChange),
        Some(later) if later > now => return Ok(Next::At(later)),
        Some(_) => {}
    }
    let measuring = scheduled.tasks.iter().map(|task| measure(context, task, now));
    let measured = join_all(measuring).await;
    let recorded_at = context.clock.now();
    let status = record(&run, &measured, recorded_at);
    if run.status.as_ref() != Some(&status)
        && let Some(next) = write(context, key, &run, &status).await?
    {
        return Ok(next);
    }
    run.status = Some(status);
    Ok(schedule(&run, recorded_at)
        .next_at
        .map_or(Next::OnChange, Next::At))
}

async fn measure(context: &Context, task: &MeasureTask, now: DateTime<Utc>) -> Measured {
    Measured {
        metric: task.metric.clone(),
        started_at: now,
        outcome: context.provider.measure(task, now).await,
    }
}

/// `None` if the status is written.
async fn write(
    context: &Context,
    key: &ObjectKey,
    run: &AnalysisRun,
    status: &AnalysisRunStatus,
) -> Result<Option<Next>, ReconcileError> {
    let rollout = run
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(ROLLOUT_LABEL));
    let rollout = ObjectKey::new(key.namespace.clone(), rollout.cloned().unwrap_or_default());
    let expected = Expected {
        uid: run.metadata.uid.as_deref().unwrap_or_default(),
        resource_version: run.metadata.resource_version.as_deref().unwrap_or_default(),
    };
    let status_value = json!(status);
    let (written, answer) = write_status(
        context.writer(),
        &rollout,
        Resource::AnalysisRun,
        key,
        expected,
        status_value,
    )
    .await;
    context.note_written(&[written]);
    match answer {
        Ok(_) => {
            context.metrics.count_verdict(status.phase);
            Ok(None)
        }
        Err(error) => match error.source {
            Failure::Conflict | Failure::NotFound | Failure::AlreadyExists => Ok(Some(Next::Soon)),
            _ => Err(error.into()),
        },
    }
}

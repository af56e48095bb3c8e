//! What to measure now.

use chrono::{DateTime, Utc};

use super::{Limits, result_of};
use crate::api::analysis_run::{AnalysisRun, MetricResult, Verdict};
use crate::api::analysis_template::Metric;
use crate::api::duration::Duration;
use crate::api::measure::MeasureTask;
use crate::plan::condition::takes_list;

const DEFAULT_TIMEOUT: Duration = Duration::from_seconds(10);
/// A query that hangs keeps a place from others for as long. Runs may be older than the limit in the schema.
const MAX_TIMEOUT: Duration = Duration::from_seconds(60);
/// Prometheus itself looks back this far for the newest sample.
const MIN_MAX_AGE: Duration = Duration::from_seconds(300);

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schedule {
    /// Due now, at most one per metric.
    pub tasks: Vec<MeasureTask>,
    /// When the first of the tasks is due, whether now or later; now as well if `record` has something to
    /// write by itself. `None` for a finished run. A controller comes back at the `next_at` of the status it
    /// has written.
    pub next_at: Option<DateTime<Utc>>,
}

pub fn schedule(run: &AnalysisRun, now: DateTime<Utc>) -> Schedule {
    let at_once = Schedule {
        tasks: Vec::new(),
        next_at: Some(now),
    };
    let Some(status) = &run.status else { return at_once };
    if status.phase.is_final() {
        return Schedule::default();
    }
    let (Some(started_at), false) = (status.started_at, run.spec.terminate) else {
        return at_once;
    };
    let mut schedule = Schedule::default();
    for metric in &run.spec.metrics {
        let result = result_of(status, &metric.name);
        if result.is_some_and(|result| result.phase.is_final()) {
            continue;
        }
        let due_at = due_at(metric, result, started_at, now);
        schedule.next_at = Some(schedule.next_at.map_or(due_at, |next_at| next_at.min(due_at)));
        if due_at <= now {
            schedule.tasks.extend(task(run, metric));
        }
    }
    schedule
}

/// Counted from the last measurement; where that lies ahead of a clock that was set back, now.
fn due_at(
    metric: &Metric,
    result: Option<&MetricResult>,
    started_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> DateTime<Utc> {
    let Ok(limits) = Limits::of(metric) else {
        return now;
    };
    let (since, wait) = match result.and_then(|result| result.measurements.last()) {
        None => (started_at, limits.initial_delay),
        Some(last) => (last.started_at, limits.pace(last.phase == Verdict::Error)),
    };
    if since > now { now } else { since + wait }
}

fn task(run: &AnalysisRun, metric: &Metric) -> Option<MeasureTask> {
    let provider = metric.provider.prometheus.as_ref()?;
    let two_intervals = metric
        .interval
        .map_or(MIN_MAX_AGE, |interval| interval.saturating_mul(2));
    let conditions = [&metric.success_condition, &metric.failure_condition];
    Some(MeasureTask {
        metric: metric.name.clone(),
        namespace: run.metadata.namespace.clone().unwrap_or_default(),
        address: provider.address.clone(),
        query: provider.query.clone(),
        samples_query: provider.samples_query.clone(),
        min_samples: metric.min_samples,
        timeout: provider
            .timeout
            .filter(|timeout| !timeout.is_zero())
            .unwrap_or(DEFAULT_TIMEOUT)
            .min(MAX_TIMEOUT),
        max_age: two_intervals.max(MIN_MAX_AGE),
        many_series: conditions
            .into_iter()
            .flatten()
            .any(|condition| takes_list(condition)),
    })
}

//! From measurements to verdicts: on the measurement, on its metric, on the run.

use chrono::{DateTime, SubsecRound, Utc};

use super::decision::{describe_deadline, describe_limit};
use super::{Limits, result_of};
use crate::api::analysis_run::{
    AnalysisRun, AnalysisRunSpec, AnalysisRunStatus, Measurement, MetricResult, Verdict,
};
use crate::api::analysis_template::{Metric, NoDataPolicy};
use crate::api::measure::{Measured, Outcome};
use crate::plan::condition::{judge, threshold_of};

const KEPT_MEASUREMENTS: usize = 10;
const MAX_MESSAGE_CHARS: usize = 300;

/// The status after these measurements. The first measurement of a metric in `measured` counts, others do
/// not.
pub fn record(run: &AnalysisRun, measured: &[Measured], now: DateTime<Utc>) -> AnalysisRunStatus {
    let old = run.status.clone().unwrap_or_default();
    if old.phase.is_final() {
        return old;
    }
    // What a store gives back must equal what was written.
    let now = now.trunc_subsecs(3);
    let metric_results: Vec<MetricResult> = run
        .spec
        .metrics
        .iter()
        .map(|metric| {
            let result = result_of(&old, &metric.name)
                .cloned()
                .unwrap_or_else(|| MetricResult {
                    name: metric.name.clone(),
                    dry_run: run.spec.dry_run.contains(&metric.name),
                    ..MetricResult::default()
                });
            let outcome = measured.iter().find(|measured| measured.metric == metric.name);
            advance(metric, result, outcome, now)
        })
        .collect();
    let status = AnalysisRunStatus {
        phase: Verdict::Running,
        started_at: old.started_at.or(Some(now)),
        metric_results,
        ..old
    };
    end_if_decided(&run.spec, status, now)
}

fn advance(
    metric: &Metric,
    result: MetricResult,
    measured: Option<&Measured>,
    now: DateTime<Utc>,
) -> MetricResult {
    if result.phase.is_final() {
        return result;
    }
    let limits = match Limits::of(metric) {
        Ok(limits) if metric.provider.prometheus.is_some() => limits,
        Ok(_) => return refuse(result, "provider: none that is known; give prometheus"),
        Err(error) => return refuse(result, &error.to_string()),
    };
    let Some(measured) = measured else { return result };
    let measurement = judge_outcome(metric, measured, now);
    decide(metric, &limits, add(result, measurement))
}

fn refuse(result: MetricResult, why: &str) -> MetricResult {
    MetricResult {
        phase: Verdict::Error,
        message: Some(format!("{}: {why}", result.name)),
        ..result
    }
}

fn judge_outcome(metric: &Metric, measured: &Measured, now: DateTime<Utc>) -> Measurement {
    let (phase, value, message) = match &measured.outcome {
        Outcome::Samples(samples) => {
            let conditions = (
                metric.success_condition.as_deref(),
                metric.failure_condition.as_deref(),
            );
            match judge(conditions.0, conditions.1, samples) {
                Ok(verdict) => (verdict, samples.first(), None),
                Err(error) => (Verdict::Error, samples.first(), Some(error.to_string())),
            }
        }
        Outcome::NoData(why) => (no_data_verdict(metric), None, Some(format!("no data: {why}"))),
        Outcome::Partial(why) => (
            Verdict::Inconclusive,
            None,
            Some(format!("partial answer: {why}")),
        ),
        Outcome::Error(why) => (Verdict::Error, None, Some(why.clone())),
    };
    Measurement {
        phase,
        started_at: measured.started_at.trunc_subsecs(3).min(now),
        finished_at: now,
        value,
        message: message.map(|message| message.chars().take(MAX_MESSAGE_CHARS).collect()),
    }
}

fn no_data_verdict(metric: &Metric) -> Verdict {
    match metric.no_data.unwrap_or_default() {
        NoDataPolicy::Wait => Verdict::NoData,
        NoDataPolicy::Inconclusive => Verdict::Inconclusive,
        NoDataPolicy::Success => Verdict::Successful,
        NoDataPolicy::Fail => Verdict::Failed,
    }
}

fn add(mut result: MetricResult, measurement: Measurement) -> MetricResult {
    let verdict = measurement.phase;
    let counter = match verdict {
        Verdict::Successful => &mut result.successful,
        Verdict::Failed => &mut result.failed,
        Verdict::Error => &mut result.error,
        Verdict::NoData => &mut result.no_data,
        _ => &mut result.inconclusive,
    };
    *counter = counter.saturating_add(1);
    let next = |streak: i64, goes_on: bool| if goes_on { streak.saturating_add(1) } else { 0 };
    result.consecutive_error = next(result.consecutive_error, verdict == Verdict::Error);
    result.consecutive_success = next(result.consecutive_success, verdict == Verdict::Successful);
    result.count = result
        .successful
        .saturating_add(result.failed)
        .saturating_add(result.inconclusive);
    result.measurements.push(measurement);
    let excess = result.measurements.len().saturating_sub(KEPT_MEASUREMENTS);
    result.measurements.drain(..excess);
    result
}

/// First hit wins: failures, doubts, errors, a row of successes, the count, the end of patience.
fn decide(metric: &Metric, limits: &Limits, result: MetricResult) -> MetricResult {
    let exceeded = |limit: Option<i64>, number: i64| limit.is_some_and(|limit| number > limit);
    let reached = |limit: Option<i64>, number: i64| limit.is_some_and(|limit| number >= limit);
    let uncounted = result.no_data.saturating_add(result.error);
    let (phase, message) = if exceeded(limits.failure, result.failed) {
        (
            Verdict::Failed,
            Some(describe_limit(metric, limits, &result, Verdict::Failed)),
        )
    } else if exceeded(Some(limits.inconclusive), result.inconclusive) {
        (
            Verdict::Inconclusive,
            Some(describe_limit(metric, limits, &result, Verdict::Inconclusive)),
        )
    } else if exceeded(Some(limits.consecutive_error), result.consecutive_error) {
        (
            Verdict::Error,
            Some(describe_limit(metric, limits, &result, Verdict::Error)),
        )
    } else if reached(limits.consecutive_success, result.consecutive_success) {
        (Verdict::Successful, None)
    } else if reached(limits.count, result.count) {
        at_count(limits, &result)
    } else if exceeded(limits.patience(), uncounted) {
        (Verdict::Inconclusive, Some(describe_deadline(&result)))
    } else {
        (Verdict::Running, None)
    };
    // With both conditions given it is the failure that decides.
    let condition = metric
        .failure_condition
        .as_deref()
        .or(metric.success_condition.as_deref());
    MetricResult {
        phase,
        message,
        threshold: condition.and_then(threshold_of),
        ..result
    }
}

/// Within its limits at the end: good, unless nothing ever succeeded or a row of successes was asked for.
fn at_count(limits: &Limits, result: &MetricResult) -> (Verdict, Option<String>) {
    let name = &result.name;
    match limits.consecutive_success {
        Some(wanted) => (
            Verdict::Inconclusive,
            Some(format!(
                "{name}: never {wanted} successes in a row in {} measurements",
                result.count
            )),
        ),
        None if result.successful == 0 => (
            Verdict::Inconclusive,
            Some(format!("{name}: none of {} measurements succeeded", result.count)),
        ),
        None => (Verdict::Successful, None),
    }
}

/// A run is over when its deciding metrics are, when one of them is bad, or when it is told to end. Metrics
/// in `dryRun` never hold it up; a run of nothing else waits for them.
fn end_if_decided(
    spec: &AnalysisRunSpec,
    status: AnalysisRunStatus,
    now: DateTime<Utc>,
) -> AnalysisRunStatus {
    let results = &status.metric_results;
    let only_dry = results.iter().all(|result| result.dry_run);
    let deciding = || results.iter().filter(|result| only_dry || !result.dry_run);
    let bad = deciding().find(|result| !result.dry_run && result.phase > Verdict::Terminated);
    let reason = match bad {
        _ if results.is_empty() => {
            return finish(
                status,
                Verdict::Error,
                Some("the run has no metrics".to_owned()),
                now,
            );
        }
        Some(bad) => format!("ended because {} is {:?}", bad.name, bad.phase),
        None if spec.terminate => "terminated before it could decide".to_owned(),
        None if deciding().all(|result| result.phase.is_final()) => "ended with the run".to_owned(),
        None => return status,
    };
    let metric_results: Vec<MetricResult> = results.iter().map(|result| end(result, &reason)).collect();
    let (phase, message) = verdict_of(&metric_results);
    finish(
        AnalysisRunStatus {
            metric_results,
            ..status
        },
        phase,
        message,
        now,
    )
}

fn end(result: &MetricResult, reason: &str) -> MetricResult {
    if result.phase.is_final() {
        return result.clone();
    }
    MetricResult {
        phase: Verdict::Terminated,
        message: Some(format!("{}: {reason}", result.name)),
        ..result.clone()
    }
}

/// The worst metric, dry runs aside; the first of them in the order of the spec.
fn verdict_of(results: &[MetricResult]) -> (Verdict, Option<String>) {
    let mut deciding = results.iter().filter(|result| !result.dry_run).peekable();
    if deciding.peek().is_none() {
        let terminated = results.iter().any(|result| result.phase == Verdict::Terminated);
        return (
            if terminated {
                Verdict::Terminated
            } else {
                Verdict::Successful
            },
            None,
        );
    }
    let mut worst: Option<&MetricResult> = None;
    for result in deciding {
        if worst.is_none_or(|worst| result.phase > worst.phase) {
            worst = Some(result);
        }
    }
    worst.map_or((Verdict::Error, None), |worst| {
        (worst.phase, worst.message.clone())
    })
}

fn finish(
    status: AnalysisRunStatus,
    phase: Verdict,
    message: Option<String>,
    now: DateTime<Utc>,
) -> AnalysisRunStatus {
    AnalysisRunStatus {
        phase,
        message,
        completed_at: Some(now),
        ..status
    }
}

//! Why a run ended as it did: the metric, what was measured, what was wanted.

use super::Limits;
use crate::api::analysis_run::{AnalysisRunStatus, Measurement, MetricResult, Verdict};
use crate::api::analysis_template::Metric;

/// What decided a run, for the reason of an abort or a pause.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Name of the metric.
    pub rule: String,
    pub measured: Option<f64>,
    pub threshold: Option<f64>,
    pub message: String,
}

/// The metric that made a run Failed, Error or Inconclusive; `None` for any other run.
pub fn deciding_metric(status: &AnalysisRunStatus) -> Option<Decision> {
    let phase = Some(status.phase).filter(|phase| *phase > Verdict::Terminated)?;
    let result = status
        .metric_results
        .iter()
        .find(|result| !result.dry_run && result.phase == phase)?;
    Some(Decision {
        rule: result.name.clone(),
        measured: last_of(result, phase).and_then(|measurement| measurement.value),
        threshold: result.threshold,
        message: result
            .message
            .clone()
            .unwrap_or_else(|| format!("{}: {phase:?}", result.name)),
    })
}

fn last_of(result: &MetricResult, phase: Verdict) -> Option<&Measurement> {
    result
        .measurements
        .iter()
        .rfind(|measurement| measurement.phase == phase)
}

/// `error-rate: measured 0.052, wanted result[0] < 0.01; failed 3 times, limit 2`.
pub(super) fn describe_limit(
    metric: &Metric,
    limits: &Limits,
    result: &MetricResult,
    phase: Verdict,
) -> String {
    let cause = last_of(result, phase)
        .map(|last| describe_measurement(metric, last))
        .unwrap_or_default();
    let count = match phase {
        Verdict::Failed => format!(
            "failed {}, limit {}",
            times(result.failed),
            limits.failure.unwrap_or_default()
        ),
        Verdict::Error => format!(
            "{} errors in a row, limit {}",
            result.consecutive_error, limits.consecutive_error
        ),
        _ => format!(
            "inconclusive {}, limit {}",
            times(result.inconclusive),
            limits.inconclusive
        ),
    };
    format!("{}: {cause}; {count}", metric.name)
}

pub(super) fn describe_deadline(result: &MetricResult) -> String {
    let last = result
        .measurements
        .last()
        .and_then(|last| last.message.as_deref())
        .unwrap_or("no data");
    format!(
        "{}: no verdict after {} measurements without data and {} errors; the last: {last}",
        result.name, result.no_data, result.error
    )
}

fn describe_measurement(metric: &Metric, measurement: &Measurement) -> String {
    if let Some(message) = &measurement.message {
        return message.clone();
    }
    let measured = measurement.value.map_or_else(|| "nothing".to_owned(), show);
    match (&metric.success_condition, &metric.failure_condition) {
        (Some(success), Some(failure)) if measurement.phase == Verdict::Inconclusive => {
            format!("measured {measured}, neither {success} nor {failure}")
        }
        (_, Some(failure)) => format!("measured {measured}, wanted not {failure}"),
        (Some(success), None) => format!("measured {measured}, wanted {success}"),
        (None, None) => format!("measured {measured}"),
    }
}

fn times(count: i64) -> String {
    match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

/// Six decimals are enough for people.
fn show(value: f64) -> String {
    if value != 0.0 && (value.abs() < 1e-4 || value.abs() >= 1e15) {
        return format!("{value:.3e}");
    }
    format!("{value:.6}")
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

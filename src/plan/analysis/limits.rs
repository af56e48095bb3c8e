//! The numbers of a metric with their defaults, checked.

use chrono::Duration;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use thiserror::Error;

use crate::api::analysis_template::Metric;

/// Measurements without an interval are retried this much later.
const RETRY_SECONDS: i64 = 10;
/// A metric waits for at least this many measurements without data.
const MIN_PATIENCE: i64 = 10;
const DEFAULT_CONSECUTIVE_ERRORS: i64 = 4;

/// When a metric is decided. Every limit is strict: the metric is decided once it is exceeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `None`: until the run is terminated.
    pub count: Option<i64>,
    /// `None`: failures never decide.
    pub failure: Option<i64>,
    pub inconclusive: i64,
    pub consecutive_error: i64,
    /// Reached, not exceeded.
    pub consecutive_success: Option<i64>,
    pub interval: Option<Duration>,
    pub initial_delay: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LimitError {
    #[error("{field} is {value:?}, not a whole number of at least {least}")]
    NotANumber {
        field: &'static str,
        value: String,
        least: i64,
    },
    #[error("interval must be at least 1s")]
    Interval,
    #[error("count {0} needs an interval")]
    CountWithoutInterval(i64),
    #[error("{field} {limit} is more than count {count}: it could never be reached")]
    BeyondCount {
        field: &'static str,
        limit: i64,
        count: i64,
    },
    #[error(
        "failureLimit -1 without consecutiveSuccessLimit: the metric could never decide; name it in dryRun instead"
    )]
    NeverDecides,
}

impl LimitError {
    /// The field of the metric to mend.
    pub fn field(&self) -> &'static str {
        match self {
            LimitError::NotANumber { field, .. } | LimitError::BeyondCount { field, .. } => field,
            LimitError::Interval | LimitError::CountWithoutInterval(_) => "interval",
            LimitError::NeverDecides => "failureLimit",
        }
    }
}

impl Limits {
    /// Whether the limits can make sense, before the arguments are known: a number that one gives takes a value
    /// against which nothing can be held.
    pub fn check_before_args(metric: &Metric) -> Result<(), LimitError> {
        let known = |value: &Option<IntOrString>| value.clone().filter(|value| !is_argument(value));
        let success = &metric.consecutive_success_limit;
        Limits::of(&Metric {
            count: known(&metric.count),
            failure_limit: known(&metric.failure_limit),
            inconclusive_limit: known(&metric.inconclusive_limit),
            consecutive_error_limit: known(&metric.consecutive_error_limit),
            consecutive_success_limit: known(success).or(success.as_ref().map(|_| IntOrString::Int(1))),
            ..metric.clone()
        })
        .map(drop)
    }

    pub fn of(metric: &Metric) -> Result<Limits, LimitError> {
        let read = |field, value: &Option<IntOrString>, least| {
            value
                .as_ref()
                .map(|value| number(field, value, least))
                .transpose()
        };
        let interval = metric.interval.map(|interval| interval.to_chrono());
        let count = read("count", &metric.count, 1)?;
        let limits = Limits {
            // Without an interval there is one measurement; with one and without a count there is no end.
            count: if interval.is_none() {
                Some(count.unwrap_or(1))
            } else {
                count
            },
            failure: Some(read("failureLimit", &metric.failure_limit, -1)?.unwrap_or(0))
                .filter(|limit| *limit >= 0),
            inconclusive: read("inconclusiveLimit", &metric.inconclusive_limit, 0)?.unwrap_or(0),
            consecutive_error: read("consecutiveErrorLimit", &metric.consecutive_error_limit, 0)?
                .unwrap_or(DEFAULT_CONSECUTIVE_ERRORS),
            consecutive_success: read("consecutiveSuccessLimit", &metric.consecutive_success_limit, 0)?
                .filter(|limit| *limit > 0),
            interval,
            initial_delay: metric
                .initial_delay
                .map(|delay| delay.to_chrono())
                .unwrap_or_default(),
        };
        limits.check()?;
        Ok(limits)
    }

    fn check(&self) -> Result<(), LimitError> {
        if self
            .interval
            .is_some_and(|interval| interval < Duration::seconds(1))
        {
            return Err(LimitError::Interval);
        }
        if self.failure.is_none() && self.consecutive_success.is_none() {
            return Err(LimitError::NeverDecides);
        }
        let Some(count) = self.count else { return Ok(()) };
        if count > 1 && self.interval.is_none() {
            return Err(LimitError::CountWithoutInterval(count));
        }
        for (field, limit) in [
            ("failureLimit", self.failure),
            ("consecutiveSuccessLimit", self.consecutive_success),
        ] {
            if let Some(limit) = limit.filter(|limit| *limit > count) {
                return Err(LimitError::BeyondCount { field, limit, count });
            }
        }
        Ok(())
    }

    /// Time from one measurement to the next; errors are tried again sooner.
    pub fn pace(&self, after_error: bool) -> Duration {
        let retry = Duration::seconds(RETRY_SECONDS);
        match self.interval {
            Some(interval) if after_error => interval.min(retry),
            Some(interval) => interval,
            None => retry,
        }
    }

    /// Measurements that may pass without counting before the metric gives up.
    pub fn patience(&self) -> Option<i64> {
        self.count
            .map(|count| count.max(MIN_PATIENCE).max(self.consecutive_error))
    }
}

fn is_argument(value: &IntOrString) -> bool {
    matches!(value, IntOrString::String(text) if text.contains("{{"))
}

fn number(field: &'static str, value: &IntOrString, least: i64) -> Result<i64, LimitError> {
    let (number, text) = match value {
        IntOrString::Int(number) => (Some(i64::from(*number)), number.to_string()),
        IntOrString::String(text) => (text.parse().ok(), text.clone()),
    };
    number
        .filter(|number| *number >= least)
        .ok_or(LimitError::NotANumber {
            field,
            value: text,
            least,
        })
}

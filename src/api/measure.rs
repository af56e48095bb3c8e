//! What passes between the state machine of an AnalysisRun (`plan::analysis`) and whoever asks the backend
//! (`providers`): a task with nothing left to choose, and what came of it. A provider never judges.

use chrono::{DateTime, Utc};

use super::duration::Duration;

/// One measurement to take.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasureTask {
    /// Name of the metric in its run.
    pub metric: String,
    /// Namespace of the run; shares of the provider are per namespace.
    pub namespace: String,
    /// `None`: the controller's default.
    pub address: Option<String>,
    pub query: String,
    /// Counts the requests behind `query`.
    pub samples_query: Option<String>,
    /// Fewer requests than this are no data.
    pub min_samples: Option<i64>,
    /// For everything, retries included.
    pub timeout: Duration,
    /// Samples older than this are no data.
    pub max_age: Duration,
    /// The conditions look at the whole list; otherwise more than one series is an error.
    pub many_series: bool,
}

/// The numbers of an answer: `result` of a condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Samples {
    Scalar(f64),
    /// Never empty.
    Vector(Vec<f64>),
}

impl Samples {
    /// The number that is shown: `result` or `result[0]`.
    pub fn first(&self) -> Option<f64> {
        match self {
            Samples::Scalar(value) => Some(*value),
            Samples::Vector(values) => values.first().copied(),
        }
    }

    pub fn sum(&self) -> f64 {
        match self {
            Samples::Scalar(value) => *value,
            Samples::Vector(values) => values.iter().sum(),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Finite numbers, fresh and complete.
    Samples(Samples),
    /// The backend answered that there is nothing to judge: no series, NaN, too old, too few requests.
    NoData(String),
    /// The backend said that its answer is not the whole truth.
    Partial(String),
    /// No usable answer.
    Error(String),
}

/// What came of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    pub metric: String,
    pub started_at: DateTime<Utc>,
    pub outcome: Outcome,
}

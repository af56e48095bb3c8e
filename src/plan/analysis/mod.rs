//! The state machine of an AnalysisRun.
//!
//! A controller does the same in every round, and nothing else:
//!
//! ```text
//! schedule(run, now)               what to measure now, and when to come back
//! measure each task                the only IO
//! record(run, measured, now)       the new status; written if it differs
//! ```
//!
//! A run that has not started has no tasks yet: the first `record`, with nothing measured, starts it.
//!
//! Guarantees. A metric is measured at most once per round, so a clock that jumps ahead finishes nothing at
//! once; a clock that jumps back delays nothing by more than an interval. The status depends on the arguments
//! alone, and a finished run never changes again. A metric with a `count` always ends: the *deadline* of its
//! waiting is counted in measurements, not in time. Once more than `max(count, 10, consecutiveErrorLimit)` of
//! them neither counted nor decided (no data under `noData: wait`, or errors), the metric is Inconclusive;
//! for ten measurements at 30 s that is 5 minutes of waiting. A metric without a `count` runs until the run
//! is terminated or another metric is bad, and decides earlier by its limits only.

mod decision;
mod limits;
mod record;
mod schedule;

pub use decision::{Decision, deciding_metric};
pub use limits::{LimitError, Limits};
pub use record::record;
pub use schedule::{Schedule, schedule};

use crate::api::analysis_run::{AnalysisRunStatus, MetricResult};

/// The result of one metric by its name.
fn result_of<'a>(status: &'a AnalysisRunStatus, metric: &str) -> Option<&'a MetricResult> {
    status.metric_results.iter().find(|result| result.name == metric)
}

#[cfg(test)]
mod tests;

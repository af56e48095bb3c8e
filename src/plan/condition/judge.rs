//! From the answers of two conditions to the verdict on one measurement.

use super::{ConditionError, evaluate};
use crate::api::analysis_run::Verdict;
use crate::api::measure::Samples;

/// | success | failure | verdict |
/// |---|---|---|
/// | holds / does not | not given | Successful / Failed |
/// | not given | holds / does not | Failed / Successful |
/// | any | holds | Failed |
/// | holds | does not | Successful |
/// | does not | does not | Inconclusive |
pub fn judge(
    success: Option<&str>,
    failure: Option<&str>,
    samples: &Samples,
) -> Result<Verdict, ConditionError> {
    let failed = failure
        .map(|condition| evaluate(condition, samples))
        .transpose()?;
    let succeeded = success
        .map(|condition| evaluate(condition, samples))
        .transpose()?;
    match (succeeded, failed) {
        (None, None) => Err(ConditionError::Missing),
        (_, Some(true)) | (Some(false), None) => Ok(Verdict::Failed),
        (Some(true), _) | (None, Some(false)) => Ok(Verdict::Successful),
        (Some(false), Some(false)) => Ok(Verdict::Inconclusive),
    }
}

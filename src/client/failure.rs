//! What an answer of the API server that is not the one we wanted means for the round.

use thiserror::Error;

use crate::api::failure::with_causes;

/// Only [`Failure::Unknown`] leaves open whether a write was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    #[error("not found")]
    NotFound,
    /// The object is not what the write was decided on.
    #[error("changed in the meantime")]
    Conflict,
    #[error("exists already")]
    AlreadyExists,
    /// The same request will be refused again until somebody changes rights, quota, a webhook or the object.
    #[error("refused with {code}: {message}")]
    Refused { code: u16, message: String },
    /// Not carried out, because the API server is busy.
    #[error("API server busy: {0}")]
    Busy(String),
    /// Timeout, lost connection or server error: a write may have been carried out.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    #[error("request cannot be built: {0}")]
    Unsent(String),
    /// Not sent: another replica leads, or may.
    #[error("not the leader")]
    NotLeader,
}

impl Failure {
    /// Bounded, for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Failure::NotFound => "not_found",
            Failure::Conflict => "conflict",
            Failure::AlreadyExists => "already_exists",
            Failure::Refused { .. } => "refused",
            Failure::Busy(_) => "busy",
            Failure::Unknown(_) => "unknown",
            Failure::Unsent(_) => "unsent",
            Failure::NotLeader => "not_leader",
        }
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => from_status(&status),
            other => Failure::Unknown(with_causes(&other)),
        }
    }
}

fn from_status(status: &kube::core::Status) -> Failure {
    match status.code {
        404 => Failure::NotFound,
        409 if status.reason == "AlreadyExists" => Failure::AlreadyExists,
        409 => Failure::Conflict,
        422 if is_stale_patch(status) => Failure::Conflict,
        429 => Failure::Busy(status.message.clone()),
        400..=499 => Failure::Refused {
            code: status.code,
            message: status.message.clone(),
        },
        _ => Failure::Unknown(status.message.clone()),
    }
}

/// A JSON Patch whose `test` fails, or whose path is not there, was decided on another state of the object.
/// The API server tells it from an invalid object by its wording only.
fn is_stale_patch(status: &kube::core::Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let mut texts = causes
        .map(|cause| cause.message.as_str())
        .chain([status.message.as_str()]);
    texts.any(|text| text.contains("testing value") || text.contains("due to an error in our request"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn status(code: u16, reason: &str, message: &str) -> Failure {
        Failure::from(kube::Error::Api(Box::new(Status {
            code,
            reason: reason.to_owned(),
            message: message.to_owned(),
            ..Status::success()
        })))
    }

    #[test]
    fn answers_fall_into_classes() {
        let stale = "the server rejected our request due to an error in our request";
        for (code, reason, message, category) in [
            (404, "NotFound", "", "not_found"),
            (409, "AlreadyExists", "", "already_exists"),
            (409, "Conflict", "", "conflict"),
            (422, "Invalid", stale, "conflict"),
            (
                422,
                "",
                "testing value /metadata/uid failed: test failed",
                "conflict",
            ),
            (422, "Invalid", "spec.replicas: must be positive", "refused"),
            (403, "Forbidden", "exceeded quota", "refused"),
            (400, "BadRequest", "unknown field", "refused"),
            (413, "RequestEntityTooLarge", "", "refused"),
            (429, "TooManyRequests", "", "busy"),
            (500, "InternalError", "", "unknown"),
            (503, "ServiceUnavailable", "", "unknown"),
            (504, "Timeout", "", "unknown"),
        ] {
            assert_eq!(
                status(code, reason, message).category(),
                category,
                "{code} {reason}"
            );
        }
    }
}

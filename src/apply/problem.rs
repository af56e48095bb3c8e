//! The status of a Rollout that we cannot carry on with until somebody mends something: what it was before,
//! Degraded, and why. Traffic and pods stay as they are.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::api::condition::{Condition, ConditionStatus};
use crate::api::rollout_status::{Phase, RolloutStatus};

const CONDITION: &str = "Valid";

/// What somebody must mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// CamelCase.
    pub reason: &'static str,
    /// Names the object, and what is wrong with it in the words of whoever found it.
    pub message: String,
}

impl Problem {
    /// The API server will refuse the same write again.
    pub fn refused(error: &super::ApplyError) -> Self {
        Problem {
            reason: "Refused",
            message: format!("{error}: {}", error.source),
        }
    }
}

/// `None` if the observed status cannot be read: it is not replaced by less.
pub fn status(rollout: &Value, problem: &Problem, now: DateTime<Utc>) -> Option<RolloutStatus> {
    let observed = rollout.get("status").cloned();
    let mut status: RolloutStatus = match observed {
        Some(observed) => serde_json::from_value(observed).ok()?,
        None => RolloutStatus::default(),
    };
    status.phase = Some(Phase::Degraded);
    status.message = Some(problem.message.clone());
    let before = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == CONDITION);
    let since = before
        .filter(|condition| condition.status == ConditionStatus::False)
        .map_or(now, |condition| condition.last_transition_time);
    status.conditions.retain(|condition| condition.type_ != CONDITION);
    status.conditions.push(Condition {
        type_: CONDITION.to_owned(),
        status: ConditionStatus::False,
        reason: problem.reason.to_owned(),
        message: problem.message.clone(),
        last_transition_time: since,
        observed_generation: rollout.pointer("/metadata/generation").and_then(Value::as_i64),
    });
    Some(status)
}

#[cfg(test)]
mod tests {
    use super::super::ApplyError;
    use super::*;
    use crate::api::resource::{ObjectKey, Resource};
    use crate::client::Failure;
    use serde_json::json;

    #[test]
    fn a_refusal_names_the_object_keeps_the_rest_and_settles() {
        let error = Problem::refused(&ApplyError {
            verb: "create",
            resource: Resource::ReplicaSet,
            key: ObjectKey::new("shop", "checkout-a"),
            source: Failure::Refused {
                code: 403,
                message: "exceeded quota: pods".to_owned(),
            },
        });
        let now = DateTime::UNIX_EPOCH;
        let rollout = json!({"metadata": {"generation": 4}, "status": {"stableRS": "a", "phase": "Healthy"}});
        let first = status(&rollout, &error, now).unwrap();
        assert_eq!(
            first.message.as_deref(),
            Some("cannot create ReplicaSet shop/checkout-a: refused with 403: exceeded quota: pods")
        );
        assert_eq!(first.phase, Some(Phase::Degraded));
        assert_eq!(first.stable_rs.as_ref().map(|hash| hash.as_str()), Some("a"));
        let again = json!({"metadata": {"generation": 4}, "status": first});
        let later = now + chrono::TimeDelta::seconds(60);
        assert_eq!(status(&again, &error, later).unwrap(), first, "told once");
        assert!(status(&json!({"status": {"phase": "Unheard"}}), &error, now).is_none());
    }
}

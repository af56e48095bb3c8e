//! The status of a Rollout that we cannot carry on with until somebody mends something: what it was before,
//! Degraded, and why. Traffic and pods stay as they are.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::api::condition::{Condition, ConditionStatus};
use crate::api::failure::with_causes;
use crate::api::rollout_status::{Phase, RolloutStatus};

const CONDITION: &str = "Valid";
/// Reason of that condition while the API server refuses what must be read or written.
const REFUSED: &str = "Refused";
/// Characters of a message; a webhook may answer with a page.
const MAX_MESSAGE: usize = 500;

/// What somebody must mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// CamelCase.
    pub reason: &'static str,
    /// What it is about. Of one and the same thing the first words stay: a webhook may refuse with other words every
    /// time, and every status that we write starts the next round.
    pub about: String,
    /// Names the object, and what is wrong with it in the words of whoever found it.
    pub message: String,
}

impl Problem {
    /// The API server will refuse the same read or write again.
    pub fn refused(error: &dyn std::error::Error) -> Self {
        Problem {
            reason: REFUSED,
            about: error.to_string(),
            message: shorten(&with_causes(error)),
        }
    }
}

/// Whether a status says that something was refused.
pub fn is_refused(status: &RolloutStatus) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|condition| {
        condition.type_ == CONDITION
            && condition.status == ConditionStatus::False
            && condition.reason == REFUSED
    })
}

/// `None` if the observed status cannot be read: it is not replaced by less.
pub fn status(rollout: &Value, problem: &Problem, now: DateTime<Utc>) -> Option<RolloutStatus> {
    let observed: RolloutStatus = match rollout.get("status").cloned() {
        Some(observed) => serde_json::from_value(observed).ok()?,
        None => RolloutStatus::default(),
    };
    Some(status_beside(rollout, observed, problem, now))
}

/// What else is to be said, and the problem. What was told of it before stays, as observed.
pub fn status_beside(
    rollout: &Value,
    status: RolloutStatus,
    problem: &Problem,
    now: DateTime<Utc>,
) -> RolloutStatus {
    let mut status = status;
    let told = rollout.pointer("/status/conditions").cloned();
    let told: Vec<Condition> = told
        .and_then(|told| serde_json::from_value(told).ok())
        .unwrap_or_default();
    status.phase = Some(Phase::Degraded);
    let generation = rollout.pointer("/metadata/generation").and_then(Value::as_i64);
    let before = told.iter().find(|condition| condition.type_ == CONDITION);
    let since = before
        .filter(|condition| condition.status == ConditionStatus::False)
        .map_or(now, |condition| condition.last_transition_time);
    let same = before.filter(|condition| {
        condition.status == ConditionStatus::False
            && condition.reason == problem.reason
            && condition.observed_generation == generation
            && condition.message.starts_with(&format!("{}: ", problem.about))
    });
    let message = same
        .map_or(&problem.message, |condition| &condition.message)
        .clone();
    status.message = Some(message.clone());
    status.conditions.retain(|condition| condition.type_ != CONDITION);
    status.conditions.push(Condition {
        type_: CONDITION.to_owned(),
        status: ConditionStatus::False,
        reason: problem.reason.to_owned(),
        message,
        last_transition_time: since,
        observed_generation: generation,
    });
    status
}

/// The API server repeats what it refuses before it says why: the beginning and the end are kept.
fn shorten(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let end = MAX_MESSAGE / 2;
    match (chars.get(..MAX_MESSAGE - end - 1), chars.len().checked_sub(end)) {
        (Some(head), Some(tail)) if chars.len() > MAX_MESSAGE => {
            let tail = chars.get(tail..).unwrap_or_default();
            head.iter().chain(['…'].iter()).chain(tail).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ApplyError;
    use super::*;
    use crate::api::resource::{ObjectKey, Resource};
    use crate::client::Failure;
    use serde_json::json;

    fn refused(name: &str, message: &str) -> Problem {
        Problem::refused(&ApplyError {
            verb: "create",
            resource: Resource::ReplicaSet,
            key: ObjectKey::new("shop", name),
            source: Failure::Refused {
                code: 403,
                message: message.to_owned(),
            },
        })
    }

    #[test]
    fn the_first_words_of_a_refusal_stay_until_something_else_is_refused() {
        let now = DateTime::UNIX_EPOCH;
        let rollout = json!({"metadata": {"generation": 4}});
        let first = status(&rollout, &refused("a", "denied, request 1"), now).unwrap();
        let told = |generation: i64| json!({"metadata": {"generation": generation}, "status": first});
        let again = status(&told(4), &refused("a", "denied, request 2"), now).unwrap();
        assert_eq!(again, first);
        for (generation, name) in [(4, "b"), (5, "a")] {
            let other = status(&told(generation), &refused(name, "denied, request 2"), now).unwrap();
            assert!(
                other.message.unwrap().ends_with("request 2"),
                "{generation} {name}"
            );
        }
    }

    #[test]
    fn a_refusal_is_told_in_at_most_500_characters_with_its_cause_at_the_end() {
        let problem = refused("a", &format!("{}: unknown field", "ü".repeat(2_000)));
        assert_eq!(problem.message.chars().count(), 500);
        assert!(problem.message.starts_with("cannot ") && problem.message.ends_with("üü: unknown field"));
        let exact = "ü".repeat(MAX_MESSAGE);
        assert_eq!(shorten(&exact), exact);
    }

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

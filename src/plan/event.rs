//! What a person should hear of a Rollout, read off the status as it was persisted: its decisions, and what is wrong.
//!
//! The same status always tells the same events under the same names, so that one that was told before a crash is
//! recognised after it.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::condition::{Condition, ConditionStatus};
use crate::api::names::{FIELD_MANAGER, GROUP};
use crate::api::resource::{ObjectKey, Resource};
use crate::api::rollout_status::{HistoryEntry, RolloutStatus, WaitingReason};
use crate::plan::text::shorten;

/// The API server's limits, in bytes.
const MAX_NOTE: usize = 1024;
const MAX_REASON: usize = 128;
/// Of the Rollout's name, so that the event's fits as well.
const MAX_PREFIX: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Made of the Rollout's uid and what is told, and of nothing else.
    pub id: u64,
    pub at: DateTime<Utc>,
    pub is_warning: bool,
    /// CamelCase, of a closed set.
    pub reason: String,
    pub note: String,
}

/// Everything the status tells, oldest first.
pub fn events(uid: &str, status: &RolloutStatus) -> Vec<Event> {
    let newest = status.history.last();
    let decided = status.history.iter().map(|entry| Told {
        at: entry.at,
        key: entry.at.timestamp_millis().to_string(),
        is_warning: matches!(entry.what.as_str(), "Aborted" | "PausedInconclusive"),
        reason: reason_of(entry).to_owned(),
        note: note_of(status, entry, newest == Some(entry)),
    });
    let wrong = status.conditions.iter().filter_map(told_by_condition);
    let mut events: Vec<Event> = decided
        .chain(wrong)
        .chain(told_by_wait(status))
        .map(|told| told.event(uid))
        .collect();
    events.sort_by_key(|event| event.at);
    events
}

struct Told {
    at: DateTime<Utc>,
    /// Tells it from others with the same reason.
    key: String,
    is_warning: bool,
    reason: String,
    note: String,
}

impl Told {
    fn event(self, uid: &str) -> Event {
        let digest = Sha256::digest(format!("{uid} {} {}", self.reason, self.key));
        let id = digest
            .iter()
            .take(8)
            .fold(0, |id, byte| id << 8 | u64::from(*byte));
        Event {
            id,
            at: self.at,
            is_warning: self.is_warning,
            reason: self.reason,
            note: shorten(self.note, MAX_NOTE),
        }
    }
}

/// Everything that is decided about a release.
const DECISIONS: [&str; 12] = [
    "RevisionStarted",
    "RollbackStarted",
    "StepCompleted",
    "StepsEdited",
    "Promoted",
    "PromotionCommanded",
    "FullPromotionCommanded",
    "RetryCommanded",
    "Aborted",
    "PausedInconclusive",
    "RolledBack",
    "StableAdopted",
];

pub fn reason_of(entry: &HistoryEntry) -> &'static str {
    let mut known = DECISIONS.into_iter();
    known.find(|known| *known == entry.what).unwrap_or("Decided")
}

fn note_of(status: &RolloutStatus, entry: &HistoryEntry, is_newest: bool) -> String {
    let revision = entry.revision.map(|revision| format!("revision {revision}: "));
    let mut note = format!("{}{}", revision.unwrap_or_default(), entry.why);
    if entry.who != "controller" {
        note.push_str(&format!(" (by {})", entry.who));
    }
    if let Some(abort) = status.abort_reason.as_ref().filter(|abort| abort.at == entry.at) {
        let number = |what: &str, number: Option<f64>| number.map(|number| format!("; {what} {number}"));
        let rule = abort.rule.as_ref().map(|rule| format!("; rule {rule}"));
        let grounds = [
            rule,
            number("measured", abort.measured),
            number("threshold", abort.threshold),
        ];
        note.extend(grounds.into_iter().flatten());
    }
    let weights = status.canary.weights.as_ref().filter(|weights| weights.verified);
    if let Some(weights) = weights.filter(|_| is_newest && entry.what == "StepCompleted") {
        note.push_str(&format!("; canary weight {}, verified", weights.canary.weight));
    }
    note
}

/// Transitions to what is wrong; a second problem of the same kind in the same generation is in the condition.
fn told_by_condition(condition: &Condition) -> Option<Told> {
    let holds = condition.status == ConditionStatus::True;
    let reason = match condition.type_.as_str() {
        "Valid" if condition.status == ConditionStatus::False => closed(&condition.reason),
        "RouteContended" if holds => "RouteContended",
        "Stalled" if holds && condition.reason == "ProgressDeadlineExceeded" => "ProgressDeadlineExceeded",
        _ => return None,
    };
    let note = match condition.message.as_str() {
        "" => "others keep changing a route; it is left alone for now",
        message => message,
    };
    let since = condition.last_transition_time;
    let generation = condition.observed_generation.unwrap_or_default();
    Some(Told {
        at: since,
        key: format!("{} {generation}", since.timestamp_millis()),
        is_warning: true,
        reason: reason.to_owned(),
        note: note.to_owned(),
    })
}

/// A status may have been written by another version of us.
fn closed(reason: &str) -> &str {
    let is_camel_case = reason.starts_with(|first: char| first.is_ascii_uppercase())
        && reason.chars().all(|letter| letter.is_ascii_alphanumeric());
    match is_camel_case && reason.len() <= MAX_REASON {
        true => reason,
        false => "Invalid",
    }
}

/// Waiting for a person is worth a word, once; waiting for time or pods is not.
fn told_by_wait(status: &RolloutStatus) -> Option<Told> {
    let waiting = status.waiting_on.as_ref()?;
    (waiting.reason == WaitingReason::Promotion).then(|| Told {
        at: waiting.since,
        key: waiting.since.timestamp_millis().to_string(),
        is_warning: false,
        reason: "Paused".to_owned(),
        note: format!("waiting for: {}", waiting.message),
    })
}

/// The Rollout that an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regarding {
    pub key: ObjectKey,
    pub uid: String,
}

/// The object to create: events.k8s.io/v1, in the Rollout's namespace.
pub fn object(event: &Event, rollout: &Regarding, instance: &str) -> Value {
    let Regarding { key, uid } = rollout;
    let prefix: String = key.name.chars().take(MAX_PREFIX).collect();
    let prefix = prefix.trim_end_matches(['-', '.']);
    let mut object = json!({
        "metadata": {"namespace": key.namespace, "name": format!("{prefix}.{:016x}", event.id)},
        "eventTime": event.at.to_rfc3339_opts(SecondsFormat::Micros, true),
        "type": if event.is_warning { "Warning" } else { "Normal" },
        "reason": event.reason,
        "action": event.reason,
        "note": event.note,
        "regarding": {
            "apiVersion": Resource::Rollout.api_version(),
            "kind": Resource::Rollout.kind(),
            "namespace": key.namespace,
            "name": key.name,
            "uid": uid,
        },
        "reportingController": format!("{GROUP}/{FIELD_MANAGER}"),
        "reportingInstance": instance,
    });
    Resource::Event.stamp(&mut object);
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::rollout_status::{AbortReason, AbortSource, WaitingOn};

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + chrono::Duration::seconds(seconds)
    }

    fn entry(seconds: i64, who: &str, what: &str) -> HistoryEntry {
        HistoryEntry {
            at: at(seconds),
            who: who.to_owned(),
            what: what.to_owned(),
            revision: Some(crate::api::names::Revision(2)),
            why: "because".to_owned(),
        }
    }

    fn told(status: &RolloutStatus) -> Vec<(String, bool, String)> {
        let told = events("u", status).into_iter();
        told.map(|event| (event.reason, event.is_warning, event.note))
            .collect()
    }

    #[test]
    fn decisions_are_told_with_what_decided_them() {
        let mut status = RolloutStatus {
            history: vec![
                entry(1, "controller", "RevisionStarted"),
                entry(2, "alice", "PromotionCommanded"),
                entry(3, "controller", "Promoted"),
                entry(4, "run-1", "Aborted"),
                entry(5, "controller", "Unheard"),
                entry(6, "controller", "StepCompleted"),
            ],
            abort_reason: Some(AbortReason {
                at: at(4),
                by: AbortSource::Analysis,
                who: None,
                reason: "because".to_owned(),
                rule: Some("error-rate".to_owned()),
                measured: Some(0.3),
                threshold: Some(0.01),
            }),
            ..RolloutStatus::default()
        };
        status.canary.weights = Some(crate::api::rollout_status::TrafficWeights {
            verified: true,
            ..Default::default()
        });
        let expected = [
            ("RevisionStarted", false, "revision 2: because"),
            ("PromotionCommanded", false, "revision 2: because (by alice)"),
            ("Promoted", false, "revision 2: because"),
            (
                "Aborted",
                true,
                "revision 2: because (by run-1); rule error-rate; measured 0.3; threshold 0.01",
            ),
            ("Decided", false, "revision 2: because"),
            (
                "StepCompleted",
                false,
                "revision 2: because; canary weight 0, verified",
            ),
        ];
        let expected = expected.map(|(reason, warning, note)| (reason.to_owned(), warning, note.to_owned()));
        assert_eq!(told(&status), expected);
    }

    #[test]
    fn what_is_wrong_is_told_and_what_is_right_is_not() {
        let condition = |type_: &str, holds, reason: &str, message: &str| Condition {
            type_: type_.to_owned(),
            status: ConditionStatus::of(holds),
            reason: reason.to_owned(),
            message: message.to_owned(),
            last_transition_time: at(1),
            observed_generation: Some(4),
        };
        for (condition, expected) in [
            (condition("Valid", true, "Valid", "fine"), None),
            (condition("Ready", false, "NotReady", "not yet"), None),
            (condition("Stalled", true, "Aborted", "back"), None),
            (
                condition("Valid", false, "PlanRefused", "a rule"),
                Some(("PlanRefused", "a rule")),
            ),
            (condition("Valid", false, "made up", "x"), Some(("Invalid", "x"))),
            (
                condition("Stalled", true, "ProgressDeadlineExceeded", "no pods"),
                Some(("ProgressDeadlineExceeded", "no pods")),
            ),
            (
                condition("RouteContended", true, "ForeignChanges", ""),
                Some((
                    "RouteContended",
                    "others keep changing a route; it is left alone for now",
                )),
            ),
        ] {
            let status = RolloutStatus {
                conditions: vec![condition.clone()],
                ..RolloutStatus::default()
            };
            let expected = expected.map(|(reason, note)| (reason.to_owned(), true, note.to_owned()));
            assert_eq!(told(&status), Vec::from_iter(expected), "{condition:?}");
        }
    }

    #[test]
    fn only_a_wait_for_a_person_is_told() {
        for (reason, expected) in [
            (WaitingReason::Promotion, 1),
            (WaitingReason::PauseDuration, 0),
            (WaitingReason::CanaryPods, 0),
        ] {
            let status = RolloutStatus {
                waiting_on: Some(WaitingOn {
                    reason,
                    message: "promote".to_owned(),
                    since: at(1),
                    until: None,
                }),
                ..RolloutStatus::default()
            };
            assert_eq!(told(&status).len(), expected, "{reason:?}");
        }
    }

    #[test]
    fn the_same_decision_has_the_same_name_and_any_other_another() {
        let status = |seconds| RolloutStatus {
            history: vec![entry(seconds, "controller", "StepCompleted")],
            ..RolloutStatus::default()
        };
        let id = |uid, seconds| events(uid, &status(seconds)).remove(0).id;
        assert_eq!(id("u", 1), id("u", 1));
        assert!(id("u", 1) != id("u", 2) && id("u", 1) != id("v", 1));
    }

    #[test]
    fn the_name_of_an_event_fits_whatever_the_rollout_is_called() {
        let status = RolloutStatus {
            history: vec![entry(1, "controller", "StepCompleted")],
            ..RolloutStatus::default()
        };
        let event = events("u", &status).remove(0);
        let name = |rollout: String| {
            let regarding = Regarding {
                key: ObjectKey::new("shop", rollout),
                uid: "u".to_owned(),
            };
            object(&event, &regarding, "here")
                .pointer("/metadata/name")
                .unwrap()
                .as_str()
                .unwrap()
                .to_owned()
        };
        assert!(name("checkout".to_owned()).starts_with("checkout."));
        let long = name(format!("{}-{}", "a".repeat(199), "b".repeat(50)));
        assert!(
            long.len() < 253 && long.starts_with(&format!("{}.", "a".repeat(199))),
            "{long}"
        );
    }

    #[test]
    fn a_note_fits_and_ends_at_a_letter() {
        let status = RolloutStatus {
            history: vec![HistoryEntry {
                why: "ü".repeat(2_000),
                ..entry(1, "controller", "StepCompleted")
            }],
            ..RolloutStatus::default()
        };
        let note = events("u", &status).remove(0).note;
        assert!(note.len() <= MAX_NOTE && note.ends_with("ü…"), "{}", note.len());
    }
}

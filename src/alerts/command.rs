//! The RolloutCommand that an alert asks with. It depends on nothing but Rollout, revision, alert and how often it was
//! turned down, so that whoever asks again asks for the same.

use std::fmt::Write;

use chrono::SecondsFormat;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Alert;
use super::register::Release;
use crate::api::names::API_VERSION;
use crate::api::resource::ObjectKey;
use crate::api::rollout_command::{ALERT_PREFIX, AlertRef, Expectation, RolloutCommandSpec, Verb};

const MAX_ALERT_NAME: usize = 128;
/// In characters; the command allows 1,024, of an ASCII text.
const MAX_REASON: usize = 500;
/// Of the hash in the name.
const HASH_BYTES: usize = 10;
/// Names of Rollouts may be longer than those that are valid.
const MAX_NAME: usize = 200;

/// The name of the command, `again` after so many that were turned down.
pub fn command_name(rollout: &ObjectKey, release: &Release, alert: &Alert, again: u32) -> String {
    let starts_at = alert.starts_at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let parts = [
        &rollout.name,
        &release.revision.to_string(),
        &alert.fingerprint,
        &starts_at,
        &again.to_string(),
    ];
    let digest = Sha256::digest(parts.map(String::as_str).join("\n"));
    let mut name: String = rollout.name.chars().take(MAX_NAME).collect();
    name.push_str("-alert-");
    for byte in digest.iter().take(HASH_BYTES) {
        // Writing to a String does not fail.
        let _written = write!(name, "{byte:02x}");
    }
    name
}

/// An abort of this revision and of no other.
pub fn abort_command(rollout: &ObjectKey, release: &Release, alert: &Alert, again: u32) -> Value {
    let spec = RolloutCommandSpec {
        rollout: rollout.name.clone(),
        verb: Verb::Abort,
        expect: Some(Expectation {
            revision: Some(release.revision),
            step: None,
        }),
        reason: Some(reason(alert)),
        requested_by: Some(format!("{ALERT_PREFIX}{}", alert_name(alert))),
        alert: Some(AlertRef {
            fingerprint: alert.fingerprint.clone(),
            starts_at: alert.starts_at,
        }),
        force: false,
    };
    json!({
        "apiVersion": API_VERSION,
        "kind": "RolloutCommand",
        "metadata": {"name": command_name(rollout, release, alert, again), "namespace": rollout.namespace},
        "spec": spec,
    })
}

/// What may stand in a log.
pub fn alert_name(alert: &Alert) -> String {
    let name = alert.labels.get("alertname").map_or("", String::as_str);
    let is_plain = |c: char| c.is_alphanumeric() || "._:-".contains(c);
    let plain = name
        .chars()
        .take(MAX_ALERT_NAME)
        .map(|c| if is_plain(c) { c } else { '_' });
    match name {
        "" => "unnamed".to_owned(),
        _ => plain.collect(),
    }
}

/// Whether it lets what follows be read in another order than it is written.
fn turns_text(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn reason(alert: &Alert) -> String {
    let name = alert_name(alert);
    let summary = alert.summary.as_deref().unwrap_or_default();
    let words: Vec<&str> = summary
        .split(|c: char| c.is_whitespace() || c.is_control() || turns_text(c))
        .filter(|word| !word.is_empty())
        .collect();
    match words.is_empty() {
        true => format!("alert {name} fires"),
        false => format!("alert {name} fires: {}", words.join(" "))
            .chars()
            .take(MAX_REASON)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::names::Revision;

    fn alert(name: &str, summary: Option<&str>) -> Alert {
        Alert {
            labels: [("alertname".to_owned(), name.to_owned())].into(),
            fingerprint: "6f5a".to_owned(),
            starts_at: "2026-11-26T06:00:00.123Z".parse().unwrap(),
            is_firing: true,
            summary: summary.map(str::to_owned),
        }
    }

    fn release(revision: i64) -> Release {
        Release {
            revision: Revision(revision),
            retries: 0,
            began: "2026-11-26T05:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn the_name_depends_on_rollout_revision_alert_and_how_often_it_was_turned_down() {
        let key = ObjectKey::new("shop", "checkout");
        let first = command_name(&key, &release(7), &alert("A", None), 0);
        assert!(
            first.starts_with("checkout-alert-") && first.len() == 35,
            "{first}"
        );
        let retried = Release {
            retries: 1,
            ..release(7)
        };
        assert_eq!(command_name(&key, &retried, &alert("B", Some("x")), 0), first);
        let mut later = alert("A", None);
        later.starts_at += chrono::TimeDelta::milliseconds(1);
        let mut other = alert("A", None);
        other.fingerprint = "6f5b".to_owned();
        let names = [
            first,
            command_name(&key, &release(8), &alert("A", None), 0),
            command_name(&key, &release(7), &alert("A", None), 1),
            command_name(&key, &release(7), &later, 0),
            command_name(&key, &release(7), &other, 0),
            command_name(&ObjectKey::new("shop", "cart"), &release(7), &alert("A", None), 0),
        ];
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }

    #[test]
    fn the_command_aborts_one_revision_in_words_without_tricks() {
        let hostile = alert(
            "High\"Error/\u{202e}Rate",
            Some("a\r\nb\u{1b}[2J  c\u{202e}d\u{2066}e\u{2069}"),
        );
        let command = abort_command(&ObjectKey::new("shop", "checkout"), &release(7), &hostile, 0);
        assert_eq!(
            command["spec"],
            json!({
                "rollout": "checkout", "verb": "Abort", "expect": {"revision": 7},
                "reason": "alert High_Error__Rate fires: a b [2J c d e",
                "requestedBy": "alert:High_Error__Rate",
                "alert": {"fingerprint": "6f5a", "startsAt": "2026-11-26T06:00:00.123Z"},
            })
        );
        let long = alert(&"n".repeat(1_000), Some(&"é ".repeat(1_000)));
        let command = abort_command(&ObjectKey::new("shop", "checkout"), &release(7), &long, 0);
        assert_eq!(
            command["spec"]["reason"].as_str().unwrap().chars().count(),
            MAX_REASON
        );
        assert_eq!(
            command["spec"]["requestedBy"].as_str().unwrap().len(),
            6 + MAX_ALERT_NAME
        );
        let nameless = abort_command(
            &ObjectKey::new("shop", "checkout"),
            &release(7),
            &alert("", None),
            0,
        );
        assert_eq!(nameless["spec"]["reason"], "alert unnamed fires");
    }
}

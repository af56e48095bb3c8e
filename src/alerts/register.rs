//! What is known of every Rollout that an alert might concern, and the decision about one alert.
//!
//! Matchers are compiled while a Rollout is being released, and only then: nothing else can be aborted.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::{Alert, Ignored, Reach, RoutingLabels};
use crate::api::matcher::{Labels, Matcher};
use crate::api::names::Revision;
use crate::api::resource::ObjectKey;
use crate::api::rollout::AlertSelector;
use crate::api::rollout_status::RolloutStatus;
use crate::api::time::is_before;

const MAX_NAME: usize = 253;

#[derive(Debug, Default)]
pub struct Register {
    rollouts: BTreeMap<ObjectKey, Standing>,
    /// Those in release, with matchers.
    armed: BTreeMap<ObjectKey, Armed>,
}

/// How a Rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    AtRest,
    Aborted,
    Releasing(Release),
}

/// A revision that can be aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    pub revision: Revision,
    /// How often it was started again after an abort.
    pub retries: u32,
    /// The last time that it was started.
    pub began: DateTime<Utc>,
}

#[derive(Debug)]
struct Armed {
    source: Vec<AlertSelector>,
    /// One list for each entry of `abortOn.alerts`; an alert must meet all of one.
    rules: Vec<Vec<Matcher>>,
}

/// What comes of one alert.
#[derive(Debug, PartialEq, Eq)]
pub struct Decision {
    pub aborts: Vec<(ObjectKey, Release)>,
    /// Why not, or not all that it asks for.
    pub ignored: Option<Ignored>,
}

impl Register {
    /// Takes in a Rollout as it is now; `None` if it is gone. Says whether it can be aborted.
    pub fn note(&mut self, key: &ObjectKey, rollout: Option<&Value>) -> bool {
        let Some(rollout) = rollout else {
            self.rollouts.remove(key);
            self.armed.remove(key);
            return false;
        };
        let standing = standing(rollout);
        self.rollouts.insert(key.clone(), standing);
        if !matches!(standing, Standing::Releasing(_)) {
            self.armed.remove(key);
            return false;
        }
        let source = selectors(rollout);
        if source.is_empty() {
            self.armed.remove(key);
        } else if self.armed.get(key).is_none_or(|armed| armed.source != source) {
            let rules = source.iter().filter_map(compile).collect();
            self.armed.insert(key.clone(), Armed { source, rules });
        }
        true
    }

    /// Whether some Rollout in release asks for alerts.
    pub fn is_armed(&self) -> bool {
        !self.armed.is_empty()
    }

    pub fn decide(&self, alert: &Alert, reach: Reach<'_>) -> Decision {
        if !alert.is_firing {
            return Decision {
                aborts: Vec::new(),
                ignored: Some(Ignored::Resolved),
            };
        }
        let matched = self
            .armed
            .iter()
            .filter(|(_, armed)| armed.is_met_by(&alert.labels));
        let (mut keys, beyond): (BTreeSet<ObjectKey>, BTreeSet<ObjectKey>) = matched
            .map(|(key, _)| key.clone())
            .partition(|key| reach.namespaces.reach(&key.namespace));
        let mut ignored = match named(&alert.labels, reach) {
            Ok(Some(key)) => {
                keys.insert(key);
                None
            }
            Ok(None) if !keys.is_empty() => None,
            Ok(None) if !beyond.is_empty() => Some(Ignored::Unreached),
            Ok(None) => Some(Ignored::Unaddressed),
            Err(why) => Some(why),
        };
        let mut aborts = Vec::new();
        for key in keys {
            match self.judge(&key, alert) {
                Ok(release) => aborts.push((key, release)),
                Err(why) => ignored = ignored.or(Some(why)),
            }
        }
        Decision { aborts, ignored }
    }

    fn judge(&self, key: &ObjectKey, alert: &Alert) -> Result<Release, Ignored> {
        match self.rollouts.get(key) {
            None => Err(Ignored::UnknownRollout),
            Some(Standing::AtRest) => Err(Ignored::AtRest),
            Some(Standing::Aborted) => Err(Ignored::Aborted),
            Some(Standing::Releasing(release)) if is_before(alert.starts_at, release.began) => {
                Err(Ignored::Older)
            }
            Some(Standing::Releasing(release)) => Ok(*release),
        }
    }
}

impl Armed {
    fn is_met_by(&self, labels: &Labels) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.iter().all(|matcher| matcher.matches(labels)))
    }
}

/// The Rollout that the labels name, if they name one.
fn named(labels: &Labels, reach: Reach<'_>) -> Result<Option<ObjectKey>, Ignored> {
    let Some(RoutingLabels { namespace, rollout }) = reach.labels else {
        return Ok(None);
    };
    let written = |name: &String| labels.get(name).filter(|value| !value.is_empty());
    let (namespace, rollout) = (written(namespace), written(rollout));
    if [namespace, rollout]
        .into_iter()
        .flatten()
        .any(|name| !is_name(name))
    {
        return Err(Ignored::Malformed);
    }
    match (namespace, rollout) {
        (Some(namespace), Some(_)) if !reach.namespaces.reach(namespace) => Err(Ignored::Forbidden),
        (Some(namespace), Some(rollout)) => Ok(Some(ObjectKey::new(namespace, rollout))),
        _ => Ok(None),
    }
}

/// Whether an object could have this name.
fn is_name(text: &str) -> bool {
    let is_part = |part: &str| part.starts_with(is_inner) && part.ends_with(is_inner);
    fn is_inner(c: char) -> bool {
        c.is_ascii_lowercase() || c.is_ascii_digit()
    }
    text.len() <= MAX_NAME
        && text.chars().all(|c| is_inner(c) || c == '-' || c == '.')
        && text.split('.').all(is_part)
}

fn standing(rollout: &Value) -> Standing {
    let status = rollout.get("status").map(RolloutStatus::deserialize);
    let status = status.and_then(Result::ok).unwrap_or_default();
    let release = status.revision.zip(status.attempt_began_at());
    match release.filter(|_| status.is_in_release(status.current_pod_hash.as_ref())) {
        None => Standing::AtRest,
        Some(_) if status.abort => Standing::Aborted,
        Some((revision, began)) => Standing::Releasing(Release {
            revision,
            retries: status.retries,
            began,
        }),
    }
}

fn selectors(rollout: &Value) -> Vec<AlertSelector> {
    let alerts = rollout.pointer("/spec/abortOn/alerts");
    alerts
        .and_then(|alerts| Vec::deserialize(alerts).ok())
        .unwrap_or_default()
}

/// `None` for one that is not valid, which the Rollout's status says.
fn compile(selector: &AlertSelector) -> Option<Vec<Matcher>> {
    let matchers: Result<Vec<_>, _> = selector
        .matchers
        .iter()
        .map(|text| Matcher::parse(text))
        .collect();
    let matchers: Vec<Matcher> = matchers.ok()?.into_iter().flatten().collect();
    let is_met_by_any = matchers.iter().all(Matcher::matches_absence);
    (!is_met_by_any).then_some(matchers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::Namespaces;
    use serde_json::json;

    const BEGAN: &str = "2026-11-26T06:00:00.500Z";

    fn rollout(matchers: Value, change: Value) -> Value {
        let mut status = json!({
            "stableRS": "old", "currentPodHash": "new", "revision": 7, "revisionStartedAt": BEGAN,
        });
        for (name, value) in change.as_object().unwrap() {
            status[name] = value.clone();
        }
        json!({"spec": {"abortOn": {"alerts": matchers}}, "status": status})
    }

    fn register() -> Register {
        let errors = json!([
            {"matchers": ["alertname=Errors", "service=checkout"]},
            {"matchers": ["alertname=Down"]},
            {"matchers": ["broken", "x=y"]},
            {"matchers": ["x!=y"]},
        ]);
        let mut register = Register::default();
        let rollouts = [
            ("shop", "checkout", rollout(errors.clone(), json!({}))),
            ("shop", "plain", rollout(json!([]), json!({"retries": 2}))),
            (
                "shop",
                "rest",
                rollout(errors.clone(), json!({"stableRS": "new"})),
            ),
            (
                "shop",
                "first",
                rollout(errors.clone(), json!({"stableRS": null})),
            ),
            ("shop", "aborted", rollout(errors.clone(), json!({"abort": true}))),
            ("bank", "ledger", rollout(errors, json!({}))),
        ];
        for (namespace, name, rollout) in rollouts {
            register.note(&ObjectKey::new(namespace, name), Some(&rollout));
        }
        register
    }

    /// Of labels `name=value`, those that are aborted.
    fn decide(register: &Register, labels: &str, namespaces: &[&str]) -> (String, Option<Ignored>) {
        let labels = labels.split(' ').map(|label| label.split_once('=').unwrap());
        let alert = Alert {
            labels: labels
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            fingerprint: "f".to_owned(),
            starts_at: BEGAN.parse().unwrap(),
            is_firing: true,
            summary: None,
        };
        let namespaces = Namespaces::These(namespaces.iter().map(|name| (*name).to_owned()).collect());
        let labels = RoutingLabels::default();
        let reach = Reach {
            namespaces: &namespaces,
            labels: Some(&labels),
        };
        let decision = register.decide(&alert, reach);
        let aborts: Vec<String> = decision.aborts.iter().map(|(key, _)| key.to_string()).collect();
        (aborts.join(" "), decision.ignored)
    }

    #[test]
    fn an_alert_reaches_by_matchers_or_by_labels_and_never_beyond_its_namespaces() {
        use Ignored::{Aborted, AtRest, Forbidden, Malformed, Unaddressed, UnknownRollout, Unreached};
        let register = register();
        for (labels, aborts, ignored) in [
            ("alertname=Errors service=checkout", "shop/checkout", None),
            ("alertname=Errors", "", Some(Unaddressed)),
            ("alertname=Down", "shop/checkout", None),
            ("alertname=Other namespace=shop", "", Some(Unaddressed)),
            ("rollout=plain", "", Some(Unaddressed)),
            ("namespace= rollout=plain", "", Some(Unaddressed)),
            ("namespace=shop rollout=plain", "shop/plain", None),
            ("namespace=shop rollout=none", "", Some(UnknownRollout)),
            ("namespace=shop rollout=rest", "", Some(AtRest)),
            ("namespace=shop rollout=first", "", Some(AtRest)),
            ("namespace=shop rollout=aborted", "", Some(Aborted)),
            ("namespace=bank rollout=ledger", "", Some(Forbidden)),
            ("namespace=shop rollout=../x", "", Some(Malformed)),
            ("namespace=Shop rollout=plain", "", Some(Malformed)),
            ("rollout=a..b", "", Some(Malformed)),
            (
                "alertname=Down namespace=bank rollout=ledger",
                "shop/checkout",
                Some(Forbidden),
            ),
            (
                "alertname=Down namespace=shop rollout=plain",
                "shop/checkout shop/plain",
                None,
            ),
        ] {
            assert_eq!(
                decide(&register, labels, &["shop"]),
                (aborts.to_owned(), ignored),
                "{labels}"
            );
        }
        let both = ("bank/ledger shop/checkout".to_owned(), None);
        assert_eq!(decide(&register, "alertname=Down", &["bank", "shop"]), both);
        let beyond = (String::new(), Some(Unreached));
        assert_eq!(decide(&register, "alertname=Down", &["elsewhere"]), beyond);
    }

    #[test]
    fn only_what_fires_since_the_revision_began_aborts_it() {
        let register = register();
        let reach = Reach {
            namespaces: &Namespaces::All,
            labels: None,
        };
        let began: DateTime<Utc> = BEGAN.parse().unwrap();
        for (is_firing, milliseconds, expected) in [
            (true, 0, None),
            (true, 60_000, None),
            (true, -999, None),
            (true, -1_000, Some(Ignored::Older)),
            (false, 0, Some(Ignored::Resolved)),
        ] {
            let alert = Alert {
                labels: [("alertname".to_owned(), "Down".to_owned())].into(),
                fingerprint: "f".to_owned(),
                starts_at: began + chrono::TimeDelta::milliseconds(milliseconds),
                is_firing,
                summary: None,
            };
            let decision = register.decide(&alert, reach);
            assert_eq!(decision.ignored, expected);
            assert_eq!(decision.aborts.is_empty(), expected.is_some());
        }
    }

    #[test]
    fn a_retry_is_not_undone_by_what_fired_before_it() {
        let retry = |at: &str, revision: i64| json!({"at": at, "who": "ann", "what": "RetryCommanded", "revision": revision, "why": "flaky"});
        let history = json!([
            retry("2026-11-26T06:05:00Z", 7),
            retry("2026-11-26T06:20:00Z", 7),
            retry("2026-11-26T06:40:00Z", 6),
        ]);
        let rollout = rollout(
            json!([{"matchers": ["alertname=Down"]}]),
            json!({"retries": 2, "history": history}),
        );
        let mut register = Register::default();
        register.note(&ObjectKey::new("shop", "checkout"), Some(&rollout));
        let reach = Reach {
            namespaces: &Namespaces::All,
            labels: None,
        };
        for (fingerprint, starts_at, expected) in [
            ("a", "2026-11-26T06:04:00Z", Some(Ignored::Older)),
            ("b", "2026-11-26T06:10:00Z", Some(Ignored::Older)),
            ("a", "2026-11-26T06:21:00Z", None),
        ] {
            let alert = Alert {
                labels: [("alertname".to_owned(), "Down".to_owned())].into(),
                fingerprint: fingerprint.to_owned(),
                starts_at: starts_at.parse().unwrap(),
                is_firing: true,
                summary: None,
            };
            assert_eq!(register.decide(&alert, reach).ignored, expected, "{starts_at}");
        }
    }

    #[test]
    fn matchers_are_held_for_as_long_as_a_release_goes_on() {
        let mut register = Register::default();
        let key = ObjectKey::new("shop", "checkout");
        let alerts = json!([{"matchers": ["alertname=Down"]}]);
        for (rollout, is_armed) in [
            (Some(rollout(alerts.clone(), json!({}))), true),
            (Some(rollout(alerts.clone(), json!({"abort": true}))), false),
            (Some(rollout(alerts.clone(), json!({"retries": 1}))), true),
            (Some(rollout(json!([]), json!({}))), false),
            (Some(rollout(alerts.clone(), json!({}))), true),
            (Some(rollout(alerts, json!({"stableRS": "new"}))), false),
            (None, false),
        ] {
            register.note(&key, rollout.as_ref());
            assert_eq!(register.is_armed(), is_armed, "{rollout:?}");
        }
        assert!(register.rollouts.is_empty());
    }
}

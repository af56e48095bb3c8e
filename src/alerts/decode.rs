//! What Alertmanager sends and answers: the webhook's body (version 4), and `GET /api/v2/alerts`. Fields that are not
//! needed are passed over, whatever they hold.

use std::fmt;
use std::marker::PhantomData;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use super::Alert;
use crate::api::matcher::Labels;
use crate::api::time::parse_rfc3339;

/// More than fit into the largest body, if they are alerts at all.
const MAX_ALERTS: usize = 20_000;
const MAX_FINGERPRINT: usize = 64;
/// Labels, or annotations, of one alert. 20 bytes of a body can stand for a hundred in memory.
const MAX_LABELS: usize = 128;
const MAX_LABEL_NAME: usize = 1_024;
const MAX_LABEL_VALUE: usize = 4_096;
/// Annotations that say what is the matter, the best first.
const SUMMARIES: [&str; 3] = ["summary", "description", "message"];

#[derive(Debug, Error)]
pub enum DecodeError {
    #[error("not JSON that Alertmanager would send: {0}")]
    Json(#[from] serde_json::Error),
    #[error("not version 4 of the webhook")]
    Version,
}

/// What came in one body.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub alerts: Vec<Alert>,
    /// Alerts that no Alertmanager sends: without a fingerprint or a time, or with labels that are too many or too long
    /// or have control characters.
    pub malformed: usize,
    /// Alerts that Alertmanager has left out (`max_alerts` of the receiver).
    pub truncated: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Webhook {
    version: String,
    #[serde(default)]
    truncated_alerts: u64,
    alerts: AtMost<Sent<String>>,
}

/// An alert; only its status differs between the two ways.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent<S> {
    #[serde(default)]
    labels: FewLabels,
    #[serde(default)]
    annotations: FewLabels,
    #[serde(default)]
    starts_at: String,
    #[serde(default)]
    fingerprint: String,
    status: S,
}

#[derive(Deserialize)]
struct PolledStatus {
    state: String,
}

pub fn decode_webhook(body: &[u8]) -> Result<Batch, DecodeError> {
    let webhook: Webhook = serde_json::from_slice(body)?;
    if webhook.version != "4" {
        return Err(DecodeError::Version);
    }
    Ok(Batch {
        truncated: webhook.truncated_alerts,
        ..collect(webhook.alerts, |status| status == "firing")
    })
}

/// All of them fire, but for those that are silenced or inhibited.
pub fn decode_alerts(body: &[u8]) -> Result<Batch, DecodeError> {
    let alerts: AtMost<Sent<PolledStatus>> = serde_json::from_slice(body)?;
    Ok(collect(alerts, |status| status.state != "suppressed"))
}

fn collect<S>(sent: AtMost<Sent<S>>, is_firing: impl Fn(&S) -> bool) -> Batch {
    let mut batch = Batch::default();
    for alert in sent.0 {
        let is_firing = is_firing(&alert.status);
        match read_alert(alert, is_firing) {
            Some(alert) => batch.alerts.push(alert),
            None => batch.malformed += 1,
        }
    }
    batch
}

fn read_alert<S>(sent: Sent<S>, is_firing: bool) -> Option<Alert> {
    let (labels, mut annotations) = (sent.labels.0?, sent.annotations.0?);
    let print = &sent.fingerprint;
    let is_print = (1..=MAX_FINGERPRINT).contains(&print.len());
    if !is_print || !print.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let is_label = |(name, value): (&String, &String)| {
        let is_short = name.len() <= MAX_LABEL_NAME && value.len() <= MAX_LABEL_VALUE;
        is_short && !name.chars().chain(value.chars()).any(char::is_control)
    };
    if !labels.iter().all(is_label) {
        return None;
    }
    let starts_at = parse_rfc3339(&sent.starts_at)?;
    let summary = SUMMARIES.iter().find_map(|name| annotations.remove(*name));
    Some(Alert {
        starts_at: to_milliseconds(starts_at),
        labels,
        fingerprint: sent.fingerprint,
        is_firing,
        summary,
    })
}

/// A webhook tells nanoseconds, the API milliseconds.
fn to_milliseconds(time: DateTime<Utc>) -> DateTime<Utc> {
    time.duration_trunc(TimeDelta::milliseconds(1)).unwrap_or(time)
}

/// A list that is not taken in beyond [`MAX_ALERTS`]: three bytes of a body can stand for a hundred in memory.
struct AtMost<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for AtMost<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Collector(PhantomData)).map(AtMost)
    }
}

struct Collector<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Collector<T> {
    type Value = Vec<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "at most {MAX_ALERTS} alerts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut taken = Vec::new();
        while let Some(one) = list.next_element()? {
            if taken.len() == MAX_ALERTS {
                return Err(A::Error::invalid_length(MAX_ALERTS + 1, &self));
            }
            taken.push(one);
        }
        Ok(taken)
    }
}

/// `None` where there are more than [`MAX_LABELS`], which are not taken in.
struct FewLabels(Option<Labels>);

impl Default for FewLabels {
    fn default() -> Self {
        FewLabels(Some(Labels::new()))
    }
}

impl<'de> Deserialize<'de> for FewLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LabelCollector).map(FewLabels)
    }
}

struct LabelCollector;

impl<'de> Visitor<'de> for LabelCollector {
    type Value = Option<Labels>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("names and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Labels>, A::Error> {
        let mut taken = Labels::new();
        while let Some((name, value)) = map.next_entry()? {
            if taken.len() == MAX_LABELS {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(None);
            }
            taken.insert(name, value);
        }
        Ok(Some(taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn alert() -> Value {
        json!({
            "status": "firing", "fingerprint": "6f5a0c1d", "generatorURL": "http://p/graph",
            "labels": {"alertname": "HighErrorRate", "service": "checkout"},
            "annotations": {"description": "more", "summary": "12 % fail"},
            "startsAt": "2026-11-26T08:00:00.123456789+02:00", "endsAt": "0001-01-01T00:00:00Z",
        })
    }

    fn many(count: usize) -> Value {
        (0..count)
            .map(|number| (format!("l{number}"), json!("x")))
            .collect()
    }

    fn webhook(alerts: Value) -> Value {
        json!({"version": "4", "groupKey": "{}", "truncatedAlerts": 3, "status": "firing", "alerts": alerts})
    }

    fn decode(body: &Value) -> Result<Batch, DecodeError> {
        decode_webhook(body.to_string().as_bytes())
    }

    fn expected() -> Alert {
        let labels = [("alertname", "HighErrorRate"), ("service", "checkout")];
        Alert {
            labels: labels
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            fingerprint: "6f5a0c1d".to_owned(),
            starts_at: "2026-11-26T06:00:00.123Z".parse().unwrap(),
            is_firing: true,
            summary: Some("12 % fail".to_owned()),
        }
    }

    #[test]
    fn both_ways_give_the_same_alert() {
        let batch = decode(&webhook(json!([alert()]))).unwrap();
        assert_eq!((&batch.alerts[..], batch.truncated), (&[expected()][..], 3));
        let mut polled = alert();
        polled["status"] = json!({"state": "active", "silencedBy": [], "inhibitedBy": []});
        polled["startsAt"] = json!("2026-11-26T06:00:00.123Z");
        polled["receivers"] = json!([{"name": "x"}]);
        let batch = decode_alerts(json!([polled]).to_string().as_bytes()).unwrap();
        assert_eq!(batch.alerts, [expected()]);
        polled["status"]["state"] = json!("suppressed");
        let batch = decode_alerts(json!([polled]).to_string().as_bytes()).unwrap();
        assert!(!batch.alerts[0].is_firing);
    }

    #[test]
    fn one_that_nobody_sends_does_not_spoil_the_others() {
        for (path, value) in [
            ("/fingerprint", json!("")),
            ("/fingerprint", json!("../x")),
            ("/fingerprint", json!("a".repeat(65))),
            ("/startsAt", json!("yesterday")),
            ("/labels/service", json!("a\nb")),
            ("/labels/service", json!("\u{1b}[2J")),
            ("/labels/service", json!("x".repeat(5_000))),
            ("/labels", many(MAX_LABELS + 1)),
            ("/annotations", many(MAX_LABELS + 1)),
        ] {
            let mut bad = alert();
            *bad.pointer_mut(path).unwrap() = value;
            let batch = decode(&webhook(json!([bad, alert()]))).unwrap();
            assert_eq!((batch.alerts.len(), batch.malformed), (1, 1), "{path}");
        }
    }

    #[test]
    fn what_is_no_webhook_of_version_4_is_refused() {
        let mut other = webhook(json!([]));
        assert_eq!(decode(&other).unwrap().alerts, []);
        other["version"] = json!("3");
        let bodies = [
            other,
            json!([]),
            json!({"version": "4"}),
            json!({"version": 4, "alerts": []}),
            webhook(json!({})),
            webhook(json!([{"status": "firing", "labels": {"a": 1}}])),
            webhook(json!(vec![alert(); MAX_ALERTS + 1])),
        ];
        for body in bodies {
            assert!(decode(&body).is_err(), "{:.60}", body.to_string());
        }
        assert!(decode_webhook(b"{\"version\": \"4\", \"alerts\": [").is_err());
        assert!(decode_webhook("[".repeat(100_000).as_bytes()).is_err());
    }
}

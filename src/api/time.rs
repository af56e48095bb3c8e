//! The project's clock type is chrono's; Kubernetes object metadata uses jiff's. They meet here only.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Metadata time to project time; a value outside chrono's range becomes the epoch.
pub fn from_meta(time: &Time) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(time.0.as_millisecond()).unwrap_or(DateTime::UNIX_EPOCH)
}

/// RFC 3339 with seconds, as Kubernetes writes times.
pub fn to_rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Whether `at` was before `began`. Different clocks tell such times, and some of them whole seconds only: what lies within
/// one second is not before.
pub fn is_before(at: DateTime<Utc>, began: DateTime<Utc>) -> bool {
    at + TimeDelta::seconds(1) <= began
}

/// Parses RFC 3339; `None` for anything else.
pub fn parse_rfc3339(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|time| time.with_timezone(&Utc))
}

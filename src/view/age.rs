//! How long ago, and how long until, in the few characters kubectl uses; or the moments themselves, for data.

use chrono::{DateTime, TimeDelta, Utc};

use crate::api::time::to_rfc3339;

/// `42s`, `5m10s`, `47m`, `3h5m`, `21h`, `2d4h`, `90d`: exact while young, coarse when old. Never negative.
pub fn format_span(span: TimeDelta) -> String {
    let seconds = span.num_seconds().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => pair(minutes, 'm', seconds % 60, 's'),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => pair(hours, 'h', minutes % 60, 'm'),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => pair(days, 'd', hours % 24, 'h'),
        () => format!("{days}d"),
    }
}

/// Age of something made at `since`; `<unknown>` without a time, as kubectl says it.
pub fn format_age(since: Option<DateTime<Utc>>, now: DateTime<Utc>) -> String {
    since.map_or_else(|| "<unknown>".to_owned(), |since| format_span(now - since))
}

fn pair(large: i64, large_unit: char, small: i64, small_unit: char) -> String {
    match small {
        0 => format!("{large}{large_unit}"),
        _ => format!("{large}{large_unit}{small}{small_unit}"),
    }
}

/// How moments are told: a person reads spans that end at `now`; data holds the moments themselves, so that the same
/// objects give the same bytes at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moments {
    Spans { now: DateTime<Utc> },
    Absolute,
}

impl Moments {
    pub fn since(self, at: DateTime<Utc>) -> String {
        match self {
            Moments::Spans { now } => format!("for {}", format_span(now - at)),
            Moments::Absolute => format!("since {}", to_rfc3339(at)),
        }
    }

    pub fn until(self, at: DateTime<Utc>) -> String {
        match self {
            Moments::Spans { now } => format!("{} left", format_span(at - now)),
            Moments::Absolute => format!("until {}", to_rfc3339(at)),
        }
    }

    pub fn past(self, at: DateTime<Utc>) -> String {
        match self {
            Moments::Spans { now } => format!("{} ago", format_span(now - at)),
            Moments::Absolute => format!("at {}", to_rfc3339(at)),
        }
    }

    /// Never, where nobody knows what time it is.
    pub fn is_past(self, at: DateTime<Utc>) -> bool {
        match self {
            Moments::Spans { now } => at <= now,
            Moments::Absolute => false,
        }
    }

    pub fn ahead(self, at: DateTime<Utc>) -> String {
        match self {
            Moments::Spans { now } => format!("in {} ({})", format_span(at - now), to_rfc3339(at)),
            Moments::Absolute => to_rfc3339(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_spans_as_kubectl_does() {
        for (seconds, text) in [
            (-5, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (310, "5m10s"),
            (600, "10m"),
            (3 * 3_600, "3h"),
            (3 * 3_600 + 300, "3h5m"),
            (9 * 3_600 + 300, "9h"),
            (2 * 86_400 + 4 * 3_600, "2d4h"),
            (90 * 86_400, "90d"),
        ] {
            assert_eq!(format_span(TimeDelta::seconds(seconds)), text, "{seconds}");
        }
    }
}

//! One grammar for every duration users write: `90s`, `1h30m`, `500ms`, `2d`, or a plain number of seconds.
//! A string without a unit is refused (`"5"` could mean anything), and so is more than 30 days.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use thiserror::Error;

pub const MAX_MILLIS: i64 = 30 * 24 * 3_600 * 1_000;
/// The same grammar for the CRD schema: less than 30 days in the first unit, and what it leaves in the others; or
/// exactly 30 days in one unit.
pub const PATTERN: &str = concat!(
    r"^(30d|720h|43200m|2592000s|[0-9]{1,9}ms|",
    r"(([01]?[0-9]{1,6}|2[0-4][0-9]{5}|25[0-8][0-9]{4}|259[01][0-9]{3})s|",
    r"(([0-3]?[0-9]{1,4}|4[0-2][0-9]{3}|43[01][0-9]{2})m|",
    r"(([1-6]?[0-9]{1,2}|7[01][0-9])h|[12]?[0-9]d(([01]?[0-9]|2[0-3])h)?)",
    r"([0-5]?[0-9]m)?)([0-5]?[0-9]s)?)([0-9]{1,3}ms)?)$",
);

/// A length of time, in milliseconds; never negative, at most 30 days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration {
    millis: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DurationError {
    #[error("{0:?} is not a duration; write a number with a unit, for example 30s, 5m or 1h30m")]
    Grammar(String),
    #[error("{0:?} is longer than 30 days")]
    TooLong(String),
    #[error("{0:?} has a whole {1} or more in a smaller unit; write 2h30m for 1h90m")]
    Carry(String, &'static str),
}

impl Duration {
    pub const fn from_seconds(seconds: u32) -> Self {
        Duration {
            millis: seconds as i64 * 1_000,
        }
    }

    pub fn as_millis(self) -> i64 {
        self.millis
    }

    pub fn is_zero(self) -> bool {
        self.millis == 0
    }

    /// At most 30 days, as everywhere.
    pub fn saturating_mul(self, factor: u32) -> Self {
        Duration {
            millis: self.millis.saturating_mul(i64::from(factor)).min(MAX_MILLIS),
        }
    }

    pub fn to_chrono(self) -> chrono::Duration {
        chrono::Duration::milliseconds(self.millis)
    }

    /// Units must come from large to small, each at most once: `1h30m`, not `30m1h`. All but the first stay below the
    /// next larger unit: `2h30m`, not `1h90m`. So a schema can tell what is longer than 30 days.
    pub fn parse(text: &str) -> Result<Self, DurationError> {
        let grammar = || DurationError::Grammar(text.to_owned());
        let mut rest = text;
        let mut total: i64 = 0;
        let mut last_rank = usize::MAX;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let unit_length = tail.bytes().take_while(|byte| !byte.is_ascii_digit()).count();
            let (unit, tail) = tail.split_at(unit_length);
            let (rank, factor) = unit_factor(unit).ok_or_else(grammar)?;
            let (whole_number, whole_unit) = whole(rank);
            let number: i64 = number.parse().map_err(|_| grammar())?;
            if rank >= last_rank {
                return Err(grammar());
            }
            if last_rank != usize::MAX && number >= whole_number {
                return Err(DurationError::Carry(text.to_owned(), whole_unit));
            }
            last_rank = rank;
            total = total.saturating_add(number.saturating_mul(factor));
            rest = tail;
        }
        match total {
            _ if text.is_empty() => Err(grammar()),
            total if total > MAX_MILLIS => Err(DurationError::TooLong(text.to_owned())),
            millis => Ok(Duration { millis }),
        }
    }
}

/// Rank (larger units rank higher) and length in milliseconds.
fn unit_factor(unit: &str) -> Option<(usize, i64)> {
    Some(match unit {
        "ms" => (0, 1),
        "s" => (1, 1_000),
        "m" => (2, 60_000),
        "h" => (3, 3_600_000),
        "d" => (4, 86_400_000),
        _ => return None,
    })
}

/// How many of the unit of this rank make the next larger one.
fn whole(rank: usize) -> (i64, &'static str) {
    match rank {
        0 => (1_000, "second"),
        1 => (60, "minute"),
        2 => (60, "hour"),
        _ => (24, "day"),
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.millis;
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in [
            ("d", 86_400_000),
            ("h", 3_600_000),
            ("m", 60_000),
            ("s", 1_000),
            ("ms", 1),
        ] {
            if rest >= factor {
                write!(f, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Seconds(i64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Text(text) => Duration::parse(&text).map_err(D::Error::custom),
            Written::Seconds(seconds) => match seconds.checked_mul(1_000) {
                Some(millis) if (0..=MAX_MILLIS).contains(&millis) => Ok(Duration { millis }),
                _ => Err(D::Error::custom(format!(
                    "{seconds} seconds is not between 0 and 30 days"
                ))),
            },
        }
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": PATTERN,
            "minLength": 2,
            "minimum": 0,
            "maximum": MAX_MILLIS / 1_000,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_grammar() {
        for (text, millis) in [
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("2d", 172_800_000),
            ("0s", 0),
            ("30d", MAX_MILLIS),
        ] {
            assert_eq!(
                Duration::parse(text).map(Duration::as_millis),
                Ok(millis),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "", "5", "-5s", "1h30", "NaN", "1.5h", "30m1h", "5s5s", " 5s", "5 s", "31d", "999999h", "s",
            "1h90m",
        ] {
            assert!(Duration::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn schema_refuses_what_the_grammar_refuses() {
        let pattern = regex::Regex::new(PATTERN).unwrap();
        for (text, fits) in [
            ("30s", true),
            ("1h30m", true),
            ("30d", true),
            ("720h", true),
            ("43200m", true),
            ("2592000s", true),
            ("31d", false),
            ("721h", false),
            ("43201m", false),
            ("2592001s", false),
            ("5", false),
            ("30m1h", false),
            ("29d23h59m59s999ms", true),
            ("719h59m", true),
            ("43199m59s", true),
            ("2591999s999ms", true),
            ("30d1h", false),
            ("30d1ms", false),
            ("29d24h", false),
            ("720h1s", false),
            ("1h90m", false),
            ("43200m1s", false),
            ("2592000s1ms", false),
            ("", false),
        ] {
            assert_eq!(pattern.is_match(text), fits, "{text}");
            assert_eq!(Duration::parse(text).is_ok(), fits, "{text}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["30s", "1h30m", "500ms", "2d", "1m1s1ms"] {
            assert_eq!(Duration::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(
            serde_json::from_str::<Duration>("90").unwrap(),
            Duration::parse("1m30s").unwrap()
        );
    }
}

//! Patterns and formats of strings.

use std::collections::BTreeMap;
use std::sync::{LazyLock, PoisonError, RwLock};

use chrono::DateTime;
use regex::Regex;

/// Patterns that were compiled before: compiling costs a thousand times more than matching.
static COMPILED: LazyLock<RwLock<BTreeMap<String, Regex>>> = LazyLock::new(RwLock::default);

/// Whether `text` contains a match, as JSON Schema wants it; `Err` when the pattern itself cannot be read.
pub(super) fn matches_pattern(pattern: &str, text: &str) -> Result<bool, regex::Error> {
    let known = COMPILED
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .get(pattern)
        .cloned();
    if let Some(regex) = known {
        return Ok(regex.is_match(text));
    }
    let regex = Regex::new(pattern)?;
    let matches = regex.is_match(text);
    COMPILED
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(pattern.to_owned(), regex);
    Ok(matches)
}

/// Formats that the API server checks and we rely on; any other format passes, as it does there.
pub(super) fn matches_format(format: &str, text: &str) -> bool {
    match format {
        "date-time" => DateTime::parse_from_rfc3339(text).is_ok(),
        "date" => chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok(),
        "uuid" => {
            matches_pattern(r"^(?i)[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$", text).unwrap_or(false)
        }
        _ => true,
    }
}

//! Patterns and formats of strings.

use chrono::DateTime;
use regex::Regex;

/// Whether `text` contains a match, as JSON Schema wants it; `Err` when the pattern itself cannot be read.
pub(super) fn matches_pattern(pattern: &str, text: &str) -> Result<bool, regex::Error> {
    Ok(Regex::new(pattern)?.is_match(text))
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

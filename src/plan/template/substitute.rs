//! `{{args.x}}` and what takes its place: text in label values, numbers and durations elsewhere.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use thiserror::Error;

use super::promql::{Cursor, check_query, same_shape};
use super::{ArgValue, FieldError};

const MAX_VALUE_BYTES: usize = 1_024;

/// Which argument cannot be put where, and why. Values of Secrets are not known here and so cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SubstituteError {
    #[error("{0:?} is not a placeholder; write {{{{args.name}}}}")]
    Placeholder(String),
    #[error("{{{{args.{0}}}}} is not an argument of the templates")]
    Unresolved(String),
    #[error(
        "{{{{args.{0}}}}} comes from a Secret, which cannot be used here: it would be readable in the run"
    )]
    Secret(String),
    #[error("{{{{args.{0}}}}} stands outside a label value, where only a number or a duration is allowed")]
    NotAToken(String),
    #[error("{{{{args.{0}}}}} must be a number here")]
    NotANumber(String),
    #[error("{source_text} is {value:?}, not a whole number")]
    NotAnInteger { source_text: String, value: String },
    #[error("{{{{args.{0}}}}} is empty, which in a label value means something else than a text")]
    Empty(String),
    #[error("{{{{args.{0}}}}} has more than {MAX_VALUE_BYTES} bytes")]
    TooLong(String),
    #[error("{{{{args.{0}}}}} holds a control character")]
    Control(String),
    #[error("{{{{args.{0}}}}} stands in a raw string (`…`), where it cannot be escaped; use \"…\"")]
    RawString(String),
}

type Args = BTreeMap<String, ArgValue>;

pub(super) enum Piece<'a> {
    Text(&'a str),
    Arg(&'a str),
}

/// The query with its arguments, parsed, and of the same shape as with harmless ones.
pub(super) fn put_into_query(source: &str, args: &Args) -> Result<String, FieldError> {
    let mut query = String::new();
    let mut harmless = String::new();
    let mut cursor = Cursor::default();
    for piece in pieces(source)? {
        match piece {
            Piece::Text(text) => {
                cursor.advance(text);
                query.push_str(text);
                harmless.push_str(text);
            }
            Piece::Arg(name) => {
                let value = text_of(name, args)?;
                let (real, stand_in) = match cursor.quote() {
                    Some('`') => return Err(SubstituteError::RawString(name.to_owned()).into()),
                    Some(quote) => (escape(name, value, quote)?, "x"),
                    None if is_number(value) => (value.to_owned(), "1"),
                    None if is_duration(value) => (value.to_owned(), "1m"),
                    None => return Err(SubstituteError::NotAToken(name.to_owned()).into()),
                };
                query.push_str(&real);
                harmless.push_str(stand_in);
            }
        }
    }
    let asked = check_query(&query)?;
    same_shape(asked, check_query(&harmless)?)?;
    Ok(query)
}

/// Arguments in conditions are numbers: thresholds.
pub(super) fn put_into_condition(source: &str, args: &Args) -> Result<String, SubstituteError> {
    put(source, args, |name, value| match is_number(value) {
        true => Ok(value),
        false => Err(SubstituteError::NotANumber(name.to_owned())),
    })
}

/// `count` and limits: a number, or one placeholder for it.
pub(super) fn put_into_number(value: &IntOrString, args: &Args) -> Result<IntOrString, SubstituteError> {
    let IntOrString::String(source) = value else {
        return Ok(value.clone());
    };
    let value = put(source, args, |_, value| Ok(value))?;
    match value.parse() {
        Ok(number) => Ok(IntOrString::Int(number)),
        Err(_) => Err(SubstituteError::NotAnInteger {
            source_text: source.clone(),
            value,
        }),
    }
}

fn put(
    source: &str,
    args: &Args,
    check: impl for<'v> Fn(&str, &'v str) -> Result<&'v str, SubstituteError>,
) -> Result<String, SubstituteError> {
    let mut text = String::new();
    for piece in pieces(source)? {
        text.push_str(match piece {
            Piece::Text(literal) => literal,
            Piece::Arg(name) => check(name, text_of(name, args)?)?,
        });
    }
    Ok(text)
}

pub(super) fn pieces(source: &str) -> Result<Vec<Piece<'_>>, SubstituteError> {
    let mut pieces = Vec::new();
    let mut rest = source;
    while let Some((before, after)) = rest.split_once("{{") {
        let wrong = || SubstituteError::Placeholder(after.chars().take(40).collect());
        let (inside, tail) = after.split_once("}}").ok_or_else(wrong)?;
        let name = inside
            .trim()
            .strip_prefix("args.")
            .filter(|name| is_name(name))
            .ok_or_else(wrong)?;
        pieces.extend([Piece::Text(before), Piece::Arg(name)]);
        rest = tail;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

fn text_of<'a>(name: &str, args: &'a Args) -> Result<&'a str, SubstituteError> {
    match args.get(name) {
        None => Err(SubstituteError::Unresolved(name.to_owned())),
        Some(ArgValue::Secret(_)) => Err(SubstituteError::Secret(name.to_owned())),
        Some(ArgValue::Text(value)) if value.len() > MAX_VALUE_BYTES => {
            Err(SubstituteError::TooLong(name.to_owned()))
        }
        Some(ArgValue::Text(value)) => Ok(value),
    }
}

/// As it stands between these quotes; Prometheus refuses an escaped quote of the other kind.
fn escape(name: &str, value: &str, quote: char) -> Result<String, SubstituteError> {
    if value.is_empty() {
        return Err(SubstituteError::Empty(name.to_owned()));
    }
    let mut escaped = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '\\' => escaped.push_str("\\\\"),
            own if own == quote => escaped.extend(['\\', own]),
            '\n' => escaped.push_str("\\n"),
            '\t' => escaped.push_str("\\t"),
            '\r' => escaped.push_str("\\r"),
            control if control.is_control() => return Err(SubstituteError::Control(name.to_owned())),
            other => escaped.push(other),
        }
    }
    Ok(escaped)
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Plain decimals with an optional sign and exponent; never NaN, Inf or hexadecimal.
fn is_number(value: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E');
    let digit_first = value
        .trim_start_matches('-')
        .starts_with(|first: char| first.is_ascii_digit());
    digit_first && value.bytes().all(plain) && value.parse::<f64>().is_ok_and(f64::is_finite)
}

/// PromQL durations: `30s`, `1h30m`.
fn is_duration(value: &str) -> bool {
    let mut rest = value;
    while !rest.is_empty() {
        let after_digits = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let unit = ["ms", "s", "m", "h", "d", "w", "y"]
            .into_iter()
            .find_map(|unit| after_digits.strip_prefix(unit));
        match unit {
            Some(tail) if after_digits.len() < rest.len() => rest = tail,
            _ => return false,
        }
    }
    !value.is_empty()
}

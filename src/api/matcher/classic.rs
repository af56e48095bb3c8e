//! The dialect of Alertmanager before 0.27: names of letters, digits, `_` and `:`; of escapes only `\"`, `\\` and `\n`,
//! any other backslash stands for itself; a value without quotes goes on to the next comma.

use super::{MatcherError, Operator, Parsed};

pub(super) fn parse(text: &str) -> Result<Vec<Parsed>, MatcherError> {
    let text = text.trim();
    let inner = match text.strip_prefix('{') {
        Some(opened) => opened.strip_suffix('}').ok_or(MatcherError::Braces)?,
        None => text,
    };
    let parts = split(inner)?;
    let parts = parts.iter().map(|part| part.trim());
    parts.filter(|part| !part.is_empty()).map(parse_one).collect()
}

/// At commas outside of quotes.
fn split(text: &str) -> Result<Vec<String>, MatcherError> {
    let mut parts = vec![String::new()];
    let (mut is_quoted, mut is_escaped) = (false, false);
    for character in text.chars() {
        match character {
            _ if is_escaped => is_escaped = false,
            '"' => is_quoted = !is_quoted,
            '\\' => is_escaped = true,
            ',' if !is_quoted => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(character);
        }
    }
    match is_quoted {
        true => Err(MatcherError::Quote(text.to_owned())),
        false => Ok(parts),
    }
}

fn parse_one(text: &str) -> Result<Parsed, MatcherError> {
    let syntax = || MatcherError::Syntax(text.to_owned());
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    let is_next = |c: char| is_first(c) || c.is_ascii_digit();
    let end = text.find(|c| !is_next(c)).ok_or_else(syntax)?;
    let (name, rest) = text.split_at(end);
    if !name.starts_with(is_first) {
        return Err(syntax());
    }
    let (operator, value) = Operator::take(rest.trim_start()).ok_or_else(syntax)?;
    Ok(Parsed {
        name: name.to_owned(),
        operator,
        value: unescape(value.trim())?,
    })
}

fn unescape(raw: &str) -> Result<String, MatcherError> {
    let wrong = || MatcherError::Quote(raw.to_owned());
    let opened = raw.strip_prefix('"');
    // Alertmanager would take the last one away.
    if opened.is_none() && raw.matches('{').count() != raw.matches('}').count() {
        return Err(MatcherError::Braces);
    }
    let mut rest = opened.unwrap_or(raw).chars();
    let mut value = String::new();
    let mut is_closed = opened.is_none();
    while let Some(character) = rest.next() {
        match character {
            '\\' => match rest.next() {
                Some('n') => value.push('\n'),
                Some(plain @ ('"' | '\\')) => value.push(plain),
                Some(other) => value.extend(['\\', other]),
                None => value.push('\\'),
            },
            '"' if opened.is_some() && rest.as_str().is_empty() => is_closed = true,
            '"' => return Err(wrong()),
            other => value.push(other),
        }
    }
    is_closed.then_some(value).ok_or_else(wrong)
}

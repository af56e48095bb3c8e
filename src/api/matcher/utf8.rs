//! The dialect of Alertmanager from 0.27 on: names and values may be any text, quoted with the escapes of Go's strings;
//! without quotes they end at white space and at any of ``{}!=~,\"'` ``.

use std::str::Chars;

use super::{MatcherError, Operator, Parsed};

const RESERVED: &str = "{}!=~,\\\"'`";

pub(super) fn parse(text: &str) -> Result<Vec<Parsed>, MatcherError> {
    let inner = text.trim();
    let opened = inner.strip_prefix('{');
    let mut rest = opened.unwrap_or(inner).trim_start();
    let mut matchers = Vec::new();
    while !rest.is_empty() && !rest.starts_with('}') {
        let (matcher, after) = parse_one(rest)?;
        matchers.push(matcher);
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after.trim_start(),
            None if rest.is_empty() || rest.starts_with('}') => break,
            None => return Err(MatcherError::Syntax(text.to_owned())),
        }
    }
    let is_closed = match opened {
        Some(_) => rest == "}",
        None => rest.is_empty(),
    };
    is_closed.then_some(matchers).ok_or(MatcherError::Braces)
}

fn parse_one(text: &str) -> Result<(Parsed, &str), MatcherError> {
    let (name, rest) = take_text(text)?;
    let syntax = || MatcherError::Syntax(text.to_owned());
    if name.is_empty() {
        return Err(syntax());
    }
    let (operator, rest) = Operator::take(rest.trim_start()).ok_or_else(syntax)?;
    let rest = rest.trim_start();
    let is_quoted = rest.starts_with('"');
    let (value, rest) = take_text(rest)?;
    if value.is_empty() && !is_quoted {
        return Err(syntax());
    }
    let matcher = Parsed {
        name,
        operator,
        value,
    };
    Ok((matcher, rest))
}

/// What a text begins with, quoted or not, and the rest.
fn take_text(text: &str) -> Result<(String, &str), MatcherError> {
    if let Some(quoted) = text.strip_prefix('"') {
        return unquote(quoted).ok_or_else(|| MatcherError::Quote(text.to_owned()));
    }
    let end = text.find(|c: char| c.is_whitespace() || RESERVED.contains(c));
    let (plain, rest) = text.split_at(end.unwrap_or(text.len()));
    Ok((plain.to_owned(), rest))
}

/// Up to the closing quote; `None` if there is none, or for an escape that Go does not know.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text.chars();
    loop {
        match rest.next()? {
            '"' => return Some((value, rest.as_str())),
            '\n' => return None,
            '\\' => value.push(escaped(&mut rest)?),
            other => value.push(other),
        }
    }
}

fn escaped(rest: &mut Chars<'_>) -> Option<char> {
    let plain = match rest.next()? {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        plain @ ('\\' | '"') => plain,
        'x' => return number(rest, 2, 16).filter(char::is_ascii),
        'u' => return number(rest, 4, 16),
        'U' => return number(rest, 8, 16),
        _ => return None,
    };
    Some(plain)
}

fn number(rest: &mut Chars<'_>, digits: usize, radix: u32) -> Option<char> {
    let code = (0..digits).try_fold(0u32, |code, _| {
        code.checked_mul(radix)?
            .checked_add(rest.next()?.to_digit(radix)?)
    });
    char::from_u32(code?)
}

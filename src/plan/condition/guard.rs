//! What a condition may look like before the parser sees it. The parser of `expr-lang` backtracks and
//! recurses: some 2000 parentheses abort the process, a few dozen nested brackets never end, `1..20000000`
//! takes gigabytes, and its builtins read the clock. A condition needs none of that: it compares numbers. So
//! it is cut into tokens, the tokens are counted, nesting is bounded and every name must be known.

use super::ConditionError;

pub const MAX_SOURCE_BYTES: usize = 1_024;
const MAX_TOKENS: usize = 200;
const MAX_NESTING: usize = 32;
/// The parser reads what stands in an index twice per level.
const MAX_INDEX_NESTING: usize = 4;
/// A predicate in a predicate in a predicate would visit the cube of the series.
const MAX_PREDICATE_NESTING: usize = 2;

const SYMBOLS: [&str; 27] = [
    "<=", ">=", "==", "!=", "&&", "||", "**", "??", "<", ">", "!", "+", "-", "*", "/", "%", "^", "(", ")",
    "[", "]", "{", "}", ",", "?", ":", "|",
];
const WORDS: [&str; 9] = ["result", "#", "true", "false", "nil", "and", "or", "not", "in"];
pub(super) const FUNCTIONS: [&str; 25] = [
    "asInt", "asFloat", "isNaN", "isInf", "isNil", "default", "len", "all", "any", "none", "one", "filter",
    "map", "count", "sum", "mean", "median", "min", "max", "abs", "ceil", "floor", "round", "int", "float",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Word(&'a str),
    Number(&'a str),
    Symbol(&'static str),
}

/// Tokens of a condition that is safe to parse and to run.
pub(super) fn guard(source: &str) -> Result<Vec<Token<'_>>, ConditionError> {
    if source.len() > MAX_SOURCE_BYTES {
        return Err(ConditionError::TooLong(source.len()));
    }
    let tokens = tokenise(source)?;
    match tokens.len() {
        0 => return Err(ConditionError::Empty),
        count if count > MAX_TOKENS => {
            return Err(ConditionError::TooComplex("too many operators and names"));
        }
        _ => {}
    }
    check_names(&tokens)?;
    check_brackets(&tokens)?;
    Ok(tokens)
}

fn tokenise(source: &str) -> Result<Vec<Token<'_>>, ConditionError> {
    let mut tokens = Vec::new();
    let mut rest = source.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = next_token(rest).ok_or_else(|| refuse(rest, first))?;
        tokens.push(token);
        rest = rest.get(length..).unwrap_or_default().trim_start();
    }
    Ok(tokens)
}

fn next_token(rest: &str) -> Option<(Token<'_>, usize)> {
    if rest.starts_with("//") || rest.starts_with("/*") {
        return None;
    }
    if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
        return Some((Token::Symbol(symbol), symbol.len()));
    }
    let length = number_length(rest);
    if length > 0 {
        return rest
            .get(..length)
            .filter(|number| !number.contains(".."))
            .map(|number| (Token::Number(number), length));
    }
    let length = match rest.starts_with('#') {
        true => 1,
        false => rest
            .bytes()
            .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
            .count(),
    };
    rest.get(..length)
        .filter(|word| !word.is_empty())
        .map(|word| (Token::Word(word), length))
}

/// Digits and dots with an exponent, starting with a digit or a dot before one; the parser has the last word.
fn number_length(rest: &str) -> usize {
    let digits = rest
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || *byte == b'.')
        .count();
    if !rest.bytes().take(digits).any(|byte| byte.is_ascii_digit()) {
        return 0;
    }
    let tail = rest.get(digits..).unwrap_or_default();
    let Some(exponent) = tail.strip_prefix(['e', 'E']) else {
        return digits;
    };
    let sign = usize::from(exponent.starts_with(['+', '-']));
    let power = exponent.bytes().skip(sign).take_while(u8::is_ascii_digit).count();
    if power == 0 {
        digits
    } else {
        digits + 1 + sign + power
    }
}

fn refuse(rest: &str, first: char) -> ConditionError {
    let range = rest
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .starts_with("..");
    match first {
        _ if range => ConditionError::Refused("ranges (..)"),
        '"' | '\'' | '`' => ConditionError::Refused("texts; result holds numbers"),
        '/' => ConditionError::Refused("comments"),
        other => ConditionError::Character(other),
    }
}

fn check_names(tokens: &[Token]) -> Result<(), ConditionError> {
    for (index, token) in tokens.iter().enumerate() {
        let Token::Word(word) = token else { continue };
        let called = tokens.get(index + 1) == Some(&Token::Symbol("("));
        let known = WORDS.contains(word) || (called && FUNCTIONS.contains(word));
        if !known {
            return Err(ConditionError::UnknownName((*word).to_owned()));
        }
    }
    Ok(())
}

/// Brackets must match, and a colon must belong to a `?` in the same bracket: no slices, no maps.
fn check_brackets(tokens: &[Token]) -> Result<(), ConditionError> {
    let mut open: Vec<(&str, usize)> = vec![("", 0)];
    for token in tokens {
        let Token::Symbol(symbol) = token else { continue };
        match (*symbol, open.last_mut()) {
            ("(" | "[" | "{", _) => open.push((symbol, 0)),
            ("?", Some((_, questions))) => *questions += 1,
            (":", Some((_, 0)) | None) => return Err(ConditionError::Refused("slices and maps")),
            (":", Some((_, questions))) => *questions -= 1,
            (")" | "]" | "}", Some((opened, _))) => {
                if !matches!((*opened, *symbol), ("(", ")") | ("[", "]") | ("{", "}")) {
                    return Err(ConditionError::Brackets);
                }
                open.pop();
            }
            _ => {}
        }
        let depth = |bracket| open.iter().filter(|(opened, _)| *opened == bracket).count();
        if open.len() > MAX_NESTING + 1
            || depth("[") > MAX_INDEX_NESTING
            || depth("{") > MAX_PREDICATE_NESTING
        {
            return Err(ConditionError::TooComplex("nested too deeply"));
        }
    }
    if open.len() == 1 {
        Ok(())
    } else {
        Err(ConditionError::Brackets)
    }
}

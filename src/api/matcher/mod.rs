//! Matchers of labels in Alertmanager's syntax: `alertname="HighErrorRate"`, `severity=~"page|critical"`.
//!
//! Both dialects are read, as Alertmanager does from 0.27 on in its default mode: UTF-8 first ([`utf8`]: names may be
//! quoted, values escaped as in Go), the older one ([`classic`]) where that fails or the two differ. Guarantees: what is
//! parsed is bounded in size and in the time that it takes to match.

mod classic;
mod utf8;

use std::collections::BTreeMap;
use std::fmt;

use regex::{Regex, RegexBuilder};
use thiserror::Error;

/// Of a compiled expression, in bytes.
const MAX_REGEX_BYTES: usize = 64 * 1_024;
const MAX_NESTING: u32 = 50;

/// Labels of an alert.
pub type Labels = BTreeMap<String, String>;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MatcherError {
    #[error("there is no matcher in it; write for example alertname=\"HighErrorRate\"")]
    Empty,
    #[error("{0:?} is not a matcher; write name=\"value\", with =, !=, =~ or !~")]
    Syntax(String),
    #[error("{0} is not closed by a quote, or has one inside that is not escaped")]
    Quote(String),
    #[error("braces do not match")]
    Braces,
    #[error("{0:?} is not a regular expression that can be used: {1}")]
    Regex(String, String),
}

/// One condition on one label. A label that an alert has not counts as empty, as in Alertmanager.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    operator: Operator,
    value: String,
    /// For the operators that need one: the value, as a whole.
    regex: Option<Regex>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Matches,
    MatchesNot,
}

impl Operator {
    /// The longer ones first, so that none is taken for the beginning of another.
    const ALL: [(&'static str, Operator); 4] = [
        ("=~", Operator::Matches),
        ("!~", Operator::MatchesNot),
        ("!=", Operator::NotEqual),
        ("=", Operator::Equal),
    ];

    /// The operator that a text begins with, and the rest.
    fn take(text: &str) -> Option<(Operator, &str)> {
        let found = |(sign, operator)| Some((operator, text.strip_prefix(sign)?));
        Operator::ALL.into_iter().find_map(found)
    }
}

/// A matcher before its regular expression is compiled.
#[derive(Debug, PartialEq, Eq)]
struct Parsed {
    name: String,
    operator: Operator,
    value: String,
}

impl Matcher {
    /// The matchers of one text: usually one, or several between commas, with or without braces around them.
    pub fn parse(text: &str) -> Result<Vec<Matcher>, MatcherError> {
        let parsed = match (utf8::parse(text), classic::parse(text)) {
            (Ok(utf8), Ok(classic)) if utf8 != classic => classic,
            (Ok(utf8), _) => utf8,
            (Err(_), Ok(classic)) => classic,
            (Err(error), Err(_)) => return Err(error),
        };
        match parsed.is_empty() {
            true => Err(MatcherError::Empty),
            false => parsed.into_iter().map(Matcher::compile).collect(),
        }
    }

    fn compile(parsed: Parsed) -> Result<Matcher, MatcherError> {
        let Parsed {
            name,
            operator,
            value,
        } = parsed;
        let regex = match operator {
            Operator::Equal | Operator::NotEqual => None,
            Operator::Matches | Operator::MatchesNot => {
                let whole = RegexBuilder::new(&format!("^(?:{})$", as_in_go(&value)))
                    .size_limit(MAX_REGEX_BYTES)
                    .nest_limit(MAX_NESTING)
                    .build();
                // Of several lines, which show the place, the last says what is wrong.
                let what = |error: regex::Error| {
                    let said = error.to_string();
                    let last = said.lines().last().unwrap_or_default();
                    last.trim_start_matches("error: ").to_owned()
                };
                Some(whole.map_err(|error| MatcherError::Regex(value.clone(), what(error)))?)
            }
        };
        Ok(Matcher {
            name,
            operator,
            value,
            regex,
        })
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        self.matches_value(labels.get(&self.name).map_or("", String::as_str))
    }

    /// Whether an alert without the label matches, too.
    pub fn matches_absence(&self) -> bool {
        self.matches_value("")
    }

    fn matches_value(&self, value: &str) -> bool {
        let is_match = self.regex.as_ref().is_some_and(|regex| regex.is_match(value));
        match self.operator {
            Operator::Equal => value == self.value,
            Operator::NotEqual => value != self.value,
            Operator::Matches => is_match,
            Operator::MatchesNot => !is_match,
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = Operator::ALL
            .iter()
            .find(|(_, operator)| *operator == self.operator);
        let sign = sign.map_or("", |(sign, _)| sign);
        write!(f, "{:?}{sign}{:?}", self.name, self.value)
    }
}

/// Perl's classes mean ASCII in Go and Unicode here, which would also be large.
fn as_in_go(expression: &str) -> String {
    let mut written = String::with_capacity(expression.len());
    let mut rest = expression.chars();
    while let Some(character) = rest.next() {
        let escaped = match character {
            '\\' => rest.next(),
            other => {
                written.push(other);
                continue;
            }
        };
        match escaped {
            Some('d') => written.push_str("[0-9]"),
            Some('D') => written.push_str("[^0-9]"),
            Some('w') => written.push_str("[0-9A-Za-z_]"),
            Some('W') => written.push_str("[^0-9A-Za-z_]"),
            Some('s') => written.push_str(r"[\t\n\f\r ]"),
            Some('S') => written.push_str(r"[^\t\n\f\r ]"),
            Some('b') => written.push_str(r"(?-u:\b)"),
            other => {
                written.push('\\');
                written.extend(other);
            }
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        match Matcher::parse(text) {
            Ok(matchers) => {
                let texts: Vec<String> = matchers.iter().map(Matcher::to_string).collect();
                texts.join(", ")
            }
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn both_dialects_are_read() {
        for (text, expected) in [
            (r#"alertname="HighErrorRate""#, r#""alertname"="HighErrorRate""#),
            ("alertname=HighErrorRate", r#""alertname"="HighErrorRate""#),
            (r#" a != "b" "#, r#""a"!="b""#),
            (r#"a=~"b|c""#, r#""a"=~"b|c""#),
            (r#"a!~"b.*""#, r#""a"!~"b.*""#),
            (r#"a="""#, r#""a"="""#),
            ("a=", r#""a"="""#),
            (r#"{a="b",c=~"d"}"#, r#""a"="b", "c"=~"d""#),
            (r#"a="b", c="d,e""#, r#""a"="b", "c"="d,e""#),
            ("{a=b,}", r#""a"="b""#),
            (r#""service.name"="caf\u00e9""#, r#""service.name"="café""#),
            (r#""🙂"="x""#, r#""🙂"="x""#),
            (r#"a="x\ty""#, r#""a"="x\\ty""#),
            (r#""a"="x\ty""#, r#""a"="x\ty""#),
            (r#"a="x\"y\\z\n""#, r#""a"="x\"y\\z\n""#),
            // Only the older dialect reads these.
            ("a==b", r#""a"="=b""#),
            ("a=b c", r#""a"="b c""#),
            ("a=[b]{2}", r#""a"="[b]{2}""#),
            (r"a=~\d+", r#""a"=~"\\d+""#),
            (r#"a=~"\d+""#, r#""a"=~"\\d+""#),
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_matcher_is_told_apart() {
        for (text, expected) in [
            ("", "there is no matcher"),
            ("  ", "there is no matcher"),
            ("{}", "there is no matcher"),
            ("alertname", "is not a matcher"),
            ("=x", "is not a matcher"),
            ("{a=b", "braces"),
            ("a=b}", "braces"),
            (r#"a="b"#, "quote"),
            (r#"a="b"c""#, "is not a matcher"),
            (r#"a=~"(""#, "regular expression"),
            (r#"a=~"(?:x{1000}){1000}""#, "regular expression"),
            (r#""a.b"=~"\d+""#, "quote"),
        ] {
            let said = parsed(text);
            assert!(
                said.starts_with("error: ") && said.contains(expected),
                "{text}: {said}"
            );
        }
    }

    #[test]
    fn an_expression_matches_the_whole_value_and_an_absent_label_is_empty() {
        let labels: Labels = [("a", "one"), ("b", "two\nlines"), ("d", "é٣")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        for (text, matches) in [
            ("a=one", true),
            ("a=on", false),
            ("a!=one", false),
            ("a!=two", true),
            (r#"a=~"o.*""#, true),
            (r#"a=~"n""#, false),
            (r#"a=~"one|two""#, true),
            (r#"a=~"on|e""#, false),
            (r#"a!~"on""#, true),
            (r#"a!~"one""#, false),
            (r#"a=~"(?i)ONE""#, true),
            (r#"b=~"two.*""#, false),
            (r#"b=~"(?s)two.*""#, true),
            ("c=", true),
            ("c!=", false),
            (r#"c=~".*""#, true),
            (r#"c=~".+""#, false),
            ("c!=x", true),
            (r#"a=~"\\w+""#, true),
            (r#"a=~"[\\w-]+""#, true),
            (r#"a=~"[^\\W]{3}""#, true),
            (r#"a=~"\\D\\S*""#, true),
            (r#"a=~"\\bone\\b""#, true),
            (r#"a=~"\\\\w+""#, false),
            (r#"d=~"\\w+""#, false),
            (r#"d=~"..""#, true),
            (r#"b=~"two\\slines""#, true),
            // As large as somebody who means well may write them.
            (r#"a!~"\\w+-\\w+\\.(shop|bank)\\.svc:\\d+""#, true),
            (
                r#"a!~"(?i)(one|two|three|four|five|six|seven|eight|nine|ten)-(canary|stable)-[0-9a-f]{10}""#,
                true,
            ),
        ] {
            let matchers = Matcher::parse(text).unwrap();
            assert_eq!(matchers.iter().all(|one| one.matches(&labels)), matches, "{text}");
        }
    }
}

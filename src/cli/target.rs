//! What a user may write where a Rollout is meant: `checkout`, `rollout/checkout`, `rol/checkout`,
//! `rollouts.tidegate.dev/checkout`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

const KINDS: [&str; 7] = [
    "rollout",
    "rollouts",
    "rol",
    "rollout.tidegate.dev",
    "rollouts.tidegate.dev",
    "rollout.v1alpha1.tidegate.dev",
    "rollouts.v1alpha1.tidegate.dev",
];

/// Name of an object, known to be one the API server could hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutName(String);

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    #[error("{0:?} is not a Rollout; this command takes NAME or rollout/NAME")]
    OtherKind(String),
    #[error(
        "{0:?} is not a name: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit"
    )]
    Grammar(String),
}

impl RolloutName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As kubectl prints it.
    pub fn qualified(&self) -> String {
        format!("rollout.tidegate.dev/{}", self.0)
    }
}

impl fmt::Display for RolloutName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RolloutName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let name = match text.split_once('/') {
            Some((kind, name)) if KINDS.contains(&kind.to_ascii_lowercase().as_str()) => name,
            Some((kind, _)) => return Err(NameError::OtherKind(kind.to_owned())),
            None => text,
        };
        match is_object_name(name) {
            true => Ok(RolloutName(name.to_owned())),
            false => Err(NameError::Grammar(name.to_owned())),
        }
    }
}

/// RFC 1123 subdomain.
fn is_object_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let body = label
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        body && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// An RFC 1123 subdomain.
pub fn parse_name(text: &str) -> Result<String, NameError> {
    match is_object_name(text) {
        true => Ok(text.to_owned()),
        false => Err(NameError::Grammar(text.to_owned())),
    }
}

/// `--namespace`: an RFC 1123 label.
pub fn parse_namespace(text: &str) -> Result<String, NameError> {
    match text.len() <= 63 && !text.contains('.') && is_object_name(text) {
        true => Ok(text.to_owned()),
        false => Err(NameError::Grammar(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_forms_kubectl_takes() {
        for text in [
            "checkout",
            "rollout/checkout",
            "Rollouts/checkout",
            "rol/checkout",
            "rollouts.tidegate.dev/checkout",
        ] {
            assert_eq!(text.parse(), Ok(RolloutName("checkout".to_owned())), "{text}");
        }
    }

    #[test]
    fn row_105_refuses_what_can_be_no_name() {
        for text in [
            "",
            "A/b",
            "deployment/x",
            "Checkout",
            "🚀",
            "a b",
            "-a",
            "a-",
            "a..b",
            "rollout/",
            "a/b/c",
            "../x",
        ] {
            assert!(text.parse::<RolloutName>().is_err(), "{text}");
        }
        assert!("x".repeat(254).parse::<RolloutName>().is_err());
        assert!(parse_namespace("a.b").is_err());
    }
}

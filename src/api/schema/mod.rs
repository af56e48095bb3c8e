//! The structural schema of a CustomResourceDefinition applied to an object, as the API server does it:
//! prune what the schema does not know, put in defaults, validate.
//!
//! Pure functions over `serde_json::Value` for schema and object; used by the sandbox's API server and by the
//! offline lint. Field paths, reasons and messages are those of the real API server. Assumes a structural
//! schema (`apiextensions.k8s.io/v1`); CEL rules are evaluated elsewhere.

mod complete;
mod field;
mod metadata;
mod prune;
mod text;
mod validate;

pub use complete::complete;
pub use field::FieldPath;
pub use prune::prune;
pub use validate::{list_map_key, list_map_keys, validate, validate_update};

use std::fmt;

use serde_json::Value;

/// Which rule of a schema an object breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Required,
    Invalid,
    TypeInvalid,
    NotSupported,
    Duplicate,
    TooLong,
    TooMany,
    Forbidden,
}

impl Reason {
    /// The word in `details.causes[].reason` of a `Status`.
    pub fn cause(self) -> &'static str {
        match self {
            Reason::Required => "FieldValueRequired",
            Reason::Invalid => "FieldValueInvalid",
            Reason::TypeInvalid => "FieldValueTypeInvalid",
            Reason::NotSupported => "FieldValueNotSupported",
            Reason::Duplicate => "FieldValueDuplicate",
            Reason::TooLong => "FieldValueTooLong",
            Reason::TooMany => "FieldValueTooMany",
            Reason::Forbidden => "FieldValueForbidden",
        }
    }

    fn phrase(self) -> &'static str {
        match self {
            Reason::Required => "Required value",
            Reason::Invalid | Reason::TypeInvalid => "Invalid value",
            Reason::NotSupported => "Unsupported value",
            Reason::Duplicate => "Duplicate value",
            Reason::TooLong => "Too long",
            Reason::TooMany => "Too many",
            Reason::Forbidden => "Forbidden",
        }
    }
}

/// One field that breaks one rule. Prints as `spec.replicas: Invalid value: -1: should be …`.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    pub field: String,
    pub reason: Reason,
    /// The offending value as it is shown; empty where the reason does not show one.
    pub shown: String,
    pub detail: String,
}

impl Violation {
    pub fn new(field: impl Into<String>, reason: Reason, value: &Value, detail: impl Into<String>) -> Self {
        let shown = match reason {
            Reason::Required | Reason::TooLong | Reason::Forbidden => String::new(),
            _ => shorten(value.to_string()),
        };
        Violation {
            field: field.into(),
            reason,
            shown,
            detail: detail.into(),
        }
    }

    pub fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Violation::new(field, Reason::Required, &Value::Null, detail)
    }

    pub fn invalid(field: impl Into<String>, value: &Value, detail: impl Into<String>) -> Self {
        Violation::new(field, Reason::Invalid, value, detail)
    }

    /// Everything but the field.
    pub fn message(&self) -> String {
        let parts = [self.reason.phrase(), &self.shown, &self.detail];
        let said: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        said.join(": ")
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.field, self.message())
    }
}

/// Objects are quoted in messages, pod templates not whole.
fn shorten(text: String) -> String {
    const LIMIT: usize = 200;
    if text.chars().count() <= LIMIT {
        return text;
    }
    let start: String = text.chars().take(LIMIT).collect();
    format!("{start}...")
}

#[cfg(test)]
mod tests;

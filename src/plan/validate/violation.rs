//! One thing that is wrong with an object.

use std::fmt;

/// Reason of the condition `Valid=False`. Closed: it is a label of a metric too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InvalidReason {
    UnsupportedField,
    UnknownField,
    RequiredField,
    InvalidField,
    NameTooLong,
    SpecTooLarge,
    InvalidSelector,
    InvalidDeadline,
    InvalidStep,
    InvalidScale,
    InvalidServices,
    InvalidRouting,
    AnnotationNotAllowed,
    AddressNotAllowed,
    InvalidAnalysis,
    InvalidMetric,
    InvalidAlert,
}

impl InvalidReason {
    pub fn as_str(self) -> &'static str {
        match self {
            InvalidReason::UnsupportedField => "UnsupportedField",
            InvalidReason::UnknownField => "UnknownField",
            InvalidReason::RequiredField => "RequiredField",
            InvalidReason::InvalidField => "InvalidField",
            InvalidReason::NameTooLong => "NameTooLong",
            InvalidReason::SpecTooLarge => "SpecTooLarge",
            InvalidReason::InvalidSelector => "InvalidSelector",
            InvalidReason::InvalidDeadline => "InvalidDeadline",
            InvalidReason::InvalidStep => "InvalidStep",
            InvalidReason::InvalidScale => "InvalidScale",
            InvalidReason::InvalidServices => "InvalidServices",
            InvalidReason::InvalidRouting => "InvalidRouting",
            InvalidReason::AnnotationNotAllowed => "AnnotationNotAllowed",
            InvalidReason::AddressNotAllowed => "AddressNotAllowed",
            InvalidReason::InvalidAnalysis => "InvalidAnalysis",
            InvalidReason::InvalidMetric => "InvalidMetric",
            InvalidReason::InvalidAlert => "InvalidAlert",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// `spec.strategy.canary.steps[2].setWeight`
    pub path: String,
    pub message: String,
    pub fix: Option<String>,
    pub reason: InvalidReason,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path, self.message)?;
        match &self.fix {
            Some(fix) => write!(formatter, "; {fix}"),
            None => Ok(()),
        }
    }
}

/// Accepted, but hardly meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub path: String,
    pub message: String,
}

/// Collects violations of one object.
#[derive(Debug)]
pub(super) struct Findings {
    reason: InvalidReason,
    pub violations: Vec<Violation>,
}

impl Findings {
    pub fn new() -> Self {
        Findings {
            reason: InvalidReason::InvalidField,
            violations: Vec::new(),
        }
    }

    /// The reason of what is found from here on.
    pub fn about(&mut self, reason: InvalidReason) -> &mut Self {
        self.reason = reason;
        self
    }

    /// `fix` may be empty.
    pub fn add(&mut self, path: impl Into<String>, message: impl Into<String>, fix: &str) {
        self.violations.push(Violation {
            path: path.into(),
            message: message.into(),
            fix: (!fix.is_empty()).then(|| fix.to_owned()),
            reason: self.reason,
        });
    }

    pub fn require(&mut self, holds: bool, path: impl Into<String>, message: impl Into<String>, fix: &str) {
        if !holds {
            self.add(path, message, fix);
        }
    }
}

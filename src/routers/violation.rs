//! What is wrong with a route or with the way a Rollout names it, for a person who has to mend it.

use std::fmt;

use super::{RouteKind, RouteTarget};

/// Held weights and pods until mended. Shown as `<object>: <field>: <problem>; <fix>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub reason: Reason,
    /// Kind and name: `Ingress checkout`.
    pub object: String,
    /// Path of the field in that object.
    pub field: String,
    pub problem: String,
    pub fix: String,
}

/// Closed set; the reason of the condition `Valid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A route that the Rollout names is not there.
    RouteNotFound,
    /// A route is there and does not fit: no rule to stable, one past it, shared with others.
    RouteInvalid,
    /// An object of the name we need belongs to somebody else.
    RouteNotOurs,
    /// An annotation that a Rollout may not set.
    AnnotationNotAllowed,
    /// A field of `trafficRouting` itself.
    RoutingInvalid,
}

impl Violation {
    /// Of a route object.
    pub(super) fn of_route(
        kind: RouteKind,
        name: &str,
        reason: Reason,
        field: &str,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Violation {
            reason,
            object: format!("{} {name}", kind.kind()),
            field: field.to_owned(),
            problem: problem.into(),
            fix: fix.into(),
        }
    }
}

impl RouteTarget<'_> {
    /// Of a field below `trafficRouting`.
    pub(super) fn violation(
        &self,
        reason: Reason,
        field: &str,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> Violation {
        Violation {
            reason,
            object: format!("Rollout {}", self.rollout_name),
            field: format!("spec.strategy.canary.trafficRouting.{field}"),
            problem: problem.into(),
            fix: fix.into(),
        }
    }
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::RouteNotFound => "RouteNotFound",
            Reason::RouteInvalid => "RouteInvalid",
            Reason::RouteNotOurs => "RouteNotOurs",
            Reason::AnnotationNotAllowed => "AnnotationNotAllowed",
            Reason::RoutingInvalid => "RoutingInvalid",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation {
            object,
            field,
            problem,
            fix,
            ..
        } = self;
        write!(f, "{object}: {field}: {problem}; {fix}")
    }
}

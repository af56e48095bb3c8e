//! Alerts of Alertmanager that abort releases: reading them, and deciding which of them concerns which Rollout.
//!
//! Pure: bodies in, decisions and RolloutCommands out. Guarantees: only a firing alert that began after the revision did
//! aborts it, only in namespaces that whoever sent it may reach, and never a Rollout that is at rest or aborted already;
//! the same alert gives the same RolloutCommand whichever way it came. Alerts are untrusted: their number, their size and
//! what may stand in them is bounded, and no text of theirs is passed on but sanitised.

pub mod command;
pub mod decode;
pub mod register;
pub mod token;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use crate::api::matcher::Labels;

/// One alert that can be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    pub labels: Labels,
    /// Letters and digits.
    pub fingerprint: String,
    /// To the millisecond, which is all that Alertmanager's API tells.
    pub starts_at: DateTime<Utc>,
    pub is_firing: bool,
    /// What its annotations say about it, as they say it.
    pub summary: Option<String>,
}

/// Whose Rollouts may be aborted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Namespaces {
    All,
    These(BTreeSet<String>),
}

impl Namespaces {
    pub fn reach(&self, namespace: &str) -> bool {
        match self {
            Namespaces::All => true,
            Namespaces::These(names) => names.contains(namespace),
        }
    }
}

/// The labels by which an alert names a Rollout itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingLabels {
    pub namespace: String,
    pub rollout: String,
}

impl Default for RoutingLabels {
    fn default() -> Self {
        RoutingLabels {
            namespace: "namespace".to_owned(),
            rollout: "rollout".to_owned(),
        }
    }
}

/// How far the alerts of one sender reach.
#[derive(Clone, Copy, Debug)]
pub struct Reach<'a> {
    pub namespaces: &'a Namespaces,
    /// `None`: only the matchers of Rollouts count.
    pub labels: Option<&'a RoutingLabels>,
}

/// Why an alert aborts nothing. Closed: it is a label of a metric too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ignored {
    /// It is over; that never takes an abort back.
    Resolved,
    /// No Rollout in release matches it, and its labels name none.
    Unaddressed,
    /// Rollouts in release match it, all of them in namespaces that its sender may not reach.
    Unreached,
    /// There is no such Rollout here.
    UnknownRollout,
    /// Nothing is in progress that could be aborted.
    AtRest,
    Aborted,
    /// It fired before the revision began.
    Older,
    /// A part of it cannot be what Alertmanager sends, or names no Rollout that could be.
    Malformed,
    /// It names a Rollout that its sender may not reach.
    Forbidden,
}

impl Ignored {
    pub fn as_str(self) -> &'static str {
        match self {
            Ignored::Resolved => "resolved",
            Ignored::Unaddressed => "unaddressed",
            Ignored::Unreached => "unreached",
            Ignored::UnknownRollout => "unknown_rollout",
            Ignored::AtRest => "at_rest",
            Ignored::Aborted => "aborted",
            Ignored::Older => "older",
            Ignored::Malformed => "malformed",
            Ignored::Forbidden => "forbidden",
        }
    }
}

//! A plan as a value: finished writes in ordered stages, the status to report, and why.
//! Nothing is left to choose while it is executed.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::patch::PatchOp;
use crate::api::rollout_status::RolloutStatus;

/// What one reconcile does. `stages` run in order, the first failure stops the rest (a refusal not all of it, see
/// [`ON_THEIR_OWN`]); then the status is written, if it differs from the one observed and is due.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub stages: Vec<Stage>,
    pub status: RolloutStatus,
    /// The status is worth no write before then; until then it is remembered, and the next round plans from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_due: Option<DateTime<Utc>>,
    /// When to look again although nothing changed.
    pub requeue_at: Option<DateTime<Utc>>,
    /// The rule that decided, as it stands in the docs.
    pub rule: String,
}

impl Plan {
    /// Whether requests would be lost by it if the endpoints were not what they were taken for.
    pub fn rests_on_endpoints(&self) -> bool {
        let rests = |stage: &Stage| {
            let purpose = stage.purpose.as_str();
            purpose != GROW && !ON_THEIR_OWN.contains(&purpose)
        };
        self.stages.iter().any(rests)
    }
}

/// `rule` of a plan that the second opinion objected to.
pub const REFUSED: &str = "Refused";

/// Purposes of the stages that move traffic or the pods that carry it.
pub const SHIFT: &str = "one change of the traffic";
pub const GROW: &str = "grow before traffic comes";
pub const SHRINK: &str = "shrink what traffic has left";
pub const MOVES_TRAFFIC: [&str; 3] = [SHIFT, GROW, SHRINK];

pub const CREATE: &str = "create what the release needs, and judge";
pub const SIZE: &str = "give the Rollout a size";
pub const CLEAR_UP: &str = "answer commands and clear up";
/// Purposes of the stages on which no other rests, nor anything that the status says of the traffic: what is refused
/// there stops nothing else, and they go on when something else is refused.
pub const ON_THEIR_OWN: [&str; 3] = [CREATE, SIZE, CLEAR_UP];

/// Writes with no order between them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    pub purpose: String,
    pub writes: Vec<Write>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Write {
    pub target: Target,
    pub action: Action,
    /// Why, for the log and the audit trail.
    pub reason: String,
}

/// An object of the Rollout's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    pub kind: Kind,
    pub name: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Rollout => "Rollout",
            Kind::ReplicaSet => "ReplicaSet",
            Kind::Service => "Service",
            Kind::Ingress => "Ingress",
            Kind::HttpRoute => "HTTPRoute",
            Kind::AnalysisRun => "AnalysisRun",
            Kind::RolloutCommand => "RolloutCommand",
        };
        write!(f, "{kind} {}", self.name)
    }
}

/// Everything we ever write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    Rollout,
    ReplicaSet,
    Service,
    Ingress,
    #[serde(rename = "HTTPRoute")]
    HttpRoute,
    AnalysisRun,
    RolloutCommand,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// The name is fixed, so that a repeated create is recognised. An object that is there already ends the
    /// round without harm.
    Create {
        object: Value,
    },
    /// Applied only to this resourceVersion of this object.
    Patch {
        precondition: Precondition,
        subresource: Option<Subresource>,
        ops: Vec<PatchOp>,
    },
    Delete {
        precondition: Precondition,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Precondition {
    pub uid: String,
    pub resource_version: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subresource {
    Status,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_may_take_traffic_or_pods_away_rests_on_endpoints() {
        for (purpose, rests) in [
            (SHIFT, true),
            (SHRINK, true),
            ("whatever comes later", true),
            (GROW, false),
            (CREATE, false),
            (SIZE, false),
            (CLEAR_UP, false),
        ] {
            let stage = Stage {
                purpose: purpose.to_owned(),
                writes: Vec::new(),
            };
            let plan = Plan {
                stages: vec![stage],
                ..Plan::default()
            };
            assert_eq!(plan.rests_on_endpoints(), rests, "{purpose}");
        }
        assert!(!Plan::default().rests_on_endpoints());
    }
}

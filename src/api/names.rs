//! Names that go into objects (labels, annotations, finalizers) and the newtypes for the numbers and
//! strings that a release is made of, so that a weight can never be taken for a step index.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub const GROUP: &str = "tidegate.dev";
pub const VERSION: &str = "v1alpha1";
pub const API_VERSION: &str = "tidegate.dev/v1alpha1";

/// Label on ReplicaSets, their pods and AnalysisRuns, and selector key on the Services of a Rollout.
pub const HASH_LABEL: &str = "tidegate.dev/pod-template-hash";
/// Label on every object a Rollout creates: the Rollout's name.
pub const ROLLOUT_LABEL: &str = "tidegate.dev/rollout";
/// Annotation on ReplicaSets: the revision, a positive integer.
pub const REVISION_ANNOTATION: &str = "tidegate.dev/revision";
/// Annotation on ReplicaSets: the user's pod template as JSON, byte for byte what was hashed; what the API server
/// makes of it (defaults) has another hash, so `undo` to it would be a new version.
pub const POD_TEMPLATE_ANNOTATION: &str = "tidegate.dev/pod-template";
/// Annotation on Services whose selector a Rollout moves: the Rollout's name.
pub const MANAGED_BY_ANNOTATION: &str = "tidegate.dev/managed-by";
/// Finalizer on Rollouts with traffic routing: routes go back to stable before the Rollout goes.
pub const FINALIZER: &str = "tidegate.dev/restore-traffic";
/// Field manager of every write.
pub const FIELD_MANAGER: &str = "tidegate";

/// Hash of the user's raw pod template; names a version of the application.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PodTemplateHash(pub String);

/// Counts the versions of one Rollout, from 1.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Revision(pub i64);

/// Index into `spec.strategy.canary.steps`; equal to their number once all are done.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct StepIndex(pub u32);

/// Share of traffic in parts of `maxTrafficWeight`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Weight(pub i64);

impl Revision {
    /// The text of [`REVISION_ANNOTATION`]; whatever is not a positive number counts as no revision.
    pub fn from_annotation(text: &str) -> Option<Revision> {
        text.parse().ok().filter(|number| *number > 0).map(Revision)
    }
}

impl Weight {
    pub const ZERO: Weight = Weight(0);
}

impl StepIndex {
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    pub fn next(self) -> StepIndex {
        StepIndex(self.0.saturating_add(1))
    }
}

impl PodTemplateHash {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

macro_rules! display_inner {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
display_inner!(PodTemplateHash, Revision, StepIndex, Weight);

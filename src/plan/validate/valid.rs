//! A Rollout that the planner may trust: every default resolved, every choice a closed enum, every number in
//! its range. Only `validate_rollout` makes one from what a user wrote.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Serialize;
use serde_json::Value;

use crate::api::duration::Duration;
use crate::api::names::{StepIndex, Weight};
use crate::api::rollout::AnalysisStep;
use crate::api::rollout_status::RoutingInUse;

/// Counts of pods are 0..=100_000 and held as `i64`, so that products with weights cannot overflow.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ValidRollout {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub generation: i64,
    /// `None`: the live number is kept, and given to the Rollout.
    pub replicas: Option<i64>,
    pub selector: LabelSelector,
    /// As written: hashed and passed through untouched.
    pub template: Value,
    pub min_ready_seconds: i32,
    pub revision_history_limit: usize,
    /// `None` when the user wrote the largest number, as with Deployments.
    pub progress_deadline: Option<Duration>,
    pub progress_deadline_abort: bool,
    /// `None`: pods are left as they are.
    pub drain_seconds: Option<i64>,
    pub paused: bool,
    /// Going back to one of so many newest revisions skips steps and analysis.
    pub rollback_window: Option<usize>,
    pub successful_run_history_limit: usize,
    pub unsuccessful_run_history_limit: usize,
    pub canary: Canary,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Canary {
    pub canary_service: Option<String>,
    pub stable_service: Option<String>,
    /// What the weights sum to; 100 without traffic routing.
    pub max_weight: Weight,
    /// `None`: weights are approximated by the number of pods.
    pub routing: Option<Routing>,
    pub steps: Vec<Step>,
    /// The steps as written, for hashing; as many as `steps`.
    pub raw_steps: Vec<Value>,
    pub analysis: Option<BackgroundAnalysis>,
    pub bake: Option<Bake>,
    pub max_surge: Budget,
    pub max_unavailable: Budget,
    /// How long the old ReplicaSet is kept after a promotion.
    pub scale_down_delay: Duration,
    /// How long the canary is kept after an abort; `None` keeps it.
    pub abort_scale_down_delay: Option<Duration>,
    pub replica_progress_threshold: Option<Threshold>,
}

/// Traffic is split by a route, not by the number of pods.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Routing {
    /// The routes, as the routers take them, and the Services.
    pub wanted: RoutingInUse,
    pub dynamic_stable_scale: bool,
    /// Smallest size of a ReplicaSet that is not empty; at least 1.
    pub min_pods: i64,
    /// Only an explicit `maxSurge` bounds the sum of canary and stable.
    pub max_surge: Option<Budget>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Step {
    /// 0..=`max_weight`.
    SetWeight(Weight),
    /// `None` waits for `promote`.
    Pause(Option<Duration>),
    /// Only with traffic routing.
    SetCanaryScale(CanaryScale),
    Analysis(AnalysisStep),
}

/// Size of the canary apart from its weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum CanaryScale {
    /// As many as this weight needs, 0..=`max_weight`.
    Weight(Weight),
    Replicas(i64),
    MatchTrafficWeight,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BackgroundAnalysis {
    pub analysis: AnalysisStep,
    /// At most the number of steps.
    pub starting_step: StepIndex,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bake {
    pub duration: Duration,
    pub analysis: Option<AnalysisStep>,
}

/// How much of the canary must be available before a step may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Threshold {
    /// 1..=100.
    Percent(i64),
    Pods(i64),
}

/// A number of pods or a percentage of `replicas`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Budget {
    Pods(i64),
    /// 0..=100.
    Percent(i64),
}

impl Budget {
    pub const DEFAULT: Budget = Budget::Percent(25);

    pub fn is_zero(self) -> bool {
        matches!(self, Budget::Pods(0) | Budget::Percent(0))
    }

    fn round_up(self, replicas: i64) -> i64 {
        match self {
            Budget::Pods(pods) => pods,
            Budget::Percent(percent) => replicas.saturating_mul(percent).saturating_add(99) / 100,
        }
    }

    fn round_down(self, replicas: i64) -> i64 {
        match self {
            Budget::Pods(pods) => pods,
            Budget::Percent(percent) => replicas.saturating_mul(percent) / 100,
        }
    }
}

/// `maxSurge` and `maxUnavailable` in pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Budgets {
    pub surge: i64,
    pub unavailable: i64,
}

impl Canary {
    /// Surge rounds up, unavailable rounds down; where both come to nothing one pod may be unavailable, or
    /// nothing could ever move.
    pub fn resolve_budgets(&self, replicas: i64) -> Budgets {
        let surge = self.max_surge.round_up(replicas);
        let unavailable = self.max_unavailable.round_down(replicas).min(replicas);
        let stuck = surge == 0 && unavailable == 0;
        Budgets {
            surge,
            unavailable: if stuck { 1 } else { unavailable },
        }
    }
}

impl Routing {
    /// The explicit `maxSurge` in pods.
    pub fn resolve_max_surge(&self, replicas: i64) -> Option<i64> {
        self.max_surge.map(|budget| budget.round_up(replicas))
    }
}

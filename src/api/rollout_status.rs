//! The status of a `Rollout`: everything the controller knows and has decided, so that a restart loses
//! nothing. Names follow Argo Rollouts where the meaning is the same.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::analysis_run::Verdict;
use super::condition::Condition;
use super::names::{PodTemplateHash, Revision, StepIndex, Weight};
use super::rollout::TrafficRouting;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// One sentence: what is happening and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_on: Option<WaitingOn>,

    /// Hash of the version that carries traffic when nothing is in progress.
    #[serde(default, rename = "stableRS", skip_serializing_if = "Option::is_none")]
    pub stable_rs: Option<PodTemplateHash>,
    /// Hash of the version in `spec.template`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_pod_hash: Option<PodTemplateHash>,
    /// Revision of `currentPodHash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// When the release of `currentPodHash` began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision_started_at: Option<DateTime<Utc>>,
    /// Version of the algorithm that made the hashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_algorithm: Option<String>,
    /// Hash of the steps; with `executedStepHashes` tells which of them were edited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_step_hash: Option<String>,
    /// Hash of each step already executed, so that an edit behind us can be told from one ahead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub executed_step_hashes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_step_index: Option<StepIndex>,
    /// `2/5`, for the STEP column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Newest verdict of the running analyses, for the VERDICT column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<Promotion>,
    /// All remaining steps and analyses are skipped, by `promote --full`, first deploy or a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fast_track: Option<FastTrack>,

    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pause_conditions: Vec<PauseCondition>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub abort: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aborted_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_reason: Option<AbortReason>,
    /// Counts retries of this revision; part of the names of its AnalysisRuns.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: u32,
    /// When something last moved forward; the progress deadline counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_progress_at: Option<DateTime<Utc>>,

    #[serde(default, skip_serializing_if = "CanaryStatus::is_empty")]
    pub canary: CanaryStatus,

    /// `spec.replicas`, kept here for as long as the spec leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted_replicas: Option<i64>,
    /// Versions that were stable, the newest last: only those may come back without steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former_stable: Vec<PodTemplateHash>,
    /// Versions without traffic whose pods are kept for a while, and until when.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kept_until: BTreeMap<PodTemplateHash, DateTime<Utc>>,

    /// Pods of all versions.
    #[serde(default)]
    pub replicas: i64,
    #[serde(default)]
    pub updated_replicas: i64,
    #[serde(default)]
    pub ready_replicas: i64,
    #[serde(default)]
    pub available_replicas: i64,
    /// Pods that are expected to carry traffic, for the autoscaler.
    #[serde(default, rename = "HPAReplicas")]
    pub hpa_replicas: i64,
    /// Label selector as text, for `/scale`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,

    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The newest 20 decisions, newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,
    /// Uids of RolloutCommands carried out whose own status may not say so yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handled_commands: Vec<String>,
}

/// How the history calls a retry.
pub const RETRY_COMMANDED: &str = "RetryCommanded";

impl RolloutStatus {
    /// Whether a version other than stable is being released, or was and was aborted. The first deploy is none:
    /// there is no version yet that could take the traffic back.
    pub fn is_in_release(&self, current: Option<&PodTemplateHash>) -> bool {
        self.stable_rs.is_some() && self.stable_rs.as_ref() != current
    }

    /// Nothing is sent to the version of `spec.template`, by routes and Services as they were seen or are to be written.
    /// Without routing that is not known, and taken to be so.
    pub fn spares_current(&self) -> bool {
        let weights = self.canary.weights.iter();
        let mut backends = weights.flat_map(|weights| [&weights.canary, &weights.stable]);
        let current = self.current_pod_hash.as_ref();
        // A Service without the label of a version selects all of them.
        backends.all(|backend| {
            let hash = &backend.pod_template_hash;
            backend.weight <= Weight::ZERO || !hash.is_empty() && Some(hash) != current
        })
    }

    /// When the release of the current revision began, or was last begun again by a retry. What was wrong before then,
    /// whoever began it knew of.
    pub fn attempt_began_at(&self) -> Option<DateTime<Utc>> {
        let is_retry =
            |entry: &&HistoryEntry| entry.what == RETRY_COMMANDED && entry.revision == self.revision;
        let retry = self.history.iter().rev().find(is_retry).map(|entry| entry.at);
        self.revision_started_at.max(retry)
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    Healthy,
    #[default]
    Progressing,
    Paused,
    Degraded,
}

/// What keeps the Rollout from its next action; nothing when there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitingOn {
    pub reason: WaitingReason,
    /// Names the object, the number it has and the number it needs.
    pub message: String,
    pub since: DateTime<Utc>,
    /// When the wait ends by itself, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

/// Closed set: feeds the condition, the metric, the CLI and the docs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum WaitingReason {
    /// The spec or an object it names must be mended first.
    Invalid,
    /// Canary pods are not available yet.
    CanaryPods,
    /// Stable pods are not available yet.
    StablePods,
    /// The endpoints of a Service do not show the pods yet.
    Endpoints,
    /// The route object's controller has not accepted our change yet.
    RouteAccepted,
    /// Others change the route's weights back.
    RouteContended,
    /// The data plane is given time to follow.
    Settle,
    /// The data plane, asked by `trafficRouting.dataPlane`, does not say that it follows.
    DataPlane,
    /// A pause with a duration.
    PauseDuration,
    /// A pause that only `promote` ends.
    Promotion,
    /// `spec.paused`.
    SpecPaused,
    /// `spec.replicas` is 0, so nothing can be judged.
    ScaledToZero,
    /// An inconclusive analysis asks for a person.
    InconclusiveAnalysis,
    /// An analysis runs.
    Analysis,
    /// Old ReplicaSets are kept for a while.
    ScaleDownDelay,
    /// The bake after a promotion.
    Bake,
    /// Pods of older versions go first.
    OldPods,
    /// An abort or a rollback: a new version or `retry` goes on.
    NewVersion,
}

/// Where the promotion after the last step stood when the status was written; by now the traffic may be further. It does
/// one thing at a time, and each value names that thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Promotion {
    /// The canary grows to all replicas and the weight to `maxTrafficWeight`.
    FullWeight,
    /// The stable Service selects the new pods; its endpoints are verified.
    StableService,
    /// The weight goes back to stable, which is the new version now; it is verified.
    WeightToStable,
    /// The bake runs.
    Bake,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FastTrack {
    FirstDeploy,
    PromoteFull,
    /// The template is the stable one again.
    Rollback,
    /// The template is of a revision in the rollback window.
    RollbackWindow,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PauseCondition {
    pub reason: PauseReason,
    pub start_time: DateTime<Utc>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PauseReason {
    CanaryPauseStep,
    InconclusiveAnalysisRun,
}

/// Who stopped the release and on what grounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AbortReason {
    pub at: DateTime<Utc>,
    pub by: AbortSource,
    /// `requestedBy` of the command, name of the AnalysisRun, fingerprint of the alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    pub reason: String,
    /// The metric that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AbortSource {
    Analysis,
    Command,
    Alert,
    ProgressDeadline,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<TrafficWeights>,
    /// The routing that was set up, so that it can be taken back after `spec` no longer names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<RoutingInUse>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_step_analysis_run_status: Option<RunSummary>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_background_analysis_run_status: Option<RunSummary>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake_analysis_run_status: Option<RunSummary>,
    /// AnalysisRuns without a verdict that a person has accepted by `promote`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted_runs: Vec<String>,
    /// Hash of the running step, so that an edit elsewhere does not begin it anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_hash: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake_started_at: Option<DateTime<Utc>>,
    /// Times of the newest reverts of a foreign change of our routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub route_reverts: Vec<DateTime<Utc>>,
}

impl CanaryStatus {
    pub fn is_empty(&self) -> bool {
        *self == CanaryStatus::default()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoutingInUse {
    /// As `spec.strategy.canary.trafficRouting` was.
    #[schemars(schema_with = "super::rollout::open_object")]
    pub traffic_routing: TrafficRouting,
    pub stable_service: String,
    pub canary_service: String,
}

/// What the routes say, what may still be in effect behind them, and since when nothing changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficWeights {
    pub canary: BackendWeight,
    pub stable: BackendWeight,
    /// Written, accepted, backed by ready endpoints, and settled: the only vector in effect.
    pub verified: bool,
    /// When the routes, selectors and endpoints were first seen as they are now; settling counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// Every split that a data plane might follow when the status was written, oldest first; the newest is in the routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub live: Vec<TrafficSplit>,
    /// Ready endpoints behind each Service, and since when at least so many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointsSeen>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendWeight {
    pub weight: Weight,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service_name: String,
    #[serde(default, skip_serializing_if = "PodTemplateHash::is_empty")]
    pub pod_template_hash: PodTemplateHash,
}

/// One split of traffic between the versions behind the two Services.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficSplit {
    pub canary_weight: Weight,
    #[serde(default, skip_serializing_if = "PodTemplateHash::is_empty")]
    pub canary_hash: PodTemplateHash,
    #[serde(default, skip_serializing_if = "PodTemplateHash::is_empty")]
    pub stable_hash: PodTemplateHash,
}

/// At least `ready` endpoints of `podTemplateHash` were ready behind the Service ever since `since`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointsSeen {
    pub service_name: String,
    pub pod_template_hash: PodTemplateHash,
    pub ready: i64,
    pub since: DateTime<Utc>,
    /// Since when there is at least one, or none.
    pub any_since: DateTime<Utc>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunSummary {
    pub name: String,
    pub status: Verdict,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// One decision: when, who, what, why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    pub at: DateTime<Utc>,
    /// `controller`, a person, or `alert:<fingerprint>`.
    pub who: String,
    /// CamelCase, as the event's reason.
    pub what: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    pub why: String,
}

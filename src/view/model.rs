//! What a person wants to know about one Rollout, and nothing else. Serialises to the JSON of `get -o json`;
//! field names are part of the plugin's interface.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::api::analysis_run::Verdict;
use crate::api::names::{PodTemplateHash, Revision, Weight};
use crate::api::rollout_command::{CommandPhase, Verb};
use crate::api::rollout_status::{AbortReason, HistoryEntry, Phase, WaitingOn, WaitingReason};

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutView {
    pub name: String,
    pub namespace: String,
    pub created_at: Option<DateTime<Utc>>,
    pub phase: Phase,
    pub message: Option<String>,
    /// The controller has not seen the newest spec yet: everything below is about the one before.
    pub stale: bool,
    pub strategy: &'static str,
    pub course: Course,
    pub revision: Option<Revision>,
    pub step: StepView,
    pub weight: WeightView,
    pub verdict: Option<Verdict>,
    pub images: Vec<ImageView>,
    pub replicas: ReplicaCounts,
    /// Newest first.
    pub revisions: Vec<RevisionView>,
    pub waiting_on: Option<WaitingOn>,
    /// What must be mended, whatever else is waited for.
    pub invalid: Option<InvalidView>,
    /// `spec.paused`.
    pub paused: bool,
    /// When waiting as it does will have lasted for the progress deadline.
    pub deadline: Option<Deadline>,
    pub abort_reason: Option<AbortReason>,
    /// Newest first.
    pub decisions: Vec<HistoryEntry>,
    /// Commands the controller has not answered yet, oldest first.
    pub pending_commands: Vec<CommandView>,
    /// Newest first.
    pub refused_commands: Vec<CommandView>,
    /// The AnalysisRun that keeps the release from going on, while one is waited for.
    pub awaited_run: Option<String>,
    /// Steps ahead, in words, first the running one.
    pub steps_ahead: Vec<String>,
}

/// The condition `Valid`, where it is False.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InvalidView {
    pub reason: String,
    pub message: String,
}

/// The end of the patience with what makes no progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Deadline {
    pub at: DateTime<Utc>,
    /// `progressDeadlineAbort`: the release is aborted then; otherwise the Rollout is called Degraded.
    pub aborts: bool,
}

/// What the Rollout is about: each ends in something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Course {
    /// One version, which is stable; at most its pods change in number.
    #[default]
    Steady,
    /// Nothing is stable yet.
    FirstDeploy,
    Release,
    /// The template is the stable one again before the release was done.
    Rollback,
    Abort,
    Deletion,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// Steps done: the index of the running step.
    pub index: Option<u32>,
    pub count: usize,
    /// The running step in words.
    pub current: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WeightView {
    /// What the steps ask for; nothing when no release is in progress.
    pub set: Option<Weight>,
    /// What the routes say; nothing without traffic routing, or before the routes are set up.
    pub actual: Option<Weight>,
    /// The Rollout has traffic routing; without it the weight is approximated by pods.
    pub routed: bool,
    pub max: i64,
    /// The data plane follows it.
    pub verified: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    Canary,
    Stable,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageView {
    pub role: Role,
    pub container: String,
    pub image: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaCounts {
    pub desired: Option<i64>,
    pub current: i64,
    pub updated: i64,
    pub ready: i64,
    pub available: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionView {
    pub revision: Option<Revision>,
    pub replica_sets: Vec<ReplicaSetView>,
    pub analysis_runs: Vec<AnalysisRunView>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaSetView {
    pub name: String,
    pub hash: PodTemplateHash,
    pub role: Option<Role>,
    pub created_at: Option<DateTime<Utc>>,
    pub desired: i64,
    pub ready: i64,
    pub available: i64,
    pub images: Vec<ImageView>,
    /// When an idle ReplicaSet goes to 0.
    pub scale_down_at: Option<DateTime<Utc>>,
    pub pods: Vec<PodView>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodView {
    pub name: String,
    /// As kubectl's STATUS column: the phase, or why a container waits.
    pub status: String,
    pub ready: bool,
    pub restarts: i64,
    pub created_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisRunView {
    pub name: String,
    pub verdict: Verdict,
    pub message: Option<String>,
    pub created_at: Option<DateTime<Utc>>,
    /// The revision has been retried since: its verdict no longer counts.
    pub superseded: bool,
    /// When it has taken its last measurement, if nothing fails until then.
    pub ends_at: Option<DateTime<Utc>>,
    pub metrics: Vec<MetricView>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricView {
    pub name: String,
    pub verdict: Verdict,
    pub dry_run: bool,
    /// Measurements to take; nothing for one that goes on until it is ended.
    pub count: Option<i64>,
    /// Measurements that counted toward it.
    pub counted: i64,
    pub successful: i64,
    pub failed: i64,
    /// Measurements that decided nothing: errors, no data, inconclusive.
    pub undecided: i64,
    pub measured: Option<f64>,
    pub threshold: Option<f64>,
    pub condition: Option<String>,
    pub message: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CommandView {
    pub name: String,
    pub verb: Verb,
    pub requested_by: Option<String>,
    pub phase: Option<CommandPhase>,
    pub message: Option<String>,
    pub created_at: Option<DateTime<Utc>>,
}

impl RolloutView {
    /// `2/5`, steps done of all, as the STEP column.
    pub fn step_text(&self) -> String {
        match self.step.index {
            Some(index) if self.step.count > 0 => format!("{index}/{}", self.step.count),
            _ => "-".to_owned(),
        }
    }

    /// `3 of 5 (set weight 50)`: the running step, counted from 1; nothing when no step runs.
    pub fn running_step(&self) -> Option<String> {
        let (index, current) = (self.step.index?, self.step.current.as_ref()?);
        Some(format!(
            "{} of {} ({current})",
            index.saturating_add(1),
            self.step.count
        ))
    }

    pub fn waits_for(&self, reason: WaitingReason) -> bool {
        self.waiting_on
            .as_ref()
            .is_some_and(|waiting| waiting.reason == reason)
    }

    /// It stands still until somebody decides or mends; a pause with a duration, pods and the like end by themselves.
    pub fn waits_for_a_person(&self) -> bool {
        let reason = self.waiting_on.as_ref().map(|waiting| waiting.reason);
        self.phase == Phase::Paused
            && matches!(
                reason,
                Some(
                    WaitingReason::Promotion
                        | WaitingReason::SpecPaused
                        | WaitingReason::InconclusiveAnalysis
                        | WaitingReason::ScaledToZero
                        | WaitingReason::RouteContended
                )
            )
    }

    /// Runs that have not ended, and those of the newest revision that ended badly.
    pub fn runs_of_interest(&self) -> impl Iterator<Item = &AnalysisRunView> {
        let newest = self.revision;
        self.revisions.iter().flat_map(move |revision| {
            let runs = revision.analysis_runs.iter();
            runs.filter(|run| !run.superseded).filter(move |run| {
                !run.verdict.is_final() || (revision.revision == newest && run.verdict > Verdict::Terminated)
            })
        })
    }
}

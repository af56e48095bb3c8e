//! Rules about the status: S8 (only a success promotes), S9 (an abort stays), S10 (one step at a time),
//! S21 (a pause holds).

use serde::Deserialize;
use serde_json::Value;

use crate::api::analysis_run::{AnalysisRun, Verdict};
use crate::api::names::PodTemplateHash;
use crate::api::rollout::AnalysisStep;
use crate::api::rollout_status::{FastTrack, RolloutStatus};
use crate::plan::check::scene::Scene;
use crate::plan::check::traffic::unavailable;
use crate::plan::model::Plan;
use crate::plan::revision::hash_value;
use crate::plan::snapshot::Snapshot;

type Objection = (&'static str, String);

/// The status before and after, as far as it says how far a release has come.
struct Progress<'a> {
    snapshot: &'a Snapshot,
    plan: &'a Plan,
    after: &'a RolloutStatus,
    before: &'a Value,
    index: u64,
    steps: usize,
}

pub fn judge(snapshot: &Snapshot, plan: &Plan) -> Vec<Objection> {
    static NOTHING: Value = Value::Null;
    let before = snapshot.rollout.get("status").unwrap_or(&NOTHING);
    let steps = snapshot
        .rollout
        .pointer("/spec/strategy/canary/steps")
        .and_then(Value::as_array);
    let progress = Progress {
        snapshot,
        plan,
        after: &plan.status,
        before,
        index: before
            .get("currentStepIndex")
            .and_then(Value::as_u64)
            .unwrap_or(0),
        steps: steps.map_or(0, Vec::len),
    };
    let mut objections = Vec::new();
    if progress.same_release() {
        objections.extend(progress.judge_abort());
        objections.extend(progress.judge_steps());
        objections.extend(progress.judge_promotion_start());
    }
    objections.extend(progress.judge_stable());
    objections
}

impl Progress<'_> {
    fn text(&self, field: &str) -> &str {
        self.before.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    fn is_set(&self, field: &str) -> bool {
        self.before.get(field).and_then(Value::as_bool) == Some(true)
    }

    fn retries(&self) -> u64 {
        self.before.get("retries").and_then(Value::as_u64).unwrap_or(0)
    }

    /// The same version, the same steps, the same attempt.
    fn same_release(&self) -> bool {
        let after = self.after;
        let hash = after
            .current_pod_hash
            .as_ref()
            .map(PodTemplateHash::as_str)
            .unwrap_or_default();
        let steps = after.current_step_hash.as_deref().unwrap_or_default();
        hash == self.text("currentPodHash")
            && steps == self.text("currentStepHash")
            && u64::from(after.retries) == self.retries()
    }

    /// S9.
    fn judge_abort(&self) -> Option<Objection> {
        let cleared = self.is_set("abort") && !self.after.abort;
        cleared.then(|| {
            (
                "S9",
                "the abort would be forgotten without a new version or a retry".to_owned(),
            )
        })
    }

    /// S8, S10 and S21 for the steps.
    fn judge_steps(&self) -> Vec<Objection> {
        let index = u64::from(self.after.current_step_index.unwrap_or_default().0);
        let mut objections = Vec::new();
        let skipped = self.after.fast_track.is_some() && self.text("fastTrack").is_empty();
        if index <= self.index || skipped {
            return objections;
        }
        if index > self.index + 1 {
            objections.push(("S10", format!("the step would go from {} to {index}", self.index)));
        }
        let paused = self
            .snapshot
            .rollout
            .pointer("/spec/paused")
            .and_then(Value::as_bool)
            == Some(true);
        if paused || self.is_set("abort") {
            objections.push((
                "S21",
                format!("step {index} would begin in a release that is held"),
            ));
        }
        let path = format!("/spec/strategy/canary/steps/{}/analysis", self.index);
        if let Some(analysis) = self.snapshot.rollout.pointer(&path) {
            let gate = format!("step-{}", self.index);
            objections.extend(self.judge_gate(&gate, analysis));
        }
        objections
    }

    /// S8 for the background analysis, which must have begun to say something good.
    fn judge_promotion_start(&self) -> Option<Objection> {
        let begins = self.after.promotion.is_some() && self.text("promotion").is_empty();
        let analysis = self.snapshot.rollout.pointer("/spec/strategy/canary/analysis")?;
        let index = self.after.current_step_index.unwrap_or_default().0;
        if !begins || self.after.fast_track.is_some() || (index as usize) < self.steps {
            return None;
        }
        let running = self.runs("background", analysis).any(|run| {
            let status = run.status.as_ref();
            status.is_some_and(|status| {
                status.phase == Verdict::Running
                    && status
                        .metric_results
                        .iter()
                        .filter(|metric| !metric.dry_run)
                        .all(|metric| metric.failed == 0 || metric.successful > 0)
            })
        });
        if running {
            None
        } else {
            self.judge_gate("background", analysis)
        }
    }

    /// S8: another version becomes stable only at the end of its promotion.
    fn judge_stable(&self) -> Vec<Objection> {
        let stable = self
            .after
            .stable_rs
            .as_ref()
            .map(PodTemplateHash::as_str)
            .unwrap_or_default();
        let adopted = self.text("stableRS").is_empty() && self.text("currentPodHash").is_empty();
        if stable == self.text("stableRS") || adopted {
            return Vec::new();
        }
        let mut objections = Vec::new();
        if stable.is_empty() || stable != self.text("currentPodHash") {
            objections.push((
                "S8",
                format!("{stable:?} would become stable, which is not the version that was released"),
            ));
        }
        let routed = self.before.pointer("/canary/routing").is_some();
        let bake = self.snapshot.rollout.pointer("/spec/strategy/canary/bake");
        let scene = Scene::new(self.snapshot, self.plan);
        let split = scene.split();
        let has_all = if scene.routed {
            split.stable == stable && split.share(stable, scene.max) == scene.max
        } else {
            let all = scene.replicas.unwrap_or(0);
            scene.pods_of(stable).available >= all - unavailable(&scene, all)
        };
        if self.text("promotion").is_empty() || !has_all {
            objections.push((
                "S8",
                format!("{stable} would become stable before its promotion is done"),
            ));
        }
        let weight = self.after.canary.weights.as_ref().filter(|_| routed);
        if weight.is_some_and(|weights| !weights.verified) {
            objections.push((
                "S8",
                format!("{stable} would become stable on weights that are not verified"),
            ));
        }
        let tracked = !self.text("fastTrack").is_empty();
        if let Some(analysis) = bake.and_then(|bake| bake.get("analysis")).filter(|_| !tracked) {
            objections.extend(self.judge_gate("bake", analysis));
        }
        objections
    }

    fn gate_name(&self, gate: &str) -> String {
        match self.retries() {
            0 => gate.to_owned(),
            retries => format!("{gate}-{retries}"),
        }
    }

    /// How the names of the AnalysisRuns of this version and revision begin.
    fn run_prefix(&self) -> String {
        let rollout = self
            .snapshot
            .rollout
            .pointer("/metadata/name")
            .and_then(Value::as_str);
        let revision = self.before.get("revision").and_then(Value::as_i64);
        format!(
            "{}-{}-{}-",
            rollout.unwrap_or_default(),
            self.text("currentPodHash"),
            revision.unwrap_or(0)
        )
    }

    /// Somebody took the responsibility for a run that was never made.
    fn is_accepted_unmade(&self, gate: &str) -> bool {
        let name = self.run_prefix() + &self.gate_name(gate);
        self.after.canary.accepted_runs.iter().any(|accepted| {
            // An analysis that was edited has five digits more.
            let rest = accepted.strip_prefix(&name);
            rest.is_some_and(|rest| rest.is_empty() || rest.len() == 6 && rest.starts_with('-'))
        })
    }

    /// AnalysisRuns of ours for this version, revision and gate, and for the analysis as it is now.
    fn runs(&self, gate: &str, analysis: &Value) -> impl Iterator<Item = &AnalysisRun> {
        let uid = self
            .snapshot
            .rollout
            .pointer("/metadata/uid")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let name = self.gate_name(gate);
        let analysis = AnalysisStep::deserialize(analysis).unwrap_or_default();
        let analysis = hash_value(&serde_json::to_value(analysis).unwrap_or_default());
        let prefix = self.run_prefix();
        let is_ours = move |run: &AnalysisRun| {
            let mut owners = run.metadata.owner_references.iter().flatten();
            let owned = owners.any(|owner| owner.controller == Some(true) && owner.uid == uid);
            let name = run.metadata.name.as_ref();
            owned && name.is_some_and(|name| name.starts_with(&prefix))
        };
        self.snapshot
            .runs
            .values()
            .filter(move |run| is_ours(run))
            .filter(move |run| {
                run.spec.gate.as_ref().is_some_and(|gate| {
                    gate.rollout_uid == uid
                        && gate.step_hash == analysis
                        && gate.pod_template_hash == self.text("currentPodHash")
                        && gate.name == name
                })
            })
    }

    /// A success, or somebody who took the responsibility.
    fn judge_gate(&self, gate: &str, analysis: &Value) -> Option<Objection> {
        let goes_on = analysis.get("onInconclusive").and_then(Value::as_str) == Some("continue");
        let accepted = &self.after.canary.accepted_runs;
        let runs: Vec<&AnalysisRun> = self.runs(gate, analysis).collect();
        let passes = |run: &&AnalysisRun| match run.status.as_ref().map(|status| status.phase) {
            Some(Verdict::Successful) => true,
            Some(Verdict::Failed | Verdict::Error) => false,
            verdict => {
                let name = run.metadata.name.as_ref();
                goes_on && verdict.is_some_and(|verdict| verdict.is_final())
                    || name.is_some_and(|name| accepted.contains(name))
            }
        };
        let passed = if runs.is_empty() {
            self.is_accepted_unmade(gate)
        } else {
            runs.iter().any(passes)
        };
        let promoted = self
            .after
            .handled_commands
            .iter()
            .any(|uid| !self.had_handled(uid));
        let full = self.after.fast_track == Some(FastTrack::PromoteFull);
        let message = || format!("gate {gate} is passed without a successful AnalysisRun or a promote");
        (!passed && !promoted && !full).then(|| ("S8", message()))
    }

    fn had_handled(&self, uid: &str) -> bool {
        let handled = self.before.get("handledCommands").and_then(Value::as_array);
        handled.into_iter().flatten().any(|had| had.as_str() == Some(uid))
    }
}

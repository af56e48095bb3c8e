//! Gates: where an analysis must have judged before the release goes on, and the AnalysisRuns that judge.
//!
//! A verdict counts only for the Rollout, version, analysis and gate it was made for: a run is taken for a gate
//! when we own it and its `spec.gate` says exactly that.

use serde_json::json;

use crate::api::analysis_run::{AnalysisRun, AnalysisRunSpec, Gate, Verdict};
use crate::api::names::{API_VERSION, HASH_LABEL, ROLLOUT_LABEL, StepIndex};
use crate::api::patch::PatchOp;
use crate::api::rollout::{AnalysisStep, OnInconclusive, TemplateRef};
use crate::api::rollout_status::{Promotion, RunSummary, WaitingReason};
use crate::plan::model::{Action, Kind, Precondition, Subresource, Target, Write};
use crate::plan::reference::Problem;
use crate::plan::revision::{hash_value, owner_reference};
use crate::plan::template::{self, ArgContext, TemplateSet};
use crate::plan::validate::valid::Step;
use crate::plan::wait::Wait;
use crate::plan::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateKind {
    /// An `analysis` step; blocks it.
    Step,
    /// Runs beside the steps; blocks the promotion.
    Background,
    /// The last look before the promotion is final.
    Bake,
}

/// A gate that is open now, with the run that judges, if it exists.
pub struct OpenGate<'a> {
    pub kind: GateKind,
    pub gate: Gate,
    pub analysis: &'a AnalysisStep,
    pub run: Option<&'a AnalysisRun>,
    run_name: String,
}

/// What a gate says.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// Nothing yet, or nothing bad yet.
    Open,
    Passed,
    Refused,
    /// No verdict, and nobody has accepted that yet.
    Undecided,
}

/// Every gate that judges at this point of the release.
pub fn open_gates<'a>(world: &World<'a>) -> Vec<OpenGate<'a>> {
    let judged = world.in_release() && world.is_current_known() && !world.aborted() && !world.is_deleting();
    if !judged || world.fast_tracked() {
        return Vec::new();
    }
    let mut gates = Vec::new();
    let canary = &world.spec.canary;
    if world.status.promotion == Some(Promotion::Bake) {
        let analysis = canary.bake.as_ref().and_then(|bake| bake.analysis.as_ref());
        gates.extend(analysis.map(|analysis| open(world, GateKind::Bake, "bake".to_owned(), analysis)));
    }
    if world.status.promotion.is_some() {
        return gates;
    }
    let index = world.step_index();
    if let Some(Step::Analysis(analysis)) = world.current_step() {
        gates.push(open(world, GateKind::Step, format!("step-{index}"), analysis));
    }
    if let Some(background) = canary
        .analysis
        .as_ref()
        .filter(|background| index >= background.starting_step)
    {
        gates.push(open(
            world,
            GateKind::Background,
            "background".to_owned(),
            &background.analysis,
        ));
    }
    gates
}

fn open<'a>(world: &World<'a>, kind: GateKind, name: String, analysis: &'a AnalysisStep) -> OpenGate<'a> {
    let retried = |text: String| match world.status.retries {
        0 => text,
        retries => format!("{text}-{retries}"),
    };
    let gate = Gate {
        rollout_uid: world.spec.uid.clone(),
        pod_template_hash: world.current.to_string(),
        step_hash: hash_value(&serde_json::to_value(analysis).unwrap_or_default()),
        name: retried(name),
    };
    let revision = world.status.revision.unwrap_or_default();
    let base = format!("{}-{}-{revision}-{}", world.spec.name, world.current, gate.name);
    let run_for = |name: &str| world.snapshot.runs.get(name);
    // An edited analysis is another gate of the same name; its run must not be taken for this one.
    let edited = run_for(&base).is_some_and(|run| !judges(world, run, &gate));
    let suffix: String = gate.step_hash.chars().take(5).collect();
    let run_name = if edited { format!("{base}-{suffix}") } else { base };
    let run = run_for(&run_name).filter(|run| judges(world, run, &gate));
    OpenGate {
        kind,
        gate,
        analysis,
        run,
        run_name,
    }
}

/// How often the revision had been retried when this gate opened; read off its name.
pub fn retries_of(gate: &Gate) -> u32 {
    let mut parts = gate.name.split('-');
    if parts.next() == Some("step") {
        parts.next();
    }
    parts.next().and_then(|retries| retries.parse().ok()).unwrap_or(0)
}

/// We own the run, and it was made for this gate.
fn judges(world: &World, run: &AnalysisRun, gate: &Gate) -> bool {
    let owners = run.metadata.owner_references.iter().flatten();
    let owned = owners
        .filter(|owner| owner.controller == Some(true))
        .any(|owner| owner.uid == world.spec.uid);
    owned && run.spec.gate.as_ref() == Some(gate)
}

/// What the release waits for that must not go forward unobserved: the first run that is yet to be made.
pub fn unobserved(world: &World, gates: &[OpenGate]) -> Option<Wait> {
    let accepted = &world.status.canary.accepted_runs;
    let missing = gates
        .iter()
        .find(|gate| gate.run.is_none() && !accepted.contains(&gate.run_name));
    missing.map(OpenGate::wait)
}

impl OpenGate<'_> {
    pub fn verdict(&self) -> Verdict {
        self.run
            .and_then(|run| run.status.as_ref())
            .map_or(Verdict::Pending, |status| status.phase)
    }

    pub fn run_name(&self) -> &str {
        &self.run_name
    }

    pub fn finding(&self, world: &World) -> Finding {
        let accepted = world.status.canary.accepted_runs.contains(&self.run_name);
        match self.verdict() {
            Verdict::Successful => Finding::Passed,
            Verdict::Pending | Verdict::Running => Finding::Open,
            Verdict::Failed | Verdict::Error => Finding::Refused,
            Verdict::Inconclusive | Verdict::NoData | Verdict::Terminated if accepted => Finding::Passed,
            Verdict::Inconclusive | Verdict::NoData | Verdict::Terminated => {
                match self.analysis.on_inconclusive.unwrap_or_default() {
                    OnInconclusive::Pause => Finding::Undecided,
                    OnInconclusive::Abort => Finding::Refused,
                    OnInconclusive::Continue => Finding::Passed,
                }
            }
        }
    }

    /// A background analysis without an end has said enough once every metric that counts has succeeded; one with an
    /// end is waited for. What has failed too often is a verdict, and ends the release.
    pub fn is_satisfied(&self, world: &World) -> bool {
        if world.status.canary.accepted_runs.contains(&self.run_name) {
            return true;
        }
        if self.finding(world) != Finding::Open {
            return self.finding(world) == Finding::Passed;
        }
        let Some((run, status)) = self.run.and_then(|run| Some((run, run.status.as_ref()?))) else {
            return false;
        };
        run.spec
            .metrics
            .iter()
            .filter(|metric| !run.spec.dry_run.contains(&metric.name))
            .all(|metric| {
                let result = status
                    .metric_results
                    .iter()
                    .find(|result| result.name == metric.name);
                let endless = metric.count.is_none() && metric.interval.is_some();
                result.is_some_and(|result| match result.phase {
                    Verdict::Successful => true,
                    Verdict::Running => endless && result.successful > 0 && result.consecutive_error == 0,
                    _ => false,
                })
            })
    }

    pub fn summary(&self) -> RunSummary {
        let status = self.run.and_then(|run| run.status.as_ref());
        RunSummary {
            name: self.run_name.clone(),
            status: self.verdict(),
            message: status.and_then(|status| status.message.clone()),
        }
    }

    pub fn wait(&self) -> Wait {
        Wait::on(
            WaitingReason::Analysis,
            format!("AnalysisRun {} is {:?}", self.run_name, self.verdict()),
        )
    }

    /// It has ended without a verdict.
    pub fn wait_for_person(&self) -> Wait {
        Wait::on(
            WaitingReason::InconclusiveAnalysis,
            format!(
                "AnalysisRun {} is {:?}; promote or abort",
                self.run_name,
                self.verdict()
            ),
        )
    }

    /// The run, or what keeps it from being made.
    fn create(&self, world: &World) -> Result<Write, Problem> {
        if world.snapshot.unreadable_runs.contains(&self.run_name) {
            return Err(Problem {
                reason: "Undecodable",
                text: format!(
                    "AnalysisRun {} cannot be understood; delete it, and it is made again",
                    self.run_name
                ),
            });
        }
        let spec = build_spec(world, self.kind, self.analysis)?;
        let mut spec = serde_json::to_value(spec).map_err(|error| Problem {
            reason: "InvalidTemplate",
            text: error.to_string(),
        })?;
        if let Some(map) = spec.as_object_mut() {
            map.insert("gate".to_owned(), json!(self.gate));
        }
        let object = json!({
            "apiVersion": API_VERSION,
            "kind": "AnalysisRun",
            "metadata": {
                "name": self.run_name,
                "namespace": world.spec.namespace,
                "labels": { ROLLOUT_LABEL: world.spec.name, HASH_LABEL: world.current },
                "ownerReferences": [owner_reference(world.spec)],
            },
            "spec": spec,
        });
        Ok(Write {
            target: Target {
                kind: Kind::AnalysisRun,
                name: self.run_name.clone(),
            },
            action: Action::Create { object },
            reason: format!("gate {} is open", self.gate.name),
        })
    }
}

/// What a run is made from, with everything it needs inside.
fn build_spec(world: &World, kind: GateKind, analysis: &AnalysisStep) -> Result<AnalysisRunSpec, Problem> {
    let invalid = |error: template::TemplateError| Problem {
        reason: error.reason(),
        text: unreadable(world, &error)
            .cloned()
            .unwrap_or_else(|| error.to_string()),
    };
    let spec = template::build_run(&templates(world), analysis, &arg_context(world)).map_err(invalid)?;
    if kind != GateKind::Background {
        template::check_bounded(&spec).map_err(invalid)?;
    }
    Ok(spec)
}

/// Analyses of a version that could not be judged, found out before it gets its first traffic. Once there are runs,
/// templates may go: each run has what it needs.
pub fn find_unjudgeable(world: &World) -> Vec<Problem> {
    let untouched = world.in_release()
        && world.is_current_known()
        && !world.aborted()
        && !world.fast_tracked()
        && world.status.promotion.is_none()
        && world.step_index() == StepIndex(0)
        && world.snapshot.runs.values().all(|run| {
            let gate = run.spec.gate.as_ref();
            gate.is_none_or(|gate| gate.pod_template_hash != world.current.as_str())
        });
    if !untouched {
        return Vec::new();
    }
    let canary = &world.spec.canary;
    let steps = canary.steps.iter().enumerate();
    let steps = steps.filter_map(|(index, step)| match step {
        Step::Analysis(analysis) => Some((format!("steps[{index}].analysis"), GateKind::Step, analysis)),
        _ => None,
    });
    let background = canary
        .analysis
        .iter()
        .map(|background| ("analysis".to_owned(), GateKind::Background, &background.analysis));
    let bake = canary.bake.iter().filter_map(|bake| {
        Some((
            "bake.analysis".to_owned(),
            GateKind::Bake,
            bake.analysis.as_ref()?,
        ))
    });
    let analyses = steps.chain(background).chain(bake);
    let problems = analyses.filter_map(|(field, kind, analysis)| {
        let problem = build_spec(world, kind, analysis).err()?;
        Some(Problem {
            text: format!("spec.strategy.canary.{field}: {}", problem.text),
            ..problem
        })
    });
    problems.collect()
}

/// Runs to create for the open gates, runs to end because their gate is closed, and what stands in the way.
pub fn plan_runs(world: &World, gates: &[OpenGate]) -> (Vec<Write>, Vec<Problem>) {
    let mut writes = Vec::new();
    let mut problems = Vec::new();
    for gate in gates.iter().filter(|gate| gate.run.is_none()) {
        match gate.create(world) {
            Ok(write) => writes.push(write),
            Err(problem) => problems.push(problem),
        }
    }
    let wanted = |name: &str| gates.iter().any(|gate| gate.run_name == name);
    let ours = |run: &AnalysisRun| {
        run.spec
            .gate
            .as_ref()
            .is_some_and(|gate| gate.rollout_uid == world.spec.uid)
    };
    for (name, run) in &world.snapshot.runs {
        let running = run.status.as_ref().is_none_or(|status| !status.phase.is_final());
        if running && ours(run) && !run.spec.terminate && !wanted(name) {
            writes.push(terminate(name, run));
        }
    }
    (writes, problems)
}

fn templates(world: &World) -> TemplateSet {
    let mut set = TemplateSet::default();
    for seen in &world.snapshot.templates {
        let Some(spec) = &seen.spec else { continue };
        let cluster = seen.reference.cluster_scope == Some(true);
        let kind = if cluster {
            &mut set.cluster
        } else {
            &mut set.namespaced
        };
        kind.insert(seen.reference.template_name.clone(), spec.clone());
    }
    set
}

/// A template that cannot be understood is missing from the set; what is wrong with it says more than that.
fn unreadable<'a>(world: &World<'a>, error: &template::TemplateError) -> Option<&'a String> {
    let template::TemplateError::TemplateMissing { kind, name } = error else {
        return None;
    };
    let cluster = *kind == "ClusterAnalysisTemplate";
    let mut named = world.snapshot.templates.iter().filter(|seen| {
        let TemplateRef {
            template_name,
            cluster_scope,
        } = &seen.reference;
        template_name == name && (*cluster_scope == Some(true)) == cluster
    });
    named.find_map(|seen| seen.problem.as_ref())
}

fn arg_context(world: &World) -> ArgContext {
    let map = |path: &str| {
        let value = world.snapshot.rollout.pointer(path).cloned().unwrap_or_default();
        serde_json::from_value(value).unwrap_or_default()
    };
    ArgContext {
        name: world.spec.name.clone(),
        namespace: world.spec.namespace.clone(),
        labels: map("/metadata/labels"),
        annotations: map("/metadata/annotations"),
        stable_hash: world.stable().cloned(),
        latest_hash: world.current.clone(),
    }
}

fn terminate(name: &str, run: &AnalysisRun) -> Write {
    Write {
        target: Target {
            kind: Kind::AnalysisRun,
            name: name.to_owned(),
        },
        action: Action::Patch {
            precondition: precondition_of(&run.metadata),
            subresource: None::<Subresource>,
            ops: vec![PatchOp::add("/spec/terminate", true)],
        },
        reason: "its gate is closed".to_owned(),
    }
}

/// The object as it was observed.
pub fn precondition_of(
    metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
) -> Precondition {
    Precondition {
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
    }
}

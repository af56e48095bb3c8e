//! Objects in, [`RolloutView`] out.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::model::{
    AnalysisRunView, CommandView, Course, Deadline, ImageView, InvalidView, MetricView, PodView,
    ReplicaCounts, ReplicaSetView, RevisionView, Role, RolloutView, StepView, WeightView,
};
use crate::api::analysis_run::{AnalysisRun, MetricResult};
use crate::api::analysis_template::Metric;
use crate::api::condition::ConditionStatus;
use crate::api::names::{HASH_LABEL, PodTemplateHash, REVISION_ANNOTATION, Revision, Weight};
use crate::api::rollout::{CanaryStep, CanaryStrategy, Rollout};
use crate::api::rollout_command::{CommandPhase, RolloutCommand};
use crate::api::rollout_status::{FastTrack, Promotion, RolloutStatus, RunSummary, WaitingReason};
use crate::api::time;
use crate::plan::analysis::Limits;
use crate::plan::decide::patience_ends;
use crate::plan::gate::retries_of;
use crate::plan::report::VALID;
use crate::plan::validate::validate_rollout;

/// Decisions shown.
const DECISIONS: usize = 5;

/// One Rollout and the objects that belong to it, in any order.
#[derive(Clone, Debug)]
pub struct Objects {
    pub rollout: Rollout,
    pub replica_sets: Vec<ReplicaSet>,
    pub pods: Vec<Pod>,
    pub analysis_runs: Vec<AnalysisRun>,
    pub commands: Vec<RolloutCommand>,
}

impl Objects {
    /// Nothing but the Rollout: enough for a row and for the header.
    pub fn alone(rollout: Rollout) -> Self {
        Objects {
            rollout,
            replica_sets: vec![],
            pods: vec![],
            analysis_runs: vec![],
            commands: vec![],
        }
    }
}

pub fn build(objects: &Objects) -> RolloutView {
    let rollout = &objects.rollout;
    let fallback = RolloutStatus::default();
    let status = rollout.status.as_ref().unwrap_or(&fallback);
    let canary = rollout.spec.strategy.canary.as_ref();
    let steps = canary.map_or(&[][..], |canary| &canary.steps);
    let revisions = build_revisions(objects, status);
    let (pending_commands, refused_commands) = build_commands(&objects.commands);
    RolloutView {
        name: rollout.metadata.name.clone().unwrap_or_default(),
        namespace: rollout.metadata.namespace.clone().unwrap_or_default(),
        created_at: created_at(&rollout.metadata),
        phase: status.phase.unwrap_or_default(),
        message: status.message.clone(),
        stale: status.observed_generation < rollout.metadata.generation,
        course: build_course(rollout, status),
        strategy: if canary.is_some() { "Canary" } else { "none" },
        revision: status.revision,
        step: build_step(steps, status),
        weight: build_weight(canary, status),
        verdict: status.verdict,
        images: build_images(rollout, status, &revisions),
        replicas: build_replicas(rollout, status),
        revisions,
        waiting_on: status.waiting_on.clone(),
        invalid: invalid(status),
        paused: rollout.spec.paused.unwrap_or_default(),
        deadline: build_deadline(rollout, status),
        abort_reason: status.abort_reason.clone(),
        decisions: status.history.iter().rev().take(DECISIONS).cloned().collect(),
        pending_commands,
        refused_commands,
        awaited_run: awaited_run(status).map(|run| run.name.clone()),
        steps_ahead: steps_ahead(steps, status).map(describe_step).collect(),
    }
}

fn invalid(status: &RolloutStatus) -> Option<InvalidView> {
    let mut conditions = status.conditions.iter();
    let valid = conditions.find(|condition| condition.type_ == VALID)?;
    (valid.status == ConditionStatus::False).then(|| InvalidView {
        reason: valid.reason.clone(),
        message: valid.message.clone(),
    })
}

/// Of the analyses that are open, the one that keeps the release from going on.
fn awaited_run(status: &RolloutStatus) -> Option<&RunSummary> {
    let waiting = status.waiting_on.as_ref()?;
    if waiting.reason != WaitingReason::Analysis {
        return None;
    }
    let canary = &status.canary;
    if status.promotion == Some(Promotion::Bake) {
        return canary.bake_analysis_run_status.as_ref();
    }
    let step = canary.current_step_analysis_run_status.as_ref();
    let open = step.filter(|run| !run.status.is_final());
    open.or(canary.current_background_analysis_run_status.as_ref())
}

fn build_deadline(rollout: &Rollout, status: &RolloutStatus) -> Option<Deadline> {
    status.waiting_on.as_ref().filter(|_| !status.abort)?;
    let spec = validate_rollout(&serde_json::to_value(rollout).ok()?).ok()?;
    let at = patience_ends(&spec, status)?;
    let is_rollback = status.fast_track == Some(FastTrack::Rollback);
    Some(Deadline {
        at,
        aborts: spec.progress_deadline_abort && is_in_progress(status) && !is_rollback,
    })
}

fn is_in_progress(status: &RolloutStatus) -> bool {
    status.is_in_release(status.current_pod_hash.as_ref())
}

fn build_course(rollout: &Rollout, status: &RolloutStatus) -> Course {
    match () {
        () if rollout.metadata.deletion_timestamp.is_some() => Course::Deletion,
        () if status.abort => Course::Abort,
        () if status.fast_track == Some(FastTrack::Rollback) => Course::Rollback,
        () if status.stable_rs.is_none() => Course::FirstDeploy,
        () if is_in_progress(status) => Course::Release,
        () => Course::Steady,
    }
}

fn steps_ahead<'a>(steps: &'a [CanaryStep], status: &RolloutStatus) -> impl Iterator<Item = &'a CanaryStep> {
    let done = status
        .current_step_index
        .filter(|_| is_in_progress(status) && !status.abort);
    steps
        .iter()
        .skip(done.map_or(steps.len(), |index| index.as_usize()))
}

fn build_step(steps: &[CanaryStep], status: &RolloutStatus) -> StepView {
    StepView {
        index: status.current_step_index.map(|index| index.0),
        count: steps.len(),
        current: steps_ahead(steps, status).next().map(describe_step),
    }
}

fn describe_step(step: &CanaryStep) -> String {
    let mut parts = Vec::new();
    parts.extend(step.set_weight.map(|weight| format!("set weight {weight}")));
    parts.extend(step.pause.as_ref().map(|pause| match pause.duration {
        Some(duration) => format!("pause {duration}"),
        None => "pause until promoted".to_owned(),
    }));
    parts.extend(
        step.set_canary_scale
            .as_ref()
            .map(|scale| match (scale.replicas, scale.weight) {
                (Some(replicas), _) => format!("scale canary to {replicas} replicas"),
                (_, Some(weight)) => format!("scale canary as for weight {weight}"),
                _ => "scale canary with its weight".to_owned(),
            }),
    );
    parts.extend(step.analysis.as_ref().map(|analysis| {
        let names: Vec<_> = analysis
            .templates
            .iter()
            .map(|template| template.template_name.as_str())
            .collect();
        format!("analysis {}", names.join(", "))
    }));
    parts.join(", ")
}

fn build_weight(canary: Option<&CanaryStrategy>, status: &RolloutStatus) -> WeightView {
    let routing = canary.and_then(|canary| canary.traffic_routing.as_ref());
    let max = routing
        .and_then(|routing| routing.max_traffic_weight)
        .map_or(100, i64::from);
    let weights = status.canary.weights.as_ref();
    WeightView {
        set: canary.and_then(|canary| set_weight(&canary.steps, status, max)),
        routed: routing.is_some(),
        actual: weights.map(|weights| weights.canary.weight),
        max,
        verified: weights.is_some_and(|weights| weights.verified),
    }
}

/// The last `setWeight` at or before the running step; 0 before the first one and once aborted.
fn set_weight(steps: &[CanaryStep], status: &RolloutStatus, max: i64) -> Option<Weight> {
    if !is_in_progress(status) {
        return None;
    }
    let index = status.current_step_index.map_or(0, |index| index.as_usize());
    let begun = steps.iter().take(index.saturating_add(1));
    let last = begun.filter_map(|step| step.set_weight).next_back();
    Some(Weight(match () {
        () if status.abort => 0,
        () if index >= steps.len() => max,
        () => last.map_or(0, i64::from),
    }))
}

fn build_replicas(rollout: &Rollout, status: &RolloutStatus) -> ReplicaCounts {
    ReplicaCounts {
        desired: rollout.spec.replicas.map(i64::from),
        current: status.replicas,
        updated: status.updated_replicas,
        ready: status.ready_replicas,
        available: status.available_replicas,
    }
}

/// Images of the versions that may carry traffic; from the spec alone while there is no ReplicaSet.
fn build_images(rollout: &Rollout, status: &RolloutStatus, revisions: &[RevisionView]) -> Vec<ImageView> {
    let replica_sets = revisions.iter().flat_map(|revision| &revision.replica_sets);
    let mut images: Vec<_> = replica_sets
        .filter(|set| set.role.is_some())
        .flat_map(|set| set.images.clone())
        .collect();
    if images.is_empty() {
        let role = if is_in_progress(status) {
            Role::Canary
        } else {
            Role::Stable
        };
        images = images_of(&rollout.spec.template, role);
    }
    images.sort();
    images.dedup();
    images
}

pub fn images_of(template: &Value, role: Role) -> Vec<ImageView> {
    let containers = template.pointer("/spec/containers").and_then(Value::as_array);
    let text = |container: &Value, key| {
        container
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    containers
        .into_iter()
        .flatten()
        .map(|container| ImageView {
            role,
            container: text(container, "name"),
            image: text(container, "image"),
        })
        .collect()
}

/// Newest revision first; what carries no revision comes last.
fn build_revisions(objects: &Objects, status: &RolloutStatus) -> Vec<RevisionView> {
    let mut by_revision: BTreeMap<Option<Revision>, RevisionView> = BTreeMap::new();
    let mut revision_of_hash = BTreeMap::new();
    for replica_set in &objects.replica_sets {
        let revision = revision_of(&replica_set.metadata);
        revision_of_hash.insert(label(&replica_set.metadata, HASH_LABEL), revision);
        let entry = by_revision.entry(revision).or_default();
        entry
            .replica_sets
            .push(build_replica_set(replica_set, &objects.pods, status));
    }
    for run in &objects.analysis_runs {
        let of_hash = revision_of_hash
            .get(&label(&run.metadata, HASH_LABEL))
            .copied()
            .flatten();
        let entry = by_revision
            .entry(revision_of(&run.metadata).or(of_hash))
            .or_default();
        entry.analysis_runs.push(build_analysis_run(run, status));
    }
    let mut revisions: Vec<_> = by_revision
        .into_iter()
        .rev()
        .map(|(revision, view)| RevisionView { revision, ..view })
        .collect();
    for view in &mut revisions {
        view.replica_sets.sort_by(|a, b| a.name.cmp(&b.name));
        view.analysis_runs
            .sort_by(|a, b| (b.created_at, &b.name).cmp(&(a.created_at, &a.name)));
    }
    revisions
}

fn build_replica_set(replica_set: &ReplicaSet, pods: &[Pod], status: &RolloutStatus) -> ReplicaSetView {
    let name = replica_set.metadata.name.clone().unwrap_or_default();
    let hash = PodTemplateHash(
        label(&replica_set.metadata, HASH_LABEL)
            .unwrap_or_default()
            .to_owned(),
    );
    let role = role_of(&hash, status);
    let scale_down_at = status.kept_until.get(&hash).copied();
    let spec = replica_set.spec.as_ref();
    let counts = replica_set.status.as_ref();
    let template = spec.and_then(|spec| serde_json::to_value(&spec.template).ok());
    let mut own: Vec<_> = pods
        .iter()
        .filter(|pod| is_owned_by(pod, &name))
        .map(build_pod)
        .collect();
    own.sort_by(|a: &PodView, b| a.name.cmp(&b.name));
    ReplicaSetView {
        images: template
            .map(|template| images_of(&template, role.unwrap_or(Role::Stable)))
            .unwrap_or_default(),
        name,
        hash,
        role,
        created_at: created_at(&replica_set.metadata),
        desired: spec.and_then(|spec| spec.replicas).map_or(0, i64::from),
        ready: counts
            .and_then(|counts| counts.ready_replicas)
            .map_or(0, i64::from),
        available: counts
            .and_then(|counts| counts.available_replicas)
            .map_or(0, i64::from),
        scale_down_at,
        pods: own,
    }
}

fn role_of(hash: &PodTemplateHash, status: &RolloutStatus) -> Option<Role> {
    match Some(hash) {
        hash if hash == status.stable_rs.as_ref() => Some(Role::Stable),
        hash if hash == status.current_pod_hash.as_ref() => Some(Role::Canary),
        _ => None,
    }
}

fn is_owned_by(pod: &Pod, replica_set: &str) -> bool {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.kind == "ReplicaSet" && owner.name == replica_set)
}

fn build_pod(pod: &Pod) -> PodView {
    let status = pod.status.as_ref();
    let containers = || {
        status
            .and_then(|status| status.container_statuses.as_ref())
            .into_iter()
            .flatten()
    };
    let waiting = containers().find_map(|container| {
        let state = container.state.as_ref()?;
        let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
        waiting.or_else(|| state.terminated.as_ref().and_then(|ended| ended.reason.clone()))
    });
    let phase = status.and_then(|status| status.phase.clone());
    let conditions = status
        .and_then(|status| status.conditions.as_ref())
        .into_iter()
        .flatten();
    PodView {
        name: pod.metadata.name.clone().unwrap_or_default(),
        status: match pod.metadata.deletion_timestamp {
            Some(_) => "Terminating".to_owned(),
            None => waiting.or(phase).unwrap_or_else(|| "Unknown".to_owned()),
        },
        ready: conditions
            .into_iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        restarts: containers()
            .map(|container| i64::from(container.restart_count))
            .sum(),
        created_at: created_at(&pod.metadata),
    }
}

fn build_analysis_run(run: &AnalysisRun, rollout: &RolloutStatus) -> AnalysisRunView {
    let gate = run.spec.gate.as_ref();
    let current = rollout.current_pod_hash.as_ref().map(PodTemplateHash::as_str);
    let status = run.status.as_ref();
    let results = status.map_or(&[][..], |status| &status.metric_results);
    AnalysisRunView {
        name: run.metadata.name.clone().unwrap_or_default(),
        verdict: status.map(|status| status.phase).unwrap_or_default(),
        message: status.and_then(|status| status.message.clone()),
        created_at: created_at(&run.metadata),
        superseded: gate.is_some_and(|gate| {
            Some(gate.pod_template_hash.as_str()) == current && retries_of(gate) < rollout.retries
        }),
        ends_at: ends_at(run, results),
        metrics: results.iter().map(|result| build_metric(run, result)).collect(),
    }
}

fn metric_of<'a>(run: &'a AnalysisRun, result: &MetricResult) -> Option<&'a Metric> {
    run.spec.metrics.iter().find(|metric| metric.name == result.name)
}

fn count_of(metric: &Metric) -> Option<i64> {
    Limits::of(metric).ok()?.count
}

/// Nothing for a run that has an open metric without an end.
fn ends_at(run: &AnalysisRun, results: &[MetricResult]) -> Option<DateTime<Utc>> {
    let open = results
        .iter()
        .filter(|result| !result.phase.is_final() && !result.dry_run);
    let ends: Option<Vec<_>> = open.map(|result| last_measurement(run, result)).collect();
    ends?.into_iter().max()
}

fn last_measurement(run: &AnalysisRun, result: &MetricResult) -> Option<DateTime<Utc>> {
    // As long as nothing counts, nobody knows.
    let limits = Limits::of(metric_of(run, result).filter(|_| result.count > 0)?).ok()?;
    let left = i32::try_from(limits.count?.saturating_sub(result.count)).ok()?;
    let time = limits.interval?.checked_mul(left.max(0))?;
    result.measurements.last()?.started_at.checked_add_signed(time)
}

fn build_metric(run: &AnalysisRun, result: &MetricResult) -> MetricView {
    let metric = metric_of(run, result);
    let newest = result.measurements.last();
    MetricView {
        name: result.name.clone(),
        verdict: result.phase,
        dry_run: result.dry_run,
        count: metric.and_then(count_of),
        counted: result.count,
        successful: result.successful,
        failed: result.failed,
        undecided: result
            .inconclusive
            .saturating_add(result.error)
            .saturating_add(result.no_data),
        measured: newest.and_then(|newest| newest.value),
        threshold: result.threshold,
        condition: metric.and_then(|metric| {
            let failure = metric
                .failure_condition
                .as_ref()
                .map(|condition| format!("not ({condition})"));
            metric.success_condition.clone().or(failure)
        }),
        message: result
            .message
            .clone()
            .or_else(|| newest.and_then(|newest| newest.message.clone())),
    }
}

fn build_commands(commands: &[RolloutCommand]) -> (Vec<CommandView>, Vec<CommandView>) {
    let mut views: Vec<_> = commands.iter().map(build_command).collect();
    views.sort_by(|a, b| (a.created_at, &a.name).cmp(&(b.created_at, &b.name)));
    let pending = views
        .iter()
        .filter(|view| view.phase.is_none())
        .cloned()
        .collect();
    let refused = |view: &CommandView| view.phase.is_some_and(|phase| phase != CommandPhase::Accepted);
    (pending, views.into_iter().rev().filter(refused).collect())
}

fn build_command(command: &RolloutCommand) -> CommandView {
    let status = command.status.as_ref();
    CommandView {
        name: command.metadata.name.clone().unwrap_or_default(),
        verb: command.spec.verb,
        requested_by: command.spec.requested_by.clone(),
        phase: status.and_then(|status| status.phase),
        message: status.and_then(|status| status.message.clone()),
        created_at: created_at(&command.metadata),
    }
}

fn created_at(metadata: &ObjectMeta) -> Option<DateTime<Utc>> {
    metadata.creation_timestamp.as_ref().map(time::from_meta)
}

fn label<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(key).map(String::as_str)
}

fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn revision_of(metadata: &ObjectMeta) -> Option<Revision> {
    annotation(metadata, REVISION_ANNOTATION).and_then(Revision::from_annotation)
}

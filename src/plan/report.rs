//! The new status: phase, message, what is waited for, counts, conditions. Unchanged worlds give unchanged
//! bytes: no text depends on `now`, and every time stands until what it dates changes.

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::api::analysis_run::Verdict;
use crate::api::condition::{Condition, ConditionStatus};
use crate::api::names::Weight;
use crate::api::rollout_status::{Phase, RolloutStatus, WaitingReason};
use crate::plan::decide::{counts_as_stuck, overdue};
use crate::plan::gate::{GateKind, OpenGate};
use crate::plan::reference::{Problem, join_problems};
use crate::plan::snapshot::ReplicaSetSeen;
use crate::plan::text::shorten;
use crate::plan::traffic::Traffic;
use crate::plan::wait::Wait;
use crate::plan::world::World;

/// Type of the condition that says whether enough pods are available.
pub const AVAILABLE: &str = "Available";
/// Type of the condition that says whether something must be mended first.
pub const VALID: &str = "Valid";
/// The message while the controller is at work and waits for nothing.
pub const PROGRESSING: &str = "progressing";
const KEPT_REVERTS: usize = 3;
/// Repeated in most of the conditions.
const MAX_MESSAGE: usize = 1_024;

/// What a round found out beside the decision.
#[derive(Default)]
pub struct Findings<'a> {
    pub gates: &'a [OpenGate<'a>],
    pub wait: Option<Wait>,
    pub problems: &'a [Problem],
    /// Why an analysis that should run cannot be made.
    pub invalid_analysis: Option<&'static str>,
    pub reverted: bool,
    /// Nothing is in progress and everything is in place.
    pub at_rest: bool,
}

/// Fills in everything that is reported about `core`, the state as decided.
pub fn report(
    world: &World,
    core: RolloutStatus,
    traffic: Option<&Traffic>,
    findings: Findings,
) -> RolloutStatus {
    let mut status = core;
    status.observed_generation = Some(world.spec.generation);
    status.wanted_replicas = Some(world.replicas);
    count_pods(world, &mut status, traffic);
    report_traffic(world, &mut status, traffic, findings.reverted);
    report_gates(&mut status, findings.gates);
    status.step = Some(format!(
        "{}/{}",
        status.current_step_index.unwrap_or_default(),
        world.steps().len()
    ));
    let before = world.status.waiting_on.as_ref();
    status.waiting_on = findings.wait.map(|wait| wait.recorded(before, world.now));
    let stuck = overdue(world).is_some();
    status.phase = Some(phase(world, &status, findings.problems, findings.at_rest, stuck));
    status.message = Some(shorten(message(&status, findings.problems, stuck), MAX_MESSAGE));
    let reason = findings.problems.first().map(|problem| problem.reason);
    set_conditions(world, &mut status, reason.or(findings.invalid_analysis), stuck);
    status
}

fn count_pods(world: &World, status: &mut RolloutStatus, traffic: Option<&Traffic>) {
    let owned = || world.snapshot.replica_sets.values().filter(|set| set.owned);
    let sum = |of: fn(&ReplicaSetSeen) -> i64| owned().map(of).sum::<i64>();
    let available = sum(|set| set.available);
    if available > status.available_replicas {
        status.last_progress_at = Some(world.now);
    }
    status.replicas = sum(|set| set.running);
    status.ready_replicas = sum(|set| set.ready);
    status.available_replicas = available;
    status.updated_replicas = world.set(&world.current).map_or(0, |set| set.running);
    status.hpa_replicas = pods_with_traffic(world, traffic).unwrap_or(status.replicas);
    status.selector = Some(selector_text(&world.spec.selector));
}

/// Pods of the versions that traffic may reach; a version that is kept warm, or waits for its first weight, is idle
/// and would make the autoscaler ask for ever more. Without routing every pod is the traffic, and before a Service
/// selects a version nobody can tell.
fn pods_with_traffic(world: &World, traffic: Option<&Traffic>) -> Option<i64> {
    let owned = world.snapshot.replica_sets.values().filter(|set| set.owned);
    let carrying = owned.filter(|set| traffic.is_some_and(|traffic| traffic.share(&set.hash) > Weight::ZERO));
    let running: Vec<i64> = carrying.map(|set| set.running).collect();
    (!running.is_empty()).then(|| running.iter().sum())
}

/// As `kubectl get -l` takes it.
fn selector_text(selector: &LabelSelector) -> String {
    let labels = selector
        .match_labels
        .iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value}"));
    let expressions = selector.match_expressions.iter().flatten().map(|expression| {
        let values = expression.values.clone().unwrap_or_default().join(",");
        match expression.operator.as_str() {
            "In" => format!("{} in ({values})", expression.key),
            "NotIn" => format!("{} notin ({values})", expression.key),
            "DoesNotExist" => format!("!{}", expression.key),
            _ => expression.key.clone(),
        }
    });
    labels.chain(expressions).collect::<Vec<_>>().join(",")
}

fn report_traffic(world: &World, status: &mut RolloutStatus, traffic: Option<&Traffic>, reverted: bool) {
    let Some(traffic) = traffic else {
        status.canary.weights = None;
        status.canary.routing = None;
        status.canary.route_reverts.clear();
        return;
    };
    status.canary.weights = Some(traffic.weights.clone());
    if !traffic.retiring {
        status.canary.routing = Some(traffic.routing.clone());
    }
    if reverted {
        status.canary.route_reverts.push(world.now);
        let excess = status.canary.route_reverts.len().saturating_sub(KEPT_REVERTS);
        status.canary.route_reverts.drain(..excess);
    }
}

fn report_gates(status: &mut RolloutStatus, gates: &[OpenGate]) {
    for gate in gates {
        let summary = Some(gate.summary());
        match gate.kind {
            GateKind::Step => status.canary.current_step_analysis_run_status = summary,
            GateKind::Background => status.canary.current_background_analysis_run_status = summary,
            GateKind::Bake => status.canary.bake_analysis_run_status = summary,
        }
    }
    if gates.is_empty() {
        // What ran when the release was stopped will not come to a verdict any more.
        status.verdict = status.verdict.filter(|verdict| verdict.is_final());
    } else {
        status.verdict = gates
            .iter()
            .map(OpenGate::verdict)
            .max()
            .filter(|verdict| *verdict != Verdict::Pending);
    }
}

fn phase(world: &World, status: &RolloutStatus, problems: &[Problem], at_rest: bool, stuck: bool) -> Phase {
    let waits_for = status.waiting_on.as_ref().map(|waiting| waiting.reason);
    let invalid = !problems.is_empty() || waits_for == Some(WaitingReason::Invalid);
    let in_progress = world.in_release() || world.is_first_deploy() || world.is_rollback();
    match () {
        () if invalid || status.abort || stuck => Phase::Degraded,
        () if !status.pause_conditions.is_empty() || (world.spec_paused() && in_progress) => Phase::Paused,
        () if at_rest => Phase::Healthy,
        () => Phase::Progressing,
    }
}

fn message(status: &RolloutStatus, problems: &[Problem], stuck: bool) -> String {
    if let Some(problem) = problems.first() {
        return problem.text.clone();
    }
    if let Some(abort) = status.abort_reason.as_ref().filter(|_| status.abort) {
        let blocked = status
            .waiting_on
            .as_ref()
            .filter(|waiting| counts_as_stuck(waiting.reason));
        let waiting = blocked.map(|waiting| format!("; waiting for: {}", waiting.message));
        return format!("aborted: {}{}", abort.reason, waiting.unwrap_or_default());
    }
    match (&status.waiting_on, stuck) {
        (Some(waiting), true) => format!("no progress for progressDeadlineSeconds: {}", waiting.message),
        // Old pods that are kept for a while are nothing to wait for.
        _ if status.phase == Some(Phase::Healthy) => "stable carries all traffic".to_owned(),
        (Some(waiting), false) => format!("waiting for: {}", waiting.message),
        (None, _) if status.phase == Some(Phase::Paused) => "paused".to_owned(),
        (None, _) => PROGRESSING.to_owned(),
    }
}

fn set_conditions(world: &World, status: &mut RolloutStatus, invalid: Option<&'static str>, stuck: bool) {
    let phase = status.phase.unwrap_or_default();
    let text = status.message.clone().unwrap_or_default();
    let needed = world.replicas - world.budgets().unavailable;
    let waits_for = status.waiting_on.as_ref().map(|waiting| waiting.reason);
    let contended = waits_for == Some(WaitingReason::RouteContended);
    let waiting = status.waiting_on.as_ref().filter(|_| contended);
    let foreign = waiting.map_or_else(String::new, |waiting| waiting.message.clone());
    let reconciling = matches!(phase, Phase::Progressing | Phase::Paused);
    let stalled = phase == Phase::Degraded;
    let stalled_reason = match () {
        () if status.abort => "Aborted",
        () if stuck => "ProgressDeadlineExceeded",
        () if stalled => "Invalid",
        () => "NotStalled",
    };
    let reconciling_reason = match phase {
        Phase::Paused => "Paused",
        Phase::Progressing => "Progressing",
        _ => "AtRest",
    };
    let wanted = [
        (
            "Ready",
            phase == Phase::Healthy,
            if phase == Phase::Healthy {
                "Healthy"
            } else {
                "NotReady"
            },
        ),
        ("Reconciling", reconciling, reconciling_reason),
        ("Stalled", stalled, stalled_reason),
        (AVAILABLE, status.available_replicas >= needed, "AvailablePods"),
        (VALID, invalid.is_none(), invalid.unwrap_or("Valid")),
        (
            "RouteContended",
            contended,
            if contended {
                "ForeignChanges"
            } else {
                "Uncontended"
            },
        ),
    ];
    let before = std::mem::take(&mut status.conditions);
    status.conditions = wanted
        .into_iter()
        .map(|(type_, holds, reason)| {
            let shown = match type_ {
                AVAILABLE => "",
                "RouteContended" => foreign.as_str(),
                _ => text.as_str(),
            };
            condition(&before, type_, holds, reason, shown, world.now)
        })
        .collect();
}

fn condition(
    before: &[Condition],
    type_: &str,
    holds: bool,
    reason: &str,
    message: &str,
    now: DateTime<Utc>,
) -> Condition {
    let status = ConditionStatus::of(holds);
    let old = before
        .iter()
        .find(|old| old.type_ == type_ && old.status == status);
    Condition {
        type_: type_.to_owned(),
        status,
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: old.map_or(now, |old| old.last_transition_time),
        observed_generation: None,
    }
}

/// A spec that cannot be used: everything stays where it is, and the status says what to mend.
pub fn report_invalid(
    before: RolloutStatus,
    generation: i64,
    problems: &[Problem],
    now: DateTime<Utc>,
) -> RolloutStatus {
    let mut status = before;
    let text = join_problems(problems);
    let reason = problems.first().map_or("Invalid", |problem| problem.reason);
    status.observed_generation = Some(generation);
    status.phase = Some(Phase::Degraded);
    let wait = Wait::on(WaitingReason::Invalid, text.clone());
    status.waiting_on = Some(wait.recorded(status.waiting_on.as_ref(), now));
    let old = std::mem::take(&mut status.conditions);
    let wanted = [
        ("Ready", false, "NotReady"),
        ("Reconciling", false, "Invalid"),
        ("Stalled", true, "Invalid"),
        (VALID, false, reason),
    ];
    status.conditions = old
        .iter()
        .filter(|old| wanted.iter().all(|(type_, ..)| *type_ != old.type_))
        .cloned()
        .collect();
    let fresh = wanted.map(|(type_, holds, reason)| condition(&old, type_, holds, reason, &text, now));
    status.conditions.extend(fresh);
    status.message = Some(text);
    status
}

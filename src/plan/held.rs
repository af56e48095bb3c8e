//! A Rollout that cannot go on until a person mends something: its spec is not valid, or what it refers to is
//! missing or belongs to somebody else.
//!
//! Guarantees: nothing advances, nothing is raised and no pods go. What keeps requests from being lost goes on all
//! the same: an abort, the verdict of an analysis (of one that a valid spec names), the way back to the stable
//! version, traffic that leaves a canary nobody serves, and a Rollout that is deleted.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::api::names::Weight;
use crate::api::rollout_status::{RolloutStatus, WaitingReason};
use crate::plan::command::refuse_all;
use crate::plan::decide::{Evidence, carry_out_command, judge_analyses};
use crate::plan::effect::{Effects, plan_rescue};
use crate::plan::model::{CLEAR_UP, Plan};
use crate::plan::reference::{Problem, join_problems};
use crate::plan::report::{Findings, report, report_invalid};
use crate::plan::revision::hash_template;
use crate::plan::snapshot::Snapshot;
use crate::plan::step::begin_revision;
use crate::plan::traffic::Traffic;
use crate::plan::validate::valid::ValidRollout;
use crate::plan::validate::{Violation, validate_rollout};
use crate::plan::wait::{Wait, look_again};
use crate::plan::{finish, is_dying, next_look, plan_move};

/// Nothing can be said about the spec: the status as it was, and what to mend.
pub fn plan_invalid(snapshot: &Snapshot, problems: &[Problem], rule: &str, now: DateTime<Utc>) -> Plan {
    let raw = |path: &str| snapshot.rollout.pointer(path);
    let before: RolloutStatus = raw("/status")
        .and_then(|status| RolloutStatus::deserialize(status).ok())
        .unwrap_or_default();
    let generation = raw("/metadata/generation")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    let status = report_invalid(before, generation, problems, now);
    let mut effects = Effects::default();
    effects.stage(
        CLEAR_UP,
        refuse_all(snapshot, &status, &join_problems(problems), now),
    );
    Plan {
        stages: effects.stages,
        status,
        rule: rule.to_owned(),
        ..Plan::default()
    }
}

pub fn invalid_spec(violations: &[Violation]) -> Vec<Problem> {
    let problem = |violation: &Violation| Problem {
        reason: violation.reason.as_str(),
        text: violation.to_string(),
    };
    violations.iter().map(problem).collect()
}

/// How many pods may go, and when.
const BUDGETS: [&str; 4] = [
    "maxSurge",
    "maxUnavailable",
    "scaleDownDelaySeconds",
    "abortScaleDownDelaySeconds",
];

/// What is left of an invalid spec: its version and size, and the routing in use. Enough to take traffic back and to
/// let the Rollout go; `None` when the version is not the one that the status knows.
pub fn salvage(snapshot: &Snapshot) -> Option<ValidRollout> {
    let rollout = &snapshot.rollout;
    let written = rollout.pointer("/spec")?;
    let in_use = rollout.pointer("/status/canary/routing");
    let mut canary = Map::new();
    for field in ["trafficRouting", "stableService", "canaryService"] {
        if let Some(value) = in_use.and_then(|routing| routing.get(field)) {
            canary.insert(field.to_owned(), value.clone());
        }
    }
    let dynamic = "/spec/strategy/canary/dynamicStableScale";
    if in_use.is_some() && rollout.pointer(dynamic) == Some(&Value::Bool(true)) {
        canary.insert("dynamicStableScale".to_owned(), json!(true));
    }
    let kept = |fields: &[&str], budgets: &[&str]| -> Option<ValidRollout> {
        let mut spec = Map::new();
        let mut canary = canary.clone();
        for field in budgets {
            if let Some(value) = written.pointer(&format!("/strategy/canary/{field}")) {
                canary.insert((*field).to_owned(), value.clone());
            }
        }
        for field in fields {
            spec.insert((*field).to_owned(), written.get(field)?.clone());
        }
        spec.insert("strategy".to_owned(), json!({ "canary": canary }));
        let mut rollout = rollout.clone();
        rollout
            .as_object_mut()?
            .insert("spec".to_owned(), Value::Object(spec));
        validate_rollout(&rollout).ok()
    };
    let spec = kept(&["selector", "template", "replicas"], &BUDGETS)
        .or_else(|| kept(&["selector", "template", "replicas"], &[]))
        .or_else(|| kept(&["selector", "template"], &[]))?;
    let known = rollout.pointer("/status/currentPodHash").and_then(Value::as_str);
    let deleting = rollout.pointer("/metadata/deletionTimestamp").is_some();
    (deleting || known == Some(hash_template(&spec.template).as_str())).then_some(spec)
}

/// What still goes on; otherwise everything stays where it is.
pub fn plan_held(evidence: &Evidence, mut traffic: Option<Traffic>, problems: &[Problem]) -> Plan {
    let world = evidence.world;
    let back = begin_revision(world).filter(|_| world.stable() == Some(&world.current));
    // Routing that was never set up is not to be recorded as in use.
    let routed = world.status.canary.weights.is_some();
    let moved = carry_out_command(evidence)
        .or(back)
        .or_else(|| judge_analyses(evidence));
    if let Some((status, rule)) = moved {
        let traffic = traffic.as_ref().filter(|_| routed);
        return plan_move(world, traffic, evidence.commands, status, rule);
    }
    let mut effects = plan_rescue(world, traffic.as_mut().filter(|_| routed), evidence.sizes);
    effects.stage(CLEAR_UP, evidence.commands.writes.clone());
    let is_rivalry = |wait: &&Wait| wait.reason == WaitingReason::RouteContended;
    let rivalry = effects.waits.iter().find(is_rivalry).cloned();
    let is_contended = rivalry.is_some();
    let invalid = || Wait::on(WaitingReason::Invalid, join_problems(problems));
    let findings = Findings {
        wait: Some(rivalry.unwrap_or_else(invalid)),
        problems,
        gates: evidence.gates,
        reverted: effects.reverted,
        ..Findings::default()
    };
    let mut core = world.status.clone();
    core.handled_commands = evidence.commands.handled.clone();
    let status = report(world, core, traffic.as_ref().filter(|_| routed), findings);
    // Whoever mends it wakes us, and so does every change of the pods; only the canary's endpoints may go unnoticed.
    let moves = !effects.stages.is_empty() || is_contended || is_dying(world, &status);
    let next = next_look(world, &status, &effects.waits).filter(|_| moves);
    let weights = status.canary.weights.as_ref();
    let exposed = weights.is_some_and(|weights| weights.canary.weight > Weight::ZERO);
    let held_since = status.waiting_on.as_ref().map(|waiting| waiting.since);
    let glance = held_since
        .filter(|_| exposed)
        .map(|since| look_again(since, world.now));
    let requeue_at = next.into_iter().chain(glance).min();
    finish(effects.stages, status, requeue_at, "Invalid")
}

//! The pure core: every decision about a release. No IO, no clock, no randomness, no `async`.
//!
//! [`plan`] takes a snapshot and `now` and returns a [`Plan`], which either *decides* (a new status,
//! nothing else) or *acts* (writes that follow from the decisions as persisted, and from how far the traffic has come);
//! so whatever is written can be derived again after a crash. What rounds have merely seen may reach the status later (`postpone`). The way
//! through it:
//!
//! `validate` → `world` (the facts) → `traffic` (what is in effect) → `promotion` (how far it has come) → `scale`, `gate`, `command` (what each would
//! do) → `decide` (does the release move?) → else `effect` (stages) → `report` (status) → `check` (may this lose a
//! request?).

pub mod advance;
pub mod analysis;
pub mod check;
pub mod cleanup;
pub mod command;
pub mod condition;
pub mod decide;
pub mod effect;
pub mod endpoint;
pub mod event;
pub mod gate;
pub mod held;
pub mod interval;
pub mod model;
pub mod needs;
pub mod postpone;
pub mod preflight;
pub mod promotion;
pub mod reference;
pub mod replicas;
pub mod report;
pub mod retire;
pub mod revision;
pub mod scale;
pub mod shift;
pub mod snapshot;
pub mod step;
pub mod template;
mod text;
pub mod traffic;
pub mod validate;
pub mod wait;
pub mod witness;
pub mod world;

use chrono::{DateTime, Duration, Utc};
use serde_json::Value;

use crate::api::rollout_status::{Promotion, RolloutStatus, WaitingReason};
use crate::plan::check::{Breach, check};
use crate::plan::command::{Commands, read_commands};
use crate::plan::decide::{Decision, Evidence, at_rest, decide};
use crate::plan::effect::{Effects, plan_effects};
use crate::plan::gate::{find_unjudgeable, open_gates};
use crate::plan::held::{invalid_spec, plan_held, plan_invalid, salvage};
use crate::plan::model::{CLEAR_UP, GROW, MOVES_TRAFFIC, Plan, SHRINK, Stage};
use crate::plan::postpone::due_later;
use crate::plan::reference::{Problem, find_problems, join_problems};
use crate::plan::report::{Findings, report};
use crate::plan::scale::{plan_sizes, wait_kept};
use crate::plan::snapshot::Snapshot;
use crate::plan::traffic::{Traffic, observe_traffic};
use crate::plan::validate::valid::ValidRollout;
use crate::plan::validate::{Violation, validate_rollout};
use crate::plan::wait::{Wait, look_again};
use crate::plan::world::World;

/// A refused plan may become right by time alone.
const REFUSED_AGAIN_SECONDS: i64 = 60;

/// One round for one Rollout: validated, planned, and checked by somebody else.
pub fn plan(snapshot: &Snapshot, now: DateTime<Utc>) -> Plan {
    let plan = match validate_rollout(&snapshot.rollout) {
        Ok(spec) => plan_rollout(snapshot, &spec, now),
        Err(violations) => plan_without_spec(snapshot, &violations, now),
    };
    let breaches = check(snapshot, &plan);
    if breaches.is_empty() {
        plan
    } else {
        refuse(snapshot, &breaches, now)
    }
}

/// A plan that breaks a rule is a mistake of ours: nothing of it is carried out, and the status says so.
fn refuse(snapshot: &Snapshot, breaches: &[Breach], now: DateTime<Utc>) -> Plan {
    let problem = |breach: &Breach| Problem {
        reason: "PlanRefused",
        text: breach.to_string(),
    };
    let problems: Vec<Problem> = breaches.iter().map(problem).collect();
    let mut plan = plan_invalid(snapshot, &problems, model::REFUSED, now);
    plan.requeue_at = Some(now + Duration::seconds(REFUSED_AGAIN_SECONDS));
    plan
}

/// The spec is not valid. What is known of the release otherwise is enough to keep requests from being lost.
fn plan_without_spec(snapshot: &Snapshot, violations: &[Violation], now: DateTime<Utc>) -> Plan {
    let problems = invalid_spec(violations);
    let Some(spec) = salvage(snapshot) else {
        return plan_invalid(snapshot, &problems, "Invalid", now);
    };
    let mut plan = plan_with(snapshot, &spec, problems, now);
    // Of the steps nothing is known.
    let step = snapshot.rollout.pointer("/status/step").and_then(Value::as_str);
    plan.status.step = step.map(str::to_owned);
    plan
}

pub fn plan_rollout(snapshot: &Snapshot, spec: &ValidRollout, now: DateTime<Utc>) -> Plan {
    plan_with(snapshot, spec, Vec::new(), now)
}

fn plan_with(snapshot: &Snapshot, spec: &ValidRollout, invalid: Vec<Problem>, now: DateTime<Utc>) -> Plan {
    let mut world = World::new(snapshot, spec, whole_millis(now));
    let traffic = observe_traffic(&world);
    if world.is_deleting() {
        return plan_deletion(&world, traffic);
    }
    let gates = open_gates(&world);
    let commands = read_commands(&world, &gates);
    let mut problems = [invalid, find_problems(&world, traffic.as_ref())].concat();
    if !commands.insists_on_all() {
        problems.extend(find_unjudgeable(&world));
    }
    // Not over what an older Rollout has: the two would take it from one another for ever.
    let turning_back = (world.aborted() || world.is_rollback()) && snapshot.claims.is_empty();
    let held = !problems.is_empty() && !turning_back;
    if !held {
        world.take_in_promotion(promotion::find_stage(&world, traffic.as_ref()));
    }
    let sizes = plan_sizes(&world, traffic.as_ref());
    let commands = if held {
        commands.while_held(&join_problems(&problems), world.now)
    } else {
        commands
    };
    let evidence = Evidence {
        world: &world,
        traffic: traffic.as_ref(),
        sizes: &sizes,
        gates: &gates,
        commands: &commands,
    };
    if held {
        return plan_held(&evidence.without_traffic(), traffic, &problems);
    }
    let rests = at_rest(&world, traffic.as_ref());
    let wait = match decide(&evidence) {
        Decision::Move { status, rule } => {
            return plan_move(&world, traffic.as_ref(), &commands, *status, rule);
        }
        Decision::Wait(wait) => Some(wait),
        Decision::Rest => None,
    };
    act(&evidence.without_traffic(), traffic, &problems, wait, rests)
}

/// Nothing is to be decided: what the status asks for is carried out, and `wait` is what the next decision waits for.
fn act(
    evidence: &Evidence,
    mut traffic: Option<Traffic>,
    problems: &[Problem],
    wait: Option<Wait>,
    rests: bool,
) -> Plan {
    let Evidence {
        world,
        gates,
        commands,
        ..
    } = evidence;
    let mut effects = plan_effects(world, traffic.as_mut(), evidence.sizes, gates);
    let taken_back = take_back(world, traffic.as_ref(), &mut effects);
    effects.stage(
        CLEAR_UP,
        [
            commands.writes.clone(),
            cleanup::plan_cleanup(world, rests && traffic.is_none()),
        ]
        .concat(),
    );
    let traffic = traffic.filter(|_| !taken_back);
    let idle = effects.stages.is_empty();
    let invalid = effects
        .waits
        .iter()
        .find(|wait| wait.reason == WaitingReason::Invalid);
    let first_wait = invalid.or(effects.waits.first()).cloned();
    let wait = if rests {
        first_wait.or(wait)
    } else {
        preferred(wait, first_wait)
    };
    let findings = Findings {
        gates,
        wait: wait.map(|wait| about_lost_stable(world, wait)),
        problems,
        invalid_analysis: effects.invalid_analysis,
        reverted: effects.reverted,
        at_rest: rests && nothing_is_released(world),
    };
    let mut core = world.status.clone();
    core.handled_commands = commands.handled.clone();
    core.kept_until = evidence.sizes.kept_until();
    let status = report(world, core, traffic.as_ref(), findings);
    let status_due = due_later(world, &status).filter(|_| !effects.record_now);
    let look = next_look(world, &status, &effects.waits);
    let requeue_at = look.into_iter().chain(status_due).min();
    let rule = if idle { "Waiting" } else { "Acting" };
    Plan {
        status_due,
        ..finish(effects.stages, status, requeue_at, rule)
    }
}

/// What blocks an effect says more than what blocks the step that wants it.
fn preferred(decision: Option<Wait>, effect: Option<Wait>) -> Option<Wait> {
    use WaitingReason as R;
    match (decision, effect) {
        (_, Some(effect)) if matches!(effect.reason, R::Invalid | R::RouteContended) => Some(effect),
        (Some(decision), Some(effect))
            if matches!(decision.reason, R::RouteAccepted | R::CanaryPods | R::NewVersion)
                && effect.reason != R::ScaleDownDelay =>
        {
            Some(effect)
        }
        (decision, effect) => decision.or(effect),
    }
}

/// What waits for a stable whose ReplicaSet was deleted waits for ever; only a person can help.
fn about_lost_stable(world: &World, wait: Wait) -> Wait {
    use WaitingReason as R;
    let hopeless = matches!(wait.reason, R::StablePods | R::Endpoints | R::NewVersion);
    match world.lost_stable().filter(|_| hopeless) {
        Some(text) => Wait::on(R::StablePods, text),
        None => wait,
    }
}

fn nothing_is_released(world: &World) -> bool {
    !world.in_release() && world.status.promotion.is_none()
}

/// A decision: only the status changes.
fn plan_move(
    world: &World,
    traffic: Option<&Traffic>,
    commands: &Commands,
    core: RolloutStatus,
    rule: &str,
) -> Plan {
    let mut core = core;
    let promoted = core.stable_rs != world.status.stable_rs && traffic.is_some();
    let kept = promoted.then(|| keep_old_version(world, &mut core)).flatten();
    if commands.carry_out.is_none() {
        core.handled_commands = commands.handled.clone();
    }
    let decided = world.with_status(core.clone());
    let findings = Findings {
        wait: kept,
        at_rest: at_rest(&decided, traffic) && nothing_is_released(&decided),
        ..Findings::default()
    };
    let status = report(&decided, core, traffic, findings);
    finish(Vec::new(), status, Some(world.now), rule)
}

/// The old version stays warm for a while.
fn keep_old_version(world: &World, status: &mut RolloutStatus) -> Option<Wait> {
    let delay = world.spec.canary.scale_down_delay.to_chrono();
    let until = world.now + delay;
    let old = world
        .stable_set()
        .filter(|set| set.hash != world.current && set.replicas > 0);
    let set = old?;
    status.kept_until.insert(set.hash.clone(), until);
    Some(wait_kept(&format!("version {}", set.hash), until))
}

/// Stable gets everything, then our marks go, then the Rollout.
fn plan_deletion(world: &World, mut traffic: Option<Traffic>) -> Plan {
    let sizes = plan_sizes(world, traffic.as_ref());
    let mut effects = Effects::default();
    let drained = traffic
        .as_ref()
        .is_none_or(|traffic| retire::is_drained(world, traffic));
    if !drained {
        effects = plan_effects(world, traffic.as_mut(), &sizes, &[]);
    } else {
        let removed = traffic
            .as_mut()
            .is_none_or(|traffic| retire::remove_last_routes(world, traffic, &mut effects));
        // Pods go in a later round than the routes that may have led to them.
        let (growing, shrinking) = sizes.writes(world);
        effects.stage(GROW, growing);
        if removed {
            effects.stage(SHRINK, shrinking);
        }
        if effects.stages.is_empty() {
            retire::release(world, traffic.as_ref(), &mut effects);
        }
    }
    let findings = Findings {
        wait: effects.waits.first().cloned(),
        ..Findings::default()
    };
    let status = report(world, world.status.clone(), traffic.as_ref(), findings);
    let requeue_at = next_look(world, &status, &effects.waits);
    finish(effects.stages, status, requeue_at, "Deleting")
}

/// Routes that the spec no longer names are given back once stable has everything. True when that is done.
fn take_back(world: &World, traffic: Option<&Traffic>, effects: &mut Effects) -> bool {
    let Some(traffic) = traffic.filter(|traffic| traffic.retiring) else {
        return false;
    };
    let busy = effects
        .stages
        .iter()
        .any(|stage| MOVES_TRAFFIC.contains(&stage.purpose.as_str()));
    let done = !busy && retire::is_drained(world, traffic) && retire::remove_routes(world, traffic, effects);
    if done {
        retire::release_services(world, traffic, effects);
    }
    done
}

/// The earliest moment at which something is due without an event.
fn next_look(world: &World, status: &RolloutStatus, waits: &[Wait]) -> Option<DateTime<Utc>> {
    let waiting = status.waiting_on.as_ref();
    let ends = waits
        .iter()
        .filter_map(|wait| wait.until)
        .chain(waiting.and_then(|waiting| waiting.until));
    let weights = status.canary.weights.as_ref().filter(|weights| !weights.verified);
    // Of the routing in use, which the spec may no longer name.
    let routing = status
        .canary
        .routing
        .as_ref()
        .map(|routing| &routing.traffic_routing);
    let settle = routing.map(|routing| Duration::seconds(routing.settle_seconds.unwrap_or(5).into()));
    let settled = weights.and_then(|weights| Some(weights.since? + settle?));
    let asked = routing.filter(|routing| routing.data_plane.is_some());
    let asked = asked.and(weights).and_then(|weights| weights.since).zip(settle);
    let ask = asked.map(|(since, settle)| look_again(since + settle, world.now));
    let baking = status.promotion == Some(Promotion::Bake);
    let overdue = decide::patience_ends(world.spec, status).filter(|_| !baking);
    let due = ends
        .chain(settled)
        .chain(ask)
        .chain(overdue)
        .filter(|at| *at > world.now)
        .min();
    // Endpoints are read live, not watched: while a decision waits for them, or a split was written and is not yet
    // seen in place, look again; and at once and always while the canary is about to lose its endpoints.
    let mut reasons = waits
        .iter()
        .map(|wait| wait.reason)
        .chain(waiting.map(|waiting| waiting.reason));
    let awaited = reasons.any(|reason| reason == WaitingReason::Endpoints);
    let unseen = weights.is_some_and(|weights| weights.since.is_none());
    let since = if is_dying(world, status) {
        Some(world.now)
    } else {
        (awaited || unseen)
            .then(|| waiting.map_or(world.now, |waiting| decide::stands_since(waiting, status)))
    };
    let again = since.map(|since| look_again(since, world.now));
    due.into_iter().chain(again).min()
}

/// The canary has weight and no pod: its endpoints, which are not watched, will soon say so too. Or it has no endpoint,
/// and its pods may.
fn is_dying(world: &World, status: &RolloutStatus) -> bool {
    status.canary.weights.as_ref().is_some_and(|weights| {
        let canary = &weights.canary;
        let is_deserted = weights
            .endpoints
            .iter()
            .any(|seen| seen.service_name == canary.service_name && seen.ready == 0);
        canary.weight.0 > 0 && (is_deserted || world.steady(&canary.pod_template_hash) == 0)
    })
}

fn finish(stages: Vec<Stage>, status: RolloutStatus, requeue_at: Option<DateTime<Utc>>, rule: &str) -> Plan {
    Plan {
        stages,
        status,
        status_due: None,
        requeue_at,
        rule: rule.to_owned(),
    }
}

/// Status keeps milliseconds, so that what is read back is what was written.
fn whole_millis(now: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(now.timestamp_millis()).unwrap_or(now)
}

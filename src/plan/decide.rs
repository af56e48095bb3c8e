//! Decisions: the one place where a release moves on, stops, or turns back. A chain of small checks, first hit
//! wins; each returns the new status and leaves the cluster alone. Effects follow in the next round, from the
//! status as it was persisted, so that a crash between the two loses nothing.

use crate::api::names::StepIndex;
use crate::api::rollout_command::{RolloutCommand, Verb};
use crate::api::rollout_status::{
    AbortReason, AbortSource, FastTrack, HistoryEntry, PauseCondition, PauseReason, Promotion, RolloutStatus,
    WaitingReason,
};
use crate::plan::analysis::deciding_metric;
use crate::plan::command::Commands;
use crate::plan::gate::{Finding, GateKind, OpenGate};
use crate::plan::revision::{HASH_ALGORITHM, hash_value, number_revision};
use crate::plan::scale::{Sizes, basic_target};
use crate::plan::snapshot::ReplicaSetSeen;
use crate::plan::traffic::{Backend, Traffic};
use crate::plan::validate::valid::Step;
use crate::plan::wait::Wait;
use crate::plan::world::World;

const KEPT_HISTORY: usize = 20;

/// What a decision may look at.
pub struct Evidence<'a> {
    pub world: &'a World<'a>,
    pub traffic: Option<&'a Traffic>,
    pub sizes: &'a Sizes<'a>,
    pub gates: &'a [OpenGate<'a>],
    pub commands: &'a Commands<'a>,
}

/// What the round comes to: a new status core, or what the next step waits for.
pub enum Decision {
    Move {
        status: Box<RolloutStatus>,
        rule: &'static str,
    },
    Wait(Wait),
    /// Nothing is in progress.
    Rest,
}

pub fn decide(evidence: &Evidence) -> Decision {
    let world = evidence.world;
    let moved = adopt_stable(world)
        .or_else(|| begin_revision(world))
        .or_else(|| take_edited_steps(world))
        .or_else(|| carry_out_command(evidence))
        .or_else(|| judge_analyses(evidence))
        .or_else(|| abort_at_deadline(world))
        .or_else(|| finish_rollback(evidence));
    if let Some((status, rule)) = moved {
        return Decision::Move {
            status: Box::new(status),
            rule,
        };
    }
    if world.aborted() {
        let message = "a new version, or retry".to_owned();
        return Decision::Wait(Wait::on(WaitingReason::NewVersion, message));
    }
    if world.is_rollback() {
        return Decision::Rest;
    }
    if !world.in_release() && !world.is_first_deploy() {
        return Decision::Rest;
    }
    let advanced = match world.status.promotion {
        Some(promotion) => advance_promotion(evidence, promotion),
        None => advance_step(evidence),
    };
    match advanced {
        Ok((status, rule)) => Decision::Move {
            status: Box::new(status),
            rule,
        },
        Err(wait) => Decision::Wait(wait),
    }
}

type Moved = (RolloutStatus, &'static str);

/// The status was lost (a restore, a foreign hand) while versions run: the one that the stable Service selects
/// is stable, else the one with most available pods.
fn adopt_stable(world: &World) -> Option<Moved> {
    if world.stable().is_some() || world.status.current_pod_hash.is_some() {
        return None;
    }
    let selected = world.spec.canary.stable_service.as_ref().and_then(|name| {
        let selector = &world.service(name)?.selector;
        selector.get(crate::api::names::HASH_LABEL).cloned()
    });
    let running = || {
        world
            .snapshot
            .replica_sets
            .values()
            .filter(|set| set.owned && set.available > 0)
    };
    let chosen = running().find(|set| Some(set.hash.as_str()) == selected.as_deref());
    let chosen = chosen.or_else(|| running().max_by_key(|set| (set.available, set.revision)))?;
    let mut status = world.status.clone();
    status.stable_rs = Some(chosen.hash.clone());
    note(
        world,
        &mut status,
        "controller",
        "StableAdopted",
        format!("version {} was found running", chosen.hash),
    );
    Some((status, "StableAdopted"))
}

/// A template that is not the one in status: everything about the old release is forgotten but its traffic.
fn begin_revision(world: &World) -> Option<Moved> {
    if world.is_current_known() {
        return None;
    }
    let fast_track = match world.stable() {
        None => Some(FastTrack::FirstDeploy),
        Some(stable) if *stable == world.current => Some(FastTrack::Rollback),
        Some(_) if in_rollback_window(world) => Some(FastTrack::RollbackWindow),
        Some(_) => None,
    };
    let mut status = world.status.clone();
    status.current_pod_hash = Some(world.current.clone());
    status.revision = Some(number_revision(world.snapshot, &world.current));
    status.revision_started_at = Some(world.now);
    status.hash_algorithm = Some(HASH_ALGORITHM.to_owned());
    status.fast_track = fast_track;
    status.promotion = None;
    status.retries = 0;
    status.handled_commands = world.status.handled_commands.clone();
    restart_steps(world, &mut status);
    clear_abort(&mut status);
    let (what, why) = match fast_track {
        None => (
            "RevisionStarted",
            format!("version {} is released step by step", world.current),
        ),
        Some(FastTrack::FirstDeploy) => (
            "RevisionStarted",
            "the first version goes out without steps".to_owned(),
        ),
        Some(FastTrack::Rollback) => (
            "RollbackStarted",
            "the template is the stable one again".to_owned(),
        ),
        Some(_) => (
            "RollbackStarted",
            "the template is of a revision in the rollback window".to_owned(),
        ),
    };
    note(world, &mut status, "controller", what, why);
    Some((status, what))
}

/// The ReplicaSet of the template still exists and fewer than `rollbackWindow.revisions` are newer, stable
/// excluded.
fn in_rollback_window(world: &World) -> bool {
    let Some(window) = world.spec.rollback_window else {
        return false;
    };
    let Some(revision) = world.set(&world.current).and_then(|set| set.revision) else {
        return false;
    };
    let stable = world
        .stable_set()
        .and_then(|set| set.revision)
        .unwrap_or_default();
    let between = world.snapshot.replica_sets.values().filter(|set| {
        set.owned
            && set
                .revision
                .is_some_and(|other| other > revision && other < stable)
    });
    revision < stable && between.count() < window
}

/// Back to the first step; a pause that stands there begins now.
fn restart_steps(world: &World, status: &mut RolloutStatus) {
    let skipped = status.fast_track.is_some();
    let count = u32::try_from(world.steps().len()).unwrap_or(u32::MAX);
    status.executed_step_hashes.clear();
    status.current_step_hash = Some(hash_of_steps(world));
    status.canary.accepted_runs.clear();
    status.canary.current_step_analysis_run_status = None;
    status.canary.current_background_analysis_run_status = None;
    status.canary.bake_analysis_run_status = None;
    status.canary.bake_started_at = None;
    enter_step(world, status, StepIndex(if skipped { count } else { 0 }));
}

fn hash_of_steps(world: &World) -> String {
    hash_value(&serde_json::Value::Array(world.spec.canary.raw_steps.clone()))
}

/// Sets the index, and the pause where the step is one.
fn enter_step(world: &World, status: &mut RolloutStatus, index: StepIndex) {
    status.current_step_index = Some(index);
    status.canary.step_started_at = Some(world.now);
    status.canary.current_step_analysis_run_status = None;
    status.last_progress_at = Some(world.now);
    status.pause_conditions.clear();
    if let Some(Step::Pause(_)) = world.steps().get(index.as_usize()) {
        pause(world, status, PauseReason::CanaryPauseStep);
    }
}

fn pause(world: &World, status: &mut RolloutStatus, reason: PauseReason) {
    if status
        .pause_conditions
        .iter()
        .all(|condition| condition.reason != reason)
    {
        status.pause_conditions.push(PauseCondition {
            reason,
            start_time: world.now,
        });
    }
}

fn clear_abort(status: &mut RolloutStatus) {
    status.abort = false;
    status.aborted_at = None;
    status.abort_reason = None;
}

/// Steps edited in mid-release: on at the same index when what was executed is unchanged, else from the start.
fn take_edited_steps(world: &World) -> Option<Moved> {
    let hash = hash_of_steps(world);
    if world.status.current_step_hash.as_ref() == Some(&hash) {
        return None;
    }
    let mut status = world.status.clone();
    status.current_step_hash = Some(hash);
    if !world.in_release() || world.aborted() || world.fast_tracked() || world.status.promotion.is_some() {
        return Some((status, "StepsEdited"));
    }
    let executed = &world.status.executed_step_hashes;
    let unchanged = executed.len() <= world.spec.canary.raw_steps.len()
        && executed
            .iter()
            .zip(&world.spec.canary.raw_steps)
            .all(|(executed, step)| *executed == hash_value(step));
    let why = if unchanged {
        enter_step(world, &mut status, world.step_index());
        "the executed steps are unchanged; it goes on"
    } else {
        restart_steps(world, &mut status);
        "executed steps were changed; it starts at the first step, never above the current weight"
    };
    note(world, &mut status, "controller", "StepsEdited", why.to_owned());
    Some((status, "StepsEdited"))
}

fn carry_out_command(evidence: &Evidence) -> Option<Moved> {
    let command = evidence.commands.carry_out?;
    let world = evidence.world;
    let who = command
        .spec
        .requested_by
        .clone()
        .unwrap_or_else(|| "unknown".to_owned());
    let given = command
        .spec
        .reason
        .clone()
        .unwrap_or_else(|| "no reason was given".to_owned());
    let mut status = world.status.clone();
    status.handled_commands = evidence.commands.handled.clone();
    status.handled_commands.extend(command.metadata.uid.clone());
    let rule = match command.spec.verb {
        Verb::Abort => {
            abort(world, &mut status, abort_by_command(world, command, &who, &given));
            return Some((status, "AbortedByCommand"));
        }
        Verb::Retry => {
            clear_abort(&mut status);
            status.retries += 1;
            restart_steps(world, &mut status);
            "Retried"
        }
        Verb::PromoteFull => {
            skip_to_end(world, &mut status, FastTrack::PromoteFull);
            "PromotedFull"
        }
        Verb::Promote => {
            accept_and_go_on(evidence, &mut status);
            "Promoted"
        }
    };
    note(world, &mut status, &who, rule, given);
    Some((status, rule))
}

fn abort_by_command(world: &World, command: &RolloutCommand, who: &str, given: &str) -> AbortReason {
    let alert = command.spec.alert.as_ref();
    AbortReason {
        at: world.now,
        by: if alert.is_some() {
            AbortSource::Alert
        } else {
            AbortSource::Command
        },
        who: Some(alert.map_or_else(|| who.to_owned(), |alert| format!("alert:{}", alert.fingerprint))),
        reason: given.to_owned(),
        rule: command
            .metadata
            .name
            .as_ref()
            .map(|name| format!("RolloutCommand {name}")),
        measured: None,
        threshold: None,
    }
}

/// The person takes the responsibility for what was undecided, and ends the step that waits.
fn accept_and_go_on(evidence: &Evidence, status: &mut RolloutStatus) {
    let world = evidence.world;
    let undecided = evidence
        .gates
        .iter()
        .filter(|gate| gate.finding(world) == Finding::Undecided);
    let accepted: Vec<&OpenGate> = undecided.collect();
    status
        .canary
        .accepted_runs
        .extend(accepted.iter().map(|gate| gate.run_name().to_owned()));
    let only_background = !accepted.is_empty() && accepted.iter().all(|gate| gate.kind != GateKind::Step);
    if only_background || world.status.promotion.is_some() {
        status
            .pause_conditions
            .retain(|condition| condition.reason != PauseReason::InconclusiveAnalysisRun);
        return;
    }
    finish_step(world, status);
}

fn skip_to_end(world: &World, status: &mut RolloutStatus, track: FastTrack) {
    let count = u32::try_from(world.steps().len()).unwrap_or(u32::MAX);
    status.fast_track = Some(track);
    enter_step(world, status, StepIndex(count));
}

fn finish_step(world: &World, status: &mut RolloutStatus) {
    let index = world.step_index();
    let step = world.spec.canary.raw_steps.get(index.as_usize());
    status.executed_step_hashes.truncate(index.as_usize());
    status.executed_step_hashes.extend(step.map(hash_value));
    enter_step(world, status, index.next());
}

/// Failed and Error take the traffic back; no verdict asks for a person.
fn judge_analyses(evidence: &Evidence) -> Option<Moved> {
    let world = evidence.world;
    let refused = evidence
        .gates
        .iter()
        .find(|gate| gate.finding(world) == Finding::Refused);
    if let Some(gate) = refused {
        let decision = gate.run.and_then(|run| deciding_metric(run.status.as_ref()?));
        let mut status = world.status.clone();
        let reason = match &decision {
            Some(decision) => decision.message.clone(),
            None => format!("AnalysisRun {} is {:?}", gate.run_name(), gate.verdict()),
        };
        let decided = decision.as_ref();
        let grounds = AbortReason {
            at: world.now,
            by: AbortSource::Analysis,
            who: Some(gate.run_name().to_owned()),
            reason,
            rule: decided.map(|decision| decision.rule.clone()),
            measured: decided.and_then(|decision| decision.measured),
            threshold: decided.and_then(|decision| decision.threshold),
        };
        abort(world, &mut status, grounds);
        return Some((status, "AbortedByAnalysis"));
    }
    let undecided = evidence
        .gates
        .iter()
        .find(|gate| gate.finding(world) == Finding::Undecided)?;
    let paused = |reason| {
        world
            .status
            .pause_conditions
            .iter()
            .any(|condition| condition.reason == reason)
    };
    if paused(PauseReason::InconclusiveAnalysisRun) {
        return None;
    }
    let mut status = world.status.clone();
    pause(world, &mut status, PauseReason::InconclusiveAnalysisRun);
    let why = format!(
        "AnalysisRun {} is {:?}",
        undecided.run_name(),
        undecided.verdict()
    );
    note(world, &mut status, "controller", "PausedInconclusive", why);
    Some((status, "PausedInconclusive"))
}

fn abort(world: &World, status: &mut RolloutStatus, grounds: AbortReason) {
    let who = grounds.who.clone().unwrap_or_else(|| "controller".to_owned());
    let why = grounds.reason.clone();
    status.abort = true;
    status.aborted_at = Some(world.now);
    status.abort_reason = Some(grounds);
    status.promotion = None;
    status.fast_track = None;
    status.executed_step_hashes.clear();
    status.current_step_index = Some(StepIndex(0));
    status.pause_conditions.clear();
    status.last_progress_at = Some(world.now);
    note(world, status, &who, "Aborted", why);
}

/// Waiting for pods or endpoints past `progressDeadlineSeconds`, where the user wants that to end the release.
fn abort_at_deadline(world: &World) -> Option<Moved> {
    if !world.spec.progress_deadline_abort || !world.in_release() || world.aborted() || world.is_rollback() {
        return None;
    }
    let waiting = overdue(world)?;
    let mut status = world.status.clone();
    let grounds = AbortReason {
        at: world.now,
        by: AbortSource::ProgressDeadline,
        who: None,
        reason: format!("no progress for progressDeadlineSeconds: {}", waiting.message),
        rule: Some("progressDeadlineSeconds".to_owned()),
        measured: None,
        threshold: None,
    };
    abort(world, &mut status, grounds);
    Some((status, "AbortedByDeadline"))
}

/// The wait that has lasted longer than the progress deadline. Pauses, analyses and settling do not count.
pub fn overdue<'a>(world: &'a World) -> Option<&'a crate::api::rollout_status::WaitingOn> {
    let deadline = world.spec.progress_deadline?;
    let waiting = world
        .status
        .waiting_on
        .as_ref()
        .filter(|waiting| counts_as_stuck(waiting.reason))?;
    let since = world
        .status
        .last_progress_at
        .map_or(waiting.since, |progress| progress.max(waiting.since));
    (!world.spec_paused() && world.now >= since + deadline.to_chrono()).then_some(waiting)
}

pub fn counts_as_stuck(reason: WaitingReason) -> bool {
    use WaitingReason as R;
    matches!(
        reason,
        R::CanaryPods | R::StablePods | R::Endpoints | R::RouteAccepted | R::OldPods
    )
}

/// The stable version carries everything again, verified.
fn finish_rollback(evidence: &Evidence) -> Option<Moved> {
    let world = evidence.world;
    if !world.is_rollback() || !world.is_current_known() || !at_rest(evidence) {
        return None;
    }
    let mut status = world.status.clone();
    status.fast_track = None;
    note(
        world,
        &mut status,
        "controller",
        "RolledBack",
        "stable carries all traffic again".to_owned(),
    );
    Some((status, "RolledBack"))
}

/// Both Services select stable, all weight is there and verified, and stable has its pods.
pub fn at_rest(evidence: &Evidence) -> bool {
    let world = evidence.world;
    let Some(stable) = world.stable() else {
        return false;
    };
    let needed = world.replicas - world.budgets().unavailable;
    let settled = evidence.traffic.is_none_or(|traffic| {
        let newest = traffic.newest();
        traffic.verified()
            && newest.canary_weight.0 == 0
            && newest.stable_hash == *stable
            && newest.canary_hash == *stable
    });
    settled && world.steady(stable) >= needed
}

fn advance_step(evidence: &Evidence) -> Result<Moved, Wait> {
    let world = evidence.world;
    if world.replicas == 0 && !world.is_first_deploy() {
        return Err(Wait::on(
            WaitingReason::StablePods,
            "spec.replicas is 0; nothing can be judged".to_owned(),
        ));
    }
    if world.spec_paused() {
        return Err(Wait::on(
            WaitingReason::SpecPaused,
            "spec.paused is set".to_owned(),
        ));
    }
    if let Some(gate) = evidence
        .gates
        .iter()
        .find(|gate| gate.finding(world) == Finding::Undecided)
    {
        let message = format!(
            "AnalysisRun {} is {:?}; promote or abort",
            gate.run_name(),
            gate.verdict()
        );
        return Err(Wait::on(WaitingReason::InconclusiveAnalysis, message));
    }
    let Some(step) = world.current_step() else {
        return begin_promotion(evidence);
    };
    if let Step::Pause(duration) = step {
        end_pause(world, *duration)?;
    }
    weight_reached(evidence)?;
    if let Step::Analysis(_) = step {
        let gate = evidence.gates.iter().find(|gate| gate.kind == GateKind::Step);
        let passed = gate.filter(|gate| gate.finding(world) == Finding::Passed);
        if passed.is_none() {
            let none = || Wait::on(WaitingReason::Analysis, "the AnalysisRun of this step".to_owned());
            return Err(gate.map_or_else(none, OpenGate::wait));
        }
    }
    let mut status = world.status.clone();
    finish_step(world, &mut status);
    let why = format!("step {} is done", world.step_index());
    note(world, &mut status, "controller", "StepCompleted", why);
    Ok((status, "StepCompleted"))
}

fn end_pause(world: &World, duration: Option<crate::api::duration::Duration>) -> Result<(), Wait> {
    let pause = world
        .status
        .pause_conditions
        .iter()
        .find(|pause| pause.reason == PauseReason::CanaryPauseStep);
    let begun = pause.map_or(world.now, |pause| pause.start_time);
    let Some(duration) = duration else {
        return Err(Wait::on(
            WaitingReason::Promotion,
            "promote, at a pause without a duration".to_owned(),
        ));
    };
    let until = begun + duration.to_chrono();
    if world.now >= until {
        return Ok(());
    }
    Err(Wait::until(
        WaitingReason::PauseDuration,
        format!("the pause of {duration} to end"),
        until,
    ))
}

/// The traffic and the pods are where the steps so far want them, verified.
fn weight_reached(evidence: &Evidence) -> Result<(), Wait> {
    let world = evidence.world;
    canary_ready(evidence)?;
    let Some(traffic) = evidence.traffic else {
        return Ok(());
    };
    let wanted = world.intended_weight();
    let newest = traffic.newest();
    if newest.canary_weight != wanted || newest.canary_hash != world.current {
        let message = format!("weight {} to become {wanted}", newest.canary_weight);
        return Err(Wait::on(WaitingReason::RouteAccepted, message));
    }
    traffic.unsettled.clone().map_or(Ok(()), Err)
}

/// The canary has its pods; without traffic routing stable has shrunk to its share as well.
fn canary_ready(evidence: &Evidence) -> Result<(), Wait> {
    let world = evidence.world;
    let size = match evidence.traffic {
        Some(_) => world.intended_canary_size(),
        None => basic_target(world).canary,
    };
    let needed = world.enough_of(size);
    let available = world.steady(&world.current);
    if available < needed {
        let message = format!("canary has {available} available pods of {needed}");
        return Err(Wait::on(WaitingReason::CanaryPods, message));
    }
    let stable = world
        .stable_set()
        .filter(|set| set.hash != world.current)
        .map_or(0, |set| set.replicas);
    let older: i64 = world.older_sets().map(|set: &ReplicaSetSeen| set.replicas).sum();
    if evidence.traffic.is_none() && (stable > basic_target(world).stable || older > 0) {
        let message = format!(
            "{stable} stable and {older} older pods to become {}",
            basic_target(world).stable
        );
        return Err(Wait::on(WaitingReason::OldPods, message));
    }
    Ok(())
}

/// All steps are done. A background analysis must have something good to say before it is ended.
fn begin_promotion(evidence: &Evidence) -> Result<Moved, Wait> {
    let world = evidence.world;
    let silent = evidence
        .gates
        .iter()
        .find(|gate| gate.kind == GateKind::Background && !gate.is_satisfied(world));
    if let Some(gate) = silent {
        return Err(gate.wait());
    }
    let mut status = world.status.clone();
    status.promotion = Some(Promotion::FullWeight);
    status.last_progress_at = Some(world.now);
    Ok((status, "PromotionStarted"))
}

/// One thing at a time: full weight, stable Service, weight back to stable, bake, done.
fn advance_promotion(evidence: &Evidence, promotion: Promotion) -> Result<Moved, Wait> {
    let world = evidence.world;
    if world.spec_paused() {
        return Err(Wait::on(
            WaitingReason::SpecPaused,
            "spec.paused is set".to_owned(),
        ));
    }
    let mut status = world.status.clone();
    status.last_progress_at = Some(world.now);
    let next = match promotion {
        Promotion::FullWeight => {
            all_pods_ready(world)?;
            if !world.is_first_deploy() {
                weight_reached(evidence)?;
            }
            Promotion::StableService
        }
        Promotion::StableService => {
            stable_service_moved(evidence)?;
            Promotion::WeightToStable
        }
        Promotion::WeightToStable => {
            weight_back(evidence)?;
            if world.spec.canary.bake.is_none() || world.fast_tracked() {
                return Ok(promote(world, status));
            }
            status.canary.bake_started_at = Some(world.now);
            Promotion::Bake
        }
        Promotion::Bake => {
            baked(evidence)?;
            return Ok(promote(world, status));
        }
    };
    status.promotion = Some(next);
    Ok((status, "PromotionAdvanced"))
}

fn all_pods_ready(world: &World) -> Result<(), Wait> {
    let available = world.steady(&world.current);
    if available < world.replicas {
        let message = format!(
            "version {} has {available} available pods of {}",
            world.current, world.replicas
        );
        return Err(Wait::on(WaitingReason::CanaryPods, message));
    }
    Ok(())
}

fn stable_service_moved(evidence: &Evidence) -> Result<(), Wait> {
    let world = evidence.world;
    let Some(traffic) = evidence.traffic else {
        return Ok(());
    };
    if traffic.newest().stable_hash != world.current {
        let message = format!(
            "Service {} to select version {}",
            traffic.service_name(Backend::Stable),
            world.current
        );
        return Err(Wait::on(WaitingReason::Endpoints, message));
    }
    let needed = (world.replicas - world.budgets().unavailable)
        .max(1)
        .min(world.replicas);
    traffic.endpoints_settled(Backend::Stable, needed, world.now)?;
    traffic.unsettled.clone().map_or(Ok(()), Err)
}

fn weight_back(evidence: &Evidence) -> Result<(), Wait> {
    let Some(traffic) = evidence.traffic else {
        return Ok(());
    };
    let newest = traffic.newest();
    if newest.canary_weight.0 != 0 || newest.canary_hash != evidence.world.current {
        let message = format!("weight {} to become 0", newest.canary_weight);
        return Err(Wait::on(WaitingReason::RouteAccepted, message));
    }
    traffic.unsettled.clone().map_or(Ok(()), Err)
}

fn baked(evidence: &Evidence) -> Result<(), Wait> {
    let world = evidence.world;
    let Some(bake) = &world.spec.canary.bake else {
        return Ok(());
    };
    let begun = world.status.canary.bake_started_at.unwrap_or(world.now);
    let until = begun + bake.duration.to_chrono();
    if world.now < until {
        return Err(Wait::until(
            WaitingReason::Bake,
            format!("the bake of {} to end", bake.duration),
            until,
        ));
    }
    match evidence.gates.iter().find(|gate| gate.kind == GateKind::Bake) {
        Some(gate) if gate.finding(world) == Finding::Undecided => {
            let message = format!(
                "AnalysisRun {} is {:?}; promote or abort",
                gate.run_name(),
                gate.verdict()
            );
            Err(Wait::on(WaitingReason::InconclusiveAnalysis, message))
        }
        Some(gate) if gate.finding(world) != Finding::Passed => Err(gate.wait()),
        _ => Ok(()),
    }
}

/// The new version is stable from now on.
fn promote(world: &World, mut status: RolloutStatus) -> Moved {
    status.stable_rs = Some(world.current.clone());
    status.promotion = None;
    status.fast_track = None;
    status.pause_conditions.clear();
    let why = format!("version {} carries all traffic, verified", world.current);
    note(world, &mut status, "controller", "Promoted", why);
    (status, "Promoted")
}

fn note(world: &World, status: &mut RolloutStatus, who: &str, what: &str, why: String) {
    status.history.push(HistoryEntry {
        at: world.now,
        who: who.to_owned(),
        what: what.to_owned(),
        revision: status.revision,
        why,
    });
    let excess = status.history.len().saturating_sub(KEPT_HISTORY);
    status.history.drain(..excess);
}

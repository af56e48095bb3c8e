//! Decisions: the one place where a release moves on, stops, or turns back. A chain of small checks, first hit
//! wins; each returns the new status and leaves the cluster alone. Effects follow in a plan of their own, from the
//! status as it was persisted, so that a crash between the two loses nothing.

use chrono::{DateTime, Utc};

use crate::api::names::StepIndex;
use crate::api::rollout_command::{ALERT_PREFIX, RolloutCommand, Verb};
use crate::api::rollout_status::{
    AbortReason, AbortSource, FastTrack, HistoryEntry, PauseReason, RETRY_COMMANDED, RolloutStatus,
    WaitingOn, WaitingReason,
};
use crate::plan::advance::{advance_promotion, advance_step};
use crate::plan::analysis::deciding_metric;
use crate::plan::command::Commands;
use crate::plan::gate::{Finding, GateKind, OpenGate};
use crate::plan::scale::Sizes;
use crate::plan::step::{
    adopt_stable, begin_revision, enter_step, finish_step, pause, restart_steps, take_edited_steps,
};
use crate::plan::text::shorten;
use crate::plan::traffic::Traffic;
use crate::plan::validate::valid::ValidRollout;
use crate::plan::wait::Wait;
use crate::plan::world::World;

const KEPT_HISTORY: usize = 20;
const MAX_WHY: usize = 400;
const MAX_REASON: usize = 1_024;

/// What a decision may look at.
pub struct Evidence<'a, 't> {
    pub world: &'a World<'a>,
    pub traffic: Option<&'t Traffic<'a>>,
    pub sizes: &'a Sizes<'a>,
    pub gates: &'a [OpenGate<'a>],
    pub commands: &'a Commands<'a>,
}

impl<'a> Evidence<'a, '_> {
    /// For who may change the traffic and so cannot be shown it as it was.
    pub fn without_traffic(&self) -> Evidence<'a, 'a> {
        Evidence {
            world: self.world,
            traffic: None,
            sizes: self.sizes,
            gates: self.gates,
            commands: self.commands,
        }
    }
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

pub type Moved = (RolloutStatus, &'static str);

pub fn clear_abort(status: &mut RolloutStatus) {
    status.abort = false;
    status.aborted_at = None;
    status.abort_reason = None;
}

pub fn carry_out_command(evidence: &Evidence) -> Option<Moved> {
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
            RETRY_COMMANDED
        }
        Verb::PromoteFull => {
            skip_to_end(world, &mut status, FastTrack::PromoteFull);
            "FullPromotionCommanded"
        }
        Verb::Promote => {
            accept_and_go_on(evidence, &mut status);
            "PromotionCommanded"
        }
    };
    note(world, &mut status, &who, rule, given);
    Some((status, rule))
}

fn abort_by_command(world: &World, command: &RolloutCommand, who: &str, given: &str) -> AbortReason {
    let alert = command.spec.alert.as_ref();
    let name = command.metadata.name.as_ref();
    AbortReason {
        at: world.now,
        by: if alert.is_some() {
            AbortSource::Alert
        } else {
            AbortSource::Command
        },
        who: Some(who.to_owned()),
        reason: given.to_owned(),
        rule: match alert {
            Some(_) => Some(format!("alert {}", who.strip_prefix(ALERT_PREFIX).unwrap_or(who))),
            None => name.map(|name| format!("RolloutCommand {name}")),
        },
        measured: None,
        threshold: None,
    }
}

/// The person takes the responsibility for what was undecided, and ends the step that waits.
fn accept_and_go_on(evidence: &Evidence, status: &mut RolloutStatus) {
    let world = evidence.world;
    let silent = |gate: &OpenGate| {
        world.steps_done() && gate.kind == GateKind::Background && !gate.is_satisfied(world)
    };
    let undecided = evidence
        .gates
        .iter()
        .filter(|gate| gate.finding(world) == Finding::Undecided || silent(gate));
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

/// Failed and Error take the traffic back; no verdict asks for a person.
pub fn judge_analyses(evidence: &Evidence) -> Option<Moved> {
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
        status.verdict = Some(gate.verdict());
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

fn abort(world: &World, status: &mut RolloutStatus, mut grounds: AbortReason) {
    grounds.reason = shorten(grounds.reason, MAX_REASON);
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

/// The wait that has lasted longer than the progress deadline.
pub fn overdue<'a>(world: &'a World) -> Option<&'a WaitingOn> {
    let at = patience_ends(world.spec, &world.status)?;
    let owned = world.snapshot.replica_sets.values().filter(|set| set.owned);
    // Pods may have come while nobody looked.
    let has_progressed = owned.map(|set| set.available).sum::<i64>() > world.status.available_replicas;
    let waiting = world.status.waiting_on.as_ref();
    waiting.filter(|_| !has_progressed && world.now >= at)
}

/// When what is waited for will have made no progress for the progress deadline. Pauses, analyses and settling do not
/// count.
pub fn patience_ends(spec: &ValidRollout, status: &RolloutStatus) -> Option<DateTime<Utc>> {
    let deadline = spec.progress_deadline.filter(|_| !spec.paused)?;
    let waiting = status.waiting_on.as_ref()?;
    counts_as_stuck(waiting.reason).then(|| stands_since(waiting, status) + deadline.to_chrono())
}

/// Since when nothing has moved.
pub fn stands_since(waiting: &WaitingOn, status: &RolloutStatus) -> DateTime<Utc> {
    status
        .last_progress_at
        .map_or(waiting.since, |at| at.max(waiting.since))
}

pub fn counts_as_stuck(reason: WaitingReason) -> bool {
    use WaitingReason as R;
    matches!(
        reason,
        R::CanaryPods | R::StablePods | R::Endpoints | R::RouteAccepted | R::DataPlane | R::OldPods
    )
}

/// The stable version carries everything again, verified.
fn finish_rollback(evidence: &Evidence) -> Option<Moved> {
    let world = evidence.world;
    if !world.is_rollback() || !world.is_current_known() || !at_rest(world, evidence.traffic) {
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
pub fn at_rest(world: &World, traffic: Option<&Traffic>) -> bool {
    let Some(stable) = world.stable() else {
        return false;
    };
    let needed = world.replicas - world.budgets().unavailable;
    let settled = traffic.is_none_or(|traffic| {
        let newest = traffic.newest();
        traffic.verified()
            && newest.canary_weight.0 == 0
            && newest.stable_hash == *stable
            && newest.canary_hash == *stable
    });
    // Without traffic routing every pod that is left serves.
    let alone = || {
        world
            .older_sets()
            .chain(world.set(&world.current))
            .all(|set| set.hash == *stable || set.replicas == 0)
    };
    settled && world.steady(stable) >= needed && (traffic.is_some() || alone())
}

pub fn note(world: &World, status: &mut RolloutStatus, who: &str, what: &str, why: String) {
    status.history.push(HistoryEntry {
        at: world.now,
        who: shorten(who.to_owned(), MAX_WHY),
        what: what.to_owned(),
        revision: status.revision,
        why: shorten(why, MAX_WHY),
    });
    let excess = status.history.len().saturating_sub(KEPT_HISTORY);
    status.history.drain(..excess);
}

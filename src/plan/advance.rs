//! Going forward: the end of each step, the begin and the end of the promotion. Each function either names the next
//! status or what it waits for.

use crate::api::duration::Duration;
use crate::api::rollout_status::{PauseReason, Promotion, RolloutStatus, WaitingReason};
use crate::plan::decide::{Evidence, Moved, note};
use crate::plan::gate::{Finding, GateKind, OpenGate, unobserved};
use crate::plan::promotion;
use crate::plan::step::{become_stable, finish_step};
use crate::plan::validate::valid::Step;
use crate::plan::wait::{Wait, unless_paused};
use crate::plan::world::World;

pub fn advance_step(evidence: &Evidence) -> Result<Moved, Wait> {
    let world = evidence.world;
    if world.replicas == 0 && !world.is_first_deploy() {
        return Err(Wait::on(
            WaitingReason::ScaledToZero,
            "spec.replicas is 0; nothing can be judged".to_owned(),
        ));
    }
    unless_paused(world)?;
    let is_undecided = |gate: &&OpenGate| gate.finding(world) == Finding::Undecided;
    if let Some(gate) = evidence.gates.iter().find(is_undecided) {
        return Err(gate.wait_for_person());
    }
    let Some(step) = world.current_step() else {
        return begin_promotion(evidence);
    };
    if let Step::Pause(duration) = step {
        end_pause(world, *duration)?;
    }
    promotion::weight_reached(world, evidence.traffic)?;
    if let Some(wait) = unobserved(world, evidence.gates) {
        return Err(wait);
    }
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
    // Counted from 1, as everywhere a person reads it.
    let number = world.step_index().as_usize() + 1;
    let why = format!("step {number} of {} is done", world.steps().len());
    note(world, &mut status, "controller", "StepCompleted", why);
    // Nothing is left to judge: the promotion begins with the end of the last step.
    let last = number == world.steps().len();
    if last && world.spec.canary.analysis.is_none() {
        status.promotion = Some(Promotion::FullWeight);
    }
    Ok((status, "StepCompleted"))
}

fn end_pause(world: &World, duration: Option<Duration>) -> Result<(), Wait> {
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

/// The end of a promotion: what the traffic alone cannot tell. How far it is otherwise, `promotion` has found out.
pub fn advance_promotion(evidence: &Evidence, stage: Promotion) -> Result<Moved, Wait> {
    let (world, traffic) = (evidence.world, evidence.traffic);
    unless_paused(world)?;
    if stage == Promotion::Bake {
        baked(evidence)?;
    }
    // After the bake once more: a pod may have gone meanwhile.
    promotion::is_done(world, traffic, stage)?;
    let mut status = world.status.clone();
    status.last_progress_at = Some(world.now);
    let bakes = world.spec.canary.bake.is_some() && !world.fast_tracked();
    if stage == Promotion::Bake || !bakes {
        return Ok(promote(world, status));
    }
    status.canary.bake_started_at = Some(world.now);
    status.promotion = Some(Promotion::Bake);
    Ok((status, "BakeStarted"))
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
        Some(gate) if gate.finding(world) == Finding::Undecided => Err(gate.wait_for_person()),
        Some(gate) if gate.finding(world) != Finding::Passed => Err(gate.wait()),
        _ => Ok(()),
    }
}

/// The new version is stable from now on.
fn promote(world: &World, mut status: RolloutStatus) -> Moved {
    become_stable(&mut status, &world.current);
    status.promotion = None;
    status.fast_track = None;
    status.pause_conditions.clear();
    let why = format!("version {} carries all traffic, verified", world.current);
    note(world, &mut status, "controller", "Promoted", why);
    (status, "Promoted")
}

//! Where in its steps a release stands: a version begins, a step is entered and finished, steps are edited.

use crate::api::names::{HASH_LABEL, PodTemplateHash, StepIndex};
use crate::api::rollout_status::{FastTrack, PauseCondition, PauseReason, RolloutStatus};
use crate::plan::decide::{Moved, clear_abort, note};
use crate::plan::revision::{HASH_ALGORITHM, hash_value, number_revision};
use crate::plan::validate::valid::Step;
use crate::plan::world::World;

/// More than `revisionHistoryLimit` asks for, in all but odd cases.
const KEPT_FORMER_STABLE: usize = 20;

/// The status was lost (a restore, a foreign hand) while versions run: the one that the stable Service selects
/// is stable, else one that the canary Service does not, else the one with most available pods.
pub fn adopt_stable(world: &World) -> Option<Moved> {
    if world.stable().is_some() || world.status.current_pod_hash.is_some() {
        return None;
    }
    let selected = |name: &Option<String>| {
        let selector = &world.service(name.as_deref()?)?.selector;
        selector.get(HASH_LABEL).cloned()
    };
    let stable = selected(&world.spec.canary.stable_service);
    let canary = selected(&world.spec.canary.canary_service);
    let running = world.snapshot.replica_sets.values();
    let running = running.filter(|set| set.owned && set.available > 0);
    let chosen = running.max_by_key(|set| {
        let is = |selected: &Option<String>| selected.as_deref() == Some(set.hash.as_str());
        (is(&stable), !is(&canary), set.available, set.revision)
    })?;
    let mut status = world.status.clone();
    become_stable(&mut status, &chosen.hash);
    note(
        world,
        &mut status,
        "controller",
        "StableAdopted",
        format!("version {} was found running", chosen.hash),
    );
    Some((status, "StableAdopted"))
}

pub fn become_stable(status: &mut RolloutStatus, hash: &PodTemplateHash) {
    status.stable_rs = Some(hash.clone());
    status.former_stable.retain(|former| former != hash);
    status.former_stable.push(hash.clone());
    let excess = status.former_stable.len().saturating_sub(KEPT_FORMER_STABLE);
    status.former_stable.drain(..excess);
}

/// A template that is not the one in status: everything about the old release is forgotten but its traffic.
pub fn begin_revision(world: &World) -> Option<Moved> {
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
    status.revision = Some(number_revision(
        world.snapshot,
        world.status.revision,
        &world.current,
    ));
    status.revision_started_at = Some(world.now);
    status.hash_algorithm = Some(HASH_ALGORITHM.to_owned());
    status.fast_track = fast_track;
    status.promotion = None;
    status.retries = 0;
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

/// The version was stable once, its ReplicaSet still exists, and fewer than `rollbackWindow.revisions` are newer,
/// stable excluded.
fn in_rollback_window(world: &World) -> bool {
    let Some(window) = world.spec.rollback_window else {
        return false;
    };
    let Some(revision) = world.set(&world.current).and_then(|set| set.revision) else {
        return false;
    };
    if !world.status.former_stable.contains(&world.current) {
        return false;
    }
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
pub fn restart_steps(world: &World, status: &mut RolloutStatus) {
    let skipped = status.fast_track.is_some();
    let count = u32::try_from(world.steps().len()).unwrap_or(u32::MAX);
    status.executed_step_hashes.clear();
    status.current_step_hash = Some(hash_of_steps(world));
    status.canary.accepted_runs.clear();
    status.canary.current_step_analysis_run_status = None;
    status.canary.current_background_analysis_run_status = None;
    status.canary.bake_analysis_run_status = None;
    status.canary.bake_started_at = None;
    status.verdict = None;
    enter_step(world, status, StepIndex(if skipped { count } else { 0 }));
}

fn hash_of_steps(world: &World) -> String {
    hash_value(&serde_json::Value::Array(world.spec.canary.raw_steps.clone()))
}

fn hash_of_step(world: &World, index: StepIndex) -> Option<String> {
    world.spec.canary.raw_steps.get(index.as_usize()).map(hash_value)
}

/// Sets the index, and the pause where the step is one.
pub fn enter_step(world: &World, status: &mut RolloutStatus, index: StepIndex) {
    status.current_step_index = Some(index);
    status.canary.step_hash = hash_of_step(world, index);
    status.canary.current_step_analysis_run_status = None;
    status.last_progress_at = Some(world.now);
    status.pause_conditions.clear();
    if let Some(Step::Pause(_)) = world.steps().get(index.as_usize()) {
        pause(world, status, PauseReason::CanaryPauseStep);
    }
}

pub fn pause(world: &World, status: &mut RolloutStatus, reason: PauseReason) {
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

/// Steps edited in mid-release: on at the same index when what was executed is unchanged, else from the start.
pub fn take_edited_steps(world: &World) -> Option<Moved> {
    let hash = hash_of_steps(world);
    if world.status.current_step_hash.as_ref() == Some(&hash) {
        return None;
    }
    let mut status = world.status.clone();
    status.current_step_hash = Some(hash);
    let past_steps = !world.in_release() || world.fast_tracked() || world.status.promotion.is_some();
    if past_steps && !world.aborted() {
        // They count from the next version on; this one is done with its steps.
        let count = u32::try_from(world.steps().len()).unwrap_or(u32::MAX);
        status.current_step_index = Some(StepIndex(count));
    }
    if past_steps || world.aborted() {
        return Some((status, "StepsEdited"));
    }
    let executed = &world.status.executed_step_hashes;
    let unchanged = executed.len() <= world.spec.canary.raw_steps.len()
        && executed
            .iter()
            .zip(&world.spec.canary.raw_steps)
            .all(|(executed, step)| *executed == hash_value(step));
    let why = if unchanged {
        let index = world.step_index();
        if status.canary.step_hash != hash_of_step(world, index) {
            enter_step(world, &mut status, index);
        }
        "the executed steps are unchanged; it goes on"
    } else {
        // No verdict counts that was given under other steps.
        status.retries += 1;
        restart_steps(world, &mut status);
        "executed steps were changed; it starts at the first step, never above the current weight"
    };
    note(world, &mut status, "controller", "StepsEdited", why.to_owned());
    Some((status, "StepsEdited"))
}

pub fn finish_step(world: &World, status: &mut RolloutStatus) {
    let index = world.step_index();
    status.executed_step_hashes.truncate(index.as_usize());
    status.executed_step_hashes.extend(hash_of_step(world, index));
    enter_step(world, status, index.next());
}

//! Sizes of the ReplicaSets: what each version should have now, and the writes that lead there.
//!
//! Guarantee: a ReplicaSet that had traffic shrinks only to what every split that may still be in effect needs.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::api::names::{PodTemplateHash, REVISION_ANNOTATION, Weight};
use crate::api::patch::PatchOp;
use crate::api::rollout_status::{FastTrack, Promotion, WaitingReason};
use crate::api::time::to_rfc3339;
use crate::plan::model::{Action, Kind, Target, Write};
use crate::plan::replicas::{Counts, Leeway, Present, pods_for_share, split_by_weight, step_toward};
use crate::plan::shift::find_goal;
use crate::plan::snapshot::ReplicaSetSeen;
use crate::plan::traffic::Traffic;
use crate::plan::wait::Wait;
use crate::plan::world::World;

/// What one ReplicaSet should look like.
#[derive(Clone, Debug, PartialEq)]
pub struct Size<'a> {
    pub set: &'a ReplicaSetSeen,
    pub replicas: i64,
    /// Until when it has its pods although no traffic reaches it.
    pub kept_until: Option<DateTime<Utc>>,
    pub why: &'static str,
}

/// Sizes of all ReplicaSets, and what a smaller size still waits for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sizes<'a> {
    pub sizes: Vec<Size<'a>>,
    /// Of the current version, if it has no ReplicaSet yet.
    pub first_replicas: i64,
    pub waits: Vec<Wait>,
}

pub fn plan_sizes<'a>(world: &World<'a>, traffic: Option<&Traffic>) -> Sizes<'a> {
    match traffic {
        Some(traffic) => routed(world, traffic),
        None => basic(world),
    }
}

fn routed<'a>(world: &World<'a>, traffic: &Traffic) -> Sizes<'a> {
    let mut planned = Sizes::default();
    let needed = |set: &ReplicaSetSeen| traffic.pods_needed(&set.hash, world.replicas);
    // When the status was lost, so was what else may be in effect: nothing goes before the split has settled.
    let unsettled = !traffic.verified() && world.replicas > 0;
    // Past the full weight what is on record asks for all that may be in effect.
    let is_past = !matches!(world.status.promotion, None | Some(Promotion::FullWeight));
    let kept = |set: &ReplicaSetSeen| {
        if unsettled && !is_past {
            set.replicas.min(world.replicas)
        } else {
            0
        }
    };
    let stable = world.stable_set().filter(|set| set.hash != world.current);
    if let Some(set) = stable {
        let target = stable_size(world, traffic).max(needed(set)).max(kept(set));
        planned.push(set, target, None, "stable");
    }
    for set in world.older_sets() {
        older(world, set, needed(set).max(unsettled.into()), &mut planned);
    }
    planned.first_replicas = current_size(world, traffic, 0);
    if let Some(set) = world.set(&world.current) {
        if world.aborted() && !traffic.retiring {
            aborted(world, traffic, set, &mut planned);
        } else if traffic.retiring && world.is_deleting() && world.in_release() {
            let kept = if traffic.verified() { 0 } else { set.replicas };
            planned.push(set, needed(set).max(kept), None, "the Rollout is deleted");
        } else {
            let target = current_size(world, traffic, set.replicas).max(kept(set));
            planned.push(set, target, None, "current");
        }
    }
    planned
}

/// What the steps ask for and the traffic needs, where the current version has so many pods.
fn current_size(world: &World, traffic: &Traffic, present: i64) -> i64 {
    let goal = match world.in_release() {
        _ if world.replicas == 0 => 0,
        true => world.intended_canary_size(),
        false => world.replicas,
    };
    let needed = traffic.pods_needed(&world.current, world.replicas);
    bound_by_surge(world, traffic, present, goal.max(needed))
}

/// All replicas, or with `dynamicStableScale` what the weight leaves to stable.
///
/// A weight that must go down first (a superseded canary, a dead one) leaves more to stable than the steps say;
/// by the steps alone the two would wait for one another.
fn stable_size(world: &World, traffic: &Traffic) -> i64 {
    if !world.shrinks_stable() || world.aborted() || world.is_deleting() {
        return world.replicas;
    }
    // Routing that is taken back needs all of stable, however far the promotion has come, and a canary that nobody
    // finds at full weight needs somebody to take its traffic.
    let promotion = world.status.promotion.filter(|_| !traffic.retiring);
    let promoting = promotion.is_some_and(|promotion| promotion != Promotion::FullWeight);
    let left = if promoting {
        0
    } else {
        world.max_weight().0 - find_goal(world, traffic).weight.0
    };
    pods_for_share(world.replicas, Weight(left), world.max_weight())
}

/// Under `dynamicStableScale` an explicit `maxSurge` bounds the sum: the canary waits for stable to shrink.
fn bound_by_surge(world: &World, traffic: &Traffic, present: i64, target: i64) -> i64 {
    let routing = world
        .spec
        .canary
        .routing
        .as_ref()
        .filter(|routing| routing.dynamic_stable_scale);
    let Some(surge) = routing.and_then(|routing| routing.resolve_max_surge(world.replicas)) else {
        return target;
    };
    if !world.in_release() {
        return target;
    }
    let others: i64 = world
        .snapshot
        .replica_sets
        .values()
        .filter(|other| other.owned && other.hash != world.current)
        .map(|other| other.replicas)
        .sum();
    // Without a pod to spare neither version could ever move: stable keeps what its traffic needs.
    let bound = (world.replicas + surge.max(1)).max(least_sum(world, traffic));
    let room = (bound - others).max(1);
    target.min(room.max(present))
}

/// What both versions need together so that the weight can rise at all: shares round up on both sides, so that a
/// third of the traffic on one of three pods leaves none for stable to give.
fn least_sum(world: &World, traffic: &Traffic) -> i64 {
    // An old split that may be in effect asks for pods that soon go.
    if !traffic.verified() {
        return 0;
    }
    let next = Weight((traffic.newest().canary_weight.0 + 1).min(traffic.max.0));
    let stable = world
        .stable()
        .map_or(0, |hash| traffic.pods_needed(hash, world.replicas));
    stable + pods_for_share(world.replicas, next, traffic.max)
}

/// An older version keeps its pods while it may get traffic or is kept warm, then it goes.
fn older<'a>(world: &World<'a>, set: &'a ReplicaSetSeen, needed: i64, planned: &mut Sizes<'a>) {
    if set.replicas == 0 {
        return planned.leave(set);
    }
    let kept_until = world.kept_until(&set.hash);
    if needed > 0 {
        let message = format!("traffic to leave version {}", set.hash);
        planned.waits.push(Wait::on(WaitingReason::OldPods, message));
        let replicas = set.replicas.max(needed);
        return planned.push(set, replicas, kept_until, "older, may get traffic");
    }
    match kept_until.filter(|at| world.now < *at && world.replicas > 0) {
        Some(at) => {
            let what = format!("version {}", set.hash);
            planned.waits.push(wait_kept(&what, at));
            planned.push(set, set.replicas, kept_until, "kept");
        }
        None => planned.push(set, 0, None, "older"),
    }
}

pub fn wait_kept(what: &str, until: DateTime<Utc>) -> Wait {
    let message = format!("{what} is kept until {}", to_rfc3339(until));
    Wait::until(WaitingReason::ScaleDownDelay, message, until)
}

/// An aborted canary is kept for a while once the traffic has left it, unless it is kept for good.
fn aborted<'a>(world: &World<'a>, traffic: &Traffic, set: &'a ReplicaSetSeen, planned: &mut Sizes<'a>) {
    let needed = traffic.pods_needed(&set.hash, world.replicas);
    if needed > 0 || !traffic.verified() {
        // What is about to be verified again (the canary Service has moved) does not start the delay anew.
        let kept_until = world.kept_until(&set.hash).filter(|_| needed == 0);
        let replicas = set.replicas.max(needed);
        return planned.push(set, replicas, kept_until, "aborted, may get traffic");
    }
    let Some(delay) = world.spec.canary.abort_scale_down_delay else {
        return planned.leave(set);
    };
    if set.replicas == 0 {
        return planned.leave(set);
    }
    let begins = || world.now + delay.to_chrono();
    let at = world.kept_until(&set.hash).unwrap_or_else(begins);
    if world.now >= at || world.replicas == 0 {
        return planned.push(set, 0, None, "aborted");
    }
    let what = format!("the aborted version {}", set.hash);
    planned.waits.push(wait_kept(&what, at));
    planned.push(set, set.replicas, Some(at), "aborted");
}

/// Without traffic routing the pods are the traffic.
fn basic<'a>(world: &World<'a>) -> Sizes<'a> {
    let mut planned = Sizes::default();
    let budgets = world.budgets();
    let current = world.set(&world.current);
    let stable = world.stable_set().filter(|set| set.hash != world.current);
    let older: Vec<&ReplicaSetSeen> = world.older_sets().filter(|set| set.replicas > 0).collect();
    let sum = |of: fn(&ReplicaSetSeen) -> i64| older.iter().map(|set| of(set)).sum::<i64>();
    let present = Present {
        canary: current.map_or(0, |set| set.replicas),
        canary_available: current.map_or(0, ReplicaSetSeen::steady),
        stable: stable.map_or(0, |set| set.replicas),
        stable_available: stable.map_or(0, ReplicaSetSeen::steady),
        older: sum(|set| set.replicas),
        older_available: sum(ReplicaSetSeen::steady),
    };
    let target = basic_target(world);
    let next = step_toward(
        target,
        present,
        world.replicas,
        budgets.surge,
        budgets.unavailable,
    );
    planned.first_replicas = next.canary;
    // Nothing goes while what is counted may be gone already, nor for a version that has no ReplicaSet: it may be
    // refused.
    let mut owned = world.snapshot.replica_sets.values().filter(|set| set.owned);
    let goes_forward = world.in_release() && !world.aborted() && !world.is_deleting();
    let counted = owned.all(|set| set.caught_up) && (current.is_some() || !goes_forward);
    for (set, replicas) in [(stable, next.stable), (current, next.canary)] {
        if let Some(set) = set {
            let kept = if counted { 0 } else { set.replicas };
            planned.push(set, replicas.max(kept), None, "by weight");
        }
    }
    let mut leeway = Leeway::of(present, world.replicas, budgets.unavailable);
    for set in world.older_sets() {
        let goal = if counted { 0 } else { set.replicas };
        let left = leeway.shrink(set.replicas, goal, set.steady());
        planned.push(set, left, None, "older");
    }
    planned
}

/// Where the sizes of a basic canary should end for the step it is at.
pub fn basic_target(world: &World) -> Counts {
    let everything = Counts {
        canary: world.replicas,
        stable: 0,
    };
    if !world.in_release() || world.replicas == 0 {
        return everything;
    }
    if world.aborted() || world.is_deleting() && world.stable_set().is_some() {
        return Counts {
            canary: 0,
            stable: world.replicas,
        };
    }
    let rolled_out = world.status.promotion.is_some() || world.steps_done();
    if rolled_out || world.status.fast_track == Some(FastTrack::PromoteFull) {
        return everything;
    }
    split_by_weight(
        world.replicas,
        world.intended_weight(),
        world.max_weight(),
        world.budgets().surge,
    )
}

impl<'a> Sizes<'a> {
    fn push(
        &mut self,
        set: &'a ReplicaSetSeen,
        replicas: i64,
        kept_until: Option<DateTime<Utc>>,
        why: &'static str,
    ) {
        self.sizes.push(Size {
            set,
            replicas,
            kept_until,
            why,
        });
    }

    fn leave(&mut self, set: &'a ReplicaSetSeen) {
        self.push(set, set.replicas, None, "left as it is");
    }

    /// As the status tells it.
    pub fn kept_until(&self) -> BTreeMap<PodTemplateHash, DateTime<Utc>> {
        let kept = |size: &Size| Some((size.set.hash.clone(), size.kept_until?));
        self.sizes.iter().filter_map(kept).collect()
    }

    /// Writes for sets that grow or only take another revision, and for sets that shrink: growth comes first.
    pub fn writes(&self, world: &World) -> (Vec<Write>, Vec<Write>) {
        let changed = self
            .sizes
            .iter()
            .filter_map(|size| size.write(world).map(|write| (size, write)));
        let (growing, shrinking): (Vec<_>, Vec<_>) =
            changed.partition(|(size, _)| size.replicas >= size.set.replicas);
        let writes = |sizes: Vec<(&Size, Write)>| sizes.into_iter().map(|(_, write)| write).collect();
        (writes(growing), writes(shrinking))
    }
}

impl Size<'_> {
    pub fn write(&self, world: &World) -> Option<Write> {
        let mut ops = Vec::new();
        if self.replicas != self.set.replicas {
            ops.push(PatchOp::test("/spec/replicas", self.set.replicas));
            ops.push(PatchOp::replace("/spec/replicas", self.replicas));
        }
        ops.extend(self.annotate(world));
        (!ops.is_empty()).then(|| Write {
            target: Target {
                kind: Kind::ReplicaSet,
                name: self.set.name.clone(),
            },
            action: Action::Patch {
                precondition: self.set.precondition(),
                subresource: None,
                ops,
            },
            reason: format!("{}: {} to {} pods", self.why, self.set.replicas, self.replicas),
        })
    }

    /// The revision, when a version has come back.
    fn annotate(&self, world: &World) -> Option<PatchOp> {
        let known = self.set.hash == world.current && world.is_current_known();
        let revision = world.status.revision.filter(|_| known);
        let revision = revision.filter(|revision| Some(*revision) != self.set.revision)?;
        Some(PatchOp::annotate(
            REVISION_ANNOTATION,
            &revision.to_string(),
            self.set.is_bare,
        ))
    }
}

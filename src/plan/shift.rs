//! What to change about the traffic next: at most one thing at a time, because data planes do not keep the
//! order of writes to different objects.
//!
//! Raising a weight is a promise and waits for everything: pods, endpoints, a verified split. Lowering is a
//! rescue and waits only for somebody to take the traffic.

use crate::api::names::{PodTemplateHash, Weight};
use crate::api::rollout_status::{Promotion, TrafficSplit, WaitingReason};
use crate::plan::replicas::{pods_for_share, weight_carried_by};
use crate::plan::traffic::{Backend, Traffic, share_in};
use crate::plan::validate::valid::Step;
use crate::plan::wait::{Wait, unless_paused};
use crate::plan::world::World;

/// Where the traffic should be in the end, for what is decided and the stage of the promotion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goal {
    pub weight: Weight,
    pub stable_hash: PodTemplateHash,
    pub canary_hash: PodTemplateHash,
}

/// The next change, with the split it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shift {
    Selector { backend: Backend, hash: PodTemplateHash },
    Weight(Weight),
}

pub fn find_goal(world: &World, traffic: &Traffic) -> Goal {
    let current = &world.current;
    let stable = world.stable().unwrap_or(current);
    let promoting = matches!(
        world.status.promotion,
        Some(Promotion::StableService | Promotion::WeightToStable | Promotion::Bake)
    );
    let released = world.in_release() && world.is_current_known() && !world.aborted() && !traffic.retiring;
    let canary_hash = if released { current.clone() } else { stable.clone() };
    // The canary Service moves only without weight, whoever gave it that weight.
    let moves = traffic.weights.canary.pod_template_hash != canary_hash;
    let weight = if traffic.retiring || moves || canary_is_dead(world, traffic) {
        Weight::ZERO
    } else {
        world.intended_weight()
    };
    Goal {
        weight,
        stable_hash: if released && promoting {
            current.clone()
        } else {
            stable.clone()
        },
        canary_hash,
    }
}

/// Weight on a canary without a single ready endpoint only loses requests. Where its pods are fine all the same
/// (the Service does not find them), the endpoints may lag, and are believed after the settle time.
pub fn canary_is_dead(world: &World, traffic: &Traffic) -> bool {
    let weighted = traffic.seen_weight() > Weight::ZERO;
    let selected = &traffic.weights.canary.pod_template_hash;
    let has_gone = || traffic.ready_endpoints(Backend::Canary) == Some(0) && world.steady(selected) == 0;
    weighted && (has_gone() || traffic.is_deserted(Backend::Canary, world.now))
}

/// The next change toward the goal, nothing when the goal is reached, or what it waits for.
pub fn next_shift(world: &World, traffic: &Traffic) -> Result<Option<Shift>, Wait> {
    let goal = find_goal(world, traffic);
    let stable_moves = traffic.weights.stable.pod_template_hash != goal.stable_hash;
    // Where nobody answers, a version that can carry everything loses nothing.
    let nobody_answers = || {
        let is_there = world.service(traffic.service_name(Backend::Stable)).is_some();
        is_there && canary_is_dead(world, traffic) && traffic.ready_endpoints(Backend::Stable) == Some(0)
    };
    if stable_moves && (traffic.is_idle(Backend::Stable) || nobody_answers()) {
        return move_stable(world, traffic, &goal).map(Some);
    }
    if traffic.seen_weight() > goal.weight {
        return lower(world, traffic, goal.weight).map(Some);
    }
    if stable_moves {
        return move_stable(world, traffic, &goal).map(Some);
    }
    if traffic.weights.canary.pod_template_hash != goal.canary_hash {
        return move_canary(world, traffic, &goal);
    }
    if traffic.seen_weight() < goal.weight {
        return raise(world, traffic, goal.weight).map(Some);
    }
    Ok(None)
}

/// The stable Service selects a version only when that version can carry what the Service may be given.
fn move_stable(world: &World, traffic: &Traffic, goal: &Goal) -> Result<Shift, Wait> {
    let most = traffic
        .weights
        .live
        .iter()
        .map(|split| traffic.max.0 - split.canary_weight.0)
        .max();
    let share = Weight(most.unwrap_or(traffic.max.0));
    let slack = if world.is_first_deploy() {
        0
    } else {
        world.budgets().unavailable
    };
    let by_share = pods_for_share(world.replicas, share, traffic.max) - slack;
    let needed = by_share.max(1).min(world.replicas);
    taken_its_size(world, &goal.stable_hash, WaitingReason::StablePods)?;
    let available = world.steady(&goal.stable_hash);
    if available < needed {
        let message = format!(
            "version {} has {available} available pods of {needed}",
            goal.stable_hash
        );
        return Err(Wait::on(WaitingReason::StablePods, message));
    }
    Ok(Shift::Selector {
        backend: Backend::Stable,
        hash: goal.stable_hash.clone(),
    })
}

/// The pods of a version are those that its size has left.
fn taken_its_size(world: &World, hash: &PodTemplateHash, reason: WaitingReason) -> Result<(), Wait> {
    if world.caught_up(hash) {
        return Ok(());
    }
    Err(Wait::on(
        reason,
        format!("the ReplicaSet of version {hash} to take its size"),
    ))
}

/// The canary Service moves only while no data plane can give it traffic.
fn move_canary(world: &World, traffic: &Traffic, goal: &Goal) -> Result<Option<Shift>, Wait> {
    if !traffic.is_idle(Backend::Canary) {
        let settling = || {
            Wait::on(
                WaitingReason::Settle,
                "the canary Service to be without traffic".to_owned(),
            )
        };
        return Err(traffic.unsettled.clone().unwrap_or_else(settling));
    }
    if world.set(&goal.canary_hash).is_none() {
        return Ok(None);
    }
    Ok(Some(Shift::Selector {
        backend: Backend::Canary,
        hash: goal.canary_hash.clone(),
    }))
}

/// Down to `goal`, or as far as stable can take it.
fn lower(world: &World, traffic: &Traffic, goal: Weight) -> Result<Shift, Wait> {
    // Nobody is left to take the traffic, and the routing must be able to go.
    if traffic.retiring && world.service(traffic.service_name(Backend::Stable)).is_none() {
        return Ok(Shift::Weight(goal));
    }
    if canary_is_dead(world, traffic) {
        return match traffic.ready_endpoints(Backend::Stable) {
            Some(0) => Err(Wait::on(
                WaitingReason::StablePods,
                "neither version has a ready endpoint".to_owned(),
            )),
            _ => Ok(Shift::Weight(goal)),
        };
    }
    let takes_over = &traffic.weights.stable.pod_template_hash;
    let available = world.steady(takes_over);
    let dynamic = world.shrinks_stable();
    let urgent = world.aborted() || world.replicas == 0 || world.is_deleting();
    let fits = |weight: Weight| {
        let share = Weight(traffic.max.0 - weight.0);
        let slack = if dynamic { 0 } else { world.budgets().unavailable };
        let by_share = pods_for_share(world.replicas, share, traffic.max) - slack;
        let needed = if urgent && !dynamic { 1 } else { by_share.max(1) };
        if dynamic {
            taken_its_size(world, takes_over, WaitingReason::StablePods)?;
        }
        // A version whose ReplicaSet is not ours (the Service was never adopted) is judged by its endpoints.
        if available < needed && world.set(takes_over).is_some() {
            let message = format!("stable has {available} available pods of {needed}");
            return Err(Wait::on(WaitingReason::StablePods, message));
        }
        traffic.endpoints_settled(world, Backend::Stable, needed)
    };
    let refused = match fits(goal) {
        Ok(()) => return Ok(Shift::Weight(goal)),
        Err(_) if world.replicas == 0 => return Ok(Shift::Weight(goal)),
        Err(wait) => wait,
    };
    // Not all the way yet: back through the weights of the steps, never below what stable can carry.
    let seen = traffic.seen_weight();
    let earlier = world.steps().iter().filter_map(|step| match step {
        Step::SetWeight(weight) if *weight > goal && *weight < seen => Some(*weight),
        _ => None,
    });
    let reachable = earlier.filter(|weight| fits(*weight).is_ok()).min();
    reachable.map(Shift::Weight).ok_or(refused)
}

fn raise(world: &World, traffic: &Traffic, goal: Weight) -> Result<Shift, Wait> {
    unless_paused(world)?;
    if let Some(wait) = &traffic.unsettled {
        return Err(wait.clone());
    }
    let weight = reachable_weight(world, traffic, goal);
    let needed = world
        .enough_of(pods_for_share(world.replicas, weight, traffic.max))
        .max(1);
    taken_its_size(world, &world.current, WaitingReason::CanaryPods)?;
    let available = world.steady(&world.current);
    if available < needed {
        let message = format!("canary has {available} available pods of {needed} for weight {weight}");
        return Err(Wait::on(WaitingReason::CanaryPods, message));
    }
    traffic.endpoints_settled(world, Backend::Canary, needed)?;
    Ok(Shift::Weight(weight))
}

/// Under an explicit `maxSurge` with `dynamicStableScale` the canary grows only as stable shrinks, so the weight
/// climbs with the capacity there is, never past the goal.
fn reachable_weight(world: &World, traffic: &Traffic, goal: Weight) -> Weight {
    let surge = world.spec.canary.routing.as_ref().and_then(|routing| {
        routing
            .dynamic_stable_scale
            .then(|| routing.resolve_max_surge(world.replicas))
            .flatten()
    });
    let carried = weight_carried_by(world.steady(&world.current), world.replicas, traffic.max);
    match surge {
        Some(_) if carried > traffic.seen_weight() => carried.min(goal),
        _ => goal,
    }
}

/// The split that a shift leads to.
pub fn split_after(traffic: &Traffic, shift: &Shift) -> TrafficSplit {
    let mut split = traffic.newest();
    match shift {
        Shift::Weight(weight) => split.canary_weight = *weight,
        Shift::Selector {
            backend: Backend::Canary,
            hash,
        } => split.canary_hash = hash.clone(),
        Shift::Selector {
            backend: Backend::Stable,
            hash,
        } => split.stable_hash = hash.clone(),
    }
    split
}

/// Nothing in effect sends a request to this version.
pub fn is_spared(traffic: &Traffic, hash: &PodTemplateHash) -> bool {
    traffic
        .weights
        .live
        .iter()
        .all(|split| share_in(split, hash, traffic.max) <= Weight::ZERO)
}

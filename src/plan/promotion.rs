//! How far a promotion has come: full weight, stable Service, weight back to stable, one thing at a time. The traffic
//! itself tells, so that nothing has to be on record between the begin of a promotion and its end.
//!
//! Guarantees: a stage follows when the one before is done and verified; and after a crash, where only the next one
//! could have left the traffic as it is. A stage once reached in the status is not left backwards.

use crate::api::names::Weight;
use crate::api::rollout_status::{Promotion, WaitingReason};
use crate::plan::scale::basic_target;
use crate::plan::snapshot::ReplicaSetSeen;
use crate::plan::traffic::{Backend, Traffic};
use crate::plan::wait::Wait;
use crate::plan::world::World;

/// The stage by what is seen; never before the one in the status, and none without a promotion.
pub fn find_stage(world: &World, traffic: Option<&Traffic>) -> Option<Promotion> {
    let mut stage = world.status.promotion?;
    if !world.is_current_known() {
        return Some(stage);
    }
    while let Some(next) = following(stage) {
        let left_behind = traffic.is_some_and(|traffic| has_left(world, traffic, stage));
        let goes_on = || !world.spec_paused() && is_done(world, traffic, stage).is_ok();
        if !left_behind && !goes_on() {
            break;
        }
        stage = next;
    }
    Some(stage)
}

/// The stages that the traffic tells apart.
fn following(stage: Promotion) -> Option<Promotion> {
    match stage {
        Promotion::FullWeight => Some(Promotion::StableService),
        Promotion::StableService => Some(Promotion::WeightToStable),
        Promotion::WeightToStable | Promotion::Bake => None,
    }
}

/// The first write of the next stage was made, and the controller went before it could tell.
fn has_left(world: &World, traffic: &Traffic, stage: Promotion) -> bool {
    let moved = !world.is_first_deploy() && traffic.newest().stable_hash == world.current;
    match stage {
        Promotion::FullWeight => moved,
        Promotion::StableService => moved && (traffic.is_mixed() || traffic.seen_weight() < traffic.max),
        Promotion::WeightToStable | Promotion::Bake => false,
    }
}

/// What the stage waits for.
pub fn is_done(world: &World, traffic: Option<&Traffic>, stage: Promotion) -> Result<(), Wait> {
    match (stage, traffic) {
        (Promotion::FullWeight, _) => {
            all_pods_ready(world)?;
            if world.is_first_deploy() {
                return Ok(());
            }
            weight_reached(world, traffic)
        }
        // Routing may have been removed meanwhile.
        (_, None) => all_pods_ready(world),
        (Promotion::StableService, Some(traffic)) => stable_service_moved(world, traffic),
        (Promotion::WeightToStable | Promotion::Bake, Some(traffic)) => weight_back(world, traffic),
    }
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

fn stable_service_moved(world: &World, traffic: &Traffic) -> Result<(), Wait> {
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
    traffic.endpoints_settled(world, Backend::Stable, needed)?;
    traffic.unsettled.clone().map_or(Ok(()), Err)
}

/// However it came to this: the stable Service has what it needs to carry everything.
fn weight_back(world: &World, traffic: &Traffic) -> Result<(), Wait> {
    let newest = traffic.newest();
    if newest.canary_weight != Weight::ZERO || newest.canary_hash != world.current {
        let message = match newest.canary_weight {
            Weight::ZERO => "the canary Service to select the new version".to_owned(),
            weight => format!("weight {weight} to become 0"),
        };
        return Err(Wait::on(WaitingReason::RouteAccepted, message));
    }
    stable_service_moved(world, traffic)
}

/// The traffic and the pods are where the steps so far want them, verified.
pub fn weight_reached(world: &World, traffic: Option<&Traffic>) -> Result<(), Wait> {
    canary_ready(world, traffic)?;
    let Some(traffic) = traffic else {
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
fn canary_ready(world: &World, traffic: Option<&Traffic>) -> Result<(), Wait> {
    let size = match traffic {
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
    if traffic.is_none() && (stable > basic_target(world).stable || older > 0) {
        let message = format!(
            "{stable} stable and {older} older pods to become {}",
            basic_target(world).stable
        );
        return Err(Wait::on(WaitingReason::OldPods, message));
    }
    Ok(())
}

//! Taking routing back: when the Rollout goes, or its spec no longer asks for the routes it set up. Stable gets
//! everything, verified; only then are our marks removed.

use crate::api::names::{FINALIZER, HASH_LABEL, MANAGED_BY_ANNOTATION};
use crate::api::patch::{PatchOp, pointer};
use crate::plan::effect::{Effects, patch_rollout, patch_service, route_write};
use crate::plan::model::Write;
use crate::plan::shift::is_spared;
use crate::plan::snapshot::ServiceSeen;
use crate::plan::traffic::{Backend, Traffic};
use crate::plan::world::World;
use crate::routers::{self, WeightState};

/// Nothing can lose a request any more: all weight is on stable and verified, or there is no stable to verify.
pub fn is_drained(world: &World, traffic: &Traffic) -> bool {
    let newest = traffic.newest();
    if newest.canary_weight.0 > 0 {
        return false;
    }
    // A Service that was given back already selects no version of ours.
    let given_back = newest.stable_hash.is_empty() || is_unserved(world, traffic);
    traffic.verified() || world.is_deleting() && given_back || world.replicas == 0
}

/// Nobody answers behind the stable Service: there is nothing that could be verified or lost.
fn is_unserved(world: &World, traffic: &Traffic) -> bool {
    let ready = traffic.ready_endpoints(Backend::Stable);
    world.service(traffic.service_name(Backend::Stable)).is_none() || ready.is_none_or(|ready| ready == 0)
}

/// The routes as the user wrote them. True when nothing of ours is left in them.
pub fn remove_routes(world: &World, traffic: &Traffic, effects: &mut Effects) -> bool {
    let writes = routers::remove(
        &traffic.target(world, crate::api::names::Weight::ZERO),
        traffic.routes(),
    );
    let reason = "the routing is taken back";
    let writes: Vec<Write> = writes
        .into_iter()
        .map(|write| route_write(write, reason))
        .collect();
    let done = writes.is_empty();
    effects.stage("take the routes back", writes);
    done
}

/// The same for a Rollout that goes. Where the stable route is gone, nothing has verified what our own one still
/// shows: the clock begins anew when it is removed, and pods wait for it.
pub fn remove_last_routes(world: &World, traffic: &mut Traffic, effects: &mut Effects) -> bool {
    let done = remove_routes(world, traffic, effects);
    if !done && traffic.inspection.state == WeightState::Absent {
        traffic.record_change(traffic.newest());
    }
    done
}

/// Services of the old routing that the spec no longer names: the version they select goes with the next release.
pub fn release_services(world: &World, traffic: &Traffic, effects: &mut Effects) {
    let canary = &world.spec.canary;
    let named = [canary.stable_service.as_deref(), canary.canary_service.as_deref()];
    let used = [Backend::Stable, Backend::Canary].map(|backend| traffic.service_name(backend));
    let left = used.into_iter().filter(|name| !named.contains(&Some(name)));
    let services = left.filter_map(|name| world.service(name));
    let writes = services
        .filter_map(|service| strip_service(world, service))
        .collect();
    effects.stage("give the Services back", writes);
}

/// The last writes for a Rollout that goes: pods that carry nothing, then our marks on Services, then the finalizer.
pub fn release(world: &World, traffic: Option<&Traffic>, effects: &mut Effects) {
    let mut writes = Vec::new();
    let current = world.set(&world.current).filter(|_| world.in_release());
    let spared = traffic.is_none_or(|traffic| {
        current.is_none() || is_unserved(world, traffic) || is_spared(traffic, &world.current)
    });
    // Without routing nothing waits for pods: they go as far as stable can spare them.
    let empty = current.is_none_or(|set| set.replicas == 0)
        || traffic.is_none_or(|traffic| is_unserved(world, traffic));
    if !spared || !empty {
        return;
    }
    for service in world.snapshot.services.values().flatten() {
        writes.extend(strip_service(world, service));
    }
    if !writes.is_empty() {
        return effects.stage("give the Services back", writes);
    }
    let index = world
        .finalizers()
        .and_then(|list| list.iter().position(|name| name == FINALIZER));
    if let Some(index) = index {
        let path = format!("/metadata/finalizers/{index}");
        let ops = vec![PatchOp::test(path.clone(), FINALIZER), PatchOp::remove(path)];
        effects.stage(
            "let the Rollout go",
            vec![patch_rollout(world, ops, "traffic is back on stable")],
        );
    }
}

/// Removes our selector key and annotation, where they are ours.
fn strip_service(world: &World, service: &ServiceSeen) -> Option<Write> {
    if service.annotation(MANAGED_BY_ANNOTATION) != Some(&world.spec.name) {
        return None;
    }
    // Without traffic routing a release has taken the key out already.
    let key = service.selector.contains_key(HASH_LABEL);
    let mut ops: Vec<PatchOp> = key
        .then(|| PatchOp::remove(pointer(["spec", "selector", HASH_LABEL])))
        .into_iter()
        .collect();
    ops.push(PatchOp::remove(pointer([
        "metadata",
        "annotations",
        MANAGED_BY_ANNOTATION,
    ])));
    Some(patch_service(
        service,
        ops,
        "the Rollout lets go of it".to_owned(),
    ))
}

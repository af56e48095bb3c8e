//! Endpoints behind the two Services: how many of the version that each selects, since when, and whether requests reach
//! them at all.

use chrono::{DateTime, Utc};

use crate::api::names::Weight;
use crate::api::rollout::TrafficRouting;
use crate::api::rollout_status::{BackendWeight, EndpointsSeen, WaitingReason};
use crate::plan::replicas::pods_for_share;
use crate::plan::shift::find_goal;
use crate::plan::traffic::{Backend, Traffic};
use crate::plan::wait::Wait;
use crate::plan::world::World;
use crate::routers::{self, Destination, RouteTarget};

/// Where a route leads to a port that the Service does not have. A path that nobody has ever answered is no concern of
/// a release: what counts is what stable answers and the canary would not, or a stable that answers nowhere.
pub fn find_astray(world: &World, target: &RouteTarget, routing: &TrafficRouting) -> Vec<Destination> {
    let destinations = routers::destinations(target, routing, &world.snapshot.routes);
    let answers = |service: &str, destination: &Destination| {
        let service = world.service(service);
        service.is_none_or(|service| service.answers_at(&destination.port, destination.kind))
    };
    let (stable, canary): (Vec<Destination>, Vec<Destination>) = destinations
        .into_iter()
        .partition(|destination| destination.service == target.stable_service);
    let by_stable = |destination: &Destination| answers(target.stable_service, destination);
    if !stable.is_empty() && !stable.iter().any(by_stable) {
        return stable;
    }
    let by_canary = |destination: &Destination| answers(target.canary_service, destination);
    canary
        .into_iter()
        .filter(|destination| by_stable(destination) && !by_canary(destination))
        .collect()
}

impl Traffic<'_> {
    /// At least `pods` endpoints of this Service have been ready for the settle time.
    pub fn endpoints_settled(&self, service: Backend, pods: i64, now: DateTime<Utc>) -> Result<(), Wait> {
        let name = self.service_name(service);
        let seen = self
            .weights
            .endpoints
            .iter()
            .find(|seen| seen.service_name == name);
        let ready = seen.map_or(0, |seen| seen.ready);
        let Some(seen) = seen.filter(|_| ready >= pods) else {
            let message = format!("Service {name} has {ready} ready endpoints of {pods}");
            return Err(Wait::on(WaitingReason::Endpoints, message));
        };
        let until = if pods <= 1 { seen.any_since } else { seen.since } + self.settle;
        if now >= until {
            return Ok(());
        }
        let message = format!("the endpoints of Service {name} to reach the data plane");
        Err(Wait::until(WaitingReason::Settle, message, until))
    }

    /// This Service was read without a single ready endpoint for the settle time.
    pub fn is_deserted(&self, service: Backend, now: DateTime<Utc>) -> bool {
        let name = self.service_name(service);
        let mut seen = self.weights.endpoints.iter();
        seen.any(|seen| seen.service_name == name && seen.ready == 0 && now >= seen.any_since + self.settle)
    }

    /// Ready endpoints of a Service as last seen; `None` when they were never read.
    pub fn ready_endpoints(&self, service: Backend) -> Option<i64> {
        let name = self.service_name(service);
        self.weights
            .endpoints
            .iter()
            .find(|seen| seen.service_name == name)
            .map(|seen| seen.ready)
    }

    pub(super) fn track_endpoints(&mut self, world: &World) {
        let Some(ready) = &world.snapshot.endpoints else {
            return;
        };
        let (stable_needed, canary_needed) = self.endpoints_needed(world);
        let before = std::mem::take(&mut self.weights.endpoints);
        let backends = [
            (&self.weights.stable, stable_needed),
            (&self.weights.canary, canary_needed),
        ];
        for (backend, needed) in backends {
            let hash = &backend.pod_template_hash;
            // No request reaches what is behind a port that the canary Service does not have.
            let is_reached = backend.service_name != self.routing.canary_service || !self.leads_astray();
            let endpoints = ready.get(&backend.service_name).filter(|_| is_reached);
            let count = endpoints.map_or(0, |ready| {
                if hash.is_empty() {
                    ready.total()
                } else {
                    ready.of(hash)
                }
            });
            let before = before
                .iter()
                .find(|seen| seen.service_name == backend.service_name && seen.pod_template_hash == *hash);
            self.weights
                .endpoints
                .push(track(before, backend, count, needed, world.now));
        }
    }

    /// How many ready endpoints (stable, canary) the next decision asks for. More than that coming up does not
    /// restart the clock.
    fn endpoints_needed(&self, world: &World) -> (i64, i64) {
        let for_weight = |weight| pods_for_share(world.replicas, weight, self.max).max(1);
        let goal = find_goal(world, self).weight;
        // Behind the stable Service the new version is about to carry everything, whatever the weight is now.
        let takes_over = world.in_release() && self.weights.stable.pod_template_hash == world.current;
        let stable = if takes_over {
            self.max.0
        } else {
            self.max.0 - goal.0
        };
        (
            for_weight(Weight(stable)),
            for_weight(goal.max(self.seen_weight())),
        )
    }

    /// A route leads to a port that the canary Service does not have.
    fn leads_astray(&self) -> bool {
        let canary = &self.routing.canary_service;
        self.astray
            .iter()
            .any(|destination| destination.service == *canary)
    }
}

/// Follows a count of ready endpoints: fewer is taken at once, more restarts the clock, and only while more are
/// needed.
fn track(
    before: Option<&EndpointsSeen>,
    backend: &BackendWeight,
    count: i64,
    needed: i64,
    now: DateTime<Utc>,
) -> EndpointsSeen {
    let (ready, since) = match before {
        Some(seen) if count <= seen.ready => (count, seen.since),
        Some(seen) if seen.ready >= needed => (seen.ready, seen.since),
        _ => (count, now),
    };
    let any_since = before
        .filter(|seen| (seen.ready > 0) == (count > 0))
        .map_or(now, |seen| seen.any_since);
    EndpointsSeen {
        service_name: backend.service_name.clone(),
        pod_template_hash: backend.pod_template_hash.clone(),
        ready,
        since,
        any_since,
    }
}

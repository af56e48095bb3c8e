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
use crate::routers::{self, Destination, RouteKind, RouteTarget};

/// Where requests would find nobody, because the Service does not have the port that a route leads to.
pub struct Reach {
    /// What must be mended first.
    pub astray: Vec<Destination>,
    /// Requests that the canary gets as the routes are now find nobody.
    pub is_cut_off: bool,
}

/// A path that stable does not answer either is no concern of a release: what counts is what the canary would not answer
/// in its place, or a stable that answers nowhere.
pub fn find_reach(world: &World, target: &RouteTarget, routing: &TrafficRouting) -> Reach {
    let routes = &world.snapshot.routes;
    let is_answered = |destination: &Destination| is_answered(world, target, destination);
    let (stable, canary): (Vec<Destination>, Vec<Destination>) =
        routers::destinations(target, routing, routes)
            .into_iter()
            .partition(|destination| destination.service == target.stable_service);
    let dead: Vec<&Destination> = stable.iter().filter(|asked| !is_answered(asked)).collect();
    let is_lost = |asked: &Destination| {
        let is_dead = |dead: &&&Destination| (dead.kind, &dead.port) == (asked.kind, &asked.port);
        !is_answered(asked) && !dead.iter().any(|it| is_dead(&it))
    };
    let now = routers::canary_destinations(target, routing, routes);
    let is_cut_off = now.iter().any(is_lost);
    let astray = if !stable.is_empty() && dead.len() == stable.len() {
        stable
    } else {
        canary.into_iter().filter(is_lost).collect()
    };
    Reach { astray, is_cut_off }
}

/// Of the ingress controllers some take the pods' port for the Service's, and those do so for both Services.
fn is_answered(world: &World, target: &RouteTarget, asked: &Destination) -> bool {
    let Some(service) = world.service(&asked.service) else {
        return true;
    };
    let stable = world.service(target.stable_service);
    let is_by_pods =
        asked.kind == RouteKind::Ingress && stable.is_some_and(|stable| !stable.ports.contains(&asked.port));
    service.ports.is_empty()
        || service.ports.contains(&asked.port)
        || is_by_pods && service.target_ports.contains(&asked.port)
}

impl Traffic<'_> {
    /// At least `pods` endpoints of this Service have been ready for the settle time.
    pub fn endpoints_settled(&self, world: &World, service: Backend, pods: i64) -> Result<(), Wait> {
        let name = self.service_name(service);
        let seen = self
            .weights
            .endpoints
            .iter()
            .find(|seen| seen.service_name == name);
        let ready = seen.map_or(0, |seen| seen.ready);
        let Some(seen) = seen.filter(|_| ready >= pods) else {
            let hint = unknown_target_port(world, name).filter(|_| ready == 0);
            let hint =
                hint.map(|port| format!("; its targetPort {port} is the name of no port in spec.template"));
            let message = format!(
                "Service {name} has {ready} ready endpoints of {pods}{}",
                hint.unwrap_or_default()
            );
            return Err(Wait::on(WaitingReason::Endpoints, message));
        };
        let until = if pods <= 1 { seen.any_since } else { seen.since } + self.settle;
        if world.now >= until {
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
            let is_reached = backend.service_name != self.routing.canary_service || !self.reach.is_cut_off;
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
}

/// A Service that asks for ports by names alone, none of which a container of the new version has.
fn unknown_target_port<'a>(world: &World<'a>, service: &str) -> Option<&'a str> {
    let asked = &world.service(service)?.target_ports;
    let containers = ["containers", "initContainers"].map(|list| format!("/spec/{list}"));
    let containers = containers
        .iter()
        .filter_map(|path| world.spec.template.pointer(path)?.as_array());
    let ports = containers
        .flatten()
        .filter_map(|container| container.get("ports")?.as_array());
    let names: Vec<&str> = ports
        .flatten()
        .filter_map(|port| port.get("name")?.as_str())
        .collect();
    let is_missing = |port: &String| port.parse::<u16>().is_err() && !names.contains(&port.as_str());
    asked
        .first()
        .filter(|_| asked.iter().all(is_missing))
        .map(String::as_str)
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

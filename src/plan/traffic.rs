//! Traffic as it is: what the routes and Services say, every split that some data plane may still follow, and
//! whether the newest one has settled. `shift` decides what to change about it.
//!
//! Guarantees: a split leaves `live` only when a newer one is verified; a split that was never recorded (our own
//! write whose answer was lost, a foreign hand) is taken in as soon as it is seen.

use chrono::{DateTime, Utc};

use crate::api::names::{HASH_LABEL, PodTemplateHash, Weight};
use crate::api::rollout_status::{
    BackendWeight, FastTrack, RoutingInUse, TrafficSplit, TrafficWeights, WaitingReason,
};
use crate::plan::endpoint::{Reach, find_reach};
use crate::plan::replicas::pods_for_share;
use crate::plan::wait::Wait;
use crate::plan::witness::doubt;
use crate::plan::world::World;
use crate::routers::{self, Inspection, ObservedRoutes, RouteTarget, Verification, WeightState};

/// The traffic of a Rollout with routing, as observed now.
pub struct Traffic<'a> {
    pub routing: RoutingInUse,
    /// The spec no longer asks for this routing: all traffic goes to stable, then the routes are taken back.
    pub retiring: bool,
    /// What status will say about it.
    pub weights: TrafficWeights,
    /// What the routes say, and what is wrong with them.
    pub inspection: Inspection,
    pub max: Weight,
    pub settle: chrono::Duration,
    /// Why the newest split is not in effect yet; `None` when it is verified.
    pub unsettled: Option<Wait>,
    /// The newest split is in place, and whether it is in effect is still to be found out.
    pub is_unproven: bool,
    pub reach: Reach,
    routes: &'a ObservedRoutes,
}

/// `None` without traffic routing, past or present.
pub fn observe_traffic<'a>(world: &World<'a>) -> Option<Traffic<'a>> {
    let wanted = world.wanted_routing();
    let in_use = world.status.canary.routing.as_ref();
    let (routing, retiring) = match (in_use, wanted) {
        (Some(old), Some(new)) if same_objects(old, new) => (new, false),
        (Some(old), _) => (old, true),
        (None, Some(new)) => (new, false),
        (None, None) => return None,
    };
    let max = Weight(routing.traffic_routing.max_traffic_weight.unwrap_or(100).into());
    let settle = chrono::Duration::seconds(routing.traffic_routing.settle_seconds.unwrap_or(5).into());
    let routes = &world.snapshot.routes;
    let target = target(world, routing, Weight::ZERO, max);
    let mut traffic = Traffic {
        inspection: routers::inspect(&target, &routing.traffic_routing, routes),
        weights: world.status.canary.weights.clone().unwrap_or_default(),
        unsettled: None,
        is_unproven: false,
        routing: routing.clone(),
        retiring: retiring || world.is_deleting(),
        max,
        settle,
        reach: find_reach(world, &target, &routing.traffic_routing),
        routes,
    };
    traffic.take_in(world);
    Some(traffic)
}

fn target<'a>(
    world: &'a World,
    routing: &'a RoutingInUse,
    canary_weight: Weight,
    max_weight: Weight,
) -> RouteTarget<'a> {
    RouteTarget {
        rollout_name: &world.spec.name,
        rollout_uid: &world.spec.uid,
        namespace: &world.spec.namespace,
        stable_service: &routing.stable_service,
        canary_service: &routing.canary_service,
        canary_weight,
        max_weight,
    }
}

/// The same routes and Services; other settings may differ.
fn same_objects(old: &RoutingInUse, new: &RoutingInUse) -> bool {
    let names = |routing: &RoutingInUse| {
        let traffic = &routing.traffic_routing;
        let ingresses: Vec<String> = traffic
            .nginx
            .iter()
            .flat_map(|nginx| nginx.ingresses())
            .map(str::to_owned)
            .collect();
        let prefix = traffic.nginx.as_ref().map(|nginx| nginx.prefix().to_owned());
        (
            ingresses,
            prefix,
            traffic.gateway_api.clone(),
            traffic.max_traffic_weight,
        )
    };
    old.stable_service == new.stable_service
        && old.canary_service == new.canary_service
        && names(old) == names(new)
}

impl<'a> Traffic<'a> {
    pub fn target<'b>(&'b self, world: &'b World, weight: Weight) -> RouteTarget<'b> {
        target(world, &self.routing, weight, self.max)
    }

    pub fn routes(&self) -> &'a ObservedRoutes {
        self.routes
    }

    /// The routes show the weight they have with everything that belongs to it: there is nothing to write.
    pub fn is_shown_in_full(&self) -> bool {
        self.inspection.verification != Verification::Unwritten
    }

    /// The canary's share by the routes as they are; where they disagree, the most it may get.
    pub fn seen_weight(&self) -> Weight {
        self.inspection.state.canary_max()
    }

    /// The routes disagree about the weight.
    pub fn is_mixed(&self) -> bool {
        matches!(self.inspection.state, WeightState::Mixed { .. })
    }

    /// The newest split.
    pub fn newest(&self) -> TrafficSplit {
        TrafficSplit {
            canary_weight: self.weights.canary.weight,
            canary_hash: self.weights.canary.pod_template_hash.clone(),
            stable_hash: self.weights.stable.pod_template_hash.clone(),
        }
    }

    pub fn verified(&self) -> bool {
        self.weights.verified
    }

    pub fn is_nginx(&self) -> bool {
        self.routing.traffic_routing.nginx.is_some()
    }

    /// The most of the traffic that may reach a version.
    pub fn share(&self, hash: &PodTemplateHash) -> Weight {
        self.weights
            .live
            .iter()
            .map(|split| share_in(split, hash, self.max))
            .max()
            .unwrap_or_default()
    }

    /// Pods that a version must keep, for every split that may be in effect. A router whose main backend is the
    /// stable Service answers errors when that has no endpoints, whatever the weight.
    pub fn pods_needed(&self, hash: &PodTemplateHash, replicas: i64) -> i64 {
        let by_share = pods_for_share(replicas, self.share(hash), self.max);
        let main_backend =
            self.is_nginx() && self.weights.live.iter().any(|split| split.stable_hash == *hash);
        by_share.max(i64::from(main_backend).min(replicas))
    }

    /// No split that may be in effect gives anything to this Service.
    pub fn is_idle(&self, service: Backend) -> bool {
        self.weights.live.iter().all(|split| match service {
            Backend::Canary => split.canary_weight <= Weight::ZERO,
            Backend::Stable => split.canary_weight >= self.max,
        })
    }

    pub fn service_name(&self, service: Backend) -> &str {
        match service {
            Backend::Canary => &self.routing.canary_service,
            Backend::Stable => &self.routing.stable_service,
        }
    }

    /// A change is about to be written: from now on both the old splits and the new one may be in effect.
    pub fn record_change(&mut self, split: TrafficSplit) {
        self.weights.canary.weight = split.canary_weight;
        self.weights.stable.weight = Weight(self.max.0 - split.canary_weight.0);
        self.weights.canary.pod_template_hash = split.canary_hash.clone();
        self.weights.stable.pod_template_hash = split.stable_hash.clone();
        self.weights.verified = false;
        self.weights.since = None;
        self.push_live(split);
    }

    /// Each split once, where it first came, and the newest at the end, even if it came before.
    fn push_live(&mut self, split: TrafficSplit) {
        let live = &mut self.weights.live;
        if live.last() == Some(&split) {
            return;
        }
        let mut known = Vec::with_capacity(live.len() + 1);
        for old in live.drain(..) {
            if !known.contains(&old) {
                known.push(old);
            }
        }
        known.push(split);
        *live = known;
    }

    /// A data plane that follows the newest weight cannot be told from one that has yet to follow the weights before it.
    pub fn is_ambiguous(&self) -> bool {
        let newest = self.weights.canary.weight;
        let live = self.weights.live.iter().map(|split| split.canary_weight);
        live.skip_while(|weight| *weight != newest)
            .any(|weight| weight != newest)
    }

    /// Brings the recorded weights up to what is seen.
    fn take_in(&mut self, world: &World) {
        let hash_of = |service: &str| {
            let selector = world.service(service).map(|service| &service.selector);
            let hash = selector
                .and_then(|selector| selector.get(HASH_LABEL))
                .cloned()
                .unwrap_or_default();
            PodTemplateHash(hash)
        };
        let canary_hash = hash_of(&self.routing.canary_service);
        let stable_hash = hash_of(&self.routing.stable_service);
        let split = |canary_weight| TrafficSplit {
            canary_weight,
            canary_hash: canary_hash.clone(),
            stable_hash: stable_hash.clone(),
        };
        let seen = split(self.seen_weight());
        let same = self.weights.live.last() == Some(&seen);
        let since = self.weights.since.filter(|_| same);
        if let WeightState::Mixed { stable_max, .. } = self.inspection.state {
            self.push_live(split(Weight(self.max.0 - stable_max.0)));
        }
        self.push_live(seen.clone());
        self.weights.canary = self.backend(Backend::Canary, seen.canary_weight, canary_hash);
        self.weights.stable = self.backend(
            Backend::Stable,
            Weight(self.max.0 - seen.canary_weight.0),
            stable_hash,
        );
        self.track_endpoints(world);
        self.settle(world, since);
    }

    fn backend(&self, service: Backend, weight: Weight, hash: PodTemplateHash) -> BackendWeight {
        BackendWeight {
            weight,
            service_name: self.service_name(service).to_owned(),
            pod_template_hash: hash,
        }
    }

    /// Verified: seen unchanged, accepted, with ready endpoints, for the settle time, and not doubted by the data
    /// plane. Once verified it stays so for as long as it is seen unchanged.
    fn settle(&mut self, world: &World, since: Option<DateTime<Utc>>) {
        let was_verified = self.weights.verified && since.is_some();
        let blocked = self.blocked(world, since.is_some());
        self.weights.since = if blocked.is_some() {
            None
        } else {
            since.or(Some(world.now))
        };
        let until = self.weights.since.map(|since| since + self.settle);
        self.is_unproven = until.is_some() && !was_verified;
        self.unsettled = match (blocked, until) {
            (Some(wait), _) => Some(wait),
            (None, Some(until)) if world.now < until => {
                let message = format!("weight {} to reach the data plane", self.weights.canary.weight);
                Some(Wait::until(WaitingReason::Settle, message, until))
            }
            (None, Some(until)) if !was_verified => doubt(world, self, until),
            _ => None,
        };
        self.weights.verified = until.is_some() && self.unsettled.is_none();
        if self.weights.verified {
            let newest = self.newest();
            self.weights.live = vec![newest];
        }
    }

    /// Nothing in effect leads to the canary, or whoever should accept that has not done so for the progress deadline.
    fn needs_no_acceptance(&self, world: &World) -> bool {
        let spared = self
            .weights
            .live
            .iter()
            .all(|split| split.canary_weight <= Weight::ZERO);
        let patience = world
            .spec
            .progress_deadline
            .map_or(chrono::Duration::minutes(10), |deadline| deadline.to_chrono());
        let waiting = world.status.waiting_on.as_ref();
        let waiting = waiting.filter(|waiting| waiting.reason == WaitingReason::RouteAccepted);
        spared || waiting.is_some_and(|waiting| world.now >= waiting.since + patience)
    }

    /// What keeps the newest split from counting as in place.
    fn blocked(&self, world: &World, was_in_place: bool) -> Option<Wait> {
        if self.is_mixed() {
            return Some(Wait::on(
                WaitingReason::RouteAccepted,
                "the routes disagree about the weight".into(),
            ));
        }
        // A route that is given back to its user has nothing of ours to show, and nobody may be left to accept it.
        let given_back = self.retiring && self.seen_weight() == Weight::ZERO;
        if self.inspection.state != WeightState::Absent {
            match &self.inspection.verification {
                _ if given_back && (was_in_place || self.needs_no_acceptance(world)) => {}
                Verification::NotAccepted { message } => {
                    return Some(Wait::on(WaitingReason::RouteAccepted, message.clone()));
                }
                Verification::Unwritten if given_back => {}
                Verification::Unwritten => {
                    let message = "the routes do not show the weight in full yet".to_owned();
                    return Some(Wait::on(WaitingReason::RouteAccepted, message));
                }
                Verification::Written => {}
            }
        }
        for (service, backend) in [
            (Backend::Stable, &self.weights.stable),
            (Backend::Canary, &self.weights.canary),
        ] {
            // Whoever asks for everything at once does not wait for a stable that is gone, and routing that is taken
            // back not for its Service.
            let gone = self.retiring && world.service(&backend.service_name).is_none();
            let in_haste = world.status.fast_track == Some(FastTrack::PromoteFull) || gone;
            if service == Backend::Stable && in_haste {
                continue;
            }
            let ready = self.ready_endpoints(service);
            // A router whose main backend is the stable Service asks for its endpoints whatever the weight.
            let is_used = backend.weight > Weight::ZERO || service == Backend::Stable && self.is_nginx();
            if is_used && ready.is_some_and(|ready| ready < 1) && world.replicas > 0 {
                let message = format!("Service {} has no ready endpoints", backend.service_name);
                return Some(Wait::on(WaitingReason::Endpoints, message));
            }
        }
        None
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Canary,
    Stable,
}

/// The share of the traffic that `split` sends to a version; both Services may select the same one.
pub fn share_in(split: &TrafficSplit, hash: &PodTemplateHash, max: Weight) -> Weight {
    let canary = if split.canary_hash == *hash {
        split.canary_weight.0
    } else {
        0
    };
    let stable = if split.stable_hash == *hash {
        max.0 - split.canary_weight.0
    } else {
        0
    };
    Weight(canary + stable)
}

//! What the data plane itself says about the newest split: `trafficRouting.dataPlane` names who is asked.
//!
//! Guarantees: a weight that the data plane denies never counts as verified, and one that it is silent about does so
//! only where nothing goes forward and all traffic is meant for stable, a while after it should have settled. A weight
//! that it was given before another one that it may still have to follow counts after that while, too.

use chrono::{DateTime, Utc};

use crate::api::data_plane::{Question, Said};
use crate::api::names::Weight;
use crate::api::rollout_status::WaitingReason;
use crate::plan::held::salvage;
use crate::plan::interval::{Reading, compare};
use crate::plan::snapshot::Snapshot;
use crate::plan::traffic::{Traffic, observe_traffic};
use crate::plan::validate::validate_rollout;
use crate::plan::wait::{PATIENCE, Wait};
use crate::plan::world::World;
use crate::routers::traefik::{Effective, effective};

enum Testimony {
    Agrees,
    /// It does something else.
    Denies(String),
    /// Nothing is known.
    Silent(String),
}

/// Where a Rollout names a data plane: in what is asked for, and in what is in use.
const PLACES: [&str; 2] = [
    "/spec/strategy/canary/trafficRouting/dataPlane",
    "/status/canary/routing/trafficRouting/dataPlane",
];

/// What to ask before this snapshot is planned, if anything depends on it.
pub fn question(snapshot: &Snapshot, now: DateTime<Utc>) -> Option<Question> {
    let mut places = PLACES.into_iter();
    if !places.any(|place| snapshot.rollout.pointer(place).is_some()) {
        return None;
    }
    let spec = validate_rollout(&snapshot.rollout).ok();
    let spec = spec.or_else(|| salvage(snapshot))?;
    let world = World::new(snapshot, &spec, now);
    let traffic = observe_traffic(&world)?;
    let data_plane = traffic.routing.traffic_routing.data_plane.clone()?;
    traffic.is_unproven.then(|| Question {
        namespace: spec.namespace.clone(),
        data_plane,
    })
}

/// Why a split that should have settled at `settled` is not taken to be in effect all the same.
pub fn doubt(world: &World, traffic: &Traffic, settled: DateTime<Utc>) -> Option<Wait> {
    let data_plane = traffic.routing.traffic_routing.data_plane.as_ref()?;
    let wanted = format!(
        "{} to give Service {} weight {} of {}",
        data_plane.describe(),
        traffic.routing.canary_service,
        traffic.weights.canary.weight,
        traffic.max
    );
    match hear(world, traffic) {
        Testimony::Agrees if traffic.is_ambiguous() => {
            let until = settled + PATIENCE;
            let message = format!("{wanted}; it gave that before as well, and may be behind");
            (world.now < until).then(|| Wait::until(WaitingReason::DataPlane, message, until))
        }
        Testimony::Agrees => None,
        Testimony::Denies(seen) => Some(Wait::on(WaitingReason::DataPlane, format!("{wanted}; {seen}"))),
        Testimony::Silent(why) => {
            let message = format!("{wanted}; nothing is known: {why}");
            if !may_do_without(world, traffic) {
                return Some(Wait::on(WaitingReason::DataPlane, message));
            }
            // An answer may take 20 seconds, and a proxy that is restarted is back by then.
            let until = settled + PATIENCE;
            (world.now < until).then(|| Wait::until(WaitingReason::DataPlane, message, until))
        }
    }
}

/// All traffic is meant for stable and no release goes forward: a data plane that is gone must not keep pods, routes
/// and Rollouts for ever.
fn may_do_without(world: &World, traffic: &Traffic) -> bool {
    let goes_back = traffic.retiring || world.aborted() || world.is_rollback() || !world.in_release();
    traffic.weights.canary.weight == Weight::ZERO && goes_back
}

fn hear(world: &World, traffic: &Traffic) -> Testimony {
    let since = traffic.weights.since;
    // What was asked before the split was in place says nothing about it.
    let seen = world.snapshot.data_plane.as_ref();
    let Some(seen) = seen.filter(|seen| since.is_some_and(|since| seen.asked_at >= since)) else {
        return Testimony::Silent("no answer yet".to_owned());
    };
    match &seen.said {
        Said::Nothing(why) => Testimony::Silent(why.clone()),
        Said::Share { share, requests } => judge_share(traffic, *share, *requests),
        Said::Traefik(configuration) => {
            let target = traffic.target(world, traffic.weights.canary.weight);
            let routing = &traffic.routing.traffic_routing;
            match effective(&target, routing, traffic.routes(), configuration) {
                Ok(found) => judge_weights(traffic, &found),
                Err(why) => Testimony::Silent(why),
            }
        }
    }
}

fn judge_weights(traffic: &Traffic, found: &[Effective]) -> Testimony {
    let (wanted, max) = (
        i128::from(traffic.weights.canary.weight.0),
        i128::from(traffic.max.0),
    );
    let differs = |found: &&Effective| {
        let (canary, stable) = (i128::from(found.canary), i128::from(found.stable));
        canary * max != wanted * (canary + stable)
    };
    match found.iter().find(differs) {
        Some(found) => Testimony::Denies(format!(
            "it gives {} of {} at router {}",
            found.canary,
            found.canary.saturating_add(found.stable),
            found.router
        )),
        None => Testimony::Agrees,
    }
}

fn judge_share(traffic: &Traffic, share: f64, requests: f64) -> Testimony {
    let of_max = |weight: Weight| weight.0 as f64 / traffic.max.0 as f64;
    let live = traffic.weights.live.iter();
    let others: Vec<f64> = live.map(|split| of_max(split.canary_weight)).collect();
    match compare(of_max(traffic.weights.canary.weight), &others, share, requests) {
        Reading::Agrees => Testimony::Agrees,
        Reading::Differs => Testimony::Denies(format!("it gives {:.0} % of the requests", share * 100.0)),
        Reading::TooFew { needed } => Testimony::Silent(format!(
            "{} requests are too few to tell, about {needed} would do",
            rounded(requests)
        )),
    }
}

/// To one digit: what changes with each look would be written with each look.
fn rounded(requests: f64) -> String {
    let requests = requests.max(0.0).floor();
    if requests < 1.0 {
        return "0".to_owned();
    }
    let unit = 10f64.powf(requests.log10().floor());
    format!("about {:.0}", (requests / unit).floor() * unit)
}

//! What requests would see: a data plane that follows changes some seconds late. A write of the controller must
//! not send traffic to a version that cannot take it, or take pods from a version that still gets it.
//!
//! Written from the raw objects; shares nothing with the planner.

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, Utc};
use serde_json::Value;
use tidegate::plan::model::{Kind, Write};

const HASH_LABEL: &str = "tidegate.dev/pod-template-hash";
/// How late the data plane may be.
const LAG_SECONDS: i64 = 4;

type Objects = BTreeMap<(Kind, String), Value>;

/// Where requests go: weight of the canary of `max`, and the versions behind the two Services.
#[derive(Clone, Debug, Default, PartialEq)]
struct Split {
    weight: i64,
    max: i64,
    canary: String,
    stable: String,
}

/// Splits by when they began, oldest first.
#[derive(Clone, Default)]
pub struct Blame {
    splits: Vec<(DateTime<Utc>, Split)>,
}

pub fn current_hash(rollout: &Value) -> String {
    tidegate::plan::revision::hash_template(&rollout["spec"]["template"]).to_string()
}

/// The canary's weight by one route; nothing when the route is not about a canary.
pub fn weight_of(route: &Value) -> Option<i64> {
    let annotation = &route["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"];
    if let Some(weight) = annotation.as_str() {
        return weight.parse().ok();
    }
    let backends = route["spec"]["rules"][0]["backendRefs"].as_array()?;
    backends
        .iter()
        .find(|backend| backend["name"] == "checkout-canary")
        .and_then(|backend| backend["weight"].as_i64())
}

pub fn weights(objects: &Objects) -> Vec<i64> {
    let routes = objects
        .iter()
        .filter(|((kind, _), _)| matches!(kind, Kind::Ingress | Kind::HttpRoute));
    routes.filter_map(|(_, route)| weight_of(route)).collect()
}

fn split(objects: &Objects) -> Split {
    let selected = |name: &str| {
        let service = objects.get(&(Kind::Service, name.to_owned()));
        let hash = service.and_then(|service| service["spec"]["selector"][HASH_LABEL].as_str());
        hash.unwrap_or_default().to_owned()
    };
    let rollout = objects.get(&(Kind::Rollout, "checkout".to_owned()));
    let max =
        rollout.and_then(|rollout| rollout.pointer("/spec/strategy/canary/trafficRouting/maxTrafficWeight"));
    Split {
        max: max.and_then(Value::as_i64).unwrap_or(100),
        weight: weights(objects).into_iter().max().unwrap_or(0),
        canary: selected("checkout-canary"),
        stable: selected("checkout-stable"),
    }
}

/// Without routing the pods are the traffic, and no Service stands for a version.
fn is_routed(objects: &Objects) -> bool {
    let rollout = objects.get(&(Kind::Rollout, "checkout".to_owned()));
    let routing = rollout.and_then(|rollout| rollout.pointer("/spec/strategy/canary/trafficRouting"));
    routing.is_some() || rollout.is_some_and(|rollout| rollout.pointer("/status/canary/routing").is_some())
}

fn replicas(objects: &Objects) -> Option<i64> {
    objects.get(&(Kind::Rollout, "checkout".to_owned()))?["spec"]["replicas"].as_i64()
}

fn pods(objects: &Objects, hash: &str) -> (i64, i64) {
    let set = objects.get(&(Kind::ReplicaSet, format!("checkout-{hash}")));
    let number = |path: &str| {
        set.and_then(|set| set.pointer(path))
            .and_then(Value::as_i64)
            .unwrap_or(0)
    };
    let wanted = number("/spec/replicas");
    (wanted, number("/status/availableReplicas").min(wanted))
}

impl Split {
    fn share(&self, hash: &str) -> i64 {
        let canary = if self.canary == hash { self.weight } else { 0 };
        let stable = if self.stable == hash {
            self.max - self.weight
        } else {
            0
        };
        canary + stable
    }

    fn hashes(&self) -> Vec<&str> {
        [self.canary.as_str(), self.stable.as_str()]
            .into_iter()
            .filter(|hash| !hash.is_empty())
            .collect()
    }
}

impl Blame {
    /// Takes in what is in the routes now.
    pub fn note(&mut self, objects: &Objects, now: DateTime<Utc>) {
        let split = split(objects);
        if self.splits.last().map(|(_, last)| last) != Some(&split) {
            self.splits.push((now, split));
        }
    }

    /// Every split that some proxy may still follow.
    fn live(&self, now: DateTime<Utc>) -> Vec<&Split> {
        let ends = self.splits.iter().skip(1).map(|(at, _)| Some(*at)).chain([None]);
        let live = self.splits.iter().zip(ends);
        let late = Duration::seconds(LAG_SECONDS);
        live.filter(|(_, end)| end.is_none_or(|end| now < end + late))
            .map(|((_, split), _)| split)
            .collect()
    }

    /// Panics when a write of the controller loses requests.
    pub fn judge(
        &mut self,
        before: &Objects,
        after: &Objects,
        now: DateTime<Utc>,
        write: &Write,
        log: &[String],
    ) {
        self.note(after, now);
        if !is_routed(after) {
            return;
        }
        let Some(all) = replicas(after).filter(|all| *all > 0) else {
            return;
        };
        let log = || crate::fixture::readable(&log.join("\n"));
        for hash in self.live(now).iter().flat_map(|split| split.hashes()) {
            let live = self.live(now);
            let (share, max) = live
                .iter()
                .map(|split| (split.share(hash), split.max))
                .max()
                .unwrap_or((0, 100));
            let (wanted_before, available_before) = pods(before, hash);
            let (wanted, available) = pods(after, hash);
            let needed = (all * share + max - 1) / max;
            if wanted < wanted_before {
                assert!(
                    wanted >= needed,
                    "{write:?}: {hash} shrinks to {wanted} of {needed}\n{}",
                    log()
                );
            }
            let sent = |objects: &Objects| split(objects).share(hash);
            let worse = sent(after) > sent(before) || available < available_before;
            // Nothing is left to send it to: an abort of a first deploy, all pods gone.
            let hopeless = split(after).hashes().iter().all(|hash| pods(after, hash).1 == 0);
            if share > 0 && worse && !hopeless {
                assert!(
                    available > 0,
                    "{write:?}: {hash} gets {share} without pods\n{}",
                    log()
                );
            }
        }
    }
}

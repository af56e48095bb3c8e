//! The objects that a plan touches, before and after each of its writes, and the splits of traffic that may be
//! in effect meanwhile.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::names::HASH_LABEL;
use crate::api::patch::PatchOp;
use crate::plan::model::{Action, Kind, Plan, Write};
use crate::plan::snapshot::Snapshot;

/// Where requests go, by what the routes and Services say; weights in parts of `Scene::max`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    pub weight: i64,
    pub canary: String,
    pub stable: String,
}

impl Split {
    /// The part of `max` that a version gets.
    pub fn share(&self, hash: &str, max: i64) -> i64 {
        let canary = if self.canary == hash { self.weight } else { 0 };
        let stable = if self.stable == hash { max - self.weight } else { 0 };
        canary + stable
    }
}

/// Pods of one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    pub replicas: i64,
    pub available: i64,
}

#[derive(Clone)]
pub struct Scene<'a> {
    pub snapshot: &'a Snapshot,
    /// `spec.replicas`, or the number that is kept while the spec leaves it out.
    pub replicas: Option<i64>,
    pub max: i64,
    pub stable_service: String,
    pub canary_service: String,
    /// The version that is stable by the status as persisted.
    pub stable: String,
    /// Traffic is split by routes.
    pub routed: bool,
    pub deleting: bool,
    /// The plan gives up the routing in use.
    pub given_up: bool,
    /// Pods by version; only ReplicaSets that are ours.
    pub pods: BTreeMap<String, Pods>,
    pub selectors: BTreeMap<String, BTreeMap<String, String>>,
    pub routes: BTreeMap<(Kind, String), Value>,
    /// Splits that the status knows to be in effect, before the first write.
    recorded: Vec<Split>,
}

impl<'a> Scene<'a> {
    pub fn new(snapshot: &'a Snapshot, plan: &Plan) -> Self {
        let rollout = &snapshot.rollout;
        let text = |path: &str| {
            rollout
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let in_use = "/status/canary/routing";
        let wanted = "/spec/strategy/canary";
        let base = if rollout.pointer(in_use).is_some() {
            in_use
        } else {
            wanted
        };
        let routing = rollout.pointer(&format!("{base}/trafficRouting"));
        let max = routing
            .and_then(|routing| routing.get("maxTrafficWeight"))
            .and_then(Value::as_i64);
        let owned = snapshot
            .replica_sets
            .values()
            .filter(|set| set.owned && !set.deleting);
        let pods = owned.map(|set| {
            let available = set.available.min(set.replicas);
            (
                set.hash.to_string(),
                Pods {
                    replicas: set.replicas,
                    available,
                },
            )
        });
        let services = snapshot.services.iter();
        let selectors =
            services.filter_map(|(name, service)| Some((name.clone(), service.as_ref()?.selector.clone())));
        let routes = |kind: Kind, routes: &BTreeMap<String, Option<Value>>| {
            let present = routes
                .iter()
                .filter_map(|(name, route)| Some(((kind, name.clone()), route.clone()?)));
            present.collect::<Vec<_>>()
        };
        let mut scene = Scene {
            snapshot,
            replicas: rollout
                .pointer("/spec/replicas")
                .or_else(|| rollout.pointer("/status/wantedReplicas"))
                .and_then(Value::as_i64),
            max: max.unwrap_or(100),
            stable_service: text(&format!("{base}/stableService")),
            canary_service: text(&format!("{base}/canaryService")),
            stable: text("/status/stableRS"),
            routed: routing.is_some(),
            deleting: rollout.pointer("/metadata/deletionTimestamp").is_some(),
            given_up: rollout.pointer(in_use).is_some() && plan.status.canary.routing.is_none(),
            pods: pods.collect(),
            selectors: selectors.collect(),
            routes: [
                routes(Kind::Ingress, &snapshot.routes.ingresses),
                routes(Kind::HttpRoute, &snapshot.routes.http_routes),
            ]
            .into_iter()
            .flatten()
            .collect(),
            recorded: Vec::new(),
        };
        scene.recorded = scene.recorded_splits(plan);
        scene
    }

    /// What the new status calls live, and what is seen. That a split was rightly found to be over is the
    /// planner's word: only time tells.
    fn recorded_splits(&self, plan: &Plan) -> Vec<Split> {
        let live = plan
            .status
            .canary
            .weights
            .iter()
            .flat_map(|weights| &weights.live);
        let mut splits: Vec<Split> = live
            .map(|split| Split {
                weight: split.canary_weight.0,
                canary: split.canary_hash.to_string(),
                stable: split.stable_hash.to_string(),
            })
            .collect();
        splits.push(self.split());
        splits
    }

    pub fn selected(&self, service: &str) -> String {
        let selector = self.selectors.get(service);
        selector
            .and_then(|selector| selector.get(HASH_LABEL))
            .cloned()
            .unwrap_or_default()
    }

    /// What the routes and Services say now; where routes disagree, the most for the canary.
    pub fn split(&self) -> Split {
        Split {
            weight: self.weights().into_iter().max().unwrap_or(0),
            canary: self.selected(&self.canary_service),
            stable: self.selected(&self.stable_service),
        }
    }

    /// The canary's weight in each route that has one.
    pub fn weights(&self) -> Vec<i64> {
        let of = |(key, route): (&(Kind, String), &Value)| match key.0 {
            Kind::Ingress => ingress_weight(route).into_iter().collect(),
            _ => self
                .backend_weights(route)
                .into_iter()
                .filter_map(|(canary, _)| canary)
                .collect::<Vec<_>>(),
        };
        self.routes.iter().flat_map(of).collect()
    }

    /// Weights of canary and stable in every rule of an HTTPRoute that has the stable Service.
    pub fn backend_weights(&self, route: &Value) -> Vec<(Option<i64>, Option<i64>)> {
        let rules = route.pointer("/spec/rules").and_then(Value::as_array);
        let weight = |backends: &[Value], name: &str| {
            let named = backends
                .iter()
                .find(|backend| backend.get("name").and_then(Value::as_str) == Some(name))?;
            Some(named.get("weight").and_then(Value::as_i64).unwrap_or(1))
        };
        let of = |rule: &Value| {
            let backends = rule.get("backendRefs").and_then(Value::as_array)?;
            Some((
                weight(backends, &self.canary_service),
                weight(backends, &self.stable_service),
            ))
        };
        let found = rules.into_iter().flatten().filter_map(of);
        found
            .filter(|(canary, stable)| canary.is_some() || stable.is_some())
            .collect()
    }

    /// The most of `max` that may reach a version.
    pub fn share(&self, hash: &str) -> i64 {
        let now = self.split();
        let splits = self.recorded.iter().chain([&now]);
        splits.map(|split| split.share(hash, self.max)).max().unwrap_or(0)
    }

    /// The most of `max` that may reach a Service.
    pub fn share_of_service(&self, service: &str) -> i64 {
        let now = self.split();
        let splits = self.recorded.iter().chain([&now]);
        let weight = |split: &Split| match service {
            name if name == self.canary_service => split.weight,
            name if name == self.stable_service => self.max - split.weight,
            _ => 0,
        };
        splits.map(weight).max().unwrap_or(0)
    }

    /// An Ingress in the nginx dialect answers errors when its stable Service has no endpoints, whatever the weight.
    pub fn is_main_backend(&self, hash: &str) -> bool {
        let now = self.split();
        let mut splits = self.recorded.iter().chain([&now]);
        self.routes.keys().any(|(kind, _)| *kind == Kind::Ingress) && splits.any(|split| split.stable == hash)
    }

    pub fn pods_of(&self, hash: &str) -> Pods {
        self.pods.get(hash).copied().unwrap_or_default()
    }

    /// ceil(replicas · share / max).
    pub fn pods_for(&self, share: i64) -> i64 {
        let product = i128::from(self.replicas.unwrap_or(0)) * i128::from(share.max(0));
        let max = i128::from(self.max.max(1));
        i64::try_from((product + max - 1) / max).unwrap_or(i64::MAX)
    }

    /// The scene after a write; an error when the write does not fit what was seen.
    pub fn carry_out(&mut self, write: &Write) -> Result<(), String> {
        let key = (write.target.kind, write.target.name.clone());
        match (write.target.kind, &write.action) {
            (Kind::Ingress | Kind::HttpRoute, Action::Create { object }) => {
                self.routes.insert(key, object.clone());
            }
            (Kind::Ingress | Kind::HttpRoute, Action::Delete { .. }) => {
                self.routes.remove(&key);
            }
            (Kind::Ingress | Kind::HttpRoute, Action::Patch { ops, .. }) => {
                let route = self
                    .routes
                    .get_mut(&key)
                    .ok_or("it patches a route that is not there")?;
                ops.iter().try_for_each(|op| apply(route, op))?;
            }
            (Kind::Service, Action::Patch { ops, .. }) => self.patch_selector(&key.1, ops),
            (Kind::ReplicaSet, Action::Patch { ops, .. }) => self.resize(&key.1, ops),
            (Kind::ReplicaSet, Action::Delete { .. }) => {
                if let Some(set) = self.snapshot.replica_sets.get(&key.1) {
                    self.pods.remove(set.hash.as_str());
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn patch_selector(&mut self, service: &str, ops: &[PatchOp]) {
        let path = format!("/spec/selector/{}", HASH_LABEL.replace('/', "~1"));
        let selector = self.selectors.entry(service.to_owned()).or_default();
        for op in ops {
            match op {
                PatchOp::Add { path: at, value } | PatchOp::Replace { path: at, value } if *at == path => {
                    selector.insert(
                        HASH_LABEL.to_owned(),
                        value.as_str().unwrap_or_default().to_owned(),
                    );
                }
                PatchOp::Remove { path: at } if *at == path => {
                    selector.remove(HASH_LABEL);
                }
                PatchOp::Remove { path: at } if at.starts_with("/spec/selector") => selector.clear(),
                _ => {}
            }
        }
    }

    fn resize(&mut self, name: &str, ops: &[PatchOp]) {
        let Some(set) = self.snapshot.replica_sets.get(name) else {
            return;
        };
        let wanted = ops.iter().find_map(|op| match op {
            PatchOp::Add { path, value } | PatchOp::Replace { path, value } if path == "/spec/replicas" => {
                value.as_i64()
            }
            _ => None,
        });
        if let (Some(wanted), Some(pods)) = (wanted, self.pods.get_mut(set.hash.as_str())) {
            *pods = Pods {
                replicas: wanted,
                available: pods.available.min(wanted),
            };
        }
    }
}

/// The weight a canary Ingress asks for, whatever the prefix of its annotations.
pub fn ingress_weight(ingress: &Value) -> Option<i64> {
    let annotations = ingress
        .pointer("/metadata/annotations")
        .and_then(Value::as_object)?;
    let weight = annotations
        .iter()
        .find(|(key, _)| key.ends_with("/canary-weight"))?
        .1;
    weight.as_str().and_then(|text| text.parse().ok())
}

/// One operation of a JSON Patch.
fn apply(object: &mut Value, op: &PatchOp) -> Result<(), String> {
    let (path, value) = match op {
        PatchOp::Test { path, value } => {
            let same = object.pointer(path) == Some(value);
            return if same {
                Ok(())
            } else {
                Err(format!("{path} is not what it insists on"))
            };
        }
        PatchOp::Add { path, value } | PatchOp::Replace { path, value } => (path, Some(value)),
        PatchOp::Remove { path } => (path, None),
    };
    let replaces = matches!(op, PatchOp::Replace { .. });
    let missing = || format!("{path} is not there");
    let (parent, key) = path.rsplit_once('/').ok_or_else(missing)?;
    let key = key.replace("~1", "/").replace("~0", "~");
    match (object.pointer_mut(parent).ok_or_else(missing)?, value) {
        (Value::Object(map), Some(value)) => {
            map.insert(key, value.clone());
        }
        (Value::Object(map), None) => {
            map.remove(&key).ok_or_else(missing)?;
        }
        (Value::Array(list), Some(value)) if key == "-" => list.push(value.clone()),
        (Value::Array(list), value) => {
            let index: usize = key.parse().map_err(|_| missing())?;
            match value {
                Some(value) if replaces => *list.get_mut(index).ok_or_else(missing)? = value.clone(),
                Some(value) if index <= list.len() => list.insert(index, value.clone()),
                None if index < list.len() => drop(list.remove(index)),
                _ => return Err(missing()),
            }
        }
        _ => return Err(missing()),
    }
    Ok(())
}

//! What is true, whatever any status says: pods, selectors, weights, and everything still on its way to the data
//! plane. Built from the commits alone.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use tidegate::api::names::HASH_LABEL;
use tidegate::sandbox::api_server::Commit;
use tidegate::sandbox::resource::list;

use super::object::{CANARY, NAME, STABLE, int, text};
use super::scenario::Weather;

type Time = DateTime<Utc>;

/// Values that take effect after a delay and in order: one is in effect, later ones are on their way.
#[derive(Debug)]
pub struct Flight<T> {
    states: Vec<(Time, T)>,
}

impl<T> Default for Flight<T> {
    fn default() -> Self {
        Flight { states: Vec::new() }
    }
}

impl<T> Flight<T> {
    fn push(&mut self, at: Time, delay: TimeDelta, value: T) {
        self.land(at);
        let due = self
            .states
            .last()
            .map_or(at + delay, |(last, _)| (at + delay).max(*last));
        self.states.push((due, value));
    }

    fn land(&mut self, now: Time) {
        let landed = self.states.iter().filter(|(due, _)| *due <= now).count();
        self.states.drain(..landed.saturating_sub(1));
    }

    /// What may be in effect now or later.
    fn live(&self, now: Time) -> impl Iterator<Item = &T> {
        let landed = self.states.iter().filter(|(due, _)| *due <= now).count();
        self.states
            .iter()
            .skip(landed.saturating_sub(1))
            .map(|(_, value)| value)
    }

    fn newest(&self) -> Option<&T> {
        self.states.last().map(|(_, value)| value)
    }
}

/// Ready endpoints of a Service by version.
type Endpoints = BTreeMap<String, i64>;

/// A share of the traffic: `.0` of `.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight(pub i64, pub i64);

impl Weight {
    pub fn share(self) -> f64 {
        if self.1 == 0 {
            0.0
        } else {
            self.0 as f64 / self.1 as f64
        }
    }
}

#[derive(Default)]
pub struct Truth {
    pods: BTreeMap<String, (String, bool)>,
    /// `spec.replicas` by version.
    pub replicas: BTreeMap<String, i64>,
    available: BTreeMap<String, Vec<(Time, i64)>>,
    endpoints: BTreeMap<String, Flight<Endpoints>>,
    /// The version that a Service selects; empty if any.
    pub selected: BTreeMap<String, String>,
    weights: BTreeMap<String, Flight<Weight>>,
    pub rollout: Value,
    wanted: Vec<(Time, i64)>,
    paused: Vec<(Time, i64)>,
    /// Verbs by uid.
    pub commands: BTreeMap<String, String>,
    pub unanswered: BTreeMap<String, ()>,
    pub running: BTreeMap<String, ()>,
}

/// The highest and the lowest value since a time, the one then included.
fn range(history: &[(Time, i64)], since: Time) -> Option<(i64, i64)> {
    let before = history.iter().rev().find(|(at, _)| *at <= since);
    let later = history.iter().filter(|(at, _)| *at > since);
    let values = before.into_iter().chain(later).map(|(_, value)| *value);
    values.fold(None, |range, value| {
        Some(range.map_or((value, value), |(low, high): (i64, i64)| {
            (low.min(value), high.max(value))
        }))
    })
}

impl Truth {
    pub fn apply(&mut self, commit: &Commit, now: Time, weather: &Weather, by_controller: bool) {
        let after = commit.after.as_deref();
        match commit.kind.as_str() {
            "Pod" => self.apply_pod(commit, now),
            "ReplicaSet" => self.apply_set(commit, now, by_controller),
            "Service" => {
                let pointer = format!("/spec/selector/{}", HASH_LABEL.replace('/', "~1"));
                let hash = after.map(|after| text(after, &pointer)).unwrap_or_default();
                self.selected.insert(commit.name.clone(), hash.to_owned());
            }
            "EndpointSlice" => {
                let service = after.map(|after| text(after, "/metadata/labels/kubernetes.io~1service-name"));
                let service = service.unwrap_or_default().to_owned();
                let endpoints = after.map(|after| self.ready_endpoints(after)).unwrap_or_default();
                self.endpoints
                    .entry(service)
                    .or_default()
                    .push(now, weather.plane[3], endpoints);
            }
            "Ingress" | "HTTPRoute" => {
                let delay = weather.plane[usize::from(commit.kind == "HTTPRoute")];
                for (id, weight) in weights(&commit.kind, &commit.name, after) {
                    self.weights.entry(id).or_default().push(now, delay, weight);
                }
            }
            "Rollout" => self.apply_rollout(after, now),
            "RolloutCommand" => {
                let Some(after) = after else { return };
                let uid = text(after, "/metadata/uid").to_owned();
                self.commands.insert(uid, text(after, "/spec/verb").to_owned());
                if after.pointer("/status/phase").is_some() {
                    self.unanswered.remove(&commit.name);
                } else {
                    self.unanswered.insert(commit.name.clone(), ());
                }
            }
            "AnalysisRun" => {
                let phase = after.map_or("gone", |after| text(after, "/status/phase"));
                if matches!(phase, "" | "Pending" | "Running") {
                    self.running.insert(commit.name.clone(), ());
                } else {
                    self.running.remove(&commit.name);
                }
            }
            _ => {}
        }
    }

    fn apply_pod(&mut self, commit: &Commit, now: Time) {
        let pointer = format!("/metadata/labels/{}", HASH_LABEL.replace('/', "~1"));
        let either = commit.after.as_deref().or(commit.before.as_deref());
        let hash = either
            .map(|pod| text(pod, &pointer))
            .unwrap_or_default()
            .to_owned();
        match commit.after.as_deref() {
            Some(pod) => {
                let ready = list(pod, "/status/conditions").iter().any(|condition| {
                    text(condition, "/type") == "Ready" && text(condition, "/status") == "True"
                });
                let usable = ready && pod.pointer("/metadata/deletionTimestamp").is_none();
                self.pods.insert(commit.name.clone(), (hash.clone(), usable));
            }
            None => {
                self.pods.remove(&commit.name);
            }
        }
        self.count_available(hash, now);
    }

    fn count_available(&mut self, hash: String, now: Time) {
        let count = self
            .pods
            .values()
            .filter(|(of, usable)| *of == hash && *usable)
            .count();
        let history = self.available.entry(hash).or_default();
        history.push((now, i64::try_from(count).unwrap()));
        if history.len() > 200 {
            history.drain(..100);
        }
    }

    fn apply_set(&mut self, commit: &Commit, now: Time, by_controller: bool) {
        let Some(after) = commit.after.as_deref() else {
            return;
        };
        let hash = hash_of(after);
        let replicas = int(after, "/spec/replicas");
        self.replicas.insert(hash.clone(), replicas);
        if by_controller {
            // What was told to go is not to be counted on any more.
            for (_, available) in self.available.entry(hash).or_default() {
                *available = (*available).min(replicas);
            }
        } else if int(after, "/status/observedGeneration") == int(after, "/metadata/generation") {
            // Whoever lets pods go has seen the size: what is left now stays.
            self.count_available(hash, now);
        }
    }

    fn apply_rollout(&mut self, after: Option<&Value>, now: Time) {
        self.rollout = after.cloned().unwrap_or_default();
        self.wanted.push((now, int(&self.rollout, "/spec/replicas")));
        let paused = self.rollout.pointer("/spec/paused") == Some(&Value::Bool(true));
        self.paused.push((now, i64::from(paused)));
    }

    fn ready_endpoints(&self, slice: &Value) -> Endpoints {
        let mut endpoints = Endpoints::new();
        for endpoint in list(slice, "/endpoints") {
            let ready = endpoint.pointer("/conditions/ready") == Some(&Value::Bool(true));
            let pod = text(endpoint, "/targetRef/name");
            let hash = pod.strip_prefix(NAME).and_then(|rest| rest.split('-').nth(1));
            if ready {
                *endpoints.entry(hash.unwrap_or_default().to_owned()).or_default() += 1;
            }
        }
        endpoints
    }

    /// The most and the fewest pods of a version that were available since a time.
    pub fn available(&self, hash: &str, since: Time) -> (i64, i64) {
        let history = self.available.get(hash).map(Vec::as_slice).unwrap_or_default();
        let (low, high) = range(history, since).unwrap_or((0, 0));
        let first = history.first().is_none_or(|(at, _)| *at > since);
        (if first { 0 } else { low }, high)
    }

    /// `spec.replicas` of the Rollout, lowest and highest since a time.
    pub fn wanted(&self, since: Time) -> (i64, i64) {
        range(&self.wanted, since).unwrap_or((0, 0))
    }

    /// `spec.paused` all the time since.
    pub fn paused_since(&self, since: Time) -> bool {
        range(&self.paused, since).is_some_and(|(low, _)| low == 1)
    }

    pub fn newest_weight(&self, id: &str) -> Option<Weight> {
        self.weights.get(id)?.newest().copied()
    }

    /// The share of the canary Service in effect, where all routes agree.
    pub fn share_in_effect(&self, now: Time) -> Option<f64> {
        let landed = self.weights.values().filter_map(|flight| flight.live(now).next());
        let mut shares = landed.map(|weight| weight.share());
        let first = shares.next().unwrap_or(0.0);
        shares.all(|share| share == first).then_some(first)
    }

    pub fn canary_weights_now(&self) -> Vec<Weight> {
        self.weights
            .values()
            .filter_map(Flight::newest)
            .copied()
            .collect()
    }

    /// Lowest and highest share of the canary Service that may be in effect.
    pub fn canary_share(&self, now: Time) -> (f64, f64) {
        let shares = self
            .weights
            .values()
            .flat_map(|flight| flight.live(now))
            .map(|weight| weight.share());
        shares.fold((1.0, 0.0), |(low, high): (f64, f64), share| {
            (low.min(share), high.max(share))
        })
    }

    /// Endpoints by version that a Service may have in the data plane, now or later.
    fn compositions(&self, service: &str, now: Time) -> Vec<Endpoints> {
        let mut all: Vec<Endpoints> = self
            .endpoints
            .get(service)
            .map(|flight| flight.live(now).cloned().collect())
            .unwrap_or_default();
        let selected = self.selected.get(service).filter(|hash| !hash.is_empty());
        all.extend(selected.map(|hash| Endpoints::from([(hash.clone(), 1)])));
        all
    }

    pub fn may_serve(&self, service: &str, hash: &str, now: Time) -> bool {
        self.compositions(service, now)
            .iter()
            .any(|endpoints| endpoints.contains_key(hash))
    }

    /// Whether the data plane knows an endpoint of the version behind a Service now.
    pub fn is_served(&self, service: &str, hash: &str, now: Time) -> bool {
        let flight = self.endpoints.get(service);
        let effective = flight.and_then(|flight| flight.live(now).next());
        effective.is_some_and(|endpoints| endpoints.get(hash).is_some_and(|count| *count > 0))
    }

    /// The most of the traffic that may reach a version, over everything that may be in effect.
    pub fn share(&self, hash: &str, now: Time) -> f64 {
        let fractions = |service: &str| {
            let of = |endpoints: &Endpoints| {
                let total: i64 = endpoints.values().sum();
                let own = endpoints.get(hash).copied().unwrap_or(0);
                if total == 0 {
                    0.0
                } else {
                    own as f64 / total as f64
                }
            };
            self.compositions(service, now).iter().map(of).fold(0.0, f64::max)
        };
        let (canary, stable) = (fractions(CANARY), fractions(STABLE));
        let (low, high) = self.canary_share(now);
        let at = |weight: f64| weight * canary + (1.0 - weight) * stable;
        at(low).max(at(high))
    }

    pub fn status<'a>(&'a self, field: &str) -> &'a str {
        text(&self.rollout, &format!("/status/{field}"))
    }
}

pub fn hash_of(object: &Value) -> String {
    let pointer = format!("/metadata/labels/{}", HASH_LABEL.replace('/', "~1"));
    text(object, &pointer).to_owned()
}

/// The canary's weights that a route object says, by route.
pub fn weights(kind: &str, name: &str, object: Option<&Value>) -> Vec<(String, Weight)> {
    if kind == "Ingress" {
        let annotation = |key: &str| {
            object.map(|object| {
                text(
                    object,
                    &format!("/metadata/annotations/nginx.ingress.kubernetes.io~1{key}"),
                )
            })
        };
        let number = |key: &str| annotation(key).and_then(|text| text.parse().ok());
        let is_canary = annotation("canary") == Some("true") || name.ends_with("-canary");
        let weight = Weight(
            number("canary-weight").unwrap_or(0),
            number("canary-weight-total").unwrap_or(100),
        );
        return is_canary.then(|| (name.to_owned(), weight)).into_iter().collect();
    }
    let rules = object
        .map(|object| list(object, "/spec/rules"))
        .unwrap_or_default();
    let weigh = |rule: &Value| {
        let of = |service: &str| -> i64 {
            let backends = list(rule, "/backendRefs").iter();
            let ours = backends.filter(|backend| text(backend, "/name") == service);
            ours.map(|backend| backend.pointer("/weight").and_then(Value::as_i64).unwrap_or(1))
                .sum()
        };
        let (canary, stable) = (of(CANARY), of(STABLE));
        Weight(canary, canary + stable)
    };
    rules
        .iter()
        .enumerate()
        .map(|(index, rule)| (format!("{name}#{index}"), weigh(rule)))
        .collect()
}

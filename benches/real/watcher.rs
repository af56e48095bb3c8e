//! What the API server tells everybody who watches: the state of every Rollout, the weight of every canary Ingress, and
//! when it changed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use serde_json::Value;
use tidegate::api::names::ROLLOUT_LABEL;
use tidegate::clock::Stopwatch;
use tidegate::sandbox::resource::{Key, ingresses};
use tidegate::sandbox::watch::{Event, watch};
use tokio::task::JoinSet;

const WEIGHT: &str = "nginx.ingress.kubernetes.io/canary-weight";
const POLL: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(900);

/// A Rollout's status as it was last seen, and since when its phase is what it is.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub phase: String,
    pub revision: i64,
    pub since: Duration,
}

#[derive(Clone)]
pub struct Watcher {
    seen: Arc<Mutex<Seen>>,
    stopwatch: Stopwatch,
    _tasks: Arc<JoinSet<()>>,
}

#[derive(Default)]
struct Seen {
    rollouts: BTreeMap<Key, State>,
    /// By Rollout.
    weights: BTreeMap<Key, (String, Duration)>,
}

impl Watcher {
    pub fn start(client: &kube::Client) -> Self {
        let (seen, stopwatch) = (Arc::<Mutex<Seen>>::default(), Stopwatch::start());
        let mut tasks = JoinSet::new();
        let rollouts = ApiResource::from_gvk(&GroupVersionKind::gvk("tidegate.dev", "v1alpha1", "Rollout"));
        for (resource, note) in [
            (
                rollouts,
                note_rollout as fn(&mut Seen, Key, &DynamicObject, Duration),
            ),
            (ingresses(), note_ingress),
        ] {
            let mut events = watch(client, &resource);
            let (seen, stopwatch) = (Arc::clone(&seen), stopwatch);
            tasks.spawn(async move {
                while let Some(event) = events.next().await {
                    if let Event::Changed(key, Some(object)) = event {
                        note(&mut lock(&seen), key, &object, stopwatch.elapsed());
                    }
                }
            });
        }
        Watcher {
            seen,
            stopwatch,
            _tasks: Arc::new(tasks),
        }
    }

    pub fn now(&self) -> Duration {
        self.stopwatch.elapsed()
    }

    /// Waits until so many Rollouts are as wanted; returns since when each of them is, in order.
    pub async fn wait_for(
        &self,
        count: usize,
        what: &str,
        wanted: impl Fn(&Key, &State) -> bool,
    ) -> Vec<Duration> {
        let begun = self.now();
        loop {
            let mut since: Vec<Duration> = {
                let seen = lock(&self.seen);
                let rollouts = seen.rollouts.iter().filter(|(key, state)| wanted(key, state));
                rollouts.map(|(_, state)| state.since).collect()
            };
            if since.len() >= count {
                since.sort();
                return since;
            }
            assert!(
                self.now() - begun < PATIENCE,
                "{} of {count} Rollouts are {what}",
                since.len()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// How many of these Rollouts are as wanted now.
    pub fn count(&self, rollouts: impl Iterator<Item = Key>, wanted: impl Fn(&State) -> bool) -> usize {
        let seen = lock(&self.seen);
        let states = rollouts.filter_map(|key| seen.rollouts.get(&key));
        states.filter(|state| wanted(state)).count()
    }

    /// Waits until the canary Ingress of this Rollout has weight 0, written after `begun`.
    pub async fn wait_for_no_weight(&self, rollout: &Key, begun: Duration) -> Duration {
        loop {
            let weight = lock(&self.seen).weights.get(rollout).cloned();
            if let Some((weight, at)) = weight
                && weight == "0"
                && at >= begun
            {
                return at;
            }
            assert!(self.now() - begun < PATIENCE, "{rollout} keeps its weight");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn note_rollout(seen: &mut Seen, key: Key, object: &DynamicObject, now: Duration) {
    let status = |field: &str| object.data.pointer(&format!("/status/{field}"));
    let state = State {
        phase: status("phase")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        revision: status("revision").and_then(Value::as_i64).unwrap_or_default(),
        since: now,
    };
    let known = seen.rollouts.entry(key).or_default();
    if (&known.phase, known.revision) != (&state.phase, state.revision) {
        *known = state;
    }
}

fn note_ingress(seen: &mut Seen, key: Key, object: &DynamicObject, now: Duration) {
    let of = |map: &Option<BTreeMap<String, String>>, name: &str| map.as_ref()?.get(name).cloned();
    let (labels, annotations) = (&object.metadata.labels, &object.metadata.annotations);
    let (Some(rollout), Some(weight)) = (of(labels, ROLLOUT_LABEL), of(annotations, WEIGHT)) else {
        return;
    };
    let rollout = Key::new(key.namespace, rollout);
    let known = seen.weights.get(&rollout).map(|(weight, _)| weight);
    if known != Some(&weight) {
        seen.weights.insert(rollout, (weight, now));
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Sees every commit of the controller, dates it, and tells afterwards what was written when.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tidegate::api::patch::pointer;
use tidegate::clock::Stopwatch;
use tidegate::sandbox::api_server::{Commit, Interceptor, Store};

/// The controller's requests carry this User-Agent.
const CONTROLLER: &str = "tidegate/";
const WEIGHT: [&str; 3] = [
    "metadata",
    "annotations",
    "nginx.ingress.kubernetes.io/canary-weight",
];

/// One write of the controller.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Duration,
    pub namespace: String,
    pub name: String,
    /// `patch Rollout/status`
    pub what: String,
    /// Weight of a canary Ingress after the write.
    pub weight: Option<i64>,
    /// Fields of the status that the write changed, without conditions.
    pub changed: Vec<String>,
}

#[derive(Clone)]
pub struct Witness {
    seen: Arc<Mutex<Vec<Seen>>>,
    stopwatch: Stopwatch,
}

impl Witness {
    pub fn new() -> Self {
        Witness {
            seen: Arc::default(),
            stopwatch: Stopwatch::start(),
        }
    }

    pub fn now(&self) -> Duration {
        self.stopwatch.elapsed()
    }

    /// Writes since a moment, in order.
    pub fn since(&self, at: Duration) -> Vec<Seen> {
        self.lock().iter().filter(|seen| seen.at >= at).cloned().collect()
    }

    pub fn last(&self) -> Option<Duration> {
        self.lock().last().map(|seen| seen.at)
    }

    /// When a canary Ingress of this namespace got this weight, after a moment.
    pub fn weighed(&self, namespace: &str, rollout: &str, weight: i64, after: Duration) -> Option<Duration> {
        let seen = self.lock();
        let newest_first = seen.iter().rev().take_while(|seen| seen.at >= after);
        newest_first
            .filter(|seen| seen.namespace == namespace && seen.name.starts_with(rollout))
            .filter(|seen| seen.weight == Some(weight))
            .map(|seen| seen.at)
            .last()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interceptor for Witness {
    fn committed(&mut self, commit: &Commit, _: &Store) {
        if !commit.actor.starts_with(CONTROLLER) {
            return;
        }
        let subresource = commit.subresource.iter().map(|sub| format!("/{sub}"));
        let after = commit.after.as_deref();
        let weight = after
            .and_then(|object| object.pointer(&pointer(WEIGHT))?.as_str())
            .and_then(|text| text.parse().ok());
        let seen = Seen {
            at: self.now(),
            namespace: commit.namespace.clone(),
            name: commit.name.clone(),
            what: format!(
                "{} {}{}",
                commit.verb.as_str(),
                commit.kind,
                subresource.collect::<String>()
            ),
            weight,
            changed: changed(commit.before.as_deref(), after),
        };
        self.lock().push(seen);
    }
}

/// Paths below `status` whose values differ.
fn changed(before: Option<&Value>, after: Option<&Value>) -> Vec<String> {
    let status = |object: Option<&Value>| {
        let mut leaves = BTreeMap::new();
        if let Some(status) = object.and_then(|object| object.get("status")) {
            collect("", status, &mut leaves);
        }
        leaves
    };
    let (before, after) = (status(before), status(after));
    let paths = before.keys().chain(after.keys());
    let mut differing: Vec<String> = paths
        .filter(|path| before.get(*path) != after.get(*path))
        .filter(|path| !path.starts_with("conditions"))
        .cloned()
        .collect();
    differing.sort();
    differing.dedup();
    differing
}

fn collect(path: &str, value: &Value, leaves: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                collect(&path, value, leaves);
            }
        }
        other => {
            leaves.insert(path.to_owned(), other.to_string());
        }
    }
}

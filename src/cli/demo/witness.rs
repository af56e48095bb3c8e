//! A witness of every commit: the weights and the number of writes of the controller, independent of its status.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::api::patch::pointer;
use crate::sandbox::api_server::hooks::Interceptor;
use crate::sandbox::api_server::store::{Commit, Store};

/// The controller's requests carry this User-Agent.
const CONTROLLER: &str = "tidegate/";
const WEIGHT: [&str; 3] = [
    "metadata",
    "annotations",
    "nginx.ingress.kubernetes.io/canary-weight",
];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Testimony {
    /// Weights of the canary Ingress as they changed.
    pub weights: Vec<i64>,
    pub writes: BTreeMap<String, u64>,
}

/// Shared by the API server, which feeds it, and the demo, which reads it.
#[derive(Clone, Debug, Default)]
pub struct Witness(Arc<Mutex<Testimony>>);

impl Witness {
    /// What was seen since the last time.
    pub fn take(&self) -> Testimony {
        std::mem::take(&mut *self.lock())
    }

    pub fn look(&self) -> Testimony {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Testimony> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interceptor for Witness {
    fn committed(&mut self, commit: &Commit, _: &Store) {
        if !commit.actor.starts_with(CONTROLLER) {
            return;
        }
        let mut seen = self.lock();
        *seen.writes.entry(commit.kind.clone()).or_default() += 1;
        let weight = |object: &Option<Arc<Value>>| {
            let text = object.as_ref()?.pointer(&pointer(WEIGHT))?.as_str()?.to_owned();
            text.parse::<i64>().ok()
        };
        if let Some(weight_now) = weight(&commit.after).filter(|now| Some(*now) != weight(&commit.before)) {
            // The canary Ingress begins at 0; that is no change of anything.
            if commit.before.is_some() || weight_now > 0 {
                seen.weights.push(weight_now);
            }
        }
    }
}

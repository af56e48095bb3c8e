//! Endpoints as they were read a moment ago. They are not watched, and most rounds of a release come in bursts in which
//! nothing has happened to the pods.
//!
//! Guarantee: what was read is handed back only while as many pods are ready and the Services are the same as when it was
//! read, and for less than [`GOOD_FOR`].

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

use crate::api::resource::ObjectKey;
use crate::plan::snapshot::{EndpointsReady, Snapshot};

/// For so long what was read will do. Shorter than the pause of whoever waits for endpoints: each of its looks reads them
/// anew.
pub const GOOD_FOR: TimeDelta = TimeDelta::milliseconds(900);

#[derive(Debug, Default)]
pub struct Endpoints {
    read: Mutex<BTreeMap<ObjectKey, Read>>,
}

#[derive(Debug)]
struct Read {
    at: DateTime<Utc>,
    beside: Beside,
    ready: BTreeMap<String, EndpointsReady>,
}

impl Endpoints {
    pub fn recall(
        &self,
        rollout: &ObjectKey,
        snapshot: &Snapshot,
        now: DateTime<Utc>,
    ) -> Option<BTreeMap<String, EndpointsReady>> {
        let read = self.lock();
        let read = read.get(rollout)?;
        let age = now - read.at;
        // It may be from after now, by a clock that went back.
        let is_fresh = age >= TimeDelta::zero() && age < GOOD_FOR;
        (is_fresh && read.beside == Beside::of(snapshot)).then(|| read.ready.clone())
    }

    pub fn keep(
        &self,
        rollout: &ObjectKey,
        snapshot: &Snapshot,
        ready: &BTreeMap<String, EndpointsReady>,
        now: DateTime<Utc>,
    ) {
        let read = Read {
            at: now,
            beside: Beside::of(snapshot),
            ready: ready.clone(),
        };
        self.lock().insert(rollout.clone(), read);
    }

    pub fn forget(&self, rollout: &ObjectKey) {
        self.lock().remove(rollout);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Read>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What tells of a change behind the Services.
#[derive(Debug, PartialEq)]
struct Beside {
    /// Of each ReplicaSet how many pods are ready, and how many available.
    pods: Vec<(i64, i64)>,
    /// A version of each Service.
    services: Vec<String>,
}

impl Beside {
    fn of(snapshot: &Snapshot) -> Self {
        let pods = snapshot
            .replica_sets
            .values()
            .map(|set| (set.ready, set.available));
        let services = snapshot.services.values().flatten();
        Beside {
            pods: pods.collect(),
            services: services.map(|service| service.resource_version.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::snapshot::{ReplicaSetSeen, ServiceSeen};

    fn beside(ready: i64, service: &str) -> Snapshot {
        let set = ReplicaSetSeen {
            ready,
            ..ReplicaSetSeen::default()
        };
        let service = ServiceSeen {
            resource_version: service.to_owned(),
            ..ServiceSeen::default()
        };
        Snapshot {
            replica_sets: [("checkout-1".to_owned(), set)].into(),
            services: [("checkout".to_owned(), Some(service))].into(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn they_are_remembered_for_a_moment_and_beside_the_same_pods_and_services_only() {
        let (endpoints, key) = (Endpoints::default(), ObjectKey::new("shop", "checkout"));
        let at = |millis| DateTime::UNIX_EPOCH + TimeDelta::milliseconds(millis);
        endpoints.keep(&key, &beside(1, "2"), &BTreeMap::new(), at(5_000));
        for (ready, service, millis, is_known) in [
            (1, "2", 5_000, true),
            (1, "2", 5_899, true),
            (1, "2", 5_900, false),
            (1, "2", 4_999, false),
            (3, "2", 5_100, false),
            (1, "3", 5_100, false),
        ] {
            let recalled = endpoints.recall(&key, &beside(ready, service), at(millis));
            assert_eq!(recalled.is_some(), is_known, "{ready} {service} {millis}");
        }
        endpoints.forget(&key);
        assert_eq!(endpoints.recall(&key, &beside(1, "2"), at(5_000)), None);
    }
}

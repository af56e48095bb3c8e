//! Reads: everything one decision needs, as one value.
//!
//! Guarantees: an object counts as absent only when the API server said so just now; a cache that has not seen
//! our own newest write to an object is not asked about it; a read that fails ends the round.
//! Reading is from caches where they may be trusted, and live where not, once in a while, and for what is not
//! kept in memory at all.

pub mod cache;
mod decode;
mod endpoints;
mod heal;
pub mod kept;
pub mod rollout;
pub mod stores;
mod trim;

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;
use thiserror::Error;

use crate::api::names::ROLLOUT_LABEL;
use crate::api::resource::{ObjectKey, Resource};
use crate::client::own_writes::OwnWrites;
use crate::client::{Api, Failure};
use crate::plan::needs::needs;

use endpoints::Endpoints;
pub use endpoints::GOOD_FOR;
use heal::Heals;
use stores::Stores;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ObserveError {
    #[error("cannot read {resource} {key}")]
    Read {
        resource: Resource,
        key: ObjectKey,
        source: Failure,
    },
    /// Written for a newer version of us, perhaps; nothing is decided on what is not understood.
    #[error("{resource} {key} cannot be understood: {problem}")]
    Undecodable {
        resource: Resource,
        key: ObjectKey,
        problem: String,
    },
}

/// Where reads go.
pub struct Observer {
    pub api: Api,
    pub stores: Arc<Stores>,
    pub own: Arc<OwnWrites>,
    heals: Heals,
    endpoints: Endpoints,
}

/// One look: at the caches or, if `live`, past them.
#[derive(Clone, Copy)]
struct Look<'a> {
    observer: &'a Observer,
    live: bool,
}

impl Observer {
    pub fn new(api: Api) -> Self {
        Observer {
            api,
            stores: Arc::default(),
            own: Arc::default(),
            heals: Heals::default(),
            endpoints: Endpoints::default(),
        }
    }

    /// When everything about a Rollout is read live again although nothing happened.
    pub fn next_heal(&self, rollout: &ObjectKey) -> Option<DateTime<Utc>> {
        self.heals.next(rollout)
    }

    /// A live look that was refused counts as one: it is due again after the usual time, not at once.
    pub fn note_refused(&self, key: &ObjectKey, rollout: Option<&Value>, now: DateTime<Utc>) {
        let in_progress = rollout.is_some_and(|rollout| needs(rollout).in_progress);
        self.heals.plan(key, in_progress, true, now);
    }

    /// What the answer to a write of ours told. Nothing that is watched need be read live to see that write.
    pub fn note_written(&self, resource: Resource, key: &ObjectKey, object: &Value) {
        if self.stores.keeps(resource, &key.namespace) {
            self.stores.hear(resource, key, object);
        }
    }

    /// Nothing is remembered of a Rollout that is none of ours any more, but our own writes to it: it may come back.
    pub fn forget(&self, rollout: &ObjectKey) {
        self.heals.forget(rollout);
        self.endpoints.forget(rollout);
    }

    /// One object, from its cache unless our own write to it is newer; `None` if there is none.
    pub async fn read(&self, resource: Resource, key: &ObjectKey) -> Result<Option<Value>, ObserveError> {
        let look = Look {
            observer: self,
            live: false,
        };
        look.object(resource, key).await
    }
}

impl Look<'_> {
    async fn object(self, resource: Resource, key: &ObjectKey) -> Result<Option<Value>, ObserveError> {
        let Observer { stores, own, .. } = self.observer;
        let cached = stores.get(resource, key);
        let trusted = own.trusts(resource, key, cached.as_ref());
        match cached {
            Some(object) if trusted && !self.live => Ok(Some(object)),
            _ => self.object_live(resource, key).await,
        }
    }

    async fn object_live(self, resource: Resource, key: &ObjectKey) -> Result<Option<Value>, ObserveError> {
        let live = self.observer.api.get(resource, key).await;
        let mut live = live.map_err(|source| ObserveError::Read {
            resource,
            key: key.clone(),
            source,
        })?;
        self.note_live(resource, key, live.as_ref());
        if let Some(object) = &mut live {
            trim::trim(resource, object);
        }
        Ok(live)
    }

    /// Everything of a kind that belongs to a Rollout, sorted by key.
    async fn belongings(
        self,
        resource: Resource,
        rollout: &ObjectKey,
    ) -> Result<Vec<(ObjectKey, Value)>, ObserveError> {
        if self.live {
            self.list_belongings(resource, rollout).await?;
        }
        let Observer { stores, own, .. } = self.observer;
        let mut keys: BTreeSet<ObjectKey> = stores.of_rollout(resource, rollout);
        keys.extend(own.written_for(rollout, resource));
        // What a list just brought need not be read again, one by one.
        let look = Look { live: false, ..self };
        let mut objects = Vec::new();
        for key in keys {
            if let Some(object) = look.object(resource, &key).await? {
                objects.push((key, object));
            }
        }
        Ok(objects)
    }

    /// Brings the cache up to what a live list shows.
    async fn list_belongings(self, resource: Resource, rollout: &ObjectKey) -> Result<(), ObserveError> {
        let by_label = format!("{ROLLOUT_LABEL}={}", rollout.name);
        let labels = (resource != Resource::RolloutCommand).then_some(by_label.as_str());
        let known = self.observer.stores.of_rollout(resource, rollout);
        let listed = self.list_live(resource, &rollout.namespace, labels).await?;
        let listed: BTreeSet<ObjectKey> = listed.iter().filter_map(ObjectKey::of).collect();
        for gone in known.difference(&listed) {
            self.note_live(resource, gone, None);
        }
        Ok(())
    }

    async fn list_live(
        self,
        resource: Resource,
        namespace: &str,
        labels: Option<&str>,
    ) -> Result<Vec<Value>, ObserveError> {
        let listed = self.observer.api.list(resource, namespace, labels).await;
        let mut listed = listed.map_err(|source| ObserveError::Read {
            resource,
            key: ObjectKey::new(namespace, labels.unwrap_or("*")),
            source,
        })?;
        for object in &mut listed {
            trim::trim(resource, object);
            if let Some(key) = ObjectKey::of(object) {
                self.note_live(resource, &key, Some(object));
            }
        }
        Ok(listed)
    }

    /// What is not watched is not kept either: nobody would ever bring it up to date.
    fn note_live(self, resource: Resource, key: &ObjectKey, live: Option<&Value>) {
        self.observer.own.note_live(resource, key, live);
        if self.observer.stores.keeps(resource, &key.namespace) {
            self.observer.stores.heal(resource, key, live);
        }
    }
}

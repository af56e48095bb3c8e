//! What we wrote ourselves, so that no decision is made on a cache that has not seen it yet (S12).
//!
//! Guarantees: an object is read from a cache only once the cache shows our newest write to it. Kept in memory
//! only: after a restart the caches are listed anew and cannot be older than what was written before.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::api::resource::{ObjectKey, Resource, is_older_version, metadata_text};

/// The newest thing we know about an object beyond the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    /// Written or read live with this version.
    Version(String),
    /// Deleted; the uid tells it from a successor.
    Deleted { uid: String },
    /// A write whose outcome we were not told, or a create that met an object we had not seen.
    Unknown,
}

#[derive(Clone, Debug)]
struct Entry {
    known: Known,
    /// On whose behalf it was written.
    rollout: ObjectKey,
}

type Entries = BTreeMap<(Resource, ObjectKey), Entry>;

#[derive(Debug, Default)]
pub struct OwnWrites {
    entries: Mutex<Entries>,
}

impl OwnWrites {
    pub fn record_version(&self, rollout: &ObjectKey, resource: Resource, key: &ObjectKey, version: &str) {
        self.record(rollout, resource, key, Known::Version(version.to_owned()));
    }

    pub fn record_deleted(&self, rollout: &ObjectKey, resource: Resource, key: &ObjectKey, uid: &str) {
        self.record(rollout, resource, key, Known::Deleted { uid: uid.to_owned() });
    }

    pub fn record_unknown(&self, rollout: &ObjectKey, resource: Resource, key: &ObjectKey) {
        self.record(rollout, resource, key, Known::Unknown);
    }

    /// Whether what a cache shows may be decided on. Forgets a write that the cache has caught up with.
    pub fn trusts(&self, resource: Resource, key: &ObjectKey, cached: Option<&Value>) -> bool {
        let mut entries = self.lock();
        let id = (resource, key.clone());
        let Some(entry) = entries.get(&id) else {
            return true;
        };
        let text = |field| cached.and_then(|object| metadata_text(object, field));
        let trusted = match &entry.known {
            Known::Version(own) => text("resourceVersion").is_some_and(|seen| !is_older_version(seen, own)),
            Known::Deleted { uid } => text("uid") != Some(uid),
            Known::Unknown => false,
        };
        if trusted {
            entries.remove(&id);
        }
        trusted
    }

    /// Objects of a kind written for a Rollout that a cache may not show yet.
    pub fn written_for(&self, rollout: &ObjectKey, resource: Resource) -> Vec<ObjectKey> {
        let entries = self.lock();
        // What a Rollout writes is in its namespace, and the entries are sorted by it.
        let first = (resource, ObjectKey::new(rollout.namespace.clone(), ""));
        let near = entries
            .range(first..)
            .take_while(|((written, key), _)| *written == resource && key.namespace == rollout.namespace);
        near.filter(|(_, entry)| entry.rollout == *rollout)
            .map(|((_, key), _)| key.clone())
            .collect()
    }

    /// A live read supersedes an outcome that was not known, and a write that somebody undid since.
    pub fn note_live(&self, resource: Resource, key: &ObjectKey, live: Option<&Value>) {
        let mut entries = self.lock();
        let id = (resource, key.clone());
        let version = live.and_then(|object| metadata_text(object, "resourceVersion"));
        match (version, entries.get_mut(&id)) {
            (Some(version), Some(entry)) => entry.known = Known::Version(version.to_owned()),
            (None, _) => {
                entries.remove(&id);
            }
            (Some(_), None) => {}
        }
    }

    /// A Rollout that is gone takes its memory with it.
    pub fn forget(&self, rollout: &ObjectKey) {
        self.lock().retain(|_, entry| entry.rollout != *rollout);
    }

    fn record(&self, rollout: &ObjectKey, resource: Resource, key: &ObjectKey, known: Known) {
        let rollout = rollout.clone();
        self.lock()
            .insert((resource, key.clone()), Entry { known, rollout });
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(uid: &str, version: &str) -> Option<Value> {
        Some(json!({"metadata": {"uid": uid, "resourceVersion": version}}))
    }

    #[test]
    fn a_cache_is_trusted_once_it_shows_our_newest_write() {
        let (rollout, key) = (
            ObjectKey::new("shop", "checkout"),
            ObjectKey::new("shop", "checkout-1"),
        );
        type Record = fn(&OwnWrites, &ObjectKey, &ObjectKey);
        let wrote: Record = |own, rollout, key| own.record_version(rollout, Resource::ReplicaSet, key, "10");
        let deleted: Record = |own, rollout, key| own.record_deleted(rollout, Resource::ReplicaSet, key, "u");
        let lost: Record = |own, rollout, key| own.record_unknown(rollout, Resource::ReplicaSet, key);
        let nothing: Record = |_, _, _| ();
        for (case, (record, cached, trusted)) in [
            (nothing, None, true),
            (nothing, object("u", "1"), true),
            (wrote, None, false),
            (wrote, object("u", "9"), false),
            (wrote, object("u", "10"), true),
            (wrote, object("u", "11"), true),
            (deleted, object("u", "11"), false),
            (deleted, object("v", "12"), true),
            (deleted, None, true),
            (lost, object("u", "11"), false),
            (lost, None, false),
        ]
        .into_iter()
        .enumerate()
        {
            let own = OwnWrites::default();
            record(&own, &rollout, &key);
            assert_eq!(
                own.trusts(Resource::ReplicaSet, &key, cached.as_ref()),
                trusted,
                "{case}"
            );
        }
    }

    #[test]
    fn a_live_read_settles_what_was_not_known() {
        let (rollout, key) = (
            ObjectKey::new("shop", "checkout"),
            ObjectKey::new("shop", "checkout-1"),
        );
        let own = OwnWrites::default();
        own.record_unknown(&rollout, Resource::ReplicaSet, &key);
        assert_eq!(
            own.written_for(&rollout, Resource::ReplicaSet),
            std::slice::from_ref(&key)
        );
        own.note_live(Resource::ReplicaSet, &key, object("u", "7").as_ref());
        assert!(!own.trusts(Resource::ReplicaSet, &key, object("u", "6").as_ref()));
        own.note_live(Resource::ReplicaSet, &key, None);
        assert!(own.written_for(&rollout, Resource::ReplicaSet).is_empty());
    }
}

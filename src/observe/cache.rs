//! One sorted store of one kind of object, fed by watch events. They hold what is kept of an object, not the whole of
//! it, because many of them may wait to be taken in.
//!
//! Guarantees: an object is replaced by an older version of itself only when everything is listed anew, and found by
//! its key in sorted order; every event names the keys it changed.
//! Assumes nothing about how fresh it is: that is judged where it is read.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::kept::Kept;
use crate::api::resource::{ObjectKey, Resource, metadata_text};

/// What a watch reports.
#[derive(Clone, Debug)]
pub enum CacheEvent {
    /// Created or changed.
    Applied(Kept),
    Deleted {
        key: ObjectKey,
        uid: String,
    },
    /// A watch of a namespace, or of all if it is empty, begins or begins anew and lists what there is.
    Restarting {
        namespace: String,
    },
    /// Everything there is in a namespace, or in all if it is empty, after the watch began or began anew.
    Restarted {
        namespace: String,
        objects: Vec<Kept>,
    },
}

impl CacheEvent {
    /// [`CacheEvent::Applied`], of an object as the API server sends it; `None` if it has no name.
    pub fn applied(resource: Resource, object: Value) -> Option<Self> {
        Kept::of(resource, object).map(CacheEvent::Applied)
    }

    pub fn deleted(object: &Value) -> Option<Self> {
        Some(CacheEvent::Deleted {
            key: ObjectKey::of(object)?,
            uid: metadata_text(object, "uid").unwrap_or_default().to_owned(),
        })
    }

    /// [`CacheEvent::Restarted`], of objects as the API server sends them.
    pub fn restarted(resource: Resource, namespace: impl Into<String>, objects: Vec<Value>) -> Self {
        let objects = objects
            .into_iter()
            .filter_map(|object| Kept::of(resource, object));
        CacheEvent::Restarted {
            namespace: namespace.into(),
            objects: objects.collect(),
        }
    }
}

#[derive(Debug)]
pub struct Cache {
    resource: Resource,
    objects: BTreeSet<Kept>,
    /// Each Rollout with the name of each object that belongs to it.
    by_rollout: BTreeSet<(ObjectKey, Box<str>)>,
    /// Uids of objects that a live read found gone before the watch said so: late news of them is no news.
    gone: BTreeMap<ObjectKey, String>,
    synced: BTreeSet<String>,
    /// What live reads and answers brought since a list began that is not complete yet: they may be ahead of it.
    listing: BTreeMap<String, BTreeSet<ObjectKey>>,
}

/// An object that came, changed or went.
#[derive(Debug)]
pub struct Change {
    pub key: ObjectKey,
    /// The Rollouts that it belonged to and belongs to now.
    pub rollouts: BTreeSet<ObjectKey>,
}

impl Cache {
    pub fn new(resource: Resource) -> Self {
        Cache {
            resource,
            objects: BTreeSet::new(),
            by_rollout: BTreeSet::new(),
            gone: BTreeMap::new(),
            synced: BTreeSet::new(),
            listing: BTreeMap::new(),
        }
    }

    pub fn get(&self, key: &ObjectKey) -> Option<Value> {
        self.objects.get(key).map(Kept::object)
    }

    /// Keys of the objects that belong to a Rollout.
    pub fn of_rollout(&self, rollout: &ObjectKey) -> BTreeSet<ObjectKey> {
        let first = (rollout.clone(), Box::default());
        let following = self.by_rollout.range(first..);
        let ours = following.take_while(|(owner, _)| owner == rollout);
        ours.map(|(_, name)| ObjectKey::new(rollout.namespace.clone(), &**name))
            .collect()
    }

    /// Whether everything in the namespace (all of them if empty) has been listed once.
    pub fn is_synced(&self, namespace: &str) -> bool {
        self.synced.contains(namespace)
    }

    pub fn take(&mut self, event: CacheEvent) -> Vec<Change> {
        match event {
            CacheEvent::Applied(object) => self.apply(object).into_iter().collect(),
            CacheEvent::Deleted { key, uid } => self.delete(&key, &uid).into_iter().collect(),
            CacheEvent::Restarting { namespace } => {
                self.listing.insert(namespace, BTreeSet::new());
                vec![]
            }
            CacheEvent::Restarted { namespace, objects } => self.restart(namespace, objects),
        }
    }

    /// Takes in what a live read found.
    pub fn heal(&mut self, key: &ObjectKey, live: Option<&Value>) -> Option<Change> {
        let change = match live {
            Some(object) => self.apply(Kept::of(self.resource, object.clone())?),
            None => self.remove_for_good(key),
        };
        let version = live.and_then(|object| metadata_text(object, "resourceVersion"));
        if self.objects.get(key).map(Kept::version) == version {
            let lists = self.listing.iter_mut();
            for (_, healed) in lists.filter(|(namespace, _)| covers(namespace, key)) {
                healed.insert(key.clone());
            }
        }
        change
    }

    /// Takes in how a write of ours left an object. What has gone meanwhile stays gone.
    pub fn hear(&mut self, key: &ObjectKey, answer: &Value) -> Option<Change> {
        let known = self.objects.get(key)?;
        let is_same = metadata_text(answer, "uid") == Some(known.uid());
        if is_same {
            self.heal(key, Some(answer))
        } else {
            None
        }
    }

    fn remove_for_good(&mut self, key: &ObjectKey) -> Option<Change> {
        let uid = self.objects.get(key)?.uid().to_owned();
        self.gone.insert(key.clone(), uid);
        self.remove(key)
    }

    fn delete(&mut self, key: &ObjectKey, uid: &str) -> Option<Change> {
        self.gone.remove(key);
        let same = self.objects.get(key)?.uid() == uid;
        if same { self.remove(key) } else { None }
    }

    fn apply(&mut self, object: Kept) -> Option<Change> {
        let known = self.objects.get(object.key());
        let is_stale = known.is_some_and(|known| object.is_stale_beside(known));
        let is_gone = self.gone.get(object.key()).is_some_and(|uid| uid == object.uid());
        (!is_stale && !is_gone).then(|| self.put(object))
    }

    fn put(&mut self, object: Kept) -> Change {
        let key = object.key().clone();
        let before = self.remove(&key).map(|change| change.rollouts);
        let mut rollouts = before.unwrap_or_default();
        if let Some(rollout) = object.rollout() {
            self.by_rollout
                .insert((rollout.clone(), key.name.as_str().into()));
            rollouts.insert(rollout);
        }
        self.objects.insert(object);
        Change { key, rollouts }
    }

    /// What a list shows is taken even where its version is older: when etcd is restored from a backup, versions go
    /// back, and what was kept would be held against every change to come. Otherwise nothing is ahead of a list but
    /// what was read live since it began.
    fn replace(&mut self, object: Kept) -> Option<Change> {
        let known = self.objects.get(object.key());
        let is_same =
            known.is_some_and(|known| known.uid() == object.uid() && known.version() == object.version());
        (!is_same).then(|| self.put(object))
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Change> {
        let rollout = self.objects.take(key)?.rollout();
        if let Some(rollout) = &rollout {
            self.by_rollout
                .remove(&(rollout.clone(), key.name.as_str().into()));
        }
        Some(Change {
            key: key.clone(),
            rollouts: rollout.into_iter().collect(),
        })
    }

    fn restart(&mut self, namespace: String, objects: Vec<Kept>) -> Vec<Change> {
        let listed: BTreeSet<&ObjectKey> = objects.iter().map(Kept::key).collect();
        let healed = self.listing.remove(&namespace).unwrap_or_default();
        let covered = |key: &&ObjectKey| covers(&namespace, key) && !healed.contains(*key);
        let gone = self
            .objects
            .iter()
            .map(Kept::key)
            .filter(covered)
            .filter(|key| !listed.contains(*key));
        let gone: Vec<ObjectKey> = gone.cloned().collect();
        self.gone.retain(|key, _| !covered(&key));
        let mut changes: Vec<Change> = gone.iter().filter_map(|key| self.remove(key)).collect();
        for object in objects {
            changes.extend(if healed.contains(object.key()) {
                self.apply(object)
            } else {
                self.replace(object)
            });
        }
        self.synced.insert(namespace);
        changes
    }
}

fn covers(namespace: &str, key: &ObjectKey) -> bool {
    namespace.is_empty() || key.namespace == namespace
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(name: &str, uid: &str, version: &str) -> Value {
        json!({"metadata": {"namespace": "shop", "name": name, "uid": uid, "resourceVersion": version}})
    }

    fn applied(name: &str, uid: &str, version: &str) -> CacheEvent {
        CacheEvent::applied(Resource::Service, object(name, uid, version)).unwrap()
    }

    fn deleted(name: &str, uid: &str, version: &str) -> CacheEvent {
        CacheEvent::deleted(&object(name, uid, version)).unwrap()
    }

    fn versions(cache: &Cache) -> Vec<(String, String)> {
        let objects = cache.objects.iter();
        let objects = objects.filter(|object| object.key().namespace == "shop");
        objects
            .map(|object| (object.key().name.clone(), object.version().to_owned()))
            .collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    }

    #[test]
    fn events_change_the_store_and_old_news_does_not() {
        let restarted = |objects| CacheEvent::restarted(Resource::Service, "shop", objects);
        let mut cache = Cache::new(Resource::Service);
        type Row = (CacheEvent, &'static [(&'static str, &'static str)], usize);
        let rows: Vec<Row> = vec![
            (applied("a", "1", "10"), &[("a", "10")], 1),
            (applied("a", "1", "9"), &[("a", "10")], 0),
            (applied("a", "1", "10"), &[("a", "10")], 0),
            (applied("a", "2", "8"), &[("a", "8")], 1),
            (applied("b", "3", "11"), &[("a", "8"), ("b", "11")], 1),
            (deleted("c", "4", "12"), &[("a", "8"), ("b", "11")], 0),
            (deleted("a", "2", "12"), &[("b", "11")], 1),
            (
                restarted(vec![object("b", "3", "11"), object("d", "5", "13")]),
                &[("b", "11"), ("d", "13")],
                1,
            ),
            (restarted(vec![object("d", "5", "13")]), &[("d", "13")], 1),
            (applied("d", "5", "12"), &[("d", "13")], 0),
            // etcd was restored from a backup.
            (restarted(vec![object("d", "5", "7")]), &[("d", "7")], 1),
            (applied("d", "5", "8"), &[("d", "8")], 1),
        ];
        for (event, kept, changes) in rows {
            let shown = format!("{event:?}");
            assert_eq!(cache.take(event).len(), changes, "{shown}");
            assert_eq!(versions(&cache), pairs(kept), "{shown}");
        }
    }

    #[test]
    fn late_news_of_an_object_found_gone_is_no_news() {
        let mut cache = Cache::new(Resource::Service);
        let key = ObjectKey::new("shop", "a");
        cache.take(applied("a", "1", "10"));
        cache.heal(&key, None);
        cache.take(applied("a", "1", "11"));
        assert_eq!(versions(&cache), []);
        cache.take(applied("a", "2", "13"));
        assert_eq!(versions(&cache), pairs(&[("a", "13")]));
        cache.take(deleted("a", "1", "12"));
        assert_eq!(versions(&cache), pairs(&[("a", "13")]));
    }

    #[test]
    fn an_answer_brings_nothing_back() {
        let (mut cache, key) = (Cache::new(Resource::Service), ObjectKey::new("shop", "a"));
        cache.hear(&key, &object("a", "1", "10"));
        assert_eq!(versions(&cache), []);
        cache.take(applied("a", "1", "10"));
        cache.hear(&key, &object("a", "1", "12"));
        cache.take(applied("a", "1", "11"));
        assert_eq!(versions(&cache), pairs(&[("a", "12")]));
        cache.hear(&key, &object("a", "2", "13"));
        assert_eq!(versions(&cache), pairs(&[("a", "12")]), "of another object");
        cache.take(deleted("a", "1", "14"));
        cache.hear(&key, &object("a", "1", "13"));
        assert_eq!(versions(&cache), []);
    }

    #[test]
    fn what_was_read_live_since_a_list_began_is_ahead_of_it() {
        let mut cache = Cache::new(Resource::Service);
        for name in ["a", "b"] {
            cache.take(applied(name, name, "10"));
        }
        cache.heal(&ObjectKey::new("shop", "a"), Some(&object("a", "a", "11")));
        cache.take(CacheEvent::Restarting {
            namespace: String::new(),
        });
        for (name, version) in [("b", "12"), ("c", "13")] {
            cache.heal(&ObjectKey::new("shop", name), Some(&object(name, name, version)));
        }
        cache.take(applied("d", "d", "9"));
        cache.heal(&ObjectKey::new("shop", "d"), None);
        let list = ["a", "b", "d"].map(|name| object(name, name, "9"));
        cache.take(CacheEvent::restarted(Resource::Service, "", list.into()));
        assert_eq!(versions(&cache), pairs(&[("a", "9"), ("b", "12"), ("c", "13")]));
    }

    #[test]
    fn objects_are_found_by_their_rollout_until_they_are_gone() {
        let mut labelled = object("checkout-1", "1", "10");
        labelled["metadata"]["labels"] = json!({"tidegate.dev/rollout": "checkout"});
        let mut cache = Cache::new(Resource::ReplicaSet);
        let (rollout, key) = (
            ObjectKey::new("shop", "checkout"),
            ObjectKey::new("shop", "checkout-1"),
        );
        cache.take(CacheEvent::applied(Resource::ReplicaSet, labelled).unwrap());
        assert_eq!(cache.of_rollout(&rollout), [key].into());
        cache.take(applied("checkout-1", "1", "11"));
        assert_eq!(cache.of_rollout(&rollout), [].into());
    }

    #[test]
    fn a_restart_of_one_namespace_leaves_the_others_alone() {
        let mut cache = Cache::new(Resource::Service);
        cache.take(applied("a", "1", "10"));
        cache.take(CacheEvent::restarted(Resource::Service, "bank", vec![]));
        assert_eq!(versions(&cache), pairs(&[("a", "10")]));
        assert!(cache.is_synced("bank") && !cache.is_synced("shop"));
    }
}

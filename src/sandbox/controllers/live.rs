//! The loop around the step functions: watches fill the caches, changes fill a queue of keys, one key is worked on at
//! a time. What a key needs is looked up by index, so a change costs the same with 10 and with 1,000 Rollouts.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt;
use futures::stream::{BoxStream, StreamExt, select_all};
use kube::api::{ApiResource, DynamicObject};

use super::cache::{Cache, labels, matches};
use super::replica_set::Written;
use super::{Error, endpoint_slice, replica_set, sync_dependent};
use crate::clock::Clock;
use crate::sandbox::queue::Queue;
use crate::sandbox::resource::{Key, endpoint_slices, is_terminating, pods, replica_sets, services};
use crate::sandbox::rng::Rng;
use crate::sandbox::watch::{Event, watch};

const RETRY_AFTER: TimeDelta = TimeDelta::milliseconds(500);

/// Runs the controllers until dropped. Garbage is collected among ReplicaSets, Pods, Services, EndpointSlices and the
/// other kinds given, as dependents and as owners.
pub async fn run(client: kube::Client, clock: Clock, rng: Rng, other_kinds: Vec<ApiResource>) {
    let kinds: Vec<ApiResource> = [pods(), replica_sets(), services(), endpoint_slices()]
        .into_iter()
        .chain(other_kinds)
        .collect();
    let mut events = watch_all(&client, &kinds);
    let mut live = Live::new(client, clock, rng, kinds);
    loop {
        while let Some(Some((kind, event))) = events.next().now_or_never() {
            live.observe(kind, event);
        }
        if live.work_once().await {
            continue;
        }
        let wait = live.queue.until_next(live.clock.now());
        tokio::select! {
            Some((kind, event)) = events.next() => live.observe(kind, event),
            () = tokio::time::sleep(wait.to_std().unwrap_or_default()) => {}
        }
    }
}

fn watch_all(client: &kube::Client, kinds: &[ApiResource]) -> BoxStream<'static, (usize, Event)> {
    let streams = kinds.iter().enumerate();
    select_all(streams.map(|(kind, resource)| watch(client, resource).map(move |event| (kind, event))))
        .boxed()
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    ReplicaSet(Key),
    EndpointSlice(Key),
    /// An object of the kind at this index that may have lost its owners.
    Dependent(usize, Key),
}

/// The kinds without which nothing can be decided, by their index in `kinds`.
const PODS: usize = 0;
const REPLICA_SETS: usize = 1;
const SERVICES: usize = 2;
const ENDPOINT_SLICES: usize = 3;

struct Live {
    client: kube::Client,
    clock: Clock,
    rng: Rng,
    kinds: Vec<ApiResource>,
    synced: BTreeSet<usize>,
    pods: Cache,
    replica_sets: Cache,
    /// By the first pair of their selector: enough to find those that may select a pod.
    services: Cache,
    owners: Owners,
    queue: Queue<Work>,
}

impl Live {
    fn new(client: kube::Client, clock: Clock, rng: Rng, kinds: Vec<ApiResource>) -> Self {
        let first_pair =
            |service: &DynamicObject| endpoint_slice::selector(service).into_iter().take(1).collect();
        Live {
            client,
            clock,
            rng,
            kinds,
            synced: BTreeSet::new(),
            pods: Cache::new(labels),
            replica_sets: Cache::new(|_| Vec::new()),
            services: Cache::new(first_pair),
            owners: Owners::default(),
            queue: Queue::new(),
        }
    }

    /// Takes one event into the caches and queues what it concerns.
    fn observe(&mut self, kind: usize, event: Event) {
        let Event::Changed(key, object) = event else {
            self.synced.insert(kind);
            return;
        };
        for (kind, key) in self.owners.put(kind, &key, object.as_deref()) {
            self.queue.push(Work::Dependent(kind, key));
        }
        match kind {
            PODS => {
                self.queue_concerned_by_pod(&key);
                self.pods.put(&key, object.map(|object| *object));
                self.queue_concerned_by_pod(&key);
            }
            REPLICA_SETS => {
                self.replica_sets.put(&key, object.map(|object| *object));
                self.queue.push(Work::ReplicaSet(key));
            }
            SERVICES => {
                self.services.put(&key, object.map(|object| *object));
                self.queue.push(Work::EndpointSlice(key));
            }
            ENDPOINT_SLICES => {
                // Someone else's change to our slice is put right; our own finds nothing to do.
                let service = object
                    .as_ref()
                    .and_then(|slice| slice.metadata.owner_references.as_ref()?.first());
                if let Some(owner) = service {
                    self.queue
                        .push(Work::EndpointSlice(Key::new(&key.namespace, &owner.name)));
                }
            }
            _ => {}
        }
    }

    /// Queues the owner of a pod and the Services that select it, as the pod is known now.
    fn queue_concerned_by_pod(&mut self, key: &Key) {
        let Some(pod) = self.pods.get(key) else { return };
        for owner in pod
            .metadata
            .owner_references
            .iter()
            .flatten()
            .filter(|owner| owner.kind == "ReplicaSet")
        {
            self.queue
                .push(Work::ReplicaSet(Key::new(&key.namespace, &owner.name)));
        }
        for pair in labels(pod) {
            for service in self.services.at(&key.namespace, pair) {
                if matches(&endpoint_slice::selector(service), pod) {
                    self.queue.push(Work::EndpointSlice(Key::of(service)));
                }
            }
        }
    }

    /// Works on the next key; false when there is none or the first lists are not complete yet.
    async fn work_once(&mut self) -> bool {
        if !(PODS..=ENDPOINT_SLICES).all(|kind| self.synced.contains(&kind)) {
            return false;
        }
        let now = self.clock.now();
        let Some(work) = self.queue.pop(now) else {
            return false;
        };
        match self.work(&work, now).await {
            Ok(Some(wait)) => self.queue.push_at(now + wait, work),
            Ok(None) => {}
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::debug!(%error, ?cause, "trying again");
                self.queue.push_at(now + RETRY_AFTER, work);
            }
        }
        true
    }

    async fn work(&mut self, work: &Work, now: DateTime<Utc>) -> Result<Option<TimeDelta>, Error> {
        match work {
            Work::ReplicaSet(key) => self.sync_replica_set(key, now).await,
            Work::EndpointSlice(key) => {
                let Some(service) = self.services.get(key) else {
                    return Ok(None);
                };
                let pods = self
                    .pods
                    .select(&key.namespace, &endpoint_slice::selector(service));
                endpoint_slice::reconcile(&self.client, service, &pods)
                    .await
                    .map(|()| None)
            }
            Work::Dependent(kind, key) => {
                let Some(resource) = self.kinds.get(*kind) else {
                    return Ok(None);
                };
                sync_dependent(&self.client, &self.kinds, resource, key)
                    .await
                    .map(|()| None)
            }
        }
    }

    async fn sync_replica_set(&mut self, key: &Key, now: DateTime<Utc>) -> Result<Option<TimeDelta>, Error> {
        let Some(object) = self.replica_sets.get(key) else {
            return Ok(None);
        };
        let candidates = self.pods.select(&key.namespace, &replica_set::selector(object));
        let mut written = Vec::new();
        let result = replica_set::reconcile(
            &self.client,
            object,
            &candidates,
            now,
            &mut self.rng,
            &mut written,
        )
        .await;
        // Our own writes count at once: the next look at this ReplicaSet must not repeat them.
        for write in written {
            match write {
                Written::Put(pod) => self.pods.put(&Key::of(&pod), Some(*pod)),
                Written::Deleted(pod) => self.pods.put(&pod, None),
            }
        }
        result
    }
}

/// Who depends on whom, by uid.
#[derive(Default)]
struct Owners {
    uids: BTreeMap<(usize, Key), String>,
    alive: BTreeMap<String, (usize, Key)>,
    owners_of: BTreeMap<(usize, Key), Vec<String>>,
    dependents_of: BTreeMap<String, BTreeSet<(usize, Key)>>,
}

impl Owners {
    /// Takes an object's new state and answers who is to be looked at: whose owners may be gone by it, what is being
    /// deleted, and who may have waited for its end.
    fn put(&mut self, kind: usize, key: &Key, object: Option<&DynamicObject>) -> Vec<(usize, Key)> {
        let at = (kind, key.clone());
        let uid = object.and_then(|object| object.metadata.uid.clone());
        let owners = object
            .and_then(|object| object.metadata.owner_references.as_ref())
            .into_iter()
            .flatten();
        let owners: Vec<String> = owners.map(|owner| owner.uid.clone()).collect();
        let mut doubtful = Vec::new();
        let replaced = self
            .uids
            .get(&at)
            .filter(|known| Some(*known) != uid.as_ref())
            .cloned();
        if let Some(gone) = replaced {
            self.alive.remove(&gone);
            doubtful.extend(self.dependents_of.get(&gone).into_iter().flatten().cloned());
        }
        for owner in self.owners_of.remove(&at).unwrap_or_default() {
            if let Some(dependents) = self.dependents_of.get_mut(&owner) {
                dependents.remove(&at);
            }
            // It may wait for this one to go.
            doubtful.extend(self.alive.get(&owner).filter(|_| uid.is_none()).cloned());
        }
        self.uids.remove(&at);
        let Some(uid) = uid else { return doubtful };
        let is_deleting = object.is_some_and(is_terminating);
        if is_deleting || !owners.iter().all(|owner| self.alive.contains_key(owner)) {
            doubtful.push(at.clone());
        }
        for owner in &owners {
            self.dependents_of
                .entry(owner.clone())
                .or_default()
                .insert(at.clone());
        }
        self.alive.insert(uid.clone(), at.clone());
        self.uids.insert(at.clone(), uid);
        self.owners_of.insert(at, owners);
        doubtful
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(name: &str, uid: &str, owners: &[&str]) -> DynamicObject {
        let owners: Vec<_> = owners
            .iter()
            .map(|uid| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "owner", "uid": uid}))
            .collect();
        let metadata = json!({"name": name, "namespace": "shop", "uid": uid, "ownerReferences": owners});
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})).unwrap()
    }

    fn doubtful(owners: &mut Owners, kind: usize, name: &str, object: Option<DynamicObject>) -> Vec<String> {
        let found = owners.put(kind, &Key::new("shop", name), object.as_ref());
        found.into_iter().map(|(_, key)| key.name).collect()
    }

    #[test]
    fn dependents_are_doubted_when_their_owner_goes_or_is_replaced_and_only_then() {
        for successor in [None, Some(object("owner", "2", &[]))] {
            let mut owners = Owners::default();
            let pod = || Some(object("pod", "p", &["1"]));
            assert_eq!(
                doubtful(&mut owners, PODS, "pod", pod()),
                ["pod"],
                "the owner is not known yet"
            );
            assert!(
                doubtful(
                    &mut owners,
                    REPLICA_SETS,
                    "owner",
                    Some(object("owner", "1", &[]))
                )
                .is_empty()
            );
            assert!(doubtful(&mut owners, PODS, "pod", pod()).is_empty());
            assert!(
                doubtful(
                    &mut owners,
                    REPLICA_SETS,
                    "owner",
                    Some(object("owner", "1", &[]))
                )
                .is_empty()
            );
            assert_eq!(doubtful(&mut owners, REPLICA_SETS, "owner", successor), ["pod"]);
            assert!(doubtful(&mut owners, PODS, "pod", None).is_empty());
        }
    }
}

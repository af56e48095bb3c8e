//! All caches together, and who must look again when one of them changes.
//!
//! Fed by the watches in a cluster and by a simulation directly, one event to one cache at a time, so that each
//! of them can lag behind on its own.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Notify;

use super::cache::{Cache, CacheEvent, Change};
use crate::api::resource::{ObjectKey, Resource, metadata_text};
use crate::api::rollout_status::RolloutStatus;
use crate::plan::needs::{asked_for, needs};
use crate::plan::snapshot::Claim;

/// Something to reconcile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    Rollout(ObjectKey),
    Run(ObjectKey),
}

impl Work {
    pub fn key(&self) -> &ObjectKey {
        match self {
            Work::Rollout(key) | Work::Run(key) => key,
        }
    }
}

/// Who must look again, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wake {
    pub work: Work,
    pub cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// A person or an alert asks for something.
    Command,
    /// Traffic is to be taken back: an analysis has failed, or an abort is under way.
    Safety,
    /// The object itself changed.
    Itself,
    /// It is a Rollout at rest with another version to release, or a new one.
    Begins,
    /// Something it depends on changed.
    Dependency,
}

impl Cause {
    /// Whether the object itself is another one than before, for whatever reason.
    pub fn is_itself(self) -> bool {
        matches!(self, Cause::Itself | Cause::Begins)
    }
}

#[derive(Debug, Default)]
pub struct Stores {
    inner: Mutex<Inner>,
    healed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// Wakes of live reads and of answers to writes, until somebody asks for them.
    unheard: BTreeSet<Wake>,
    caches: BTreeMap<Resource, Cache>,
    /// Rollouts whose traffic is being taken back.
    on_their_way_back: BTreeSet<ObjectKey>,
    named: BTreeMap<ObjectKey, Named>,
    /// Each object that is named, with the name of each Rollout of its namespace that names it.
    named_by: BTreeSet<(Resource, ObjectKey, Box<str>)>,
}

/// What a Rollout names, in its own namespace.
#[derive(Debug, Default)]
struct Named {
    objects: Box<[(Resource, Box<str>)]>,
    has_templates: bool,
    /// A digest of its pod template.
    template: u64,
}

impl Named {
    fn of(rollout: &Value) -> Self {
        let needs = needs(rollout);
        Named {
            objects: needs
                .named()
                .map(|(resource, name)| (resource, name.into()))
                .collect(),
            has_templates: !needs.templates.is_empty(),
            template: digest(rollout.pointer("/spec/template")),
        }
    }
}

impl Stores {
    /// Takes in what a watch reported; says who must look again.
    pub fn take(&self, resource: Resource, event: CacheEvent) -> BTreeSet<Wake> {
        let mut inner = self.lock();
        let changes = inner.cache(resource).take(event);
        changes
            .iter()
            .flat_map(|change| inner.note(resource, change))
            .collect()
    }

    /// Takes in what a live read found. Whoever reads it knows already, but others depend on it too, and what the
    /// watch has to say about it will be no news any more: [`Stores::take_unheard`] tells who must look again.
    pub fn heal(&self, resource: Resource, key: &ObjectKey, live: Option<&Value>) {
        self.note_beside_watch(resource, |cache| cache.heal(key, live));
    }

    /// [`Stores::heal`], by the answer to a write of ours.
    pub fn hear(&self, resource: Resource, key: &ObjectKey, answer: &Value) {
        self.note_beside_watch(resource, |cache| cache.hear(key, answer));
    }

    fn note_beside_watch(&self, resource: Resource, take: impl FnOnce(&mut Cache) -> Option<Change>) {
        let mut inner = self.lock();
        if let Some(change) = take(inner.cache(resource)) {
            let wakes = inner.note(resource, &change);
            inner.unheard.extend(wakes);
            self.healed.notify_one();
        }
    }

    /// Waits until a live read or an answer has told something that the watches had not.
    pub async fn healed(&self) {
        self.healed.notified().await;
    }

    /// Who must look again because of what live reads and answers told.
    pub fn take_unheard(&self) -> BTreeSet<Wake> {
        std::mem::take(&mut self.lock().unheard)
    }

    /// Everything but these kinds is read live again until it has been listed anew.
    pub fn forget_all_but(&self, kept: &[Resource]) {
        self.lock().caches.retain(|resource, _| kept.contains(resource));
    }

    pub fn get(&self, resource: Resource, key: &ObjectKey) -> Option<Value> {
        self.lock().caches.get(&resource)?.get(key)
    }

    pub fn of_rollout(&self, resource: Resource, rollout: &ObjectKey) -> BTreeSet<ObjectKey> {
        let inner = self.lock();
        let cache = inner.caches.get(&resource);
        cache.map(|cache| cache.of_rollout(rollout)).unwrap_or_default()
    }

    pub fn is_synced(&self, resource: Resource, namespace: &str) -> bool {
        let inner = self.lock();
        inner
            .caches
            .get(&resource)
            .is_some_and(|cache| cache.is_synced(namespace))
    }

    /// Whether a watch keeps what there is in a namespace up to date, or will: what is listed by owner is watched
    /// from the beginning, the rest only once some Rollout names it.
    pub fn keeps(&self, resource: Resource, namespace: &str) -> bool {
        match resource {
            Resource::EndpointSlice => false,
            Resource::Service | Resource::Ingress | Resource::HttpRoute => {
                self.is_synced(resource, namespace) || self.is_synced(resource, "")
            }
            _ => true,
        }
    }

    /// Kinds that some Rollout names an object of.
    pub fn named_kinds(&self) -> BTreeSet<Resource> {
        let inner = self.lock();
        // Looked up, not walked through: this is asked after every event of every Rollout.
        let is_named = |kind: &Resource| {
            let first = (*kind, ObjectKey::default(), Box::default());
            let mut following = inner.named_by.range(first..);
            following.next().is_some_and(|(found, ..)| found == kind)
        };
        let kinds = [Resource::Service, Resource::Ingress, Resource::HttpRoute];
        kinds.into_iter().filter(is_named).collect()
    }

    /// Objects the spec of this Rollout names that the spec of an older one names as well: the oldest keeps them.
    pub fn claims(&self, rollout: &Value) -> Vec<Claim> {
        let inner = self.lock();
        let Some(key) = ObjectKey::of(rollout) else {
            return vec![];
        };
        let ours = asked_for(rollout);
        let claims = ours.named().filter_map(|(resource, name)| {
            let object = ObjectKey::new(key.namespace.clone(), name);
            let others = inner.naming(resource, &object).filter(|rival| *rival != key);
            let older = others
                .filter_map(|rival| inner.caches.get(&Resource::Rollout)?.get(&rival))
                .filter(|rival| seniority(rival) < seniority(rollout))
                .filter(|rival| asked_for(rival).named().any(|asked| asked == (resource, name)));
            let oldest = older.min_by(|left, right| seniority(left).cmp(&seniority(right)))?;
            Some(Claim {
                kind: resource.kind().to_owned(),
                name: name.to_owned(),
                rollout: metadata_text(&oldest, "name")?.to_owned(),
            })
        });
        claims.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The order in which Rollouts came; Kubernetes writes times so that their text sorts as they do.
fn seniority(rollout: &Value) -> (&str, &str) {
    let text = |field| metadata_text(rollout, field).unwrap_or_default();
    (text("creationTimestamp"), text("name"))
}

impl Inner {
    fn cache(&mut self, resource: Resource) -> &mut Cache {
        self.caches
            .entry(resource)
            .or_insert_with(|| Cache::new(resource))
    }

    fn note(&mut self, resource: Resource, change: &Change) -> Vec<Wake> {
        let mut wakes = self.wakes(resource, change);
        for wake in &mut wakes {
            if let (Work::Rollout(key), Cause::Dependency) = (&wake.work, wake.cause)
                && self.on_their_way_back.contains(key)
            {
                wake.cause = Cause::Safety;
            }
        }
        wakes
    }

    fn wakes(&mut self, resource: Resource, change: &Change) -> Vec<Wake> {
        match resource {
            Resource::Rollout => self.note_rollout(change),
            Resource::AnalysisRun => {
                let itself = wake(Work::Run(change.key.clone()), Cause::Itself);
                let run = self.cache(resource).get(&change.key);
                let cause = match run.as_ref().is_some_and(takes_traffic_back) {
                    true => Cause::Safety,
                    false => Cause::Dependency,
                };
                rollouts_of(change, cause).chain([itself]).collect()
            }
            Resource::RolloutCommand => {
                let command = self.cache(resource).get(&change.key);
                let cause = match command.as_ref().is_some_and(is_open) {
                    true => Cause::Command,
                    false => Cause::Dependency,
                };
                rollouts_of(change, cause).collect()
            }
            Resource::AnalysisTemplate | Resource::ClusterAnalysisTemplate => {
                self.judged_in(&change.key.namespace)
            }
            _ => {
                let naming = self.naming(resource, &change.key);
                let naming = naming.map(|rollout| wake(Work::Rollout(rollout), Cause::Dependency));
                naming.chain(rollouts_of(change, Cause::Dependency)).collect()
            }
        }
    }

    /// Others that name the same objects look again when a Rollout lets go of them: the next oldest keeps them.
    fn note_rollout(&mut self, change: &Change) -> Vec<Wake> {
        let known = self.named.remove(&change.key);
        let template_before = known.as_ref().map(|named| named.template);
        let before = known.unwrap_or_default();
        let rollout = self.cache(Resource::Rollout).get(&change.key);
        let after = rollout.as_ref().map(Named::of);
        let kept = after.iter().flat_map(|named| named.objects.iter().cloned());
        let kept: BTreeSet<(Resource, Box<str>)> = kept.collect();
        let ObjectKey { namespace, name } = &change.key;
        let id = |(resource, object): (Resource, Box<str>)| {
            (
                resource,
                ObjectKey::new(namespace.clone(), object),
                name.as_str().into(),
            )
        };
        let is_new = after.as_ref().map(|named| named.template) != template_before;
        let begins = is_new && rollout.as_ref().is_some_and(releases_nothing);
        let cause = if begins { Cause::Begins } else { Cause::Itself };
        let mut wakes = vec![wake(Work::Rollout(change.key.clone()), cause)];
        if rollout.as_ref().is_some_and(is_on_its_way_back) {
            self.on_their_way_back.insert(change.key.clone());
            wakes.push(wake(Work::Rollout(change.key.clone()), Cause::Safety));
        } else {
            self.on_their_way_back.remove(&change.key);
        }
        for object in before.objects.into_iter().filter(|object| !kept.contains(object)) {
            let id = id(object);
            self.named_by.remove(&id);
            let others = self.naming(id.0, &id.1);
            wakes.extend(others.map(|other| wake(Work::Rollout(other), Cause::Dependency)));
        }
        self.named_by.extend(kept.into_iter().map(id));
        if let Some(after) = after {
            self.named.insert(change.key.clone(), after);
        }
        wakes
    }

    /// Rollouts that name an object.
    fn naming(&self, resource: Resource, object: &ObjectKey) -> impl Iterator<Item = ObjectKey> {
        let first = (resource, object.clone(), Box::default());
        let following = self.named_by.range(first..);
        let naming = following.take_while(move |(kind, named, _)| *kind == resource && named == object);
        naming.map(|(_, object, rollout)| ObjectKey::new(object.namespace.clone(), &**rollout))
    }

    /// Rollouts that name templates; templates may name others in turn, so any of them may depend on any.
    fn judged_in(&self, namespace: &str) -> Vec<Wake> {
        let here = |key: &ObjectKey| namespace.is_empty() || key.namespace == namespace;
        let judged = self
            .named
            .iter()
            .filter(|(key, named)| here(key) && named.has_templates);
        judged
            .map(|(key, _)| wake(Work::Rollout(key.clone()), Cause::Dependency))
            .collect()
    }
}

fn wake(work: Work, cause: Cause) -> Wake {
    Wake { work, cause }
}

/// A run whose verdict ends the release.
fn takes_traffic_back(run: &Value) -> bool {
    let verdict = run.pointer("/status/phase").and_then(Value::as_str);
    matches!(verdict, Some("Failed" | "Error"))
}

/// A command that has no answer yet.
pub fn is_open(command: &Value) -> bool {
    command.pointer("/status/phase").is_none()
}

/// An aborted Rollout whose new version still has traffic.
fn is_on_its_way_back(rollout: &Value) -> bool {
    let status = rollout.get("status");
    let aborted = status.filter(|status| status.get("abort") == Some(&Value::Bool(true)));
    let aborted = aborted.and_then(|status| RolloutStatus::deserialize(status).ok());
    aborted.is_some_and(|status| !status.spares_current())
}

/// Whatever its spec says by now.
fn releases_nothing(rollout: &Value) -> bool {
    let status = |field| rollout.pointer(field);
    let current = status("/status/currentPodHash");
    rollout.get("status").is_none()
        || status("/status/phase").and_then(Value::as_str) == Some("Healthy")
            && current == status("/status/stableRS")
}

fn digest(template: Option<&Value>) -> u64 {
    let mut hasher = DefaultHasher::new();
    template.hash(&mut hasher);
    hasher.finish()
}

/// The Rollouts that an object belonged to and belongs to now.
fn rollouts_of(change: &Change, cause: Cause) -> impl Iterator<Item = Wake> {
    let rollouts = change.rollouts.iter().cloned();
    rollouts.map(move |key| wake(Work::Rollout(key), cause))
}

#[cfg(test)]
mod tests;

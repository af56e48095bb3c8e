//! All caches together, and who must look again when one of them changes.
//!
//! Fed by the watches in a cluster and by a simulation directly, one event to one cache at a time, so that each
//! of them can lag behind on its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::Notify;

use super::cache::{Cache, CacheEvent, Change};
use crate::api::resource::{ObjectKey, Resource, metadata_text};
use crate::plan::needs::{Needs, asked_for, needs};
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
    /// Something it depends on changed.
    Dependency,
}

#[derive(Debug, Default)]
pub struct Stores {
    inner: Mutex<Inner>,
    healed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// Wakes of live reads, until somebody asks for them.
    unheard: BTreeSet<Wake>,
    caches: BTreeMap<Resource, Cache>,
    needs: BTreeMap<ObjectKey, Needs>,
    named_by: BTreeMap<(Resource, ObjectKey), BTreeSet<ObjectKey>>,
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
        let mut inner = self.lock();
        if let Some(change) = inner.cache(resource).heal(key, live) {
            let wakes = inner.note(resource, &change);
            inner.unheard.extend(wakes);
            self.healed.notify_one();
        }
    }

    /// Waits until a live read has found something that the watches had not told.
    pub async fn healed(&self) {
        self.healed.notified().await;
    }

    /// Who must look again because of what live reads found.
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
            let mut following = inner.named_by.range((*kind, ObjectKey::default())..);
            following.next().is_some_and(|((found, _), _)| found == kind)
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
            let rivals = inner.named_by.get(&(resource, object))?.iter();
            let others = rivals.filter(|rival| **rival != key);
            let older = others
                .filter_map(|rival| inner.caches.get(&Resource::Rollout)?.get(rival))
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
            Resource::RolloutCommand => rollouts_of(change, Cause::Command).collect(),
            Resource::AnalysisTemplate | Resource::ClusterAnalysisTemplate => {
                self.judged_in(&change.key.namespace)
            }
            _ => {
                let named_by = self.named_by.get(&(resource, change.key.clone()));
                let naming = named_by.into_iter().flatten();
                let naming = naming.map(|rollout| wake(Work::Rollout(rollout.clone()), Cause::Dependency));
                naming.chain(rollouts_of(change, Cause::Dependency)).collect()
            }
        }
    }

    /// Others that name the same objects look again when a Rollout lets go of them: the next oldest keeps them.
    fn note_rollout(&mut self, change: &Change) -> Vec<Wake> {
        let before = self.needs.remove(&change.key).unwrap_or_default();
        let rollout = self.cache(Resource::Rollout).get(&change.key);
        let after = rollout.as_ref().map(needs);
        let id = |(resource, name)| (resource, ObjectKey::new(change.key.namespace.clone(), name));
        let kept: BTreeSet<_> = after.iter().flat_map(Needs::named).map(id).collect();
        let mut wakes = vec![wake(Work::Rollout(change.key.clone()), Cause::Itself)];
        if rollout.as_ref().is_some_and(is_on_its_way_back) {
            wakes.push(wake(Work::Rollout(change.key.clone()), Cause::Safety));
        }
        for id in before.named().map(id).filter(|id| !kept.contains(id)) {
            let Some(rollouts) = self.named_by.get_mut(&id) else {
                continue;
            };
            rollouts.remove(&change.key);
            let others = rollouts.iter().cloned();
            wakes.extend(others.map(|other| wake(Work::Rollout(other), Cause::Dependency)));
            if rollouts.is_empty() {
                self.named_by.remove(&id);
            }
        }
        for id in kept {
            self.named_by.entry(id).or_default().insert(change.key.clone());
        }
        if let Some(after) = after {
            self.needs.insert(change.key.clone(), after);
        }
        wakes
    }

    /// Rollouts that name templates; templates may name others in turn, so any of them may depend on any.
    fn judged_in(&self, namespace: &str) -> Vec<Wake> {
        let here = |key: &ObjectKey| namespace.is_empty() || key.namespace == namespace;
        let judged = self
            .needs
            .iter()
            .filter(|(key, needs)| here(key) && !needs.templates.is_empty());
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

/// An aborted Rollout whose canary still has weight.
fn is_on_its_way_back(rollout: &Value) -> bool {
    let status = |pointer| rollout.pointer(pointer);
    let weight = status("/status/canary/weights/canary/weight").and_then(Value::as_i64);
    status("/status/abort") == Some(&Value::Bool(true)) && weight.is_some_and(|weight| weight > 0)
}

/// The Rollouts that an object belonged to and belongs to now.
fn rollouts_of(change: &Change, cause: Cause) -> impl Iterator<Item = Wake> {
    let rollouts = change.rollouts.iter().cloned();
    rollouts.map(move |key| wake(Work::Rollout(key), cause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rollout(name: &str, created: &str, service: &str) -> Value {
        json!({
            "metadata": {
                "namespace": "shop", "name": name, "uid": name, "resourceVersion": "1",
                "creationTimestamp": created,
            },
            "spec": {"strategy": {"canary": {
                "stableService": service,
                "analysis": {"templates": [{"templateName": "errors"}]},
            }}},
        })
    }

    fn named(name: &str) -> Value {
        json!({"metadata": {"namespace": "shop", "name": name, "uid": name, "resourceVersion": "1"}})
    }

    fn woken(wakes: BTreeSet<Wake>) -> Vec<(String, Cause)> {
        wakes
            .into_iter()
            .map(|wake| (wake.work.key().name.clone(), wake.cause))
            .collect()
    }

    fn stores() -> Stores {
        let stores = Stores::default();
        for (name, created, service) in [
            ("a", "2026-01-02T00:00:00Z", "web"),
            ("b", "2026-01-01T00:00:00Z", "web"),
        ] {
            stores.take(
                Resource::Rollout,
                CacheEvent::Applied(rollout(name, created, service)),
            );
        }
        stores
    }

    #[test]
    fn a_change_wakes_those_it_concerns() {
        let mut command = named("c");
        command["spec"] = json!({"rollout": "a"});
        let mut replica_set = named("a-1");
        replica_set["metadata"]["labels"] = json!({"tidegate.dev/rollout": "a"});
        let mut run = named("a-run");
        run["metadata"]["labels"] = json!({"tidegate.dev/rollout": "a"});
        for (resource, object, expected) in [
            (
                Resource::Service,
                named("web"),
                vec![("a", Cause::Dependency), ("b", Cause::Dependency)],
            ),
            (Resource::Service, named("other"), vec![]),
            (Resource::ReplicaSet, replica_set, vec![("a", Cause::Dependency)]),
            (
                Resource::AnalysisRun,
                run,
                vec![("a", Cause::Dependency), ("a-run", Cause::Itself)],
            ),
            (Resource::RolloutCommand, command, vec![("a", Cause::Command)]),
            (
                Resource::AnalysisTemplate,
                named("nested"),
                vec![("a", Cause::Dependency), ("b", Cause::Dependency)],
            ),
        ] {
            let stores = stores();
            let expected: Vec<(String, Cause)> =
                expected.into_iter().map(|(n, c)| (n.to_owned(), c)).collect();
            assert_eq!(
                woken(stores.take(resource, CacheEvent::Applied(object))),
                expected,
                "{resource}"
            );
        }
    }

    #[test]
    fn what_takes_traffic_back_is_urgent() {
        let run = |phase: &str| {
            let mut run = named("a-run");
            run["metadata"]["labels"] = json!({"tidegate.dev/rollout": "a"});
            run["status"] = json!({"phase": phase});
            run
        };
        let aborted = |weight: i64| {
            let mut rollout = rollout("a", "2026-01-02T00:00:00Z", "web");
            rollout["metadata"]["resourceVersion"] = json!("2");
            rollout["status"] = json!({"abort": true, "canary": {"weights": {"canary": {"weight": weight}}}});
            rollout
        };
        for (resource, object, expected) in [
            (Resource::AnalysisRun, run("Failed"), true),
            (Resource::AnalysisRun, run("Error"), true),
            (Resource::AnalysisRun, run("Running"), false),
            (Resource::AnalysisRun, run("Successful"), false),
            (Resource::Rollout, aborted(10), true),
            (Resource::Rollout, aborted(0), false),
        ] {
            let wakes = woken(stores().take(resource, CacheEvent::Applied(object.clone())));
            let is_urgent = wakes.contains(&("a".to_owned(), Cause::Safety));
            assert_eq!(is_urgent, expected, "{object}");
        }
    }

    #[test]
    fn what_a_live_read_finds_first_still_wakes_those_who_depend_on_it() {
        let stores = stores();
        let mut run = named("a-run");
        run["metadata"]["labels"] = json!({"tidegate.dev/rollout": "a"});
        let key = ObjectKey::new("shop", "a-run");
        stores.heal(Resource::AnalysisRun, &key, Some(&run));
        let late = stores.take(Resource::AnalysisRun, CacheEvent::Applied(run));
        assert_eq!(woken(late), [], "no news");
        let expected = [
            ("a".to_owned(), Cause::Dependency),
            ("a-run".to_owned(), Cause::Itself),
        ];
        assert_eq!(woken(stores.take_unheard()), expected);
        assert_eq!(woken(stores.take_unheard()), [], "once");
    }

    #[test]
    fn only_what_a_watch_keeps_up_to_date_is_kept() {
        let stores = stores();
        assert!(!stores.keeps(Resource::HttpRoute, "shop") && !stores.keeps(Resource::EndpointSlice, "shop"));
        assert!(stores.keeps(Resource::ReplicaSet, "shop"));
        let listed = |namespace: &str| CacheEvent::restarted(Resource::HttpRoute, namespace, vec![]);
        stores.take(Resource::HttpRoute, listed("shop"));
        assert!(stores.keeps(Resource::HttpRoute, "shop") && !stores.keeps(Resource::HttpRoute, "bank"));
        stores.take(Resource::HttpRoute, listed(""));
        assert!(stores.keeps(Resource::HttpRoute, "bank"));
    }

    #[test]
    fn the_oldest_rollout_keeps_what_two_of_them_name() {
        let stores = stores();
        let claim = |name: &str, created: &str| stores.claims(&rollout(name, created, "web"));
        let younger = claim("a", "2026-01-02T00:00:00Z");
        assert_eq!(younger.len(), 1);
        assert_eq!(
            (younger[0].kind.as_str(), younger[0].rollout.as_str()),
            ("Service", "b")
        );
        assert!(claim("b", "2026-01-01T00:00:00Z").is_empty());
    }

    #[test]
    fn what_is_only_remembered_is_no_claim() {
        let remembers = |name: &str, created: &str, service: &str, remembered: &str| {
            let mut rollout = rollout(name, created, service);
            rollout["status"] = json!({"canary": {"routing": {"stableService": remembered}}});
            rollout
        };
        let claims = |older: Value, younger: Value| {
            let stores = Stores::default();
            stores.take(Resource::Rollout, CacheEvent::Applied(older));
            stores.take(Resource::Rollout, CacheEvent::Applied(younger.clone()));
            stores.claims(&younger)
        };
        let (first, second) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        // The younger gives back what the older now asks for, and the other way round.
        let gives_back = claims(rollout("b", first, "web"), remembers("a", second, "shop", "web"));
        assert_eq!(gives_back, []);
        let takes_over = claims(remembers("b", first, "shop", "web"), rollout("a", second, "web"));
        assert_eq!(takes_over, []);
    }

    #[test]
    fn those_who_wait_for_a_claim_look_again_when_it_goes() {
        let stores = stores();
        let gone = rollout("b", "2026-01-01T00:00:00Z", "web");
        let wakes = woken(stores.take(Resource::Rollout, CacheEvent::Deleted(gone)));
        assert_eq!(
            wakes,
            [
                ("a".to_owned(), Cause::Dependency),
                ("b".to_owned(), Cause::Itself)
            ]
        );
    }

    #[test]
    fn kinds_are_named_only_while_a_rollout_names_them() {
        let stores = stores();
        assert_eq!(stores.named_kinds(), [Resource::Service].into());
        for name in ["a", "b"] {
            let gone = rollout(name, "", "web");
            stores.take(Resource::Rollout, CacheEvent::Deleted(gone));
        }
        assert_eq!(stores.named_kinds(), [].into());
    }
}

//! The state of the sandbox's API server and every rule about it, without clock, IO or threads.
//!
//! [`Store::handle`] answers one request; a watch is answered by [`Store::watch`], one batch of changes at a
//! time. Guarantees: the same seed and the same requests at the same times give the same answers byte for
//! byte; every change gets its own resourceVersion and is in the log of its collection; an update that changes
//! nothing commits nothing. Objects are shared as `Arc<Value>`.

mod admit;
mod answer;
mod binding;
mod body;
mod builtin;
mod cel;
mod cel_scope;
mod collection;
mod crd;
mod delete;
mod discovery;
mod event_form;
mod eviction;
mod json_path;
mod meta;
mod patch;
mod read;
mod refusal;
mod registry;
mod request;
mod scale;
mod selector;
mod table;
mod watch;
mod workload;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::sandbox::rng::Rng;

pub use answer::{ApiResponse, Body, Commit};
pub use collection::{Event, ObjectKey, TooOld};
pub use refusal::{Refusal, failure_status};
pub use registry::Resource;
pub use request::{ApiRequest, Target, Verb};
pub use watch::{Watch, WatchBatch};

use collection::Collection;
use registry::Registry;

/// All objects, all kinds.
#[derive(Debug)]
pub struct Store {
    registry: Registry,
    collections: BTreeMap<String, Collection>,
    version: u64,
    rng: Rng,
}

/// One request on its way through the store: what is asked, of which resource, and what came of it so far.
struct Call<'a> {
    now: DateTime<Utc>,
    request: &'a ApiRequest,
    target: &'a Target,
    resource: Arc<Resource>,
    /// The body as read; null when there is none.
    body: Arc<Value>,
    had_resource_version: bool,
    had_uid: bool,
    warnings: Vec<String>,
    commits: Vec<Commit>,
}

impl Call<'_> {
    fn key(&self) -> ObjectKey {
        ObjectKey::new(
            self.target.namespace.as_deref().unwrap_or_default(),
            self.target.name.as_deref().unwrap_or_default(),
        )
    }

    /// Options in the body of a deletion are all there is: its query is not looked at.
    fn is_dry_run(&self) -> bool {
        match self.body.get("dryRun") {
            _ if !matches!(self.request.verb, Verb::Delete | Verb::DeleteCollection)
                || self.body.is_null() =>
            {
                self.request.is_dry_run()
            }
            asked => asked
                .and_then(Value::as_array)
                .is_some_and(|asked| !asked.is_empty()),
        }
    }

    fn subject(&self) -> refusal::Subject<'_> {
        self.resource
            .subject(self.target.name.as_deref().unwrap_or_default())
    }
}

impl Store {
    /// An empty cluster with the namespaces `default` and `kube-system`.
    pub fn new(seed: u64, now: DateTime<Utc>) -> Self {
        let mut store = Store {
            registry: Registry::built_in(),
            collections: BTreeMap::new(),
            version: 0,
            rng: Rng::new(seed),
        };
        for name in ["default", "kube-system"] {
            let mut request = ApiRequest::new("POST", "/api/v1/namespaces");
            request.body = json!({"metadata": {"name": name}}).to_string().into_bytes();
            store.handle(now, &request);
        }
        store
    }

    /// The same cluster once more, and independent of this one: uids and names to come are made from `seed`.
    pub fn copy(&self, seed: u64) -> Self {
        Store {
            registry: self.registry.clone(),
            collections: self.collections.clone(),
            version: self.version,
            rng: Rng::new(seed),
        }
    }

    /// Installs a CustomResourceDefinition, or replaces it, as `kubectl apply` of its file would.
    pub fn install_crd(&mut self, now: DateTime<Utc>, definition: Value) -> Result<(), Refusal> {
        const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let name = definition
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let exists = self.get("CustomResourceDefinition", "", name).is_some();
        let mut request = if exists {
            ApiRequest::new("PUT", &format!("{PATH}/{name}"))
        } else {
            ApiRequest::new("POST", PATH)
        };
        request.body = definition.to_string().into_bytes();
        self.answer(now, &request).1.map(|_| ())
    }

    /// Answers everything but a watch.
    pub fn handle(&mut self, now: DateTime<Utc>, request: &ApiRequest) -> ApiResponse {
        let (call, answer) = self.answer(now, request);
        let mut response = ApiResponse::new(request, answer);
        if let Some(call) = call {
            response.warnings = call.warnings;
            response.commits = call.commits;
            if response.is_success() && request.wants_table() && !request.verb.is_write() {
                response.body = table::render(now, request, &call.resource, &response.body);
            } else if response.is_success() && request.wants_metadata() && !request.verb.is_write() {
                response.body = table::metadata_alone(&response.body);
            }
        }
        response
    }

    fn answer<'a>(
        &mut self,
        now: DateTime<Utc>,
        request: &'a ApiRequest,
    ) -> (Option<Call<'a>>, Result<Body, Refusal>) {
        let Some(target) = &request.target else {
            return (None, discovery::answer(&self.registry, request));
        };
        let mut call = match self.call(now, request, target) {
            Ok(call) => call,
            Err(refusal) => return (None, Err(refusal)),
        };
        let answer = self.dispatch(&mut call);
        (Some(call), answer)
    }

    fn resolve(&self, target: &Target) -> Result<Arc<Resource>, Refusal> {
        let resource = self
            .registry
            .find(&target.group, &target.version, &target.resource);
        let resource = resource.ok_or_else(Refusal::no_such_path)?;
        let known_subresource = match target.subresource.as_deref() {
            None => true,
            Some("status") => resource.has_status,
            Some("scale") => resource.scale.is_some(),
            Some("binding" | "eviction") => resource.kind == "Pod",
            Some("finalize") => resource.kind == "Namespace",
            Some(_) => false,
        };
        let misplaced = target.namespace.is_some() && !resource.namespaced
            || target.name.is_some() && target.namespace.is_none() && resource.namespaced;
        if !known_subresource || misplaced {
            return Err(Refusal::no_such_path());
        }
        Ok(Arc::clone(resource))
    }

    fn call<'a>(
        &self,
        now: DateTime<Utc>,
        request: &'a ApiRequest,
        target: &'a Target,
    ) -> Result<Call<'a>, Refusal> {
        let resource = self.resolve(target)?;
        if !request.takes_json() {
            return Err(Refusal::not_acceptable());
        }
        let mut warnings = Vec::new();
        let body = body::read(request, &resource, &mut warnings)?;
        let has = |pointer: &str| {
            body.pointer(pointer)
                .is_some_and(|found| !found.is_null() && found != "")
        };
        let tests = |path: &str| {
            let operations = body.as_array().into_iter().flatten();
            operations.into_iter().any(|operation| {
                operation.get("path").and_then(Value::as_str) == Some(path)
                    && matches!(
                        operation.get("op").and_then(Value::as_str),
                        Some("test" | "replace")
                    )
            })
        };
        let named = |field: &str| {
            has(&format!("/metadata/{field}"))
                || has(&format!("/preconditions/{field}"))
                || tests(&format!("/metadata/{field}"))
        };
        let (had_resource_version, had_uid) = (named("resourceVersion"), named("uid"));
        let body = Arc::new(body);
        let commits = Vec::new();
        Ok(Call {
            now,
            request,
            target,
            resource,
            body,
            had_resource_version,
            had_uid,
            warnings,
            commits,
        })
    }

    fn dispatch(&mut self, call: &mut Call<'_>) -> Result<Body, Refusal> {
        let subresource = call.target.subresource.as_deref();
        match (call.request.verb, subresource) {
            (Verb::Get, Some("scale")) => self.read_scale(call),
            (Verb::Update | Verb::Patch, Some("scale")) => self.write_scale(call),
            (Verb::Get | Verb::Update | Verb::Patch, Some("binding" | "eviction")) => {
                Err(Refusal::method_not_allowed())
            }
            (Verb::Get, _) => self.read(call),
            (Verb::List, None) => self.list_objects(call),
            (Verb::Create, None) => self.create(call),
            (Verb::Create, Some("binding")) => self.bind(call),
            (Verb::Create, Some("eviction")) => self.evict(call),
            (Verb::Update, _) => self.update(call),
            (Verb::Patch, _) => self.patch(call),
            (Verb::Delete, None) => self.delete(call),
            (Verb::DeleteCollection, None) => self.delete_collection(call),
            _ => Err(Refusal::method_not_allowed()),
        }
    }

    /// The version of the newest change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The object as it is now; cluster-scoped objects have the namespace `""`.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let resource = self.registry.by_kind(kind)?;
        self.collections
            .get(&resource.key)?
            .get(&ObjectKey::new(namespace, name))
            .cloned()
    }

    /// All objects of a kind, by namespace and name.
    pub fn list(&self, kind: &str) -> Vec<Arc<Value>> {
        let collection = self
            .registry
            .by_kind(kind)
            .and_then(|found| self.collections.get(&found.key));
        let objects = collection.into_iter().flat_map(|found| found.list(None));
        objects.map(|(_, object)| Arc::clone(object)).collect()
    }

    /// Changes of a kind newer than `version`, oldest first.
    pub fn events_after(&self, kind: &str, version: u64) -> Result<Vec<Event>, TooOld> {
        let collection = self
            .registry
            .by_kind(kind)
            .and_then(|found| self.collections.get(&found.key));
        let Some(collection) = collection else {
            return Ok(Vec::new());
        };
        Ok(collection.events_after(version)?.cloned().collect())
    }

    /// Forgets all history, so that whoever resumes from before now gets 410.
    pub fn compact(&mut self) {
        let version = self.version;
        self.collections
            .values_mut()
            .for_each(|collection| collection.compact(version));
    }

    fn collection(&self, resource: &Resource) -> Option<&Collection> {
        self.collections.get(&resource.key)
    }

    fn object(&self, call: &Call<'_>) -> Result<Arc<Value>, Refusal> {
        let found = self
            .collection(&call.resource)
            .and_then(|found| found.get(&call.key()));
        let found = found.ok_or_else(|| Refusal::not_found(call.subject()))?;
        Ok(event_form::served(&call.resource, found))
    }

    /// Writes down one change and hands back the object as stored; on a dry run, as it would be stored.
    fn commit(&mut self, call: &mut Call<'_>, key: ObjectKey, after: Option<Value>) -> Option<Arc<Value>> {
        if call.is_dry_run() {
            return after.map(Arc::new);
        }
        self.version += 1;
        let version = self.version;
        let after = after.map(|mut object| {
            meta::set(&mut object, "resourceVersion", json!(version.to_string()));
            Arc::new(event_form::stored(&call.resource, object))
        });
        let collection = self.collections.entry(call.resource.key.clone()).or_default();
        let before = collection.get(&key).cloned();
        call.commits.push(Commit {
            resource_version: version,
            verb: call.request.verb,
            actor: call.request.actor.clone(),
            field_manager: call.request.param("fieldManager").map(str::to_owned),
            kind: call.resource.kind.clone(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            subresource: call.target.subresource.clone(),
            before: before.clone(),
            after: after.clone(),
            had_resource_version: call.had_resource_version,
            had_uid: call.had_uid,
            body: Arc::clone(&call.body),
        });
        let served = after
            .as_ref()
            .map(|object| event_form::served(&call.resource, object));
        collection.record(Event {
            version,
            key,
            before,
            after,
        });
        served
    }
}

#[cfg(test)]
mod tests;

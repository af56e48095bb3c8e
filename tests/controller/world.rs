//! A cluster with one Rollout, a controller's context whose caches move only when told, and the list of what the
//! controller wrote.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tidegate::api::crd;
use tidegate::api::measure::{MeasureTask, Outcome, Samples};
use tidegate::api::resource::{ObjectKey, Resource};
use tidegate::client::Api;
use tidegate::clock::Clock;
use tidegate::controllers::context::Context;
use tidegate::observe::cache::CacheEvent;
use tidegate::plan::model::{Action, Kind, Plan, Precondition, Stage, Target, Write};
use tidegate::plan::snapshot::{ReplicaSetSeen, Snapshot};
use tidegate::providers::Provider;
use tidegate::sandbox::api_server::store::Verb;
use tidegate::sandbox::api_server::{ApiRequest, ApiServer, Commit, Fault, Interceptor, Store};

pub struct World {
    pub server: ApiServer,
    pub key: ObjectKey,
    clock: Clock,
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    writes: Vec<String>,
    next_write: Fault,
    reads: Fault,
    leases: Fault,
    /// What comes of writing Events in paths that contain this.
    events: (String, Fault),
    /// Where nothing can be listed or read.
    closed: Option<String>,
    /// Of writes to anything but the Lease, each once.
    epochs: Vec<u64>,
}

impl Script {
    fn is_closed(&self, path: &str) -> bool {
        self.closed.as_deref().is_some_and(|closed| path.contains(closed))
    }
}

fn forbidden(message: &str) -> Fault {
    Fault::Refuse {
        status: 403,
        reason: "Forbidden".to_owned(),
        message: message.to_owned(),
    }
}

struct Tap(Arc<Mutex<Script>>);

impl Interceptor for Tap {
    fn before(&mut self, request: &ApiRequest) -> Fault {
        let mut script = self.0.lock().unwrap();
        match request.verb {
            _ if !request.actor.starts_with("tidegate") => Fault::None,
            _ if request.path.contains("/events") => match request.path.contains(&script.events.0) {
                true => script.events.1.clone(),
                false => Fault::None,
            },
            _ if request.path.contains("/leases") => script.leases.clone(),
            Verb::Get | Verb::List if script.is_closed(&request.path) => forbidden("it is closed"),
            Verb::Get | Verb::List => script.reads.clone(),
            Verb::Watch => Fault::None,
            _ => std::mem::take(&mut script.next_write),
        }
    }

    fn committed(&mut self, commit: &Commit, _: &Store) {
        if !commit.actor.starts_with("tidegate") || matches!(commit.kind.as_str(), "Lease" | "Event") {
            return;
        }
        assert_eq!(commit.field_manager.as_deref().unwrap_or("tidegate"), "tidegate");
        let epoch = commit.actor.split_once("(epoch ").unwrap().1;
        let epoch = epoch.trim_end_matches(')').parse().unwrap();
        let verb = format!("{:?}", commit.verb).to_lowercase();
        let subresource = commit.subresource.iter().map(|sub| format!("/{sub}"));
        let subresource: String = subresource.collect();
        let line = format!("{verb} {} {}{subresource}", commit.kind, commit.name);
        let mut script = self.0.lock().unwrap();
        script.writes.push(line);
        script.epochs.push(epoch);
        script.epochs.dedup();
    }
}

/// A query that is never answered.
pub const HANGS: &str = "hang";

/// Measures 0, but for [`HANGS`].
pub struct Zero;

impl Provider for Zero {
    fn measure<'a>(&'a self, task: &'a MeasureTask, _: DateTime<Utc>) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            if task.query == HANGS {
                futures::future::pending::<()>().await;
            }
            Outcome::Samples(Samples::Scalar(0.0))
        })
    }
}

impl World {
    pub fn new() -> Self {
        let start: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
        World::at(Clock::virtual_at(start))
    }

    pub fn at(clock: Clock) -> Self {
        let server = ApiServer::new(1, clock.clone());
        for definition in crd::all().unwrap() {
            server.install_crd(definition).unwrap();
        }
        let script = Arc::new(Mutex::new(Script::default()));
        server.set_interceptor(Some(Box::new(Tap(Arc::clone(&script)))));
        let world = World {
            server,
            key: ObjectKey::new("shop", "checkout"),
            clock,
            script,
        };
        for name in ["shop", "bank"] {
            let namespace = json!({"metadata": {"name": name}});
            world.ask("POST", "/api/v1/namespaces", "application/json", &namespace);
        }
        world.post(Resource::Rollout, &rollout("checkout"));
        world
    }

    pub fn context(
        &self,
        planner: impl Fn(&Snapshot, DateTime<Utc>) -> Plan + Send + Sync + 'static,
    ) -> Context {
        let api = Api::new(self.server.client("tidegate"));
        Context::new(api, self.clock.clone(), Arc::new(planner), Arc::new(Zero))
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub fn set_clock(&self, now: DateTime<Utc>) {
        self.clock.set(now);
    }

    /// Creates an object as somebody else.
    pub fn post(&self, resource: Resource, object: &Value) {
        self.post_in("shop", resource, object);
    }

    pub fn post_in(&self, namespace: &str, resource: Resource, object: &Value) {
        self.post_to(&resource.collection_path(namespace), object);
    }

    pub fn post_to(&self, path: &str, object: &Value) {
        self.ask("POST", path, "application/json", object);
    }

    pub async fn create(&self, resource: Resource, object: &Value) {
        self.post(resource, object);
    }

    pub async fn scale(&self, name: &str, replicas: i64) {
        let path = Resource::ReplicaSet.object_path(&ObjectKey::new("shop", name));
        self.ask(
            "PATCH",
            &path,
            "application/merge-patch+json",
            &json!({"spec": {"replicas": replicas}}),
        );
    }

    /// Changes the Rollout as its user would.
    pub fn edit(&self, patch: &Value) {
        self.edit_named("checkout", patch);
    }

    pub fn edit_named(&self, name: &str, patch: &Value) {
        self.edit_in("shop", name, patch);
    }

    pub fn edit_in(&self, namespace: &str, name: &str, patch: &Value) {
        let path = Resource::Rollout.object_path(&ObjectKey::new(namespace, name));
        self.ask("PATCH", &path, "application/merge-patch+json", patch);
    }

    pub fn remove(&self, resource: Resource, name: &str) {
        self.delete(&resource.object_path(&ObjectKey::new("shop", name)));
    }

    pub fn delete(&self, path: &str) {
        self.ask("DELETE", path, "application/json", &json!({}));
    }

    /// What the ReplicaSet controller would report.
    pub fn report_available(&self, name: &str, pods: i64) {
        let path = Resource::ReplicaSet.object_path(&ObjectKey::new("shop", name));
        let set = self.object("ReplicaSet", name);
        let generation = set.pointer("/metadata/generation").cloned();
        let status = json!({
            "replicas": pods, "readyReplicas": pods, "availableReplicas": pods, "observedGeneration": generation,
        });
        let path = format!("{path}/status");
        self.ask(
            "PATCH",
            &path,
            "application/merge-patch+json",
            &json!({"status": status}),
        );
    }

    /// A status that somebody else wrote.
    pub fn put_status(&self, status: &Value) {
        let path = Resource::Rollout.object_path(&ObjectKey::new("shop", "checkout"));
        let body = json!({ "status": status });
        self.ask(
            "PATCH",
            &format!("{path}/status"),
            "application/merge-patch+json",
            &body,
        );
    }

    /// Serves a kind as a version of its definition that knows nothing would.
    pub fn forget_schema(&self, plural: &str) {
        let definitions = crd::all().unwrap();
        let definition = definitions
            .into_iter()
            .find(|definition| crd::plural_of(definition) == plural);
        let mut definition = definition.unwrap();
        let versions = definition
            .pointer_mut("/spec/versions/0/schema/openAPIV3Schema")
            .unwrap();
        *versions = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        self.server.install_crd(definition).unwrap();
    }

    /// Names of the objects of a kind.
    pub fn list(&self, kind: &str) -> Vec<String> {
        let objects = self.server.inspect(|store| store.list(kind));
        let name = |object: &Value| {
            object
                .pointer("/metadata/name")
                .unwrap()
                .as_str()
                .unwrap()
                .to_owned()
        };
        objects.iter().map(|object| name(object)).collect()
    }

    fn ask(&self, method: &str, path: &str, content_type: &str, body: &Value) {
        let mut request = ApiRequest::new(method, path);
        request.content_type = content_type.to_owned();
        request.actor = "somebody".to_owned();
        request.body = body.to_string().into_bytes();
        match self.server.handle(&request) {
            tidegate::sandbox::api_server::service::Outcome::Answer(answer) => {
                assert!(answer.code < 300, "{path}: {}", answer.code);
            }
            _ => panic!("no answer"),
        }
    }

    /// Lets every cache see everything there is.
    pub async fn catch_up(&self, context: &Context) {
        for resource in [
            Resource::Rollout,
            Resource::ReplicaSet,
            Resource::AnalysisRun,
            Resource::RolloutCommand,
        ] {
            let objects = self.server.inspect(|store| store.list(resource.kind()));
            let objects = objects.iter().map(|object| object.as_ref().clone()).collect();
            let event = CacheEvent::restarted(resource, "", objects);
            context.observer.stores.take(resource, event);
        }
    }

    /// Lets a cache believe that there is nothing of a kind.
    pub fn forget(&self, context: &Context, resource: Resource) {
        let event = CacheEvent::restarted(resource, "", vec![]);
        context.observer.stores.take(resource, event);
    }

    pub fn fail_next_write(&self, fault: Fault) {
        self.script.lock().unwrap().next_write = fault;
    }

    pub fn fail_leases(&self, fault: Fault) {
        self.script.lock().unwrap().leases = fault;
    }

    /// Epochs of what the controller has changed, each once, in order.
    pub fn epochs(&self) -> Vec<u64> {
        self.script.lock().unwrap().epochs.clone()
    }

    pub fn refuse_events(&self) {
        self.script.lock().unwrap().events = (String::new(), forbidden("events are forbidden"));
    }

    pub fn lose_events_in(&self, namespace: &str) {
        self.script.lock().unwrap().events = (format!("/{namespace}/"), Fault::LoseBefore);
    }

    pub fn fail_reads(&self, fault: Fault) {
        self.script.lock().unwrap().reads = fault;
    }

    /// What has this in its path cannot be read.
    pub fn close(&self, path: Option<&str>) {
        self.script.lock().unwrap().closed = path.map(str::to_owned);
    }

    pub fn has_fault_left(&self) -> bool {
        self.script.lock().unwrap().next_write != Fault::None
    }

    /// What the controller has changed so far.
    pub fn writes(&self) -> Vec<String> {
        self.script.lock().unwrap().writes.clone()
    }

    pub fn object(&self, kind: &str, name: &str) -> Value {
        let object = self.server.inspect(|store| store.get(kind, "shop", name));
        object.unwrap().as_ref().clone()
    }
}

pub fn rollout(name: &str) -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
            "strategy": {"canary": {"steps": [{"setWeight": 10}]}},
        },
    })
}

pub fn replica_set(name: &str, replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": "shop", "labels": {"tidegate.dev/rollout": "checkout"}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    })
}

/// A run that is decided by one measurement.
pub fn run(name: &str, query: &str) -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "AnalysisRun",
        "metadata": {"name": name, "namespace": "shop", "labels": {"tidegate.dev/rollout": "checkout"}},
        "spec": {"metrics": [{
            "name": "errors", "successCondition": "result < 1",
            "provider": {"prometheus": {"query": query}},
        }]},
    })
}

pub fn write(kind: Kind, name: &str, action: Action) -> Write {
    Write {
        target: Target {
            kind,
            name: name.to_owned(),
        },
        action,
        reason: "because".to_owned(),
    }
}

/// A plan of these stages whose status says only this.
pub fn plan(stages: Vec<Vec<Write>>, message: &str) -> Plan {
    let stage = |writes| Stage {
        purpose: "test".to_owned(),
        writes,
    };
    let mut plan = Plan {
        stages: stages.into_iter().map(stage).collect(),
        ..Plan::default()
    };
    plan.status.message = Some(message.to_owned());
    plan
}

pub fn precondition(seen: &ReplicaSetSeen) -> Precondition {
    Precondition {
        uid: seen.uid.clone(),
        resource_version: seen.resource_version.clone(),
    }
}

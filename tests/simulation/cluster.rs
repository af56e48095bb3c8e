//! Everybody but the controller: caches that lag, the sandbox's own controllers, nodes, pods in trouble, the data plane.

use std::sync::OnceLock;

use chrono::{DateTime, TimeDelta, Utc};
use kube::api::DynamicObject;
use serde_json::{Value, json};
use tidegate::api::crd;
use tidegate::api::names::HASH_LABEL;
use tidegate::api::patch::pointer;
use tidegate::api::resource::Resource;
use tidegate::clock::Clock;
use tidegate::observe::cache::CacheEvent;
use tidegate::observe::stores::{Cause, Wake};
use tidegate::sandbox::api_server::{ApiServer, Commit, Fault};
use tidegate::sandbox::controllers::{sync_endpoint_slice, sync_replica_set};
use tidegate::sandbox::dataplane::Kind;
use tidegate::sandbox::resource::{Key, list};

use super::object::{self, CANARY, HOSTS, NAMESPACE, STABLE, text};
use super::scenario::{Routing, Weather, between};
use super::world::{Job, START, World, key_of};

/// What the controller watches.
pub const WATCHED: [Resource; 8] = [
    Resource::Rollout,
    Resource::AnalysisRun,
    Resource::RolloutCommand,
    Resource::AnalysisTemplate,
    Resource::ReplicaSet,
    Resource::Service,
    Resource::Ingress,
    Resource::HttpRoute,
];

/// An empty cluster with our definitions, to be copied for every run.
pub fn empty_cluster() -> &'static ApiServer {
    static EMPTY: OnceLock<ApiServer> = OnceLock::new();
    EMPTY.get_or_init(|| {
        let server = ApiServer::new(0, Clock::virtual_at(START));
        for definition in crd::all().unwrap() {
            server.install_crd(definition).unwrap();
        }
        server
    })
}

impl World {
    pub fn set_up(&mut self) {
        let tap = super::gate::Tap(std::sync::Arc::clone(&self.wire));
        self.server.set_interceptor(Some(Box::new(tap)));
        let namespace = json!({"metadata": {"name": NAMESPACE}});
        object::ask(&self.server, "user", "POST", "/api/v1/namespaces", &namespace);
        for (resource, object) in object::surroundings(&self.scenario) {
            object::create(&self.server, resource, object);
        }
        object::create(&self.server, Resource::Rollout, object::rollout(&self.scenario));
        self.take_in();
        self.trouble_again();
        self.put_soon(Job::User, TimeDelta::seconds(2));
        self.start_controller();
    }

    /// Whom a commit concerns.
    pub fn spread(&mut self, commit: &Commit) {
        let lag = self.weather.cache_lag;
        let controllers = self.weather.controllers;
        let key = Key::new(&commit.namespace, &commit.name);
        if let Some(resource) = WATCHED
            .into_iter()
            .find(|resource| resource.kind() == commit.kind)
        {
            self.put_soon(Job::Deliver(resource), lag);
        }
        let plane = match commit.kind.as_str() {
            "Ingress" => Some((Kind::Ingress, 0)),
            "HTTPRoute" => Some((Kind::HttpRoute, 1)),
            "Service" => Some((Kind::Service, 2)),
            "EndpointSlice" => Some((Kind::EndpointSlice, 3)),
            _ => None,
        };
        if let Some((kind, index)) = plane {
            let now = self.now();
            self.plane.apply(now, kind, &key, commit.after.as_deref());
            self.env.put(Job::Plane, now + self.weather.plane[index]);
        }
        match commit.kind.as_str() {
            "ReplicaSet" if commit.subresource.is_none() => self.put_soon(Job::SyncSet(key), controllers),
            "Pod" => self.spread_pod(commit, key),
            "Service" => self.put_soon(Job::SyncSlice(key), controllers),
            "HTTPRoute" if commit.subresource.is_none() => self.put_soon(Job::RouteStatus(key), controllers),
            "Rollout" => self.follow_abort(),
            _ => {}
        }
    }

    fn spread_pod(&mut self, commit: &Commit, key: Key) {
        let controllers = self.weather.controllers;
        let pod = commit.after.as_deref().or(commit.before.as_deref());
        let owner = pod
            .and_then(|pod| pod.pointer("/metadata/ownerReferences/0/name"))
            .and_then(Value::as_str);
        if let Some(owner) = owner {
            self.put_soon(Job::SyncSet(key_of(owner)), controllers);
        }
        if self.scenario.routing != Routing::None {
            for service in [STABLE, CANARY] {
                self.put_soon(Job::SyncSlice(key_of(service)), controllers);
            }
        }
        match self.ailing.get(&key).copied() {
            Some(until) => self.env.put(Job::SyncPod(key), until),
            None => self.put_soon(Job::SyncPod(key), controllers),
        }
    }

    pub async fn perform(&mut self, job: Job) {
        let now = self.now();
        match job {
            Job::Deliver(resource) => self.deliver(resource),
            Job::SyncSet(key) => {
                let again = sync_replica_set(&self.client, &key, now, &mut self.rng)
                    .await
                    .unwrap();
                if let Some(again) = again {
                    self.env.put(Job::SyncSet(key), now + again);
                }
            }
            Job::SyncPod(key) => self.sync_pod(key).await,
            Job::SyncSlice(key) => sync_endpoint_slice(&self.client, &key).await.unwrap(),
            Job::RouteStatus(key) => self.write_route_status(&key),
            Job::PodTrouble => self.trouble_a_pod(),
            Job::Plane => self.look_at_plane(),
            Job::User => {
                self.act();
                self.env.put(Job::User, now + TimeDelta::seconds(2));
            }
        }
        self.take_in();
    }

    async fn sync_pod(&mut self, key: Key) {
        let now = self.now();
        self.ailing.remove(&key);
        let pod = self
            .server
            .inspect(|store| store.get("Pod", &key.namespace, &key.name));
        let pod: Option<DynamicObject> = pod.map(|pod| serde_json::from_value(pod.as_ref().clone()).unwrap());
        let again = self.nodes.sync_pod(&key, pod.as_ref(), now).await.unwrap();
        if let Some(again) = again {
            self.env.put(Job::SyncPod(key), now + again);
        }
    }

    /// One event to one cache; sometimes only the newest of several, sometimes none.
    fn deliver(&mut self, resource: Resource) {
        let Some(controller) = &self.controller else {
            return;
        };
        let cursor = controller.cursors.get(&resource).copied().unwrap_or(0);
        let events = self
            .server
            .inspect(|store| store.events_after(resource.kind(), cursor))
            .unwrap();
        let skip = if events.len() > 1 && self.rng.chance(0.2) {
            events.len() - 1
        } else {
            0
        };
        let Some(event) = events.get(skip) else { return };
        let lost = self.rng.chance(self.weather.lost_event);
        let Some(controller) = &mut self.controller else {
            return;
        };
        controller.cursors.insert(resource, event.version);
        let object = event
            .after
            .as_ref()
            .or(event.before.as_ref())
            .unwrap()
            .as_ref()
            .clone();
        let cached = match event.after {
            Some(_) => CacheEvent::applied(resource, object),
            None => CacheEvent::deleted(&object),
        };
        let cached = cached.unwrap();
        // A deletion is told by its own version only; one that is skipped here is found by the next list.
        let wakes = if lost {
            Default::default()
        } else {
            controller.context.observer.stores.take(resource, cached)
        };
        for wake in wakes {
            self.wake(wake);
        }
        if events.len() > skip + 1 {
            self.put_soon(Job::Deliver(resource), self.weather.cache_lag);
        }
    }

    pub fn wake(&mut self, wake: Wake) {
        let longest = if wake.cause == Cause::Command { 5 } else { 100 };
        let at = self.now() + self.soon(TimeDelta::milliseconds(longest));
        self.work.put(wake.work, at);
    }

    /// A gateway controller says at once that it has seen a generation, whatever the data plane does.
    fn write_route_status(&mut self, key: &Key) {
        let Some(route) = self
            .server
            .inspect(|store| store.get("HTTPRoute", &key.namespace, &key.name))
        else {
            return;
        };
        let condition = |kind: &str| {
            json!({
                "type": kind, "status": "True", "reason": kind, "message": "",
                "observedGeneration": route.pointer("/metadata/generation"),
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            })
        };
        let conditions = json!([condition("Accepted"), condition("ResolvedRefs")]);
        let status = json!({"parents": [{
            "parentRef": {"name": "gateway"}, "controllerName": "sim.example/gateway", "conditions": conditions,
        }]});
        if route.get("status") != Some(&status) {
            let path = Resource::HttpRoute.object_path(&object::key(&key.name));
            let body = json!({ "status": status });
            object::ask(&self.server, "gateway", "PATCH", &format!("{path}/status"), &body);
        }
    }

    pub fn trouble_again(&mut self) {
        if let Some(mean) = self.weather.pod_trouble {
            self.put_soon(Job::PodTrouble, mean * 2);
        }
    }

    /// A pod is evicted, or is not ready for a while.
    fn trouble_a_pod(&mut self) {
        self.troubles += 1;
        if self.weather.pod_trouble.is_none() || self.troubles > 12 {
            return;
        }
        self.trouble_again();
        let pods = self.server.inspect(|store| store.list("Pod"));
        let Some(pod) = self.rng.pick(&pods).cloned() else {
            return;
        };
        self.troubled = true;
        let name = text(&pod, "/metadata/name");
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}");
        let ready = list(&pod, "/status/conditions")
            .iter()
            .any(|condition| text(condition, "/type") == "Ready");
        if self.rng.chance(0.5) || !ready {
            object::ask(&self.server, "trouble", "DELETE", &path, &json!({}));
            return;
        }
        let until = self.now() + TimeDelta::seconds(between(&mut self.rng, 1, 40));
        self.make_unready(&pod, until);
    }

    /// A version that people abort is often one that does not get well.
    pub fn break_the_canary(&mut self) {
        let released = self.truth.status("currentPodHash").to_owned();
        if self.weather.pod_trouble.is_none() || released == self.truth.status("stableRS") {
            return;
        }
        let pods = self.server.inspect(|store| store.list("Pod"));
        let label = pointer(["metadata", "labels", HASH_LABEL]);
        let canary = pods.iter().filter(|pod| text(pod, &label) == released);
        let canary: Vec<_> = canary.cloned().collect();
        let until = self.now() + TimeDelta::seconds(between(&mut self.rng, 60, 400));
        for pod in &canary {
            self.troubled = true;
            self.make_unready(pod, until);
        }
    }

    fn make_unready(&mut self, pod: &Value, until: DateTime<Utc>) {
        let name = text(pod, "/metadata/name").to_owned();
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}");
        let mut status = pod["status"].clone();
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            if text(condition, "/type") == "Ready" {
                condition["status"] = json!("False");
            }
        }
        self.ailing.insert(key_of(&name), until);
        object::ask(
            &self.server,
            "trouble",
            "PATCH",
            &format!("{path}/status"),
            &json!({ "status": status }),
        );
    }

    /// S1 as the requests feel it: where no pod was in trouble, nothing is ever lost.
    fn look_at_plane(&mut self) {
        let now = self.now();
        if let Some(next) = self.plane.next_change() {
            self.env.put(Job::Plane, next.max(now));
        }
        let routes: &[(&str, &str)] = match self.scenario.routing {
            Routing::None => &[],
            Routing::Nginx { ingresses: 1 } => &[(HOSTS[0], "/")],
            Routing::Nginx { .. } => &[(HOSTS[0], "/"), (HOSTS[1], "/")],
            Routing::Gateway { rules: 1, .. } => &[(HOSTS[0], "/")],
            Routing::Gateway { .. } => &[(HOSTS[0], "/"), (HOSTS[0], "/api")],
        };
        for (host, path) in routes {
            let shares = self.plane.shares(now, host, path);
            if shares.lost_total().is_zero() {
                self.served |= !self.truth.status("stableRS").is_empty();
            } else if self.served && !self.troubled {
                self.fail(
                    "S1",
                    format!("requests for {host}{path} are lost: {:?}", shares.lost),
                );
            }
        }
    }

    fn follow_abort(&mut self) {
        let aborted = self.truth.rollout.pointer("/status/abort").is_some();
        let now = self.now();
        self.abort_since = if aborted {
            self.abort_since.or(Some(now))
        } else {
            None
        };
    }

    /// L2: an abort takes the traffic back, whatever the canary does.
    pub fn check_abort(&mut self) {
        let Some(since) = self.abort_since else { return };
        // What fails is tried again, ever later.
        let retries = if self.weather.write_fault == 0.0 { 20 } else { 120 };
        let patience = TimeDelta::seconds(retries) + self.weather.cache_lag * 4;
        let late = self.now() > since + patience;
        let weighted = self.truth.canary_weights_now().iter().any(|weight| weight.0 > 0);
        let stable = self.truth.selected.get(STABLE).cloned().unwrap_or_default();
        let able = self.truth.available(&stable, since).0 >= self.truth.wanted(since).1;
        if late && weighted && able {
            self.fail(
                "L2",
                format!("aborted since {since} and the canary still has traffic"),
            );
        }
    }
}

impl Weather {
    /// What befalls a request.
    pub fn draw_fault(&self, rng: &mut tidegate::sandbox::rng::Rng, is_write: bool) -> Fault {
        let chance = if is_write {
            self.write_fault
        } else {
            self.read_fault
        };
        if !rng.chance(chance) {
            return Fault::None;
        }
        let refuse = |status: u16, reason: &str| Fault::Refuse {
            status,
            reason: reason.to_owned(),
            message: "simulated".to_owned(),
        };
        match rng.below(20) {
            0..5 if is_write => refuse(409, "Conflict"),
            5..9 if is_write => Fault::ApplyThenLose,
            9 if is_write => refuse(403, "Forbidden"),
            10..12 => refuse(429, "TooManyRequests"),
            12..14 => refuse(503, "ServiceUnavailable"),
            14 => Fault::Hang,
            15..17 => Fault::LoseBefore,
            _ => refuse(500, "InternalError"),
        }
    }
}

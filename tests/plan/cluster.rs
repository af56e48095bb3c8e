//! A cluster of raw objects that carries out plans: patches are applied by a JSON Patch library that is not
//! ours, preconditions are insisted on, pods and endpoints follow, and time goes on as the plan asks for it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Duration, Utc};
use serde_json::{Value, json};
use tidegate::api::names::{FINALIZER, HASH_LABEL, REVISION_ANNOTATION, Revision};
use tidegate::api::rollout::TrafficRouting;
use tidegate::api::rollout_status::{Phase, RolloutStatus};
use tidegate::plan::model::{Action, Kind, Plan, Precondition, Subresource, Target, Write};
use tidegate::plan::plan;
use tidegate::plan::scale::read_scale_down_at;
use tidegate::plan::snapshot::{EndpointsReady, ReplicaSetSeen, ServiceSeen, Snapshot, TemplateSeen};
use tidegate::routers::names_to_observe;

use crate::blame::Blame;
use crate::fixture::{hash, readable, template};

/// More idle looks in a row than any deadline needs.
const IDLE_LOOKS: u32 = 52;

/// What goes wrong while a plan is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Fault {
    #[default]
    None,
    /// This write and what follows is not sent.
    Write(usize),
    /// Everything is written but the status.
    Status,
}

#[derive(Clone)]
pub struct Cluster {
    pub objects: BTreeMap<(Kind, String), Value>,
    pub now: DateTime<Utc>,
    /// What was written and decided, a line each.
    pub log: Vec<String>,
    /// At most so many pods of a version (by hash) become available.
    pub most_ready: BTreeMap<String, i64>,
    templates: Vec<TemplateSeen>,
    versions: u64,
    begun: DateTime<Utc>,
    pub blame: Blame,
}

/// What a failing property shows of where it began.
impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.rollout().unwrap()["spec"]["strategy"])
    }
}

impl Cluster {
    pub fn new(templates: Vec<TemplateSeen>) -> Self {
        let begun = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        Cluster {
            objects: BTreeMap::new(),
            now: begun,
            log: Vec::new(),
            most_ready: BTreeMap::new(),
            templates,
            versions: 0,
            begun,
            blame: Blame::default(),
        }
    }

    // What users do.

    pub fn put(&mut self, kind: Kind, mut object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        self.versions += 1;
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata
            .entry("uid")
            .or_insert(json!(format!("{kind:?}-{name}-{}", self.versions)));
        metadata.insert("resourceVersion".to_owned(), json!(self.versions.to_string()));
        metadata.entry("generation").or_insert(json!(1));
        metadata
            .entry("creationTimestamp")
            .or_insert(json!(self.now.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)));
        self.objects.insert((kind, name), object);
    }

    pub fn edit(&mut self, kind: Kind, name: &str, change: impl FnOnce(&mut Value)) {
        self.versions += 1;
        let object = self.objects.get_mut(&(kind, name.to_owned())).unwrap();
        let before = object["spec"].clone();
        change(object);
        if object["spec"] != before {
            object["metadata"]["generation"] = json!(object["metadata"]["generation"].as_i64().unwrap() + 1);
        }
        object["metadata"]["resourceVersion"] = json!(self.versions.to_string());
        self.blame.note(&self.objects, self.now);
    }

    pub fn edit_rollout(&mut self, change: impl FnOnce(&mut Value)) {
        self.edit(Kind::Rollout, "checkout", change);
    }

    pub fn remove(&mut self, kind: Kind, name: &str) {
        self.objects.remove(&(kind, name.to_owned())).unwrap();
    }

    pub fn deploy(&mut self, version: &str) {
        self.log
            .push(format!("{:>5} user deploys {version}", self.clock()));
        self.edit_rollout(|rollout| rollout["spec"]["template"] = template(version));
    }

    pub fn scale(&mut self, replicas: i64) {
        self.log
            .push(format!("{:>5} user scales to {replicas}", self.clock()));
        self.edit_rollout(|rollout| rollout["spec"]["replicas"] = json!(replicas));
    }

    pub fn command(&mut self, verb: &str) -> String {
        self.command_with(verb, json!({}))
    }

    pub fn command_with(&mut self, verb: &str, extra: Value) -> String {
        self.log.push(format!("{:>5} user asks for {verb}", self.clock()));
        let name = format!("{}-{}", verb.to_lowercase(), self.versions + 1);
        let mut spec =
            json!({"rollout": "checkout", "verb": verb, "requestedBy": "alice", "reason": "because"});
        spec.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        self.put(
            Kind::RolloutCommand,
            json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec}),
        );
        name
    }

    /// Every AnalysisRun without a verdict gets this one.
    pub fn judge(&mut self, verdict: &str) {
        self.log
            .push(format!("{:>5} analyses are {verdict}", self.clock()));
        for (_, run) in self
            .objects
            .iter_mut()
            .filter(|((kind, _), _)| *kind == Kind::AnalysisRun)
        {
            if matches!(run["status"]["phase"].as_str(), None | Some("Running")) {
                self.versions += 1;
                let successful = i64::from(matches!(verdict, "Running" | "Successful"));
                run["status"] = json!({"phase": verdict, "metricResults": [
                    {"name": "errors", "phase": verdict, "count": 1, "successful": successful}]});
                run["metadata"]["resourceVersion"] = json!(self.versions.to_string());
            }
        }
    }

    // What can be seen.

    pub fn object(&self, kind: Kind, name: &str) -> Option<&Value> {
        self.objects.get(&(kind, name.to_owned()))
    }

    pub fn rollout(&self) -> Option<&Value> {
        self.object(Kind::Rollout, "checkout")
    }

    pub fn status(&self) -> RolloutStatus {
        let status = self.rollout().and_then(|rollout| rollout.get("status")).cloned();
        status
            .map(|status| serde_json::from_value(status).unwrap())
            .unwrap_or_default()
    }

    pub fn phase(&self) -> Phase {
        self.status().phase.unwrap()
    }

    pub fn condition(&self, type_: &str) -> (String, String) {
        let conditions = self.rollout().unwrap()["status"]["conditions"].clone();
        let found = conditions
            .as_array()
            .into_iter()
            .flatten()
            .find(|found| found["type"] == type_)
            .unwrap()
            .clone();
        (
            found["status"].as_str().unwrap().to_owned(),
            found["reason"].as_str().unwrap().to_owned(),
        )
    }

    pub fn pods(&self, version: &str) -> i64 {
        let set = self.object(Kind::ReplicaSet, &format!("checkout-{}", hash(version)));
        set.map_or(0, |set| set["spec"]["replicas"].as_i64().unwrap())
    }

    pub fn weight(&self) -> i64 {
        crate::blame::weights(&self.objects)
            .into_iter()
            .max()
            .unwrap_or(0)
    }

    pub fn selected(&self, service: &str) -> String {
        let service = self.object(Kind::Service, service).unwrap();
        readable(
            service["spec"]["selector"][HASH_LABEL]
                .as_str()
                .unwrap_or("everything"),
        )
    }

    pub fn answer(&self, command: &str) -> String {
        let command = self.object(Kind::RolloutCommand, command).unwrap();
        command["status"]["phase"].as_str().unwrap_or("none").to_owned()
    }

    pub fn step(&self) -> u32 {
        self.status().current_step_index.unwrap_or_default().0
    }

    pub fn explain(&self) -> String {
        format!("{}\n{:?}", self.what_happened(), self.status().waiting_on)
    }

    pub fn what_happened(&self) -> String {
        self.log.join("\n")
    }

    fn clock(&self) -> String {
        format!("{}s", (self.now - self.begun).num_seconds())
    }

    // What the controller sees and does.

    pub fn snapshot(&self) -> Snapshot {
        let rollout = self.rollout().unwrap().clone();
        let of = |wanted: Kind| self.objects.iter().filter(move |((kind, _), _)| *kind == wanted);
        let canary = &rollout["spec"]["strategy"]["canary"];
        let in_use = &rollout["status"]["canary"]["routing"];
        let mut services = BTreeMap::new();
        let mut ingresses: BTreeSet<String> = BTreeSet::new();
        let mut http_routes: BTreeSet<String> = BTreeSet::new();
        for place in [canary, in_use] {
            for field in ["stableService", "canaryService"] {
                if let Some(name) = place[field].as_str() {
                    services.insert(name.to_owned(), self.object(Kind::Service, name).map(see_service));
                }
            }
            if let Ok(routing) = serde_json::from_value::<TrafficRouting>(place["trafficRouting"].clone()) {
                let names = names_to_observe(&routing, "checkout");
                ingresses.extend(names.ingresses);
                http_routes.extend(names.http_routes);
            }
        }
        let seen = |kind: Kind, names: BTreeSet<String>| {
            names
                .into_iter()
                .map(|name| (name.clone(), self.object(kind, &name).cloned()))
                .collect()
        };
        let replica_sets: BTreeMap<_, _> = of(Kind::ReplicaSet)
            .map(|((_, name), set)| (name.clone(), see_replica_set(set)))
            .collect();
        let typed = |kind| of(kind).map(|((_, name), object)| (name.clone(), object.clone()));
        Snapshot {
            endpoints: Some(see_endpoints(&services, &replica_sets)),
            replica_sets,
            services,
            ingresses: seen(Kind::Ingress, ingresses),
            http_routes: seen(Kind::HttpRoute, http_routes),
            runs: typed(Kind::AnalysisRun)
                .map(|(name, run)| (name, from_raw(run, "AnalysisRun")))
                .collect(),
            templates: self.templates.clone(),
            commands: typed(Kind::RolloutCommand)
                .map(|(name, it)| (name, from_raw(it, "RolloutCommand")))
                .collect(),
            claims: Vec::new(),
            rollout,
        }
    }

    /// Pods become available, HTTPRoutes are accepted.
    fn settle_objects(&mut self) {
        for ((kind, _), object) in &mut self.objects {
            match kind {
                Kind::ReplicaSet => {
                    let wanted = object["spec"]["replicas"].as_i64().unwrap();
                    let hash = object["metadata"]["labels"][HASH_LABEL].as_str().unwrap();
                    let ready = self.most_ready.get(hash).map_or(wanted, |most| wanted.min(*most));
                    object["status"] =
                        json!({"replicas": wanted, "readyReplicas": ready, "availableReplicas": ready});
                }
                Kind::HttpRoute => {
                    let generation = object["metadata"]["generation"].clone();
                    let condition = |type_: &str| json!({"type": type_, "status": "True", "observedGeneration": generation});
                    object["status"] = json!({"parents": [{"parentRef": {"name": "public"}, "conditions": [
                        condition("Accepted"), condition("ResolvedRefs")]}]});
                }
                _ => {}
            }
        }
    }

    /// One reconcile. True when something was written.
    pub fn round(&mut self) -> (Plan, bool) {
        self.round_with(Fault::None)
    }

    pub fn round_with(&mut self, fault: Fault) -> (Plan, bool) {
        self.settle_objects();
        self.blame.note(&self.objects, self.now);
        let snapshot = self.snapshot();
        let planned = plan(&snapshot, self.now);
        let mut plain = snapshot.clone();
        plain.rollout = serde_json::from_str(&plain.rollout.to_string()).unwrap();
        assert_eq!(
            planned,
            plan(&plain, self.now),
            "planned again, from what was saved"
        );
        if planned.report.rule == "Refused" {
            panic!(
                "{}\n{}",
                readable(&planned.status.message.clone().unwrap_or_default()),
                self.what_happened()
            );
        }
        let before = self.weight();
        let changed = self.carry_out(&planned, fault);
        let held = snapshot.rollout["status"]["abort"] == true || snapshot.rollout["spec"]["paused"] == true;
        let known = snapshot.rollout["status"]["currentPodHash"]
            == json!(crate::blame::current_hash(&snapshot.rollout));
        assert!(
            !(held && known) || self.weight() <= before,
            "raised while held\n{}",
            self.what_happened()
        );
        (planned, changed)
    }

    fn carry_out(&mut self, planned: &Plan, fault: Fault) -> bool {
        let mut changed = false;
        let writes = planned.stages.iter().flat_map(|stage| &stage.writes);
        for (index, write) in writes.enumerate() {
            if fault == Fault::Write(index) {
                self.log
                    .push(format!("{:>5} lost: {}", self.clock(), readable(&write.reason)));
                return true;
            }
            changed = true;
            let before = self.objects.clone();
            self.write(write);
            self.blame
                .judge(&before, &self.objects, self.now, write, &self.log);
        }
        if self.rollout().is_none() {
            return changed;
        }
        let status = serde_json::to_value(&planned.status).unwrap();
        if self.rollout().unwrap().get("status") == Some(&status) {
            return changed;
        }
        if !matches!(planned.report.rule.as_str(), "Waiting" | "Acting" | "Deleting") {
            self.log
                .push(format!("{:>5} {}", self.clock(), self.decided(planned)));
        }
        if fault == Fault::Status {
            self.log.push(format!("{:>5} lost: status", self.clock()));
            return true;
        }
        self.versions += 1;
        let rollout = self
            .objects
            .get_mut(&(Kind::Rollout, "checkout".to_owned()))
            .unwrap();
        rollout["status"] = status;
        rollout["metadata"]["resourceVersion"] = json!(self.versions.to_string());
        true
    }

    fn decided(&self, planned: &Plan) -> String {
        let step = planned.status.step.clone().unwrap_or_default();
        let promotion = planned
            .status
            .promotion
            .map(|promotion| format!(", {promotion:?}"))
            .unwrap_or_default();
        format!("{} (step {step}{promotion})", planned.report.rule)
    }

    fn write(&mut self, write: &Write) {
        let Target { kind, name } = &write.target;
        let key = (*kind, name.clone());
        let before = self.objects.get(&key).cloned();
        match &write.action {
            Action::Create { object } => {
                assert!(
                    before.is_none(),
                    "{kind:?} {name} is there already\n{}",
                    self.what_happened()
                );
                assert_eq!(object["metadata"]["name"], json!(name));
                self.put(*kind, object.clone());
            }
            Action::Patch {
                precondition,
                subresource,
                ops,
            } => {
                let mut object = before
                    .clone()
                    .unwrap_or_else(|| panic!("{kind:?} {name} is not there"));
                insist(&object, precondition, &key);
                let patch: json_patch::Patch = serde_json::from_value(json!(ops)).unwrap();
                json_patch::patch(&mut object, &patch)
                    .unwrap_or_else(|error| panic!("{kind:?} {name}: {error}: {ops:?}"));
                assert_ne!(
                    before.as_ref(),
                    Some(&object),
                    "{kind:?} {name}: a patch that changes nothing"
                );
                let spec_before = before.as_ref().map(|before| before["spec"].clone());
                assert!(
                    *subresource != Some(Subresource::Status)
                        || spec_before.as_ref() == Some(&object["spec"])
                );
                self.edit(*kind, name, |here| {
                    let generation = here["metadata"]["generation"].clone();
                    *here = object;
                    here["metadata"]["generation"] = generation;
                });
            }
            Action::Delete { precondition } => {
                let object = before
                    .clone()
                    .unwrap_or_else(|| panic!("{kind:?} {name} is not there"));
                insist(&object, precondition, &key);
                self.objects.remove(&key);
            }
        }
        self.let_go(&key);
        let line = describe(&key, before.as_ref(), self.objects.get(&key));
        self.log.push(format!("{:>5} {}", self.clock(), readable(&line)));
    }

    /// An object that is being deleted goes with its last finalizer.
    fn let_go(&mut self, key: &(Kind, String)) {
        let goes = self.objects.get(key).is_some_and(|object| {
            let finalizers = object["metadata"]["finalizers"].as_array();
            object["metadata"].get("deletionTimestamp").is_some() && finalizers.is_none_or(Vec::is_empty)
        });
        if goes {
            self.objects.remove(key);
        }
    }

    /// Until nothing is written and nothing is due. True unless `done` came first.
    pub fn run_until(&mut self, done: impl FnMut(&Cluster) -> bool) -> bool {
        self.run_up_to(None, done)
    }

    fn run_up_to(&mut self, end: Option<DateTime<Utc>>, mut done: impl FnMut(&Cluster) -> bool) -> bool {
        let mut idle = 0;
        for _ in 0..3000 {
            if self.rollout().is_none() {
                return true;
            }
            if done(self) {
                return false;
            }
            let (planned, changed) = self.round();
            if changed {
                idle = 0;
                continue;
            }
            idle += 1;
            let Some(due) = planned.requeue_at.filter(|_| idle < IDLE_LOOKS) else {
                return true;
            };
            assert!(
                due > self.now,
                "due at once although nothing changed\n{}",
                self.what_happened()
            );
            // A look every second at first, then ever later.
            let next = due.max(self.now + Duration::seconds(i64::from(idle / 2)));
            match end {
                Some(end) if next >= end => return false,
                _ => self.now = next,
            }
        }
        panic!(
            "it never comes to rest\n{}",
            self.log
                .iter()
                .rev()
                .take(40)
                .rev()
                .cloned()
                .collect::<Vec<_>>()
                .join("\n")
        );
    }

    pub fn run(&mut self) {
        self.run_until(|_| false);
    }

    pub fn wait(&mut self, seconds: i64) {
        let end = self.now + Duration::seconds(seconds);
        self.run_up_to(Some(end), |_| false);
        self.now = end;
        while self.rollout().is_some() && self.round().1 {}
    }

    pub fn is_in_charge(&self) -> bool {
        let finalizers = self
            .rollout()
            .map(|rollout| rollout["metadata"]["finalizers"].clone());
        finalizers.is_some_and(|list| {
            list.as_array()
                .is_some_and(|list| list.contains(&json!(FINALIZER)))
        })
    }
}

fn insist(object: &Value, precondition: &Precondition, key: &(Kind, String)) {
    assert_eq!(
        object["metadata"]["uid"],
        json!(precondition.uid),
        "uid of {key:?}"
    );
    assert_eq!(
        object["metadata"]["resourceVersion"],
        json!(precondition.resource_version),
        "version of {key:?}"
    );
}

fn from_raw<T: serde::de::DeserializeOwned>(mut object: Value, kind: &str) -> T {
    object["apiVersion"] = json!("tidegate.dev/v1alpha1");
    object["kind"] = json!(kind);
    serde_json::from_value(object).unwrap()
}

fn text(object: &Value, path: &str) -> String {
    object
        .pointer(path)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn strings(object: &Value, path: &str) -> BTreeMap<String, String> {
    object
        .pointer(path)
        .map(|map| serde_json::from_value(map.clone()).unwrap())
        .unwrap_or_default()
}

fn see_service(service: &Value) -> ServiceSeen {
    ServiceSeen {
        name: text(service, "/metadata/name"),
        uid: text(service, "/metadata/uid"),
        resource_version: text(service, "/metadata/resourceVersion"),
        selector: strings(service, "/spec/selector"),
        annotations: strings(service, "/metadata/annotations"),
        external_name: false,
    }
}

fn see_replica_set(set: &Value) -> ReplicaSetSeen {
    let number = |path: &str| set.pointer(path).and_then(Value::as_i64).unwrap_or_default();
    let revision = strings(set, "/metadata/annotations")
        .get(REVISION_ANNOTATION)
        .cloned();
    ReplicaSetSeen {
        name: text(set, "/metadata/name"),
        uid: text(set, "/metadata/uid"),
        resource_version: text(set, "/metadata/resourceVersion"),
        hash: tidegate::api::names::PodTemplateHash(strings(set, "/metadata/labels")[HASH_LABEL].clone()),
        revision: revision.map(|revision| Revision(revision.parse().unwrap())),
        scale_down_at: read_scale_down_at(set),
        created_at: None,
        replicas: number("/spec/replicas"),
        running: number("/status/replicas"),
        ready: number("/status/readyReplicas"),
        available: number("/status/availableReplicas"),
        owned: text(set, "/metadata/ownerReferences/0/uid") == "rollout-uid",
        deleting: false,
    }
}

fn see_endpoints(
    services: &BTreeMap<String, Option<ServiceSeen>>,
    sets: &BTreeMap<String, ReplicaSetSeen>,
) -> BTreeMap<String, EndpointsReady> {
    let behind = |service: &ServiceSeen| {
        let selected = service.selector.get(HASH_LABEL);
        let chosen = sets
            .values()
            .filter(|set| selected.is_none_or(|hash| set.hash.as_str() == hash));
        EndpointsReady {
            by_hash: chosen.map(|set| (set.hash.clone(), set.steady())).collect(),
            others: 0,
        }
    };
    services
        .iter()
        .filter_map(|(name, service)| Some((name.clone(), behind(service.as_ref()?))))
        .collect()
}

/// A change in the words of somebody who watches.
fn describe((kind, name): &(Kind, String), before: Option<&Value>, after: Option<&Value>) -> String {
    let Some(after) = after else {
        return format!("{kind:?} {name} deleted");
    };
    let verb = if before.is_none() { " created," } else { "" };
    let number =
        |object: Option<&Value>| object.map_or(0, |object| object["spec"]["replicas"].as_i64().unwrap());
    match kind {
        Kind::ReplicaSet if before.is_some() && number(before) == number(Some(after)) => {
            let note = read_scale_down_at(after).map_or("not to be scaled down".to_owned(), |at| {
                format!("to go at {}", at.timestamp() - 1_700_000_000)
            });
            format!("{name} {note}")
        }
        Kind::ReplicaSet => format!("{name}{verb} {} -> {}", number(before), number(Some(after))),
        Kind::Service => {
            let selector = &after["spec"]["selector"][HASH_LABEL];
            format!("{name} selects {}", selector.as_str().unwrap_or("everything"))
        }
        Kind::Ingress | Kind::HttpRoute => {
            let weight =
                crate::blame::weight_of(after).map_or("none".to_owned(), |weight| weight.to_string());
            format!("{name}{verb} weight {weight}")
        }
        Kind::RolloutCommand => format!("{name} is {}", after["status"]["phase"].as_str().unwrap_or("?")),
        Kind::AnalysisRun if before.is_some() => format!("{name} terminated"),
        Kind::AnalysisRun => format!("{name} created"),
        Kind::Rollout => format!("finalizers {}", after["metadata"]["finalizers"]),
    }
}

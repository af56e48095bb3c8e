//! A cluster of raw objects that carries out plans: patches are applied by a JSON Patch library that is not
//! ours, preconditions are insisted on, pods and endpoints follow, and time goes on as the plan asks for it.

mod observe;
mod round;

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, Utc};
use serde_json::{Value, json};
use tidegate::api::names::{FINALIZER, HASH_LABEL};
use tidegate::api::rollout_status::{Phase, RolloutStatus};
use tidegate::plan::model::Kind;
use tidegate::plan::snapshot::{Claim, TemplateSeen, Unwritten};

use crate::blame::Blame;
use crate::fixture::{hash, readable, template};

/// More idle looks in a row than any deadline needs: ten minutes and more.
const IDLE_LOOKS: u32 = 23;

/// What goes wrong while a plan is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Fault {
    #[default]
    None,
    /// This write and what follows is not sent.
    Write(usize),
    /// The API server refuses to create a ReplicaSet, or to change what is not the status of a Rollout.
    Refused(Kind),
    /// Everything is written but the status.
    Status,
    /// Everything is written, and what was not worth a write is forgotten.
    Restart,
}

/// What becomes of a weight, by the word of whoever is asked for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DataPlane {
    Obeys,
    /// The canary has this weight, whatever the routes say.
    Ignores(i64),
    IsSilent,
}

#[derive(Clone)]
pub struct Cluster {
    pub objects: BTreeMap<(Kind, String), Value>,
    pub now: DateTime<Utc>,
    /// What was written and decided, a line each.
    pub log: Vec<String>,
    /// Every write and what it is for, a line each.
    pub writes: Vec<String>,
    /// At most so many pods of a version (by hash) become available.
    pub most_ready: BTreeMap<String, i64>,
    /// This condition of every HTTPRoute is False.
    pub refused: Option<String>,
    pub data_plane: DataPlane,
    pub templates: Vec<TemplateSeen>,
    /// What an older Rollout has.
    pub claims: Vec<Claim>,
    /// What the controller knows and has not written.
    pub unwritten: Option<Unwritten>,
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
            writes: Vec::new(),
            most_ready: BTreeMap::new(),
            refused: None,
            data_plane: DataPlane::Obeys,
            templates,
            claims: Vec::new(),
            unwritten: None,
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
        let before = object.clone();
        change(object);
        if object.get("status") != before.get("status") {
            self.unwritten = None;
        }
        if object["spec"] != before["spec"] {
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

    /// As somebody does by hand.
    pub fn select(&mut self, service: &str, version: &str) {
        self.edit(Kind::Service, service, |service| {
            service["spec"]["selector"][HASH_LABEL] = json!(hash(version));
        });
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

    /// What the asker is told.
    pub fn told(&self, command: &str) -> String {
        let command = self.object(Kind::RolloutCommand, command).unwrap();
        command["status"]["message"]
            .as_str()
            .unwrap_or("nothing")
            .to_owned()
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
            let pause = if idle < 14 {
                i64::from(idle / 2)
            } else {
                7 << (idle - 14)
            };
            let next = due.max(self.now + Duration::seconds(pause));
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

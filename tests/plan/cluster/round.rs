//! One round: a plan is made, checked against what must always hold, and carried out as the API server would.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate::api::names::{HASH_LABEL, REVISION_ANNOTATION};
use tidegate::api::rollout_status::RolloutStatus;
use tidegate::plan::model::{Action, Kind, ON_THEIR_OWN, Plan, Precondition, Subresource, Target, Write};
use tidegate::plan::plan;
use tidegate::plan::snapshot::{Snapshot, Unwritten};

use super::{Cluster, Fault};
use crate::fixture::readable;

impl Cluster {
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
                    let status = |type_: &str| {
                        if self.refused.as_deref() == Some(type_) {
                            "False"
                        } else {
                            "True"
                        }
                    };
                    let condition = |type_: &str| json!({"type": type_, "status": status(type_), "observedGeneration": generation});
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
        if !planned.stages.is_empty() || planned.status != self.status() {
            assert_planned_again(&snapshot, &planned, self.now);
        }
        if planned.rule == "Refused" {
            panic!(
                "{}\n{}",
                readable(&planned.status.message.clone().unwrap_or_default()),
                self.what_happened()
            );
        }
        let mut writes = planned.stages.iter().flat_map(|stage| &stage.writes);
        let fault = match fault {
            Fault::Refused(_) if !writes.any(|write| is_refused(write, fault)) => Fault::None,
            fault => fault,
        };
        let before = self.weight();
        let changed = self.carry_out(&planned, fault);
        if self.weight() > before {
            self.assert_on_record(&snapshot);
        }
        self.remember(&planned, fault);
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

    /// Once the routes show the new weight, only the status as written tells what else may be in effect: each split, or
    /// at least one that asks for as much of the stable Service, and the new one for as much of the canary Service.
    fn assert_on_record(&self, before: &Snapshot) {
        let live = |status: &RolloutStatus| {
            let weights = status.canary.weights.iter();
            let splits = weights.flat_map(|weights| weights.live.clone());
            let splits = splits.map(|split| (split.canary_weight, split.stable_hash));
            splits.collect::<Vec<_>>()
        };
        let written = RolloutStatus::deserialize(&before.rollout["status"]).unwrap();
        let recorded = live(&written);
        for split in before
            .unwritten
            .iter()
            .flat_map(|unwritten| live(&unwritten.status))
        {
            let mut known = recorded.iter();
            let is_between = split.0.0 <= self.weight()
                && known.any(|(weight, stable_hash)| *stable_hash == split.1 && *weight <= split.0);
            assert!(
                recorded.contains(&split) || is_between,
                "{split:?} would be forgotten\n{}",
                self.what_happened()
            );
        }
    }

    /// A fault costs the controller its memory as well.
    fn remember(&mut self, planned: &Plan, fault: Fault) {
        let before = self.unwritten.take();
        let postponed = planned.status_due.filter(|_| fault == Fault::None);
        self.unwritten = postponed.map(|_| Unwritten {
            status: planned.status.clone(),
            since: before.map_or(self.now, |before| before.since),
        });
    }

    fn carry_out(&mut self, planned: &Plan, fault: Fault) -> bool {
        let (mut changed, mut refused) = (false, false);
        let writes = planned
            .stages
            .iter()
            .flat_map(|stage| stage.writes.iter().map(move |write| (stage, write)));
        for (index, (stage, write)) in writes.enumerate() {
            if is_refused(write, fault) {
                self.log.push(format!(
                    "{:>5} refused: {}",
                    self.clock(),
                    readable(&write.reason)
                ));
                match ON_THEIR_OWN.contains(&stage.purpose.as_str()) {
                    true => {
                        refused = true;
                        continue;
                    }
                    false => return true,
                }
            }
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
        let is_due = refused || planned.status_due.is_none();
        if !is_due || self.rollout().unwrap().get("status") == Some(&status) {
            return changed;
        }
        if !matches!(planned.rule.as_str(), "Waiting" | "Acting" | "Deleting") {
            self.log
                .push(format!("{:>5} {}", self.clock(), self.decided(planned)));
        }
        if fault == Fault::Status {
            self.log.push(format!("{:>5} lost: status", self.clock()));
            return true;
        }
        self.versions += 1;
        let shown = planned.status.waiting_on.as_ref();
        let shown = shown.map(|waiting| format!("waits for {:?}: {}", waiting.reason, waiting.message));
        let shown = shown.unwrap_or_else(|| format!("{:?}", planned.status.phase.unwrap()));
        let line = format!("{:>5} status: {}, {shown}", self.clock(), self.decided(planned));
        self.writes.push(readable(&line));
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
        format!("{} (step {step}{promotion})", planned.rule)
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
                if *kind == Kind::Service {
                    assert_eq!(
                        object["metadata"]["annotations"]["team"],
                        "payments",
                        "{}",
                        self.what_happened()
                    );
                }
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
        let line = format!("{:>5} {}", self.clock(), readable(&line));
        self.writes.push(format!("{line}: {}", readable(&write.reason)));
        self.log.push(line);
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
}

/// The same comes out for what was saved and read back: nothing else was looked at.
fn assert_planned_again(snapshot: &Snapshot, planned: &Plan, now: DateTime<Utc>) {
    let mut saved = snapshot.clone();
    saved.rollout = serde_json::from_str(&saved.rollout.to_string()).unwrap();
    let again = plan(&saved, now);
    assert_eq!(*planned, again, "planned again, from what was saved");
    // Maps compare without their order.
    let bytes = |plan: &Plan| serde_json::to_string(plan).unwrap();
    assert_eq!(bytes(planned), bytes(&again), "the same bytes");
}

fn is_refused(write: &Write, fault: Fault) -> bool {
    let is_create = matches!(write.action, Action::Create { .. });
    fault == Fault::Refused(write.target.kind) && (is_create || write.target.kind == Kind::Rollout)
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
            let revision = &after["metadata"]["annotations"][REVISION_ANNOTATION];
            format!("{name} is revision {revision}")
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

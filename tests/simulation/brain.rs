//! The planner as the simulation runs it: the real one, watched, and spoilt on purpose where a test wants to see that
//! the rules notice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tidegate::api::analysis_run::Verdict;
use tidegate::api::data_plane::{Question, Said};
use tidegate::api::measure::{MeasureTask, Outcome, Samples};
use tidegate::api::names::{HASH_LABEL, PodTemplateHash};
use tidegate::api::patch::{PatchOp, pointer};
use tidegate::controllers::context::Planner;
use tidegate::plan::model::{Action, Kind, Plan, Precondition, SHIFT, Stage, Target, Write};
use tidegate::plan::snapshot::{ReplicaSetSeen, Snapshot};
use tidegate::providers::{Provider, Witness};
use tidegate::sandbox::rng::Rng;

use super::object::{CANARY, STABLE};
use super::rule::Violation;
use super::scenario::Truth as Quality;

/// A deliberate bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    WeightBeforeReadiness,
    ScaleDownBeforeWeight,
    SelectorBeforeEndpoints,
    AdvanceWithoutVerdict,
    StaleCache,
    FailedReadIsAbsence,
    AbortWaitsForCanary,
    FlipFlopAfterAbort,
    PromoteWrongHash,
    AbortScalesStableDown,
    DataPlaneUnheard,
}

/// What the planner and the simulation tell each other.
#[derive(Default)]
pub struct Shared {
    /// Versions of objects as last written by the controller, by kind and name.
    pub own: BTreeMap<(&'static str, String), u64>,
    /// Objects that there are, other than those that come and go with a release.
    pub present: BTreeMap<(&'static str, String), ()>,
    pub plan: Option<Plan>,
    pub violation: Option<Violation>,
    /// (version, gate) of good answers of the metrics, not taken in yet.
    pub good: Vec<(String, String)>,
    /// What the data plane says of the canary's share if it is asked now; `None`: nothing.
    pub share: Option<f64>,
    earlier: Option<Snapshot>,
    turn: u64,
}

pub fn planner(shared: Arc<Mutex<Shared>>, sabotage: Option<Sabotage>) -> Planner {
    Arc::new(move |snapshot: &Snapshot, now: DateTime<Utc>| {
        let mut shared = shared.lock().unwrap();
        let mut seen = snapshot.clone();
        if let Some(sabotage) = sabotage {
            bend_snapshot(sabotage, &mut seen, &mut shared);
        }
        let violation = shared.stale(&seen);
        shared.violation = shared.violation.take().or(violation);
        let mut plan = tidegate::plan::plan(&seen, now);
        if let Some(sabotage) = sabotage {
            shared.turn += 1;
            bend_plan(sabotage, &seen, &mut plan, shared.turn);
        }
        shared.plan = Some(plan.clone());
        plan
    })
}

impl Shared {
    /// S12: no decision on a state older than our own last write, nor on absence that nobody has seen.
    fn stale(&self, seen: &Snapshot) -> Option<Violation> {
        let mut versions: Vec<((&'static str, String), Option<String>)> = Vec::new();
        let raw = |object: &Value| Some(object.pointer("/metadata/resourceVersion")?.as_str()?.to_owned());
        versions.push((("Rollout", super::object::NAME.to_owned()), raw(&seen.rollout)));
        for (name, service) in &seen.services {
            let version = service.as_ref().map(|service| service.resource_version.clone());
            versions.push((("Service", name.clone()), version));
        }
        for (kind, objects) in [
            ("Ingress", &seen.routes.ingresses),
            ("HTTPRoute", &seen.routes.http_routes),
        ] {
            let routes = objects
                .iter()
                .map(|(name, object)| ((kind, name.clone()), object.as_ref().and_then(raw)));
            versions.extend(routes);
        }
        let sets = seen
            .replica_sets
            .iter()
            .map(|(name, set)| (name.clone(), Some(set.resource_version.clone())));
        let sets: BTreeMap<_, _> = sets.collect();
        let runs = seen
            .runs
            .iter()
            .map(|(name, run)| (name.clone(), run.metadata.resource_version.clone()));
        let runs: BTreeMap<_, _> = runs.collect();
        for (kind, name) in self.own.keys() {
            match *kind {
                "ReplicaSet" => {
                    versions.push((("ReplicaSet", name.clone()), sets.get(name).cloned().flatten()))
                }
                "AnalysisRun" => {
                    versions.push((("AnalysisRun", name.clone()), runs.get(name).cloned().flatten()))
                }
                _ => {}
            }
        }
        versions
            .into_iter()
            .find_map(|(id, version)| self.judge(id, version.as_deref()))
    }

    fn judge(&self, id: (&'static str, String), version: Option<&str>) -> Option<Violation> {
        let own = self.own.get(&id).copied();
        let (kind, name) = &id;
        let text = match version {
            None if own.is_some() || self.present.contains_key(&id) => {
                format!("{kind} {name} is taken for absent")
            }
            None => return None,
            Some(version) => {
                let seen: u64 = version.parse().unwrap();
                let own = own.filter(|own| seen < *own)?;
                format!("{kind} {name} is seen at version {seen}, our own write made {own}")
            }
        };
        Some(Violation { rule: "S12", text })
    }
}

fn bend_snapshot(sabotage: Sabotage, seen: &mut Snapshot, shared: &mut Shared) {
    match sabotage {
        Sabotage::WeightBeforeReadiness if is_released(seen) => {
            let hashes: Vec<PodTemplateHash> =
                seen.replica_sets.values().map(|set| set.hash.clone()).collect();
            for set in seen.replica_sets.values_mut() {
                (set.ready, set.available) = (set.replicas, set.replicas);
            }
            for endpoints in seen.endpoints.iter_mut().flat_map(BTreeMap::values_mut) {
                endpoints.by_hash = hashes.iter().map(|hash| (hash.clone(), 100)).collect();
            }
        }
        Sabotage::AdvanceWithoutVerdict => {
            for run in seen.runs.values_mut() {
                let mut status = run.status.clone().unwrap_or_default();
                status.phase = Verdict::Successful;
                run.status = Some(status);
            }
        }
        Sabotage::DataPlaneUnheard => {
            for place in [
                "/spec/strategy/canary/trafficRouting",
                "/status/canary/routing/trafficRouting",
            ] {
                let routing = seen.rollout.pointer_mut(place).and_then(Value::as_object_mut);
                routing.and_then(|routing| routing.remove("dataPlane"));
            }
        }
        Sabotage::StaleCache => {
            let fresh = seen.clone();
            if let Some(earlier) = shared.earlier.replace(fresh) {
                seen.replica_sets = earlier.replica_sets;
            }
        }
        _ => {}
    }
}

/// A version other than stable is on its way.
fn is_released(seen: &Snapshot) -> bool {
    let status = |field: &str| seen.rollout.pointer(&format!("/status/{field}")).cloned();
    status("stableRS").is_some() && status("stableRS") != status("currentPodHash")
}

fn bend_plan(sabotage: Sabotage, seen: &Snapshot, plan: &mut Plan, turn: u64) {
    let status = |pointer: &str| {
        let value = seen.rollout.pointer(&format!("/status/{pointer}"));
        value.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let set = |hash: &str| seen.replica_sets.values().find(|set| set.hash.as_str() == hash);
    let aborted = seen.rollout.pointer("/status/abort") == Some(&json!(true));
    let current = status("currentPodHash");
    let is_canary_short = set(&current).is_some_and(|set| set.available < set.replicas);
    match sabotage {
        Sabotage::ScaleDownBeforeWeight if aborted => {
            let early = set(&current)
                .filter(|set| set.replicas > 0)
                .map(|set| scale(set, 0));
            plan.stages.splice(0..0, early);
        }
        Sabotage::SelectorBeforeEndpoints => {
            let unready = set(&current).filter(|set| set.available == 0);
            let early = unready.and_then(|set| select(seen, STABLE, set.hash.as_str()));
            plan.stages.extend(early);
        }
        Sabotage::AbortWaitsForCanary if aborted && is_canary_short => {
            plan.stages.retain(|stage| stage.purpose != SHIFT);
        }
        Sabotage::FlipFlopAfterAbort if aborted => {
            let hash = if turn.is_multiple_of(2) {
                current
            } else {
                status("stableRS")
            };
            let waits = plan.stages.is_empty() && set(&hash).is_some();
            plan.stages
                .extend(waits.then(|| select(seen, CANARY, &hash)).flatten());
        }
        Sabotage::PromoteWrongHash => {
            let stable = status("stableRS");
            let promoted = plan
                .status
                .stable_rs
                .as_ref()
                .is_some_and(|hash| hash.as_str() != stable);
            if promoted && !stable.is_empty() {
                let mut others = seen.replica_sets.values().map(|set| set.hash.clone());
                let wrong = others.find(|hash| hash.as_str() != current && hash.as_str() != stable);
                plan.status.stable_rs = wrong.or(Some(PodTemplateHash("0000000000".to_owned())));
            }
        }
        Sabotage::AbortScalesStableDown if current == status("stableRS") => {
            let asked = seen.commands.values().any(|command| {
                command.spec.verb == tidegate::api::rollout_command::Verb::Abort
                    && command
                        .status
                        .as_ref()
                        .is_none_or(|status| status.phase.is_none())
            });
            let stable = set(&current).filter(|set| asked && set.replicas > 0);
            plan.stages.extend(stable.map(|set| scale(set, 0)));
        }
        _ => {}
    }
}

fn stage(target: Target, precondition: Precondition, ops: Vec<PatchOp>) -> Stage {
    let action = Action::Patch {
        precondition,
        subresource: None,
        ops,
    };
    let write = Write {
        target,
        action,
        reason: "sabotage".to_owned(),
    };
    Stage {
        purpose: "sabotage".to_owned(),
        writes: vec![write],
    }
}

fn scale(set: &ReplicaSetSeen, replicas: i64) -> Stage {
    let target = Target {
        kind: Kind::ReplicaSet,
        name: set.name.clone(),
    };
    let precondition = Precondition {
        uid: set.uid.clone(),
        resource_version: set.resource_version.clone(),
    };
    stage(
        target,
        precondition,
        vec![PatchOp::replace("/spec/replicas", replicas)],
    )
}

fn select(seen: &Snapshot, service: &str, hash: &str) -> Option<Stage> {
    let service = seen.services.get(service)?.as_ref()?;
    if service
        .selector
        .get(HASH_LABEL)
        .is_some_and(|selected| selected == hash)
    {
        return None;
    }
    let target = Target {
        kind: Kind::Service,
        name: service.name.clone(),
    };
    let precondition = Precondition {
        uid: service.uid.clone(),
        resource_version: service.resource_version.clone(),
    };
    let op = PatchOp::add(pointer(["spec", "selector", HASH_LABEL]), hash);
    Some(stage(target, precondition, vec![op]))
}

/// Knows what the data plane does.
pub struct Plane {
    pub shared: Arc<Mutex<Shared>>,
}

impl Witness for Plane {
    fn ask<'a>(&'a self, _: &'a Question, _: DateTime<Utc>) -> BoxFuture<'a, Said> {
        let said = match self.shared.lock().unwrap().share {
            Some(share) => Said::Share { share, requests: 1e6 },
            None => Said::Nothing("no answer".to_owned()),
        };
        Box::pin(async { said })
    }
}

/// Metrics that know how good every version really is, and sometimes do not answer.
pub struct Oracle {
    pub quality: BTreeMap<String, Quality>,
    pub shared: Arc<Mutex<Shared>>,
    pub trouble: Mutex<(Rng, f64, bool)>,
}

impl Provider for Oracle {
    fn measure<'a>(&'a self, task: &'a MeasureTask, _: DateTime<Utc>) -> BoxFuture<'a, Outcome> {
        let label = |name: &str| {
            let (_, rest) = task.query.split_once(&format!("{name}=\"")).unwrap();
            rest.split_once('"').unwrap().0.to_owned()
        };
        let (gate, hash) = (label("gate"), label("hash"));
        let mut trouble = self.trouble.lock().unwrap();
        let (rng, chance, failed) = &mut *trouble;
        let chance = *chance;
        // Never twice in a row: an outage that lasts is another test's subject.
        *failed = !*failed && rng.chance(chance);
        let outcome = if *failed {
            Outcome::Error("refused".to_owned())
        } else {
            let value = match self.quality.get(&hash) {
                Some(Quality::Good) => {
                    self.shared.lock().unwrap().good.push((hash, gate));
                    0.0
                }
                Some(Quality::Bad) | None => 1.0,
                Some(Quality::Murky) => 0.5,
            };
            Outcome::Samples(Samples::Scalar(value))
        };
        Box::pin(async { outcome })
    }
}

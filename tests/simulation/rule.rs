//! The safety rules of the design, judged at every write of the controller against the truth.
//!
//! A write is not blamed for what it could not know: pods count as available if they were at some time since the
//! oldest moment that the round may have seen, less what the controller itself has told to go.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::Value;
use tidegate::api::names::{HASH_LABEL, MANAGED_BY_ANNOTATION};
use tidegate::sandbox::api_server::Commit;
use tidegate::sandbox::api_server::store::Verb;
use tidegate::sandbox::resource::list;

use super::object::{CANARY, NAME, NAMESPACE, STABLE, int, text};
use super::scenario::{Routing, Scenario, Truth as Quality};
use super::truth::{Truth, hash_of, weights};

/// A rule by its name in the design, and how it was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub rule: &'static str,
    pub text: String,
}

type Verdict = Result<(), Violation>;

fn ensure(holds: bool, rule: &'static str, text: impl FnOnce() -> String) -> Verdict {
    if holds {
        Ok(())
    } else {
        Err(Violation { rule, text: text() })
    }
}

/// The moment of a write.
#[derive(Clone, Copy)]
pub struct Moment {
    pub now: DateTime<Utc>,
    /// Nothing older than this may have been seen.
    pub since: DateTime<Utc>,
}

pub struct Rules {
    routing: Routing,
    dynamic: bool,
    surge: i64,
    background: bool,
    bake: bool,
    /// How good the versions really are, by hash.
    pub quality: BTreeMap<String, Quality>,
    /// (version, gate) for which the metrics gave a good answer.
    pub judged: BTreeSet<(String, String)>,
    /// (version, gate) that a person took the responsibility for.
    overridden: BTreeSet<(String, String)>,
    promoted_full: BTreeSet<String>,
}

fn ceil(pods: i64, share: f64) -> i64 {
    (pods as f64 * share - 1e-9).ceil().max(0.0) as i64
}

impl Rules {
    pub fn new(scenario: &Scenario, quality: BTreeMap<String, Quality>) -> Self {
        Rules {
            routing: scenario.routing,
            dynamic: scenario.dynamic,
            surge: scenario.surge,
            background: scenario.background,
            bake: scenario.bake && scenario.background,
            quality,
            judged: BTreeSet::new(),
            overridden: BTreeSet::new(),
            promoted_full: BTreeSet::new(),
        }
    }

    /// Judges a write of the controller; `truth` is what was true before it.
    pub fn check(&mut self, commit: &Commit, truth: &Truth, moment: Moment) -> Verdict {
        check_precondition(commit)?;
        check_footprint(commit)?;
        match commit.kind.as_str() {
            "ReplicaSet" => self.check_scale(commit, truth, moment),
            "Service" => self.check_selector(commit, truth, moment),
            "Ingress" | "HTTPRoute" => self.check_weights(commit, truth, moment),
            "Rollout" => self.check_status(commit, truth, moment),
            _ => Ok(()),
        }
    }

    /// S2, S3, and S22 where the pods are the traffic.
    fn check_scale(&self, commit: &Commit, truth: &Truth, moment: Moment) -> Verdict {
        let Some(after) = commit.after.as_deref() else {
            return Ok(());
        };
        let hash = hash_of(after);
        let replicas = int(after, "/spec/replicas");
        let before = truth.replicas.get(&hash).copied().unwrap_or(0);
        let (wanted, most_wanted) = truth.wanted(moment.since);
        if self.routing == Routing::None {
            return self.check_plain_scale(truth, moment, (&hash, before, replicas), (wanted, most_wanted));
        }
        if replicas >= before {
            return Ok(());
        }
        let share = truth.share(&hash, moment.now);
        let main =
            matches!(self.routing, Routing::Nginx { .. }) && truth.may_serve(STABLE, &hash, moment.now);
        let needed = ceil(wanted, share).max(i64::from(main && wanted > 0));
        ensure(replicas >= needed, "S3", || {
            format!(
                "version {hash} shrinks from {before} to {replicas} and may get {share:.2} of the traffic: {needed} pods"
            )
        })?;
        let available = truth.available(&hash, moment.since).1;
        let (had, left) = (available.min(before), available.min(replicas));
        ensure(left >= had || left >= needed, "S2", || {
            format!("version {hash} from {before} to {replicas} leaves {left} available pods of {needed}")
        })?;
        let is_stable = truth.status("stableRS") == hash && !self.dynamic;
        ensure(!is_stable || replicas >= wanted, "S3", || {
            format!("stable shrinks from {before} to {replicas} of {wanted}")
        })
    }

    fn check_plain_scale(
        &self,
        truth: &Truth,
        moment: Moment,
        (hash, before, replicas): (&str, i64, i64),
        (wanted, most_wanted): (i64, i64),
    ) -> Verdict {
        let total = |changed: i64, of: fn(&Truth, &str, i64, Moment) -> i64| -> i64 {
            let others = truth.replicas.iter().filter(|(other, _)| *other != hash);
            others
                .map(|(other, replicas)| of(truth, other, *replicas, moment))
                .sum::<i64>()
                + of(truth, hash, changed, moment)
        };
        let steady = |truth: &Truth, hash: &str, replicas: i64, moment: Moment| {
            truth.available(hash, moment.since).1.min(replicas)
        };
        let (left, had) = (total(replicas, steady), total(before, steady));
        ensure(left >= had || left >= wanted - 1, "S2", || {
            format!("{hash} from {before} to {replicas} leaves {left} available pods of {wanted}")
        })?;
        let all = |_: &Truth, _: &str, replicas: i64, _: Moment| replicas;
        let (sum, had) = (total(replicas, all), total(before, all));
        ensure(sum <= had || sum <= most_wanted + self.surge, "S22", || {
            format!("{hash} from {before} to {replicas} makes {sum} pods for {most_wanted}")
        })
    }

    /// S4.
    fn check_selector(&self, commit: &Commit, truth: &Truth, moment: Moment) -> Verdict {
        let pointer = format!("/spec/selector/{}", HASH_LABEL.replace('/', "~1"));
        let hash = commit
            .after
            .as_deref()
            .map(|after| text(after, &pointer))
            .unwrap_or_default();
        let name = commit.name.as_str();
        ensure(!hash.is_empty(), "S4", || {
            format!("Service {name} selects no version")
        })?;
        if truth.selected.get(name).is_some_and(|before| before == hash) || self.routing == Routing::None {
            return Ok(());
        }
        let (low, high) = truth.canary_share(moment.now);
        let share = if name == CANARY { high } else { 1.0 - low };
        let main = matches!(self.routing, Routing::Nginx { .. }) && name == STABLE;
        let wanted = truth.wanted(moment.since).0;
        let needed = match share {
            0.0 => i64::from(main && wanted > 0),
            share => (ceil(wanted, share) - 1).max(1).min(wanted),
        };
        let available = truth.available(hash, moment.since).1;
        ensure(available >= needed, "S4", || {
            format!(
                "Service {name} with {share:.2} of the traffic selects {hash}, which has {available} available pods of {needed}"
            )
        })
    }

    /// S1, S5, S6, S7, S9, S21.
    fn check_weights(&self, commit: &Commit, truth: &Truth, moment: Moment) -> Verdict {
        check_form(commit)?;
        for (id, weight) in weights(&commit.kind, &commit.name, commit.after.as_deref()) {
            let share = weight.share();
            let before = truth.newest_weight(&id).map_or(0.0, |before| before.share());
            let what = format!("{id}: {before:.2} to {share:.2}");
            if share > before {
                self.check_raise(share, &what, truth, moment)?;
            } else if share < before {
                check_lower(share, &what, truth, moment)?;
            }
        }
        Ok(())
    }

    fn check_raise(&self, share: f64, what: &str, truth: &Truth, moment: Moment) -> Verdict {
        let aborted = truth.rollout.pointer("/status/abort") == Some(&Value::Bool(true));
        ensure(!aborted, "S9", || format!("{what} after an abort"))?;
        ensure(!truth.paused_since(moment.since), "S21", || {
            format!("{what} while paused")
        })?;
        let hash = truth.selected.get(CANARY).cloned().unwrap_or_default();
        let needed = ceil(truth.wanted(moment.since).0, share).max(1);
        let available = truth.available(&hash, moment.since).1;
        ensure(available >= needed, "S5", || {
            format!("{what} with {available} available pods of {needed} of version {hash}")
        })?;
        let troubled = truth.available(&hash, moment.since).0 == 0;
        ensure(
            troubled || truth.is_served(CANARY, &hash, moment.now),
            "S1",
            || format!("{what} and the data plane knows no endpoint of version {hash}"),
        )
    }

    /// S8, S9, S10, S21 about a new status.
    fn check_status(&mut self, commit: &Commit, truth: &Truth, moment: Moment) -> Verdict {
        let (Some(before), Some(after)) = (commit.before.as_deref(), commit.after.as_deref()) else {
            return Ok(());
        };
        let hash = text(after, "/status/currentPodHash").to_owned();
        let same = |field: &str| before.pointer(field) == after.pointer(field);
        let is_new = !same("/status/currentPodHash");
        let is_retry = int(after, "/status/retries") > int(before, "/status/retries");
        if is_new || is_retry {
            self.judged.retain(|(of, _)| *of != hash);
            self.overridden.retain(|(of, _)| *of != hash);
        }
        self.take_commands(before, after, truth, &hash);
        let aborted = |object: &Value| object.pointer("/status/abort") == Some(&Value::Bool(true));
        ensure(
            !aborted(before) || aborted(after) || is_new || is_retry,
            "S9",
            || "an abort is taken back".to_owned(),
        )?;
        let restarted = is_new || is_retry || aborted(after) || !same("/status/currentStepHash");
        if !restarted {
            self.check_advance(before, after, &hash, truth, moment)?;
        }
        self.check_promotion(before, after, &hash)
    }

    /// Remembers what a person is responsible for.
    fn take_commands(&mut self, before: &Value, after: &Value, truth: &Truth, hash: &str) {
        let handled = |object: &Value| -> BTreeSet<String> {
            let uids = list(object, "/status/handledCommands").iter();
            uids.filter_map(|uid| Some(uid.as_str()?.to_owned())).collect()
        };
        for uid in handled(after).difference(&handled(before)) {
            match truth.commands.get(uid).map(String::as_str) {
                Some("PromoteFull") => {
                    self.promoted_full.insert(hash.to_owned());
                }
                Some("Promote") => {
                    let index = int(before, "/status/currentStepIndex");
                    let gates = gate_at(before, index).into_iter();
                    let gates = gates.chain(["background".to_owned(), "bake".to_owned()]);
                    self.overridden.extend(gates.map(|gate| (hash.to_owned(), gate)));
                }
                _ => {}
            }
        }
    }

    fn check_advance(
        &self,
        before: &Value,
        after: &Value,
        hash: &str,
        truth: &Truth,
        moment: Moment,
    ) -> Verdict {
        let index = |object: &Value| int(object, "/status/currentStepIndex");
        let (from, to) = (index(before), index(after));
        ensure(to >= from, "S10", || format!("step {from} to {to}"))?;
        if to == from || self.promoted_full.contains(hash) {
            return Ok(());
        }
        ensure(to == from + 1, "S10", || format!("step {from} to {to}"))?;
        ensure(!truth.paused_since(moment.since), "S21", || {
            format!("step {from} ends while paused")
        })?;
        self.check_gate(hash, gate_at(before, from))
    }

    fn check_gate(&self, hash: &str, gate: Option<String>) -> Verdict {
        let Some(gate) = gate else { return Ok(()) };
        let id = (hash.to_owned(), gate);
        ensure(
            self.judged.contains(&id) || self.overridden.contains(&id),
            "S8",
            || format!("gate {} of version {hash} is passed without a good answer", id.1),
        )
    }

    fn check_promotion(&self, before: &Value, after: &Value, hash: &str) -> Verdict {
        let stable = text(after, "/status/stableRS");
        if stable == text(before, "/status/stableRS") {
            return Ok(());
        }
        ensure(
            stable == hash && stable == text(before, "/status/currentPodHash"),
            "S8",
            || format!("version {stable} becomes stable while {hash} is released"),
        )?;
        if text(before, "/status/stableRS").is_empty() || self.promoted_full.contains(hash) {
            return Ok(());
        }
        let (done, count) = text(before, "/status/step").split_once('/').unwrap_or_default();
        ensure(
            done == count && before.pointer("/status/promotion").is_some(),
            "S10",
            || format!("version {hash} becomes stable at step {done} of {count}"),
        )?;
        self.check_gate(hash, self.background.then(|| "background".to_owned()))?;
        self.check_gate(hash, self.bake.then(|| "bake".to_owned()))?;
        let trusted = self.overridden.iter().any(|(of, _)| of == hash);
        let bad = self
            .quality
            .get(hash)
            .is_none_or(|quality| *quality == Quality::Bad);
        ensure(trusted || !bad, "S8", || {
            format!("version {hash} is bad and becomes stable")
        })
    }
}

/// The name of the gate that stands at a step.
fn gate_at(rollout: &Value, index: i64) -> Option<String> {
    let gate = format!("/spec/strategy/canary/steps/{index}/analysis/args/0/value");
    Some(rollout.pointer(&gate)?.as_str()?.to_owned())
}

/// S7: the traffic goes back only to somebody who can take it, unless the canary is dead anyway.
fn check_lower(share: f64, what: &str, truth: &Truth, moment: Moment) -> Verdict {
    let wanted = truth.wanted(moment.since).0;
    let hash = |service: &str| truth.selected.get(service).cloned().unwrap_or_default();
    let (stable, canary) = (hash(STABLE), hash(CANARY));
    let available = truth.available(&stable, moment.since).1;
    let aborted = truth.rollout.pointer("/status/abort") == Some(&Value::Bool(true));
    let by_share = (ceil(wanted, 1.0 - share) - 1).max(1);
    let needed = if aborted { 1 } else { by_share }.min(wanted);
    let dead = truth.available(&canary, moment.since).0 == 0;
    ensure(available >= needed || dead, "S7", || {
        format!("{what} while stable has {available} available pods of {needed}")
    })
}

/// S6: weights are spelled out, in range, and the same in every rule.
fn check_form(commit: &Commit) -> Verdict {
    let Some(after) = commit.after.as_deref() else {
        return Ok(());
    };
    let weights = weights(&commit.kind, &commit.name, Some(after));
    let in_range = weights
        .iter()
        .all(|(_, weight)| weight.1 > 0 && (0..=weight.1).contains(&weight.0));
    ensure(in_range, "S6", || format!("weights {weights:?}"))?;
    let all_same = weights.windows(2).all(|pair| pair[0].1 == pair[1].1);
    ensure(all_same, "S6", || {
        format!("rules of one route differ: {weights:?}")
    })?;
    for backend in list(after, "/spec/rules")
        .iter()
        .flat_map(|rule| list(rule, "/backendRefs"))
    {
        let explicit = backend.get("weight").is_some_and(Value::is_i64);
        ensure(explicit, "S6", || format!("{backend} has no weight"))?;
    }
    Ok(())
}

fn check_precondition(commit: &Commit) -> Verdict {
    let named = commit.had_resource_version && commit.had_uid;
    ensure(commit.verb == Verb::Create || named, "S12", || {
        format!(
            "{:?} of {} {} without version and uid",
            commit.verb, commit.kind, commit.name
        )
    })
}

/// S13: only what is ours, and of what is not, only what we may touch.
fn check_footprint(commit: &Commit) -> Verdict {
    let ours = commit.namespace == NAMESPACE
        && match commit.kind.as_str() {
            "Rollout" => commit.name == NAME,
            "Service" => [STABLE, CANARY].contains(&commit.name.as_str()),
            "ReplicaSet" | "AnalysisRun" => commit.name.starts_with(&format!("{NAME}-")),
            "Ingress" => commit.name.starts_with(&format!("{NAME}-")) && commit.name.ends_with("-canary"),
            "HTTPRoute" | "RolloutCommand" => true,
            _ => false,
        };
    let subject = || format!("{:?} of {} {}", commit.verb, commit.kind, commit.name);
    ensure(ours, "S13", subject)?;
    let (Some(before), Some(after)) = (commit.before.as_deref(), commit.after.as_deref()) else {
        return Ok(());
    };
    ensure(
        foreign_part(&commit.kind, before) == foreign_part(&commit.kind, after),
        "S13",
        || format!("{} changes what is not ours", subject()),
    )
}

/// An object without everything that we may change.
fn foreign_part(kind: &str, object: &Value) -> Value {
    let mut rest = object.clone();
    let mut remove = |parent: &str, field: &str| {
        if let Some(parent) = rest.pointer_mut(parent).and_then(Value::as_object_mut) {
            parent.remove(field);
        }
    };
    for field in ["resourceVersion", "generation", "managedFields"] {
        remove("/metadata", field);
    }
    match kind {
        "Service" => {
            remove("/spec/selector", HASH_LABEL);
            remove("/metadata/annotations", MANAGED_BY_ANNOTATION);
        }
        "Rollout" => {
            remove("", "status");
            remove("/metadata", "finalizers");
        }
        "HTTPRoute" => {
            remove("/metadata", "annotations");
            let rules = list(object, "/spec/rules").len();
            (0..rules).for_each(|index| remove(&format!("/spec/rules/{index}"), "backendRefs"));
        }
        "RolloutCommand" => remove("", "status"),
        _ => return Value::Null,
    }
    if rest
        .pointer("/metadata/annotations")
        .is_some_and(|map| map.as_object().is_some_and(serde_json::Map::is_empty))
        && let Some(metadata) = rest.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.remove("annotations");
    }
    rest
}

//! The ReplicaSet controller: as many pods as `spec.replicas` says, and a status that counts them.
//!
//! It does not adopt pods without an owner, and of a selector it reads `matchLabels` only.

use std::cmp::Reverse;

use chrono::{DateTime, TimeDelta, Utc};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};

use super::{Error, failed, is_gone, list_pods};
use crate::sandbox::resource::{
    Key, is_ready, is_terminating, list, pods, ready_condition, replica_sets, text, text_map,
};
use crate::sandbox::rng::Rng;

/// Fields of the status that are left out when they are zero, unlike the number of pods.
const COUNTS_UNLESS_ZERO: [&str; 3] = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// What one sync has done to pods, so that a cache can follow at once.
#[derive(Debug)]
pub(super) enum Written {
    /// Created, or told to terminate.
    Put(Box<DynamicObject>),
    Deleted(Key),
}

/// Brings one ReplicaSet's pods and status up to date. The answer is when to look again if nothing happens before.
pub async fn sync_replica_set(
    client: &kube::Client,
    key: &Key,
    now: DateTime<Utc>,
    rng: &mut Rng,
) -> Result<Option<TimeDelta>, Error> {
    let found = key.api(client, &replica_sets()).get_opt(&key.name).await;
    let Some(replica_set) = found.map_err(failed("read", "ReplicaSet", key))? else {
        return Ok(None);
    };
    let candidates = list_pods(client, key, &selector(&replica_set)).await?;
    reconcile(client, &replica_set, &candidates, now, rng, &mut Vec::new()).await
}

/// The labels by which a ReplicaSet finds its pods.
pub(super) fn selector(replica_set: &DynamicObject) -> std::collections::BTreeMap<String, String> {
    text_map(&replica_set.data, "/spec/selector/matchLabels")
}

/// The step itself, for callers that know the ReplicaSet and the pods its selector matches. `written` tells what was
/// done even when a later write fails.
pub(super) async fn reconcile(
    client: &kube::Client,
    replica_set: &DynamicObject,
    candidates: &[DynamicObject],
    now: DateTime<Utc>,
    rng: &mut Rng,
    written: &mut Vec<Written>,
) -> Result<Option<TimeDelta>, Error> {
    if is_terminating(replica_set) {
        return Ok(None);
    }
    let key = Key::of(replica_set);
    let plan = plan(replica_set, candidates, now);
    let api = key.api(client, &pods());
    for _ in 0..plan.create {
        let pod = render_pod(replica_set, &rng.name_from(&format!("{}-", key.name)));
        let created = api.create(&PostParams::default(), &pod).await;
        written.push(Written::Put(Box::new(created.map_err(failed(
            "create a pod of",
            "ReplicaSet",
            &key,
        ))?)));
    }
    for (pod, uid) in plan.delete {
        let preconditions = Some(Preconditions {
            uid,
            resource_version: None,
        });
        let result = api
            .delete(
                &pod.name,
                &DeleteParams {
                    preconditions,
                    ..DeleteParams::default()
                },
            )
            .await;
        let answer = match result {
            Err(error) if !is_gone(&error) => return Err(failed("delete", "Pod", &pod)(error)),
            answer => answer
                .ok()
                .and_then(|answer| answer.left())
                .filter(is_terminating),
        };
        written.push(answer.map_or(Written::Deleted(pod), |pod| Written::Put(Box::new(pod))));
    }
    if let Some(mut status) = plan.status {
        // A merge patch removes what it names null.
        if let Some(fields) = status.as_object_mut() {
            for name in COUNTS_UNLESS_ZERO {
                fields.entry(name).or_insert(Value::Null);
            }
        }
        let patch = Patch::Merge(json!({ "status": status }));
        let api = key.api(client, &replica_sets());
        let patched = api.patch_status(&key.name, &PatchParams::default(), &patch).await;
        patched.map_err(failed("write the status of", "ReplicaSet", &key))?;
    }
    Ok(plan.again_after)
}

/// What to do about one ReplicaSet.
#[derive(Debug, PartialEq)]
struct Plan {
    create: usize,
    /// Pods to delete, with their uids.
    delete: Vec<(Key, Option<String>)>,
    /// None when the status is right already.
    status: Option<Value>,
    /// When the next pod becomes available by `minReadySeconds`.
    again_after: Option<TimeDelta>,
}

fn plan(replica_set: &DynamicObject, candidates: &[DynamicObject], now: DateTime<Utc>) -> Plan {
    let mut active: Vec<&DynamicObject> = candidates
        .iter()
        .filter(|pod| is_owned_by(pod, replica_set) && is_active(pod))
        .collect();
    active.sort_by_cached_key(|pod| order_of_going(pod));
    let terminating = candidates
        .iter()
        .filter(|pod| is_owned_by(pod, replica_set) && is_terminating(pod));
    let terminating = terminating.count();
    let wanted = replica_set
        .data
        .pointer("/spec/replicas")
        .and_then(Value::as_u64)
        .unwrap_or(1);
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    let surplus = active.len().saturating_sub(wanted);
    let (status, again_after) = status(replica_set, &active, terminating, now);
    Plan {
        create: wanted.saturating_sub(active.len()),
        delete: active
            .iter()
            .take(surplus)
            .map(|pod| (Key::of(pod), pod.metadata.uid.clone()))
            .collect(),
        status: (replica_set.data.get("status") != Some(&status)).then_some(status),
        again_after,
    }
}

/// The first to go: without node, not running, not ready, cheap, ready for a short time, new.
fn order_of_going(pod: &DynamicObject) -> impl Ord + use<> {
    let annotations = pod.metadata.annotations.as_ref();
    let cost = annotations.and_then(|all| all.get(DELETION_COST)?.parse::<i32>().ok());
    let since = ready_condition(pod).filter(|_| is_ready(pod));
    let since = since.and_then(|condition| text(condition, "/lastTransitionTime").map(str::to_owned));
    (
        text(&pod.data, "/spec/nodeName").is_some(),
        text(&pod.data, "/status/phase") == Some("Running"),
        is_ready(pod),
        cost.unwrap_or(0),
        Reverse(since),
        Reverse(pod.metadata.creation_timestamp.clone()),
        pod.metadata.name.clone(),
    )
}

fn status(
    replica_set: &DynamicObject,
    active: &[&DynamicObject],
    terminating: usize,
    now: DateTime<Utc>,
) -> (Value, Option<TimeDelta>) {
    let min_ready = replica_set
        .data
        .pointer("/spec/minReadySeconds")
        .and_then(Value::as_i64)
        .unwrap_or(0);
    let waits: Vec<TimeDelta> = active
        .iter()
        .filter_map(|pod| available_after(pod, TimeDelta::seconds(min_ready), now))
        .collect();
    let available = waits.iter().filter(|wait| **wait <= TimeDelta::zero()).count();
    let mut status = replica_set
        .data
        .get("status")
        .cloned()
        .unwrap_or_else(|| json!({}));
    let counts = [active.len(), waits.len(), available];
    if let Some(status) = status.as_object_mut() {
        status.insert("replicas".to_owned(), json!(active.len()));
        status.insert("terminatingReplicas".to_owned(), json!(terminating));
        for (name, count) in COUNTS_UNLESS_ZERO.into_iter().zip(counts) {
            if count == 0 {
                status.remove(name);
            } else {
                status.insert(name.to_owned(), json!(count));
            }
        }
        status.insert(
            "observedGeneration".to_owned(),
            json!(replica_set.metadata.generation),
        );
    }
    (
        status,
        waits.into_iter().filter(|wait| *wait > TimeDelta::zero()).min(),
    )
}

/// How long until a pod counts as available; none when it is not ready.
fn available_after(pod: &DynamicObject, min_ready: TimeDelta, now: DateTime<Utc>) -> Option<TimeDelta> {
    if !is_ready(pod) {
        return None;
    }
    let since = ready_condition(pod).and_then(|condition| text(condition, "/lastTransitionTime"));
    let since = since.and_then(|time| DateTime::parse_from_rfc3339(time).ok());
    Some(since.map_or(TimeDelta::zero(), |since| since.to_utc() + min_ready - now))
}

fn is_owned_by(pod: &DynamicObject, replica_set: &DynamicObject) -> bool {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    owners
        .any(|owner| owner.controller == Some(true) && Some(&owner.uid) == replica_set.metadata.uid.as_ref())
}

fn is_active(pod: &DynamicObject) -> bool {
    let finished = matches!(text(&pod.data, "/status/phase"), Some("Succeeded" | "Failed"));
    !finished && !is_terminating(pod)
}

/// A pod from the template, which is passed on as it is.
fn render_pod(replica_set: &DynamicObject, name: &str) -> DynamicObject {
    let mut pod = DynamicObject::new(name, &pods());
    let template = replica_set
        .data
        .pointer("/spec/template")
        .cloned()
        .unwrap_or_default();
    let owner: Option<_> = replica_set
        .metadata
        .name
        .clone()
        .zip(replica_set.metadata.uid.clone());
    pod.metadata.generate_name = replica_set.metadata.name.as_ref().map(|name| format!("{name}-"));
    pod.metadata.namespace = replica_set.metadata.namespace.clone();
    pod.metadata.labels = Some(text_map(&template, "/metadata/labels"));
    pod.metadata.annotations = Some(text_map(&template, "/metadata/annotations"));
    pod.metadata.finalizers = Some(
        list(&template, "/metadata/finalizers")
            .iter()
            .filter_map(|f| Some(f.as_str()?.to_owned()))
            .collect(),
    );
    pod.metadata.owner_references = owner.map(|(name, uid)| {
        vec![k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
            api_version: "apps/v1".to_owned(),
            kind: "ReplicaSet".to_owned(),
            name,
            uid,
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]
    });
    pod.data = json!({ "spec": template.get("spec") });
    pod
}

#[cfg(test)]
mod tests;

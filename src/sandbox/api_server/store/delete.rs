//! Deletion: preconditions, grace, finalizers, propagation, whole collections and namespaces.
//!
//! Dependents are not collected here: that is the garbage collector's work, which goes through the API. A
//! deleted namespace takes its objects along; those with finalizers stay, marked as being deleted.

use std::sync::Arc;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::answer::Body;
use super::refusal::Refusal;
use super::selector::Selector;
use super::{Call, ObjectKey, Store, meta};

/// Grace of a pod that does not say its own.
const DEFAULT_POD_GRACE_SECONDS: i64 = 30;

/// Whether nothing holds a deleted object any longer: no finalizers and no grace.
pub(super) fn is_finished(object: &Value) -> bool {
    let grace = meta::get(object, "deletionGracePeriodSeconds")
        .and_then(Value::as_i64)
        .unwrap_or(0);
    meta::is_deleting(object) && meta::finalizers(object).is_empty() && grace == 0
}

impl Store {
    pub(super) fn delete(&mut self, call: &mut Call<'_>) -> Result<Body, Refusal> {
        let stored = self.object(call)?;
        check_preconditions(call, &stored)?;
        let key = call.key();
        let Some(remaining) = self.delete_object(call, &key, &stored) else {
            self.after_removal(call, &key);
            return Ok(match call.resource.kind.as_str() {
                "Pod" | "Service" | "ServiceAccount" => marked_anew(call, &stored).into(),
                _ => success(call, &stored).into(),
            });
        };
        Ok(Body::Object(remaining))
    }

    pub(super) fn delete_collection(&mut self, call: &mut Call<'_>) -> Result<Body, Refusal> {
        let selector = Selector::of(call.request, &call.resource)?;
        let namespace = call.target.namespace.as_deref();
        let doomed: Vec<(ObjectKey, Arc<Value>)> = self
            .collection(&call.resource)
            .into_iter()
            .flat_map(|collection| collection.list(namespace))
            .filter(|(_, object)| selector.matches(object))
            .map(|(key, object)| (key.clone(), Arc::clone(object)))
            .collect();
        let mut items = Vec::with_capacity(doomed.len());
        for (key, object) in doomed {
            if self.delete_object(call, &key, &object).is_none() {
                self.after_removal(call, &key);
            }
            items.push(object);
        }
        Ok(Body::List {
            kind: call.resource.list_kind.clone(),
            api_version: call.resource.api_version(),
            metadata: json!({"resourceVersion": self.version.to_string()}),
            items,
        })
    }

    /// Removes the object, or marks it as being deleted and hands back what remains.
    fn delete_object(
        &mut self,
        call: &mut Call<'_>,
        key: &ObjectKey,
        stored: &Arc<Value>,
    ) -> Option<Arc<Value>> {
        let marked = marked_anew(call, stored);
        if is_finished(&marked) {
            self.commit(call, key.clone(), None);
            return None;
        }
        if marked == **stored {
            return Some(Arc::clone(stored));
        }
        self.commit(call, key.clone(), Some(marked))
    }

    /// What goes with a namespace or a definition.
    fn after_removal(&mut self, call: &mut Call<'_>, key: &ObjectKey) {
        if call.is_dry_run() {
            return;
        }
        match call.resource.kind.as_str() {
            "Namespace" => self.empty_out(call, |resource, found| {
                resource.namespaced && found.namespace == key.name
            }),
            "CustomResourceDefinition" => {
                let (plural, group) = key.name.split_once('.').unwrap_or((&key.name, ""));
                let collection = format!("{group}/{plural}");
                self.empty_out(call, |resource, _| resource.key == collection);
                self.registry.uninstall(&collection);
            }
            _ => {}
        }
    }

    /// Deletes every object that `doomed` names, of any resource.
    fn empty_out(&mut self, call: &mut Call<'_>, doomed: impl Fn(&super::Resource, &ObjectKey) -> bool) {
        let resources: Vec<_> = self.registry.iter().cloned().collect();
        let own = Arc::clone(&call.resource);
        for resource in resources {
            let found: Vec<(ObjectKey, Arc<Value>)> = self
                .collection(&resource)
                .into_iter()
                .flat_map(|collection| collection.list(None))
                .filter(|(key, _)| doomed(&resource, key))
                .map(|(key, object)| (key.clone(), Arc::clone(object)))
                .collect();
            call.resource = resource;
            for (key, object) in found {
                self.delete_object(call, &key, &object);
            }
        }
        call.resource = own;
    }
}

fn option<'a>(call: &'a Call<'_>, name: &str) -> Option<&'a str> {
    call.body
        .get(name)
        .and_then(Value::as_str)
        .or_else(|| call.request.param(name))
}

fn check_preconditions(call: &Call<'_>, stored: &Value) -> Result<(), Refusal> {
    for (field, shown) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
        let wanted = call
            .body
            .pointer(&format!("/preconditions/{field}"))
            .and_then(Value::as_str);
        let actual = meta::text(stored, field);
        if let Some(wanted) = wanted
            && wanted != actual
        {
            let why = format!(
                "Precondition failed: {shown} in precondition: {wanted}, {shown} in object meta: {actual}"
            );
            return Err(Refusal::precondition_failed(call.subject(), &why));
        }
    }
    Ok(())
}

/// The object with the marks of deletion, which are a new generation of it.
fn marked_anew(call: &Call<'_>, stored: &Value) -> Value {
    let mut marked = mark(call, stored);
    if call.resource.has_generation && !meta::is_deleting(stored) {
        meta::set(&mut marked, "generation", json!(meta::generation(stored) + 1));
    }
    marked
}

/// The object with the marks of deletion; one that is deleted already only ever gets less grace.
fn mark(call: &Call<'_>, stored: &Value) -> Value {
    let mut marked = stored.clone();
    let grace = grace_seconds(call, stored);
    let earlier = meta::get(stored, "deletionGracePeriodSeconds").and_then(Value::as_i64);
    if earlier.is_none_or(|earlier| grace < earlier) {
        let at = call.now + TimeDelta::try_seconds(grace).unwrap_or_default();
        meta::set(&mut marked, "deletionTimestamp", meta::timestamp(at));
        meta::set(&mut marked, "deletionGracePeriodSeconds", json!(grace));
    }
    let finalizer = match option(call, "propagationPolicy") {
        Some("Foreground") => "foregroundDeletion",
        Some("Orphan") => "orphan",
        _ => return marked,
    };
    let mut finalizers: Vec<String> = meta::finalizers(stored).into_iter().map(str::to_owned).collect();
    if !finalizers.iter().any(|known| known == finalizer) {
        finalizers.push(finalizer.to_owned());
    }
    meta::set(&mut marked, "finalizers", json!(finalizers));
    marked
}

/// Only pods have grace, and only those that a node may be running.
fn grace_seconds(call: &Call<'_>, stored: &Value) -> i64 {
    if call.resource.kind != "Pod" {
        return 0;
    }
    let text = |pointer: &str| {
        stored
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let is_over = matches!(text("/status/phase"), "Succeeded" | "Failed");
    if text("/spec/nodeName").is_empty() || is_over {
        return 0;
    }
    let asked = call.body.get("gracePeriodSeconds").and_then(Value::as_i64);
    let asked = asked.or_else(|| call.request.param("gracePeriodSeconds")?.parse().ok());
    let own = stored
        .pointer("/spec/terminationGracePeriodSeconds")
        .and_then(Value::as_i64);
    let grace = asked.or(own).unwrap_or(DEFAULT_POD_GRACE_SECONDS);
    if grace < 0 { 1 } else { grace }
}

fn success(call: &Call<'_>, stored: &Value) -> Value {
    let subject = call.resource.subject(meta::text(stored, "name"));
    let mut details = subject.details(subject.resource);
    if let Some(fields) = details.as_object_mut() {
        fields.insert("uid".to_owned(), json!(meta::text(stored, "uid")));
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

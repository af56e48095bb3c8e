//! Create, update and patch.

use std::sync::Arc;

use serde_json::{Value, json};

use super::answer::Body;
use super::refusal::{Refusal, Subject};
use super::request::Verb;
use super::{Call, ObjectKey, Store, admit, crd, delete, meta, patch};
use crate::api::schema::{Reason, Violation};

const REVIEW_GROUPS: [&str; 2] = ["authentication.k8s.io", "authorization.k8s.io"];

impl Store {
    pub(super) fn create(&mut self, call: &mut Call<'_>) -> Result<Body, Refusal> {
        let mut object = call.body.as_ref().clone();
        if REVIEW_GROUPS.contains(&call.resource.group.as_str()) {
            return Ok(review(call, object).into());
        }
        check_type(call, &mut object)?;
        if object
            .get("metadata")
            .is_some_and(|metadata| !metadata.is_object())
        {
            return Err(Refusal::bad_request("metadata must be an object"));
        }
        let key = self.name_new_object(call, &mut object)?;
        self.check_namespace(call, &key)?;
        if self
            .collection(&call.resource)
            .is_some_and(|found| found.get(&key).is_some())
        {
            return Err(Refusal::already_exists(call.resource.subject(&key.name)));
        }
        if meta::get(&object, "resourceVersion").is_some_and(|version| version != "") {
            return Err(Refusal::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        for field in [
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "managedFields",
            "selfLink",
        ] {
            meta::remove(&mut object, field);
        }
        meta::set(&mut object, "uid", json!(self.rng.uid()));
        meta::set(&mut object, "creationTimestamp", meta::timestamp(call.now));
        if call.resource.has_generation {
            meta::set(&mut object, "generation", json!(1));
        }
        if call.resource.has_status
            && let Some(fields) = object.as_object_mut()
        {
            fields.remove("status");
        }
        admit::admit(call, &key.name, &mut object, None)?;
        self.install_if_definition(call, &mut object)?;
        let stored = self.commit(call, key, Some(object));
        Ok(Body::Object(stored.unwrap_or_default()))
    }

    fn name_new_object(&mut self, call: &Call<'_>, object: &mut Value) -> Result<ObjectKey, Refusal> {
        if meta::text(object, "name").is_empty() {
            let prefix = meta::text(object, "generateName").to_owned();
            if prefix.is_empty() {
                let mut violations = vec![Violation::required(
                    "metadata.name",
                    "name or generateName is required",
                )];
                if call.resource.custom.is_some() {
                    violations.push(admit::unchecked_rules());
                }
                return Err(Refusal::invalid(call.resource.subject(""), &violations));
            }
            let name = self.rng.name_from(&prefix);
            meta::set(object, "name", json!(name));
        }
        check_place(call, object)?;
        let namespace = call.target.namespace.clone().unwrap_or_default();
        if call.resource.namespaced {
            meta::set(object, "namespace", json!(namespace));
        }
        Ok(ObjectKey {
            namespace,
            name: meta::text(object, "name").to_owned(),
        })
    }

    fn check_namespace(&self, call: &Call<'_>, key: &ObjectKey) -> Result<(), Refusal> {
        if !call.resource.namespaced {
            return Ok(());
        }
        let namespaces = self.registry.find("", "v1", "namespaces");
        let Some(namespaces) = namespaces else {
            return Ok(());
        };
        let found = self
            .collection(namespaces)
            .and_then(|all| all.get(&ObjectKey::new("", &key.namespace)));
        match found {
            None => Err(Refusal::not_found(namespaces.subject(&key.namespace))),
            Some(namespace) if meta::is_deleting(namespace) => Err(Refusal::forbidden(format!(
                "unable to create new content in namespace {} because it is being terminated",
                key.namespace
            ))),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn update(&mut self, call: &mut Call<'_>) -> Result<Body, Refusal> {
        let stored = self.object(call)?;
        let mut candidate = call.body.as_ref().clone();
        check_type(call, &mut candidate)?;
        if meta::text(&candidate, "resourceVersion").is_empty() && call.resource.requires_version_on_update()
        {
            return Err(without_version(call));
        }
        self.replace(call, &stored, candidate)
    }

    pub(super) fn patch(&mut self, call: &mut Call<'_>) -> Result<Body, Refusal> {
        let stored = self.object(call)?;
        let mut candidate = patch::patched(&call.resource, &stored, &call.request.content_type, &call.body)?;
        check_type(call, &mut candidate)?;
        if meta::text(&candidate, "resourceVersion").is_empty() && call.resource.requires_version_on_update()
        {
            return Err(without_version(call));
        }
        if meta::text(&candidate, "uid") != meta::text(&stored, "uid") {
            let uid = json!(meta::text(&candidate, "uid"));
            let violation = Violation::invalid("metadata.uid", &uid, "field is immutable");
            return Err(Refusal::invalid(call.subject(), &[violation]));
        }
        self.replace(call, &stored, candidate)
    }

    /// The common end of update and patch: puts the candidate in the stored object's place.
    pub(super) fn replace(
        &mut self,
        call: &mut Call<'_>,
        stored: &Arc<Value>,
        mut candidate: Value,
    ) -> Result<Body, Refusal> {
        check_place(call, &candidate)?;
        check_preconditions(call, stored, &candidate)?;
        let status_apart = call.resource.has_status;
        if call.target.subresource.as_deref() == Some("status") {
            candidate = with_status_of(stored, &candidate);
        } else if status_apart && call.target.subresource.as_deref() != Some("binding") {
            keep_status(&mut candidate, stored);
        }
        check_deletion_mark(call, stored, &candidate)?;
        meta::keep_server_fields(&mut candidate, stored);
        check_new_finalizers(call, stored, &candidate)?;
        let name = call.target.name.as_deref().unwrap_or_default();
        admit::admit(call, name, &mut candidate, Some(stored))?;
        let is_binding = call.target.subresource.as_deref() == Some("binding");
        if call.resource.has_generation && !is_binding && meta::wants_differ(stored, &candidate, status_apart)
        {
            meta::set(&mut candidate, "generation", json!(meta::generation(stored) + 1));
        }
        self.install_if_definition(call, &mut candidate)?;
        meta::set(
            &mut candidate,
            "resourceVersion",
            json!(meta::text(stored, "resourceVersion")),
        );
        if candidate == **stored {
            return Ok(Body::Object(Arc::clone(stored)));
        }
        let key = call.key();
        if delete::is_finished(&candidate) {
            self.commit(call, key, None);
            return Ok(candidate.into());
        }
        let updated = self.commit(call, key, Some(candidate));
        Ok(Body::Object(updated.unwrap_or_default()))
    }

    /// A definition takes effect with the write that brings it, and says so in its status.
    fn install_if_definition(&mut self, call: &Call<'_>, object: &mut Value) -> Result<(), Refusal> {
        if call.resource.kind != "CustomResourceDefinition" || call.target.subresource.is_some() {
            return Ok(());
        }
        let resource = crd::resource(object)?;
        let condition = |kind: &str| {
            json!({"type": kind, "status": "True", "reason": "Sandbox", "message": "",
                "lastTransitionTime": meta::get(object, "creationTimestamp")})
        };
        let status = json!({
            "conditions": [condition("NamesAccepted"), condition("Established")],
            "acceptedNames": object.pointer("/spec/names"),
            "storedVersions": [resource.version],
        });
        if let Some(fields) = object.as_object_mut() {
            fields.insert("status".to_owned(), status);
        }
        if !call.is_dry_run() {
            self.registry.install(resource);
        }
        Ok(())
    }
}

/// Answers the reviews that clients create to ask who they are and what they may do: anything.
fn review(call: &Call<'_>, mut object: Value) -> Value {
    let status = match call.resource.kind.as_str() {
        "SelfSubjectReview" => json!({"userInfo": {"username": "sandbox", "groups": ["system:masters"]}}),
        _ => json!({"allowed": true, "reason": "the sandbox allows everything"}),
    };
    if let Some(fields) = object.as_object_mut() {
        fields.insert("status".to_owned(), status);
    }
    object
}

fn without_version(call: &Call<'_>) -> Refusal {
    let subject = Subject {
        kind: &call.resource.plural,
        ..call.subject()
    };
    let detail = "must be specified for an update";
    let violation = Violation::invalid("metadata.resourceVersion", &json!(0), detail);
    Refusal::invalid(subject, &[violation])
}

/// Fills in apiVersion and kind, which clients of built-in kinds may leave out, and refuses others than the path's.
fn check_type(call: &Call<'_>, object: &mut Value) -> Result<(), Refusal> {
    let Some(fields) = object.as_object_mut() else {
        return Err(Refusal::bad_request(format!(
            "the body must be a {} object",
            call.resource.kind
        )));
    };
    let is_custom = call.resource.custom.is_some();
    for (field, expected) in [
        ("apiVersion", call.resource.api_version()),
        ("kind", call.resource.kind.clone()),
    ] {
        if is_custom && !fields.contains_key(field) {
            return Err(Refusal::bad_request(format!(
                "{field} is missing from the object"
            )));
        }
        let found = fields.entry(field).or_insert_with(|| json!(expected));
        if *found == expected.as_str() {
            continue;
        }
        let found = found.clone();
        let is_put_elsewhere = call.request.verb == Verb::Update && field == "apiVersion";
        if !is_custom || call.request.verb == Verb::Create || is_put_elsewhere {
            let message =
                format!("the {field} in the data ({found}) does not match the expected one ({expected})");
            return Err(Refusal::bad_request(message));
        }
        let violation = Violation::invalid(field, &found, format!("must be {expected}"));
        let (kind, version) = (text_of(object, "kind"), text_of(object, "apiVersion"));
        let subject = Subject {
            group: version.split_once('/').map_or("", |(group, _)| group),
            kind: &kind,
            ..call.subject()
        };
        return Err(Refusal::invalid(subject, &[violation]));
    }
    Ok(())
}

fn text_of(object: &Value, field: &str) -> String {
    object
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// Name and namespace in the object must be those of the path.
fn check_place(call: &Call<'_>, object: &Value) -> Result<(), Refusal> {
    let (name, namespace) = (meta::text(object, "name"), meta::text(object, "namespace"));
    if let Some(expected) = call.target.name.as_deref()
        && name != expected
    {
        let message =
            format!("the name of the object ({name}) does not match the name on the URL ({expected})");
        return Err(Refusal::bad_request(message));
    }
    let expected = call.target.namespace.as_deref().unwrap_or_default();
    if call.resource.namespaced && expected.is_empty() {
        return Err(Refusal::method_not_allowed());
    }
    if !namespace.is_empty() && namespace != expected {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Refusal::bad_request(message));
    }
    Ok(())
}

fn check_preconditions(call: &Call<'_>, stored: &Value, candidate: &Value) -> Result<(), Refusal> {
    let (wanted, actual) = (meta::text(candidate, "uid"), meta::text(stored, "uid"));
    if !wanted.is_empty() && wanted != actual {
        let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {actual}");
        return Err(Refusal::conflict(call.subject(), &why));
    }
    let version = meta::text(candidate, "resourceVersion");
    if !version.is_empty() && version != meta::text(stored, "resourceVersion") {
        return Err(Refusal::stale(call.subject()));
    }
    Ok(())
}

/// Only a deletion marks an object as being deleted.
fn check_deletion_mark(call: &Call<'_>, stored: &Value, candidate: &Value) -> Result<(), Refusal> {
    let mark = meta::get(candidate, "deletionTimestamp");
    match mark.filter(|mark| Some(*mark) != meta::get(stored, "deletionTimestamp")) {
        None => Ok(()),
        Some(mark) => {
            let violation = Violation::invalid("metadata.deletionTimestamp", mark, "field is immutable");
            Err(Refusal::invalid(call.subject(), &[violation]))
        }
    }
}

fn with_status_of(stored: &Value, candidate: &Value) -> Value {
    let mut result = stored.clone();
    if let Some(fields) = result.as_object_mut() {
        match candidate.get("status") {
            Some(status) => fields.insert("status".to_owned(), status.clone()),
            None => fields.remove("status"),
        };
    }
    result
}

fn keep_status(candidate: &mut Value, stored: &Value) {
    if let Some(fields) = candidate.as_object_mut() {
        match stored.get("status") {
            Some(status) => fields.insert("status".to_owned(), status.clone()),
            None => fields.remove("status"),
        };
    }
}

fn check_new_finalizers(call: &Call<'_>, stored: &Value, candidate: &Value) -> Result<(), Refusal> {
    let known = meta::finalizers(stored);
    let added: Vec<&str> = meta::finalizers(candidate)
        .into_iter()
        .filter(|finalizer| !known.contains(finalizer))
        .collect();
    if !meta::is_deleting(stored) || added.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
    );
    let violation = Violation::new("metadata.finalizers", Reason::Forbidden, &Value::Null, detail);
    Err(Refusal::invalid(call.subject(), &[violation]))
}

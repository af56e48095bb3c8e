//! What the manifests name and do not hold, as the cluster has it.

use std::collections::BTreeSet;

use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use serde_json::Value;

use super::reference::{CLUSTER_TEMPLATE, Catalogue, Key};
use crate::api::names::{GROUP, VERSION};
use crate::cli::error::{CliError, Request};
use crate::cli::session::{Session, to_value};

/// In the namespace that an object says, else that of the session. What is found may name more, which is looked up too.
pub async fn look_up(objects: &[&Value], session: &Session) -> Result<Vec<Value>, CliError> {
    let (mut found, mut asked) = (Vec::new(), BTreeSet::new());
    loop {
        for key in wanted(objects, &found, &asked) {
            found.extend(fetch(&key, session).await?);
            asked.insert(key);
        }
        if wanted(objects, &found, &asked).is_empty() {
            return Ok(found);
        }
    }
}

fn wanted(objects: &[&Value], found: &[Value], asked: &BTreeSet<Key>) -> BTreeSet<Key> {
    let all = || objects.iter().copied().chain(found);
    let catalogue = Catalogue::of(all());
    let wanted = all().flat_map(|object| catalogue.wanted(object));
    wanted.filter(|key| !asked.contains(key)).collect()
}

/// Nothing if it is not there; else the object, in the namespace by which it was asked for.
async fn fetch((kind, written, name): &Key, session: &Session) -> Result<Option<Value>, CliError> {
    let (group, version) = match kind.as_str() {
        "Service" => ("", "v1"),
        "Ingress" => ("networking.k8s.io", "v1"),
        "HTTPRoute" => ("gateway.networking.k8s.io", "v1"),
        _ => (GROUP, VERSION),
    };
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let namespace = if written.is_empty() {
        &session.namespace
    } else {
        written
    };
    let is_namespaced = kind != CLUSTER_TEMPLATE;
    let client = session.client.clone();
    let api: Api<DynamicObject> = if is_namespaced {
        Api::namespaced_with(client, namespace, &resource)
    } else {
        Api::all_with(client, &resource)
    };
    match api.get(name).await {
        Ok(object) => Ok(Some(as_written(to_value(&object), written))),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => {
            let resource = match group {
                "" => resource.plural,
                group => format!("{}.{group}", resource.plural),
            };
            let request = Request {
                verb: "get",
                resource,
                name: Some(name.clone()),
                namespace: is_namespaced.then(|| namespace.clone()),
            };
            Err(session.fail(request, error).await)
        }
    }
}

fn as_written(mut object: Value, namespace: &str) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    object
}

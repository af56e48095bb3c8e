//! The spec of a canary Ingress, derived from its stable Ingress.
//!
//! Class, TLS, hosts, paths and path types are copied as they are: a data plane that finds a difference splits
//! nothing and says nothing. Of each rule only the paths to the stable Service are copied (Argo Rollouts copies
//! all of them). A foreign path has nothing to split, and where the canary Ingress is the older of the two, as
//! after the stable one was made anew, ingress-nginx takes its foreign backend for an alternative
//! without a primary and drops that path.

use serde_json::{Map, Value, json};

use super::super::{RouteTarget, object};

/// Fields of the spec that are derived; an Ingress has no others.
pub const FIELDS: [&str; 4] = ["defaultBackend", "ingressClassName", "rules", "tls"];

/// `None` when nothing leads to the stable Service.
pub fn derive(target: &RouteTarget, stable: &Value) -> Option<Map<String, Value>> {
    let spec = stable.get("spec")?.as_object()?;
    let default_backend = spec
        .get("defaultBackend")
        .filter(|backend| leads_to(backend, target.stable_service));
    let rules: Vec<Value> = object::list(stable, "/spec/rules")
        .iter()
        .filter_map(|rule| derive_rule(target, rule, default_backend.is_some()))
        .collect();
    if rules.is_empty() && default_backend.is_none() {
        return None;
    }
    let mut derived = Map::new();
    for field in ["ingressClassName", "tls"] {
        if let Some(value) = spec.get(field).filter(|value| !value.is_null()) {
            derived.insert(field.to_owned(), value.clone());
        }
    }
    if let Some(backend) = default_backend {
        derived.insert("defaultBackend".to_owned(), to_canary(target, backend));
    }
    if !rules.is_empty() {
        derived.insert("rules".to_owned(), Value::Array(rules));
    }
    Some(derived)
}

/// Whether an Ingress backend is this Service; a resource backend is none.
pub fn leads_to(backend: &Value, service: &str) -> bool {
    object::text(backend, "/service/name") == Some(service)
}

/// Every path of the Ingress with the host of its rule.
pub fn paths(ingress: &Value) -> impl Iterator<Item = (Option<&str>, &Value)> {
    object::list(ingress, "/spec/rules").iter().flat_map(|rule| {
        let host = object::text(rule, "/host");
        object::list(rule, "/http/paths")
            .iter()
            .map(move |path| (host, path))
    })
}

/// The ports by which an Ingress leads to a Service, numbers or names.
pub fn ports<'a>(ingress: &'a Value, service: &str) -> Vec<Option<&'a Value>> {
    let default_backend = ingress.pointer("/spec/defaultBackend");
    let backends = paths(ingress).filter_map(|(_, path)| path.get("backend"));
    let ours = backends
        .chain(default_backend)
        .filter(|backend| leads_to(backend, service));
    ours.map(|backend| {
        let port = backend.pointer("/service/port")?;
        port.get("number").or(port.get("name"))
    })
    .collect()
}

/// A rule without paths leads to the default backend.
fn derive_rule(target: &RouteTarget, rule: &Value, default_is_stable: bool) -> Option<Value> {
    let paths = object::list(rule, "/http/paths");
    if paths.is_empty() {
        return default_is_stable.then(|| rule.clone());
    }
    let derived: Vec<Value> = paths
        .iter()
        .filter_map(|path| {
            let backend = path
                .get("backend")
                .filter(|backend| leads_to(backend, target.stable_service))?;
            let mut path = path.clone();
            path.as_object_mut()?
                .insert("backend".to_owned(), to_canary(target, backend));
            Some(path)
        })
        .collect();
    if derived.is_empty() {
        return None;
    }
    let mut rule = rule.clone();
    *rule.pointer_mut("/http/paths")? = Value::Array(derived);
    Some(rule)
}

fn to_canary(target: &RouteTarget, backend: &Value) -> Value {
    let mut backend = backend.clone();
    if let Some(name) = backend.pointer_mut("/service/name") {
        *name = json!(target.canary_service);
    }
    backend
}

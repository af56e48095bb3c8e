//! What a gateway controller writes into an HTTPRoute's status. It writes as soon as it has seen a generation, which is
//! long before requests follow it: status is no proof.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::http_route::HttpRoute;
use crate::sandbox::resource::{Key, http_routes, list};

/// The name by which this data plane signs its part of a status.
pub const CONTROLLER_NAME: &str = "tidegate.dev/sandbox";

const WRITE_WITHIN: Duration = Duration::from_secs(1);

/// The routes and Services as they are written, ahead of what is in effect.
#[derive(Default)]
pub(super) struct Statuses {
    routes: BTreeMap<Key, DynamicObject>,
    services: BTreeSet<Key>,
    routes_of: BTreeMap<Key, BTreeSet<Key>>,
}

impl Statuses {
    /// Takes a route's new state; answers the status to write, if its own is not right.
    pub(super) fn put_route(
        &mut self,
        key: &Key,
        route: Option<&DynamicObject>,
        now: DateTime<Utc>,
    ) -> Option<Value> {
        if let Some(old) = self.routes.remove(key) {
            for service in backends(key, &old) {
                if let Some(routes) = self.routes_of.get_mut(&service) {
                    routes.remove(key);
                }
            }
        }
        let route = route?;
        for service in backends(key, route) {
            self.routes_of.entry(service).or_default().insert(key.clone());
        }
        self.routes.insert(key.clone(), route.clone());
        self.status(key, now)
    }

    /// Takes a Service's appearance or going; answers the statuses that change with it.
    pub(super) fn put_service(&mut self, key: &Key, exists: bool, now: DateTime<Utc>) -> Vec<(Key, Value)> {
        let changed = if exists {
            self.services.insert(key.clone())
        } else {
            self.services.remove(key)
        };
        if !changed {
            return Vec::new();
        }
        let routes = self.routes_of.get(key).into_iter().flatten();
        routes
            .filter_map(|route| Some((route.clone(), self.status(route, now)?)))
            .collect()
    }

    fn status(&self, key: &Key, now: DateTime<Utc>) -> Option<Value> {
        let route = self.routes.get(key)?;
        let missing = backends(key, route)
            .into_iter()
            .find(|service| !self.services.contains(service));
        let parents: Vec<_> = list(&route.data, "/spec/parentRefs")
            .iter()
            .map(|parent| render_parent(route, parent, missing.as_ref(), now))
            .collect();
        let status = json!({ "parents": parents });
        let current = route.data.get("status").map(without_times);
        (current.as_ref() != Some(&without_times(&status))).then_some(status)
    }
}

/// Writes a status; a route that is gone needs none. It gives up soon: routing must not wait for it.
pub(super) async fn write(client: &kube::Client, key: &Key, status: &Value) {
    let patch = Patch::Merge(json!({ "status": status }));
    let api = key.api(client, &http_routes());
    let parameters = PatchParams::default();
    let written = tokio::time::timeout(WRITE_WITHIN, api.patch_status(&key.name, &parameters, &patch)).await;
    if !matches!(written, Ok(Ok(_))) {
        tracing::debug!(%key, ?written, "cannot write the status of HTTPRoute");
    }
}

fn backends(key: &Key, route: &DynamicObject) -> BTreeSet<Key> {
    let rules = HttpRoute::parse(key, &route.data).rules;
    rules
        .into_iter()
        .flat_map(|rule| rule.backends)
        .map(|backend| backend.service)
        .collect()
}

fn render_parent(route: &DynamicObject, parent: &Value, missing: Option<&Key>, now: DateTime<Utc>) -> Value {
    let condition = |kind: &str, status: &str, reason: &str, message: String| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "observedGeneration": route.metadata.generation,
            "lastTransitionTime": now.to_rfc3339_opts(SecondsFormat::Secs, true),
        })
    };
    let resolved = match missing {
        None => condition("ResolvedRefs", "True", "ResolvedRefs", String::new()),
        Some(service) => condition(
            "ResolvedRefs",
            "False",
            "BackendNotFound",
            format!("Service {service} does not exist"),
        ),
    };
    let accepted = condition("Accepted", "True", "Accepted", String::new());
    json!({"parentRef": parent, "controllerName": CONTROLLER_NAME, "conditions": [accepted, resolved]})
}

fn without_times(status: &Value) -> Value {
    let mut status = status.clone();
    let parents = status
        .get_mut("parents")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten();
    for condition in parents
        .filter_map(|parent| parent.get_mut("conditions")?.as_array_mut())
        .flatten()
    {
        if let Some(condition) = condition.as_object_mut() {
            condition.remove("lastTransitionTime");
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(generation: i64, status: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "shop", "namespace": "shop", "generation": generation},
            "spec": {
                "parentRefs": [{"name": "gateway"}],
                "rules": [{"backendRefs": [{"name": "stable", "port": 80}]}],
            },
            "status": status,
        }))
        .unwrap()
    }

    fn key(name: &str) -> Key {
        Key::new("shop", name)
    }

    fn resolved(status: &Value) -> (&str, i64) {
        let condition = status.pointer("/parents/0/conditions/1").unwrap();
        (
            condition["status"].as_str().unwrap(),
            condition["observedGeneration"].as_i64().unwrap(),
        )
    }

    #[test]
    fn a_status_is_written_once_per_generation() {
        let now = DateTime::UNIX_EPOCH;
        let mut statuses = Statuses::default();
        statuses.put_service(&key("stable"), true, now);
        let status = statuses
            .put_route(&key("shop"), Some(&route(3, Value::Null)), now)
            .unwrap();
        assert_eq!(resolved(&status), ("True", 3));
        let later = now + chrono::TimeDelta::seconds(5);
        assert_eq!(
            statuses.put_route(&key("shop"), Some(&route(3, status.clone())), later),
            None
        );
        let status = statuses
            .put_route(&key("shop"), Some(&route(4, status)), later)
            .unwrap();
        assert_eq!(resolved(&status), ("True", 4));
    }

    #[test]
    fn a_missing_service_unresolves_the_route_until_it_exists() {
        let now = DateTime::UNIX_EPOCH;
        let mut statuses = Statuses::default();
        let status = statuses
            .put_route(&key("shop"), Some(&route(1, Value::Null)), now)
            .unwrap();
        assert_eq!(resolved(&status).0, "False");
        statuses.put_route(&key("shop"), Some(&route(1, status)), now);
        let again = statuses.put_service(&key("stable"), true, now);
        assert!(matches!(again.as_slice(), [(_, status)] if resolved(status).0 == "True"));
    }
}

//! One rule of an HTTPRoute as far as it concerns a Rollout: where its two Services stand among the backends.

use serde_json::{Value, json};

use super::super::{RouteTarget, object};
use crate::api::patch::PatchOp;

/// What an omitted weight counts as.
const WEIGHT_DEFAULT: i64 = 1;

/// A rule that refers to at least one of the two Services.
pub struct Rule<'a> {
    pub index: usize,
    pub stable: Vec<Backend<'a>>,
    pub canary: Vec<Backend<'a>>,
    pub foreign: Vec<Backend<'a>>,
}

#[derive(Clone, Copy)]
pub struct Backend<'a> {
    pub index: usize,
    pub raw: &'a Value,
}

/// The rules of the route that concern the Rollout, in order.
pub fn read_rules<'a>(target: &RouteTarget, route: &'a Value) -> Vec<Rule<'a>> {
    object::list(route, "/spec/rules")
        .iter()
        .enumerate()
        .filter_map(|(index, rule)| {
            let mut read = Rule {
                index,
                stable: Vec::new(),
                canary: Vec::new(),
                foreign: Vec::new(),
            };
            for (index, raw) in object::list(rule, "/backendRefs").iter().enumerate() {
                let side = if is_service(target, raw, target.stable_service) {
                    &mut read.stable
                } else if is_service(target, raw, target.canary_service) {
                    &mut read.canary
                } else {
                    &mut read.foreign
                };
                side.push(Backend { index, raw });
            }
            let concerns = !read.stable.is_empty() || !read.canary.is_empty();
            concerns.then_some(read)
        })
        .collect()
}

/// Services and ports that the rules of ours lead to, the reference to the canary that may still be added included.
pub fn ports<'a>(target: &RouteTarget<'a>, route: &'a Value) -> Vec<(&'a str, Option<&'a Value>)> {
    let port = |backend: &Backend<'a>| backend.raw.get("port");
    let rules = read_rules(target, route).into_iter();
    let ports = rules.flat_map(|rule| {
        let canary = if rule.canary.is_empty() {
            &rule.stable
        } else {
            &rule.canary
        };
        let to_canary = canary
            .iter()
            .map(|backend| (target.canary_service, port(backend)));
        let to_stable = rule
            .stable
            .iter()
            .map(|backend| (target.stable_service, port(backend)));
        to_stable.chain(to_canary).collect::<Vec<_>>()
    });
    ports.collect()
}

/// The ports of the references to the canary that there are.
pub fn canary_ports<'a>(target: &RouteTarget, route: &'a Value) -> Vec<Option<&'a Value>> {
    let rules = read_rules(target, route).into_iter();
    let canary = rules.flat_map(|rule| rule.canary);
    canary.map(|backend| backend.raw.get("port")).collect()
}

fn is_service(target: &RouteTarget, backend: &Value, service: &str) -> bool {
    let is = |path: &str, value: &str, default: &str| match backend.pointer(path) {
        None | Some(Value::Null) => value == default,
        Some(field) => field.as_str() == Some(value),
    };
    object::text(backend, "/name") == Some(service)
        && is("/group", "", "")
        && is("/kind", "Service", "Service")
        && is("/namespace", target.namespace, target.namespace)
}

impl Backend<'_> {
    pub fn weight(&self) -> i64 {
        self.raw
            .get("weight")
            .and_then(Value::as_i64)
            .unwrap_or(WEIGHT_DEFAULT)
            .max(0)
    }
}

impl Rule<'_> {
    pub fn stable_weight(&self) -> i64 {
        sum(&self.stable)
    }

    pub fn canary_weight(&self) -> i64 {
        sum(&self.canary)
    }

    /// Path of the list of backends.
    pub fn path(&self) -> String {
        format!("/spec/rules/{}/backendRefs", self.index)
    }

    pub fn backend_path(&self, backend: &Backend) -> String {
        format!("{}/{}", self.path(), backend.index)
    }

    /// Insists that the backend still stands where it was seen.
    pub fn test_name(&self, backend: &Backend) -> PatchOp {
        let name = backend.raw.get("name").cloned().unwrap_or_default();
        PatchOp::test(format!("{}/name", self.backend_path(backend)), name)
    }

    /// Nothing when the backend has that weight, spelled out.
    pub fn set_weight(&self, backend: &Backend, weight: i64) -> Vec<PatchOp> {
        let path = format!("{}/weight", self.backend_path(backend));
        let mut ops = PatchOp::change(&path, backend.raw.get("weight"), Some(&json!(weight)));
        if !ops.is_empty() {
            ops.insert(0, self.test_name(backend));
        }
        ops
    }
}

fn sum(backends: &[Backend]) -> i64 {
    backends
        .iter()
        .fold(0, |sum: i64, backend| sum.saturating_add(backend.weight()))
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::target;
    use super::*;

    #[test]
    fn a_backend_is_ours_by_group_kind_and_namespace_too() {
        let ours = |backend: Value| is_service(&target(0), &backend, "checkout-stable");
        assert!(ours(json!({"name": "checkout-stable", "port": 80})));
        assert!(ours(
            json!({"name": "checkout-stable", "group": "", "kind": "Service", "namespace": "shop"})
        ));
        assert!(!ours(json!({"name": "checkout-stable", "namespace": "other"})));
        assert!(!ours(json!({"name": "checkout-stable", "group": "example.com"})));
        assert!(!ours(json!({"name": "checkout-stable", "kind": "Bucket"})));
        assert!(!ours(json!({"name": 7})));
    }

    #[test]
    fn an_omitted_weight_counts_as_one() {
        let weight = |raw: Value| Backend { index: 0, raw: &raw }.weight();
        assert_eq!(weight(json!({})), 1);
        assert_eq!(weight(json!({"weight": 0})), 0);
        assert_eq!(weight(json!({"weight": -3})), 0);
    }
}

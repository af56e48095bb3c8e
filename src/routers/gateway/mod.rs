//! Gateway API: `HTTPRoute` v1. Every rule that refers to the stable Service weighs it against the canary.
//!
//! * A rule that does not refer to the canary yet gets the reference when the canary is first to have weight, a
//!   copy of the stable one (port, filters) at the end of the list, so that no other index moves. From then on it
//!   stays, at an explicit 0 between releases: taking it out and in would be two more changes for the data plane.
//!   An annotation of ours remembers the rules that were added to, and `remove` takes out of these what was added.
//! * Weights are explicit: one that is omitted counts as 1, a 50/50 split of two.
//! * Weights are proportional in a rule. A foreign backend keeps its number, so its share of the rule is kept as
//!   long as our two sum to the same, `max_weight`. Taking such a rule over from another sum would change the
//!   foreign share; `validate` refuses it and names the numbers.

mod mark;
mod rule;
mod status;
mod validate;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use self::mark::{Added, rule_names};
use self::rule::{Backend, Rule, read_rules};
use super::share::Share;
use super::{ObservedRoutes, RouteKind, RouteTarget, RouteWrite, object};
use crate::api::patch::PatchOp;
use crate::api::rollout::GatewayApiRouting;

pub use rule::{canary_ports, ports};
pub use status::refusal;
pub use validate::validate;

/// Annotation on an HTTPRoute to which we added a backend, `<prefix>/<rollout>: <canary Service> <rule>…`: several
/// Rollouts may share a route.
pub const ADDED_BACKEND_PREFIX: &str = "added-backend.tidegate.dev";

/// Every HTTPRoute once.
pub fn names(gateway: &GatewayApiRouting) -> BTreeSet<&str> {
    gateway
        .http_routes
        .iter()
        .map(|route| route.name.as_str())
        .collect()
}

pub fn render(
    target: &RouteTarget,
    gateway: &GatewayApiRouting,
    observed: &ObservedRoutes,
) -> Vec<RouteWrite> {
    names(gateway)
        .into_iter()
        .filter_map(|name| {
            let route = observed.http_routes.get(name)?.as_ref()?;
            let rules = read_rules(target, route);
            let mut ops = Vec::new();
            if rules.iter().any(|rule| needs_canary(target, rule)) {
                let added = added_with(target, route, &rules).write(target.canary_service);
                ops.extend(mark(target, route, Some(&added)));
            }
            ops.extend(rules.iter().flat_map(|rule| weigh(target, rule)));
            object::patch(RouteKind::HttpRoute, name, route, ops)
        })
        .collect()
}

/// What each rule of ours says; foreign backends only make the shares of both sides smaller.
pub fn shares(target: &RouteTarget, gateway: &GatewayApiRouting, observed: &ObservedRoutes) -> Vec<Share> {
    names(gateway)
        .into_iter()
        .flat_map(|name| match observed.http_routes.get(name) {
            None => vec![Share::unknown(target.max())],
            Some(None) => Vec::new(),
            Some(Some(route)) => read_rules(target, route)
                .iter()
                .map(|rule| Share::of(rule.canary_weight(), rule.stable_weight(), target.max()))
                .collect(),
        })
        .collect()
}

/// All weight to stable in every rule that refers to the canary, and the references out that we added.
pub fn remove(target: &RouteTarget, observed: &ObservedRoutes) -> Vec<RouteWrite> {
    observed
        .http_routes
        .iter()
        .filter_map(|(name, route)| {
            let route = route.as_ref()?;
            let (added, names) = (added(target, route), rule_names(route));
            let was_added = |rule: &Rule| names.get(rule.index).is_some_and(|name| added.has(name));
            let mut ops = mark(target, route, None);
            let rules = read_rules(target, route);
            ops.extend(
                rules
                    .iter()
                    .flat_map(|rule| restore(target, rule, was_added(rule))),
            );
            object::patch(RouteKind::HttpRoute, name, route, ops)
        })
        .collect()
}

/// Indexes of the rules that refer to the stable Service.
pub fn rules_with_stable(target: &RouteTarget, route: &Value) -> impl Iterator<Item = usize> {
    let rules = read_rules(target, route).into_iter();
    rules
        .filter(|rule| !rule.stable.is_empty())
        .map(|rule| rule.index)
}

/// Namespace and name of every Gateway that the route names.
pub fn parent_gateways<'a>(
    target: &RouteTarget<'a>,
    route: &'a Value,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let namespace = target.namespace;
    status::parents(route).iter().filter_map(move |parent| {
        let is_gateway = object::text(parent, "/kind").is_none_or(|kind| kind == "Gateway");
        let of = object::text(parent, "/namespace").unwrap_or(namespace);
        object::text(parent, "/name")
            .filter(|_| is_gateway)
            .map(|name| (of, name))
    })
}

fn needs_canary(target: &RouteTarget, rule: &Rule) -> bool {
    target.canary() > 0 && rule.stable.len() == 1 && rule.canary.is_empty()
}

/// Nothing for a rule that refers to one of the Services twice, or to the canary alone.
fn weigh(target: &RouteTarget, rule: &Rule) -> Vec<PatchOp> {
    let [stable] = rule.stable.as_slice() else {
        return Vec::new();
    };
    let weigh_stable = rule.set_weight(stable, target.stable());
    match rule.canary.as_slice() {
        [canary] => [weigh_stable, rule.set_weight(canary, target.canary())].concat(),
        [] if needs_canary(target, rule) => [weigh_stable, vec![add_canary(target, rule, stable)]].concat(),
        [] => weigh_stable,
        _ => Vec::new(),
    }
}

fn add_canary(target: &RouteTarget, rule: &Rule, stable: &Backend) -> PatchOp {
    let mut canary = stable.raw.clone();
    if let Some(fields) = canary.as_object_mut() {
        fields.insert("name".to_owned(), json!(target.canary_service));
        fields.insert("weight".to_owned(), json!(target.canary()));
    }
    PatchOp::add(format!("{}/-", rule.path()), canary)
}

fn restore(target: &RouteTarget, rule: &Rule, added: bool) -> Vec<PatchOp> {
    let (Some(stable), false) = (rule.stable.first(), rule.canary.is_empty()) else {
        return Vec::new();
    };
    let mut ops = rule.set_weight(stable, target.max());
    // From the end, so that no index still to be used moves.
    for canary in rule.canary.iter().rev() {
        if added {
            ops.push(rule.test_name(canary));
            ops.push(PatchOp::remove(rule.backend_path(canary)));
        } else {
            ops.extend(rule.set_weight(canary, 0));
        }
    }
    ops
}

/// The rules that we added the canary to.
fn added(target: &RouteTarget, route: &Value) -> Added {
    Added::read(object::annotation(route, &mark_key(target)))
}

/// The same, when those that need the canary have it. A rule that is no more, or that has lost it, is forgotten.
fn added_with(target: &RouteTarget, route: &Value, rules: &[Rule]) -> Added {
    let before = added(target, route);
    if before == Added::Every {
        return before;
    }
    let names = rule_names(route);
    let named = rules
        .iter()
        .filter_map(|rule| Some((rule, names.get(rule.index)?)));
    let kept = named
        .filter(|(rule, name)| needs_canary(target, rule) || before.has(name) && !rule.canary.is_empty());
    Added::These(kept.map(|(_, name)| name.clone()).collect())
}

fn mark_key(target: &RouteTarget) -> String {
    format!("{ADDED_BACKEND_PREFIX}/{}", target.rollout_name)
}

fn mark(target: &RouteTarget, route: &Value, value: Option<&str>) -> Vec<PatchOp> {
    let entry = BTreeMap::from([(mark_key(target), value.map(str::to_owned))]);
    object::change_metadata(route, "annotations", &entry)
}

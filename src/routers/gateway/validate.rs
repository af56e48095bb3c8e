//! What keeps the HTTPRoutes of a Rollout from carrying its weights.

use serde_json::Value;

use super::super::{ObservedRoutes, Reason, RouteKind, RouteTarget, Violation, object};
use super::rule::{Rule, read_rules};
use super::{names, status};
use crate::api::rollout::GatewayApiRouting;

const FIELD: &str = "gatewayAPI.httpRoutes";

pub fn validate(
    target: &RouteTarget,
    gateway: &GatewayApiRouting,
    observed: &ObservedRoutes,
) -> Vec<Violation> {
    let names = names(gateway);
    if names.is_empty() {
        return vec![target.violation(
            Reason::RoutingInvalid,
            FIELD,
            "no HTTPRoute is named",
            "name the HTTPRoute that leads to the stable Service",
        )];
    }
    names
        .into_iter()
        .flat_map(|name| validate_name(target, observed, name))
        .collect()
}

fn validate_name(target: &RouteTarget, observed: &ObservedRoutes, name: &str) -> Vec<Violation> {
    if !object::is_name(name) {
        return vec![target.violation(
            Reason::RoutingInvalid,
            FIELD,
            format!("{name:?} is no name of an HTTPRoute"),
            "name an HTTPRoute in the Rollout's own namespace",
        )];
    }
    match observed.http_routes.get(name) {
        Some(Some(route)) => validate_route(target, name, route),
        Some(None) => vec![target.violation(
            Reason::RouteNotFound,
            FIELD,
            format!("there is no HTTPRoute {name} in namespace {}", target.namespace),
            "create it or correct the name",
        )],
        None => Vec::new(),
    }
}

fn validate_route(target: &RouteTarget, name: &str, route: &Value) -> Vec<Violation> {
    let invalid = |field: &str, problem: String, fix: String| {
        Violation::of_route(
            RouteKind::HttpRoute,
            name,
            Reason::RouteInvalid,
            field,
            problem,
            fix,
        )
    };
    let mut violations = Vec::new();
    if status::parents(route).is_empty() {
        violations.push(invalid(
            "spec.parentRefs",
            "the route belongs to no Gateway".to_owned(),
            "name its Gateway".to_owned(),
        ));
    }
    let rules = read_rules(target, route);
    if rules.iter().all(|rule| rule.stable.is_empty()) {
        violations.push(invalid(
            "spec.rules",
            format!("no rule refers to the stable Service {}", target.stable_service),
            "let the rules that should be split refer to it".to_owned(),
        ));
    }
    violations.extend(rules.iter().filter_map(|rule| {
        let (problem, fix) = problem_of(target, rule)?;
        Some(invalid(
            &format!("spec.rules[{}].backendRefs", rule.index),
            problem,
            fix,
        ))
    }));
    violations
}

fn problem_of(target: &RouteTarget, rule: &Rule) -> Option<(String, String)> {
    let (stable, canary) = (target.stable_service, target.canary_service);
    if rule.stable.is_empty() {
        return Some((
            format!("the rule leads to the canary Service {canary} past the weights"),
            format!("let it refer to {stable} as well, or not to {canary}"),
        ));
    }
    for (service, backends) in [(stable, &rule.stable), (canary, &rule.canary)] {
        if backends.len() > 1 {
            return Some((
                format!("Service {service} is there {} times", backends.len()),
                "keep one".to_owned(),
            ));
        }
    }
    let ours = rule.stable_weight().saturating_add(rule.canary_weight());
    let shares = rule.foreign.iter().find(|backend| backend.weight() > 0)?;
    (ours != target.max()).then(|| {
        (
            format!(
                "{stable} and {canary} have weight {ours} together beside {} with {}, whose share would change",
                object::text(shares.raw, "/name").unwrap_or("another backend"),
                shares.weight()
            ),
            format!(
                "scale the weights of the rule so that the two have {}, or give the others weight 0",
                target.max()
            ),
        )
    })
}

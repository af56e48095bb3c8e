//! What keeps the Ingresses of a Rollout from carrying its weights.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::{ObservedRoutes, Reason, RouteKind, RouteTarget, Violation, object};
use super::{annotation, canary_name, names, spec};
use crate::api::rollout::NginxRouting;

pub fn validate(target: &RouteTarget, nginx: &NginxRouting, observed: &ObservedRoutes) -> Vec<Violation> {
    let mut violations = annotation::validate(target, nginx);
    let names = names(nginx);
    if names.is_empty() {
        violations.push(target.violation(
            Reason::RoutingInvalid,
            "nginx.stableIngress",
            "no Ingress is named",
            "name the Ingress that leads to the stable Service",
        ));
    }
    for name in names {
        if !object::is_name(name) {
            violations.push(target.violation(
                Reason::RoutingInvalid,
                "nginx.stableIngress",
                format!("{name:?} is no name of an Ingress"),
                "name an Ingress in the Rollout's own namespace",
            ));
            continue;
        }
        match observed.ingresses.get(name) {
            Some(Some(stable)) => violations.extend(validate_stable(target, nginx, observed, name, stable)),
            Some(None) => violations.push(target.violation(
                Reason::RouteNotFound,
                "nginx.stableIngress",
                format!("there is no Ingress {name} in namespace {}", target.namespace),
                "create it or correct the name",
            )),
            None => {}
        }
        violations.extend(validate_canary(target, nginx, observed, name));
    }
    violations
}

fn validate_stable(
    target: &RouteTarget,
    nginx: &NginxRouting,
    observed: &ObservedRoutes,
    name: &str,
    stable: &Value,
) -> Vec<Violation> {
    let invalid = |field: &str, problem: String, fix: String| {
        Violation::of_route(
            RouteKind::Ingress,
            name,
            Reason::RouteInvalid,
            field,
            problem,
            fix,
        )
    };
    let mut violations = Vec::new();
    if spec::derive(target, stable).is_none() {
        violations.push(invalid(
            "spec.rules",
            format!("no rule leads to the stable Service {}", target.stable_service),
            "let the paths that should be split lead there".to_owned(),
        ));
    }
    for (host, path) in spec::paths(stable) {
        if path
            .get("backend")
            .is_some_and(|backend| spec::leads_to(backend, target.canary_service))
        {
            violations.push(invalid(
                "spec.rules",
                format!(
                    "path {:?} of host {:?} leads to the canary Service {} past the weights",
                    object::text(path, "/path").unwrap_or_default(),
                    host.unwrap_or("*"),
                    target.canary_service
                ),
                format!("let it lead to {}", target.stable_service),
            ));
        }
    }
    violations.extend(validate_class(stable).map(|(field, problem, fix)| invalid(field, problem, fix)));
    if annotation::weights(nginx, stable).is_some() {
        violations.push(invalid(
            "metadata.annotations",
            format!("{}/canary marks it as a canary", nginx.prefix()),
            "remove the annotation, or name the Ingress of the stable version".to_owned(),
        ));
    }
    violations.extend(validate_rivals(target, nginx, observed, name, stable));
    violations
}

fn validate_class(stable: &Value) -> Option<(&'static str, String, String)> {
    let legacy = object::annotation(stable, annotation::CLASS);
    match (stable.pointer("/spec/ingressClassName"), legacy) {
        (Some(class), Some(legacy)) if class.as_str() != Some(legacy) => Some((
            "spec.ingressClassName",
            format!(
                "is {class}, and the annotation {} says {legacy:?}",
                annotation::CLASS
            ),
            "remove the annotation; no Ingress with both can be created".to_owned(),
        )),
        (Some(class), _) if class.as_str().is_none_or(|class| !object::is_name(class)) => Some((
            "spec.ingressClassName",
            format!("{class} is no name of an IngressClass"),
            "name an IngressClass".to_owned(),
        )),
        _ => None,
    }
}

/// The name we need for the canary Ingress is free or ours.
fn validate_canary(
    target: &RouteTarget,
    nginx: &NginxRouting,
    observed: &ObservedRoutes,
    name: &str,
) -> Option<Violation> {
    let canary_name = canary_name(target.rollout_name, name);
    let canary = observed.ingresses.get(&canary_name)?.as_ref()?;
    if object::is_of_rollout(canary, target.rollout_uid, target.rollout_name) {
        return None;
    }
    let marked = match annotation::weights(nginx, canary) {
        Some(_) => "a canary Ingress",
        None => "an Ingress",
    };
    Some(Violation::of_route(
        RouteKind::Ingress,
        &canary_name,
        Reason::RouteNotOurs,
        "metadata.ownerReferences",
        format!(
            "{marked} of this name is there, and Rollout {} is not its controller",
            target.rollout_name
        ),
        "delete it; Tidegate makes its own",
    ))
}

/// Of two canary Ingresses on one path only one counts. Sees those among the observed Ingresses.
fn validate_rivals(
    target: &RouteTarget,
    nginx: &NginxRouting,
    observed: &ObservedRoutes,
    name: &str,
    stable: &Value,
) -> Vec<Violation> {
    let split: BTreeSet<_> = spec::paths(stable)
        .filter(|(_, path)| {
            path.get("backend")
                .is_some_and(|backend| spec::leads_to(backend, target.stable_service))
        })
        .map(|(host, path)| (host, object::text(path, "/path")))
        .collect();
    let own = canary_name(target.rollout_name, name);
    let is_rival = |ingress: &Value| {
        annotation::weights(nginx, ingress).is_some()
            && !object::is_of_rollout(ingress, target.rollout_uid, target.rollout_name)
            && spec::paths(ingress).any(|(host, path)| split.contains(&(host, object::text(path, "/path"))))
    };
    observed
        .ingresses
        .iter()
        .filter(|(other, ingress)| {
            ![name, &own].contains(&other.as_str()) && ingress.as_ref().is_some_and(is_rival)
        })
        .map(|(other, _)| {
            Violation::of_route(
                RouteKind::Ingress,
                name,
                Reason::RouteInvalid,
                "spec.rules",
                format!("canary Ingress {other} splits a path of it already, and only one can"),
                format!("delete Ingress {other}"),
            )
        })
        .collect()
}

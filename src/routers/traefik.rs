//! Which weights are in effect, by what Traefik's API says of itself.
//!
//! A router is taken for one of ours only by parts that are known: for an Ingress by the metadata that Traefik keeps
//! (namespace, Ingress, Service, port), for an HTTPRoute, of which it keeps none, by namespace, route and Gateway in
//! the router's name and namespace and Service in its backends' names. Whatever does not fit is *not seen*.
//! With several answers all of them count: one that differs is enough to disagree.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::gateway;
use super::{ObservedRoutes, RouteTarget};
use crate::api::data_plane::{TraefikConfiguration, TraefikIngress, TraefikRouter, TraefikService};
use crate::api::rollout::{GatewayApiRouting, NginxRouting, TrafficRouting};

/// In effect for one router; of any scale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Traefik's name of the router.
    pub router: String,
    pub canary: i64,
    pub stable: i64,
}

/// What every router does that leads to the stable Service of a route of ours. An error says what is not to be seen.
pub fn effective(
    target: &RouteTarget,
    routing: &TrafficRouting,
    observed: &ObservedRoutes,
    traefik: &TraefikConfiguration,
) -> Result<Vec<Effective>, String> {
    let mut found = Vec::new();
    if let Some(nginx) = &routing.nginx {
        found.extend(of_ingresses(target, nginx, traefik)?);
    }
    if let Some(gateway) = &routing.gateway_api {
        found.extend(of_http_routes(target, gateway, observed, traefik)?);
    }
    Ok(found)
}

fn of_ingresses(
    target: &RouteTarget,
    nginx: &NginxRouting,
    traefik: &TraefikConfiguration,
) -> Result<Vec<Effective>, String> {
    let mut found = Vec::new();
    for name in super::nginx::names(nginx) {
        let before = found.len();
        for (key, router) in in_use(traefik) {
            let origin = router.observability.metadata.ingress.as_ref();
            let Some(origin) = origin.filter(|origin| is_of(origin, target, name)) else {
                continue;
            };
            // Those pick requests by header or cookie, whatever the weight is.
            let (local, provider) = split_key(key);
            if local.strip_suffix("-tls").unwrap_or(local).ends_with("-canary") {
                continue;
            }
            let (canary, stable) = split_of_ingress(target, origin, router, provider, &traefik.services)
                .ok_or_else(|| format!("what router {key} does is not to be understood"))?;
            found.push(Effective {
                router: key.clone(),
                canary,
                stable,
            });
        }
        if found.len() == before {
            return Err(format!(
                "no router of Ingress {name} that leads to Service {}",
                target.stable_service
            ));
        }
    }
    Ok(found)
}

fn is_of(origin: &TraefikIngress, target: &RouteTarget, ingress: &str) -> bool {
    origin.namespace == target.namespace
        && origin.ingress_name == ingress
        && origin.service_name == target.stable_service
}

/// The router leads to `<primary>`, or to `<primary>-wrr`, which splits among `<primary>` and `<primary>-canary`.
fn split_of_ingress(
    target: &RouteTarget,
    origin: &TraefikIngress,
    router: &TraefikRouter,
    provider: &str,
    services: &BTreeMap<String, TraefikService>,
) -> Option<(i64, i64)> {
    let parts = [
        target.namespace,
        &origin.ingress_name,
        &origin.service_name,
        &origin.service_port,
    ];
    let primary = normalize(&parts.join("-"));
    let service = services.get(&format!("{}@{provider}", router.service))?;
    let Some(split) = &service.weighted else {
        return (router.service == primary).then_some((0, 1));
    };
    let canary_name = format!("{primary}-canary");
    let (mut canary, mut stable) = (0i64, 0i64);
    for share in &split.services {
        let side = match local_name(&share.name) {
            name if name == primary => &mut stable,
            name if name == canary_name => &mut canary,
            _ => return None,
        };
        *side = side.saturating_add(share.weight.max(0));
    }
    (canary > 0 || stable > 0).then_some((canary, stable))
}

fn of_http_routes(
    target: &RouteTarget,
    gateway: &GatewayApiRouting,
    observed: &ObservedRoutes,
    traefik: &TraefikConfiguration,
) -> Result<Vec<Effective>, String> {
    let mut found = Vec::new();
    for name in gateway::names(gateway) {
        let route = observed.http_routes.get(name).and_then(Option::as_ref);
        let route = route.ok_or_else(|| format!("HTTPRoute {name} was not read"))?;
        let starts = router_starts(target, route);
        let wanted: BTreeSet<usize> = gateway::rules_with_stable(target, route).collect();
        let mut missing = wanted.clone();
        for (key, router) in in_use(traefik) {
            let (local, provider) = split_key(key);
            let Some(rule) = rule_of(local, &starts).filter(|rule| wanted.contains(rule)) else {
                continue;
            };
            let service = traefik.services.get(&format!("{}@{provider}", router.service));
            let (canary, stable) = split_of_rule(target, local, service)
                .ok_or_else(|| format!("what router {key} does is not to be understood"))?;
            missing.remove(&rule);
            found.push(Effective {
                router: key.clone(),
                canary,
                stable,
            });
        }
        if let Some(rule) = missing.first() {
            return Err(format!("no router of HTTPRoute {name}, rule {rule}"));
        }
    }
    Ok(found)
}

/// How the names of the route's routers begin, one for each Gateway.
fn router_starts(target: &RouteTarget, route: &Value) -> Vec<String> {
    let name = super::object::text(route, "/metadata/name").unwrap_or_default();
    let parents = gateway::parent_gateways(target, route);
    let start = |(namespace, gateway): (&str, &str)| {
        let parts = [
            "httproute",
            target.namespace,
            name,
            "gw",
            namespace,
            gateway,
            "ep",
        ];
        format!("{}-", normalize(&parts.join("-")))
    };
    parents.map(start).collect()
}

/// `<start><entry point>-<index of the rule>-<hash>`.
fn rule_of(router: &str, starts: &[String]) -> Option<usize> {
    let rest = starts.iter().find_map(|start| router.strip_prefix(start))?;
    let (rest, _hash) = rest.rsplit_once('-')?;
    rest.rsplit_once('-')?.1.parse().ok()
}

/// What the two Services get; foreign backends are left out. Where neither gets anything, nothing is understood.
fn split_of_rule(target: &RouteTarget, router: &str, service: Option<&TraefikService>) -> Option<(i64, i64)> {
    let split = service?.weighted.as_ref()?;
    let is = |share: &str, service: &str| {
        let start = format!("{router}-svc-{}-{service}-", target.namespace);
        local_name(share)
            .strip_prefix(&start)
            .is_some_and(|index| index.parse::<usize>().is_ok())
    };
    let sum = |service: &str| {
        let shares = split.services.iter().filter(|share| is(&share.name, service));
        shares.fold(0i64, |sum, share| sum.saturating_add(share.weight.max(0)))
    };
    let (canary, stable) = (sum(target.canary_service), sum(target.stable_service));
    (canary > 0 || stable > 0).then_some((canary, stable))
}

fn in_use(traefik: &TraefikConfiguration) -> impl Iterator<Item = (&String, &TraefikRouter)> {
    traefik
        .routers
        .iter()
        .filter(|(_, router)| router.status == "enabled")
}

fn split_key(key: &str) -> (&str, &str) {
    key.rsplit_once('@').unwrap_or((key, ""))
}

fn local_name(name: &str) -> &str {
    split_key(name).0
}

/// As Traefik makes names: whatever is neither letter nor digit becomes one dash.
fn normalize(name: &str) -> String {
    let words = name.split(|character: char| !character.is_alphanumeric());
    words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}

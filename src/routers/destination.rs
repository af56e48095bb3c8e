//! To which ports of the two Services the routes lead. A Service that has no such port answers nobody, whatever pods
//! are ready behind it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{ObservedRoutes, RouteKind, RouteTarget, gateway, nginx};
use crate::api::rollout::TrafficRouting;

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    pub kind: RouteKind,
    pub route: String,
    pub service: String,
    /// A number, or the name of a port.
    pub port: String,
}

/// Where the routes of a Rollout lead once the canary has weight.
pub fn destinations(
    target: &RouteTarget,
    routing: &TrafficRouting,
    observed: &ObservedRoutes,
) -> BTreeSet<Destination> {
    let names = routing.nginx.iter().flat_map(nginx::names);
    let of_ingresses = names.flat_map(|name| {
        let ports = ingress(observed, name).map(|stable| nginx::ports(stable, target.stable_service));
        let services = [target.stable_service, target.canary_service];
        let ports = ports.into_iter().flatten();
        ports.flat_map(move |port| services.map(|service| leads(RouteKind::Ingress, name, service, port)))
    });
    let of_http_routes = http_routes(routing, observed).flat_map(|(name, route)| {
        let ports = gateway::ports(target, route).into_iter();
        ports.map(move |(service, port)| leads(RouteKind::HttpRoute, name, service, port))
    });
    of_ingresses.chain(of_http_routes).flatten().collect()
}

/// Where they lead to the canary Service as they are.
pub fn canary_destinations(
    target: &RouteTarget,
    routing: &TrafficRouting,
    observed: &ObservedRoutes,
) -> BTreeSet<Destination> {
    let names = routing.nginx.iter().flat_map(nginx::names);
    let service = target.canary_service;
    let of_ingresses = names.flat_map(|name| {
        let name = nginx::canary_name(target.rollout_name, name);
        let ports = ingress(observed, &name).map(|canary| nginx::ports(canary, service));
        let ports = ports.into_iter().flatten();
        let found = ports.map(|port| leads(RouteKind::Ingress, &name, service, port));
        found.collect::<Vec<_>>()
    });
    let of_http_routes = http_routes(routing, observed).flat_map(|(name, route)| {
        let ports = gateway::canary_ports(target, route).into_iter();
        ports.map(move |port| leads(RouteKind::HttpRoute, name, service, port))
    });
    of_ingresses.chain(of_http_routes).flatten().collect()
}

fn ingress<'a>(observed: &'a ObservedRoutes, name: &str) -> Option<&'a Value> {
    observed.ingresses.get(name)?.as_ref()
}

fn http_routes<'a>(
    routing: &'a TrafficRouting,
    observed: &'a ObservedRoutes,
) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let names = routing.gateway_api.iter().flat_map(gateway::names);
    names.filter_map(|name| Some((name, observed.http_routes.get(name)?.as_ref()?)))
}

fn leads(kind: RouteKind, route: &str, service: &str, port: Option<&Value>) -> Option<Destination> {
    Some(Destination {
        kind,
        route: route.to_owned(),
        service: service.to_owned(),
        port: port_text(port?)?,
    })
}

fn port_text(port: &Value) -> Option<String> {
    let number = port.as_i64().map(|number| number.to_string());
    number.or_else(|| port.as_str().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::target;
    use super::*;
    use crate::api::rollout::{GatewayApiRouting, HttpRouteRef, NginxRouting};

    fn found(routing: &TrafficRouting, observed: &ObservedRoutes) -> Vec<String> {
        let all = destinations(&target(0), routing, observed).into_iter();
        all.map(|found| {
            format!(
                "{} {} {}:{}",
                found.kind.kind(),
                found.route,
                found.service,
                found.port
            )
        })
        .collect()
    }

    #[test]
    fn an_ingress_leads_to_the_same_ports_of_both_services() {
        let backend = |service: &str, port: Value| json!({"service": {"name": service, "port": port}});
        let ingress = json!({"spec": {
            "defaultBackend": backend("checkout-stable", json!({"name": "http"})),
            "rules": [{"http": {"paths": [
                {"path": "/", "backend": backend("checkout-stable", json!({"number": 80}))},
                {"path": "/cart", "backend": backend("cart", json!({"number": 8080}))},
            ]}}],
        }});
        let routing = TrafficRouting {
            nginx: Some(NginxRouting {
                stable_ingress: Some("web".to_owned()),
                ..NginxRouting::default()
            }),
            ..TrafficRouting::default()
        };
        let observed = ObservedRoutes {
            ingresses: [("web".to_owned(), Some(ingress))].into(),
            ..ObservedRoutes::default()
        };
        let expected = [
            "Ingress web checkout-canary:80",
            "Ingress web checkout-canary:http",
            "Ingress web checkout-stable:80",
            "Ingress web checkout-stable:http",
        ];
        assert_eq!(found(&routing, &observed), expected);
        assert!(found(&routing, &ObservedRoutes::default()).is_empty());
    }

    #[test]
    fn a_canary_that_an_http_route_does_not_refer_to_yet_gets_the_port_of_stable() {
        let stable = json!({"name": "checkout-stable", "port": 80});
        let canary = json!({"name": "checkout-canary", "port": 81});
        let route = json!({"spec": {"rules": [
            {"backendRefs": [stable]},
            {"backendRefs": [stable, canary, {"name": "cart", "port": 8080}]},
        ]}});
        let routing = TrafficRouting {
            gateway_api: Some(GatewayApiRouting {
                http_routes: vec![HttpRouteRef {
                    name: "web".to_owned(),
                }],
            }),
            ..TrafficRouting::default()
        };
        let observed = ObservedRoutes {
            http_routes: [("web".to_owned(), Some(route))].into(),
            ..ObservedRoutes::default()
        };
        let expected = [
            "HTTPRoute web checkout-canary:80",
            "HTTPRoute web checkout-canary:81",
            "HTTPRoute web checkout-stable:80",
        ];
        assert_eq!(found(&routing, &observed), expected);
    }
}

//! What Traefik 3.7.13 says of itself, as it answered, and which weights are read from it. Each namespace of the
//! answers is a case; of every router and service only what is read, and a little beside it, was kept.

use serde_json::{Value, json};
use tidegate::api::data_plane::{TraefikConfiguration, TraefikRouter};
use tidegate::providers::traefik::read_configuration;
use tidegate::routers::traefik::effective;
use tidegate::routers::{ObservedRoutes, RouteTarget};

use crate::model::{routing, target};

const NGINX: &str = include_str!("traefik/nginx.json");
const GATEWAY: &str = include_str!("traefik/gateway.json");

fn nginx() -> Value {
    json!({"nginx": {"stableIngress": "checkout"}})
}

fn gateway() -> Value {
    json!({"gatewayAPI": {"httpRoutes": [{"name": "checkout"}]}})
}

/// The HTTPRoute of a case: two rules, one with a filter.
fn observed(parent: &str) -> ObservedRoutes {
    let rule = json!({"backendRefs": [{"name": "checkout-stable", "port": 80}]});
    let route = json!({
        "metadata": {"name": "checkout"},
        "spec": {"parentRefs": [{"name": parent}], "rules": [rule, rule]},
    });
    ObservedRoutes {
        http_routes: [("checkout".to_owned(), Some(route))].into(),
        ..ObservedRoutes::default()
    }
}

fn configuration(answer: &str, namespace: &str) -> TraefikConfiguration {
    read_configuration(answer.as_bytes(), namespace).unwrap()
}

fn look(
    routes: Value,
    observed: &ObservedRoutes,
    namespace: &str,
    configuration: &TraefikConfiguration,
) -> Result<Vec<(i64, i64)>, String> {
    let target = RouteTarget {
        namespace,
        ..target(0)
    };
    let found = effective(&target, &routing(routes), observed, configuration)?;
    Ok(found.into_iter().map(|one| (one.canary, one.stable)).collect())
}

#[test]
fn the_weights_in_effect_are_read() {
    let observed = observed("web");
    for (answer, routes, case, weights) in [
        (NGINX, nginx(), "w0", (0, 100)),
        (NGINX, nginx(), "w10", (10, 90)),
        (NGINX, nginx(), "w50", (50, 50)),
        // The routers by header are no weight.
        (NGINX, nginx(), "header", (10, 90)),
        // Written was 50: neither a canary without endpoints nor one with another pathType gets anything.
        (NGINX, nginx(), "noend", (0, 1)),
        (NGINX, nginx(), "wrongtype", (0, 1)),
        (NGINX, nginx(), "single", (0, 1)),
        (GATEWAY, gateway(), "w0", (0, 100)),
        (GATEWAY, gateway(), "w10", (10, 90)),
        (GATEWAY, gateway(), "w50", (50, 50)),
        // Here the weight is kept, and its requests get an error.
        (GATEWAY, gateway(), "noend", (50, 50)),
        (GATEWAY, gateway(), "nosvc", (50, 50)),
        (GATEWAY, gateway(), "single", (0, 100)),
    ] {
        let namespace = format!("golden-{case}");
        let found = look(routes, &observed, &namespace, &configuration(answer, &namespace)).unwrap();
        assert!(found.len() >= 2, "{case}: {found:?}");
        assert!(found.iter().all(|one| *one == weights), "{case}: {found:?}");
    }
}

fn each_router(configuration: &mut TraefikConfiguration, change: fn(&mut TraefikRouter)) {
    configuration.routers.values_mut().for_each(change);
}

/// An Ingress that Traefik refuses gets its error page, which is no weight of 0.
fn refuse_all(configuration: &mut TraefikConfiguration) {
    let key = "unavailable-service@kubernetesingressnginx".to_owned();
    configuration.services.insert(key, Default::default());
    each_router(configuration, |router| {
        router.service = "unavailable-service".to_owned()
    });
}

fn keep_backends_of_others(configuration: &mut TraefikConfiguration) {
    let splits = configuration.services.values_mut();
    for split in splits.filter_map(|service| service.weighted.as_mut()) {
        split.services.retain(|share| share.name.contains("elsewhere"));
    }
}

/// A change of the answer after which nothing of ours is seen.
type Change = fn(&mut TraefikConfiguration);

#[test]
fn what_does_not_fit_is_not_seen() {
    let not_ours = "no router of Ingress checkout";
    let unclear = "is not to be understood";
    let of_ingresses: [(Change, &str); 5] = [
        (|all| all.routers.clear(), not_ours),
        (
            |all| each_router(all, |router| router.status = "disabled".to_owned()),
            not_ours,
        ),
        (
            |all| each_router(all, |router| router.observability = Default::default()),
            not_ours,
        ),
        (|all| all.services.clear(), unclear),
        (refuse_all, unclear),
    ];
    let of_routes: [(Change, &str); 3] = [
        (
            |all| all.routers.retain(|name, _| !name.contains("-ep-web-0-")),
            "no router of HTTPRoute checkout, rule 0",
        ),
        (
            |all| all.routers.retain(|name, _| !name.contains("-ep-web-1-")),
            "no router of HTTPRoute checkout, rule 1",
        ),
        (keep_backends_of_others, unclear),
    ];
    let see = |answer, routes, change: Change, parent| {
        let mut configuration = configuration(answer, "golden-w10");
        change(&mut configuration);
        look(routes, &observed(parent), "golden-w10", &configuration)
    };
    for (change, problem) in of_ingresses {
        let found = see(NGINX, nginx(), change, "web");
        assert!(
            found.as_ref().is_err_and(|error| error.contains(problem)),
            "{found:?}"
        );
    }
    for (change, problem) in of_routes {
        let found = see(GATEWAY, gateway(), change, "web");
        assert!(
            found.as_ref().is_err_and(|error| error.contains(problem)),
            "{found:?}"
        );
    }
    assert!(see(GATEWAY, gateway(), |_| (), "another-gateway").is_err());
}

/// Names are joined by dashes, so those of one namespace may begin with those of another.
#[test]
fn what_belongs_to_others_is_not_taken_for_ours() {
    let configuration = configuration(GATEWAY, "golden");
    let target = RouteTarget {
        namespace: "golden",
        ..target(0)
    };
    let routes = routing(json!({"gatewayAPI": {"httpRoutes": [{"name": "w10-checkout"}]}}));
    let mut observed = observed("web");
    let mut route = observed.http_routes.remove("checkout").unwrap().unwrap();
    route["metadata"]["name"] = json!("w10-checkout");
    observed
        .http_routes
        .insert("w10-checkout".to_owned(), Some(route));
    assert!(effective(&target, &routes, &observed, &configuration).is_err());
    let nginx = read_configuration(NGINX.as_bytes(), "golden").unwrap();
    let routes = routing(json!({"nginx": {"stableIngress": "w10-checkout"}}));
    assert!(effective(&target, &routes, &observed, &nginx).is_err());
}

#[test]
fn every_router_is_heard() {
    let mut configuration = configuration(NGINX, "golden-w10");
    let late = configuration
        .services
        .values_mut()
        .find_map(|service| service.weighted.as_mut());
    late.unwrap().services[1].weight = 0;
    let found = look(nginx(), &observed("web"), "golden-w10", &configuration).unwrap();
    assert!(found.contains(&(0, 90)) && found.contains(&(10, 90)), "{found:?}");
}

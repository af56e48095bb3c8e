//! Routing that the spec changes, removes or names anew: what was set up is taken back, whatever is named by then.

use serde_json::{Value, json};
use tidegate::api::names::{HASH_LABEL, MANAGED_BY_ANNOTATION};
use tidegate::api::rollout_status::Phase;
use tidegate::plan::model::Kind;

use super::{assert_released, assert_stable, deployed};
use crate::cluster::Cluster;
use crate::fixture::{
    basic_with, five_steps, gateway_with, hash, http_route, ingress, nginx, nginx_with, service, with,
};

/// A cluster with routes under two names in both dialects, and two Services more.
fn everything_there(mut cluster: Cluster) -> Cluster {
    let named = |mut object: Value, name: &str| {
        object["metadata"]["name"] = json!(name);
        object
    };
    for name in ["web", "shop"] {
        for (kind, object) in [(Kind::Ingress, ingress()), (Kind::HttpRoute, http_route())] {
            if cluster.object(kind, name).is_none() {
                cluster.put(kind, named(object, name));
            }
        }
    }
    for name in ["other-stable", "other-canary"] {
        cluster.put(Kind::Service, service(name));
    }
    deployed(cluster)
}

fn clusters() -> [Cluster; 2] {
    [nginx(five_steps()), gateway_with(five_steps(), json!({}))].map(everything_there)
}

/// `v2` waits at the pause of its fourth step.
fn paused(mut cluster: Cluster) -> Cluster {
    cluster.deploy("v2");
    cluster.run();
    assert_paused(&cluster);
    cluster
}

fn assert_paused(cluster: &Cluster) {
    let state = (cluster.phase(), cluster.step());
    assert_eq!(state, (Phase::Paused, 3), "{}", cluster.explain());
}

fn promote(cluster: &mut Cluster) {
    cluster.command("Promote");
    cluster.run();
}

/// The route leads to `other-stable` instead.
fn lead_elsewhere(cluster: &mut Cluster, kind: Kind, name: &str) {
    cluster.edit(kind, name, |route| {
        let text = route.to_string().replace("checkout-stable", "other-stable");
        *route = serde_json::from_str(&text).unwrap();
    });
}

fn route_by(cluster: &mut Cluster, routing: &Value) {
    cluster.log.push(format!("      user routes by {routing}"));
    cluster.edit_rollout(|rollout| {
        let canary = rollout["spec"]["strategy"]["canary"].as_object_mut().unwrap();
        canary.remove("trafficRouting");
        canary.extend(routing.as_object().unwrap().clone());
    });
}

fn changes() -> [Value; 5] {
    [
        json!({}),
        json!({"trafficRouting": {"nginx": {"stableIngress": "shop"}}}),
        json!({"trafficRouting": {"nginx": {"stableIngress": "web"}}}),
        json!({"trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": "shop"}]}}}),
        json!({"trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": "web"}]}}}),
    ]
}

fn routes_of_ours(cluster: &Cluster) -> Vec<String> {
    let ours =
        |(kind, name): &&(Kind, String)| *kind == Kind::Ingress && !matches!(name.as_str(), "web" | "shop");
    let names = cluster.objects.keys().filter(ours);
    names.map(|(_, name)| name.clone()).collect()
}

#[test]
fn changed_routing_comes_to_rest_and_releases() {
    for cluster in clusters() {
        for change in changes() {
            let mut cluster = cluster.clone();
            route_by(&mut cluster, &change);
            cluster.run();
            assert_released(&cluster, "v1");
            let in_use = cluster
                .status()
                .canary
                .routing
                .map(|routing| routing.traffic_routing);
            assert_eq!(
                in_use.map(|routing| json!(routing)),
                change.get("trafficRouting").cloned(),
                "{}",
                cluster.explain()
            );
            let mut cluster = paused(cluster);
            promote(&mut cluster);
            assert_released(&cluster, "v2");
        }
    }
}

#[test]
fn routing_changed_in_mid_release_goes_on_with_the_release() {
    for cluster in clusters().map(paused) {
        for change in changes() {
            let mut cluster = cluster.clone();
            route_by(&mut cluster, &change);
            cluster.run();
            assert_paused(&cluster);
            let weight = if change.get("trafficRouting").is_some() {
                50
            } else {
                0
            };
            assert_eq!(cluster.weight(), weight, "{}", cluster.explain());
            promote(&mut cluster);
            assert_released(&cluster, "v2");
        }
    }
}

#[test]
fn a_rollout_goes_although_its_routing_has_just_changed() {
    for cluster in clusters().map(paused) {
        for change in changes() {
            let mut cluster = cluster.clone();
            route_by(&mut cluster, &change);
            go(&mut cluster);
            assert_eq!(cluster.weight(), 0, "{}", cluster.what_happened());
            assert!(routes_of_ours(&cluster).is_empty());
        }
    }
}

/// GitOps takes out what a manifest no longer has, at once.
#[test]
fn routes_and_services_that_are_gone_hold_up_no_new_routing() {
    for cluster in clusters() {
        for at_rest in [true, false] {
            let mut cluster = cluster.clone();
            if !at_rest {
                cluster = paused(cluster);
            }
            let stable = if at_rest { "v1" } else { "v2" };
            for (kind, name) in [(Kind::Ingress, "web"), (Kind::HttpRoute, "web")] {
                cluster.remove(kind, name);
            }
            for name in ["checkout-stable", "checkout-canary"] {
                cluster.remove(Kind::Service, name);
            }
            let nginx = cluster
                .status()
                .canary
                .routing
                .unwrap()
                .traffic_routing
                .nginx
                .is_some();
            let (kind, routing) = if nginx {
                (Kind::Ingress, json!({"nginx": {"stableIngress": "shop"}}))
            } else {
                (
                    Kind::HttpRoute,
                    json!({"gatewayAPI": {"httpRoutes": [{"name": "shop"}]}}),
                )
            };
            lead_elsewhere(&mut cluster, kind, "shop");
            route_by(
                &mut cluster,
                &json!({"trafficRouting": routing, "stableService": "other-stable", "canaryService": "other-canary"}),
            );
            cluster.run();
            if !at_rest {
                promote(&mut cluster);
            }
            assert_eq!(cluster.phase(), Phase::Healthy, "{}", cluster.explain());
            assert_eq!(cluster.selected("other-stable"), stable);
            assert_eq!(cluster.selected("other-canary"), stable);
            assert_eq!(cluster.pods(stable), 5);
        }
    }
}

#[test]
fn routing_changed_in_mid_promotion_goes_on_with_the_promotion() {
    for extra in [json!({}), json!({"dynamicStableScale": true})] {
        for change in changes() {
            let mut cluster = everything_there(nginx_with(json!([{"setWeight": 50}]), extra.clone()));
            cluster.deploy("v2");
            let begun = |cluster: &Cluster| cluster.status().promotion.is_some();
            let has_come =
                |cluster: &Cluster| cluster.selected("checkout-stable") == "v2" && cluster.weight() == 0;
            cluster.run_until(|cluster| begun(cluster) && has_come(cluster));
            assert!(begun(&cluster), "{}", cluster.what_happened());
            if change.get("trafficRouting").is_none() {
                cluster.edit_rollout(|rollout| {
                    let canary = rollout["spec"]["strategy"]["canary"].as_object_mut().unwrap();
                    canary.remove("dynamicStableScale");
                });
            }
            route_by(&mut cluster, &change);
            cluster.run();
            assert_released(&cluster, "v2");
        }
    }
}

fn is_marked(cluster: &Cluster, service: &str) -> bool {
    let service = cluster.object(Kind::Service, service).unwrap();
    service["spec"]["selector"].get(HASH_LABEL).is_some()
        || service["metadata"]["annotations"]
            .get(MANAGED_BY_ANNOTATION)
            .is_some()
}

/// The next release scales down the version that they select.
#[test]
fn services_that_the_spec_no_longer_names_are_given_back() {
    let old = ["checkout-stable", "checkout-canary"];
    let routed = |services: Value| {
        with(
            json!({"trafficRouting": {"nginx": {"stableIngress": "shop"}}}),
            services,
        )
    };
    for services in [
        json!({}),
        routed(json!({"stableService": "other-stable", "canaryService": "other-canary"})),
    ] {
        for mut cluster in clusters() {
            lead_elsewhere(&mut cluster, Kind::Ingress, "shop");
            assert!(old.iter().all(|service| is_marked(&cluster, service)));
            cluster.edit_rollout(|rollout| {
                let canary = rollout["spec"]["strategy"]["canary"].as_object_mut().unwrap();
                for field in ["trafficRouting", "stableService", "canaryService"] {
                    canary.remove(field);
                }
                canary.extend(services.as_object().unwrap().clone());
            });
            cluster.run();
            assert_eq!(cluster.phase(), Phase::Healthy, "{}", cluster.explain());
            assert!(
                !old.iter().any(|service| is_marked(&cluster, service)),
                "{}",
                cluster.explain()
            );
        }
    }
}

#[test]
fn services_without_routing_are_given_back_when_the_rollout_goes() {
    for mid_release in [false, true] {
        let names = json!({"stableService": "checkout-stable", "canaryService": "checkout-canary"});
        let mut cluster = basic_with(five_steps(), names);
        for name in ["checkout-stable", "checkout-canary"] {
            cluster.put(Kind::Service, service(name));
        }
        let mut cluster = deployed(cluster);
        assert!(cluster.is_in_charge() && is_marked(&cluster, "checkout-stable"));
        if mid_release {
            cluster = paused(cluster);
        }
        go(&mut cluster);
        for name in ["checkout-stable", "checkout-canary"] {
            assert!(!is_marked(&cluster, name), "{}", cluster.what_happened());
        }
        assert_eq!((cluster.pods("v1"), cluster.pods("v2")), (5, 0));
    }
}

fn go(cluster: &mut Cluster) {
    cluster.edit_rollout(|rollout| rollout["metadata"]["deletionTimestamp"] = json!("2023-11-14T22:13:20Z"));
    cluster.run();
    assert!(cluster.rollout().is_none(), "{}", cluster.explain());
}

#[test]
fn a_rollout_goes_in_mid_release_long_after_its_routing() {
    for lost in [false, true] {
        for mut cluster in clusters() {
            route_by(&mut cluster, &json!({}));
            cluster.run();
            cluster = paused(cluster);
            if lost {
                cluster.remove(Kind::ReplicaSet, &format!("checkout-{}", hash("v1")));
            }
            go(&mut cluster);
            if !lost {
                assert_eq!((cluster.pods("v1"), cluster.pods("v2")), (5, 0));
            }
        }
    }
}

/// The Gateway is gone, or somebody's own backend is: nothing will ever be accepted.
#[test]
fn a_rollout_goes_although_its_route_is_not_accepted() {
    for condition in ["Accepted", "ResolvedRefs"] {
        let mut cluster = paused(everything_there(gateway_with(five_steps(), json!({}))));
        cluster.refused = Some(condition.to_owned());
        let begun = cluster.now;
        go(&mut cluster);
        assert_eq!((cluster.weight(), cluster.pods("v2")), (0, 0));
        let waited = cluster.now - begun;
        assert!(waited.num_seconds() >= 5, "{waited}\n{}", cluster.what_happened());
    }
}

#[test]
fn a_version_whose_pods_are_gone_is_not_promoted_by_taking_its_routing_away() {
    let mut cluster = everything_there(nginx_with(json!([{"setWeight": 50}]), json!({})));
    cluster.deploy("v2");
    cluster.run_until(|cluster| cluster.selected("checkout-stable") == "v2" && cluster.weight() == 0);
    assert!(cluster.status().promotion.is_some());
    cluster.most_ready.insert(hash("v2").to_string(), 0);
    route_by(&mut cluster, &json!({}));
    cluster.run();
    assert_stable(&cluster, "v1");
    assert_eq!(cluster.condition("Valid").0, "True", "{}", cluster.explain());
    cluster.most_ready.clear();
    cluster.run();
    assert_released(&cluster, "v2");
}

//! What goes on while something must be mended first, and what does not: requests are not lost, people are obeyed,
//! nothing is risked.

use serde_json::json;
use tidegate::api::rollout_status::{AbortSource, Phase, Promotion};
use tidegate::plan::model::{CREATE, GROW, Kind};
use tidegate::plan::snapshot::Claim;

use super::trouble::set_weight;
use super::{assert_released, assert_turned_back, deployed};
use crate::cluster::{Cluster, Fault};
use crate::fixture::{basic_with, five_steps, gateway_with, nginx, nginx_with};

fn paused(released: Cluster) -> Cluster {
    let mut cluster = deployed(released);
    cluster.deploy("v2");
    cluster.run();
    assert_eq!((cluster.step(), cluster.weight()), (3, 50));
    cluster.log.clear();
    cluster
}

fn break_the_spec(cluster: &mut Cluster) {
    cluster.edit_rollout(|rollout| {
        rollout["spec"]["strategy"]["canary"]["steps"][0] = json!({"setWeight": 101});
    });
    cluster.run();
    assert_eq!(
        (cluster.condition("Valid").0.as_str(), cluster.weight()),
        ("False", 50)
    );
}

#[test]
fn an_invalid_spec_holds_and_an_abort_still_works() {
    for routed in [nginx(five_steps()), gateway_with(five_steps(), json!({}))] {
        let mut cluster = paused(routed);
        break_the_spec(&mut cluster);
        let promote = cluster.command("Promote");
        let abort = cluster.command("Abort");
        cluster.run();
        assert_eq!(cluster.answer(&abort), "Accepted", "{}", cluster.explain());
        assert_eq!(cluster.weight(), 0, "{}", cluster.explain());
        assert_eq!(cluster.status().abort_reason.unwrap().by, AbortSource::Command);
        assert_eq!(
            cluster.answer(&promote),
            "Refused",
            "an aborted release is not promoted"
        );
        cluster.edit_rollout(|rollout| {
            rollout["spec"]["strategy"]["canary"]["steps"][0] = json!({"setWeight": 20});
        });
        cluster.run();
        assert_turned_back(&cluster, "v1");
    }
}

#[test]
fn a_foreign_weight_is_put_back_three_times_whatever_is_to_be_mended() {
    let mut cluster = deployed(nginx(five_steps()));
    cluster.edit_rollout(|rollout| rollout["spec"]["strategy"]["canary"]["steps"] = json!([{}]));
    for _ in 0..3 {
        set_weight(&mut cluster, "70");
        cluster.round();
        assert_eq!(cluster.weight(), 0, "{}", cluster.what_happened());
        cluster.wait(7);
    }
    set_weight(&mut cluster, "70");
    cluster.wait(7);
    assert_eq!(cluster.weight(), 70, "left alone for a while");
    assert_eq!(cluster.condition("RouteContended").0, "True");
    assert_eq!(cluster.condition("Valid").0, "False", "{}", cluster.explain());
    cluster.run();
    assert_eq!(
        (cluster.weight(), cluster.condition("RouteContended").0.as_str()),
        (0, "False"),
        "{}",
        cluster.what_happened()
    );
}

#[test]
fn a_rollout_with_an_invalid_spec_can_be_deleted() {
    for routed in [nginx(five_steps()), gateway_with(five_steps(), json!({}))] {
        let mut cluster = paused(routed);
        break_the_spec(&mut cluster);
        cluster
            .edit_rollout(|rollout| rollout["metadata"]["deletionTimestamp"] = json!("2023-11-14T22:13:20Z"));
        cluster.run();
        assert!(cluster.rollout().is_none(), "{}", cluster.what_happened());
    }
}

#[test]
fn a_version_that_the_status_does_not_know_is_not_begun_by_an_invalid_spec() {
    let mut cluster = paused(nginx(five_steps()));
    break_the_spec(&mut cluster);
    cluster.deploy("v3");
    let abort = cluster.command("Abort");
    cluster.run();
    assert_eq!(cluster.answer(&abort), "Refused");
    assert_eq!((cluster.pods("v3"), cluster.weight()), (0, 50));
    assert_eq!(cluster.phase(), Phase::Degraded);
}

/// Nobody has to abort what a newer version has replaced.
#[test]
fn traffic_leaves_a_version_that_was_replaced_by_one_that_cannot_begin() {
    let mut cluster = paused(nginx(five_steps()));
    let revision = cluster.status().revision;
    cluster.edit(Kind::Ingress, "web", |web| {
        web["metadata"]["annotations"] = json!({"nginx.ingress.kubernetes.io/canary": "true"});
    });
    cluster.deploy("v3");
    cluster.run();
    assert_eq!(cluster.condition("Valid").1, "RouteInvalid");
    assert_eq!(cluster.weight(), 0, "{}", cluster.explain());
    assert_eq!((cluster.pods("v3"), cluster.status().revision), (0, revision));
}

#[test]
fn a_failed_analysis_takes_traffic_back_although_something_is_missing() {
    let steps = json!([{"setWeight": 20}, {"analysis": {"templates": [{"templateName": "errors"}]}}]);
    let mut cluster = deployed(nginx(steps));
    cluster.deploy("v2");
    cluster.run();
    cluster.edit(Kind::Ingress, "web", |web| {
        web["metadata"]["annotations"] = json!({"nginx.ingress.kubernetes.io/canary": "true"});
    });
    cluster.run();
    assert_eq!(
        (cluster.condition("Valid").1.as_str(), cluster.weight()),
        ("RouteInvalid", 20)
    );
    cluster.judge("Failed");
    cluster.run();
    assert_eq!(cluster.status().abort_reason.unwrap().by, AbortSource::Analysis);
    assert_eq!(cluster.weight(), 0, "{}", cluster.explain());
}

fn move_port(cluster: &mut Cluster, name: &str, port: i64) {
    cluster.edit(Kind::Service, name, |service| {
        service["spec"]["ports"] = json!([{"port": port}]);
    });
}

/// The pods are ready, and no request finds them.
#[test]
fn weight_leaves_a_canary_service_without_the_port_of_the_route() {
    let dynamic = || json!({"dynamicStableScale": true});
    for (routed, route) in [
        (nginx(five_steps()), "Ingress web"),
        (nginx_with(five_steps(), dynamic()), "Ingress web"),
        (gateway_with(five_steps(), json!({})), "HTTPRoute web"),
        (gateway_with(five_steps(), dynamic()), "HTTPRoute web"),
    ] {
        let mut cluster = paused(routed);
        move_port(&mut cluster, "checkout-canary", 8080);
        cluster.run();
        let expected = format!("Service checkout-canary: it has no port 80, to which {route} leads");
        let message = cluster.status().message.unwrap();
        assert!(message.starts_with(&expected), "{message}");
        assert_eq!(
            (cluster.weight(), cluster.pods("v1")),
            (0, 5),
            "{}",
            cluster.explain()
        );
        move_port(&mut cluster, "checkout-canary", 80);
        cluster.run();
        assert_eq!(
            (cluster.step(), cluster.weight()),
            (3, 50),
            "{}",
            cluster.explain()
        );
        move_port(&mut cluster, "checkout-canary", 8080);
        cluster.command("Abort");
        cluster.run();
        move_port(&mut cluster, "checkout-canary", 80);
        cluster.run();
        assert_turned_back(&cluster, "v1");
    }
}

/// Each in a way of its own, where stable has given up pods.
#[test]
fn weight_leaves_whatever_port_the_canary_service_lacks() {
    type Change = fn(&mut Cluster);
    let by_name: Change = |cluster| {
        cluster.edit(Kind::Service, "checkout-canary", |service| {
            service["spec"]["ports"] = json!([{"name": "web", "port": 80}]);
        });
    };
    let by_pods: Change = |cluster| {
        cluster.edit(Kind::Service, "checkout-canary", |service| {
            service["spec"]["ports"] = json!([{"port": 81, "targetPort": 80}]);
        });
    };
    let default_backend: fn(&mut serde_json::Value) = |web| {
        let backend = json!({"service": {"name": "checkout-stable", "port": {"name": "http"}}});
        web["spec"] = json!({"ingressClassName": "nginx", "defaultBackend": backend});
    };
    let own_port: fn(&mut serde_json::Value) = |web| {
        web["spec"]["rules"][0]["backendRefs"] = json!([
            {"name": "checkout-stable", "port": 80}, {"name": "checkout-canary", "port": 8081},
        ]);
    };
    let dynamic = || json!({"dynamicStableScale": true});
    let mut by_default = nginx_with(five_steps(), dynamic());
    by_default.edit(Kind::Ingress, "web", default_backend);
    let mut apart = gateway_with(five_steps(), dynamic());
    apart.edit(Kind::HttpRoute, "web", own_port);
    move_port(&mut apart, "checkout-canary", 8081);
    let back: Change = |cluster| move_port(cluster, "checkout-canary", 80);
    for (routed, change) in [
        (by_default, by_name),
        (gateway_with(five_steps(), dynamic()), by_pods),
        (nginx_with(five_steps(), dynamic()), by_pods),
        (apart, back),
    ] {
        let mut cluster = paused(routed);
        change(&mut cluster);
        cluster.run();
        assert_eq!(
            cluster.condition("Valid").1,
            "ServiceInvalid",
            "{}",
            cluster.explain()
        );
        assert_eq!(
            (cluster.weight(), cluster.pods("v1")),
            (0, 5),
            "{}",
            cluster.explain()
        );
    }
}

/// The canary still answers as its Ingress is: the new port holds the release, and takes no traffic from it.
#[test]
fn a_port_that_the_canary_would_lack_holds_and_moves_nothing() {
    let mut cluster = paused(nginx_with(five_steps(), json!({"dynamicStableScale": true})));
    cluster.edit(Kind::Service, "checkout-stable", |service| {
        service["spec"]["ports"] = json!([{"name": "http", "port": 80}, {"name": "new", "port": 8080}]);
    });
    cluster.edit(Kind::Ingress, "web", |web| {
        web["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"]["number"] = json!(8080);
    });
    cluster.run();
    assert_eq!(cluster.condition("Valid").1, "ServiceInvalid");
    assert_eq!(cluster.weight(), 50, "{}", cluster.explain());
}

/// Stable would answer no better: that is no concern of a release.
#[test]
fn a_path_to_a_port_that_neither_service_has_holds_nothing() {
    let mut cluster = deployed(nginx(five_steps()));
    cluster.edit(Kind::Ingress, "web", |web| {
        let paths = web["spec"]["rules"][0]["http"]["paths"].as_array_mut().unwrap();
        let mut old = paths[0].clone();
        old["path"] = json!("/old");
        old["backend"]["service"]["port"]["number"] = json!(9090);
        paths.push(old);
    });
    cluster.deploy("v2");
    cluster.run();
    assert_eq!(
        (cluster.step(), cluster.weight()),
        (3, 50),
        "{}",
        cluster.explain()
    );
    for name in ["checkout-stable", "checkout-canary"] {
        move_port(&mut cluster, name, 8080);
    }
    cluster.run();
    let message = cluster.status().message.unwrap();
    assert!(
        message.starts_with("Service checkout-stable: it has no port"),
        "{message}"
    );
}

#[test]
fn weight_leaves_a_canary_service_that_is_gone() {
    for routed in [nginx(five_steps()), gateway_with(five_steps(), json!({}))] {
        let mut cluster = paused(routed);
        cluster.remove(Kind::Service, "checkout-canary");
        cluster.run();
        assert_eq!(cluster.condition("Valid").1, "ServiceNotFound");
        assert_eq!(cluster.weight(), 0, "{}", cluster.explain());
        assert_eq!((cluster.pods("v1"), cluster.pods("v2")), (5, 3));
    }
}

#[test]
fn the_stable_version_comes_back_and_grows_although_something_is_missing() {
    let mut cluster = paused(nginx(five_steps()));
    cluster.remove(Kind::Service, "checkout-canary");
    cluster.scale(8);
    cluster.run();
    assert_eq!(
        (cluster.pods("v1"), cluster.pods("v2")),
        (8, 3),
        "{}",
        cluster.explain()
    );
    cluster.deploy("v1");
    cluster.run();
    assert_eq!(cluster.status().current_pod_hash, cluster.status().stable_rs);
    assert_eq!(cluster.weight(), 0);
}

#[test]
fn nobody_turns_back_over_the_services_of_an_older_rollout() {
    for routed in [nginx(five_steps()), gateway_with(five_steps(), json!({}))] {
        let mut cluster = paused(routed);
        cluster.command("Abort");
        cluster.run();
        cluster.edit(Kind::Service, "checkout-stable", |service| {
            service["spec"]["selector"]["tidegate.dev/pod-template-hash"] = json!("theirs");
        });
        cluster.claims = vec![Claim {
            kind: "Service".to_owned(),
            name: "checkout-stable".to_owned(),
            rollout: "older".to_owned(),
        }];
        cluster.run();
        assert_eq!(cluster.condition("Valid").1, "ClaimedByOther");
        assert_eq!(
            cluster.selected("checkout-stable"),
            "theirs",
            "{}",
            cluster.explain()
        );
    }
}

/// Rounds in which nobody admits a new ReplicaSet, or a change of the Rollout; with what each was to do.
fn run_refused(cluster: &mut Cluster, kind: Kind) -> Vec<Vec<String>> {
    let mut purposes = Vec::new();
    for _ in 0..30 {
        let (planned, _) = cluster.round_with(Fault::Refused(kind));
        purposes.push(planned.stages.into_iter().map(|stage| stage.purpose).collect());
        cluster.now += chrono::Duration::seconds(1);
    }
    purposes
}

#[test]
fn a_version_that_is_not_admitted_keeps_no_traffic_from_going_back() {
    for extra in [json!({}), json!({"dynamicStableScale": true})] {
        for aborts in [false, true] {
            let mut cluster = paused(nginx_with(five_steps(), extra.clone()));
            cluster.deploy("v3");
            if aborts {
                run_refused(&mut cluster, Kind::ReplicaSet);
                cluster.command("Abort");
            }
            run_refused(&mut cluster, Kind::ReplicaSet);
            assert_eq!(cluster.weight(), 0, "{}", cluster.explain());
            assert_eq!(cluster.status().abort, aborts);
            assert_eq!((cluster.pods("v1"), cluster.pods("v3")), (5, 0));
        }
    }
}

#[test]
fn a_version_that_is_not_admitted_costs_the_stable_one_no_pod() {
    let mut cluster = deployed(basic_with(five_steps(), json!({"maxUnavailable": "100%"})));
    cluster.deploy("v2");
    run_refused(&mut cluster, Kind::ReplicaSet);
    assert_eq!((cluster.pods("v1"), cluster.pods("v2")), (5, 0));
}

#[test]
fn traffic_rises_only_while_the_analysis_beside_it_is_there() {
    let background = json!({"analysis": {"templates": [{"templateName": "endless"}], "startingStep": 1}});
    let mut cluster = deployed(nginx_with(five_steps(), background));
    cluster.deploy("v2");
    run_refused(&mut cluster, Kind::AnalysisRun);
    assert_eq!(
        (cluster.step(), cluster.weight()),
        (1, 20),
        "{}",
        cluster.explain()
    );
    cluster.run();
    assert!(cluster.weight() > 20, "{}", cluster.explain());
}

#[test]
fn what_traffic_waits_for_grows_before_anything_is_created() {
    let mut cluster = paused(nginx_with(five_steps(), json!({"dynamicStableScale": true})));
    cluster.deploy("v3");
    let rounds = run_refused(&mut cluster, Kind::ReplicaSet);
    let place = |round: &[String], wanted: &str| round.iter().position(|purpose| purpose == wanted);
    let both = |round: &Vec<String>| Some((place(round, GROW)?, place(round, CREATE)?));
    let (grown, created) = rounds.iter().find_map(both).unwrap();
    assert!(grown < created);
}

#[test]
fn a_size_that_is_not_admitted_keeps_no_traffic_from_going_back() {
    let mut cluster = paused(nginx(five_steps()));
    cluster.edit_rollout(|rollout| {
        rollout["spec"].as_object_mut().unwrap().remove("replicas");
    });
    cluster.command("Abort");
    run_refused(&mut cluster, Kind::Rollout);
    assert_turned_back(&cluster, "v1");
}

/// Somebody edits the canary Service: its pods are as well as ever.
#[test]
fn weight_leaves_a_canary_service_that_finds_no_pod() {
    let dynamic = json!({"dynamicStableScale": true});
    for routed in [
        nginx(five_steps()),
        gateway_with(five_steps(), json!({})),
        gateway_with(five_steps(), dynamic),
    ] {
        let mut cluster = paused(routed);
        let select = |cluster: &mut Cluster, app: &str| {
            cluster.edit(Kind::Service, "checkout-canary", |service| {
                service["spec"]["selector"]["app"] = json!(app);
            });
        };
        select(&mut cluster, "other");
        let begun = cluster.now;
        let (planned, _) = cluster.round();
        assert_eq!(cluster.weight(), 50, "endpoints may lag");
        assert!(planned.requeue_at.unwrap() <= begun + chrono::Duration::seconds(1));
        cluster.run_until(|cluster| cluster.weight() == 0);
        assert!(
            cluster.now - begun < chrono::Duration::seconds(10),
            "{}",
            cluster.explain()
        );
        assert_eq!(cluster.condition("Valid").1, "ServiceInvalid");
        assert_eq!((cluster.pods("v1"), cluster.pods("v2")), (5, 3));
        select(&mut cluster, "checkout");
        cluster.run();
        assert_eq!(cluster.weight(), 50, "{}", cluster.explain());
    }
}

/// Stable is on its way out, and comes back.
#[test]
fn weight_leaves_a_canary_service_that_finds_no_pod_at_full_weight() {
    let mut cluster = paused(gateway_with(five_steps(), json!({"dynamicStableScale": true})));
    cluster.command("Promote");
    cluster.run_until(|cluster| cluster.weight() == 100);
    assert_eq!(cluster.status().promotion, Some(Promotion::FullWeight));
    cluster.edit(Kind::Service, "checkout-canary", |service| {
        service["spec"]["selector"]["app"] = json!("other");
    });
    cluster.run();
    assert_eq!(
        (cluster.weight(), cluster.pods("v1")),
        (0, 5),
        "{}",
        cluster.explain()
    );
}

#[test]
fn the_endpoints_of_a_canary_with_weight_are_looked_at_while_held() {
    let mut cluster = paused(nginx(five_steps()));
    break_the_spec(&mut cluster);
    let (planned, _) = cluster.round();
    assert!(planned.requeue_at.unwrap() <= cluster.now + chrono::Duration::seconds(10));
}

#[test]
fn replicas_that_are_left_out_keep_their_number_in_a_release() {
    for released in [
        basic_with(five_steps(), json!({})),
        nginx_with(five_steps(), json!({"dynamicStableScale": true})),
        nginx(five_steps()),
    ] {
        let mut cluster = deployed(released);
        cluster.edit_rollout(|rollout| {
            rollout["spec"].as_object_mut().unwrap().remove("replicas");
        });
        cluster.deploy("v2");
        cluster.run();
        assert_eq!(cluster.step(), 3, "{}", cluster.explain());
        cluster.command("Promote");
        cluster.run();
        assert_released(&cluster, "v2");
    }
}

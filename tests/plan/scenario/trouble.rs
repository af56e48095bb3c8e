//! Things that are missing, changed by others, or on their way out.

use serde_json::json;
use tidegate::api::rollout_status::{Phase, WaitingOn, WaitingReason};
use tidegate::plan::model::Kind;

use super::{assert_released, assert_turned_back, deployed};
use crate::cluster::Cluster;
use crate::fixture::{five_steps, gateway_with, hash, http_route, nginx};

pub fn paused() -> Cluster {
    let mut cluster = deployed(nginx(five_steps()));
    cluster.deploy("v2");
    cluster.run();
    assert_eq!(
        (cluster.phase(), cluster.step(), cluster.weight()),
        (Phase::Paused, 3, 50)
    );
    cluster
}

fn canary_ingress(cluster: &Cluster) -> String {
    let ours = |name: &&String| *name != "web";
    let mut ingresses = cluster
        .objects
        .keys()
        .filter(|(kind, _)| *kind == Kind::Ingress)
        .map(|(_, name)| name);
    ingresses.find(ours).unwrap().clone()
}

pub fn set_weight(cluster: &mut Cluster, weight: &str) {
    let name = canary_ingress(cluster);
    cluster.edit(Kind::Ingress, &name, |ingress| {
        ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"] = json!(weight);
    });
}

#[test]
fn what_is_missing_holds_everything_where_it_is() {
    for (kind, name, reason) in [
        (Kind::Service, "checkout-stable", "ServiceNotFound"),
        (Kind::Service, "checkout-canary", "ServiceNotFound"),
        (Kind::Ingress, "web", "RouteNotFound"),
    ] {
        let mut cluster = nginx(five_steps());
        cluster.remove(kind, name);
        let writes = cluster.log.len();
        cluster.run();
        assert_eq!(
            cluster.condition("Valid"),
            ("False".to_owned(), reason.to_owned())
        );
        assert_eq!(cluster.phase(), Phase::Degraded);
        assert!(cluster.objects.keys().all(|(kind, _)| *kind != Kind::ReplicaSet));
        if name == "checkout-canary" {
            continue; // Its weight would lose requests: `held` has what becomes of it.
        }
        let mut cluster = paused();
        cluster.remove(kind, name);
        let before = cluster.objects.clone();
        cluster.run();
        assert_eq!(cluster.condition("Valid").0, "False", "{name}");
        for (key, object) in before.iter().filter(|(key, _)| key.0 != Kind::Rollout) {
            assert_eq!(Some(object), cluster.objects.get(key), "{key:?} {writes}");
        }
    }
}

#[test]
fn what_came_back_is_gone_on_with() {
    let mut cluster = nginx(five_steps());
    let ingress = cluster.object(Kind::Ingress, "web").unwrap().clone();
    cluster.remove(Kind::Ingress, "web");
    cluster.run();
    cluster.put(Kind::Ingress, ingress);
    cluster.run();
    assert_released(&cluster, "v1");
}

#[test]
fn a_foreign_weight_is_put_back_three_times() {
    let mut cluster = paused();
    cluster.log.clear();
    for _ in 0..3 {
        set_weight(&mut cluster, "70");
        cluster.round();
        assert_eq!(cluster.weight(), 50, "{}", cluster.what_happened());
    }
    set_weight(&mut cluster, "70");
    let (planned, _) = cluster.round();
    assert_eq!(cluster.weight(), 70);
    assert_eq!(
        planned.status.waiting_on.unwrap().reason,
        WaitingReason::RouteContended
    );
    assert_eq!(cluster.condition("RouteContended").0, "True");
    for _ in 0..5 {
        cluster.now += chrono::Duration::seconds(5);
        cluster.round();
        assert_eq!(
            cluster.weight(),
            70,
            "left alone for a while: {}",
            cluster.what_happened()
        );
    }
    cluster.run();
    assert_eq!(
        (cluster.weight(), cluster.condition("RouteContended").0.as_str()),
        (50, "False"),
        "{}",
        cluster.what_happened()
    );
}

/// `kubectl apply` of the manifest that somebody keeps in Git.
fn restore_route(cluster: &mut Cluster, name: &str) {
    cluster.edit(Kind::HttpRoute, name, |route| {
        route["spec"]["rules"] = json!([{"backendRefs": [{"name": "checkout-stable", "port": 80}]}]);
    });
}

fn assert_waits_for_rival(cluster: &Cluster) -> WaitingOn {
    let waiting = cluster.status().waiting_on.unwrap();
    assert_eq!(
        waiting.reason,
        WaitingReason::RouteContended,
        "{}",
        cluster.explain()
    );
    waiting
}

fn assert_contended(cluster: &mut Cluster) {
    for _ in 0..3 {
        restore_route(cluster, "web");
        cluster.round();
        let route = cluster.object(Kind::HttpRoute, "web").unwrap();
        assert!(
            route["spec"]["rules"][0]["backendRefs"][0]
                .get("weight")
                .is_some(),
            "put back"
        );
        cluster.wait(7);
    }
    restore_route(cluster, "web");
    cluster.round();
    let waiting = assert_waits_for_rival(cluster);
    assert!(
        waiting.message.contains("HTTPRoute web") && waiting.message.contains("Service checkout-canary"),
        "{}",
        waiting.message
    );
    let conditions = &cluster.rollout().unwrap()["status"]["conditions"];
    let mut conditions = conditions.as_array().unwrap().iter();
    let contended = conditions
        .find(|found| found["type"] == "RouteContended")
        .unwrap();
    assert_eq!(contended["message"], json!(waiting.message));
}

#[test]
fn a_route_that_is_restored_over_and_over_is_left_alone_at_rest_too() {
    assert_contended(&mut deployed(gateway_with(five_steps(), json!({}))));
}

#[test]
fn one_of_two_routes_that_is_restored_over_and_over_is_left_alone() {
    let both = json!({"gatewayAPI": {"httpRoutes": [{"name": "web"}, {"name": "shop"}]}});
    let mut cluster = gateway_with(five_steps(), json!({"trafficRouting": both}));
    let mut shop = http_route();
    shop["metadata"]["name"] = json!("shop");
    cluster.put(Kind::HttpRoute, shop);
    let mut cluster = deployed(cluster);
    cluster.deploy("v2");
    cluster.run();
    assert_eq!(cluster.weight(), 50);
    assert_contended(&mut cluster);
}

fn set_stable_path(cluster: &mut Cluster, path: &str) {
    cluster.edit(Kind::Ingress, "web", |web| {
        web["spec"]["rules"][0]["http"]["paths"][0]["path"] = json!(path);
    });
}

/// The canary Ingress has to follow.
#[test]
fn whoever_edits_the_stable_ingress_is_no_rival() {
    let mut cluster = paused();
    for path in ["/a", "/b", "/c", "/d", "/e"] {
        set_stable_path(&mut cluster, path);
        cluster.wait(7);
        let canary = cluster.object(Kind::Ingress, &canary_ingress(&cluster)).unwrap();
        assert_eq!(
            canary["spec"]["rules"][0]["http"]["paths"][0]["path"],
            json!(path)
        );
    }
}

#[test]
fn whoever_keeps_giving_our_ingress_another_path_type_is_left_alone() {
    let mut cluster = paused();
    cluster.command("Promote");
    assert_path_type_is_left_alone(&mut cluster);
    assert_eq!(
        (cluster.step(), cluster.weight()),
        (4, 50),
        "{}",
        cluster.what_happened()
    );
    cluster.run();
    assert_released(&cluster, "v2");
}

#[test]
fn whoever_does_so_after_an_abort_is_left_alone_too() {
    let mut cluster = paused();
    cluster.command("Abort");
    cluster.round();
    assert_path_type_is_left_alone(&mut cluster);
    cluster.run();
    assert_turned_back(&cluster, "v1");
    assert_eq!(cluster.pods("v2"), 0);
}

fn assert_path_type_is_left_alone(cluster: &mut Cluster) {
    cluster.writes.clear();
    for _ in 0..20 {
        let name = canary_ingress(cluster);
        cluster.edit(Kind::Ingress, &name, |ingress| {
            ingress["spec"]["rules"][0]["http"]["paths"][0]["pathType"] = json!("Exact");
        });
        cluster.wait(1);
    }
    assert_waits_for_rival(cluster);
    let is_repair = |write: &&String| write.contains("-canary weight");
    let repairs = cluster.writes.iter().filter(is_repair).count();
    assert!((1..6).contains(&repairs), "{}", cluster.writes.join("\n"));
}

#[test]
fn many_stable_ingresses_changed_at_once_are_no_rival() {
    let mut cluster = deployed(nginx(five_steps()));
    cluster.deploy("v2");
    for path in ["/a", "/b", "/c", "/d", "/e", "/f"] {
        set_stable_path(&mut cluster, path);
        cluster.round();
    }
    cluster.run();
    assert_eq!(
        (cluster.step(), cluster.weight()),
        (3, 50),
        "{}",
        cluster.what_happened()
    );
    assert!(
        !cluster
            .writes
            .iter()
            .any(|write| write.contains("RouteContended"))
    );
}

#[test]
fn a_route_that_nobody_accepts_is_looked_at_less_and_less() {
    let mut cluster = deployed(gateway_with(five_steps(), json!({})));
    cluster.refused = Some("Accepted".to_owned());
    cluster.deploy("v2");
    for (seconds, pause) in [(10, 1), (120, 10), (600, 10)] {
        cluster.wait(seconds);
        let (planned, _) = cluster.round();
        assert_eq!(
            planned.requeue_at,
            Some(cluster.now + chrono::Duration::seconds(pause)),
            "{}",
            cluster.explain()
        );
    }
}

#[test]
fn a_foreign_weight_does_not_hold_up_an_abort() {
    let mut cluster = paused();
    for _ in 0..5 {
        set_weight(&mut cluster, "70");
        cluster.round();
    }
    cluster.command("Abort");
    cluster.run();
    assert_turned_back(&cluster, "v1");
}

#[test]
fn a_canary_ingress_that_is_deleted_comes_back() {
    let mut cluster = paused();
    let name = canary_ingress(&cluster);
    cluster.remove(Kind::Ingress, &name);
    cluster.run();
    assert_eq!(cluster.weight(), 50, "{}", cluster.what_happened());
    cluster.command("Promote");
    cluster.run();
    assert_released(&cluster, "v2");
}

#[test]
fn a_replica_set_that_is_deleted_comes_back() {
    for version in ["v1", "v2"] {
        let mut cluster = paused();
        cluster.remove(Kind::ReplicaSet, &format!("checkout-{}", hash(version)));
        cluster.run();
        if version == "v2" {
            assert_eq!(
                (cluster.phase(), cluster.pods("v2")),
                (Phase::Paused, 3),
                "{}",
                cluster.what_happened()
            );
        }
        cluster.command("PromoteFull");
        cluster.run();
        assert_released(&cluster, "v2");
    }
}

#[test]
fn a_canary_without_pods_gives_its_traffic_back() {
    let mut cluster = paused();
    cluster.most_ready.insert(hash("v2").to_string(), 0);
    cluster.run();
    assert_eq!(cluster.weight(), 0, "{}", cluster.what_happened());
    cluster.most_ready.clear();
    cluster.run();
    assert_eq!(cluster.weight(), 50, "{}", cluster.what_happened());
}

#[test]
fn a_rollout_that_goes_leaves_everything_to_stable() {
    for mut cluster in [nginx(five_steps()), gateway_with(five_steps(), json!({}))].map(deployed) {
        cluster.deploy("v2");
        cluster.run();
        assert!(cluster.is_in_charge());
        cluster.log.clear();
        cluster
            .edit_rollout(|rollout| rollout["metadata"]["deletionTimestamp"] = json!("2023-11-14T22:13:20Z"));
        cluster.run();
        assert!(cluster.rollout().is_none(), "{}", cluster.what_happened());
        assert_eq!(cluster.selected("checkout-stable"), "everything");
        assert_eq!(cluster.weight(), 0);
        let kind = if cluster.object(Kind::HttpRoute, "web").is_some() {
            "gateway"
        } else {
            "nginx"
        };
        insta::assert_snapshot!(format!("deletion_{kind}"), cluster.what_happened());
    }
}

/// `kubectl delete --cascade=orphan`: the garbage collector makes everything nobody's before the Rollout is gone.
#[test]
fn a_rollout_that_goes_without_its_pods_leaves_those_of_stable() {
    let mut cluster = paused();
    cluster.log.clear();
    cluster.edit_rollout(|rollout| rollout["metadata"]["deletionTimestamp"] = json!("2023-11-14T22:13:20Z"));
    let sets = ["v1", "v2"].map(|version| (Kind::ReplicaSet, format!("checkout-{}", hash(version))));
    for (kind, name) in sets
        .into_iter()
        .chain([(Kind::Ingress, "checkout-web-canary".to_owned())])
    {
        cluster.edit(kind, &name, |object| {
            object["metadata"]
                .as_object_mut()
                .unwrap()
                .remove("ownerReferences");
        });
    }
    cluster.run();
    assert!(cluster.rollout().is_none(), "{}", cluster.what_happened());
    assert_eq!(cluster.weight(), 0);
    assert_eq!(["v1", "v2"].map(|version| cluster.pods(version)), [5, 0]);
    assert_eq!(cluster.selected("checkout-stable"), "everything");
}

#[test]
fn a_rollout_goes_although_its_services_are_gone() {
    for gone in [
        (Kind::Service, "checkout-stable"),
        (Kind::Service, "checkout-canary"),
    ] {
        let mut cluster = paused();
        cluster.remove(gone.0, gone.1);
        cluster
            .edit_rollout(|rollout| rollout["metadata"]["deletionTimestamp"] = json!("2023-11-14T22:13:20Z"));
        cluster.run();
        assert!(
            cluster.rollout().is_none(),
            "{gone:?}\n{}",
            cluster.what_happened()
        );
    }
}

/// Requests are under way to the canary although no route shows it any more.
#[test]
fn a_rollout_that_goes_keeps_its_canary_until_the_data_plane_has_followed() {
    let mut cluster = paused();
    cluster.remove(Kind::Ingress, "web");
    let begun = cluster.now;
    cluster.edit_rollout(|rollout| rollout["metadata"]["deletionTimestamp"] = json!("2023-11-14T22:13:20Z"));
    let mut gone_at = None;
    cluster.run_until(|cluster| {
        if cluster.weight() == 0 && cluster.pods("v2") == 0 {
            gone_at = gone_at.or(Some(cluster.now));
        }
        false
    });
    assert!(cluster.rollout().is_none(), "{}", cluster.explain());
    let waited = gone_at.unwrap() - begun;
    assert!(waited.num_seconds() >= 5, "{waited}\n{}", cluster.what_happened());
}

#[test]
fn a_stable_that_is_lost_after_an_abort_is_named_with_what_helps() {
    for with_weight in [true, false] {
        let mut lost = paused();
        if !with_weight {
            lost.command("Abort");
            lost.run();
        }
        lost.remove(Kind::ReplicaSet, &format!("checkout-{}", hash("v1")));
        if with_weight {
            lost.command("Abort");
        }
        lost.run();
        let waiting = lost.status().waiting_on.unwrap();
        assert_eq!(waiting.reason, WaitingReason::StablePods, "{}", lost.explain());
        assert!(
            waiting.message.contains(&format!("checkout-{}", hash("v1"))),
            "{}",
            waiting.message
        );
        assert!(
            lost.status()
                .message
                .unwrap()
                .contains("apply the stable version's template again")
        );
        lost.now += chrono::Duration::seconds(1000);
        assert!(
            !lost.round().1,
            "written although nothing has changed\n{}",
            lost.what_happened()
        );
        let mut back = lost.clone();
        back.deploy("v1");
        back.run();
        assert_released(&back, "v1");
        lost.command("Retry");
        lost.run();
        lost.command("PromoteFull");
        lost.run();
        assert_released(&lost, "v2");
    }
}

#[test]
fn a_replica_set_of_our_name_that_is_not_ours_is_named_with_what_helps() {
    let mut cluster = deployed(nginx(five_steps()));
    let name = format!("checkout-{}", hash("v2"));
    let mut taken = cluster
        .object(Kind::ReplicaSet, &format!("checkout-{}", hash("v1")))
        .unwrap()
        .clone();
    taken["metadata"] = json!({"name": name, "namespace": "shop", "labels": {
        "tidegate.dev/pod-template-hash": hash("v2").as_str()}});
    cluster.put(Kind::ReplicaSet, taken);
    cluster.deploy("v2");
    cluster.run();
    assert_eq!(
        cluster.condition("Valid"),
        ("False".to_owned(), "ReplicaSetNotOwned".to_owned())
    );
    let message = cluster.status().message.unwrap();
    assert!(
        message.contains(&name) && message.contains("delete it"),
        "{message}"
    );
    cluster.remove(Kind::ReplicaSet, &name);
    cluster.run();
    assert_eq!(
        (cluster.phase(), cluster.step()),
        (Phase::Paused, 3),
        "{}",
        cluster.explain()
    );
}

//! Plans that nobody should ever make: each rule of `plan::check` objects to its own, and a plan that was refused
//! is not carried out. The real plans of all scenarios pass, or they would not come to their ends.

use serde_json::{Value, json};
use tidegate::api::names::{StepIndex, Weight};
use tidegate::api::patch::PatchOp;
use tidegate::plan::check::check;
use tidegate::plan::model::{Action, Kind, Plan, Precondition, Stage, Target, Write};
use tidegate::plan::plan;
use tidegate::plan::snapshot::Snapshot;

use crate::cluster::Cluster;
use crate::fixture::{basic_with, five_steps, gateway_with, hash, nginx, nginx_with};

/// Paused at weight 50: three pods of `v2`, five of `v1`.
pub fn paused(mut cluster: Cluster) -> Cluster {
    cluster.run();
    cluster.deploy("v2");
    cluster.run();
    assert_eq!(cluster.step(), 3);
    cluster
}

/// The plan that changes nothing.
pub fn idle(cluster: &Cluster) -> Plan {
    let idle = plan(&cluster.snapshot(), cluster.now);
    assert_eq!(
        (idle.stages.len(), check(&cluster.snapshot(), &idle).len()),
        (0, 0)
    );
    idle
}

fn patch(cluster: &Cluster, kind: Kind, name: &str, ops: Vec<PatchOp>) -> Write {
    let metadata = &cluster.object(kind, name).unwrap()["metadata"];
    let text = |field: &str| metadata[field].as_str().unwrap().to_owned();
    let precondition = Precondition {
        uid: text("uid"),
        resource_version: text("resourceVersion"),
    };
    Write {
        target: Target {
            kind,
            name: name.to_owned(),
        },
        action: Action::Patch {
            precondition,
            subresource: None,
            ops,
        },
        reason: "a mistake".to_owned(),
    }
}

fn resize(cluster: &Cluster, version: &str, replicas: i64) -> Write {
    let name = format!("checkout-{}", hash(version));
    patch(
        cluster,
        Kind::ReplicaSet,
        &name,
        vec![PatchOp::replace("/spec/replicas", replicas)],
    )
}

fn select(cluster: &Cluster, service: &str, version: &str) -> Write {
    let path = "/spec/selector/tidegate.dev~1pod-template-hash";
    patch(
        cluster,
        Kind::Service,
        service,
        vec![PatchOp::replace(path, hash(version).to_string())],
    )
}

fn weigh(cluster: &Cluster, weight: &str) -> Write {
    let path = "/metadata/annotations/nginx.ingress.kubernetes.io~1canary-weight";
    patch(
        cluster,
        Kind::Ingress,
        "checkout-web-canary",
        vec![PatchOp::replace(path, weight)],
    )
}

fn rules(snapshot: &Snapshot, base: &Plan, writes: Vec<Write>) -> Vec<&'static str> {
    let stages = vec![Stage {
        purpose: "a mistake".to_owned(),
        writes,
    }];
    check(
        snapshot,
        &Plan {
            stages,
            ..base.clone()
        },
    )
    .into_iter()
    .map(|breach| breach.rule)
    .collect()
}

/// A rule, what is wrong, and the writes that do it.
type Mistake = (&'static str, &'static str, Vec<Write>);

fn assert_refused(cluster: &Cluster, mistakes: Vec<Mistake>) {
    let base = idle(cluster);
    for (rule, mistake, writes) in mistakes {
        let found = rules(&cluster.snapshot(), &base, writes);
        assert!(found.contains(&rule), "{rule}, {mistake}: {found:?}");
    }
}

#[test]
fn each_rule_about_traffic_objects_to_its_own_mistake() {
    let cluster = paused(nginx(five_steps()));
    let mistakes = vec![
        (
            "S3",
            "the canary shrinks under its weight",
            vec![resize(&cluster, "v2", 2)],
        ),
        (
            "S3",
            "stable shrinks without dynamicStableScale",
            vec![resize(&cluster, "v1", 4)],
        ),
        (
            "S3",
            "a negative number of pods",
            vec![resize(&cluster, "v2", -1)],
        ),
        (
            "S1",
            "the canary loses its last pod at weight 50",
            vec![resize(&cluster, "v2", 0)],
        ),
        (
            "S4",
            "three pods are to do the work of stable",
            vec![select(&cluster, "checkout-canary", "v3")],
        ),
        (
            "S4",
            "a Service loses its selector",
            vec![patch(
                &cluster,
                Kind::Service,
                "checkout-stable",
                vec![PatchOp::remove("/spec/selector/tidegate.dev~1pod-template-hash")],
            )],
        ),
        ("S5", "three pods are given 80 %", vec![weigh(&cluster, "80")]),
        ("S6", "a weight above the maximum", vec![weigh(&cluster, "101")]),
        ("S6", "a weight that is no number", vec![weigh(&cluster, "half")]),
        (
            "S7",
            "weight and pods go at once",
            vec![weigh(&cluster, "0"), resize(&cluster, "v2", 0)],
        ),
        (
            "S7",
            "weight and selector go at once",
            vec![weigh(&cluster, "0"), select(&cluster, "checkout-canary", "v1")],
        ),
    ];
    assert_refused(&cluster, mistakes);
}

#[test]
fn a_map_of_ours_takes_the_place_of_nobodys_annotations() {
    let cluster = paused(nginx(five_steps()));
    let name = format!("checkout-{}", hash("v1"));
    let map = vec![PatchOp::add("/metadata/annotations", json!({}))];
    let write = patch(&cluster, Kind::ReplicaSet, &name, map);
    assert_refused(&cluster, vec![("S13", "everybody's annotations", vec![write])]);
}

#[test]
fn each_rule_about_objects_objects_to_its_own_mistake() {
    let cluster = paused(nginx(five_steps()));
    let foreign = |ops| patch(&cluster, Kind::Ingress, "web", ops);
    let stale = {
        let mut write = resize(&cluster, "v2", 4);
        if let Action::Patch { precondition, .. } = &mut write.action {
            precondition.resource_version = "1".to_owned();
        }
        write
    };
    let mistakes = vec![
        (
            "S12",
            "a patch that does not fit",
            vec![patch(
                &cluster,
                Kind::Ingress,
                "checkout-web-canary",
                vec![PatchOp::remove("/spec/nothing")],
            )],
        ),
        ("S13", "an object as it was long ago", vec![stale]),
        (
            "S13",
            "the user's Ingress",
            vec![foreign(vec![PatchOp::remove("/spec/rules")])],
        ),
        (
            "S13",
            "the user's pod template",
            vec![patch(
                &cluster,
                Kind::Rollout,
                "checkout",
                vec![PatchOp::remove("/spec/template")],
            )],
        ),
        (
            "S13",
            "somebody else's object",
            vec![Write {
                target: Target {
                    kind: Kind::ReplicaSet,
                    name: "billing-1".to_owned(),
                },
                action: Action::Delete {
                    precondition: Precondition::default(),
                },
                reason: "a mistake".to_owned(),
            }],
        ),
        (
            "S13",
            "an orphan",
            vec![Write {
                target: Target {
                    kind: Kind::ReplicaSet,
                    name: "checkout-1".to_owned(),
                },
                action: Action::Create {
                    object: json!({"metadata": {"name": "checkout-1", "namespace": "shop"}}),
                },
                reason: "a mistake".to_owned(),
            }],
        ),
    ];
    assert_refused(&cluster, mistakes);
}

#[test]
fn without_routes_what_the_stable_service_alone_selects_does_not_shrink() {
    let mut cluster = nginx(five_steps());
    cluster.edit_rollout(|rollout| {
        let canary = rollout["spec"]["strategy"]["canary"].as_object_mut().unwrap();
        canary.remove("trafficRouting");
    });
    let mut cluster = paused(cluster);
    let base = idle(&cluster);
    let found = |cluster: &Cluster| rules(&cluster.snapshot(), &base, vec![resize(cluster, "v1", 1)]);
    assert_eq!(found(&cluster), [""; 0]);
    cluster.edit(Kind::Service, "checkout-stable", |service| {
        service["spec"]["selector"]["tidegate.dev/pod-template-hash"] = json!(hash("v1"));
    });
    assert_eq!(found(&cluster), ["S2"]);
}

#[test]
fn weights_of_a_route_are_explicit_and_add_up() {
    let cluster = paused(gateway_with(five_steps(), json!({})));
    let base = idle(&cluster);
    let weight = |index: usize| format!("/spec/rules/0/backendRefs/{index}/weight");
    for ops in [
        vec![PatchOp::replace(weight(0), 10)],
        vec![PatchOp::remove(weight(1))],
        vec![PatchOp::replace(weight(0), -50), PatchOp::replace(weight(1), 150)],
    ] {
        let found = rules(
            &cluster.snapshot(),
            &base,
            vec![patch(&cluster, Kind::HttpRoute, "web", ops)],
        );
        assert!(found.contains(&"S6"), "{found:?}");
    }
}

#[test]
fn without_routes_pods_go_only_while_enough_remain() {
    let cluster = paused(basic_with(five_steps(), json!({})));
    let base = idle(&cluster);
    assert_eq!(
        rules(&cluster.snapshot(), &base, vec![resize(&cluster, "v1", 0)]),
        ["S2"]
    );
}

fn set_available(cluster: &mut Cluster, version: &str, available: i64) {
    let name = format!("checkout-{}", hash(version));
    cluster.edit(Kind::ReplicaSet, &name, |set| {
        set["status"]["availableReplicas"] = json!(available);
    });
}

#[test]
fn traffic_goes_back_only_to_a_stable_that_can_take_it() {
    let mut cluster = paused(nginx(five_steps()));
    let base = idle(&cluster);
    let found = |cluster: &Cluster| rules(&cluster.snapshot(), &base, vec![weigh(cluster, "0")]);
    assert_eq!(found(&cluster), [""; 0]);
    set_available(&mut cluster, "v1", 2);
    assert_eq!(found(&cluster), ["S7"]);
    let mut lost = cluster.clone();
    lost.edit(Kind::Service, "checkout-canary", |service| {
        service["spec"]["selector"]["app"] = json!("other");
    });
    assert_eq!(found(&lost), [""; 0], "the canary Service finds nobody");
    let mut astray = cluster.clone();
    astray.edit(Kind::Service, "checkout-canary", |service| {
        service["spec"]["ports"] = json!([{"port": 8080}]);
    });
    assert_eq!(found(&astray), [""; 0], "no request reaches the canary Service");
    let mut dead_path = cluster.clone();
    for name in ["web", "checkout-web-canary"] {
        dead_path.edit(Kind::Ingress, name, |ingress| {
            let paths = ingress["spec"]["rules"][0]["http"]["paths"]
                .as_array_mut()
                .unwrap();
            let mut old = paths[0].clone();
            old["path"] = json!("/old");
            old["backend"]["service"]["port"]["number"] = json!(9090);
            paths.push(old);
        });
    }
    assert_eq!(
        found(&dead_path),
        ["S7"],
        "a path that neither Service answers proves nothing"
    );
    set_available(&mut cluster, "v2", 0);
    assert_eq!(found(&cluster), [""; 0], "nobody serves the canary");
    set_available(&mut cluster, "v2", 3);
    cluster.edit_rollout(|rollout| rollout["status"]["abort"] = json!(true));
    let mut aborted = base.clone();
    aborted.status.abort = true;
    assert_eq!(
        rules(&cluster.snapshot(), &aborted, vec![weigh(&cluster, "0")]),
        [""; 0],
        "an abort needs one pod"
    );
}

#[test]
fn the_main_backend_of_an_ingress_keeps_a_pod_without_a_share() {
    let mut cluster = paused(nginx_with(five_steps(), json!({"dynamicStableScale": true})));
    let mut base = idle(&cluster);
    let weights = base.status.canary.weights.as_mut().unwrap();
    weights.live[0].canary_weight = Weight(100);
    cluster.edit(Kind::Ingress, "checkout-web-canary", |ingress| {
        ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"] = json!("100");
    });
    let found = |pods| rules(&cluster.snapshot(), &base, vec![resize(&cluster, "v1", pods)]);
    assert_eq!(found(1), [""; 0]);
    assert_eq!(found(0), ["S3"]);
}

#[test]
fn a_held_release_is_not_given_more() {
    for held in ["paused", "aborted"] {
        let mut cluster = paused(nginx(five_steps()));
        let base = idle(&cluster);
        cluster.edit_rollout(|rollout| match held {
            "paused" => rollout["spec"]["paused"] = json!(true),
            _ => rollout["status"]["abort"] = json!(true),
        });
        let mut further = base.clone();
        further.status.current_step_index = Some(StepIndex(4));
        further.status.abort = held == "aborted";
        let found: Vec<&str> = check(&cluster.snapshot(), &further)
            .iter()
            .map(|breach| breach.rule)
            .collect();
        assert!(found.contains(&"S21"), "{found:?}");
        let found = rules(&cluster.snapshot(), &base, vec![weigh(&cluster, "60")]);
        assert!(found.contains(&"S21"), "{found:?}");
    }
}

#[test]
fn an_unseen_split_still_counts() {
    let cluster = paused(nginx(five_steps()));
    let mut base = idle(&cluster);
    let weights = base.status.canary.weights.as_mut().unwrap();
    let mut old = weights.live[0].clone();
    old.canary_weight = Weight(80);
    weights.live.insert(0, old);
    let mut cluster = cluster;
    let name = format!("checkout-{}", hash("v2"));
    cluster.edit(Kind::ReplicaSet, &name, |set: &mut Value| {
        set["spec"]["replicas"] = json!(5)
    });
    assert_eq!(
        rules(&cluster.snapshot(), &base, vec![resize(&cluster, "v2", 3)]),
        ["S3"]
    );
    assert_eq!(
        rules(&cluster.snapshot(), &base, vec![resize(&cluster, "v2", 4)]),
        [] as [&str; 0]
    );
}

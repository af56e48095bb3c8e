//! What happens to a Rollout in the middle of a step. Where a ReplicaSet shrinks that still carries traffic, only the
//! pod can help: `drainSeconds` is set.

use serde_json::{Value, json};
use tidegate::api::rollout_status::{RolloutStatus, WaitingReason};
use tidegate::sandbox::load::Tally;
use tidegate::sandbox::shop::{canary_weight, is_promoted};

use super::{let_it_settle, open_at_half, open_pausing};
use crate::apply::apply;
use crate::tenant::Tenant;
use crate::traefik::Dialect;
use crate::world::{Throttle, World};

/// As a HorizontalPodAutoscaler does it: 4 to 8 to 2.
pub async fn scale(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let shop = open_at_half(world, name, dialect, throttle, |spec| {
        spec["drainSeconds"] = 5.into()
    })
    .await;
    for replicas in [8, 2] {
        shop.scale(replicas).await;
        // All of stable, and half of it for the canary.
        let pods = i64::from(replicas + replicas / 2);
        shop.until("it is scaled", |status| {
            status.wanted_replicas == Some(i64::from(replicas)) && status.available_replicas == pods
        })
        .await;
        let_it_settle().await;
    }
    promote(&shop).await;
    shop.close().await
}

/// Left to the autoscaler from the beginning.
pub async fn without_size(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let shop = open_pausing(world, name, dialect, throttle, |spec| {
        spec.as_object_mut().unwrap().remove("replicas");
    })
    .await;
    shop.scale(3).await;
    shop.until("it is scaled", |status| status.available_replicas == 3)
        .await;
    shop.release("v2").await;
    shop.until_paused_at(50).await;
    promote(&shop).await;
    shop.close().await
}

pub async fn dynamic_stable_scale(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let shop = open_at_half(world, name, dialect, throttle, |spec| {
        spec["drainSeconds"] = 5.into();
        let canary = spec["strategy"]["canary"].as_object_mut().unwrap();
        canary.insert("dynamicStableScale".to_owned(), true.into());
        // They have no meaning together.
        canary.remove("scaleDownDelaySeconds");
        canary.remove("abortScaleDownDelaySeconds");
    })
    .await;
    promote(&shop).await;
    shop.release("v3").await;
    shop.until_paused_at(50).await;
    shop.type_command(&["abort", "checkout", "--reason", "second thoughts"])
        .await;
    shop.until_all_answered_by("v2").await;
    let_it_settle().await;
    shop.close().await
}

/// Its pods are kept, as somebody does who goes back to a Deployment: customers are served by the stable version.
pub async fn deleted(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let shop = open_at_half(world, name, dialect, throttle, |_| ()).await;
    shop.delete_and_keep_pods().await;
    shop.until_all_answered_by("v1").await;
    let ours = shop.services_with_our_selector().await;
    assert_eq!(ours, Vec::<String>::new());
    shop.close().await
}

/// Templates that come after the release that names them: until then nothing of it begins.
pub async fn missing_templates(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let cluster_wide = format!("{name}-up");
    let shop = open_pausing(world, name, dialect, throttle, |spec| {
        let templates =
            json!([{"templateName": "late"}, {"templateName": cluster_wide, "clusterScope": true}]);
        spec["strategy"]["canary"]["steps"] =
            json!([{"setWeight": 50}, {"analysis": {"templates": templates}}]);
    })
    .await;
    shop.release("v2").await;
    let told = |status: &RolloutStatus| {
        status
            .message
            .as_ref()
            .is_some_and(|message| message.contains("late"))
    };
    let status = shop.until("the missing template is named", told).await;
    assert_eq!(canary_weight(&status), 0);
    let template = |kind: &str, metadata: Value, metric: &str| {
        json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": kind, "metadata": metadata,
            "spec": {"metrics": [{
                "name": metric, "count": 1, "successCondition": "result[0] == 1",
                "provider": {"prometheus": {"query": "vector(1)"}},
            }]},
        })
    };
    let late = template(
        "AnalysisTemplate",
        json!({"name": "late", "namespace": name}),
        "one",
    );
    apply(&world.client, late).await;
    let late = template("ClusterAnalysisTemplate", json!({"name": cluster_wide}), "other");
    apply(&world.client, late).await;
    shop.until("v2 is promoted", is_promoted).await;
    shop.until_all_answered_by("v2").await;
    shop.close().await
}

/// A version that calls its port otherwise than the Services' `targetPort`: its pods are ready, and nobody finds them.
pub async fn renamed_port(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let shop = open_pausing(world, name, dialect, throttle, |_| ()).await;
    let ports = |name: &str| {
        json!([
            {"op": "replace", "path": "/spec/template/spec/containers/0/ports/0/name", "value": name},
            {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "registry.example/checkout:v2"},
        ])
    };
    shop.patch_json(ports("web")).await;
    let unfound = |status: &RolloutStatus| {
        let waiting = status.waiting_on.as_ref();
        let is_ready = status.updated_replicas > 0 && status.available_replicas == status.replicas;
        is_ready && waiting.is_some_and(|waiting| waiting.reason == WaitingReason::Endpoints)
    };
    shop.until("no endpoint is found", unfound).await;
    let_it_settle().await;
    let status = shop.until("it still waits", unfound).await;
    assert_eq!(canary_weight(&status), 0);
    shop.patch_json(ports("http")).await;
    shop.until_paused_at(50).await;
    promote(&shop).await;
    shop.close().await
}

/// All traffic goes to the stable version before the routes are left alone.
pub async fn routing_removed(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let shop = open_at_half(world, name, dialect, throttle, |spec| {
        spec["drainSeconds"] = 5.into()
    })
    .await;
    shop.patch(json!({"spec": {"strategy": {"canary": {"trafficRouting": null}}}}))
        .await;
    shop.until("the routing is taken back", |status| {
        status.canary.routing.is_none()
    })
    .await;
    promote(&shop).await;
    shop.close().await
}

async fn promote(shop: &Tenant<'_>) {
    let template = shop.shop.rollout().await.unwrap().spec.template;
    let image = template["spec"]["containers"][0]["image"].as_str().unwrap();
    let (_, version) = image.rsplit_once(':').unwrap();
    shop.type_command(&["promote", "checkout"]).await;
    shop.until("it is promoted", is_promoted).await;
    shop.until_all_answered_by(version).await;
}

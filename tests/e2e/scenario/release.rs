//! Releases as they happen every day.

use serde_json::{Value, json};
use tidegate::api::analysis_run::Verdict;
use tidegate::api::rollout_status::{AbortSource, Phase, RolloutStatus};
use tidegate::sandbox::load::Tally;
use tidegate::sandbox::shop::{Version, is_back, is_promoted};

use super::{let_it_settle, open, open_at_half, open_changed};
use crate::tenant::{Form, Tenant};
use crate::traefik::Dialect;
use crate::world::{Throttle, World};

/// Weights 10, 50 and 100, analysis at each, promoted.
pub async fn promote(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    promote_v2(open(world, name, dialect, throttle).await).await
}

/// A Service without an address of its own serves as well: what is routed to is its endpoints.
pub async fn headless(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let change = |object: &mut Value| {
        if object["kind"] == "Service" {
            object["spec"]["clusterIP"] = json!("None");
        }
    };
    let form = Form {
        dialect,
        throttle,
        entry: world.traefik(dialect, throttle).entry,
        change: &change,
    };
    promote_v2(Tenant::open(world, name, form).await).await
}

async fn promote_v2(shop: Tenant<'_>) -> Tally {
    shop.release("v2").await;
    shop.until("v2 is promoted", is_promoted).await;
    shop.until_all_answered_by("v2").await;
    let tally = shop.close().await;
    assert!(tally.versions["v2"].requests > 0);
    tally
}

pub async fn abort_errors(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let shop = open(world, name, dialect, throttle).await;
    shop.release_version(Version {
        name: "v2",
        latency_ms: "20",
        error_rate: "0.3",
    })
    .await;
    is_aborted_by(&shop, AbortSource::Analysis, Some("error-rate")).await;
    let tally = shop.close().await;
    assert!(tally.errors > 0);
    tally
}

pub async fn abort_latency(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let shop = open(world, name, dialect, throttle).await;
    shop.release_version(Version {
        name: "v2",
        latency_ms: "900",
        error_rate: "0",
    })
    .await;
    is_aborted_by(&shop, AbortSource::Analysis, Some("latency-p95")).await;
    shop.close().await
}

pub async fn abort_command(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let shop = open_at_half(world, name, dialect, throttle, |_| ()).await;
    shop.type_command(&["abort", "checkout", "--reason", "second thoughts"])
        .await;
    is_aborted_by(&shop, AbortSource::Command, None).await;
    shop.close().await
}

/// While an analysis measures: it is of no use any more, and ended.
pub async fn abort_in_analysis(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let shop = open(world, name, dialect, throttle).await;
    shop.release("v2").await;
    let status = shop
        .until("an analysis measures", |status| step_analysis(status).is_some())
        .await;
    let run = step_analysis(&status).unwrap().to_owned();
    shop.type_command(&["abort", "checkout", "--reason", "second thoughts"])
        .await;
    is_aborted_by(&shop, AbortSource::Command, None).await;
    shop.until_ended(&run).await;
    shop.close().await
}

/// Name of the AnalysisRun of the step.
fn step_analysis(status: &RolloutStatus) -> Option<&str> {
    let run = status.canary.current_step_analysis_run_status.as_ref()?;
    (run.status == Verdict::Running).then_some(run.name.as_str())
}

/// Aborted, tried again, promoted by hand.
pub async fn retry(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let shop = open_at_half(world, name, dialect, throttle, |_| ()).await;
    shop.type_command(&["abort", "checkout", "--reason", "second thoughts"])
        .await;
    is_aborted_by(&shop, AbortSource::Command, None).await;
    shop.type_command(&["retry", "checkout"]).await;
    shop.until_paused_at(50).await;
    shop.type_command(&["promote", "checkout"]).await;
    shop.until("v2 is promoted", is_promoted).await;
    shop.until_all_answered_by("v2").await;
    shop.close().await
}

/// The old version again while the new one has half of the traffic.
pub async fn fast_rollback(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let shop = open_at_half(world, name, dialect, throttle, |_| ()).await;
    shop.release("v1").await;
    shop.until("v1 is back", is_promoted).await;
    shop.until_all_answered_by("v1").await;
    shop.close().await
}

/// A third version while the second has half of the traffic.
pub async fn v3_over_v2(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let shop = open_at_half(world, name, dialect, throttle, |_| ()).await;
    shop.release("v3").await;
    shop.until_paused_at(50).await;
    shop.type_command(&["promote", "checkout"]).await;
    shop.until("v3 is promoted", is_promoted).await;
    shop.until_all_answered_by("v3").await;
    shop.close().await
}

/// Without routing pods are what is split.
pub async fn unrouted(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let shop = open_changed(world, name, dialect, throttle, |spec| {
        let canary = spec["strategy"]["canary"].as_object_mut().unwrap();
        canary.remove("trafficRouting");
        canary["steps"] = json!([{"setWeight": 50}, {"pause": {}}]);
        spec["drainSeconds"] = 5.into();
    })
    .await;
    shop.release("v2").await;
    let paused = |status: &RolloutStatus| status.phase == Some(Phase::Paused);
    let status = shop.until("half of the pods are of v2", paused).await;
    assert_eq!(
        (status.updated_replicas, status.available_replicas),
        (2, 4),
        "{status:?}"
    );
    shop.until_answered_by(&["v1", "v2"]).await;
    shop.type_command(&["promote", "checkout"]).await;
    shop.until("v2 is promoted", is_promoted).await;
    shop.until_all_answered_by("v2").await;
    let_it_settle().await;
    shop.close().await
}

/// What is over is cleared up: old ReplicaSets, AnalysisRuns and all but the newest fifty commands.
pub async fn history(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let shop = open_changed(world, name, dialect, throttle, |spec| {
        spec["revisionHistoryLimit"] = 0.into();
        spec["analysis"] = json!({"successfulRunHistoryLimit": 0, "unsuccessfulRunHistoryLimit": 0});
        let canary = &mut spec["strategy"]["canary"];
        canary["scaleDownDelaySeconds"] = 1.into();
        canary["steps"].as_array_mut().unwrap().truncate(2);
    })
    .await;
    for version in ["v2", "v3"] {
        shop.release(version).await;
        shop.until("it is promoted", is_promoted).await;
        shop.until_all_answered_by(version).await;
    }
    for _ in 0..51 {
        shop.post_command("Retry").await;
    }
    shop.until_only("ReplicaSet", 1).await;
    shop.until_only("AnalysisRun", 0).await;
    shop.until_only("RolloutCommand", 50).await;
    shop.close().await
}

/// Waits until v1 has everything again, and looks who is told to have done it.
pub async fn is_aborted_by(shop: &Tenant<'_>, by: AbortSource, rule: Option<&str>) {
    let status = shop.until("v2 is aborted", is_back).await;
    let reason = status.abort_reason.unwrap();
    assert_eq!(reason.by, by);
    if rule.is_some() {
        assert_eq!(reason.rule.as_deref(), rule);
    }
    shop.until_all_answered_by("v1").await;
}

//! A firing alert turns a release back: Prometheus evaluates the rule, Alertmanager tells, or is asked.

use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use tidegate::api::rollout_command::RolloutCommand;
use tidegate::api::rollout_status::AbortSource;
use tidegate::sandbox::load::Tally;
use tidegate::sandbox::shop::{NAME, Version};

use super::open_pausing;
use super::release::is_aborted_by;
use crate::alerting::ALERTS;
use crate::tenant::Tenant;
use crate::traefik::Dialect;
use crate::world::{Throttle, World};

/// It aborts its release without an analysis: 30 % errors at weight 50.
pub async fn abort(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let named = |(namespaces, _): &&(&str, &str)| name.starts_with(namespaces);
    let (_, alert) = ALERTS.iter().find(named).unwrap();
    let shop = open_pausing(world, name, dialect, throttle, |spec: &mut Value| {
        let matchers = [format!("alertname={alert}"), format!("namespace={name:?}")];
        spec["abortOn"] = json!({"alerts": [{"matchers": matchers}]});
    })
    .await;
    shop.release_version(Version {
        name: "v2",
        latency_ms: "20",
        error_rate: "0.3",
    })
    .await;
    is_aborted_by(&shop, AbortSource::Alert, Some(&format!("alert {alert}"))).await;
    asked_once(&shop, alert).await;
    let tally = shop.close().await;
    assert!(tally.errors > 0);
    tally
}

/// Both replicas were told, and whoever asked was told, too: there is one command, in the alert's name.
async fn asked_once(shop: &Tenant<'_>, alert: &str) {
    let api: Api<RolloutCommand> = Api::namespaced(shop.world.client.clone(), &shop.namespace);
    let commands = api.list(&ListParams::default()).await.unwrap().items;
    let [command] = commands.as_slice() else {
        panic!("{commands:?}")
    };
    assert_eq!(command.spec.rollout, NAME);
    assert_eq!(
        command.spec.requested_by.as_deref(),
        Some(format!("alert:{alert}").as_str())
    );
    let fired = command.spec.alert.as_ref().unwrap().starts_at;
    let aborted = shop.shop.status().await.unwrap().abort_reason.unwrap().at;
    let took = (aborted - fired).num_milliseconds();
    println!("       {alert}: aborted {took} ms after its rule began to fire");
}

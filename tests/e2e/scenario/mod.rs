//! What is played, each in a namespace of its own, several at a time.

mod data_plane;
mod release;
mod trouble;

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tidegate::sandbox::load::Tally;

use crate::tenant::{Form, Tenant};
use crate::traefik::Dialect;
use crate::world::{Throttle, World};

/// A scenario opens a shop, does something, and returns what its customers were told.
pub type Play = for<'a> fn(&'a World, &'a str, Dialect, Throttle) -> BoxFuture<'a, Tally>;

pub struct Scenario {
    pub name: &'static str,
    pub dialect: Dialect,
    pub throttle: Throttle,
    pub play: Play,
}

impl Scenario {
    /// Of its namespace, and in the report.
    pub fn title(&self) -> String {
        let dialect = match self.dialect {
            Dialect::Nginx => "nginx",
            Dialect::GatewayApi => "gateway",
        };
        let throttle = match self.throttle {
            Throttle::Quick => "100ms",
            Throttle::Default => "2s",
        };
        format!("{}-{dialect}-{throttle}", self.name)
    }
}

/// The four releases of the demo, and one that the data plane confirms, at both throttles and in both dialects;
/// everything else, where the throttle is what users have, in one dialect.
pub fn all() -> Vec<Scenario> {
    let everywhere: [(&'static str, Play); 5] = [
        ("promote", |w, n, d, t| release::promote(w, n, d, t).boxed()),
        ("abort-errors", |w, n, d, t| {
            release::abort_errors(w, n, d, t).boxed()
        }),
        ("abort-latency", |w, n, d, t| {
            release::abort_latency(w, n, d, t).boxed()
        }),
        ("abort-command", |w, n, d, t| {
            release::abort_command(w, n, d, t).boxed()
        }),
        ("data-plane-promote", |w, n, d, t| {
            data_plane::promote(w, n, d, t).boxed()
        }),
    ];
    let rest: [(&'static str, Play); 12] = [
        ("retry", |w, n, d, t| release::retry(w, n, d, t).boxed()),
        ("fast-rollback", |w, n, d, t| {
            release::fast_rollback(w, n, d, t).boxed()
        }),
        ("v3-over-v2", |w, n, d, t| release::v3_over_v2(w, n, d, t).boxed()),
        ("history", |w, n, d, t| release::history(w, n, d, t).boxed()),
        ("unrouted", |w, n, d, t| release::unrouted(w, n, d, t).boxed()),
        ("scale", |w, n, d, t| trouble::scale(w, n, d, t).boxed()),
        ("dynamic-stable-scale", |w, n, d, t| {
            trouble::dynamic_stable_scale(w, n, d, t).boxed()
        }),
        ("missing-templates", |w, n, d, t| {
            trouble::missing_templates(w, n, d, t).boxed()
        }),
        ("data-plane-ignores", |w, n, d, t| {
            data_plane::ignored_by_api(w, n, d, t).boxed()
        }),
        ("data-plane-ignores-share", |w, n, d, t| {
            data_plane::ignored_by_share(w, n, d, t).boxed()
        }),
        ("data-plane-frozen", |w, n, d, t| {
            data_plane::frozen(w, n, d, t).boxed()
        }),
        ("data-plane-frozen-abort", |w, n, d, t| {
            data_plane::abort_frozen(w, n, d, t).boxed()
        }),
    ];
    let taken_back: [(&'static str, Play); 2] = [
        ("deleted", |w, n, d, t| trouble::deleted(w, n, d, t).boxed()),
        ("routing-removed", |w, n, d, t| {
            trouble::routing_removed(w, n, d, t).boxed()
        }),
    ];
    let scenario = |(name, play), dialect, throttle| Scenario {
        name,
        dialect,
        throttle,
        play,
    };
    let mut scenarios = Vec::new();
    for throttle in [Throttle::Default, Throttle::Quick] {
        for dialect in [Dialect::Nginx, Dialect::GatewayApi] {
            scenarios.extend(everywhere.map(|part| scenario(part, dialect, throttle)));
        }
    }
    scenarios.extend(rest.map(|part| scenario(part, Dialect::Nginx, Throttle::Default)));
    for dialect in [Dialect::Nginx, Dialect::GatewayApi] {
        scenarios.extend(taken_back.map(|part| scenario(part, dialect, Throttle::Default)));
    }
    scenarios
}

/// The example as it is.
async fn open<'a>(world: &'a World, name: &str, dialect: Dialect, throttle: Throttle) -> Tenant<'a> {
    open_changed(world, name, dialect, throttle, |_| ()).await
}

/// The example without analysis, with one pause at weight 50, and its Rollout changed once more.
pub async fn open_pausing<'a>(
    world: &'a World,
    name: &str,
    dialect: Dialect,
    throttle: Throttle,
    change: impl Fn(&mut Value) + Sync,
) -> Tenant<'a> {
    open_changed(world, name, dialect, throttle, |spec| {
        spec["strategy"]["canary"]["steps"] = json!([{"setWeight": 50}, {"pause": {}}]);
        change(spec);
    })
    .await
}

/// [`open_pausing`], and v2 at its pause.
async fn open_at_half<'a>(
    world: &'a World,
    name: &str,
    dialect: Dialect,
    throttle: Throttle,
    change: impl Fn(&mut Value) + Sync,
) -> Tenant<'a> {
    let shop = open_pausing(world, name, dialect, throttle, change).await;
    shop.release("v2").await;
    shop.until_paused_at(50).await;
    shop
}

async fn open_changed<'a>(
    world: &'a World,
    name: &str,
    dialect: Dialect,
    throttle: Throttle,
    change: impl Fn(&mut Value) + Sync,
) -> Tenant<'a> {
    let change = |object: &mut Value| {
        if object["kind"] == "Rollout" {
            change(&mut object["spec"]);
        }
    };
    let form = Form {
        dialect,
        throttle,
        change: &change,
    };
    Tenant::open(world, name, form).await
}

/// Longer than any Traefik here takes to follow.
async fn let_it_settle() {
    tokio::time::sleep(Duration::from_secs(3)).await;
}

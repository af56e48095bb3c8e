//! What is played, each in a namespace of its own, several at a time.

mod alert;
mod data_plane;
mod people;
mod release;
mod trouble;

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tidegate::sandbox::load::Tally;

use crate::tenant::{Form, Tenant};
use crate::traefik::{Dialect, Traefik};
use crate::world::{Throttle, World};

/// A scenario opens a shop, does something, and returns what its customers were told.
pub type Play = for<'a> fn(&'a World, &'a str, Dialect, Throttle) -> BoxFuture<'a, Tally>;

/// A scenario's function as a [`Play`].
macro_rules! play {
    ($function:path) => {
        |world, name, dialect, throttle| $function(world, name, dialect, throttle).boxed()
    };
}

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
/// everything else, where the throttle is what users have, and mostly in one dialect. What takes longest comes first.
pub fn all() -> Vec<Scenario> {
    let everywhere: [(&'static str, Play); 5] = [
        ("promote", play!(release::promote)),
        ("abort-errors", play!(release::abort_errors)),
        ("abort-latency", play!(release::abort_latency)),
        ("abort-command", play!(release::abort_command)),
        ("data-plane-promote", play!(data_plane::promote)),
    ];
    let rest: [(&'static str, Play); 18] = [
        ("data-plane-frozen-abort", play!(data_plane::abort_frozen)),
        ("data-plane-path-type", play!(data_plane::path_type)),
        ("data-plane-cut-off", play!(data_plane::cut_off_by_api)),
        ("data-plane-cut-off-abort", play!(data_plane::cut_off_abort)),
        ("data-plane-cut-off-share", play!(data_plane::cut_off_by_share)),
        ("alert-pushed", play!(alert::abort)),
        ("alert-polled", play!(alert::abort)),
        ("people", play!(people::people)),
        ("abort-in-analysis", play!(release::abort_in_analysis)),
        ("retry", play!(release::retry)),
        ("history", play!(release::history)),
        ("unrouted", play!(release::unrouted)),
        ("without-size", play!(trouble::without_size)),
        ("missing-templates", play!(trouble::missing_templates)),
        ("renamed-port", play!(trouble::renamed_port)),
        ("data-plane-ignores", play!(data_plane::ignored_by_api)),
        ("data-plane-ignores-share", play!(data_plane::ignored_by_share)),
        ("data-plane-frozen", play!(data_plane::frozen)),
    ];
    let in_both: [(&'static str, Play); 7] = [
        ("fast-rollback", play!(release::fast_rollback)),
        ("v3-over-v2", play!(release::v3_over_v2)),
        ("scale", play!(trouble::scale)),
        ("dynamic-stable-scale", play!(trouble::dynamic_stable_scale)),
        ("headless", play!(release::headless)),
        ("deleted", play!(trouble::deleted)),
        ("routing-removed", play!(trouble::routing_removed)),
    ];
    let scenario = |(name, play), dialect, throttle| Scenario {
        name,
        dialect,
        throttle,
        play,
    };
    let mut scenarios = Vec::new();
    scenarios.extend(rest.map(|part| scenario(part, Dialect::Nginx, Throttle::Default)));
    for dialect in [Dialect::Nginx, Dialect::GatewayApi] {
        scenarios.extend(in_both.map(|part| scenario(part, dialect, Throttle::Default)));
    }
    for throttle in [Throttle::Default, Throttle::Quick] {
        for dialect in [Dialect::Nginx, Dialect::GatewayApi] {
            scenarios.extend(everywhere.map(|part| scenario(part, dialect, throttle)));
        }
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
    let traefik = world.traefik(dialect, throttle);
    open_pausing_behind(traefik, world, name, throttle, change).await
}

/// [`open_pausing`] behind a Traefik of its own.
async fn open_pausing_behind<'a>(
    traefik: &Traefik,
    world: &'a World,
    name: &str,
    throttle: Throttle,
    change: impl Fn(&mut Value) + Sync,
) -> Tenant<'a> {
    open_behind(traefik, world, name, throttle, |spec| {
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
    open_behind(world.traefik(dialect, throttle), world, name, throttle, change).await
}

async fn open_behind<'a>(
    traefik: &Traefik,
    world: &'a World,
    name: &str,
    throttle: Throttle,
    change: impl Fn(&mut Value) + Sync,
) -> Tenant<'a> {
    let change = |object: &mut Value| {
        if object["kind"] == "Rollout" {
            change(&mut object["spec"]);
        }
    };
    let form = Form {
        dialect: traefik.dialect,
        throttle,
        entry: traefik.entry,
        change: &change,
    };
    Tenant::open(world, name, form).await
}

/// Longer than any Traefik here takes to follow.
async fn let_it_settle() {
    tokio::time::sleep(Duration::from_secs(3)).await;
}

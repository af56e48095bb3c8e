//! The chart as it installs itself by default: with a Role in each namespace that is listed, and no right beyond. One
//! release there, before any other controller is up.

use std::path::Path;

use serde_json::json;
use tidegate::sandbox::load::Tally;
use tidegate::sandbox::shop::is_promoted;

use crate::apply::apply;
use crate::audit::Audit;
use crate::chart::{Chart, NAMESPACED, SHOP};
use crate::replica::Replica;
use crate::scenario::open_pausing;
use crate::traefik::Dialect;
use crate::world::{Throttle, World};

pub async fn play(world: &World) -> Tally {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP}});
    apply(&world.client, namespace).await;
    let chart = Chart::install(&world.client, &world.tools, &NAMESPACED).await;
    let replica = Replica::start(world, &chart, "controller-namespaced", 9083).await;
    let shop = open_pausing(world, SHOP, Dialect::Nginx, Throttle::Quick, |_| ()).await;
    shop.release("v2").await;
    shop.until_paused_at(50).await;
    shop.type_command(&["promote", "checkout"]).await;
    shop.until("v2 is promoted", is_promoted).await;
    shop.until_all_answered_by("v2").await;
    let tally = shop.close().await;
    replica.process.terminate().await;
    tally
}

/// What it was refused.
pub fn forbidden(audit_log: &Path) -> Vec<String> {
    let audit = Audit::read(audit_log, &NAMESPACED.user());
    assert!(!audit.used().is_empty(), "its requests are in no log");
    audit.forbidden()
}

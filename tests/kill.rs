//! A controller that is killed without warning, again and again, in the middle of releases: whatever the moment, the
//! next one takes up where it was, every release ends as it must, and no request is lost.
#![cfg(feature = "sandbox")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is a failure"
)]

#[path = "kill/controller.rs"]
mod controller;
#[path = "kill/tenant.rs"]
mod tenant;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use tidegate::sandbox::cluster::{Cluster, Setup};
use tidegate::sandbox::dataplane::Delays;
use tidegate::sandbox::pods::Addresses;
use tidegate::sandbox::rng::Rng;
use tokio::task::JoinSet;

use controller::{Killer, Progress};
use tenant::Tenant;

const SHOPS: u64 = 5;
const KILLS: u64 = 50;
const SEED: u64 = 20_261_123;
/// Between the first releases of two shops, so that a kill finds them at different points.
const STAGGER: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_killed_at_any_moment_is_taken_over_from_without_loss() {
    let setup = Setup {
        delays: Delays::all(TimeDelta::milliseconds(300)),
        addresses: Addresses::starting_at(Ipv4Addr::new(127, 77, 0, 1)),
        seed: SEED,
    };
    let cluster = Arc::new(Cluster::start(setup).await.unwrap());
    let progress = Progress::default();
    cluster.server.set_interceptor(Some(Box::new(progress.clone())));
    let mut killer = Killer::start(&cluster, progress, Rng::new(SEED)).await;

    let kills = Arc::new(AtomicU64::new(0));
    let mut shops = JoinSet::new();
    for number in 0..SHOPS {
        let (cluster, kills) = (Arc::clone(&cluster), Arc::clone(&kills));
        let is_enough = move || kills.load(Ordering::SeqCst) >= KILLS;
        shops.spawn(async move {
            tokio::time::sleep(STAGGER * u32::try_from(number).unwrap()).await;
            let mut shop = Tenant::open(&cluster, number).await;
            shop.release_until(is_enough).await;
            shop
        });
    }
    while kills.load(Ordering::SeqCst) < KILLS {
        killer.kill_at_some_moment().await;
        kills.fetch_add(1, Ordering::SeqCst);
        // A shop that failed ends the test now, not after all the kills.
        if let Some(ended) = shops.try_join_next() {
            ended.unwrap();
            panic!("a shop was done before the kills were");
        }
    }
    for shop in shops.join_all().await {
        shop.close().await;
    }
    println!("{}", killer.moments());
}

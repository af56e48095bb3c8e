//! The leader ends in the middle of a step, without warning and in good order; somebody asks for an abort at that moment,
//! and the other replica carries it out.

use std::time::Duration;

use tidegate::api::rollout_status::RolloutStatus;
use tidegate::clock::Stopwatch;
use tidegate::sandbox::shop::is_back;

use crate::patience::until;
use crate::replica::Replica;
use crate::scenario::open_pausing;
use crate::traefik::Dialect;
use crate::world::{Throttle, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Killed,
    Stopped,
    /// It is stopped and does not notice, until another one has done what was asked.
    Frozen,
}

/// Customers' requests, and how long it took from the leader's end until the next one had written weight 0.
pub async fn play(world: &World, end: End, replicas: Vec<Replica>) -> (u64, Duration, Vec<Replica>) {
    let name = format!("leader-{end:?}").to_lowercase();
    let shop = open_pausing(world, &name, Dialect::Nginx, Throttle::Default, |_| ()).await;
    shop.release("v2").await;
    shop.until_paused_at(50).await;
    let mut others = Vec::new();
    let mut leader = None;
    for replica in replicas {
        match replica.leads().await {
            true => leader = Some(replica),
            false => others.push(replica),
        }
    }
    let leader = leader.expect("nobody leads");
    let frozen = match end {
        End::Killed => {
            leader.process.kill().await;
            None
        }
        End::Stopped => {
            leader.process.terminate().await;
            None
        }
        End::Frozen => {
            leader.process.freeze(true).await;
            Some(leader)
        }
    };
    let stopwatch = Stopwatch::start();
    let has_arrived = |status: &RolloutStatus| status.abort && status.spares_current();
    let (_answer, _status) = tokio::join!(
        // Nobody may be there to answer in time; it is stored all the same.
        shop.try_command(&["abort", "checkout", "--reason", "the leader ended"]),
        shop.until("the next leader carries out the abort", has_arrived),
    );
    let took = stopwatch.elapsed();
    shop.until("v1 has everything again", is_back).await;
    shop.until_all_answered_by("v1").await;
    if let Some(leader) = frozen {
        leader.process.freeze(false).await;
        until("the old leader knows that it is none any more", || async {
            let knows = !leader.leads().await && leader.answers("/readyz").await;
            knows.then_some(()).ok_or("it does not".to_owned())
        })
        .await;
        others.push(leader);
    }
    (shop.close().await.sent, took, others)
}

//! The end-to-end tests: two replicas of the controller on a real control plane, a real Traefik in front of the pods, a
//! real Prometheus, and customers who count every request that nobody answered. `make e2e` runs them.
//!
//! Arguments are parts of scenario titles; none means all.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is a failure"
)]

mod alerting;
mod apply;
mod audit;
mod chart;
mod control_plane;
mod failover;
mod install;
mod namespaced;
mod network;
mod patience;
mod policies;
mod process;
mod relay;
mod replica;
mod scenario;
mod tenant;
mod tools;
mod traefik;
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tidegate::clock::Stopwatch;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use audit::Audit;
use chart::CLUSTER_WIDE;
use failover::End;
use replica::Replica;
use scenario::Scenario;
use tools::Tools;
use world::World;

/// Scenarios at a time: as many as leave a machine with two cores time to answer.
const AT_A_TIME: usize = 7;
const SCENARIO_ENDS_WITHIN: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    network::run_inside(run())
}

async fn run() -> ExitCode {
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let all = chosen.is_empty();
    let is_asked_for = |title: &str| all || chosen.iter().any(|part| title.contains(part.as_str()));
    let mut scenarios = scenario::all();
    scenarios.retain(|scenario| is_asked_for(&scenario.title()));
    let (fails_over, is_namespaced) = (is_asked_for("failover"), is_asked_for(chart::SHOP));
    let plays_something = !scenarios.is_empty() || fails_over || is_namespaced;
    assert!(plays_something, "no scenario is called {chosen:?}");
    let directory = process::log_folder("e2e");

    let stopwatch = Stopwatch::start();
    let world = World::set_up(Tools::find(), &directory).await;
    println!(
        "the cluster is up after {:.1} s",
        stopwatch.elapsed().as_secs_f64()
    );
    let world = Arc::new(world);
    let wrong = policies::judge(&world).await;
    println!("admission policies: {} wrong answers {wrong:#?}", wrong.len());
    let mut results = Vec::new();
    if is_namespaced {
        let played = tokio::time::timeout(SCENARIO_ENDS_WITHIN, namespaced::play(&world)).await;
        let requests = played.expect("it takes too long").sent;
        println!("ok     the chart for one namespace      {requests:6} requests");
        results.push(Ended {
            passed: true,
            requests,
        });
    }
    results.extend(play_with_replicas(&world, scenarios, fails_over).await);
    let is_clean = judge(&world, all, is_namespaced) && wrong.is_empty();
    let requests: u64 = results.iter().map(|result| result.requests).sum();
    let failed = results.iter().filter(|result| !result.passed).count();
    println!(
        "{} scenarios, {failed} failed, {requests} requests through Traefik, {:.0} s",
        results.len(),
        stopwatch.elapsed().as_secs_f64()
    );
    if failed == 0 && is_clean {
        return ExitCode::SUCCESS;
    }
    println!("logs: {}", directory.display());
    ExitCode::FAILURE
}

/// Everything that needs a controller.
async fn play_with_replicas(world: &Arc<World>, scenarios: Vec<Scenario>, fails_over: bool) -> Vec<Ended> {
    let mut replicas = vec![
        Replica::start(world, &world.chart, "controller-a", 9081).await,
        Replica::start(world, &world.chart, "controller-b", 9082).await,
    ];
    install::become_ready(world, &replicas).await;
    println!("the chart's Deployment is available");
    let mut results = play(Arc::clone(world), scenarios).await;
    let ends = [End::Killed, End::Stopped, End::Frozen];
    for end in ends.into_iter().filter(|_| fails_over) {
        replicas = fail_over(world, end, replicas, &mut results).await;
    }
    for replica in replicas {
        replica.process.terminate().await;
    }
    results
}

/// Plays it, tells how long it took, and starts a replica in the place of one that ended.
async fn fail_over(
    world: &World,
    end: End,
    replicas: Vec<Replica>,
    results: &mut Vec<Ended>,
) -> Vec<Replica> {
    let (requests, took, mut replicas) = failover::play(world, end, replicas).await;
    println!(
        "ok     leader {end:?}: weight 0 written {:.1} s later {requests:6} requests",
        took.as_secs_f64()
    );
    results.push(Ended {
        passed: true,
        requests,
    });
    if let [left] = replicas.as_slice() {
        let (name, port) = match left.name.as_str() {
            "controller-a" => ("controller-b", 9082),
            _ => ("controller-a", 9081),
        };
        replicas.push(Replica::start(world, &world.chart, name, port).await);
    }
    replicas
}

/// Whether the API server has seen of the controllers nothing that was refused, nothing of a leader after its
/// successor, and, if every scenario was played, every right in use.
fn judge(world: &World, all: bool, is_namespaced: bool) -> bool {
    let log = world.control_plane.audit_log();
    let audit = Audit::read(&log, &CLUSTER_WIDE.user());
    for (what, count) in audit.counts() {
        println!("{count:8} {what}");
    }
    let (granted, used) = (world.chart.granted(), audit.used());
    let unused = granted.difference(&used).filter(|_| all);
    // The first, and one after each end of another: fewer, and it is not told by whom a write is.
    let epochs = audit.epochs();
    println!("leaders that wrote: {}", epochs.len());
    let too_few = (all && epochs.len() < 4).then(|| format!("{epochs:?}"));
    let forbidden_to_namespaced = match is_namespaced {
        true => namespaced::forbidden(&log),
        false => Vec::new(),
    };
    let problems = [
        ("refused", audit.forbidden()),
        ("refused for one namespace", forbidden_to_namespaced),
        ("too few leaders", too_few.into_iter().collect()),
        (
            "written by a leader after its successor, or by no leader",
            audit.fenced(),
        ),
        ("granted and not used", unused.cloned().collect()),
    ];
    for (what, requests) in &problems {
        println!("{what}: {} {requests:?}", requests.len());
    }
    problems.iter().all(|(_, requests)| requests.is_empty())
}

struct Ended {
    passed: bool,
    requests: u64,
}

/// Plays them, a few at a time, and tells of each as it ends.
async fn play(world: Arc<World>, scenarios: Vec<Scenario>) -> Vec<Ended> {
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut playing = JoinSet::new();
    for scenario in scenarios {
        let (world, places) = (Arc::clone(&world), Arc::clone(&places));
        playing.spawn(async move {
            let _place = places.acquire().await.unwrap();
            let title = scenario.title();
            let stopwatch = Stopwatch::start();
            let name = title.clone();
            // A task of its own, so that its panic ends nothing else.
            let played = tokio::spawn(async move {
                let play = (scenario.play)(&world, &name, scenario.dialect, scenario.throttle);
                tokio::time::timeout(SCENARIO_ENDS_WITHIN, play)
                    .await
                    .expect("it takes too long")
            });
            let tally = played.await;
            let requests = tally.as_ref().map_or(0, |tally| tally.sent);
            let verdict = if tally.is_ok() { "ok" } else { "FAILED" };
            let seconds = stopwatch.elapsed().as_secs_f64();
            println!("{verdict:6} {title:40} {seconds:6.1} s {requests:6} requests");
            Ended {
                passed: tally.is_ok(),
                requests,
            }
        });
    }
    playing.join_all().await
}

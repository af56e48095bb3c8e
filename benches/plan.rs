//! How long one decision takes, and its parts: a ten-step canary with analysis behind an Ingress, on the model of a
//! cluster that the planner's tests use.
#![allow(
    dead_code,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the model is test code, and its tests use all of it"
)]

#[path = "../tests/plan/blame.rs"]
mod blame;
#[path = "../tests/plan/cluster/mod.rs"]
mod cluster;
#[path = "../tests/plan/fixture.rs"]
mod fixture;

use divan::{Bencher, black_box};
use serde_json::{Value, json};
use tidegate::clock::Stopwatch;
use tidegate::plan::needs::needs;
use tidegate::plan::traffic::observe_traffic;
use tidegate::plan::validate::validate_rollout;
use tidegate::plan::world::World;
use tidegate::plan::{plan, plan_rollout};

use cluster::Cluster;

const LIMIT_MICROSECONDS: f64 = 50.0;
const SAMPLES: usize = 2_001;

fn main() {
    divan::main();
    let cluster = in_analysis();
    let snapshot = cluster.snapshot();
    let spec = validate_rollout(&snapshot.rollout).unwrap();
    let decision = median_micros(|| plan_rollout(black_box(&snapshot), &spec, cluster.now));
    let whole = median_micros(|| plan(black_box(&snapshot), cluster.now));
    let ratio = decision / LIMIT_MICROSECONDS;
    println!(
        "plan_rollout of a ten-step canary in analysis: {decision:.1} µs, {ratio:.2} of the limit of \
         {LIMIT_MICROSECONDS} µs; validated and checked: {whole:.1} µs"
    );
    println!(
        "{}",
        json!({"planRolloutMicroseconds": decision, "limit": LIMIT_MICROSECONDS, "planMicroseconds": whole})
    );
}

fn median_micros<T>(mut work: impl FnMut() -> T) -> f64 {
    let mut micros: Vec<f64> = (0..SAMPLES)
        .map(|_| {
            let stopwatch = Stopwatch::start();
            black_box(work());
            stopwatch.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    micros.sort_by(f64::total_cmp);
    micros.get(SAMPLES / 2).copied().unwrap_or_default()
}

/// Weights from 10 to 90, judged at every second.
fn ten_steps() -> Value {
    let analysis = json!({"analysis": {"templates": [{"templateName": "errors"}]}});
    json!([
        {"setWeight": 10}, analysis, {"setWeight": 25}, analysis, {"setWeight": 40}, {"pause": {"duration": "10s"}},
        {"setWeight": 60}, analysis, {"setWeight": 90}, analysis,
    ])
}

fn at_rest() -> Cluster {
    let background = json!({"analysis": {"templates": [{"templateName": "endless"}], "startingStep": 1}});
    let mut cluster = fixture::nginx_with(ten_steps(), background);
    cluster.run();
    cluster
}

/// The second analysis measures, beside the one in the background.
fn in_analysis() -> Cluster {
    let mut cluster = at_rest();
    cluster.deploy("v2");
    cluster.run();
    cluster
}

#[divan::bench]
fn plan_in_analysis(bencher: Bencher) {
    let cluster = in_analysis();
    let snapshot = cluster.snapshot();
    bencher.bench_local(|| plan(black_box(&snapshot), cluster.now));
}

#[divan::bench]
fn plan_at_rest(bencher: Bencher) {
    let cluster = at_rest();
    let snapshot = cluster.snapshot();
    bencher.bench_local(|| plan(black_box(&snapshot), cluster.now));
}

#[divan::bench]
fn part_validate(bencher: Bencher) {
    let snapshot = in_analysis().snapshot();
    bencher.bench_local(|| validate_rollout(black_box(&snapshot.rollout)));
}

#[divan::bench]
fn part_plan_rollout(bencher: Bencher) {
    let cluster = in_analysis();
    let snapshot = cluster.snapshot();
    let spec = validate_rollout(&snapshot.rollout).unwrap();
    bencher.bench_local(|| plan_rollout(black_box(&snapshot), &spec, cluster.now));
}

#[divan::bench]
fn part_world(bencher: Bencher) {
    let cluster = in_analysis();
    let snapshot = cluster.snapshot();
    let spec = validate_rollout(&snapshot.rollout).unwrap();
    bencher.bench_local(|| World::new(black_box(&snapshot), &spec, cluster.now).replicas);
}

#[divan::bench]
fn part_traffic(bencher: Bencher) {
    let cluster = in_analysis();
    let snapshot = cluster.snapshot();
    let spec = validate_rollout(&snapshot.rollout).unwrap();
    let world = World::new(&snapshot, &spec, cluster.now);
    bencher.bench_local(|| observe_traffic(black_box(&world)));
}

#[divan::bench]
fn part_routers(bencher: Bencher) {
    let cluster = in_analysis();
    let snapshot = cluster.snapshot();
    let spec = validate_rollout(&snapshot.rollout).unwrap();
    let world = World::new(&snapshot, &spec, cluster.now);
    let traffic = observe_traffic(&world).unwrap();
    let target = traffic.target(&world, traffic.newest().canary_weight);
    bencher.bench_local(|| {
        tidegate::routers::render(
            &target,
            &traffic.routing.traffic_routing,
            black_box(traffic.routes()),
        )
    });
}

#[divan::bench]
fn beside_needs(bencher: Bencher) {
    let snapshot = in_analysis().snapshot();
    bencher.bench_local(|| needs(black_box(&snapshot.rollout)));
}

//! The controller in a world of one thread and virtual time where every choice comes from a seed: caches that lag,
//! writes that fail or succeed unheard, crashes, pods in trouble, users. `docs/simulation.md` says how to use it.
#![cfg(feature = "sandbox")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

mod brain;
mod cluster;
mod controller;
mod gate;
mod object;
mod rule;
mod run;
mod scenario;
mod trace;
mod truth;
mod user;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use brain::Sabotage;
use run::{draw, run_seed, simulate};

/// Objects are cloned all the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What fits into a run of unoptimized code; `TIDEGATE_SEEDS` asks for more, as `make test` does.
const SEEDS: u64 = 200;
/// A deliberate bug is found by then.
const SABOTAGED_SEEDS: u64 = 400;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_seed_breaks_a_rule() {
    if let Some(seed) = number("TIDEGATE_SEED") {
        match run_seed(seed, true) {
            Ok((commits, compared)) => println!("seed {seed}: {commits} commits, ends compared: {compared}"),
            Err(failure) => panic!("{}", failure.report),
        }
        return;
    }
    let first = number("TIDEGATE_FIRST_SEED").unwrap_or(1);
    let last = first + number("TIDEGATE_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(first);
    let (commits, compared) = (AtomicU64::new(0), AtomicU64::new(0));
    let failures = Mutex::new(Vec::new());
    let threads = number("TIDEGATE_THREADS").unwrap_or(2);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= last || failures.lock().unwrap().len() >= 5 {
                        break;
                    }
                    match run_seed(seed, false) {
                        Ok((judged, same)) => {
                            commits.fetch_add(judged as u64, Ordering::SeqCst);
                            compared.fetch_add(u64::from(same), Ordering::SeqCst);
                        }
                        Err(failure) => {
                            println!("{}\n", failure.report);
                            failures.lock().unwrap().push(failure.report);
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    println!(
        "{} seeds, {} commits judged, {} ends compared, {} failures",
        last - first,
        commits.load(Ordering::SeqCst),
        compared.load(Ordering::SeqCst),
        failures.len()
    );
    assert!(failures.is_empty(), "{} seeds fail", failures.len());
}

#[test]
fn a_seed_is_replayed_exactly() {
    for seed in [3, 14, 15, 92, 65] {
        let run = || simulate(&draw(seed), None, false).map(|outcome| outcome.trace);
        let (one, other) = (run(), run());
        match (one, other) {
            (Ok(one), Ok(other)) => assert_eq!(one, other, "seed {seed}"),
            (Err(failure), _) | (_, Err(failure)) => panic!("{}", failure.report),
        }
    }
}

/// The first seed that notices a deliberate bug must blame the rule that it breaks.
fn is_caught(sabotage: Sabotage, rules: &[&str]) {
    for seed in 1..=SABOTAGED_SEEDS {
        if let Err(failure) = simulate(&draw(seed), Some(sabotage), false) {
            println!("{sabotage:?}: caught by {} at seed {seed}", failure.rule);
            assert!(rules.contains(&failure.rule), "{}", failure.report);
            return;
        }
    }
    panic!("{sabotage:?} was not noticed within {SABOTAGED_SEEDS} seeds");
}

#[test]
fn weight_before_readiness_is_caught() {
    is_caught(Sabotage::WeightBeforeReadiness, &["S5", "S2"]);
}

#[test]
fn scale_down_before_weight_is_caught() {
    is_caught(Sabotage::ScaleDownBeforeWeight, &["S3", "S2"]);
}

#[test]
fn selector_before_endpoints_is_caught() {
    is_caught(Sabotage::SelectorBeforeEndpoints, &["S4"]);
}

#[test]
fn advance_without_verdict_is_caught() {
    is_caught(Sabotage::AdvanceWithoutVerdict, &["S8"]);
}

#[test]
fn stale_cache_is_caught() {
    is_caught(Sabotage::StaleCache, &["S12"]);
}

#[test]
fn failed_read_as_absence_is_caught() {
    // A Rollout taken for gone is never looked at again.
    is_caught(Sabotage::FailedReadIsAbsence, &["S12", "L1"]);
}

#[test]
fn abort_that_waits_for_the_canary_is_caught() {
    is_caught(Sabotage::AbortWaitsForCanary, &["L2", "L1"]);
}

#[test]
fn flip_flop_after_abort_is_caught() {
    is_caught(Sabotage::FlipFlopAfterAbort, &["S16", "S4"]);
}

#[test]
fn promotion_of_the_wrong_hash_is_caught() {
    is_caught(Sabotage::PromoteWrongHash, &["S8"]);
}

#[test]
fn abort_that_scales_stable_down_is_caught() {
    is_caught(Sabotage::AbortScalesStableDown, &["S3", "S2"]);
}

#[test]
fn a_data_plane_that_is_not_heard_is_caught() {
    is_caught(Sabotage::DataPlaneUnheard, &["S1", "S2", "S3", "S4"]);
}

//! How large a benchmark is, from the environment.

use std::time::Duration;

pub struct Size {
    pub rollouts: usize,
    pub idle: Duration,
    pub in_progress: usize,
    pub aborts: usize,
}

impl Size {
    pub fn read(idle_seconds: usize, aborts: usize) -> Self {
        Size {
            rollouts: number("BENCH_ROLLOUTS", 1_000),
            idle: Duration::from_secs(number("BENCH_IDLE_SECONDS", idle_seconds) as u64),
            in_progress: number("BENCH_IN_PROGRESS", 200),
            aborts: number("BENCH_ABORTS", aborts),
        }
    }
}

/// A whole number.
fn number(variable: &str, otherwise: usize) -> usize {
    let text = std::env::var(variable).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

//! What the released controller costs on a real API server with many Rollouts: memory, processor time, requests, and how
//! long an abort takes. `make bench-cluster` runs it and says where the programs are that it needs.
//!
//! `BENCH_ROLLOUTS`, `BENCH_IDLE_SECONDS`, `BENCH_IN_PROGRESS` and `BENCH_ABORTS` change the size. The controller runs with
//! the rights and under the policies of the chart, and renews its Lease. Pods are Ready at once. The exit code says
//! whether a cluster at rest was written to or an Event of a promotion was lost; what is a matter of the machine is
//! reported and judged by nobody.
#![allow(
    dead_code,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what the end-to-end tests use of their cluster is more; a benchmark that cannot go on may panic"
)]

#[path = "../../tests/e2e/apply.rs"]
mod apply;
#[path = "../../tests/e2e/audit.rs"]
mod audit;
#[path = "../../tests/e2e/chart.rs"]
mod chart;
#[path = "../../tests/e2e/control_plane.rs"]
mod control_plane;
#[path = "../cluster/controller.rs"]
mod controller;
mod kubelet;
#[path = "../../tests/e2e/network.rs"]
mod network;
#[path = "../cluster/object.rs"]
mod object;
#[path = "../../tests/e2e/process.rs"]
mod process;
#[path = "../cluster/report.rs"]
mod report;
#[path = "../cluster/size.rs"]
mod size;
mod stage;
#[path = "../../tests/e2e/tools.rs"]
mod tools;
mod watcher;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use audit::Audit;
use chart::CLUSTER_WIDE;
use controller::Controller;
use report::{difference, mebibytes, quantile, row};
use size::Size;
use stage::{Stage, key};
use tools::Tools;

/// As long as this without a write counts as rest.
const QUIET: Duration = Duration::from_secs(10);
const MOST_LOOKS: u32 = 60;
const EVENTS: &str = "create events.k8s.io/events";
/// That it began, each of its two steps, and that it was promoted.
const EVENTS_OF_A_PROMOTION: u64 = 4;
const BETWEEN_ABORTS: Duration = Duration::from_millis(100);

type Counts = BTreeMap<String, u64>;

struct Bench {
    size: Size,
    stage: Stage,
    controller: Controller,
}

fn main() -> ExitCode {
    network::run_inside(run())
}

async fn run() -> ExitCode {
    let size = Size::read(120, 100);
    assert!(
        size.in_progress + 2 * size.aborts <= size.rollouts,
        "there are not so many Rollouts"
    );
    assert!(
        size.aborts.is_multiple_of(stage::ROLLOUTS_PER_NAMESPACE),
        "requests are counted by namespace, and of one aborts would share theirs with other Rollouts"
    );
    let directory = process::log_folder("bench-cluster");
    let stage = Stage::set_up(&Tools::find(), &directory).await;
    let controller = start(&stage).await;
    let bench = Bench {
        size,
        stage,
        controller,
    };
    let started = bench.bring_up().await;
    let rest = bench.rest().await;
    let promotions = bench.promote_all().await;
    let aborts = bench.abort().await;
    let is_right = rest["writes"] == 0 && promotions["eventsLost"] == 0;
    println!(
        "{}",
        json!({
            "rollouts": bench.size.rollouts, "start": started, "rest": rest, "promotions": promotions, "aborts": aborts,
        })
    );
    match is_right {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// The one that is released, if it was built.
async fn start(stage: &Stage) -> Controller {
    let released = std::env::var_os("TIDEGATE_CONTROLLER").map(PathBuf::from);
    let program = released.unwrap_or_else(|| env!("CARGO_BIN_EXE_tidegate").into());
    let token = stage.chart.token(&stage.client).await;
    let kubeconfig = stage.control_plane.kubeconfig("controller", &token);
    let mut arguments = stage.chart.arguments("127.0.0.1:0", &kubeconfig);
    arguments.retain(|argument| !argument.starts_with("--log-level"));
    arguments.push("--log-level=warn".to_owned());
    Controller::start(&program, &arguments).unwrap()
}

impl Bench {
    async fn bring_up(&self) -> Value {
        tokio::time::sleep(QUIET).await;
        let empty = self.controller.memory().unwrap();
        let watcher = &self.stage.watcher;
        let begun = watcher.now();
        self.stage.create_rollouts(self.size.rollouts).await;
        let created = watcher.now();
        watcher
            .wait_for(self.size.rollouts, "healthy", |_, state| state.phase == "Healthy")
            .await;
        let healthy = watcher.now();
        self.wait_for_quiet().await;
        let used = self.controller.processor_time().unwrap().as_secs_f64();
        let memory = self.controller.memory().unwrap();
        let seconds = |from: Duration, to: Duration| format!("{:.1} s", (to - from).as_secs_f64());
        row("Rollouts, two pods each, Ingress routing", self.size.rollouts, "");
        row("resident memory with no Rollout", mebibytes(empty.now), "");
        row("until all are created", seconds(begun, created), "");
        row("until all are healthy", seconds(begun, healthy), "");
        row("  processor time", format!("{used:.1} s"), "");
        row("  peak of resident memory", mebibytes(memory.peak), "");
        json!({
            "emptyKiB": empty.now, "seconds": (healthy - begun).as_secs_f64(), "processorSeconds": used,
            "peakKiB": memory.peak,
        })
    }

    async fn rest(&self) -> Value {
        let (before, used_before) = (self.requests(), self.controller.processor_time().unwrap());
        tokio::time::sleep(self.size.idle).await;
        let used = (self.controller.processor_time().unwrap() - used_before).as_secs_f64();
        let requests = difference(&before, &self.requests());
        let writes = writes(&requests);
        let memory = self.controller.memory().unwrap();
        row(&format!("at rest for {} s", self.size.idle.as_secs()), "", "");
        row("  processor time", format!("{used:.2} s"), "");
        row("  writes but for the Lease", writes, "0");
        row("  resident memory", mebibytes(memory.now), "22 MiB");
        report(&requests);
        json!({"seconds": self.size.idle.as_secs(), "processorSeconds": used, "writes": writes, "residentKiB": memory.now})
    }

    /// A new version of all of them at once, steps 10 and 50.
    async fn promote_all(&self) -> Value {
        let (before, used_before) = (self.requests(), self.controller.processor_time().unwrap());
        let watcher = &self.stage.watcher;
        let begun = watcher.now();
        self.stage.release(0..self.size.rollouts, "v2", None).await;
        let is_promoted = |state: &watcher::State| state.phase == "Healthy" && state.revision == 2;
        let ends = watcher
            .wait_for(self.size.rollouts, "promoted", |_, state| is_promoted(state))
            .await;
        let took = |at: Duration| at.saturating_sub(begun).as_secs_f64();
        let (median, last) = (took(ends[ends.len() / 2]), took(*ends.last().unwrap()));
        self.wait_for_quiet().await;
        let used = (self.controller.processor_time().unwrap() - used_before).as_secs_f64();
        let requests = difference(&before, &self.requests());
        let memory = self.controller.memory().unwrap();
        let each = |count: u64| count as f64 / self.size.rollouts as f64;
        let writes = each(writes(&requests));
        let events = requests.get(EVENTS).copied().unwrap_or_default();
        let lost = (EVENTS_OF_A_PROMOTION * self.size.rollouts as u64).abs_diff(events);
        row(
            "all promoted, steps 10 and 50, settleSeconds 1",
            format!("{last:.1} s"),
            "60 s",
        );
        row("  median", format!("{median:.1} s"), "");
        row("  processor time, with the tail", format!("{used:.1} s"), "7 s");
        row("  peak of resident memory", mebibytes(memory.peak), "");
        row(
            "  writes of one promotion, with Events",
            format!("{writes:.1}"),
            "20",
        );
        row("  Events too few, or too many", lost, "0");
        for (request, count) in &requests {
            row(&format!("    {request}"), format!("{:.2}", each(*count)), "");
        }
        json!({
            "seconds": last, "eventsLost": lost, "medianSeconds": median, "processorSeconds": used, "peakKiB": memory.peak,
            "writesEach": writes, "requests": requests,
        })
    }

    /// One after the other, with nothing else going on, and while others roll.
    async fn abort(&self) -> Value {
        let Size {
            in_progress, aborts, ..
        } = self.size;
        let paused = json!([{"setWeight": 10}, {"pause": {}}]);
        self.stage.release(0..2 * aborts, "v3", Some(paused)).await;
        let at_pause = |_: &_, state: &watcher::State| state.phase == "Paused";
        self.stage
            .watcher
            .wait_for(2 * aborts, "at their pause", at_pause)
            .await;
        self.wait_for_quiet().await;
        let before = self.requests_about(0..aborts);
        let calm = self.abort_each(0..aborts).await;
        self.wait_for_quiet().await;
        let requests = difference(&before, &self.requests_about(0..aborts));
        let each = requests.values().sum::<u64>() as f64 / aborts as f64;
        let rolling = 2 * aborts..2 * aborts + in_progress;
        self.stage.release(rolling.clone(), "v3", None).await;
        let busy = self.abort_each(aborts..2 * aborts).await;
        let roll_on = self
            .stage
            .watcher
            .count(rolling.map(key), |state| state.phase == "Progressing");
        let milliseconds =
            |percent: usize, latencies: &[f64]| format!("{:.0} ms", quantile(percent, latencies));
        for (what, latencies) in [("nothing else going on", &calm), ("others rolling", &busy)] {
            row(&format!("abort to weight 0, {aborts} aborts, {what}"), "", "");
            row("  median", milliseconds(50, latencies), "");
            row("  p99", milliseconds(99, latencies), "500 ms");
        }
        row("  of the others still rolling after the last", roll_on, "");
        row("  requests of one abort", format!("{each:.1}"), "10");
        report(&requests);
        json!({
            "aborts": aborts, "rolling": in_progress, "stillRolling": roll_on, "requestsEach": each,
            "calm": {"p50Ms": quantile(50, &calm), "p99Ms": quantile(99, &calm)},
            "busy": {"p50Ms": quantile(50, &busy), "p99Ms": quantile(99, &busy)},
        })
    }

    /// Milliseconds from the moment before each command is created, sorted.
    async fn abort_each(&self, numbers: std::ops::Range<usize>) -> Vec<f64> {
        let watcher = &self.stage.watcher;
        let mut latencies = Vec::new();
        for number in numbers {
            let begun = watcher.now();
            self.stage.abort(&key(number), "abort").await;
            let end = watcher.wait_for_no_weight(&key(number), begun).await;
            latencies.push((end - begun).as_secs_f64() * 1000.0);
            tokio::time::sleep(BETWEEN_ABORTS).await;
        }
        latencies.sort_by(f64::total_cmp);
        latencies
    }

    /// The controller's so far, by verb and resource.
    fn requests(&self) -> Counts {
        Audit::read(&self.stage.control_plane.audit_log(), &CLUSTER_WIDE.user()).counts()
    }

    /// In their namespaces.
    fn requests_about(&self, numbers: std::ops::Range<usize>) -> Counts {
        let namespaces: BTreeSet<String> = numbers.map(|number| key(number).namespace).collect();
        let audit = Audit::read(&self.stage.control_plane.audit_log(), &CLUSTER_WIDE.user());
        audit.counts_where(|namespace| namespaces.contains(namespace))
    }

    async fn wait_for_quiet(&self) {
        let writes = || writes(&self.requests());
        let mut before = writes();
        for _ in 0..MOST_LOOKS {
            tokio::time::sleep(QUIET).await;
            let now = writes();
            if now == before {
                return;
            }
            before = now;
        }
        panic!("the controller does not stop writing");
    }
}

fn writes(requests: &Counts) -> u64 {
    let writes = requests.iter().filter(|(request, _)| is_write(request));
    writes.map(|(_, count)| count).sum()
}

/// But for the Lease's, which go on for ever.
fn is_write(request: &str) -> bool {
    let reads = ["get ", "list ", "watch "];
    !reads.iter().any(|read| request.starts_with(read)) && !request.contains("coordination.k8s.io/")
}

fn report(requests: &Counts) {
    for (request, count) in requests {
        row(&format!("    {request}"), count, "");
    }
}

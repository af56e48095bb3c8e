//! What the controller costs, as a process of its own on a cluster of many Rollouts: memory, processor time and
//! writes at rest; the time from an abort command to weight 0; the writes of one promotion.
//!
//! `BENCH_ROLLOUTS`, `BENCH_IDLE_SECONDS`, `BENCH_IN_PROGRESS` and `BENCH_ABORTS` change the size. Linux only:
//! what a process costs is read from /proc. The exit code says whether a cluster at rest was written to; what is a
//! matter of the machine is reported and judged by nobody.

mod controller;
mod object;
mod report;
mod size;
mod stage;
mod witness;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use thiserror::Error;
use tidegate::api::resource::ObjectKey;

use controller::Controller;
use report::{difference, mebibytes, quantile, row};
use size::Size;
use stage::{Stage, key};

/// As long as this without a write counts as rest.
const QUIET: Duration = Duration::from_secs(10);
const BETWEEN_ABORTS: Duration = Duration::from_millis(100);

#[derive(Debug, Error)]
pub enum Error {
    #[error("cannot set up the cluster: {0}")]
    Setup(String),
    #[error("it does not come to an end: {0}")]
    Stuck(String),
    #[error("the machine does not play along")]
    Machine(#[from] std::io::Error),
}

pub type Result<T> = std::result::Result<T, Error>;

fn main() -> ExitCode {
    let mut size = Size::read(60, 50);
    size.aborts = size.aborts.min(size.rollouts);
    size.in_progress = size.in_progress.min(size.rollouts - size.aborts);
    let measured = tokio::runtime::Runtime::new()
        .map_err(Error::from)
        .and_then(|runtime| runtime.block_on(measure(&size)));
    match measured {
        Ok(0) => ExitCode::SUCCESS,
        Ok(writes_at_rest) => {
            eprintln!("{writes_at_rest} writes to a cluster at rest; there must be none");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the table and the JSON line; returns the writes at rest.
async fn measure(size: &Size) -> Result<usize> {
    let stage = Stage::set_up().await?;
    let steps = json!([{"setWeight": 10}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]);
    for number in 0..size.rollouts {
        stage.create_rollout(&key(number), &steps)?;
    }
    let kubeconfig = stage.kubeconfig.display();
    let arguments = format!(
        "controller --metrics-address=127.0.0.1:0 --leader-elect=false --log-level=warn --kubeconfig={kubeconfig}"
    );
    let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
    let controller = Controller::start(Path::new(env!("CARGO_BIN_EXE_tidegate")), &arguments)?;
    let started = bring_up(&stage, size, &controller).await?;
    let rest = rest(&stage, size, &controller).await?;
    let promotion = promote(&stage, size).await?;
    let aborts = abort(&stage, size, &controller).await?;
    let writes_at_rest = rest.get("writes").and_then(Value::as_u64).unwrap_or(u64::MAX) as usize;
    println!(
        "{}",
        json!({
            "rollouts": size.rollouts, "start": started, "rest": rest, "promotion": promotion, "aborts": aborts,
        })
    );
    Ok(writes_at_rest)
}

async fn bring_up(stage: &Stage, size: &Size, controller: &Controller) -> Result<Value> {
    let begun = stage.witness.now();
    stage
        .wait_for(size.rollouts, "healthy", |rollout| phase(rollout) == "Healthy")
        .await?;
    let seconds = (stage.witness.now() - begun).as_secs_f64();
    stage.wait_for_quiet(QUIET).await?;
    let (requests, memory) = (stage.requests(), controller.memory()?);
    let processor = controller.processor_time()?.as_secs_f64();
    row("Rollouts, two pods each, Ingress routing", size.rollouts, "");
    row("until all are healthy", format!("{seconds:.1} s"), "");
    row("  processor time", format!("{processor:.1} s"), "");
    row("  peak of resident memory", mebibytes(memory.peak), "");
    for (request, count) in &requests {
        row(&format!("  {request}"), count, "");
    }
    Ok(
        json!({"seconds": seconds, "processorSeconds": processor, "peakKiB": memory.peak, "requests": requests}),
    )
}

async fn rest(stage: &Stage, size: &Size, controller: &Controller) -> Result<Value> {
    let (begun, before) = (stage.witness.now(), stage.requests());
    let used_before = controller.processor_time()?;
    tokio::time::sleep(size.idle).await;
    let used = (controller.processor_time()? - used_before).as_secs_f64();
    let share = 100.0 * used / size.idle.as_secs_f64();
    let writes = stage.witness.since(begun);
    let memory = controller.memory()?;
    let requests = difference(&before, &stage.requests());
    row(&format!("at rest for {} s", size.idle.as_secs()), "", "");
    row("  writes", writes.len(), "0");
    row("  share of a processor core", format!("{share:.2} %"), "1 %");
    row("  resident memory", mebibytes(memory.now), "64 MiB");
    for (request, count) in &requests {
        row(&format!("  {request}"), count, "");
    }
    for seen in writes.iter().take(10) {
        println!(
            "  {} {}/{} {:?}",
            seen.what, seen.namespace, seen.name, seen.changed
        );
    }
    let result = json!({
        "seconds": size.idle.as_secs(), "writes": writes.len(), "corePercent": share,
        "residentKiB": memory.now, "requests": requests,
    });
    Ok(result)
}

/// One release with the steps 10 and 50 and no pause, beside all the others.
async fn promote(stage: &Stage, size: &Size) -> Result<Value> {
    let solo = ObjectKey::new("solo", "solo");
    stage.create_rollout(&solo, &json!([{"setWeight": 10}, {"setWeight": 50}]))?;
    stage
        .wait_for(size.rollouts + 1, "healthy", |rollout| {
            phase(rollout) == "Healthy"
        })
        .await?;
    stage.wait_for_quiet(QUIET / 2).await?;
    let begun = stage.witness.now();
    stage.release(&solo, "v2")?;
    let promoted = |rollout: &Value| {
        let status = |field: &str| rollout.pointer(&format!("/status/{field}"));
        phase(rollout) == "Healthy" && status("revision") == Some(&json!(2))
    };
    stage.wait_for(1, "promoted", promoted).await?;
    stage.wait_for_quiet(2 * QUIET).await?;
    let mut by_kind: BTreeMap<String, usize> = BTreeMap::new();
    println!("writes of one promotion, steps 10 and 50:");
    for seen in stage
        .witness
        .since(begun)
        .iter()
        .filter(|seen| seen.namespace == "solo")
    {
        *by_kind.entry(seen.what.clone()).or_default() += 1;
        let weight = seen.weight.map(|weight| format!(" weight {weight}"));
        let at = (seen.at - begun).as_secs_f64();
        println!(
            "  {at:6.2} s  {}{}  {}",
            seen.what,
            weight.unwrap_or_default(),
            seen.changed.join(" ")
        );
    }
    row("writes of one promotion", by_kind.values().sum::<usize>(), "20");
    for (what, count) in &by_kind {
        row(&format!("  {what}"), count, "");
    }
    Ok(json!(by_kind))
}

/// Many releases in progress, then one abort after the other: from the command to weight 0.
async fn abort(stage: &Stage, size: &Size, controller: &Controller) -> Result<Value> {
    let begin = |mut numbers: std::ops::Range<usize>| {
        numbers.try_for_each(|number| stage.release(&key(number), "v2"))
    };
    let at_pause = |rollout: &Value| phase(rollout) == "Paused";
    begin(0..size.aborts)?;
    stage.wait_for(size.aborts, "at their pause", at_pause).await?;
    stage.wait_for_quiet(QUIET / 2).await?;
    let (begun, used_before) = (stage.witness.now(), controller.processor_time()?);
    begin(size.aborts..size.aborts + size.in_progress)?;
    let mut latencies = Vec::new();
    for number in 0..size.aborts {
        latencies.push(time_abort(stage, &key(number)).await?.as_secs_f64() * 1000.0);
        tokio::time::sleep(BETWEEN_ABORTS).await;
    }
    let lasted = (stage.witness.now() - begun).as_secs_f64();
    let used = (controller.processor_time()? - used_before).as_secs_f64();
    stage
        .wait_for(size.in_progress, "at their pause", at_pause)
        .await?;
    let seconds = (stage.witness.now() - begun).as_secs_f64();
    latencies.sort_by(f64::total_cmp);
    let quantile = |percent| quantile(percent, &latencies);
    let memory = controller.memory()?;
    row(
        &format!("{} releases begun at once, until their pause", size.in_progress),
        format!("{seconds:.1} s"),
        "",
    );
    row(
        &format!("abort to weight 0, {} aborts meanwhile", size.aborts),
        "",
        "",
    );
    row("  median", format!("{:.0} ms", quantile(50)), "");
    row("  p99", format!("{:.0} ms", quantile(99)), "1000 ms");
    row(
        "  share of a processor core meanwhile",
        format!("{:.1} %", 100.0 * used / lasted),
        "",
    );
    row("  peak of resident memory", mebibytes(memory.peak), "");
    Ok(json!({
        "inProgress": size.in_progress, "aborts": size.aborts, "secondsToPause": seconds,
        "p50Ms": quantile(50), "p99Ms": quantile(99), "peakKiB": memory.peak,
    }))
}

async fn time_abort(stage: &Stage, key: &ObjectKey) -> Result<Duration> {
    let begun = stage.witness.now();
    stage.abort(key)?;
    loop {
        if let Some(at) = stage.witness.weighed(&key.namespace, &key.name, 0, begun) {
            return Ok(at - begun);
        }
        if stage.witness.now() - begun > Duration::from_secs(30) {
            return Err(Error::Stuck(format!("{key} was aborted and keeps its weight")));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn phase(rollout: &Value) -> &str {
    rollout
        .pointer("/status/phase")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

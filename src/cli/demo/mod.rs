//! `tidegate demo`: five releases of a small shop on the sandbox, with real requests and a real Prometheus. One is
//! promoted, four come back by themselves, by command or by an alert, and no request is lost.

mod alarm;
mod scenario;
mod screen;
mod stage;
mod witness;

use std::path::Path;

use chrono::TimeDelta;
use clap::Args;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};

use self::scenario::{SCENARIOS, Scenario};
use self::screen::Screen;
use self::stage::{HOST, Stage, StageError};
use super::output::OutputError;
use crate::api::duration::Duration;

#[derive(Args, Clone, Debug)]
pub struct DemoArguments {
    /// Run the scenarios once and leave nothing behind, which is what happens anyway; in a script it says so, and
    /// keeps --keep out.
    #[arg(long, conflicts_with = "keep")]
    pub once: bool,
    /// Print one JSON object per scenario and nothing else on standard output.
    #[arg(long)]
    pub json: bool,
    /// Leave the cluster up at the end and print what to type next.
    #[arg(long)]
    pub keep: bool,
    /// Requests per second that the shop's customers send.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    pub requests_per_second: u32,
    /// How long the data plane takes to follow a change of a route or of endpoints, up to 30s.
    #[arg(long, default_value = "500ms", value_parser = parse_delay)]
    pub propagation_delay: Duration,
    /// Only these scenarios; repeat for more.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(SCENARIOS.map(|scenario| scenario.name)))]
    pub scenario: Vec<String>,
}

fn parse_delay(text: &str) -> Result<Duration, String> {
    let delay = Duration::parse(text).map_err(|error| error.to_string())?;
    if delay.as_millis() > 30_000 {
        return Err(format!("{text} is longer than 30s"));
    }
    Ok(delay)
}

#[derive(Debug, Error)]
pub enum DemoError {
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("cannot set up the process")]
    Process(#[source] std::io::Error),
    #[error("a scenario did not end as it should, or requests were lost")]
    Unexpected,
    #[error("interrupted before the last scenario")]
    Interrupted,
}

pub fn run(arguments: DemoArguments) -> Result<(), DemoError> {
    let runtime = tokio::runtime::Runtime::new().map_err(DemoError::Process)?;
    let ended = runtime.block_on(async {
        // However it is told to stop, the demo takes its Prometheus and its files with it.
        let mut terminate = signal(SignalKind::terminate()).map_err(DemoError::Process)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(DemoError::Process)?;
        tokio::select! {
            ended = play(&arguments) => ended,
            _ = tokio::signal::ctrl_c() => interrupted(&arguments),
            _ = terminate.recv() => interrupted(&arguments),
            _ = hangup.recv() => interrupted(&arguments),
        }
    });
    runtime.shutdown_background();
    match ended {
        // There is no other way to end it.
        Err(DemoError::Interrupted) if arguments.keep => Ok(()),
        ended => ended,
    }
}

/// To stop is how `--keep` ends, and no success of scenarios that had not ended.
fn interrupted(arguments: &DemoArguments) -> Result<(), DemoError> {
    if arguments.keep {
        Ok(())
    } else {
        Err(DemoError::Interrupted)
    }
}

async fn play(arguments: &DemoArguments) -> Result<(), DemoError> {
    let mut screen = Screen::new(arguments.json);
    screen.say("Starting a cluster in this process: API server, nodes, ingress, Prometheus …")?;
    let delay = TimeDelta::milliseconds(arguments.propagation_delay.as_millis());
    let mut stage = Stage::set_up(delay, arguments.requests_per_second).await?;
    screen.say("In another terminal, this is the cluster:")?;
    for line in environment(&stage.kubeconfig()) {
        screen.say(format!("  {line}"))?;
    }
    screen.say("Deploying checkout v1 …")?;
    stage.await_first_version(&mut screen).await?;
    let chosen = |scenario: &&Scenario| {
        arguments.scenario.is_empty() || arguments.scenario.iter().any(|name| name == scenario.name)
    };
    let mut results = Vec::new();
    for scenario in SCENARIOS.iter().filter(chosen) {
        let result = stage.play(scenario, &mut screen).await?;
        screen.result(&result)?;
        results.push(result);
    }
    screen.table(&results)?;
    if arguments.keep {
        keep_up(&mut screen, &stage).await?;
    }
    let as_expected = results.iter().all(|result| result.is_expected());
    stage.tear_down().await;
    if as_expected {
        Ok(())
    } else {
        Err(DemoError::Unexpected)
    }
}

async fn keep_up(screen: &mut Screen, stage: &Stage) -> Result<(), DemoError> {
    screen.say("")?;
    screen.say("Everything stays up until Ctrl-C. In another terminal, try:")?;
    for line in environment(&stage.kubeconfig()) {
        screen.say(format!("  {line}"))?;
    }
    for command in [
        "kubectl tidegate set image checkout app=registry.example/checkout:v7",
        "kubectl tidegate get checkout -w",
        "kubectl tidegate explain checkout",
        "kubectl tidegate abort checkout --reason \"just because\"",
        "kubectl get rollouts,analysisruns",
    ] {
        screen.say(format!("  {command}"))?;
    }
    screen.say(format!("  curl -iH 'Host: {HOST}' http://{}", stage.ingress()))?;
    let alarm = stage.set_up_alarm().await?;
    screen.say("This alert stops a release of checkout:")?;
    screen.say(format!("  {}", alarm.command()))?;
    screen.say(format!("Prometheus is at {}", stage.prometheus()))?;
    std::future::pending::<()>().await;
    Ok(())
}

/// What to type so that kubectl finds the cluster, and the plugin where it lies beside this program.
fn environment(kubeconfig: &Path) -> Vec<String> {
    let mut lines = vec![format!("export KUBECONFIG={}", kubeconfig.display())];
    let program = std::env::current_exe().ok();
    let directory = program.as_deref().and_then(Path::parent);
    if let Some(directory) = directory.filter(|directory| directory.join("kubectl-tidegate").exists()) {
        lines.push(format!("export PATH={}:$PATH", directory.display()));
    }
    lines
}

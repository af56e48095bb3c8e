//! One seed from beginning to end: with its weather, and once more in calm weather to compare the ends.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde_json::{Value, json};
use tidegate::sandbox::rng::Rng;

use super::brain::Sabotage;
use super::object::{CANARY, STABLE, int, text};
use super::scenario::{Scenario, Weather};
use super::world::{Failure, Outcome, World};

/// Everything that waits by itself has ended by then: pauses, delays before scaling down, a live look at everything.
const REST: TimeDelta = TimeDelta::seconds(700);
const LONGEST: TimeDelta = TimeDelta::seconds(40_000);

pub struct Setting {
    pub seed: u64,
    pub weather: Weather,
    pub scenario: Scenario,
}

pub fn draw(seed: u64) -> Setting {
    let mut rng = Rng::new(seed);
    let scenario = Scenario::draw(&mut rng.fork());
    let weather = Weather::draw(&mut rng.fork());
    Setting {
        seed,
        weather: match scenario.asked {
            true => weather.with_late_routes(&mut rng.fork()),
            false => weather,
        },
        scenario,
    }
}

/// Runs a setting; the end and what led there, or the rule that was broken.
pub fn simulate(setting: &Setting, sabotage: Option<Sabotage>, echo: bool) -> Result<Outcome, Box<Failure>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::new(
            setting.seed,
            setting.scenario.clone(),
            setting.weather.clone(),
            sabotage,
            echo,
        );
        world.set_up();
        play(&mut world).await;
        match world.failure(setting.seed) {
            Some(failure) => Err(Box::new(failure)),
            None => Ok(world.outcome()),
        }
    })
}

/// The script, then clear weather until nothing moves, then a while in which nothing may be written.
async fn play(world: &mut World) {
    let start = world.now();
    while !world.script.is_over() && world.failed.is_none() {
        world.run_until(world.now() + TimeDelta::seconds(5)).await;
    }
    world.weather = world.weather.cleared();
    world.note("the weather clears");
    let cleared = world.now();
    world.run_until(cleared + TimeDelta::seconds(30)).await;
    while !world.is_settled() && world.failed.is_none() {
        world.run_until(world.now() + TimeDelta::seconds(10)).await;
        if world.now() > cleared + TimeDelta::seconds(3000) || world.now() > start + LONGEST {
            let busy = world.now() < world.last_controller_commit + TimeDelta::seconds(120);
            let message = world.truth.status("message").to_owned();
            world.fail(
                if busy { "S16" } else { "L1" },
                format!("never comes to rest: {message}"),
            );
        }
    }
    world.run_until(world.now() + REST).await;
    let writes = world.controller_commits;
    world.run_until(world.now() + REST).await;
    if world.controller_commits > writes {
        world.fail(
            "S16",
            format!("{} writes at rest", world.controller_commits - writes),
        );
    }
}

impl World {
    fn outcome(&mut self) -> Outcome {
        Outcome {
            trace: self.trace.hash(),
            commits: self.commits,
            end: self.end_state(),
            signature: self.script.signature.clone(),
        }
    }

    /// What users see in the end, without times, uids and generated names.
    fn end_state(&self) -> Value {
        let rollout = &self.truth.rollout;
        let fields = ["phase", "stableRS", "currentPodHash", "promotion", "fastTrack"];
        let status: BTreeMap<&str, &str> = fields
            .iter()
            .map(|field| (*field, text(rollout, &format!("/status/{field}"))))
            .collect();
        let selected = |service: &str| self.truth.selected.get(service).cloned();
        let weights: Vec<i64> = self
            .truth
            .canary_weights_now()
            .iter()
            .map(|weight| weight.0)
            .collect();
        let sizes: BTreeMap<&String, &i64> = self
            .truth
            .replicas
            .iter()
            .filter(|(_, replicas)| **replicas > 0)
            .collect();
        json!({
            "status": status,
            "abort": rollout.pointer("/status/abort"),
            "step": int(rollout, "/status/currentStepIndex"),
            "waits": text(rollout, "/status/waitingOn/reason"),
            "replicas": sizes,
            "selected": [selected(STABLE), selected(CANARY)],
            "weights": weights,
        })
    }
}

/// A seed with its weather and without; L6 where the users acted in the same situations. The answer is the number of
/// commits judged and whether the ends could be compared.
pub fn run_seed(seed: u64, echo: bool) -> Result<(usize, bool), Box<Failure>> {
    let setting = draw(seed);
    let stormy = simulate(&setting, None, echo)?;
    let calm = Setting {
        weather: Weather::calm(),
        ..setting
    };
    let quiet = simulate(&calm, None, echo && std::env::var_os("TIDEGATE_CALM").is_some())?;
    // A background analysis without a clear answer stops a release at the step where it happens to be.
    let stopped =
        |outcome: &Outcome| calm.scenario.background && outcome.end["waits"] == "InconclusiveAnalysis";
    let comparable = stormy.signature == quiet.signature && !stopped(&stormy) && !stopped(&quiet);
    if comparable && stormy.end != quiet.end {
        return Err(Box::new(Failure {
            rule: "L6",
            report: format!(
                "seed {seed}: L6 broken: it ends as\n{}\nundisturbed it ends as\n{}",
                stormy.end, quiet.end
            ),
        }));
    }
    Ok((stormy.commits + quiet.commits, comparable))
}

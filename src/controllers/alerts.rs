//! From alerts to RolloutCommands, on every replica: whoever receives an alert asks the leader to abort.
//!
//! Guarantees: what is called taken is in the cluster, as a RolloutCommand, or needs none; of many alerts about one attempt
//! at a release one is enough, however many come at once. An alert that could not be stored is known to its sender.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use serde::Deserialize;
use serde_json::Value;

use super::context::Context;
use crate::alerts::command::{abort_command, alert_name, command_name};
use crate::alerts::register::{Decision, Register, Release};
use crate::alerts::{Alert, Ignored, Reach};
use crate::api::names::Revision;
use crate::api::resource::{ObjectKey, Resource};
use crate::api::rollout_command::CommandPhase;
use crate::client::Failure;
use crate::clock::Stopwatch;

/// Alerts that are decided on before others have a turn.
const AT_A_TIME: usize = 16;
/// Commands that are being created at once, for one sender.
const ASKED_AT_ONCE: usize = 16;
/// For so long the abort of an attempt counts as on its way, once it has been asked for. If it is not there then, the
/// next alert asks again.
const ASKED_FOR: Duration = Duration::from_secs(10);

/// How often an alert asks again after it was turned down.
const MOST_AGAIN: u32 = 10;

/// What was asked for last about one Rollout; held while somebody asks.
type Place = Arc<tokio::sync::Mutex<Option<Asked>>>;

/// Which way an alert came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Push,
    Poll,
}

impl Source {
    fn as_str(self) -> &'static str {
        match self {
            Source::Push => "push",
            Source::Poll => "poll",
        }
    }
}

/// What the sender of alerts should know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Not everything that should be is in the cluster: send it again.
    pub unstored: bool,
    pub malformed: bool,
    pub forbidden: bool,
    /// Nobody is concerned, or could be.
    pub unaddressed: bool,
}

#[derive(Debug)]
pub struct Alerts {
    register: Mutex<Register>,
    /// Of Rollouts in release.
    asked: Mutex<BTreeMap<ObjectKey, Place>>,
    stopwatch: Stopwatch,
}

impl Default for Alerts {
    fn default() -> Self {
        Alerts {
            register: Mutex::default(),
            asked: Mutex::default(),
            stopwatch: Stopwatch::start(),
        }
    }
}

/// The abort of one attempt at a revision, and when it was asked for.
#[derive(Debug)]
struct Asked {
    attempt: (Revision, u32),
    at: Duration,
}

/// What came of an alert that is to abort a Rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Asked,
    Known,
    Unstored,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Outcome::Asked => "asked",
            Outcome::Known => "known",
            Outcome::Unstored => "unstored",
        }
    }
}

impl Alerts {
    /// Whether some Rollout in release asks for alerts.
    pub fn is_armed(&self) -> bool {
        self.lock().is_armed()
    }

    fn decide<'a>(&self, alerts: &'a [Alert], reach: Reach<'_>) -> Vec<(&'a Alert, Decision)> {
        let register = self.lock();
        let decided = alerts.iter().map(|alert| (alert, register.decide(alert, reach)));
        decided.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Register> {
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_asked(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Place>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, rollout: &ObjectKey) -> Place {
        Arc::clone(self.lock_asked().entry(rollout.clone()).or_default())
    }
}

impl Context {
    /// Looks at a Rollout that has changed, for the alerts to come.
    pub fn note_for_alerts(&self, rollout: &ObjectKey) {
        let Some(alerts) = &self.alerts else { return };
        let object = self.observer.stores.get(Resource::Rollout, rollout);
        if !alerts.lock().note(rollout, object.as_ref()) {
            alerts.lock_asked().remove(rollout);
        }
    }

    /// Decides on alerts and asks for the aborts.
    pub async fn take_alerts(&self, source: Source, alerts: &[Alert], reach: Reach<'_>) -> Taken {
        let mut taken = Taken::default();
        let Some(known) = &self.alerts else {
            return taken;
        };
        let count = |result, alerts| self.metrics.alerts.count(source.as_str(), result, alerts);
        let mut wanted: BTreeMap<ObjectKey, (Release, Vec<&Alert>)> = BTreeMap::new();
        for some in alerts.chunks(AT_A_TIME) {
            for (alert, decision) in known.decide(some, reach) {
                if let Some(why) = decision.ignored {
                    count(why.as_str(), 1);
                    taken.note(why);
                }
                for (key, release) in decision.aborts {
                    wanted.entry(key).or_insert((release, Vec::new())).1.push(alert);
                }
            }
            tokio::task::yield_now().await;
        }
        let mut asking = Vec::new();
        for (key, (release, alerts)) in wanted {
            asking.push(self.ask_for(known, key, release, alerts));
        }
        let mut asking = stream::iter(asking).buffer_unordered(ASKED_AT_ONCE);
        while let Some((outcome, alerts)) = asking.next().await {
            count(outcome.as_str(), alerts);
            taken.unstored |= outcome == Outcome::Unstored;
        }
        taken
    }

    /// Asks once for the abort of a Rollout; says of how many alerts this is the outcome.
    async fn ask_for(
        &self,
        known: &Alerts,
        rollout: ObjectKey,
        release: Release,
        alerts: Vec<&Alert>,
    ) -> (Outcome, usize) {
        let place = known.place(&rollout);
        let mut asked = place.lock().await;
        let attempt = (release.revision, release.retries);
        let is_on_its_way = asked.as_ref().is_some_and(|asked| {
            asked.attempt == attempt && known.stopwatch.elapsed() < asked.at + ASKED_FOR
        });
        let mut names = BTreeSet::new();
        for alert in alerts.iter().filter(|_| !is_on_its_way) {
            let Some((again, name)) = self.free_name(&rollout, &release, alert) else {
                continue;
            };
            if !names.insert(name.clone()) {
                continue;
            }
            let command = abort_command(&rollout, &release, alert, again);
            match self.observer.api.ask(&rollout.namespace, &command).await {
                Ok(_) => {
                    let at = known.stopwatch.elapsed();
                    *asked = Some(Asked { attempt, at });
                    let alert = alert_name(alert);
                    tracing::info!(%rollout, command = name, alert, "an alert asks to abort");
                    return (Outcome::Asked, alerts.len());
                }
                Err(Failure::AlreadyExists) => {}
                Err(failure) => {
                    tracing::warn!(%rollout, %failure, "an alert could not ask to abort");
                    return (Outcome::Unstored, alerts.len());
                }
            }
        }
        (Outcome::Known, alerts.len())
    }

    /// The name by which an alert may ask, and how often it was turned down. `None` while it asks already, once it was
    /// obeyed, and when it has been turned down too often.
    fn free_name(&self, rollout: &ObjectKey, release: &Release, alert: &Alert) -> Option<(u32, String)> {
        for again in 0..=MOST_AGAIN {
            let name = command_name(rollout, release, alert, again);
            let command = ObjectKey::new(rollout.namespace.clone(), name);
            match self.observer.stores.get(Resource::RolloutCommand, &command) {
                None => return Some((again, command.name)),
                Some(stored) if was_turned_down(&stored) => {}
                Some(_) => return None,
            }
        }
        None
    }
}

/// Whether the command was answered and not carried out.
fn was_turned_down(command: &Value) -> bool {
    let phase = command.pointer("/status/phase").map(CommandPhase::deserialize);
    matches!(phase, Some(Ok(CommandPhase::Refused | CommandPhase::Expired)))
}

impl Taken {
    fn note(&mut self, why: Ignored) {
        match why {
            Ignored::Malformed => self.malformed = true,
            Ignored::Forbidden => self.forbidden = true,
            Ignored::Unaddressed | Ignored::Unreached | Ignored::UnknownRollout => self.unaddressed = true,
            Ignored::Resolved | Ignored::AtRest | Ignored::Aborted | Ignored::Older => {}
        }
    }
}

//! Tells people what happened, by Events (events.k8s.io/v1), after everything else and never in its way.
//!
//! Guarantees: what is told was persisted before; one Event is written at a time, at most 50 a second; a namespace whose
//! Events cannot be written holds up no other for longer than one request; a Rollout that has much to say is cut short,
//! but for what people wait for or should worry about; what is not written is counted. A decision is told once, under a name that depends on
//! nothing but the decision; whoever takes over tells the last two minutes again, and what is there already is refused.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::metrics::Metrics;
use crate::api::resource::{ObjectKey, Resource};
use crate::api::rollout_status::RolloutStatus;
use crate::client::{Api, Failure};
use crate::clock::{Clock, Stopwatch};
use crate::plan::event::{Event, Regarding, events, object};

const SPACING: Duration = Duration::from_millis(20);
const MOST_WAITING: usize = 4096;
/// Of a Rollout that was not looked at before, what is older was told by somebody else.
const TOLD_AGAIN: TimeDelta = TimeDelta::minutes(2);
/// What could not be written for so long is no news any more.
const KEPT: TimeDelta = TimeDelta::minutes(10);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Events that a Rollout may have written at once, and how long it takes until it may have one more.
const BUDGET: u32 = 25;
const REFILL: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Recorder {
    looks: Mutex<Looks>,
    waiting: Mutex<VecDeque<(Regarding, Event)>>,
    filled: Notify,
    stopwatch: Stopwatch,
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder {
            looks: Mutex::default(),
            waiting: Mutex::default(),
            filled: Notify::new(),
            stopwatch: Stopwatch::start(),
        }
    }
}

/// What is new in a status.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    pub events: Vec<Event>,
    /// Ids of those that are to be told; the rest is more than the Rollout may say.
    pub told: BTreeSet<u64>,
    /// Nothing is known of what was before: some of it may have been told already.
    pub is_first_look: bool,
}

/// What was told of each Rollout so far.
#[derive(Debug, Default)]
struct Looks(BTreeMap<ObjectKey, Look>);

#[derive(Debug)]
struct Look {
    uid: String,
    told: BTreeSet<u64>,
    budget: u32,
    /// When the budget last grew.
    grew: Duration,
}

impl Looks {
    fn note(&mut self, rollout: &Regarding, all: Vec<Event>, now: DateTime<Utc>, elapsed: Duration) -> News {
        let before = self.0.remove(&rollout.key).filter(|look| look.uid == rollout.uid);
        let ids = all.iter().map(|event| event.id).collect();
        let is_first_look = before.is_none();
        let look = before.unwrap_or(Look {
            uid: rollout.uid.clone(),
            told: all
                .iter()
                .filter(|event| event.at < now - TOLD_AGAIN)
                .map(|event| event.id)
                .collect(),
            budget: BUDGET,
            grew: elapsed,
        });
        let events: Vec<Event> = all
            .into_iter()
            .filter(|event| !look.told.contains(&event.id))
            .collect();
        let grown = elapsed.saturating_sub(look.grew).as_secs() / REFILL.as_secs();
        let grown = u32::try_from(grown).unwrap_or(u32::MAX);
        let budget = look.budget.saturating_add(grown).min(BUDGET);
        let mut left = budget;
        let mut is_told = |event: &&Event| {
            let costs = u32::from(!is_always_told(event));
            let affordable = costs <= left;
            left -= costs.min(left);
            affordable
        };
        let told = events.iter().filter(&mut is_told).map(|event| event.id).collect();
        let look = Look {
            told: ids,
            budget: left,
            grew: look.grew + REFILL.saturating_mul(grown),
            ..look
        };
        self.0.insert(rollout.key.clone(), look);
        News {
            events,
            told,
            is_first_look,
        }
    }
}

fn is_always_told(event: &Event) -> bool {
    event.is_warning || matches!(event.reason.as_str(), "Promoted" | "Aborted")
}

/// Namespaces whose Events could not be written, until when each is left alone, and for how long then.
#[derive(Debug, Default)]
struct Resting(BTreeMap<String, (Duration, Duration)>);

impl Resting {
    fn until(&self, namespace: &str) -> Duration {
        self.0.get(namespace).map_or(Duration::ZERO, |(until, _)| *until)
    }

    fn put(&mut self, namespace: &str, now: Duration) {
        let before = self.0.get(namespace);
        let pause = before.map_or(FIRST_RETRY, |(_, pause)| LAST_RETRY.min(*pause * 2));
        self.0.insert(namespace.to_owned(), (now + pause, pause));
    }
}

impl Recorder {
    /// What a Rollout, as it was read, says that it did not say the last time. It is on its way to be told.
    pub fn look(
        &self,
        rollout: &Regarding,
        status: &RolloutStatus,
        now: DateTime<Utc>,
        metrics: &Metrics,
    ) -> News {
        let all = events(&rollout.uid, status);
        let news = lock(&self.looks).note(rollout, all, now, self.stopwatch.elapsed());
        let mut waiting = lock(&self.waiting);
        for event in &news.events {
            if news.told.contains(&event.id) && waiting.len() < MOST_WAITING {
                waiting.push_back((rollout.clone(), event.clone()));
            } else {
                metrics.count_event("dropped");
            }
        }
        self.filled.notify_one();
        news
    }

    /// Nothing more is to be said about it.
    pub fn forget(&self, rollout: &ObjectKey) {
        lock(&self.looks).0.remove(rollout);
    }

    /// Somebody else may have led since the last look, and told what there was.
    pub fn forget_all(&self) {
        lock(&self.looks).0.clear();
    }

    /// Writes what there is to tell, for as long as it is polled.
    pub async fn run(&self, teller: &Teller<'_>) -> ! {
        loop {
            self.flush(teller).await;
            self.filled.notified().await;
        }
    }

    /// Writes everything that waits. What is cut off in the middle is written again, and recognised.
    pub async fn flush(&self, teller: &Teller<'_>) {
        let mut resting = Resting::default();
        loop {
            let now = self.stopwatch.elapsed();
            let Some((place, due)) = self.first_due(&resting) else {
                return;
            };
            if due > now {
                // Whatever comes meanwhile may be of another namespace.
                let _rested = timeout(due - now, self.filled.notified()).await;
                continue;
            }
            let next = lock(&self.waiting).get(place).cloned();
            let Some((rollout, event)) = next else { return };
            let namespace = &rollout.key.namespace;
            match teller.tell(&rollout, &event).await {
                Some(result) => {
                    // Others only add to the end.
                    lock(&self.waiting).remove(place);
                    teller.metrics.count_event(result);
                    resting.0.remove(namespace);
                }
                None => {
                    resting.put(namespace, self.stopwatch.elapsed());
                    self.drop_old(namespace, teller);
                }
            }
            sleep(SPACING).await;
        }
    }

    fn drop_old(&self, namespace: &str, teller: &Teller<'_>) {
        let now = teller.clock.now();
        lock(&self.waiting).retain(|(rollout, event)| {
            let is_kept = rollout.key.namespace != namespace || now - event.at <= KEPT;
            if !is_kept {
                teller.metrics.count_event("dropped");
            }
            is_kept
        });
    }

    /// Where the Event is that may be written first, and when.
    fn first_due(&self, resting: &Resting) -> Option<(usize, Duration)> {
        let waiting = lock(&self.waiting);
        let due = waiting
            .iter()
            .map(|(rollout, _)| resting.until(&rollout.key.namespace));
        due.enumerate().min_by_key(|(_, due)| *due)
    }
}

/// Who tells, and where.
pub struct Teller<'a> {
    pub api: &'a Api,
    pub clock: &'a Clock,
    pub metrics: &'a Metrics,
    /// Names this process.
    pub instance: &'a str,
}

impl Teller<'_> {
    /// What came of it; `None`: it is to be tried again.
    async fn tell(&self, rollout: &Regarding, event: &Event) -> Option<&'static str> {
        let object = object(event, rollout, self.instance);
        let written = self
            .api
            .create(Resource::Event, &rollout.key.namespace, &object)
            .await;
        match written {
            Ok(_) => Some("ok"),
            Err(Failure::AlreadyExists) => Some("duplicate"),
            // Whoever leads now tells it.
            Err(Failure::NotLeader) => Some("dropped"),
            Err(Failure::Busy(_) | Failure::Unknown(_)) => None,
            Err(error) => {
                tracing::debug!(rollout = %rollout.key, reason = event.reason, %error, "event was refused");
                Some("refused")
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn event(seconds: i64) -> Event {
        Event {
            id: u64::try_from(seconds).unwrap(),
            at: at(seconds),
            is_warning: false,
            reason: "StepCompleted".to_owned(),
            note: String::new(),
        }
    }

    fn rollout(uid: &str) -> Regarding {
        Regarding {
            key: ObjectKey::new("shop", "checkout"),
            uid: uid.to_owned(),
        }
    }

    #[test]
    fn a_decision_is_news_once_and_old_ones_are_none_at_first_sight() {
        let mut looks = Looks::default();
        let mut note = |uid, seconds: std::ops::Range<i64>, now| {
            let news = looks.note(
                &rollout(uid),
                seconds.map(event).collect(),
                at(now),
                Duration::ZERO,
            );
            (news.events.len(), news.is_first_look)
        };
        assert_eq!(note("u", 1..4, 1_000), (0, true));
        assert_eq!(note("u", 1..6, 1_000), (2, false));
        assert_eq!(note("u", 1..6, 1_000), (0, false));
        // The oldest has left the history.
        assert_eq!(note("u", 2..7, 1_000), (1, false));
        assert_eq!(
            note("v", 995..999, 1_000),
            (4, true),
            "another one of the same name"
        );
    }

    #[test]
    fn a_rollout_that_has_much_to_say_is_cut_short_for_a_while() {
        let mut looks = Looks::default();
        let mut told = |seconds: std::ops::Range<i64>, elapsed| {
            let events = seconds.map(event).collect();
            let elapsed = Duration::from_secs(elapsed);
            looks.note(&rollout("u"), events, at(1), elapsed).told.len()
        };
        assert_eq!(told(0..20, 0), 20);
        assert_eq!(told(20..40, 0), 5);
        assert_eq!(told(40..60, 29), 0);
        assert_eq!(told(60..80, 61), 2);
        assert_eq!(told(80..120, 10_000), 25);
    }

    #[test]
    fn what_people_wait_for_or_should_worry_about_is_never_cut_short() {
        let mut looks = Looks::default();
        let mut events: Vec<Event> = (0..40).map(event).collect();
        events[37].reason = "Promoted".to_owned();
        events[38].reason = "Aborted".to_owned();
        events[39].is_warning = true;
        let told = looks.note(&rollout("u"), events, at(1), Duration::ZERO).told;
        assert_eq!(told, (0..25).chain(37..40).collect());
    }
}

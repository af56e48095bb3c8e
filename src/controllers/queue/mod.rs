//! Which key is reconciled next: each at most once at a time, at most ten times a second, what is urgent first, and a
//! release that has not begun after everything else: of many at once some are soon done, and no wait of theirs lasts long,
//! where otherwise all would be half done for a long time.
//!
//! Pure: time is a monotonic duration that the caller passes in, so a change of the wall clock delays nothing.
//! Guarantees: a wake during a reconcile leads to another one; a failure backs off from 0.1 s to 5 min; a
//! namespace never takes more than its share of the places; what is urgent (commands, and taking traffic back) finds a
//! place beyond that share and when all others are taken, and is urgent still after a failure; one place of
//! [`OTHERS_FIRST`] is for a release that begins, however much else there is to do.

mod lanes;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::api::resource::ObjectKey;
use crate::observe::stores::{Cause, Wake, Work};

use lanes::{Due, Lane, Lanes};

const SPACING: Duration = Duration::from_millis(100);
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(300);
/// More than the rounds of one release: whatever begins can then be gone on with.
const OTHERS_FIRST: u32 = 32;

/// How many reconciles may run at once.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    pub total: usize,
    pub per_namespace: usize,
    /// More places, for what is urgent; at most half of them for one namespace.
    pub urgent: usize,
}

/// What a reconcile asks for when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    Rest,
    In(Duration),
    /// Later with every time in a row.
    BackOff,
    /// It panicked: not again until the object itself changes.
    Quarantine,
}

#[derive(Debug)]
pub struct Queue {
    places: Places,
    entries: BTreeMap<Work, Entry>,
    lanes: Lanes,
    /// How often something else went first since a release began.
    went_first: u32,
    running: BTreeMap<String, usize>,
    quarantined: BTreeSet<Work>,
    prune_at: usize,
}

#[derive(Debug, Default)]
struct Entry {
    due: Option<Duration>,
    urgent: bool,
    begins: bool,
    running: bool,
    /// Where it waited before its reconcile began.
    lane_before: Lane,
    failures: u32,
    started: Option<Duration>,
}

impl Entry {
    fn lane(&self) -> Lane {
        match (self.urgent, self.begins) {
            (true, _) => Lane::Urgent,
            (false, true) => Lane::Begins,
            (false, false) => Lane::Ordinary,
        }
    }
}

impl Queue {
    pub fn new(places: Places) -> Self {
        Queue {
            places,
            entries: BTreeMap::new(),
            lanes: Lanes::default(),
            went_first: 0,
            running: BTreeMap::new(),
            quarantined: BTreeSet::new(),
            prune_at: 1024,
        }
    }

    pub fn wake(&mut self, wake: Wake, now: Duration) {
        if wake.cause.is_itself() {
            self.quarantined.remove(&wake.work);
        } else if self.quarantined.contains(&wake.work) {
            return;
        }
        let entry = self.entries.entry(wake.work.clone()).or_default();
        let earliest = entry.started.map_or(now, |started| now.max(started + SPACING));
        let urgent = matches!(wake.cause, Cause::Command | Cause::Safety);
        // What waits for a later time, a live look perhaps, need not be looked at before it begins.
        entry.begins |= wake.cause == Cause::Begins && entry.due.is_none_or(|due| due > now);
        self.schedule(wake.work, earliest, urgent);
    }

    /// The next key to reconcile, if one is due in an open namespace and there is a place for it.
    pub fn pop(&mut self, now: Duration, is_open: impl Fn(&str) -> bool) -> Option<Work> {
        let running = self.running.values().sum::<usize>();
        if running >= self.places.total + self.places.urgent {
            return None;
        }
        let is_full = running >= self.places.total;
        let has_room = |(_, work): &&Due, places: usize| {
            self.running.get(&work.key().namespace).copied().unwrap_or(0) < places
        };
        let share = self.places.per_namespace;
        let urgent_share = share + self.places.urgent.div_ceil(2);
        let is_open = |(_, work): &&Due| is_open(&work.key().namespace);
        let urgent = self.lanes.due(Lane::Urgent, now);
        let urgent = urgent.filter(|it| has_room(it, urgent_share));
        let lanes = match self.went_first + 1 < OTHERS_FIRST {
            true => [Lane::Ordinary, Lane::Begins],
            false => [Lane::Begins, Lane::Ordinary],
        };
        let ordinary = lanes.into_iter().filter(|_| !is_full);
        let ordinary = ordinary.flat_map(|lane| self.lanes.due(lane, now));
        let ordinary = ordinary.filter(|it| has_room(it, share));
        let (due, work) = urgent.chain(ordinary).find(is_open)?.clone();
        self.unschedule(&work, due);
        let entry = self.entries.entry(work.clone()).or_default();
        entry.running = true;
        entry.lane_before = entry.lane();
        entry.urgent = false;
        entry.begins = false;
        entry.started = Some(now);
        match entry.lane_before {
            Lane::Urgent => {}
            Lane::Ordinary => self.went_first = self.went_first.saturating_add(1),
            Lane::Begins => self.went_first = 0,
        }
        *self.running.entry(work.key().namespace.clone()).or_default() += 1;
        Some(work)
    }

    pub fn finish(&mut self, work: &Work, after: After, now: Duration) {
        self.release_place(work);
        let entry = self.entries.entry(work.clone()).or_default();
        entry.running = false;
        if after != After::BackOff {
            entry.failures = 0;
        }
        // What was asked for meanwhile waits in `due` without a place in the sets.
        let asked = entry.due.take();
        let urgent = entry.urgent || (after == After::BackOff && entry.lane_before == Lane::Urgent);
        let wanted = match after {
            After::Rest => None,
            After::In(delay) => Some(now + delay),
            After::BackOff => {
                entry.failures = entry.failures.saturating_add(1);
                Some(now + backoff(work.key(), entry.failures))
            }
            After::Quarantine => {
                if asked.is_none() {
                    self.quarantined.insert(work.clone());
                }
                None
            }
        };
        let earliest = entry.started.map_or(now, |started| started + SPACING);
        if let Some(due) = asked.into_iter().chain(wanted).min().map(|due| due.max(earliest)) {
            self.schedule(work.clone(), due, urgent);
        }
        self.prune(now);
    }

    /// Whether a key that runs was urgent when it began.
    pub fn is_urgent(&self, work: &Work) -> bool {
        let entry = self.entries.get(work);
        entry.is_some_and(|entry| entry.lane_before == Lane::Urgent)
    }

    /// When a key is due next after `now`. What is due by then and still here waits for a place, not for a time.
    pub fn next_due(&self, now: Duration) -> Option<Duration> {
        self.lanes.next_after(now)
    }

    pub fn waiting(&self) -> usize {
        self.lanes.len()
    }

    /// For how long the key that was due first has been waiting for a place, or for its namespace to be open.
    pub fn overdue(&self, now: Duration) -> Option<Duration> {
        now.checked_sub(self.lanes.first()?)
    }

    pub fn quarantined(&self) -> usize {
        self.quarantined.len()
    }

    fn schedule(&mut self, work: Work, due: Duration, urgent: bool) {
        let entry = self.entries.entry(work.clone()).or_default();
        let before = entry.due;
        let due = before.map_or(due, |before| before.min(due));
        let urgent = urgent || entry.urgent;
        if !entry.running
            && let Some(before) = before
        {
            self.unschedule(&work, before);
        }
        let entry = self.entries.entry(work.clone()).or_default();
        entry.due = Some(due);
        entry.urgent = urgent;
        if !entry.running {
            let lane = entry.lane();
            self.lanes.insert(lane, (due, work));
        }
    }

    fn unschedule(&mut self, work: &Work, due: Duration) {
        self.lanes.remove(&(due, work.clone()));
        if let Some(entry) = self.entries.get_mut(work) {
            entry.due = None;
        }
    }

    fn release_place(&mut self, work: &Work) {
        let namespace = &work.key().namespace;
        if let Some(count) = self.running.get_mut(namespace) {
            *count -= 1;
            if *count == 0 {
                self.running.remove(namespace);
            }
        }
    }

    /// Forgets keys that rest, now and then.
    fn prune(&mut self, now: Duration) {
        if self.entries.len() < self.prune_at {
            return;
        }
        self.entries.retain(|_, entry| {
            let spaced = entry.started.is_none_or(|started| started + SPACING <= now);
            entry.running || entry.due.is_some() || !spaced
        });
        self.prune_at = 1024.max(2 * self.entries.len());
    }
}

/// 0.1 s, twice as long with every failure up to 5 min, up to a quarter less by key.
fn backoff(key: &ObjectKey, failures: u32) -> Duration {
    let doubled = FIRST_BACKOFF.saturating_mul(1_u32 << failures.saturating_sub(1).min(12));
    let percent = 100 - u32::try_from(key.spread(failures) % 26).unwrap_or(0);
    doubled.min(LAST_BACKOFF) * percent / 100
}

#[cfg(test)]
mod tests;

//! What waits, by the time it is due, each in the lane of its kind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::api::resource::ObjectKey;
use crate::observe::stores::Work;

/// What sort of work it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Somebody commands it, or it takes traffic back.
    Urgent,
    #[default]
    Ordinary,
    /// A release that has not begun.
    Begins,
}

/// A key and when it is due.
pub type Due = (Duration, Work);

#[derive(Debug, Default)]
pub struct Lanes(BTreeMap<Lane, BTreeSet<Due>>);

impl Lanes {
    pub fn insert(&mut self, lane: Lane, due: Due) {
        self.0.entry(lane).or_default().insert(due);
    }

    pub fn remove(&mut self, due: &Due) {
        for waiting in self.0.values_mut() {
            waiting.remove(due);
        }
    }

    /// What is due by now, the first one first.
    pub fn due(&self, lane: Lane, now: Duration) -> impl Iterator<Item = &Due> {
        let waiting = self.0.get(&lane).into_iter().flatten();
        waiting.take_while(move |(due, _)| *due <= now)
    }

    pub fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    /// When the first of all is due, or was.
    pub fn first(&self) -> Option<Duration> {
        self.0
            .values()
            .filter_map(BTreeSet::first)
            .map(|(due, _)| *due)
            .min()
    }

    /// When the next one is due after `now`.
    pub fn next_after(&self, now: Duration) -> Option<Duration> {
        let later = (now + Duration::from_nanos(1), Work::Rollout(ObjectKey::default()));
        self.0
            .values()
            .filter_map(|set| set.range(&later..).next())
            .map(|(due, _)| *due)
            .min()
    }
}

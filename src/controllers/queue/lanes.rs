//! What waits, by the time it is due, each in the lane of its kind.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::api::resource::ObjectKey;
use crate::observe::stores::Work;

/// What sort of work it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
pub struct Lanes {
    urgent: BTreeSet<Due>,
    ordinary: BTreeSet<Due>,
    begins: BTreeSet<Due>,
}

impl Lanes {
    pub fn insert(&mut self, lane: Lane, due: Due) {
        let set = match lane {
            Lane::Urgent => &mut self.urgent,
            Lane::Ordinary => &mut self.ordinary,
            Lane::Begins => &mut self.begins,
        };
        set.insert(due);
    }

    pub fn remove(&mut self, due: &Due) {
        for set in [&mut self.urgent, &mut self.ordinary, &mut self.begins] {
            set.remove(due);
        }
    }

    /// What is due by now, the first one first.
    pub fn due(&self, lane: Lane, now: Duration) -> impl Iterator<Item = &Due> {
        let set = match lane {
            Lane::Urgent => &self.urgent,
            Lane::Ordinary => &self.ordinary,
            Lane::Begins => &self.begins,
        };
        set.iter().take_while(move |(due, _)| *due <= now)
    }

    pub fn len(&self) -> usize {
        self.sets().map(BTreeSet::len).sum()
    }

    /// When the first of all is due, or was.
    pub fn first(&self) -> Option<Duration> {
        self.sets().filter_map(BTreeSet::first).map(|(due, _)| *due).min()
    }

    /// When the next one is due after `now`.
    pub fn next_after(&self, now: Duration) -> Option<Duration> {
        let later = (now + Duration::from_nanos(1), Work::Rollout(ObjectKey::default()));
        self.sets()
            .filter_map(|set| set.range(&later..).next())
            .map(|(due, _)| *due)
            .min()
    }

    fn sets(&self) -> impl Iterator<Item = &BTreeSet<Due>> {
        [&self.urgent, &self.ordinary, &self.begins].into_iter()
    }
}

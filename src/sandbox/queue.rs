//! A work queue for the live loops: keys that wait to be worked on, and keys to look at again later.

use std::collections::{BTreeSet, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};

/// Keys to work on, each once, in the order they came, and those to look at again later.
pub(super) struct Queue<W> {
    ready: VecDeque<W>,
    queued: BTreeSet<W>,
    later: BTreeSet<(DateTime<Utc>, W)>,
}

impl<W: Ord + Clone> Queue<W> {
    pub(super) fn new() -> Self {
        Queue {
            ready: VecDeque::new(),
            queued: BTreeSet::new(),
            later: BTreeSet::new(),
        }
    }

    pub(super) fn push(&mut self, work: W) {
        if self.queued.insert(work.clone()) {
            self.ready.push_back(work);
        }
    }

    /// Puts a key aside until a time.
    pub(super) fn push_at(&mut self, at: DateTime<Utc>, work: W) {
        self.later.insert((at, work));
    }

    /// The next key whose time has come.
    pub(super) fn pop(&mut self, now: DateTime<Utc>) -> Option<W> {
        while let Some((at, _)) = self.later.first()
            && *at <= now
            && let Some((_, work)) = self.later.pop_first()
        {
            self.push(work);
        }
        let work = self.ready.pop_front()?;
        self.queued.remove(&work);
        Some(work)
    }

    /// How long to sleep if nothing happens meanwhile.
    pub(super) fn until_next(&self, now: DateTime<Utc>) -> TimeDelta {
        let wait = self
            .later
            .first()
            .map_or(TimeDelta::seconds(60), |(at, _)| *at - now);
        wait.max(TimeDelta::milliseconds(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_once_in_order_and_later_ones_when_it_is_time() {
        let now = DateTime::UNIX_EPOCH;
        let mut queue = Queue::new();
        queue.push_at(now + TimeDelta::seconds(5), "c");
        for key in ["b", "a", "b"] {
            queue.push(key);
        }
        assert_eq!(
            [queue.pop(now), queue.pop(now), queue.pop(now)],
            [Some("b"), Some("a"), None]
        );
        assert_eq!(queue.until_next(now), TimeDelta::seconds(5));
        assert_eq!(queue.pop(now + TimeDelta::seconds(5)), Some("c"));
    }
}

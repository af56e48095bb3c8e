//! Which key is reconciled next: each at most once at a time, at most ten times a second, what is urgent first.
//!
//! Pure: time is a monotonic duration that the caller passes in, so a change of the wall clock delays nothing.
//! Guarantees: a wake during a reconcile leads to another one; a failure backs off from 0.1 s to 5 min; a
//! namespace never takes more than its share of the places; what is urgent (commands, and taking traffic back) finds a
//! place beyond that share and when all others are taken, and is urgent still after a failure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::api::resource::ObjectKey;
use crate::observe::stores::{Cause, Wake, Work};

const SPACING: Duration = Duration::from_millis(100);
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(300);

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
    /// What waits, by the time it is due; urgent work apart.
    due: BTreeSet<(Duration, Work)>,
    urgent: BTreeSet<(Duration, Work)>,
    running: BTreeMap<String, usize>,
    quarantined: BTreeSet<Work>,
    prune_at: usize,
}

#[derive(Debug, Default)]
struct Entry {
    due: Option<Duration>,
    urgent: bool,
    running: bool,
    /// Whether it was urgent when its reconcile began.
    began_urgent: bool,
    failures: u32,
    started: Option<Duration>,
}

impl Queue {
    pub fn new(places: Places) -> Self {
        Queue {
            places,
            entries: BTreeMap::new(),
            due: BTreeSet::new(),
            urgent: BTreeSet::new(),
            running: BTreeMap::new(),
            quarantined: BTreeSet::new(),
            prune_at: 1024,
        }
    }

    pub fn wake(&mut self, wake: Wake, now: Duration) {
        if wake.cause == Cause::Itself {
            self.quarantined.remove(&wake.work);
        } else if self.quarantined.contains(&wake.work) {
            return;
        }
        let entry = self.entries.entry(wake.work.clone()).or_default();
        let earliest = entry.started.map_or(now, |started| now.max(started + SPACING));
        let urgent = matches!(wake.cause, Cause::Command | Cause::Safety);
        self.schedule(wake.work, earliest, urgent);
    }

    /// The next key to reconcile, if one is due in an open namespace and there is a place for it.
    pub fn pop(&mut self, now: Duration, is_open: impl Fn(&str) -> bool) -> Option<Work> {
        let running = self.running.values().sum::<usize>();
        if running >= self.places.total + self.places.urgent {
            return None;
        }
        let is_full = running >= self.places.total;
        let is_due = |(due, _): &&(Duration, Work)| *due <= now;
        let has_room = |(_, work): &&(Duration, Work), places: usize| {
            self.running.get(&work.key().namespace).copied().unwrap_or(0) < places
        };
        let share = self.places.per_namespace;
        let urgent_share = share + self.places.urgent.div_ceil(2);
        let is_open = |(_, work): &&(Duration, Work)| is_open(&work.key().namespace);
        let urgent = self.urgent.iter().take_while(is_due);
        let urgent = urgent.filter(|it| has_room(it, urgent_share));
        let ordinary = self.due.iter().take_while(|_| !is_full);
        let ordinary = ordinary.take_while(is_due).filter(|it| has_room(it, share));
        let (due, work) = urgent.chain(ordinary).find(is_open)?.clone();
        self.unschedule(&work, due);
        let entry = self.entries.entry(work.clone()).or_default();
        entry.running = true;
        entry.began_urgent = std::mem::take(&mut entry.urgent);
        entry.started = Some(now);
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
        let urgent = entry.urgent || (after == After::BackOff && entry.began_urgent);
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
        self.entries.get(work).is_some_and(|entry| entry.began_urgent)
    }

    /// When a key is due next after `now`. What is due by then and still here waits for a place, not for a time.
    pub fn next_due(&self, now: Duration) -> Option<Duration> {
        let later = (now + Duration::from_nanos(1), Work::Rollout(ObjectKey::default()));
        let sets = [&self.due, &self.urgent].into_iter();
        sets.filter_map(|set| set.range(&later..).next())
            .map(|(due, _)| *due)
            .min()
    }

    pub fn waiting(&self) -> usize {
        self.due.len() + self.urgent.len()
    }

    /// For how long the key that was due first has been waiting for a place, or for its namespace to be open.
    pub fn overdue(&self, now: Duration) -> Option<Duration> {
        let first = [&self.due, &self.urgent].into_iter().filter_map(BTreeSet::first);
        let due = first.map(|(due, _)| *due).min()?;
        now.checked_sub(due)
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
            let set = if urgent { &mut self.urgent } else { &mut self.due };
            set.insert((due, work));
        }
    }

    fn unschedule(&mut self, work: &Work, due: Duration) {
        let id = (due, work.clone());
        self.due.remove(&id);
        self.urgent.remove(&id);
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
mod tests {
    use super::*;

    fn work(namespace: &str, name: &str) -> Work {
        Work::Rollout(ObjectKey::new(namespace, name))
    }

    fn pop(queue: &mut Queue, now: Duration) -> Option<Work> {
        queue.pop(now, |_| true)
    }

    fn wake(name: &str, cause: Cause) -> Wake {
        Wake {
            work: work("shop", name),
            cause,
        }
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn queue() -> Queue {
        Queue::new(Places {
            total: 3,
            per_namespace: 2,
            urgent: 1,
        })
    }

    #[test]
    fn a_key_runs_once_at_a_time_and_again_if_woken_meanwhile() {
        let mut queue = queue();
        queue.wake(wake("a", Cause::Itself), at(0));
        queue.wake(wake("a", Cause::Dependency), at(0));
        assert_eq!(pop(&mut queue, at(0)), Some(work("shop", "a")));
        assert_eq!(pop(&mut queue, at(0)), None);
        queue.wake(wake("a", Cause::Dependency), at(5));
        assert_eq!(pop(&mut queue, at(500)), None, "it still runs");
        queue.finish(&work("shop", "a"), After::Rest, at(500));
        assert_eq!(pop(&mut queue, at(500)), Some(work("shop", "a")));
        queue.finish(&work("shop", "a"), After::Rest, at(510));
        assert_eq!(
            (pop(&mut queue, at(10_000)), queue.next_due(at(510))),
            (None, None)
        );
    }

    #[test]
    fn a_key_runs_at_most_ten_times_a_second_however_often_it_is_woken() {
        let mut queue = queue();
        let mut runs = 0;
        for millis in 0..1000 {
            queue.wake(wake("a", Cause::Itself), at(millis));
            if let Some(work) = pop(&mut queue, at(millis)) {
                queue.finish(&work, After::Rest, at(millis));
                runs += 1;
            }
        }
        assert_eq!(runs, 10);
    }

    #[test]
    fn commands_come_first_and_need_no_place_of_their_namespace() {
        let mut queue = queue();
        for name in ["a", "b", "c"] {
            queue.wake(wake(name, Cause::Dependency), at(0));
        }
        assert_eq!(pop(&mut queue, at(0)), Some(work("shop", "a")));
        queue.wake(wake("c", Cause::Command), at(0));
        queue.wake(wake("c", Cause::Dependency), at(0));
        assert_eq!(pop(&mut queue, at(0)), Some(work("shop", "c")));
        assert!(queue.is_urgent(&work("shop", "c")) && !queue.is_urgent(&work("shop", "a")));
        assert_eq!(pop(&mut queue, at(0)), None, "the namespace has its share");
        queue.wake(
            Wake {
                work: work("bank", "z"),
                cause: Cause::Dependency,
            },
            at(1),
        );
        assert_eq!(pop(&mut queue, at(1)), Some(work("bank", "z")));
        assert_eq!(queue.waiting(), 1);
    }

    #[test]
    fn taking_traffic_back_waits_for_no_place() {
        let mut queue = queue();
        for namespace in ["a", "b", "c", "d"] {
            let wake = Wake {
                work: work(namespace, "app"),
                cause: Cause::Dependency,
            };
            queue.wake(wake, at(0));
        }
        assert_eq!(
            std::iter::from_fn(|| pop(&mut queue, at(0))).count(),
            3,
            "all places"
        );
        queue.wake(wake("rescue", Cause::Safety), at(0));
        queue.wake(wake("late", Cause::Safety), at(0));
        assert_eq!(pop(&mut queue, at(0)), Some(work("shop", "late")));
        assert_eq!(pop(&mut queue, at(0)), None, "every place has an end");
        queue.finish(&work("a", "app"), After::Rest, at(1));
        assert_eq!(pop(&mut queue, at(1)), Some(work("shop", "rescue")));
        queue.finish(&work("b", "app"), After::Rest, at(1));
        assert_eq!(
            pop(&mut queue, at(1)),
            None,
            "what is not urgent waits until a usual place is free"
        );
        queue.finish(&work("c", "app"), After::Rest, at(1));
        assert_eq!(pop(&mut queue, at(1)), Some(work("d", "app")));
    }

    #[test]
    fn what_is_urgent_stays_so_when_its_reconcile_fails() {
        let mut queue = queue();
        for (after, expected) in [(After::BackOff, "z"), (After::In(at(100)), "a")] {
            queue.wake(wake("z", Cause::Safety), at(0));
            assert_eq!(pop(&mut queue, at(0)), Some(work("shop", "z")));
            queue.wake(wake("a", Cause::Dependency), at(0));
            queue.finish(&work("shop", "z"), after, at(0));
            let first = pop(&mut queue, at(1000));
            assert_eq!(first, Some(work("shop", expected)), "{after:?}");
            queue = self::queue();
        }
    }

    #[test]
    fn the_urgent_work_of_one_namespace_leaves_places_for_others() {
        let mut queue = Queue::new(Places {
            total: 3,
            per_namespace: 2,
            urgent: 4,
        });
        for name in 0..9 {
            queue.wake(wake(&name.to_string(), Cause::Command), at(0));
        }
        let begun = std::iter::from_fn(|| pop(&mut queue, at(0))).count();
        assert_eq!(begun, 4, "its share, and half of the urgent places");
        let rescue = Wake {
            work: work("bank", "z"),
            cause: Cause::Safety,
        };
        queue.wake(rescue.clone(), at(0));
        assert_eq!(pop(&mut queue, at(0)), Some(rescue.work));
    }

    #[test]
    fn a_namespace_that_has_its_share_does_not_hide_the_deadlines_of_others() {
        let mut queue = queue();
        for name in ["a", "b", "c"] {
            queue.wake(wake(name, Cause::Dependency), at(0));
        }
        let bank = Wake {
            work: work("bank", "z"),
            cause: Cause::Dependency,
        };
        queue.wake(bank.clone(), at(0));
        assert_eq!(pop(&mut queue, at(0)), Some(bank.work.clone()));
        queue.finish(&bank.work, After::In(at(1000)), at(1));
        assert!(pop(&mut queue, at(1)).is_some() && pop(&mut queue, at(1)).is_some());
        assert_eq!((pop(&mut queue, at(1)), queue.waiting()), (None, 2));
        assert_eq!(
            (queue.overdue(at(0)), queue.overdue(at(7))),
            (Some(at(0)), Some(at(7)))
        );
        assert_eq!(queue.next_due(at(1)), Some(at(1001)));
        assert_eq!(pop(&mut queue, at(1001)), Some(bank.work));
    }

    #[test]
    fn what_waits_for_its_namespace_holds_up_no_other_and_is_overdue() {
        let mut queue = queue();
        queue.wake(wake("a", Cause::Command), at(0));
        queue.wake(
            Wake {
                work: work("bank", "z"),
                cause: Cause::Itself,
            },
            at(1),
        );
        let pop = |queue: &mut Queue| queue.pop(at(2), |namespace| namespace != "shop");
        assert_eq!(pop(&mut queue), Some(work("bank", "z")));
        assert_eq!((pop(&mut queue), queue.overdue(at(9))), (None, Some(at(9))));
    }

    #[test]
    fn failures_back_off_and_success_forgets_them() {
        let mut queue = queue();
        let key = work("shop", "a");
        let mut now = at(0);
        let mut delays = Vec::new();
        queue.wake(wake("a", Cause::Itself), now);
        for _ in 0..20 {
            pop(&mut queue, now).unwrap();
            queue.finish(&key, After::BackOff, now);
            let due = queue.next_due(now).unwrap();
            delays.push(due - now);
            now = due;
        }
        assert!(delays[0] >= at(75) && delays[0] <= at(100), "{delays:?}");
        assert!(
            delays.windows(2).take(10).all(|pair| pair[0] < pair[1]),
            "{delays:?}"
        );
        assert!(
            delays[19] >= at(225_000) && delays[19] <= at(300_000),
            "{delays:?}"
        );
        pop(&mut queue, now).unwrap();
        queue.finish(&key, After::In(at(700)), now);
        assert_eq!(queue.next_due(now), Some(now + at(700)));
        now += at(700);
        pop(&mut queue, now).unwrap();
        queue.finish(&key, After::BackOff, now);
        assert_eq!(
            queue.next_due(now),
            Some(now + at(100)),
            "no sooner than ten times a second"
        );
    }

    #[test]
    fn a_change_cuts_a_long_wait_short() {
        let mut queue = queue();
        queue.wake(wake("a", Cause::Itself), at(0));
        let key = pop(&mut queue, at(0)).unwrap();
        queue.finish(&key, After::In(at(300_000)), at(1));
        queue.wake(wake("a", Cause::Dependency), at(5));
        assert_eq!(queue.next_due(at(5)), Some(at(100)));
        assert_eq!(queue.waiting(), 1);
    }

    #[test]
    fn a_panic_quarantines_its_key_until_the_object_changes() {
        let mut queue = queue();
        queue.wake(wake("a", Cause::Itself), at(0));
        queue.wake(wake("b", Cause::Itself), at(0));
        let key = pop(&mut queue, at(0)).unwrap();
        queue.finish(&key, After::Quarantine, at(0));
        queue.wake(wake("a", Cause::Dependency), at(200));
        queue.wake(wake("a", Cause::Command), at(200));
        assert_eq!(
            (pop(&mut queue, at(300)), queue.quarantined()),
            (Some(work("shop", "b")), 1)
        );
        queue.wake(wake("a", Cause::Itself), at(400));
        assert_eq!((pop(&mut queue, at(400)), queue.quarantined()), (Some(key), 0));
    }

    #[test]
    fn keys_that_rest_are_forgotten() {
        let mut queue = queue();
        for name in 0..5000 {
            queue.wake(wake(&name.to_string(), Cause::Itself), at(name * 200));
            let key = pop(&mut queue, at(name * 200)).unwrap();
            queue.finish(&key, After::Rest, at(name * 200));
        }
        assert!(queue.entries.len() < 1100, "{}", queue.entries.len());
    }
}

//! A lost event heals: what belongs to a Rollout is read live again after a while, whatever the caches say (L9).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

use crate::api::resource::ObjectKey;

const IN_PROGRESS_SECONDS: i64 = 60;
const IDLE_SECONDS: i64 = 300;

#[derive(Debug, Default)]
pub struct Heals {
    looks: Mutex<BTreeMap<ObjectKey, Looks>>,
}

#[derive(Clone, Copy, Debug)]
struct Looks {
    last: DateTime<Utc>,
    next: DateTime<Utc>,
}

impl Heals {
    /// A Rollout met for the first time has just been listed.
    pub fn is_due(&self, rollout: &ObjectKey, now: DateTime<Utc>) -> bool {
        self.lock().get(rollout).is_some_and(|looks| looks.next <= now)
    }

    pub fn next(&self, rollout: &ObjectKey) -> Option<DateTime<Utc>> {
        self.lock().get(rollout).map(|looks| looks.next)
    }

    /// Plans the next live look, counted from the last one. A release that begins makes it come sooner, and where
    /// it has ended, there is no more hurry.
    pub fn plan(&self, rollout: &ObjectKey, in_progress: bool, looked: bool, now: DateTime<Utc>) {
        let due = now + interval(rollout, in_progress);
        let mut all = self.lock();
        let looks = all
            .entry(rollout.clone())
            .or_insert(Looks { last: now, next: due });
        if looked {
            *looks = Looks { last: now, next: due };
        } else if in_progress {
            looks.next = looks.next.min(due);
        } else {
            looks.next = looks.last + interval(rollout, false);
        }
    }

    pub fn forget(&self, rollout: &ObjectKey) {
        self.lock().remove(rollout);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Looks>> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Up to a quarter less than the limit, different for every Rollout, so that they do not all look at once.
fn interval(rollout: &ObjectKey, in_progress: bool) -> TimeDelta {
    let limit = if in_progress {
        IN_PROGRESS_SECONDS
    } else {
        IDLE_SECONDS
    };
    let quarter = u64::try_from(limit * 250).unwrap_or(1).max(1);
    let less = i64::try_from(rollout.spread(0) % quarter).unwrap_or(0);
    TimeDelta::milliseconds(limit * 1000 - less)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    #[test]
    fn a_live_look_comes_within_the_limit_and_is_put_off_only_by_itself() {
        let (heals, key) = (Heals::default(), ObjectKey::new("shop", "checkout"));
        assert!(!heals.is_due(&key, at(0)));
        heals.plan(&key, false, false, at(0));
        assert!(!heals.is_due(&key, at(200)) && heals.is_due(&key, at(300)));
        heals.plan(&key, true, false, at(10));
        assert!(!heals.is_due(&key, at(50)) && heals.is_due(&key, at(70)));
        heals.plan(&key, true, false, at(40));
        assert!(
            heals.is_due(&key, at(70)),
            "an ordinary round does not put it off"
        );
        heals.plan(&key, true, true, at(70));
        assert!(!heals.is_due(&key, at(110)) && heals.is_due(&key, at(130)));
        heals.plan(&key, false, false, at(100));
        assert!(
            !heals.is_due(&key, at(290)) && heals.is_due(&key, at(370)),
            "no hurry once it has ended"
        );
        heals.plan(&key, true, false, at(340));
        assert!(heals.is_due(&key, at(370)), "never later than from the last look");
    }

    #[test]
    fn rollouts_look_at_different_times() {
        let intervals: std::collections::BTreeSet<TimeDelta> = (0..20)
            .map(|n| interval(&ObjectKey::new("shop", format!("r{n}")), true))
            .collect();
        assert!(intervals.len() > 15);
        assert!(
            intervals
                .iter()
                .all(|interval| (45..=60).contains(&interval.num_seconds()))
        );
    }
}

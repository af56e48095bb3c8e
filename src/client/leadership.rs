//! Whether we may write, as which leader, and until when; asked before every write, on the monotonic clock alone.
//!
//! Guarantees: no write begins after the term's `writes_until`, and none is waited for beyond `answers_until`, so that
//! what we began is over before anybody else can take the lead.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Failure;
use crate::clock::Stopwatch;

/// How long we lead unless the lead is renewed. Times are those of a stopwatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Grows with every change of the leader; 0 where no leader is elected.
    pub epoch: u64,
    pub writes_until: Duration,
    pub answers_until: Duration,
}

impl Term {
    /// Where no leader is elected.
    pub const UNLIMITED: Term = Term {
        epoch: 0,
        writes_until: Duration::MAX,
        answers_until: Duration::MAX,
    };

    /// How long the answer to a write that begins now may be waited for; `None`: it must not begin.
    pub fn time_to_write(&self, now: Duration) -> Option<Duration> {
        (now < self.writes_until).then(|| self.answers_until.saturating_sub(now))
    }
}

/// A handle to the one term of this process.
#[derive(Clone, Debug)]
pub struct Leadership {
    term: Arc<Mutex<Option<Term>>>,
    stopwatch: Stopwatch,
}

impl Default for Leadership {
    /// Writes freely, until somebody revokes it.
    fn default() -> Self {
        Leadership {
            term: Arc::new(Mutex::new(Some(Term::UNLIMITED))),
            stopwatch: Stopwatch::start(),
        }
    }
}

impl Leadership {
    /// What the times of a term are measured with.
    pub fn stopwatch(&self) -> Stopwatch {
        self.stopwatch
    }

    pub fn grant(&self, term: Term) {
        *self.lock() = Some(term);
    }

    pub fn revoke(&self) {
        *self.lock() = None;
    }

    /// The epoch of requests that change nothing.
    pub fn epoch(&self) -> u64 {
        self.lock().map_or(0, |term| term.epoch)
    }

    /// The epoch of a write that begins now, and how long its answer may be waited for.
    pub fn admit(&self) -> Result<(u64, Duration), Failure> {
        let term = *self.lock();
        let admitted =
            term.and_then(|term| Some((term.epoch, term.time_to_write(self.stopwatch.elapsed())?)));
        admitted.ok_or(Failure::NotLeader)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Term>> {
        self.term.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_write_is_admitted_in_the_term_and_its_answer_is_cut_short_at_the_end() {
        let leadership = Leadership::default();
        assert_eq!(leadership.admit(), Ok((0, Duration::MAX)));
        leadership.revoke();
        assert_eq!(leadership.admit(), Err(Failure::NotLeader));
        leadership.grant(Term {
            epoch: 3,
            writes_until: 10 * SECOND,
            answers_until: 12 * SECOND,
        });
        assert_eq!(leadership.admit(), Ok((3, 12 * SECOND)));
        tokio::time::advance(9 * SECOND).await;
        assert_eq!(leadership.admit(), Ok((3, 3 * SECOND)));
        tokio::time::advance(SECOND).await;
        assert_eq!(leadership.admit(), Err(Failure::NotLeader));
    }
}

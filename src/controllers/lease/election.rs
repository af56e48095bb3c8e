//! The state of one candidate, and what it does next. Pure: `now` is the reading of a stopwatch.
//!
//! ```text
//! next ──▶ Wait ─────────────────────────────▶ next
//!      ──▶ Read | Create | Take | Renew ──▶ saw | wrote | failed ──▶ next
//! ```

use std::time::Duration;

use thiserror::Error;

use crate::client::Failure;
use crate::client::leadership::Term;

/// How long a leader is believed in, how long it believes in itself, and how often it renews.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Without news of a leader, others take over after this.
    pub lease: Duration,
    /// A leader that cannot renew for so long begins no more writes.
    pub renew: Duration,
    /// Between two renewals; others look twice as often.
    pub retry: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TimingError {
    #[error("--lease-duration must be whole seconds, and at least one")]
    Seconds,
    #[error(
        "--renew-deadline must be at most nine tenths of --lease-duration, so that what was sent last can arrive"
    )]
    Renew,
    #[error("--retry-period must be above zero and at most half of --renew-deadline")]
    Retry,
}

/// What a Lease says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub uid: String,
    pub version: String,
    /// Empty: nobody.
    pub holder: String,
    /// How long the holder asks to be believed in.
    pub duration: Option<Duration>,
    /// Compared, never read as a time.
    pub renewed: String,
    pub transitions: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    Read,
    /// Make the Lease, with this epoch.
    Create(u64),
    /// Become the holder of this record, with this epoch.
    Take(Record, u64),
    Renew(Record),
    /// Nothing before this moment.
    Wait(Duration),
}

#[derive(Clone, Debug)]
pub struct Election {
    identity: String,
    timing: Timing,
    known: Option<Known>,
    held: Option<Held>,
    /// The newest record is to be read before anything else is done.
    outdated: bool,
    next_at: Duration,
    /// Until then something of our last term may be in flight, and no new one begins.
    rests_until: Duration,
    /// The highest epoch seen.
    epoch: u64,
}

/// The record as last read or written; `None`: there is no Lease.
#[derive(Clone, Debug)]
struct Known {
    record: Option<Record>,
    since: Duration,
    read_at: Duration,
    /// Whether there has ever been a Lease.
    existed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    epoch: u64,
    /// Before the request was sent that last renewed it.
    since: Duration,
}

impl Timing {
    pub fn check(self) -> Result<Self, TimingError> {
        match self {
            _ if self.lease.is_zero() || self.lease.subsec_nanos() > 0 => Err(TimingError::Seconds),
            _ if self.renew * 10 > self.lease * 9 => Err(TimingError::Renew),
            _ if self.retry.is_zero() || self.retry * 2 > self.renew => Err(TimingError::Retry),
            _ => Ok(self),
        }
    }

    /// How long after a renewal the answers to our writes are waited for: what is cut off then has as long again to be
    /// lost, before somebody else may lead.
    fn answers(self) -> Duration {
        (self.renew + self.lease) / 2
    }
}

impl Election {
    /// A candidate. Its identity must be its own alone, also after a restart.
    pub fn new(identity: String, timing: Timing) -> Self {
        Election {
            identity,
            timing,
            known: None,
            held: None,
            outdated: true,
            next_at: Duration::ZERO,
            rests_until: Duration::ZERO,
            epoch: 0,
        }
    }

    /// What to do now. A term that has run out is over from here on.
    pub fn next(&mut self, now: Duration) -> Act {
        if self.renew_by().is_some_and(|renew_by| now >= renew_by) {
            self.held = None;
        }
        if now < self.next_at {
            return Act::Wait(self.renew_by().map_or(self.next_at, |by| by.min(self.next_at)));
        }
        if self.held.is_none() && now < self.rests_until {
            return Act::Wait(self.rests_until);
        }
        let Some(known) = self.known.as_ref().filter(|_| !self.outdated) else {
            return Act::Read;
        };
        match &known.record {
            Some(record) if self.held.is_some() => Act::Renew(record.clone()),
            Some(record) if record.holder.is_empty() || record.holder == self.identity => {
                Act::Take(record.clone(), self.epoch + 1)
            }
            None if !known.existed => Act::Create(self.epoch + 1),
            record => {
                let lease = record.as_ref().and_then(|record| record.duration);
                let free_at = known.since + lease.unwrap_or(self.timing.lease);
                let look_at = known.read_at + self.timing.retry / 2;
                match record {
                    Some(record) if now >= free_at => Act::Take(record.clone(), self.epoch + 1),
                    // Somebody who does not know yet that it is gone may still believe in its own term.
                    None if now >= free_at => Act::Create(self.epoch + 1),
                    _ if now >= look_at => Act::Read,
                    _ => Act::Wait(look_at.min(free_at)),
                }
            }
        }
    }

    /// What there was to read.
    pub fn saw(&mut self, record: Option<Record>, now: Duration) {
        self.outdated = false;
        self.epoch = self
            .epoch
            .max(record.as_ref().map_or(0, |record| record.transitions));
        if self.held.is_some_and(|held| !self.is_ours(held, record.as_ref())) {
            self.held = None;
        }
        let existed = record.is_some() || self.known.as_ref().is_some_and(|known| known.existed);
        let before = self.known.take();
        let unchanged = before.filter(|before| says(before.record.as_ref()) == says(record.as_ref()));
        self.known = Some(Known {
            record,
            since: unchanged.map_or(now, |before| before.since),
            read_at: now,
            existed,
        });
    }

    /// The answer to a create, take or renewal that was sent at `sent`.
    pub fn wrote(&mut self, record: Record, sent: Duration, now: Duration) {
        let epoch = record.transitions;
        self.saw(Some(record), now);
        self.held = Some(Held { epoch, since: sent });
        self.next_at = sent + self.timing.retry;
        self.rests_until = sent + self.timing.answers();
    }

    /// It is not known to have been done. What has become of the Lease must be read.
    pub fn failed(&mut self, failure: &Failure, now: Duration) {
        self.outdated = true;
        match failure {
            Failure::Conflict | Failure::AlreadyExists => {}
            Failure::NotFound => {
                self.held = None;
                self.next_at = now + self.timing.retry;
            }
            _ => self.next_at = now + self.timing.retry,
        }
    }

    /// The record with which to give the lead back.
    pub fn resign(&mut self) -> Option<Record> {
        self.held.take()?;
        self.known.as_ref()?.record.clone()
    }

    pub fn term(&self) -> Option<Term> {
        let held = self.held?;
        Some(Term {
            epoch: held.epoch,
            writes_until: held.since + self.timing.renew,
            answers_until: held.since + self.timing.answers(),
        })
    }

    /// Whether the Lease has not been read yet.
    pub fn is_undecided(&self) -> bool {
        self.known.is_none()
    }

    /// How long the answer to a request about the Lease may be waited for.
    pub fn patience(&self, now: Duration) -> Duration {
        let left = self.renew_by().map(|by| by.saturating_sub(now));
        left.into_iter().fold(self.timing.renew / 2, Duration::min)
    }

    fn renew_by(&self) -> Option<Duration> {
        self.held.map(|held| held.since + self.timing.renew)
    }

    fn is_ours(&self, held: Held, record: Option<&Record>) -> bool {
        record.is_some_and(|record| record.holder == self.identity && record.transitions == held.epoch)
    }
}

/// What must change for a record to be news. A label that somebody puts on the Lease is none.
fn says(record: Option<&Record>) -> Option<(&str, &str, u64)> {
    record.map(|record| {
        (
            record.holder.as_str(),
            record.renewed.as_str(),
            record.transitions,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing {
        lease: Duration::from_secs(15),
        renew: Duration::from_secs(10),
        retry: Duration::from_secs(2),
    };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn record(holder: &str, renewed: &str, transitions: u64) -> Record {
        Record {
            uid: "u".to_owned(),
            version: format!("{holder}{renewed}{transitions}"),
            holder: holder.to_owned(),
            duration: Some(at(15)),
            renewed: renewed.to_owned(),
            transitions,
        }
    }

    fn candidate() -> Election {
        Election::new("me".to_owned(), TIMING)
    }

    /// Leads from 0 on, with epoch 4.
    fn leader() -> Election {
        let mut election = candidate();
        election.saw(Some(record("", "a", 3)), at(0));
        election.wrote(record("me", "b", 4), at(0), at(1));
        election
    }

    #[test]
    fn what_a_candidate_does_next() {
        let other = || record("other", "a", 3);
        type Event = fn(&mut Election);
        let saw_other: Event = |it| it.saw(Some(record("other", "a", 3)), at(1));
        let again: Event = |it| it.saw(Some(record("other", "a", 3)), at(9));
        let renewed: Event = |it| it.saw(Some(record("other", "b", 3)), at(9));
        let saw_nobody: Event = |it| it.saw(Some(record("", "a", 3)), at(1));
        let saw_myself: Event = |it| it.saw(Some(record("me", "a", 3)), at(1));
        let saw_none: Event = |it| it.saw(None, at(1));
        let went: Event = |it| it.saw(None, at(9));
        let refused: Event = |it| it.failed(&Failure::Unknown(String::new()), at(9));
        let overtaken: Event = |it| it.failed(&Failure::Conflict, at(9));
        for (case, (events, now, expected)) in [
            (vec![], at(0), Act::Read),
            (vec![saw_none], at(1), Act::Create(1)),
            (vec![saw_nobody], at(1), Act::Take(record("", "a", 3), 4)),
            (vec![saw_myself], at(1), Act::Take(record("me", "a", 3), 4)),
            (vec![saw_other], at(1), Act::Wait(at(2))),
            (vec![saw_other], at(2), Act::Read),
            (vec![saw_other, again], at(9), Act::Wait(at(10))),
            (vec![saw_other, again], at(15), Act::Read),
            (vec![saw_other, again], at(16), Act::Take(other(), 4)),
            (vec![saw_other, renewed], at(23), Act::Read),
            (
                vec![saw_other, renewed],
                at(24),
                Act::Take(record("other", "b", 3), 4),
            ),
            (vec![saw_other, went], at(23), Act::Read),
            (vec![saw_other, went], at(24), Act::Create(4)),
            (vec![saw_other, refused], at(9), Act::Wait(at(11))),
            (vec![saw_other, refused], at(20), Act::Read),
            (vec![saw_other, overtaken], at(9), Act::Read),
        ]
        .into_iter()
        .enumerate()
        {
            let mut election = candidate();
            events.iter().for_each(|event| event(&mut election));
            assert_eq!(election.next(now), expected, "{case}");
            assert_eq!(election.term(), None, "{case}");
        }
    }

    #[test]
    fn what_a_leader_does_next() {
        let ours = || record("me", "b", 4);
        type Event = fn(&mut Election);
        let renewed: Event = |it| it.wrote(record("me", "c", 4), at(2), at(3));
        let lost: Event = |it| it.failed(&Failure::Unknown(String::new()), at(4));
        let deleted: Event = |it| it.failed(&Failure::NotFound, at(4));
        let overtaken: Event = |it| it.failed(&Failure::Conflict, at(4));
        let is_ours: Event = |it| it.saw(Some(record("me", "c", 4)), at(6));
        let is_taken: Event = |it| it.saw(Some(record("other", "c", 5)), at(6));
        for (case, (events, now, expected, leads_until)) in [
            (vec![], at(1), Act::Wait(at(2)), Some(10)),
            (vec![], at(2), Act::Renew(ours()), Some(10)),
            (vec![renewed], at(4), Act::Renew(record("me", "c", 4)), Some(12)),
            (vec![lost], at(4), Act::Wait(at(6)), Some(10)),
            (vec![lost], at(6), Act::Read, Some(10)),
            (
                vec![lost, is_ours],
                at(6),
                Act::Renew(record("me", "c", 4)),
                Some(10),
            ),
            (vec![lost, is_taken], at(6), Act::Wait(at(12) + at(1) / 2), None),
            (vec![overtaken], at(4), Act::Read, Some(10)),
            (vec![deleted], at(4), Act::Wait(at(6)), None),
            (vec![], at(10), Act::Wait(at(12) + at(1) / 2), None),
            (vec![], at(13), Act::Take(ours(), 5), None),
        ]
        .into_iter()
        .enumerate()
        {
            let mut election = leader();
            events.iter().for_each(|event| event(&mut election));
            assert_eq!(election.next(now), expected, "{case}");
            let leads = election.term().map(|term| (term.epoch, term.writes_until));
            assert_eq!(leads, leads_until.map(|until| (4, at(until))), "{case}");
        }
    }

    #[test]
    fn a_leader_that_resigns_leads_no_more() {
        let mut election = leader();
        assert_eq!(election.resign(), Some(record("me", "b", 4)));
        assert_eq!((election.term(), election.resign()), (None, None));
        assert_eq!(candidate().resign(), None);
    }

    #[test]
    fn no_answer_is_waited_for_beyond_the_term() {
        assert_eq!(candidate().patience(at(100)), at(5));
        let election = leader();
        assert_eq!(
            (election.patience(at(2)), election.patience(at(8))),
            (at(5), at(2))
        );
        let answers_until = election.term().map(|term| term.answers_until);
        assert_eq!(answers_until, Some(Duration::from_millis(12_500)));
    }

    #[test]
    fn times_must_follow_from_one_another() {
        let timing = |lease, renew, retry| Timing {
            lease: Duration::from_millis(lease),
            renew: Duration::from_millis(renew),
            retry: Duration::from_millis(retry),
        };
        for (timing, expected) in [
            (TIMING, Ok(TIMING)),
            (timing(500, 100, 10), Err(TimingError::Seconds)),
            (timing(0, 0, 0), Err(TimingError::Seconds)),
            (timing(10_000, 9_000, 2_000), Ok(timing(10_000, 9_000, 2_000))),
            (timing(10_000, 9_001, 2_000), Err(TimingError::Renew)),
            (timing(15_000, 10_000, 5_001), Err(TimingError::Retry)),
            (timing(15_000, 10_000, 0), Err(TimingError::Retry)),
        ] {
            assert_eq!(timing.check(), expected, "{timing:?}");
        }
    }
}

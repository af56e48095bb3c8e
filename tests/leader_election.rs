//! Candidates for one Lease in virtual time, with slow networks, lost answers, processes that stand still and clocks
//! that do not run equally fast. At no instant may two of them write, and what lands never has a lower epoch than what
//! landed before.
#![cfg(feature = "sandbox")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is a failure"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate::client::Failure;
use tidegate::controllers::lease::election::{Act, Election, Record, Timing};
use tidegate::sandbox::rng::Rng;

const TIMING: Timing = Timing {
    lease: Duration::from_secs(15),
    renew: Duration::from_secs(10),
    retry: Duration::from_secs(2),
};
const SEEDS: u64 = 300;
const END: Duration = Duration::from_secs(600);
const CANDIDATES: usize = 3;

type Answer = Result<Answered, Failure>;

enum Answered {
    Read(Option<Record>),
    Written(Record),
}

/// What becomes due at some true time.
enum Event {
    /// A candidate asks what to do next.
    Turn,
    /// Its request reaches the API server.
    Arrives(Request),
    /// The answer to its request reaches it, or it gives up waiting.
    Answered(u64, Answer),
    /// It writes something, if it may.
    Writes,
    /// What it wrote under this epoch lands.
    Lands {
        epoch: u64,
        by: String,
    },
    StandsStill,
    /// It ends, and another one begins in its place.
    Ends {
        cleanly: bool,
    },
}

struct Request {
    number: u64,
    act: Act,
    /// Who is to be the holder.
    holder: String,
}

struct Candidate {
    name: String,
    election: Election,
    /// Its stopwatch was not started when those of others were.
    started: Duration,
    /// How fast its stopwatch runs, in percent.
    pace: u32,
    stands_still_until: Duration,
    /// Number of the request it waits for, and when it was sent on its own stopwatch.
    waits_for: Option<(u64, Duration)>,
    /// Writes that have not landed.
    in_flight: u32,
}

struct World {
    rng: Rng,
    timing: Timing,
    now: Duration,
    due: BTreeMap<(Duration, u64), (usize, Event)>,
    counter: u64,
    lease: Option<Record>,
    candidates: Vec<Candidate>,
    newest_epoch: u64,
    landed: u64,
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Candidate {
    /// The reading of its stopwatch.
    fn local(&self, now: Duration) -> Duration {
        (now - self.started) * self.pace / 100
    }

    /// How long it really waits when it means to wait so long.
    fn really(&self, wait: Duration) -> Duration {
        wait * 100 / self.pace
    }
}

impl World {
    fn new(seed: u64, timing: Timing) -> Self {
        let mut world = World {
            rng: Rng::new(seed),
            timing,
            now: Duration::ZERO,
            due: BTreeMap::new(),
            counter: 0,
            lease: None,
            candidates: vec![],
            newest_epoch: 0,
            landed: 0,
        };
        for number in 0..CANDIDATES {
            let candidate = world.candidate();
            world.candidates.push(candidate);
            for event in [Event::Turn, Event::Writes, Event::StandsStill] {
                world.soon(3_000, number, event);
            }
            world.plan_end(number);
        }
        world
    }

    fn candidate(&mut self) -> Candidate {
        self.counter += 1;
        let name = format!("candidate-{}", self.counter);
        Candidate {
            election: Election::new(name.clone(), self.timing),
            name,
            started: self.now,
            pace: 98 + u32::try_from(self.rng.below(5)).unwrap(),
            stands_still_until: Duration::ZERO,
            waits_for: None,
            in_flight: 0,
        }
    }

    fn after(&mut self, delay: Duration, who: usize, event: Event) {
        self.counter += 1;
        self.due.insert((self.now + delay, self.counter), (who, event));
    }

    fn soon(&mut self, within: u64, who: usize, event: Event) {
        let delay = millis(self.rng.below(within));
        self.after(delay, who, event);
    }

    fn plan_end(&mut self, who: usize) {
        let cleanly = self.rng.chance(0.5);
        self.soon(300_000, who, Event::Ends { cleanly });
    }

    /// Mostly a few milliseconds, sometimes longer than anybody waits.
    fn travels(&mut self, who: usize, event: Event) {
        let worst = *self.rng.pick(&[20, 20, 20, 500, 3_000, 20_000]).unwrap();
        self.soon(worst, who, event);
    }

    /// Until it is over, or two may write at once, or an epoch goes back.
    fn run(&mut self) -> Result<(), String> {
        while let Some(((at, number), (who, event))) = self.due.pop_first() {
            if at > END {
                break;
            }
            let stands_still_until = self.candidates[who].stands_still_until;
            let is_of_the_process = !matches!(event, Event::Arrives(_) | Event::Lands { .. });
            if is_of_the_process && at < stands_still_until {
                self.due.insert((stands_still_until, number), (who, event));
                continue;
            }
            self.now = at;
            self.happen(who, event)?;
            let may_write = |candidate: &&Candidate| {
                let term = candidate.election.term();
                term.is_some_and(|term| term.time_to_write(candidate.local(at)).is_some())
            };
            let writers: Vec<&str> = self
                .candidates
                .iter()
                .filter(may_write)
                .map(|it| it.name.as_str())
                .collect();
            if writers.len() > 1 {
                return Err(format!("{writers:?} may write at {at:?}"));
            }
        }
        Ok(())
    }

    fn happen(&mut self, who: usize, event: Event) -> Result<(), String> {
        let local = self.candidates[who].local(self.now);
        match event {
            Event::Turn => self.turn(who, local),
            Event::Arrives(request) => {
                let number = request.number;
                let answer = self.serve(request);
                if self.rng.chance(0.9) {
                    self.travels(who, Event::Answered(number, answer));
                }
            }
            Event::Answered(number, answer) => self.hear(who, number, answer, local),
            Event::Writes => {
                self.write(who, local);
                self.soon(1_000, who, Event::Writes);
            }
            Event::Lands { epoch, by } => {
                if epoch < self.newest_epoch {
                    return Err(format!("epoch {epoch} lands after {}", self.newest_epoch));
                }
                self.newest_epoch = epoch;
                self.landed += 1;
                if self.candidates[who].name == by {
                    self.candidates[who].in_flight -= 1;
                }
            }
            Event::StandsStill => {
                let worst = *self.rng.pick(&[1_000, 5_000, 40_000]).unwrap();
                self.candidates[who].stands_still_until = self.now + millis(self.rng.below(worst));
                self.soon(60_000, who, Event::StandsStill);
            }
            Event::Ends { cleanly } => self.end(who, cleanly),
        }
        Ok(())
    }

    fn turn(&mut self, who: usize, local: Duration) {
        let candidate = &mut self.candidates[who];
        if candidate.waits_for.is_some() {
            return;
        }
        match candidate.election.next(local) {
            Act::Wait(until) => {
                let wait = candidate.really(until.saturating_sub(local));
                let late = millis(1 + self.rng.below(20));
                self.after(wait + late, who, Event::Turn);
            }
            act => {
                self.counter += 1;
                let number = self.counter;
                candidate.waits_for = Some((number, local));
                let patience = candidate.really(candidate.election.patience(local));
                let holder = candidate.name.clone();
                let unheard = Err(Failure::Unknown("no answer".to_owned()));
                self.after(patience, who, Event::Answered(number, unheard));
                if self.rng.chance(0.95) {
                    self.travels(who, Event::Arrives(Request { number, act, holder }));
                }
            }
        }
    }

    /// What it may write lands before its patience ends; what has not by then is cut off.
    fn write(&mut self, who: usize, local: Duration) {
        let candidate = &mut self.candidates[who];
        let term = candidate.election.term();
        let Some((epoch, patience)) = term.and_then(|term| Some((term.epoch, term.time_to_write(local)?)))
        else {
            return;
        };
        candidate.in_flight += 1;
        let by = candidate.name.clone();
        let within = candidate
            .really(patience.min(Duration::from_secs(10)))
            .as_millis();
        self.soon(u64::try_from(within).unwrap(), who, Event::Lands { epoch, by });
    }

    fn hear(&mut self, who: usize, number: u64, answer: Answer, local: Duration) {
        let candidate = &mut self.candidates[who];
        let Some((_, sent)) = candidate.waits_for.take_if(|(awaited, _)| *awaited == number) else {
            return;
        };
        match answer {
            Ok(Answered::Read(record)) => candidate.election.saw(record, local),
            Ok(Answered::Written(record)) => candidate.election.wrote(record, sent, local),
            Err(failure) => candidate.election.failed(&failure, local),
        }
        self.turn(who, local);
    }

    /// Requests are carried out one at a time, each on the version it names or not at all.
    fn serve(&mut self, request: Request) -> Answer {
        let (expected, transitions) = match request.act {
            Act::Wait(_) | Act::Read => return Ok(Answered::Read(self.lease.clone())),
            Act::Create(epoch) => (None, epoch),
            Act::Take(record, epoch) => (Some(record.version), epoch),
            Act::Renew(record) => (Some(record.version), record.transitions),
        };
        let stored = self.lease.as_ref().map(|lease| lease.version.clone());
        match (&stored, &expected) {
            (Some(_), None) => return Err(Failure::AlreadyExists),
            (None, Some(_)) => return Err(Failure::NotFound),
            _ if stored != expected => return Err(Failure::Conflict),
            _ => {}
        }
        self.counter += 1;
        let lease = Record {
            uid: "lease".to_owned(),
            version: self.counter.to_string(),
            holder: request.holder,
            duration: Some(self.timing.lease),
            renewed: self.counter.to_string(),
            transitions,
        };
        self.lease = Some(lease.clone());
        Ok(Answered::Written(lease))
    }

    /// It gives the lead back only if nothing of it is in flight.
    fn end(&mut self, who: usize, cleanly: bool) {
        let successor = self.candidate();
        let mut ended = std::mem::replace(&mut self.candidates[who], successor);
        let is_idle = ended.in_flight == 0 && ended.waits_for.is_none();
        if cleanly
            && is_idle
            && let Some(record) = ended.election.resign()
        {
            let vacated = Request {
                number: 0,
                act: Act::Renew(record),
                holder: String::new(),
            };
            self.travels(who, Event::Arrives(vacated));
        }
        if ended.waits_for.is_some() {
            self.soon(10, who, Event::Turn);
        }
        self.plan_end(who);
    }
}

#[test]
fn there_is_never_more_than_one_leader_and_epochs_never_go_back() {
    let (mut epochs, mut landed) = (0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(seed, TIMING);
        if let Err(error) = world.run() {
            panic!("seed {seed}: {error}");
        }
        epochs += world.newest_epoch;
        landed += world.landed;
    }
    // The schedules are no good if nobody ever leads, or nobody ever loses the lead.
    assert!(
        epochs > 5 * SEEDS && landed > 200 * SEEDS,
        "{epochs} epochs, {landed} writes"
    );
}

/// A leader that believes in itself for longer than others do is found out.
#[test]
fn the_schedules_find_two_leaders_where_a_term_outlives_the_lease() {
    let timing = Timing {
        renew: Duration::from_secs(20),
        ..TIMING
    };
    let broken = (0..SEEDS).filter(|seed| World::new(*seed, timing).run().is_err());
    assert!(broken.count() > 0);
}

//! The simulated world and its agenda: one thread, virtual time, every choice from one seed.
//!
//! Everything happens as a job at a time; this file keeps time and takes in commits, `cluster` does the jobs of
//! everybody else, `controller` runs the reconciles, `user` acts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use tidegate::api::resource::Resource;
use tidegate::clock::Clock;
use tidegate::observe::stores::Work;
use tidegate::plan::revision::hash_template;
use tidegate::sandbox::api_server::{ApiServer, Commit};
use tidegate::sandbox::dataplane::{DataPlane, Delays};
use tidegate::sandbox::pods::{Addresses, NoSockets, Nodes};
use tidegate::sandbox::resource::Key;
use tidegate::sandbox::rng::Rng;
use tokio::sync::mpsc;

use super::brain::{Sabotage, Shared};
use super::cluster;
use super::controller::Controller;
use super::gate::{Gate, Stop, Wire, is_controller};
use super::object::{self, NAMESPACE};
use super::rule::{Moment, Rules, Violation};
use super::scenario::{Scenario, Weather, between};
use super::trace::{Trace, describe};
use super::truth::Truth;
use super::user::Script;

/// More than this nobody writes for one thing that a user did.
const BUSY_COMMITS: usize = 1000;
/// When every run begins: 2026-01-01.
pub const START: DateTime<Utc> = DateTime::from_timestamp(1_767_225_600, 0).unwrap();

/// Something that somebody other than the controller does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    /// One watch event to one cache.
    Deliver(Resource),
    SyncSet(Key),
    SyncPod(Key),
    SyncSlice(Key),
    RouteStatus(Key),
    PodTrouble,
    /// The data plane has changed.
    Plane,
    User,
}

/// Things to do, each at most once at a time.
pub struct Agenda<J> {
    due: BTreeSet<(DateTime<Utc>, u64, J)>,
    at: BTreeMap<J, (DateTime<Utc>, u64)>,
    turn: u64,
}

impl<J: Clone + Ord> Agenda<J> {
    pub fn new() -> Self {
        Agenda {
            due: BTreeSet::new(),
            at: BTreeMap::new(),
            turn: 0,
        }
    }

    /// The earlier time counts.
    pub fn put(&mut self, job: J, at: DateTime<Utc>) {
        if let Some((before, turn)) = self.at.get(&job).copied() {
            if before <= at {
                return;
            }
            self.due.remove(&(before, turn, job.clone()));
        }
        self.turn += 1;
        self.at.insert(job.clone(), (at, self.turn));
        self.due.insert((at, self.turn, job));
    }

    pub fn next_at(&self) -> Option<DateTime<Utc>> {
        self.due.first().map(|(at, ..)| *at)
    }

    pub fn pop(&mut self) -> Option<(DateTime<Utc>, J)> {
        let (at, _, job) = self.due.pop_first()?;
        self.at.remove(&job);
        Some((at, job))
    }

    pub fn clear(&mut self) {
        self.due.clear();
        self.at.clear();
    }
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub trace: u64,
    pub commits: usize,
    pub end: Value,
    /// The situations in which the users acted.
    pub signature: Vec<String>,
}

#[derive(Debug)]
pub struct Failure {
    pub rule: &'static str,
    pub report: String,
}

pub struct World {
    pub scenario: Scenario,
    pub weather: Weather,
    pub clock: Clock,
    pub rng: Rng,
    pub server: ApiServer,
    pub client: kube::Client,
    pub nodes: Nodes<NoSockets>,
    pub wire: Arc<Mutex<Wire>>,
    pub stops: mpsc::UnboundedReceiver<Stop>,
    pub gate: Gate,
    pub shared: Arc<Mutex<Shared>>,
    pub sabotage: Option<Sabotage>,
    pub controller: Option<Controller>,
    pub env: Agenda<Job>,
    pub work: Agenda<Work>,
    pub truth: Truth,
    pub rules: Rules,
    pub plane: DataPlane,
    pub trace: Trace,
    pub script: Script,
    pub commits: usize,
    pub controller_commits: usize,
    pub last_controller_commit: DateTime<Utc>,
    /// When the round under way began to look.
    pub looked_at: DateTime<Utc>,
    pub ailing: BTreeMap<Key, DateTime<Utc>>,
    pub troubled: bool,
    /// How many pods were in trouble so far.
    pub troubles: u32,
    pub served: bool,
    pub abort_since: Option<DateTime<Utc>>,
    pub failed: Option<Violation>,
}

pub fn key_of(name: &str) -> Key {
    Key::new(NAMESPACE, name)
}

impl World {
    pub fn new(
        seed: u64,
        scenario: Scenario,
        weather: Weather,
        sabotage: Option<Sabotage>,
        echo: bool,
    ) -> Self {
        let clock = Clock::virtual_at(START);
        let server = cluster::empty_cluster().copy(seed, clock.clone());
        let wire = Arc::new(Mutex::new(Wire::default()));
        let (sender, stops) = mpsc::unbounded_channel();
        let gate = Gate {
            server: server.clone(),
            stops: sender,
            wire: Arc::clone(&wire),
            blind: sabotage == Some(Sabotage::FailedReadIsAbsence),
        };
        let client = server.client("cluster");
        let hash = |version| hash_template(&object::template(&scenario, version)).0;
        let versions: Vec<String> = (0..scenario.versions.len()).map(hash).collect();
        let qualities = scenario.versions.iter().map(|(quality, _)| *quality);
        let quality = versions.into_iter().zip(qualities).collect();
        let delays = Delays {
            ingress: weather.plane[0],
            http_route: weather.plane[1],
            service: weather.plane[2],
            endpoint_slice: weather.plane[3],
        };
        World {
            rules: Rules::new(&scenario, quality),
            script: Script::new(scenario.script.clone(), START),
            nodes: Nodes::new(client.clone(), Addresses::loopback(), NoSockets),
            plane: DataPlane::new(delays),
            scenario,
            weather,
            clock,
            rng: Rng::new(seed ^ 0x5eed),
            server,
            client,
            wire,
            stops,
            gate,
            shared: Arc::default(),
            sabotage,
            controller: None,
            env: Agenda::new(),
            work: Agenda::new(),
            truth: Truth::default(),
            trace: Trace::new(echo),
            commits: 0,
            controller_commits: 0,
            last_controller_commit: START,
            looked_at: START,
            ailing: BTreeMap::new(),
            troubled: false,
            troubles: 0,
            served: false,
            abort_since: None,
            failed: None,
        }
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub fn note(&mut self, line: &str) {
        let at = self.now().format("%H:%M:%S%.3f");
        self.trace.note(format!("{at} {line}"));
    }

    pub fn soon(&mut self, longest: TimeDelta) -> TimeDelta {
        TimeDelta::milliseconds(between(&mut self.rng, 0, longest.num_milliseconds().max(1)))
    }

    pub fn put_soon(&mut self, job: Job, longest: TimeDelta) {
        let at = self.now() + self.soon(longest);
        self.env.put(job, at);
    }

    /// The first thing that went wrong counts.
    pub fn fail(&mut self, rule: &'static str, text: String) {
        self.failed.get_or_insert(Violation { rule, text });
    }

    /// Takes in what was committed since the last time: judged first, then it is true.
    pub fn take_in(&mut self) {
        let commits = std::mem::take(&mut self.wire.lock().unwrap().commits);
        for commit in commits {
            self.commits += 1;
            let by_controller = is_controller(&commit.actor);
            self.note(&line(&commit, by_controller));
            if by_controller {
                self.judge(&commit);
            }
            let now = self.now();
            self.truth.apply(&commit, now, &self.weather, by_controller);
            self.remember(&commit, by_controller);
            self.spread(&commit);
        }
        let (violation, good) = {
            let mut shared = self.shared.lock().unwrap();
            (shared.violation.take(), std::mem::take(&mut shared.good))
        };
        self.rules.judged.extend(good);
        if let Some(violation) = violation {
            self.failed.get_or_insert(violation);
        }
    }

    fn judge(&mut self, commit: &Commit) {
        self.controller_commits += 1;
        self.last_controller_commit = self.now();
        if self.controller_commits > self.script.commits_before + BUSY_COMMITS {
            self.fail("S16", format!("{BUSY_COMMITS} writes since a user acted"));
        }
        let lost = if self.weather.lost_event > 0.0 { 310 } else { 3 };
        let since =
            self.looked_at - self.weather.cache_lag - TimeDelta::seconds(lost) - self.weather.controllers;
        let moment = Moment {
            now: self.now(),
            since,
        };
        if let Err(violation) = self.rules.check(commit, &self.truth, moment) {
            self.failed.get_or_insert(violation);
        }
    }

    /// For the rules about what the planner may decide on.
    fn remember(&mut self, commit: &Commit, by_controller: bool) {
        let kinds = [
            "Rollout",
            "ReplicaSet",
            "AnalysisRun",
            "Service",
            "Ingress",
            "HTTPRoute",
        ];
        let Some(kind) = kinds.into_iter().find(|kind| *kind == commit.kind) else {
            return;
        };
        let id = (kind, commit.name.clone());
        let mut shared = self.shared.lock().unwrap();
        if commit.after.is_none() {
            shared.own.remove(&id);
            shared.present.remove(&id);
            return;
        }
        if by_controller {
            shared.own.insert(id.clone(), commit.resource_version);
        }
        if matches!(kind, "Rollout" | "Service" | "HTTPRoute") || kind == "Ingress" && !by_controller {
            shared.present.insert(id, ());
        }
    }

    pub fn failure(&self, seed: u64) -> Option<Failure> {
        let violation = self.failed.as_ref()?;
        let plan = describe(self.shared.lock().unwrap().plan.as_ref());
        let report = format!(
            "seed {seed}: {} broken: {}\nthe plan: {plan}\n{:?}\n{:?}\nreplay with TIDEGATE_SEED={seed}; the end of the trace:\n{}",
            violation.rule, violation.text, self.scenario, self.weather, self.trace
        );
        Some(Failure {
            rule: violation.rule,
            report,
        })
    }

    /// The next thing on either agenda.
    pub fn next_at(&self) -> Option<DateTime<Utc>> {
        self.env.next_at().into_iter().chain(self.work.next_at()).min()
    }

    /// Goes on until nothing is left to do before `end`.
    pub async fn run_until(&mut self, end: DateTime<Utc>) {
        while self.failed.is_none()
            && let Some(at) = self.next_at().filter(|at| *at <= end)
        {
            self.clock.set(at.max(self.now()));
            if self.env.next_at() == Some(at) {
                if let Some((_, job)) = self.env.pop() {
                    self.perform(job).await;
                }
            } else if let Some((_, work)) = self.work.pop() {
                self.reconcile(work).await;
            }
        }
        if self.failed.is_none() {
            self.clock.set(end.max(self.now()));
        }
    }

    /// Lets time pass while a request of the controller is on its way.
    pub async fn pass(&mut self, time: TimeDelta) {
        let end = self.now() + time;
        while let Some((at, job)) = self
            .env
            .next_at()
            .filter(|at| *at <= end)
            .and_then(|_| self.env.pop())
        {
            self.clock.set(at.max(self.now()));
            self.perform(job).await;
        }
        self.clock.set(end.max(self.now()));
    }
}

fn line(commit: &Commit, by_controller: bool) -> String {
    let who = if by_controller {
        "tidegate"
    } else {
        commit.actor.as_str()
    };
    let subresource = commit.subresource.iter().map(|sub| format!("/{sub}"));
    let subresource: String = subresource.collect();
    let detail = match (commit.kind.as_str(), commit.after.as_deref()) {
        ("Rollout", Some(after)) => {
            let text = |field: &str| object::text(after, &format!("/status/{field}"));
            format!(
                "step {} {} {} stable {} current {} {}: {}",
                text("step"),
                text("phase"),
                text("promotion"),
                text("stableRS"),
                text("currentPodHash"),
                if after.pointer("/status/abort").is_some() {
                    "aborted"
                } else {
                    ""
                },
                text("message"),
            )
        }
        ("ReplicaSet", Some(after)) => format!(
            "replicas {} available {}",
            object::int(after, "/spec/replicas"),
            object::int(after, "/status/availableReplicas")
        ),
        ("Service", Some(after)) => after
            .pointer("/spec/selector")
            .map(Value::to_string)
            .unwrap_or_default(),
        ("Ingress" | "HTTPRoute", after) => {
            format!("{:?}", super::truth::weights(&commit.kind, &commit.name, after))
        }
        _ => String::new(),
    };
    format!(
        "{who} {:?} {} {}{subresource} {detail}",
        commit.verb, commit.kind, commit.name
    )
}

//! What a seed stands for: a Rollout, its versions and how good they really are, what users do and when, and the
//! weather they do it in.
//!
//! Users act when the release has come to a certain point rather than at a certain time, so that a run full of faults
//! and the run without them, made from the same seed, can be compared.

use chrono::TimeDelta;
use tidegate::sandbox::rng::Rng;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// Pods are the traffic.
    None,
    Nginx {
        ingresses: usize,
    },
    Gateway {
        rules: usize,
        /// The routes name the canary Service from the start.
        canary_named: bool,
    },
}

/// What the metrics would say about a version, if asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    Good,
    Bad,
    /// Neither condition of the template holds.
    Murky,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepKind {
    Weight(i64),
    Pause,
    PauseSeconds(i64),
    Scale(i64),
    Analysis,
}

/// When a user acts, counted from the action before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Nothing moves any more: healthy, aborted, or waiting for a person.
    Settled,
    /// The newest version has come to this step, or nothing moves any more.
    AtStep(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A version, new or old, by its number.
    Image(usize),
    Abort,
    Retry,
    Promote,
    PromoteFull,
    Scale(i64),
    Paused(bool),
    /// Another list of steps.
    Steps(Vec<StepKind>),
}

#[derive(Clone, Debug)]
pub struct Scenario {
    pub routing: Routing,
    pub dynamic: bool,
    pub surge: i64,
    pub replicas: i64,
    pub steps: Vec<StepKind>,
    pub background: bool,
    pub bake: bool,
    /// The data plane is asked whether it follows, and may take longer than the settle time.
    pub asked: bool,
    /// Truth and seconds to readiness by version.
    pub versions: Vec<(Truth, i64)>,
    pub script: Vec<(Trigger, Action)>,
}

/// How much goes wrong, and how late everything is.
#[derive(Clone, Debug)]
pub struct Weather {
    /// The longest that one cache stays behind.
    pub cache_lag: TimeDelta,
    pub lost_event: f64,
    pub write_fault: f64,
    pub read_fault: f64,
    pub crash: f64,
    /// Mean time between two pods in trouble.
    pub pod_trouble: Option<TimeDelta>,
    pub call_latency: TimeDelta,
    /// Delays of the data plane: Ingress, HTTPRoute, Service, EndpointSlice. All stay below the settle time, but for the
    /// routes of a data plane that is asked.
    pub plane: [TimeDelta; 4],
    /// The longest that the sandbox's own controllers take.
    pub controllers: TimeDelta,
}

pub const SETTLE_SECONDS: i64 = 5;

impl Weather {
    /// Nothing is late and nothing goes wrong.
    pub fn calm() -> Self {
        Weather {
            cache_lag: TimeDelta::milliseconds(20),
            lost_event: 0.0,
            write_fault: 0.0,
            read_fault: 0.0,
            crash: 0.0,
            pod_trouble: None,
            call_latency: TimeDelta::milliseconds(2),
            plane: [TimeDelta::milliseconds(100); 4],
            controllers: TimeDelta::milliseconds(50),
        }
    }

    pub fn draw(rng: &mut Rng) -> Self {
        let lags = [50, 500, 2000, 8000, 30_000];
        let plane = [(); 4].map(|()| TimeDelta::milliseconds(between(rng, 0, 4000)));
        let sometimes = |rng: &mut Rng, share: f64, most: f64| {
            if rng.chance(share) { rng.unit() * most } else { 0.0 }
        };
        Weather {
            cache_lag: TimeDelta::milliseconds(*rng.pick(&lags).unwrap()),
            lost_event: sometimes(rng, 0.2, 0.1),
            write_fault: sometimes(rng, 0.7, 0.3),
            read_fault: sometimes(rng, 0.5, 0.05),
            crash: sometimes(rng, 0.5, 0.05),
            pod_trouble: rng.chance(0.3).then(|| TimeDelta::seconds(between(rng, 10, 90))),
            call_latency: TimeDelta::milliseconds(*rng.pick(&[2, 20, 200, 1500]).unwrap()),
            plane,
            controllers: TimeDelta::milliseconds(*rng.pick(&[50, 300, 2000]).unwrap()),
        }
    }

    /// Routes reach the data plane as late as several settle times.
    pub fn with_late_routes(mut self, rng: &mut Rng) -> Self {
        for delay in self.plane.iter_mut().take(2) {
            *delay = TimeDelta::milliseconds(between(rng, 0, 4_000 * SETTLE_SECONDS));
        }
        self
    }

    /// The faults stop; everything stays as late as it was.
    pub fn cleared(&self) -> Self {
        Weather {
            lost_event: 0.0,
            write_fault: 0.0,
            read_fault: 0.0,
            crash: 0.0,
            pod_trouble: None,
            ..self.clone()
        }
    }
}

pub fn between(rng: &mut Rng, low: i64, high: i64) -> i64 {
    low + i64::try_from(rng.below(u64::try_from(high - low + 1).unwrap())).unwrap()
}

impl Scenario {
    pub fn draw(rng: &mut Rng) -> Self {
        let routing = match rng.below(10) {
            0..4 => Routing::Nginx {
                ingresses: if rng.chance(0.3) { 2 } else { 1 },
            },
            4..7 => Routing::Gateway {
                rules: if rng.chance(0.3) { 2 } else { 1 },
                canary_named: rng.chance(0.5),
            },
            _ => Routing::None,
        };
        let analysed = rng.chance(0.6);
        let versions = (0..6)
            .map(|number| {
                let truth = match rng.below(10) {
                    _ if number == 0 => Truth::Good,
                    0..2 if analysed => Truth::Bad,
                    2 if analysed => Truth::Murky,
                    _ => Truth::Good,
                };
                (truth, between(rng, 0, 12))
            })
            .collect();
        let dynamic = routing != Routing::None && rng.chance(0.3);
        let mut scenario = Scenario {
            routing,
            dynamic,
            surge: between(rng, 1, 2),
            replicas: between(rng, 1, 6),
            steps: draw_steps(rng, analysed, routing != Routing::None),
            background: analysed && rng.chance(0.3),
            bake: routing != Routing::None && rng.chance(0.2) && !dynamic,
            asked: false,
            versions,
            script: Vec::new(),
        };
        scenario.script = scenario.draw_script(rng, analysed);
        scenario.asked = routing != Routing::None && rng.chance(0.3);
        scenario
    }

    fn draw_script(&self, rng: &mut Rng, analysed: bool) -> Vec<(Trigger, Action)> {
        let mut script = vec![(Trigger::Settled, Action::Image(1))];
        let mut newest = 1;
        let count = between(rng, 1, 4);
        for _ in 0..count {
            let at_step = Trigger::AtStep(rng.below(self.steps.len() as u64 + 1));
            let anywhere = if rng.chance(0.7) {
                at_step
            } else {
                Trigger::Settled
            };
            match rng.below(20) {
                0..5 => {
                    newest += 1;
                    script.push((anywhere, Action::Image(newest)));
                }
                5..7 => script.push((anywhere, Action::Image(newest - 1))),
                7..11 => script.push((anywhere, Action::Abort)),
                11..13 => script.push((Trigger::Settled, Action::Retry)),
                13..15 => script.push((Trigger::Settled, Action::Promote)),
                15 => script.push((anywhere, Action::PromoteFull)),
                16..18 => script.push((anywhere, Action::Scale(between(rng, 1, 7)))),
                18 => {
                    script.push((anywhere, Action::Paused(true)));
                    script.push((Trigger::Settled, Action::Paused(false)));
                }
                _ => {
                    let steps = draw_steps(rng, analysed, self.routing != Routing::None);
                    script.push((anywhere, Action::Steps(steps)));
                }
            }
        }
        if rng.chance(0.6) {
            script.push((Trigger::Settled, Action::Promote));
            script.push((Trigger::Settled, Action::Promote));
        }
        script
    }
}

fn draw_steps(rng: &mut Rng, analysed: bool, routed: bool) -> Vec<StepKind> {
    let mut weight = 0;
    let mut steps = Vec::new();
    for _ in 0..between(rng, 1, 3) {
        weight = (weight + between(rng, 5, 45)).min(100);
        if routed && rng.chance(0.15) {
            steps.push(StepKind::Scale(between(rng, 1, 4)));
        }
        steps.push(StepKind::Weight(weight));
        match rng.below(10) {
            0..4 if analysed => steps.push(StepKind::Analysis),
            4..6 => steps.push(StepKind::Pause),
            6..8 => steps.push(StepKind::PauseSeconds(between(rng, 1, 30))),
            _ => {}
        }
    }
    if analysed && !steps.contains(&StepKind::Analysis) {
        steps.push(StepKind::Analysis);
    }
    steps
}

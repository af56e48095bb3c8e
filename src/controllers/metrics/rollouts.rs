//! What is shown of the Rollouts that this replica looks after: all of them by phase, those that are not Healthy at rest
//! by name.
//!
//! Guarantees: a Rollout that is Healthy at rest, or gone, has no series; no more than [`MOST_SHOWN`] have any.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::api::resource::ObjectKey;
use crate::api::rollout_status::{Phase, RolloutStatus};
use crate::apply::problem::is_refused;

pub const MOST_SHOWN: usize = 1000;

type Names = Vec<(&'static str, String)>;

#[derive(Debug, Default)]
pub struct RolloutGauges {
    seen: Mutex<Seen>,
    phases: Family<Names, Gauge<i64>>,
    step: Family<Names, Gauge<i64>>,
    weight: Family<Names, Gauge<i64>>,
    waiting: Family<Names, Gauge<i64>>,
    left_out: Gauge<i64>,
}

#[derive(Debug, Default)]
struct Seen {
    rollouts: BTreeMap<ObjectKey, Shown>,
    by_name: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    phase: Phase,
    progress: Progress,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Progress {
    AtRest,
    LeftOut,
    At {
        step: i64,
        weight: i64,
        waiting: Option<String>,
    },
}

impl RolloutGauges {
    pub fn register(&self, registry: &mut Registry) {
        let gauges = [
            ("rollouts", "Rollouts by phase", &self.phases),
            (
                "rollout_step",
                "Index of the step a Rollout is at that is not Healthy at rest",
                &self.step,
            ),
            (
                "rollout_weight",
                "Canary weight of a Rollout that is not Healthy at rest, as in its routes",
                &self.weight,
            ),
            (
                "rollout_waiting",
                "1: why a Rollout that is not Healthy at rest waits",
                &self.waiting,
            ),
        ];
        for (name, help, family) in gauges {
            registry.register(name, help, family.clone());
        }
        registry.register(
            "rollouts_left_out",
            "Rollouts not Healthy at rest without series of their own, because there are too many",
            self.left_out.clone(),
        );
    }

    pub fn show(&self, key: &ObjectKey, status: &RolloutStatus) {
        let mut seen = self.lock();
        let before = seen.take(key);
        let wanted = shown(status, seen.by_name < MOST_SHOWN);
        if let Some(before) = &before
            && *before != wanted
        {
            self.remove(key, before);
        }
        if before.as_ref() != Some(&wanted) {
            self.add(key, &wanted);
        }
        seen.put(key.clone(), wanted);
    }

    pub fn forget(&self, key: &ObjectKey) {
        if let Some(before) = self.lock().take(key) {
            self.remove(key, &before);
        }
    }

    /// Another replica shows them from now on.
    pub fn clear(&self) {
        let gone = std::mem::take(&mut *self.lock());
        for (key, shown) in &gone.rollouts {
            self.remove(key, shown);
        }
    }

    fn add(&self, key: &ObjectKey, shown: &Shown) {
        self.phases.get_or_create(&of_phase(shown.phase)).inc();
        match &shown.progress {
            Progress::AtRest => {}
            Progress::LeftOut => {
                self.left_out.inc();
            }
            Progress::At {
                step,
                weight,
                waiting,
            } => {
                let names = names(key);
                self.step.get_or_create(&names).set(*step);
                self.weight.get_or_create(&names).set(*weight);
                if let Some(reason) = waiting {
                    self.waiting.get_or_create(&with_reason(names, reason)).set(1);
                }
            }
        }
    }

    fn remove(&self, key: &ObjectKey, shown: &Shown) {
        self.phases.get_or_create(&of_phase(shown.phase)).dec();
        match &shown.progress {
            Progress::AtRest => {}
            Progress::LeftOut => {
                self.left_out.dec();
            }
            Progress::At { waiting, .. } => {
                let names = names(key);
                self.step.remove(&names);
                self.weight.remove(&names);
                if let Some(reason) = waiting {
                    self.waiting.remove(&with_reason(names, reason));
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn take(&mut self, key: &ObjectKey) -> Option<Shown> {
        let shown = self.rollouts.remove(key)?;
        self.by_name -= usize::from(shown.is_by_name());
        Some(shown)
    }

    fn put(&mut self, key: ObjectKey, shown: Shown) {
        self.by_name += usize::from(shown.is_by_name());
        self.rollouts.insert(key, shown);
    }
}

impl Shown {
    fn is_by_name(&self) -> bool {
        matches!(self.progress, Progress::At { .. })
    }
}

fn shown(status: &RolloutStatus, has_room: bool) -> Shown {
    let weights = status.canary.weights.as_ref();
    let weight = weights.map_or(0, |weights| weights.canary.weight.0);
    let phase = status.phase.unwrap_or_default();
    let at_rest = phase == Phase::Healthy && !status.is_in_release(status.current_pod_hash.as_ref());
    let progress = match at_rest {
        true => Progress::AtRest,
        false if !has_room => Progress::LeftOut,
        false => Progress::At {
            step: status.current_step_index.map_or(0, |step| i64::from(step.0)),
            weight,
            waiting: reason(status),
        },
    };
    Shown { phase, progress }
}

/// What was refused keeps the status from saying what else is waited for.
fn reason(status: &RolloutStatus) -> Option<String> {
    match is_refused(status) {
        true => Some("Refused".to_owned()),
        false => Some(format!("{:?}", status.waiting_on.as_ref()?.reason)),
    }
}

fn of_phase(phase: Phase) -> Names {
    vec![("phase", format!("{phase:?}"))]
}

fn names(key: &ObjectKey) -> Names {
    vec![
        ("namespace", key.namespace.clone()),
        ("rollout", key.name.clone()),
    ]
}

fn with_reason(mut names: Names, reason: &str) -> Names {
    names.push(("reason", reason.to_owned()));
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::names::{PodTemplateHash, StepIndex, Weight};
    use crate::api::rollout_status::{TrafficWeights, WaitingOn, WaitingReason};

    fn status(phase: Phase, weight: i64, waiting: Option<WaitingReason>) -> RolloutStatus {
        let mut status = RolloutStatus {
            phase: Some(phase),
            stable_rs: Some(PodTemplateHash("a".to_owned())),
            current_pod_hash: Some(PodTemplateHash(if weight > 0 { "b" } else { "a" }.to_owned())),
            current_step_index: Some(StepIndex(2)),
            waiting_on: waiting.map(|reason| WaitingOn {
                reason,
                message: String::new(),
                since: chrono::DateTime::UNIX_EPOCH,
                until: None,
            }),
            ..RolloutStatus::default()
        };
        let mut weights = TrafficWeights::default();
        weights.canary.weight = Weight(weight);
        status.canary.weights = Some(weights);
        status
    }

    fn lines(gauges: &RolloutGauges) -> Vec<String> {
        let mut registry = Registry::default();
        gauges.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let lines = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.ends_with(" 0"));
        let mut lines: Vec<String> = lines.map(str::to_owned).collect();
        lines.sort();
        lines
    }

    #[test]
    fn a_rollout_is_shown_by_name_until_it_is_healthy_at_rest() {
        let (gauges, key) = (RolloutGauges::default(), ObjectKey::new("shop", "checkout"));
        let named = "namespace=\"shop\",rollout=\"checkout\"";
        let at = |weight: i64, phase: &str, reason: &str| {
            vec![
                format!("rollout_step{{{named}}} 2"),
                format!("rollout_waiting{{{named},reason=\"{reason}\"}} 1"),
                format!("rollout_weight{{{named}}} {weight}"),
                format!("rollouts{{phase=\"{phase}\"}} 1"),
            ]
        };
        gauges.show(&key, &status(Phase::Progressing, 10, Some(WaitingReason::Settle)));
        assert_eq!(lines(&gauges), at(10, "Progressing", "Settle"));
        gauges.show(&key, &status(Phase::Paused, 50, Some(WaitingReason::Promotion)));
        assert_eq!(lines(&gauges), at(50, "Paused", "Promotion"));
        gauges.show(&key, &status(Phase::Degraded, 50, Some(WaitingReason::Invalid)));
        assert_eq!(lines(&gauges), at(50, "Degraded", "Invalid"), "stuck is not done");
        for reason in [WaitingReason::Invalid, WaitingReason::NewVersion] {
            gauges.show(&key, &status(Phase::Degraded, 0, Some(reason)));
            let shown = lines(&gauges).join("\n");
            assert!(
                shown.contains(&format!("{{{named},reason=\"{reason:?}\"}} 1")),
                "{shown}"
            );
        }
        gauges.show(&key, &status(Phase::Healthy, 0, None));
        assert_eq!(lines(&gauges), ["rollouts{phase=\"Healthy\"} 1"]);
        gauges.forget(&key);
        gauges.forget(&key);
        assert_eq!(lines(&gauges), Vec::<String>::new());
        gauges.show(&key, &status(Phase::Progressing, 10, None));
        gauges.clear();
        assert_eq!(lines(&gauges), Vec::<String>::new());
    }

    #[test]
    fn those_beyond_the_limit_are_counted_until_there_is_room() {
        let gauges = RolloutGauges::default();
        let key = |number: usize| ObjectKey::new("shop", number.to_string());
        let busy = status(Phase::Progressing, 10, None);
        (0..MOST_SHOWN + 2).for_each(|number| gauges.show(&key(number), &busy));
        let left_out = || {
            lines(&gauges)
                .into_iter()
                .find(|line| line.starts_with("rollouts_left_out"))
        };
        assert_eq!(left_out().as_deref(), Some("rollouts_left_out 2"));
        gauges.show(&key(0), &status(Phase::Healthy, 0, None));
        gauges.show(&key(MOST_SHOWN), &busy);
        assert_eq!(left_out().as_deref(), Some("rollouts_left_out 1"));
    }
}

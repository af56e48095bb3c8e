//! What the controller counts. Labels are bounded: kinds, verbs and categories; names only of Rollouts that are not
//! Healthy at rest, and of so many of them at most (`rollouts`).

mod alerts;
mod rollouts;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::api::analysis_run::Verdict;
use crate::api::resource::Resource;
use crate::api::rollout_status::AbortSource;
use crate::apply::Written;
use crate::clock::Stopwatch;
use crate::plan::model::{Plan, REFUSED};

use alerts::AlertCounters;
use rollouts::RolloutGauges;

/// From an abort as fast as it can be to one that nobody should have to wait for.
const ABORT_SECONDS: [f64; 11] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0];

type Labels<const N: usize> = [(&'static str, &'static str); N];

#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Family<Labels<2>, Counter>,
    plans: Family<Labels<1>, Counter>,
    writes: Family<Labels<3>, Counter>,
    verdicts: Family<Labels<1>, Counter>,
    api_errors: Family<Labels<1>, Counter>,
    events: Family<Labels<1>, Counter>,
    aborts: Family<Labels<1>, Counter>,
    promotions: Counter,
    abort_seconds: Family<Labels<1>, Histogram, fn() -> Histogram>,
    waiting: Family<Labels<1>, Gauge<i64>>,
    oldest: Family<Labels<1>, Gauge<f64, AtomicU64>>,
    overdue: Mutex<BTreeMap<&'static str, Option<Overdue>>>,
    stopwatch: Stopwatch,
    pub rollouts: RolloutGauges,
    pub alerts: AlertCounters,
    quarantined: Family<Labels<1>, Gauge<i64>>,
    unlisted: Family<Labels<1>, Gauge<i64>>,
    leader: Gauge<i64>,
    leader_epoch: Gauge<u64, AtomicU64>,
}

/// For how long the oldest key of a queue had been due when it was noted. It grows until the queue is heard of again.
#[derive(Clone, Copy, Debug)]
struct Overdue {
    overdue: Duration,
    noted: Duration,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("tidegate"),
            reconciles: Family::default(),
            plans: Family::default(),
            writes: Family::default(),
            verdicts: Family::default(),
            api_errors: Family::default(),
            events: Family::default(),
            aborts: Family::default(),
            promotions: Counter::default(),
            abort_seconds: Family::new_with_constructor(|| Histogram::new(ABORT_SECONDS)),
            waiting: Family::default(),
            oldest: Family::default(),
            overdue: Mutex::default(),
            stopwatch: Stopwatch::start(),
            rollouts: RolloutGauges::default(),
            alerts: AlertCounters::default(),
            quarantined: Family::default(),
            unlisted: Family::default(),
            leader: Gauge::default(),
            leader_epoch: Gauge::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "reconciles",
            "Reconciles by kind and result",
            self.reconciles.clone(),
        );
        registry.register(
            "plans",
            "Plans by outcome: empty, writes, or refused by the check",
            self.plans.clone(),
        );
        registry.register("writes", "Writes by kind, verb and result", self.writes.clone());
        registry.register(
            "verdicts",
            "Finished AnalysisRuns by verdict",
            self.verdicts.clone(),
        );
        registry.register(
            "api_errors",
            "Rounds ended by an error or a refusal, by category",
            self.api_errors.clone(),
        );
        registry.register(
            "events",
            "Events by result: ok, duplicate, refused, or dropped",
            self.events.clone(),
        );
        registry.register("queue_waiting", "Keys that wait, by queue", self.waiting.clone());
        registry.register(
            "queue_oldest_seconds",
            "For how long the oldest key has been due, by queue",
            self.oldest.clone(),
        );
        registry.register(
            "quarantined",
            "Keys left alone after a panic until their object changes",
            self.quarantined.clone(),
        );
        registry.register(
            "unlisted_namespaces",
            "Namespaces left alone because a kind could not be listed yet, by kind",
            self.unlisted.clone(),
        );
        self.register_releases();
    }

    fn register_releases(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "aborts",
            "Releases turned back, by who asked for it",
            self.aborts.clone(),
        );
        registry.register("promotions", "Releases promoted", self.promotions.clone());
        registry.register(
            "abort_seconds",
            "From what asked for an abort until the new version was given nothing any more",
            self.abort_seconds.clone(),
        );
        self.rollouts.register(registry);
        self.alerts.register(registry);
        registry.register("leader", "Whether this replica leads", self.leader.clone());
        registry.register(
            "leader_epoch",
            "Epoch that writes carry",
            self.leader_epoch.clone(),
        );
    }

    /// The exposition in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let now = self.stopwatch.elapsed();
        for (queue, overdue) in self.lock_overdue().iter() {
            let age = overdue.map_or(Duration::ZERO, |then| {
                then.overdue + now.saturating_sub(then.noted)
            });
            self.oldest
                .get_or_create(&[("queue", *queue)])
                .set(age.as_secs_f64());
        }
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            // Writing to a String does not fail.
            Err(_) => String::new(),
        }
    }

    pub fn count_reconcile(&self, kind: &'static str, result: &'static str) {
        self.reconciles
            .get_or_create(&[("kind", kind), ("result", result)])
            .inc();
    }

    /// A refused plan has no writes either; it is a mistake of ours, and somebody should be told.
    pub fn count_plan(&self, plan: &Plan) {
        let writes = plan.stages.iter().any(|stage| !stage.writes.is_empty());
        let outcome = match writes {
            _ if plan.rule == REFUSED => "refused",
            true => "writes",
            false => "empty",
        };
        self.plans.get_or_create(&[("outcome", outcome)]).inc();
    }

    pub fn count_write(&self, written: &Written) {
        let labels = [
            ("kind", written.resource.kind()),
            ("verb", written.verb),
            ("result", written.result),
        ];
        self.writes.get_or_create(&labels).inc();
    }

    pub fn count_verdict(&self, verdict: Verdict) {
        let verdict = match verdict {
            Verdict::Successful => "Successful",
            Verdict::Failed => "Failed",
            Verdict::Inconclusive => "Inconclusive",
            Verdict::Error => "Error",
            Verdict::NoData => "NoData",
            Verdict::Terminated => "Terminated",
            Verdict::Pending | Verdict::Running => return,
        };
        self.verdicts.get_or_create(&[("verdict", verdict)]).inc();
    }

    pub fn count_error(&self, category: &'static str) {
        self.api_errors.get_or_create(&[("category", category)]).inc();
    }

    pub fn count_event(&self, result: &'static str) {
        self.events.get_or_create(&[("result", result)]).inc();
    }

    pub fn count_abort(&self, by: AbortSource) {
        self.aborts.get_or_create(&[("by", source(by))]).inc();
    }

    pub fn count_promotion(&self) {
        self.promotions.inc();
    }

    /// How long it took from what asked for an abort until routes and Services gave the new version nothing.
    pub fn observe_abort(&self, by: AbortSource, took: Duration) {
        let seconds = self.abort_seconds.get_or_create(&[("by", source(by))]);
        seconds.observe(took.as_secs_f64());
    }

    /// `overdue`: for how long the oldest key has been due, if any is.
    pub fn set_queue(
        &self,
        queue: &'static str,
        waiting: usize,
        quarantined: usize,
        overdue: Option<Duration>,
    ) {
        let noted = self.stopwatch.elapsed();
        let overdue = overdue.map(|overdue| Overdue { overdue, noted });
        self.lock_overdue().insert(queue, overdue);
        let set = |family: &Family<Labels<1>, Gauge<i64>>, count: usize| {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            family.get_or_create(&[("queue", queue)]).set(count);
        };
        set(&self.waiting, waiting);
        set(&self.quarantined, quarantined);
    }

    /// In how many namespaces (one stands for all, where all are watched) a kind has not been listed yet.
    pub fn set_unlisted(&self, resource: Resource, namespaces: usize) {
        let count = i64::try_from(namespaces).unwrap_or(i64::MAX);
        self.unlisted
            .get_or_create(&[("kind", resource.kind())])
            .set(count);
    }

    /// The epoch of the newest term stays when it is over.
    pub fn set_leader(&self, epoch: Option<u64>) {
        self.leader.set(i64::from(epoch.is_some()));
        match epoch {
            Some(epoch) => {
                self.leader_epoch.set(epoch);
            }
            None => self.rollouts.clear(),
        }
    }

    fn lock_overdue(&self) -> MutexGuard<'_, BTreeMap<&'static str, Option<Overdue>>> {
        self.overdue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn source(by: AbortSource) -> &'static str {
    match by {
        AbortSource::Analysis => "analysis",
        AbortSource::Command => "command",
        AbortSource::Alert => "alert",
        AbortSource::ProgressDeadline => "progressDeadline",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::resource::ObjectKey;

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::default();
        metrics.count_reconcile("Rollout", "ok");
        metrics.count_verdict(Verdict::Failed);
        metrics.count_verdict(Verdict::Running);
        metrics.set_queue("rollouts", 3, 1, Some(Duration::from_secs(60)));
        metrics.set_queue("analysis_runs", 0, 0, None);
        metrics.count_abort(AbortSource::Command);
        metrics.observe_abort(AbortSource::Command, Duration::from_millis(300));
        metrics.count_write(&Written {
            object: None,
            resource: Resource::HttpRoute,
            key: ObjectKey::new("shop", "checkout"),
            verb: "patch",
            result: "conflict",
        });
        let text = metrics.encode();
        for line in [
            "tidegate_reconciles_total{kind=\"Rollout\",result=\"ok\"} 1",
            "tidegate_writes_total{kind=\"HTTPRoute\",verb=\"patch\",result=\"conflict\"} 1",
            "tidegate_verdicts_total{verdict=\"Failed\"} 1",
            "tidegate_queue_waiting{queue=\"rollouts\"} 3",
            "tidegate_queue_oldest_seconds{queue=\"rollouts\"} 60.",
            "tidegate_queue_oldest_seconds{queue=\"analysis_runs\"} 0.0",
            "tidegate_aborts_total{by=\"command\"} 1",
            "tidegate_abort_seconds_bucket{le=\"0.25\",by=\"command\"} 0",
            "tidegate_abort_seconds_bucket{le=\"0.5\",by=\"command\"} 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("Running"));
    }
}

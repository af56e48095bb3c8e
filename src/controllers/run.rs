//! The controller at work: watches in, reconciles out, until told to stop.
//!
//! Guarantees: nothing is decided but by the leader, and nothing about a namespace before its essential caches have been
//! listed since it began to lead; a reconcile that panics ends alone and its key is left in peace until its object
//! changes; whatever else ends ends the whole; a stop waits for writes in flight, not longer than [`STOP_WITHIN`]. An API
//! server that is away for however long is waited for.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet};

use super::alert_poll::{AlertPoll, poll};
use super::analysis_run::reconcile_run;
use super::context::{Context, Next};
use super::intake::{Intake, Listed};
use super::lease::campaign::{Campaign, LeaseSettings, Role};
use super::queue::{After, Places, Queue};
use super::recorder::Teller;
use super::rollout::{ReconcileError, reconcile_rollout};
use crate::api::failure::with_causes;
use crate::api::selector::LabelSelector;
use crate::clock::Stopwatch;
use crate::observe::ObserveError;
use crate::observe::stores::{Wake, Work};

pub const STOP_WITHIN: Duration = Duration::from_secs(4);
/// How long what people should hear may hold up a stop.
const TELL_WITHIN: Duration = Duration::from_secs(1);
/// Names the process in what it tells, where it is not elected.
const UNELECTED: &str = "tidegate";
/// What could not be understood changes only with its object, which wakes it.
const UNDERSTOOD_LATER: Duration = Duration::from_secs(300);

const ROLLOUTS: Places = Places {
    total: 16,
    per_namespace: 8,
    urgent: 32,
};
/// Mostly waiting for answers; how many may ask at once is for the provider to limit.
const RUNS: Places = Places {
    total: 1024,
    per_namespace: 256,
    urgent: 0,
};

/// A running controller.
pub struct Handle {
    pub context: Arc<Context>,
    ready: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Handle {
    /// Whether every essential cache has been listed.
    pub fn readiness(&self) -> watch::Receiver<bool> {
        self.ready.clone()
    }

    /// Ends when the controller's own work did, which it never should before [`Handle::stop`]. The error says why, if
    /// there was a panic.
    pub async fn ended(&mut self) -> Result<(), JoinError> {
        (&mut self.task).await
    }

    /// Takes no new work, lets what is in flight finish, and gives up on it after [`STOP_WITHIN`].
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // Whoever has seen it end must not wait for it again.
        if !self.task.is_finished() {
            // It ends by itself; that it panicked is no reason not to stop.
            let _ended = self.task.await;
        }
    }
}

/// What a controller looks after, and whether it must be elected to do so.
#[derive(Clone, Default)]
pub struct Settings {
    /// All of them if none is named.
    pub namespaces: BTreeSet<String>,
    pub selector: LabelSelector,
    /// `None`: there is no other controller, and this one leads.
    pub lease: Option<LeaseSettings>,
    /// Whom to ask for alerts.
    pub alerts: Option<AlertPoll>,
}

pub fn start(mut context: Context, settings: Settings) -> Handle {
    context.selector = settings.selector;
    let context = Arc::new(context);
    let (readiness, ready) = watch::channel(false);
    let (stop, stopped) = watch::channel(false);
    let (rollouts, rollout_wakes) = unbounded_channel();
    let (runs, run_wakes) = unbounded_channel();
    let (lead, role) = watch::channel(Role::Leader { epoch: 0 });
    let (listing, listed) = watch::channel(Listed::default());
    let clock = context.clock.clone();
    let instance = settings
        .lease
        .as_ref()
        .map_or(UNELECTED, |lease| &lease.identity)
        .to_owned();
    let campaign = settings
        .lease
        .map(|lease| Campaign::new(&context.observer.api, clock, lease, lead.clone()));
    if campaign.is_none() {
        context.metrics.set_leader(Some(0));
    }
    let intake = Intake {
        context: Arc::clone(&context),
        namespaces: settings.namespaces,
        role: role.clone(),
        readiness,
        listed: listing,
        rollouts,
        runs,
    };
    let dispatcher = |name, places, wakes| Dispatcher {
        name,
        context: Arc::clone(&context),
        role: role.clone(),
        listed: listed.clone(),
        queue: Queue::new(places),
        wakes,
        stopwatch: Stopwatch::start(),
    };
    let rollouts = dispatcher("rollouts", ROLLOUTS, rollout_wakes);
    let runs = dispatcher("analysis_runs", RUNS, run_wakes);
    let beside = Beside {
        context: Arc::clone(&context),
        instance,
        alerts: settings.alerts,
        role,
    };
    let task = tokio::spawn(async move {
        // Watches end with the intake; reconciles in flight are waited for.
        let mut until = stopped.clone();
        let intake = async {
            tokio::select! {
                () = intake.run() => {}
                _ = until.wait_for(|stop| *stop) => {}
            }
        };
        let work = async {
            let ((), rollouts, runs) = tokio::join!(intake, rollouts.run(stopped.clone()), runs.run(stopped));
            rollouts && runs
        };
        lead_while(campaign, work, beside).await;
    });
    Handle {
        context,
        ready,
        stop,
        task,
    }
}

/// What goes on beside the reconciles.
struct Beside {
    context: Arc<Context>,
    /// Names the process in what it tells.
    instance: String,
    alerts: Option<AlertPoll>,
    role: watch::Receiver<Role>,
}

/// Campaigns, asks for alerts, and tells people what happened, until the work has ended. The lead is given back only if no
/// round was left in flight, because what it wrote may still land. An Event that is cut off may, too: nobody decides on it,
/// and whoever tells it again gives it the same name.
async fn lead_while(mut campaign: Option<Campaign>, work: impl Future<Output = bool>, beside: Beside) {
    let Beside {
        context,
        instance,
        alerts,
        role,
    } = beside;
    let teller = Teller {
        api: &context.observer.api,
        clock: &context.clock,
        metrics: &context.metrics,
        instance: &instance,
    };
    let polling = async {
        match &alerts {
            Some(alerts) => poll(&context, alerts, role).await,
            None => std::future::pending().await,
        }
    };
    let campaigning = async {
        match &mut campaign {
            Some(campaign) => campaign.run(&context.metrics).await,
            None => std::future::pending().await,
        }
    };
    let is_done = tokio::select! {
        is_done = work => is_done,
        never = campaigning => never,
        never = context.recorder.run(&teller) => never,
        never = polling => never,
    };
    if tokio::time::timeout(TELL_WITHIN, context.recorder.flush(&teller))
        .await
        .is_err()
    {
        tracing::warn!("stopped although not everything was told");
    }
    if let Some(campaign) = campaign.filter(|_| is_done) {
        campaign.resign(&context.metrics).await;
    }
}

/// Runs one reconcile per key of one queue.
struct Dispatcher {
    name: &'static str,
    context: Arc<Context>,
    role: watch::Receiver<Role>,
    listed: watch::Receiver<Listed>,
    queue: Queue,
    wakes: UnboundedReceiver<Wake>,
    stopwatch: Stopwatch,
}

impl Dispatcher {
    /// Whether everything that was begun has ended.
    async fn run(mut self, mut stopped: watch::Receiver<bool>) -> bool {
        let mut running: JoinSet<(Work, After)> = JoinSet::new();
        loop {
            let now = self.stopwatch.elapsed();
            let epoch = self.role.borrow().epoch();
            if let Some(epoch) = epoch {
                self.dispatch(&mut running, epoch, now);
            }
            let leads = epoch.is_some();
            let (waiting, quarantined) = (self.queue.waiting(), self.queue.quarantined());
            // Who does not lead has nothing to do, however long it has been due.
            let overdue = self.queue.overdue(now).filter(|_| leads);
            self.context
                .metrics
                .set_queue(self.name, waiting, quarantined, overdue);
            // What is due now waits for a place, which somebody who finishes gives back.
            let due = self.queue.next_due(now).filter(|_| leads);
            let pause = due.map_or(Duration::MAX, |due| {
                due.saturating_sub(now).max(Duration::from_millis(1))
            });
            tokio::select! {
                Some(finished) = running.join_next() => self.finish(finished),
                wake = self.wakes.recv() => match wake {
                    Some(wake) => self.queue.wake(wake, self.stopwatch.elapsed()),
                    None => break,
                },
                () = tokio::time::sleep(pause), if due.is_some() => {}
                Ok(()) = self.role.changed() => {}
                Ok(()) = self.listed.changed() => {}
                _ = stopped.wait_for(|stop| *stop) => break,
            }
        }
        let drained = async { while running.join_next().await.is_some() {} };
        let is_drained = tokio::time::timeout(STOP_WITHIN, drained).await.is_ok();
        if !is_drained {
            tracing::warn!(
                queue = self.name,
                "stopped although reconciles were still in flight"
            );
        }
        is_drained
    }

    fn dispatch(&mut self, running: &mut JoinSet<(Work, After)>, epoch: u64, now: Duration) {
        let listed = self.listed.borrow();
        if listed.epoch != Some(epoch) {
            return;
        }
        while let Some(work) = self.queue.pop(now, |namespace| listed.covers(namespace)) {
            let role = self.role.clone();
            let is_urgent = self.queue.is_urgent(&work);
            let context = Arc::clone(&self.context);
            running.spawn(async move {
                let urgency = context.observer.api.urgency().clone();
                let round = reconcile(context, work, epoch, role);
                if is_urgent {
                    urgency.first(round).await
                } else {
                    round.await
                }
            });
        }
    }

    fn finish(&mut self, finished: Result<(Work, After), JoinError>) {
        match finished {
            Ok((work, after)) => self.queue.finish(&work, after, self.stopwatch.elapsed()),
            // Panics are caught inside.
            Err(error) => tracing::error!(%error, "a reconcile was cut off"),
        }
    }
}

/// One reconcile and what it means for its key. Never panics. It is cut off when its term is over: what it has observed
/// must not be acted on in another term, when somebody else has led in between.
async fn reconcile(
    context: Arc<Context>,
    work: Work,
    epoch: u64,
    mut role: watch::Receiver<Role>,
) -> (Work, After) {
    let round = async {
        match &work {
            Work::Rollout(key) => reconcile_rollout(&context, key).await,
            Work::Run(key) => reconcile_run(&context, key).await,
        }
    };
    let kind = match work {
        Work::Rollout(_) => "Rollout",
        Work::Run(_) => "AnalysisRun",
    };
    let key = work.key();
    let ended = tokio::select! {
        ended = AssertUnwindSafe(round).catch_unwind() => ended,
        Ok(_) = role.wait_for(|role| role.epoch() != Some(epoch)) => Ok(Err(ReconcileError::CutOff)),
    };
    let after = match ended {
        Ok(Ok(next)) => {
            context.metrics.count_reconcile(kind, "ok");
            after(next, context.clock.now())
        }
        Ok(Err(error)) => {
            context.metrics.count_reconcile(kind, "error");
            context.metrics.count_error(error.category());
            tracing::warn!(kind, %key, error = %with_causes(&error), "round ended by an error");
            match error {
                ReconcileError::Observe(ObserveError::Undecodable { .. }) => After::In(UNDERSTOOD_LATER),
                ReconcileError::CutOff => After::In(Duration::ZERO),
                _ => After::BackOff,
            }
        }
        Err(_) => {
            context.metrics.count_reconcile(kind, "panic");
            tracing::error!(kind, %key, "reconcile panicked; left alone until the object changes");
            After::Quarantine
        }
    };
    (work, after)
}

fn after(next: Next, now: chrono::DateTime<chrono::Utc>) -> After {
    match next {
        Next::OnChange => After::Rest,
        Next::Soon => After::BackOff,
        Next::At(at) => After::In((at - now).to_std().unwrap_or_default()),
    }
}

#[cfg(test)]
pub mod tests {
    use futures::future::{BoxFuture, pending};

    use super::*;
    use crate::api::measure::{MeasureTask, Outcome};
    use crate::api::resource::ObjectKey;
    use crate::client::Api;
    use crate::clock::Clock;
    use crate::providers::Provider;

    struct Silent;

    impl Provider for Silent {
        fn measure<'a>(
            &'a self,
            _: &'a MeasureTask,
            _: chrono::DateTime<chrono::Utc>,
        ) -> BoxFuture<'a, Outcome> {
            Box::pin(pending())
        }
    }

    /// An API server that never answers.
    pub fn context() -> Context {
        let service = tower::service_fn(|_: http::Request<kube::client::Body>| {
            pending::<Result<http::Response<kube::client::Body>, std::io::Error>>()
        });
        let api = Api::new(kube::Client::new(service, "default"));
        Context::new(api, Clock::System, Arc::new(crate::plan::plan), Arc::new(Silent))
    }

    #[tokio::test]
    async fn a_round_is_cut_off_when_its_term_is_over() {
        for later in [Role::Standby, Role::Leader { epoch: 2 }] {
            let (lead, role) = watch::channel(Role::Leader { epoch: 1 });
            let work = Work::Rollout(ObjectKey::new("shop", "checkout"));
            let round = tokio::spawn(reconcile(Arc::new(context()), work.clone(), 1, role));
            tokio::task::yield_now().await;
            assert!(!round.is_finished());
            lead.send_replace(later);
            assert_eq!(round.await.unwrap(), (work, After::In(Duration::ZERO)));
        }
    }

    #[tokio::test]
    async fn an_end_that_nobody_asked_for_is_told_and_can_still_be_stopped() {
        let mut handle = start(context(), Settings::default());
        handle.task.abort();
        assert!(handle.ended().await.is_err());
        handle.stop().await;
    }
}

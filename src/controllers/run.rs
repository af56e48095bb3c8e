//! The controller at work: watches in, reconciles out, until told to stop.
//!
//! Guarantees: nothing is decided before every essential cache has been listed; a reconcile that panics ends
//! alone and its key is left in peace until its object changes; whatever else ends ends the whole; a stop waits for
//! writes in flight, not longer than [`STOP_WITHIN`]. An API server that is away for however long is waited for.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet};

use super::analysis_run::reconcile_run;
use super::context::{Context, Next};
use super::queue::{After, Places, Queue};
use super::rollout::{ReconcileError, reconcile_rollout};
use super::watch::{ALWAYS, ESSENTIAL, Seen, scopes, watch};
use crate::api::failure::with_causes;
use crate::api::resource::Resource;
use crate::clock::Stopwatch;
use crate::observe::ObserveError;
use crate::observe::stores::{Wake, Work};

pub const STOP_WITHIN: Duration = Duration::from_secs(4);
/// What could not be understood changes only with its object, which wakes it.
const UNDERSTOOD_LATER: Duration = Duration::from_secs(300);

const ROLLOUTS: Places = Places {
    total: 32,
    per_namespace: 16,
};
/// Mostly waiting for answers; how many may ask at once is for the provider to limit.
const RUNS: Places = Places {
    total: 1024,
    per_namespace: 256,
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

/// Starts watching these namespaces, or all of them if none is named.
pub fn start(context: Context, namespaces: BTreeSet<String>) -> Handle {
    let context = Arc::new(context);
    let (readiness, ready) = watch::channel(false);
    let (stop, stopped) = watch::channel(false);
    let (rollouts, rollout_wakes) = unbounded_channel();
    let (runs, run_wakes) = unbounded_channel();
    let intake = Intake {
        context: Arc::clone(&context),
        namespaces,
        readiness,
        rollouts,
        runs,
    };
    let dispatcher = |name, places, wakes| Dispatcher {
        name,
        context: Arc::clone(&context),
        ready: ready.clone(),
        queue: Queue::new(places),
        wakes,
        stopwatch: Stopwatch::start(),
    };
    let rollouts = dispatcher("rollouts", ROLLOUTS, rollout_wakes);
    let runs = dispatcher("analysis_runs", RUNS, run_wakes);
    let task = tokio::spawn(async move {
        // Watches end with the intake; reconciles in flight are waited for.
        let mut until = stopped.clone();
        let intake = async {
            tokio::select! {
                () = intake.run() => {}
                _ = until.wait_for(|stop| *stop) => {}
            }
        };
        tokio::join!(intake, rollouts.run(stopped.clone()), runs.run(stopped));
    });
    Handle {
        context,
        ready,
        stop,
        task,
    }
}

/// Feeds the caches and passes on who must look again.
struct Intake {
    context: Arc<Context>,
    namespaces: BTreeSet<String>,
    readiness: watch::Sender<bool>,
    rollouts: UnboundedSender<Wake>,
    runs: UnboundedSender<Wake>,
}

impl Intake {
    async fn run(self) {
        self.run_over(JoinSet::new()).await;
    }

    /// Ends, and with it the controller, when one of its watches does: a cache that nobody feeds is never noticed.
    async fn run_over(self, mut watches: JoinSet<()>) {
        let (seen, mut events) = unbounded_channel();
        let mut watched = BTreeSet::new();
        for resource in ALWAYS {
            self.begin(&mut watches, &mut watched, resource, &seen);
        }
        let stores = &self.context.observer.stores;
        loop {
            let seen_now = tokio::select! {
                seen = events.recv() => seen,
                () = stores.healed() => {
                    self.pass_on(stores.take_unheard());
                    continue;
                }
                Some(ended) = watches.join_next() => {
                    tracing::error!(?ended, "a watch ended, and the controller with it");
                    return;
                }
            };
            let Some(Seen { resource, event }) = seen_now else {
                return;
            };
            self.pass_on(stores.take(resource, event));
            if resource == Resource::Rollout {
                for named in self.context.observer.stores.named_kinds() {
                    self.begin(&mut watches, &mut watched, named, &seen);
                }
            }
            self.note_readiness();
        }
    }

    fn pass_on(&self, wakes: BTreeSet<Wake>) {
        for wake in wakes {
            let queue = match wake.work {
                Work::Rollout(_) => &self.rollouts,
                Work::Run(_) => &self.runs,
            };
            // Nobody listens any more when the controller stops.
            let _stopping = queue.send(wake);
        }
    }

    fn begin(
        &self,
        watches: &mut JoinSet<()>,
        watched: &mut BTreeSet<Resource>,
        resource: Resource,
        seen: &UnboundedSender<Seen>,
    ) {
        if !watched.insert(resource) {
            return;
        }
        for namespace in scopes(resource, &self.namespaces) {
            let client = self.context.observer.api.client().clone();
            watches.spawn(watch(client, resource, namespace, seen.clone()));
        }
    }

    fn note_readiness(&self) {
        if *self.readiness.borrow() {
            return;
        }
        let stores = &self.context.observer.stores;
        let is_listed = |resource: &Resource| {
            let scopes = scopes(*resource, &self.namespaces);
            scopes
                .iter()
                .all(|namespace| stores.is_synced(*resource, namespace))
        };
        if ESSENTIAL.iter().all(is_listed) {
            tracing::info!("every cache is complete");
            self.readiness.send_replace(true);
        }
    }
}

/// Runs one reconcile per key of one queue.
struct Dispatcher {
    name: &'static str,
    context: Arc<Context>,
    ready: watch::Receiver<bool>,
    queue: Queue,
    wakes: UnboundedReceiver<Wake>,
    stopwatch: Stopwatch,
}

impl Dispatcher {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let mut running: JoinSet<(Work, After)> = JoinSet::new();
        tokio::select! {
            _ = self.ready.wait_for(|ready| *ready) => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        loop {
            let now = self.stopwatch.elapsed();
            self.dispatch(&mut running, now);
            // What is due now waits for a place, which somebody who finishes gives back.
            let due = self.queue.next_due(now);
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
                _ = stopped.wait_for(|stop| *stop) => break,
            }
        }
        let drained = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_WITHIN, drained).await.is_err() {
            tracing::warn!(
                queue = self.name,
                "stopped although reconciles were still in flight"
            );
        }
    }

    fn dispatch(&mut self, running: &mut JoinSet<(Work, After)>, now: Duration) {
        while let Some(work) = self.queue.pop(now) {
            running.spawn(reconcile(Arc::clone(&self.context), work));
        }
        let (waiting, quarantined) = (self.queue.waiting(), self.queue.quarantined());
        self.context.metrics.set_queue(self.name, waiting, quarantined);
    }

    fn finish(&mut self, finished: Result<(Work, After), JoinError>) {
        match finished {
            Ok((work, after)) => self.queue.finish(&work, after, self.stopwatch.elapsed()),
            // Panics are caught inside.
            Err(error) => tracing::error!(%error, "a reconcile was cut off"),
        }
    }
}

/// One reconcile and what it means for its key. Never panics.
async fn reconcile(context: Arc<Context>, work: Work) -> (Work, After) {
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
    let after = match AssertUnwindSafe(round).catch_unwind().await {
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
mod tests {
    use futures::future::{BoxFuture, pending};

    use super::*;
    use crate::api::measure::{MeasureTask, Outcome};
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
    fn context() -> Context {
        let service = tower::service_fn(|_: http::Request<kube::client::Body>| {
            pending::<Result<http::Response<kube::client::Body>, std::io::Error>>()
        });
        let api = Api::new(kube::Client::new(service, "default"));
        Context::new(api, Clock::System, Arc::new(crate::plan::plan), Arc::new(Silent))
    }

    #[tokio::test]
    async fn a_watch_that_ends_ends_the_intake() {
        let (rollouts, _rollout_wakes) = unbounded_channel();
        let (runs, _run_wakes) = unbounded_channel();
        let intake = Intake {
            context: Arc::new(context()),
            namespaces: BTreeSet::new(),
            readiness: watch::channel(false).0,
            rollouts,
            runs,
        };
        let mut watches = JoinSet::new();
        watches.spawn(async { panic!("a bug in a watch") });
        tokio::time::timeout(Duration::from_secs(60), intake.run_over(watches))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn an_end_that_nobody_asked_for_is_told_and_can_still_be_stopped() {
        let mut handle = start(context(), BTreeSet::new());
        handle.task.abort();
        assert!(handle.ended().await.is_err());
        handle.stop().await;
    }
}

//! Feeds the caches and passes on who must look again.
//!
//! Guarantees: whoever begins to lead decides only on caches that were listed anew since, because what it watched
//! before may not show yet what the leader before it wrote last; a namespace that cannot be listed holds up no other;
//! a watch that ends ends the intake, because a cache that nobody feeds is never noticed.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::context::Context;
use super::lease::campaign::Role;
use super::watch::{ALWAYS, ESSENTIAL, Seen, scopes, watch};
use crate::api::resource::Resource;
use crate::observe::cache::CacheEvent;
use crate::observe::stores::{Cause, Wake, Work};

pub struct Intake {
    pub context: Arc<Context>,
    pub namespaces: BTreeSet<String>,
    pub role: watch::Receiver<Role>,
    /// Whether every essential cache has been listed once.
    pub readiness: watch::Sender<bool>,
    pub listed: watch::Sender<Listed>,
    pub rollouts: UnboundedSender<Wake>,
    pub runs: UnboundedSender<Wake>,
}

/// The namespaces whose essential caches have all been listed since an epoch began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    pub epoch: Option<u64>,
    /// The empty one is all of them.
    pub namespaces: BTreeSet<String>,
}

impl Listed {
    pub fn covers(&self, namespace: &str) -> bool {
        self.namespaces.contains("") || self.namespaces.contains(namespace)
    }
}

/// The watches since the last time that everything was listed anew.
#[derive(Default)]
struct Season {
    watches: JoinSet<()>,
    watched: BTreeSet<Resource>,
    listed: BTreeSet<(Resource, String)>,
}

impl Intake {
    pub async fn run(self) {
        let mut role = self.role.clone();
        loop {
            let decided = role.wait_for(|role| *role != Role::Undecided).await;
            let Ok(epoch) = decided.map(|role| role.epoch()) else {
                return;
            };
            if epoch.is_some() {
                self.context.observer.stores.forget_all_but(&ESSENTIAL);
                self.context.postponed.forget_all();
                self.context.recorder.forget_all();
            }
            self.listed.send_replace(Listed {
                epoch,
                ..Listed::default()
            });
            let leads_anew = |role: &Role| role.epoch().is_some() && role.epoch() != epoch;
            tokio::select! {
                () = self.run_over(Season::default()) => return,
                Ok(_) = role.wait_for(leads_anew) => {}
            }
        }
    }

    async fn run_over(&self, mut season: Season) {
        let (seen, mut events) = unbounded_channel();
        for resource in ALWAYS {
            self.begin(&mut season, resource, &seen);
        }
        self.note_progress(&season);
        let stores = &self.context.observer.stores;
        loop {
            let seen_now = tokio::select! {
                seen = events.recv() => seen,
                () = stores.healed() => {
                    self.pass_on(stores.take_unheard());
                    continue;
                }
                Some(ended) = season.watches.join_next() => {
                    tracing::error!(?ended, "a watch ended, and the controller with it");
                    return;
                }
            };
            let Some(Seen { resource, event }) = seen_now else {
                return;
            };
            let listed = match &event {
                CacheEvent::Restarted { namespace, .. } => Some(namespace.clone()),
                _ => None,
            };
            self.pass_on(stores.take(resource, event));
            if resource == Resource::Rollout {
                for named in self.context.observer.stores.named_kinds() {
                    self.begin(&mut season, named, &seen);
                }
            }
            if let Some(namespace) = listed
                && season.listed.insert((resource, namespace))
            {
                self.note_progress(&season);
            }
        }
    }

    fn pass_on(&self, wakes: BTreeSet<Wake>) {
        for wake in wakes {
            if let (Work::Rollout(rollout), true) = (&wake.work, wake.cause.is_itself()) {
                self.context.note_for_alerts(rollout);
            }
            self.wake_runs_of(&wake);
            let queue = match wake.work {
                Work::Rollout(_) => &self.rollouts,
                Work::Run(_) => &self.runs,
            };
            // Nobody listens any more when the controller stops.
            let _stopping = queue.send(wake);
        }
    }

    /// Its runs have been waiting for a Rollout that was not selected until now.
    fn wake_runs_of(&self, wake: &Wake) {
        let Work::Rollout(rollout) = &wake.work else {
            return;
        };
        if self.context.selector.selects_all() || !wake.cause.is_itself() {
            return;
        }
        let stores = &self.context.observer.stores;
        for run in stores.of_rollout(Resource::AnalysisRun, rollout) {
            let wake = Wake {
                work: Work::Run(run),
                cause: Cause::Dependency,
            };
            let _stopping = self.runs.send(wake);
        }
    }

    fn begin(&self, season: &mut Season, resource: Resource, seen: &UnboundedSender<Seen>) {
        if !season.watched.insert(resource) {
            return;
        }
        for namespace in scopes(resource, &self.namespaces) {
            let client = self.context.observer.api.client().clone();
            let rollouts = self.context.selector.clone();
            season
                .watches
                .spawn(watch(client, resource, namespace, rollouts, seen.clone()));
        }
    }

    fn note_progress(&self, season: &Season) {
        let mut unlisted = BTreeSet::new();
        for resource in ESSENTIAL {
            let missing: Vec<String> = scopes(resource, &self.namespaces)
                .into_iter()
                .filter(|namespace| !season.listed.contains(&(resource, namespace.clone())))
                .collect();
            self.context.metrics.set_unlisted(resource, missing.len());
            unlisted.extend(missing);
        }
        let ours = scopes(Resource::Rollout, &self.namespaces).into_iter();
        let namespaces: BTreeSet<String> = ours.filter(|ours| !unlisted.contains(ours)).collect();
        let changed = self.listed.send_if_modified(|listed| {
            let changed = listed.namespaces != namespaces;
            listed.namespaces = namespaces;
            changed
        });
        if changed && unlisted.is_empty() {
            tracing::info!("every cache is complete");
            self.readiness.send_replace(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::run::tests::context;
    use super::*;

    #[tokio::test]
    async fn a_watch_that_ends_ends_the_intake() {
        let (rollouts, _rollout_wakes) = unbounded_channel();
        let (runs, _run_wakes) = unbounded_channel();
        let intake = Intake {
            context: Arc::new(context()),
            namespaces: BTreeSet::new(),
            role: watch::channel(Role::Standby).1,
            readiness: watch::channel(false).0,
            listed: watch::channel(Listed::default()).0,
            rollouts,
            runs,
        };
        let mut season = Season::default();
        season.watches.spawn(async { panic!("a bug in a watch") });
        tokio::time::timeout(Duration::from_secs(60), intake.run_over(season))
            .await
            .unwrap();
    }
}

//! The controller: the very reconcile functions of the product, over caches that the simulation feeds, with requests
//! that stop on their way. It can die at any stop and comes back with nothing but what the API server knows.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use tidegate::api::resource::Resource;
use tidegate::client::Api;
use tidegate::controllers::analysis_run::reconcile_run;
use tidegate::controllers::context::{Context, Next};
use tidegate::controllers::data_planes::DataPlanes;
use tidegate::controllers::rollout::{ReconcileError, reconcile_rollout};
use tidegate::observe::cache::CacheEvent;
use tidegate::observe::stores::Work;
use tidegate::sandbox::api_server::Fault;

use super::brain::{Oracle, Plane, planner};
use super::cluster::WATCHED;
use super::gate::{Point, Stop};
use super::world::World;

/// One process of the controller.
pub struct Controller {
    pub context: Arc<Context>,
    /// How far the events were handed to each cache.
    pub cursors: BTreeMap<Resource, u64>,
    failures: u32,
}

enum End {
    Done(Result<Next, ReconcileError>),
    Crashed,
}

impl World {
    /// A new process: empty caches, listed anew.
    pub fn start_controller(&mut self) {
        let client = kube::Client::new(self.gate.clone(), "default");
        let oracle = Oracle {
            quality: self.rules.quality.clone(),
            shared: Arc::clone(&self.shared),
            trouble: Mutex::new((self.rng.fork(), self.weather.read_fault, false)),
        };
        let planner = planner(Arc::clone(&self.shared), self.sabotage);
        let mut context = Context::new(Api::new(client), self.clock.clone(), planner, Arc::new(oracle));
        context.data_planes = DataPlanes::new(Arc::new(Plane {
            shared: Arc::clone(&self.shared),
        }));
        let mut controller = Controller {
            context: Arc::new(context),
            cursors: BTreeMap::new(),
            failures: 0,
        };
        self.work.clear();
        for resource in WATCHED {
            let (objects, version) = self
                .server
                .inspect(|store| (store.list(resource.kind()), store.version()));
            let objects = objects.iter().map(|object| object.as_ref().clone()).collect();
            let event = CacheEvent::restarted(resource, "", objects);
            let wakes = controller.context.observer.stores.take(resource, event);
            controller.cursors.insert(resource, version);
            for wake in wakes {
                self.wake(wake);
            }
        }
        self.controller = Some(controller);
    }

    pub async fn reconcile(&mut self, work: Work) {
        let Some(controller) = &self.controller else {
            return;
        };
        let context = Arc::clone(&controller.context);
        self.looked_at = self.now();
        if self.scenario.asked {
            self.answer_for_data_plane();
        }
        let key = work.key().clone();
        let end = match &work {
            Work::Rollout(_) => {
                self.drive(async move { reconcile_rollout(&context, &key).await })
                    .await
            }
            Work::Run(_) => {
                self.drive(async move { reconcile_run(&context, &key).await })
                    .await
            }
        };
        self.take_in();
        self.check_abort();
        let unheard = self
            .controller
            .as_ref()
            .map(|controller| controller.context.observer.stores.take_unheard());
        for wake in unheard.into_iter().flatten() {
            self.wake(wake);
        }
        match end {
            End::Crashed => {
                self.note("the controller crashes");
                let down = self.soon(TimeDelta::seconds(10));
                self.controller = None;
                self.pass(down).await;
                self.start_controller();
            }
            End::Done(result) => self.come_back(work, result),
        }
    }

    /// The question of this round is answered at once, and the answer taken by the next round.
    fn answer_for_data_plane(&mut self) {
        let is_silent = self.rng.chance(self.weather.read_fault);
        let share = self.truth.share_in_effect(self.now());
        self.shared.lock().unwrap().share = share.filter(|_| !is_silent);
    }

    /// Runs a reconcile; at every stop of its requests, time passes and things happen.
    async fn drive(&mut self, round: impl Future<Output = Result<Next, ReconcileError>>) -> End {
        let mut round = pin!(round);
        loop {
            let stop = tokio::select! {
                biased;
                result = &mut round => return End::Done(result),
                stop = self.stops.recv() => stop,
            };
            let Some(stop) = stop else { continue };
            self.take_in();
            if self.failed.is_some() || self.meet(stop).await {
                return End::Crashed;
            }
        }
    }

    /// Lets one request go on; true when the controller dies here.
    async fn meet(&mut self, stop: Stop) -> bool {
        let latency = self.soon(self.weather.call_latency);
        self.pass(latency).await;
        let crash = self.weather.crash / if stop.is_write { 1.0 } else { 10.0 };
        if self.rng.chance(crash) {
            return true;
        }
        let fault = match stop.point {
            Point::Before => self.weather.draw_fault(&mut self.rng, stop.is_write),
            Point::After => Fault::None,
        };
        if fault != Fault::None {
            self.note(&format!("{}: {fault:?}", stop.what));
        }
        if fault == Fault::Hang {
            // As long as a call may take.
            self.pass(TimeDelta::seconds(10)).await;
        }
        // The round may have ended meanwhile.
        let _ = stop.go_on.send(fault);
        false
    }

    fn come_back(&mut self, work: Work, result: Result<Next, ReconcileError>) {
        let now = self.now();
        let Some(controller) = &mut self.controller else {
            return;
        };
        let at = match result {
            Ok(Next::OnChange) => None,
            Ok(Next::At(at)) => Some(at.max(now + TimeDelta::milliseconds(100))),
            Ok(Next::Soon) => Some(now + TimeDelta::milliseconds(100)),
            Err(_) => {
                controller.failures += 1;
                let exponent = controller.failures.min(8);
                Some(now + TimeDelta::milliseconds(100 << exponent))
            }
        };
        if !matches!(at, Some(at) if at > now + TimeDelta::seconds(60))
            && controller.failures > 0
            && self.rng.chance(0.5)
        {
            controller.failures = 0;
        }
        if let Some(at) = at {
            self.work.put(work, at);
        }
    }
}

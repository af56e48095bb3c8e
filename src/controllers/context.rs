//! What a reconcile function is given: where to read and write, what time it is, who decides and who counts.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::alerts::Alerts;
use super::data_planes::DataPlanes;
use super::metrics::Metrics;
use super::recorder::Recorder;
use crate::api::selector::LabelSelector;
use crate::apply::postponed::Postponed;
use crate::apply::{Writer, Written};
use crate::client::Api;
use crate::clock::Clock;
use crate::observe::Observer;
use crate::plan::model::Plan;
use crate::plan::snapshot::Snapshot;
use crate::providers::Provider;

/// Who decides. In production always [`crate::plan::plan`]; a test may put a worse one in its place.
pub type Planner = Arc<dyn Fn(&Snapshot, DateTime<Utc>) -> Plan + Send + Sync>;

pub struct Context {
    pub observer: Observer,
    pub clock: Clock,
    pub planner: Planner,
    pub provider: Arc<dyn Provider>,
    pub data_planes: DataPlanes,
    pub metrics: Arc<Metrics>,
    pub postponed: Postponed,
    pub recorder: Recorder,
    /// Rollouts that this controller looks after; others belong to other controllers.
    pub selector: LabelSelector,
    /// Where alerts are taken; `None`: nowhere.
    pub alerts: Option<Alerts>,
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// When something changes.
    OnChange,
    /// At this time, or when something changes.
    At(DateTime<Utc>),
    /// The world moved under the round: soon.
    Soon,
}

impl Context {
    pub fn new(api: Api, clock: Clock, planner: Planner, provider: Arc<dyn Provider>) -> Self {
        Context {
            observer: Observer::new(api),
            clock,
            planner,
            provider,
            data_planes: DataPlanes::default(),
            metrics: Arc::default(),
            postponed: Postponed::default(),
            recorder: Recorder::default(),
            selector: LabelSelector::default(),
            alerts: None,
        }
    }

    /// Counts writes, and keeps what their answers told: of what is still there the watches will tell the same, later.
    pub fn note_written(&self, writes: &[Written]) {
        for written in writes {
            self.metrics.count_write(written);
            if let Some(object) = &written.object {
                self.observer.note_written(written.resource, &written.key, object);
            }
        }
    }

    pub fn writer(&self) -> Writer<'_> {
        Writer {
            api: &self.observer.api,
            own: &self.observer.own,
        }
    }
}

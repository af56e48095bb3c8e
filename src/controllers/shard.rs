//! Which Rollouts are ours, where several controllers divide a cluster by a label selector.
//!
//! Guarantees: nothing is written to a Rollout that is not selected, to what belongs to it, or to what is asked of it.
//! Assumes that the selectors of two controllers select no Rollout in common.

use serde_json::Value;

use super::context::Context;
use super::rollout::ReconcileError;
use crate::api::names::ROLLOUT_LABEL;
use crate::api::resource::{ObjectKey, Resource};
use crate::observe::ObserveError;
use crate::observe::stores::is_open;

impl Context {
    /// Whether a Rollout that somebody woke us for belongs to another controller. One that is not in the cache is asked
    /// for only if there is a command for it: if there is no such Rollout at all, somebody must say so.
    pub async fn is_of_others(&self, rollout: &ObjectKey) -> Result<bool, ReconcileError> {
        if self.selector.selects_all() || self.knows(rollout) {
            return Ok(false);
        }
        let stores = &self.observer.stores;
        let mut commands = stores.of_rollout(Resource::RolloutCommand, rollout).into_iter();
        let asks = |key: ObjectKey| {
            let command = stores.get(Resource::RolloutCommand, &key);
            command.is_some_and(|command| is_open(&command))
        };
        if !commands.any(asks) {
            return Ok(true);
        }
        let live = self.observer.api.get(Resource::Rollout, rollout).await;
        let live = live.map_err(|source| ObserveError::Read {
            resource: Resource::Rollout,
            key: rollout.clone(),
            source,
        })?;
        Ok(live.is_some_and(|rollout| !self.selector.matches(&rollout)))
    }

    /// A run is of the controller that has its Rollout.
    pub fn is_run_of_others(&self, run: &Value) -> bool {
        if self.selector.selects_all() {
            return false;
        }
        let labels = run.pointer("/metadata/labels");
        let rollout = labels.and_then(|labels| labels.get(ROLLOUT_LABEL)?.as_str());
        let namespace = ObjectKey::of(run).map(|key| key.namespace).unwrap_or_default();
        !rollout.is_some_and(|name| self.knows(&ObjectKey::new(namespace, name)))
    }

    fn knows(&self, rollout: &ObjectKey) -> bool {
        self.observer.stores.get(Resource::Rollout, rollout).is_some()
    }
}

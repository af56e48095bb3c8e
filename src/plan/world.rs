//! One Rollout as the planner sees it: the snapshot, the validated spec, the status persisted so far and `now`.
//! Every decision reads from here; nothing here decides.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use crate::api::names::{PodTemplateHash, StepIndex, Weight};
use crate::api::rollout_status::{FastTrack, Promotion, RolloutStatus, RoutingInUse};
use crate::plan::replicas::pods_for_share;
use crate::plan::revision::{hash_template, replica_set_name};
use crate::plan::snapshot::{ReplicaSetSeen, ServiceSeen, Snapshot};
use crate::plan::validate::valid::{Budgets, CanaryScale, Step, Threshold, ValidRollout};

pub struct World<'a> {
    pub snapshot: &'a Snapshot,
    pub spec: &'a ValidRollout,
    /// As the last round left it; the new status is a value of its own.
    pub status: RolloutStatus,
    /// As persisted, where that says less.
    written: Option<RolloutStatus>,
    /// Hash of `spec.template`.
    pub current: PodTemplateHash,
    /// `spec.replicas`, or the live number where there is none.
    pub replicas: i64,
    pub now: DateTime<Utc>,
}

impl<'a> World<'a> {
    pub fn new(snapshot: &'a Snapshot, spec: &'a ValidRollout, now: DateTime<Utc>) -> Self {
        let written: RolloutStatus = snapshot
            .rollout
            .get("status")
            .and_then(|status| RolloutStatus::deserialize(status).ok())
            .unwrap_or_default();
        let (status, written) = match &snapshot.unwritten {
            Some(unwritten) => (unwritten.status.clone(), Some(written)),
            None => (written, None),
        };
        let current = hash_template(&spec.template);
        let mut world = World {
            snapshot,
            spec,
            status,
            written,
            current,
            replicas: 0,
            now,
        };
        world.replicas = spec.replicas.unwrap_or_else(|| world.live_replicas());
        world
    }

    /// The same world once `status` is decided.
    pub fn with_status(&self, status: RolloutStatus) -> Self {
        World {
            snapshot: self.snapshot,
            spec: self.spec,
            status,
            written: Some(self.written().clone()),
            current: self.current.clone(),
            replicas: self.replicas,
            now: self.now,
        }
    }

    /// The promotion is at `stage` by what is seen. No decision: the next round would find out the same.
    pub fn take_in_promotion(&mut self, stage: Option<Promotion>) {
        if self.status.promotion == stage {
            return;
        }
        self.written.get_or_insert_with(|| self.status.clone());
        self.status.promotion = stage;
        self.status.last_progress_at = Some(self.now);
    }

    /// The status as persisted: all that is left after a crash.
    pub fn written(&self) -> &RolloutStatus {
        self.written.as_ref().unwrap_or(&self.status)
    }

    /// Without `spec.replicas` the last number stands, else the live one; it never falls back to 1 while pods run.
    /// A release makes stable smaller by itself, so its size says nothing then.
    fn live_replicas(&self) -> i64 {
        if let Some(kept) = self.status.wanted_replicas {
            return kept;
        }
        self.stable_set()
            .or_else(|| self.set(&self.current))
            .map_or(1, |set| set.replicas)
            .max(self.snapshot.replica_sets.is_empty().into())
    }

    pub fn set(&self, hash: &PodTemplateHash) -> Option<&'a ReplicaSetSeen> {
        self.snapshot
            .replica_sets
            .values()
            .find(|set| set.owned && !set.deleting && set.hash == *hash)
    }

    pub fn stable(&self) -> Option<&PodTemplateHash> {
        self.status.stable_rs.as_ref()
    }

    pub fn stable_set(&self) -> Option<&'a ReplicaSetSeen> {
        self.stable().and_then(|hash| self.set(hash))
    }

    /// What to do when somebody has deleted stable's ReplicaSet: its template is nowhere but with the user.
    pub fn lost_stable(&self) -> Option<String> {
        let lost = self
            .stable()
            .filter(|_| self.in_release() && self.stable_set().is_none())?;
        Some(format!(
            "ReplicaSet {} of the stable version, which is gone; apply the stable version's template again to bring it \
             back, or use retry and promote --full to release the current version",
            replica_set_name(&self.spec.name, lost)
        ))
    }

    /// ReplicaSets of versions that are neither current nor stable.
    pub fn older_sets(&self) -> impl Iterator<Item = &'a ReplicaSetSeen> {
        self.snapshot.replica_sets.values().filter(move |set| {
            set.owned && !set.deleting && set.hash != self.current && Some(&set.hash) != self.stable()
        })
    }

    /// Until when the pods of a version are kept that no traffic reaches any more.
    pub fn kept_until(&self, hash: &PodTemplateHash) -> Option<DateTime<Utc>> {
        self.status.kept_until.get(hash).copied()
    }

    /// Available pods of a version, not counting what is about to go.
    pub fn steady(&self, hash: &PodTemplateHash) -> i64 {
        self.set(hash).map_or(0, ReplicaSetSeen::steady)
    }

    /// Whether [`World::steady`] can be relied on when traffic is to come or pods are to go: a size that has just
    /// been changed may have cost pods that are still counted.
    pub fn caught_up(&self, hash: &PodTemplateHash) -> bool {
        self.set(hash).is_none_or(|set| set.caught_up)
    }

    /// The status speaks of the template in the spec; otherwise a new revision is about to begin.
    pub fn is_current_known(&self) -> bool {
        self.status.current_pod_hash.as_ref() == Some(&self.current)
    }

    /// A version other than stable is being released (or was, and was aborted).
    pub fn in_release(&self) -> bool {
        self.status.is_in_release(Some(&self.current))
    }

    pub fn is_first_deploy(&self) -> bool {
        self.stable().is_none()
    }

    pub fn aborted(&self) -> bool {
        self.status.abort && self.is_current_known()
    }

    pub fn max_weight(&self) -> Weight {
        self.spec.canary.max_weight
    }

    pub fn budgets(&self) -> Budgets {
        self.spec.canary.resolve_budgets(self.replicas)
    }

    pub fn steps(&self) -> &'a [Step] {
        &self.spec.canary.steps
    }

    pub fn step_index(&self) -> StepIndex {
        let count = StepIndex(u32::try_from(self.steps().len()).unwrap_or(u32::MAX));
        self.status.current_step_index.unwrap_or_default().min(count)
    }

    pub fn current_step(&self) -> Option<&'a Step> {
        self.steps().get(self.step_index().as_usize())
    }

    pub fn steps_done(&self) -> bool {
        self.current_step().is_none()
    }

    /// Steps and analyses do not apply to this revision.
    pub fn fast_tracked(&self) -> bool {
        self.status.fast_track.is_some()
    }

    /// The weight that the steps ask for by now, whatever can be reached: 0 when aborted, going back or at the
    /// first deploy, `maxTrafficWeight` after the last step, else the last `setWeight` at or before the index.
    pub fn intended_weight(&self) -> Weight {
        if self.aborted() || !self.in_release() || !self.is_current_known() || self.replicas == 0 {
            return Weight::ZERO;
        }
        match self.status.promotion {
            Some(Promotion::FullWeight | Promotion::StableService) => return self.max_weight(),
            Some(Promotion::WeightToStable | Promotion::Bake) => return Weight::ZERO,
            None if self.steps_done() => return self.max_weight(),
            None => {}
        }
        let reached = self.steps().iter().take(self.step_index().as_usize() + 1);
        reached
            .filter_map(|step| match step {
                Step::SetWeight(weight) => Some(*weight),
                _ => None,
            })
            .next_back()
            .unwrap_or(Weight::ZERO)
    }

    /// Pods the canary should have by the steps. `setCanaryScale` never makes it smaller than its weight needs.
    pub fn intended_canary_size(&self) -> i64 {
        if self.status.promotion.is_some() || self.steps_done() {
            return self.replicas;
        }
        let reached = self.steps().iter().take(self.step_index().as_usize() + 1);
        let scale = reached
            .filter_map(|step| match step {
                Step::SetCanaryScale(scale) => Some(*scale),
                _ => None,
            })
            .next_back();
        let by_weight = pods_for_share(self.replicas, self.intended_weight(), self.max_weight());
        let size = match scale {
            Some(CanaryScale::Replicas(replicas)) => return replicas.max(by_weight),
            Some(CanaryScale::Weight(weight)) => {
                pods_for_share(self.replicas, weight, self.max_weight()).max(by_weight)
            }
            Some(CanaryScale::MatchTrafficWeight) | None => by_weight,
        };
        let smallest = self
            .spec
            .canary
            .routing
            .as_ref()
            .map_or(1, |routing| routing.min_pods);
        if size == 0 {
            0
        } else {
            size.max(smallest.min(self.replicas))
        }
    }

    /// How many of `size` pods must be available before a step may go on.
    pub fn enough_of(&self, size: i64) -> i64 {
        match self.spec.canary.replica_progress_threshold {
            None => size,
            Some(Threshold::Pods(pods)) => pods.min(size),
            Some(Threshold::Percent(percent)) => pods_for_share(size, Weight(percent), Weight(100)),
        }
    }

    /// `dynamicStableScale`: stable gives up the pods that its weight no longer needs.
    pub fn shrinks_stable(&self) -> bool {
        let routing = self.spec.canary.routing.as_ref();
        routing.is_some_and(|routing| routing.dynamic_stable_scale)
    }

    pub fn service(&self, name: &str) -> Option<&'a ServiceSeen> {
        self.snapshot.services.get(name).and_then(Option::as_ref)
    }

    pub fn spec_paused(&self) -> bool {
        self.spec.paused
    }

    /// The routing that the spec asks for, as the routers take it.
    pub fn wanted_routing(&self) -> Option<&'a RoutingInUse> {
        Some(&self.spec.canary.routing.as_ref()?.wanted)
    }

    pub fn finalizers(&self) -> Option<&Vec<Value>> {
        self.snapshot.rollout.pointer("/metadata/finalizers")?.as_array()
    }

    pub fn is_deleting(&self) -> bool {
        self.snapshot
            .rollout
            .pointer("/metadata/deletionTimestamp")
            .is_some()
    }

    /// Everything is skipped because nothing needs to be proven: the old version comes back.
    pub fn is_rollback(&self) -> bool {
        self.status.fast_track == Some(FastTrack::Rollback)
    }
}

//! What would hold a release, found out before there is one: for whoever has the manifests and no cluster.

use chrono::DateTime;

use crate::api::names::{PodTemplateHash, StepIndex};
use crate::api::rollout_status::RolloutStatus;
use crate::plan::gate::find_unjudgeable;
use crate::plan::reference::{Problem, find_problems};
use crate::plan::snapshot::Snapshot;
use crate::plan::traffic::observe_traffic;
use crate::plan::validate::validate_rollout;
use crate::plan::world::World;

/// As the controller would see it at the first step of a release of this version. What the snapshot does not hold is
/// not known, and nothing is said of it but that a template is missing; nothing either of a spec that is not valid.
pub fn find_obstacles(snapshot: &Snapshot) -> Vec<Problem> {
    let Ok(spec) = validate_rollout(&snapshot.rollout) else {
        return Vec::new();
    };
    let world = World::new(snapshot, &spec, DateTime::UNIX_EPOCH);
    let released = world.with_status(RolloutStatus {
        stable_rs: Some(PodTemplateHash("stable".to_owned())),
        current_pod_hash: Some(world.current.clone()),
        current_step_index: Some(StepIndex(0)),
        ..RolloutStatus::default()
    });
    let traffic = observe_traffic(&released);
    [
        find_problems(&released, traffic.as_ref()),
        find_unjudgeable(&released),
    ]
    .concat()
}

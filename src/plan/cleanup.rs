//! What is kept and what goes: idle ReplicaSets beyond `revisionHistoryLimit`, finished AnalysisRuns beyond
//! theirs, answered commands beyond the newest 50, and canary Ingresses that nobody knows of any more.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};

use crate::api::analysis_run::{AnalysisRun, Verdict};
use crate::api::resource::metadata_text;
use crate::api::time::from_meta;
use crate::plan::command::expire_commands;
use crate::plan::effect::route_write;
use crate::plan::gate::precondition_of;
use crate::plan::model::{Action, Kind, Target, Write};
use crate::plan::snapshot::ReplicaSetSeen;
use crate::plan::world::World;
use crate::routers::{self, RouteWrite};

/// `unrouted`: nothing is in progress, and neither spec nor status knows of routing.
pub fn plan_cleanup(world: &World, unrouted: bool) -> Vec<Write> {
    let (mut writes, kept) = old_replica_sets(world);
    if unrouted {
        writes.extend(left_canaries(world));
    }
    writes.extend(old_runs(world, &kept));
    writes.extend(expire_commands(world));
    writes
}

/// Canary Ingresses of ours although no routing is known: the status was lost before they could be taken back.
fn left_canaries(world: &World) -> impl Iterator<Item = Write> {
    let routes = &world.snapshot.routes;
    let is_going = |write: &RouteWrite| {
        let ingress = routes.ingresses.get(write.name()).and_then(Option::as_ref);
        ingress.is_some_and(|ingress| metadata_text(ingress, "deletionTimestamp").is_some())
    };
    let writes = routers::remove_canaries(&world.spec.uid, &world.spec.name, routes);
    let writes = writes.into_iter().filter(move |write| !is_going(write));
    writes.map(|write| route_write(write, "no routing is known that it could be of"))
}

/// Deletes of the oldest idle ReplicaSets, and the hashes that stay.
fn old_replica_sets(world: &World) -> (Vec<Write>, Vec<String>) {
    let mut idle: Vec<&ReplicaSetSeen> = world
        .older_sets()
        .filter(|set| set.replicas == 0 && set.running == 0)
        .collect();
    idle.sort_by_key(|set| Reverse((set.revision, set.created_at, set.name.clone())));
    let old: Vec<&ReplicaSetSeen> = idle.into_iter().skip(world.spec.revision_history_limit).collect();
    let stays = world
        .snapshot
        .replica_sets
        .values()
        .filter(|set| old.iter().all(|gone| gone.name != set.name));
    let kept = stays.map(|set| set.hash.to_string()).collect();
    let writes = old.into_iter().map(|set| Write {
        target: Target {
            kind: Kind::ReplicaSet,
            name: set.name.clone(),
        },
        action: Action::Delete {
            precondition: set.precondition(),
        },
        reason: "beyond revisionHistoryLimit".to_owned(),
    });
    (writes.collect(), kept)
}

/// Finished runs beyond the limits, and those of versions that are gone. Runs of this release stay.
fn old_runs(world: &World, kept_hashes: &[String]) -> Vec<Write> {
    let finished = world
        .snapshot
        .runs
        .iter()
        .filter(|(_, run)| is_ours(world, run) && phase(run).is_final());
    let (mut good, mut bad): (Vec<_>, Vec<_>) =
        finished.partition(|(_, run)| phase(run) == Verdict::Successful);
    let newest_first = |run: &(&String, &AnalysisRun)| Reverse((completed_at(run.1), run.0.clone()));
    good.sort_by_key(newest_first);
    bad.sort_by_key(newest_first);
    let limits = [
        (good, world.spec.successful_run_history_limit),
        (bad, world.spec.unsuccessful_run_history_limit),
    ];
    let mut writes = Vec::new();
    for (runs, limit) in limits {
        for (index, (name, run)) in runs.into_iter().enumerate() {
            let hash = run
                .spec
                .gate
                .as_ref()
                .map(|gate| gate.pod_template_hash.as_str())
                .unwrap_or_default();
            let needed = hash == world.current.as_str() && !at_end(world);
            let orphaned = kept_hashes.iter().all(|kept| kept != hash);
            if !needed && (index >= limit || orphaned) {
                writes.push(Write {
                    target: Target {
                        kind: Kind::AnalysisRun,
                        name: name.clone(),
                    },
                    action: Action::Delete {
                        precondition: precondition_of(&run.metadata),
                    },
                    reason: "beyond the limits of spec.analysis".to_owned(),
                });
            }
        }
    }
    writes
}

fn at_end(world: &World) -> bool {
    !world.in_release()
}

fn is_ours(world: &World, run: &AnalysisRun) -> bool {
    run.spec
        .gate
        .as_ref()
        .is_some_and(|gate| gate.rollout_uid == world.spec.uid)
}

fn phase(run: &AnalysisRun) -> Verdict {
    run.status
        .as_ref()
        .map_or(Verdict::Pending, |status| status.phase)
}

fn completed_at(run: &AnalysisRun) -> Option<DateTime<Utc>> {
    let completed = run.status.as_ref().and_then(|status| status.completed_at);
    completed.or_else(|| run.metadata.creation_timestamp.as_ref().map(from_meta))
}

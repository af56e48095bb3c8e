//! Effects: the writes that bring the cluster to what the persisted status asks for, in ordered stages. One change
//! of the traffic comes before what might be refused, and so does the growth that the next one waits for: a ReplicaSet
//! that nobody admits never keeps traffic from going back. Shrinking comes last, and only in a round without such a
//! change.

use serde_json::json;

use crate::api::names::{FINALIZER, HASH_LABEL, MANAGED_BY_ANNOTATION, PodTemplateHash, Weight};
use crate::api::patch::{PatchOp, pointer};
use crate::api::resource::metadata_text;
use crate::api::rollout_status::{TrafficSplit, WaitingReason};
use crate::plan::gate::{OpenGate, plan_runs, unobserved};
use crate::plan::model::{
    Action, CREATE, GROW, Kind, Precondition, SHIFT, SHRINK, SIZE, Stage, Target, Write,
};
use crate::plan::postpone::is_on_record;
use crate::plan::revision::{render_replica_set, replica_set_name};
use crate::plan::scale::Sizes;
use crate::plan::shift::{Shift, canary_is_dead, find_goal, next_shift, split_after};
use crate::plan::snapshot::ServiceSeen;
use crate::plan::traffic::{Backend, Traffic};
use crate::plan::wait::Wait;
use crate::plan::world::World;
use crate::routers::{self, RouteKind, RouteWrite};

/// A foreign change is put back so often within [`CONTENTION_SECONDS`]; then it is left alone for that long.
const REVERTS_ALLOWED: usize = 3;
const CONTENTION_SECONDS: i64 = 60;
/// Changes that come closer together count as one.
const AT_ONCE: chrono::Duration = chrono::Duration::seconds(1);

/// Stages and what stands in the way of more.
#[derive(Default)]
pub struct Effects {
    pub stages: Vec<Stage>,
    pub waits: Vec<Wait>,
    /// Why the first analysis that should run cannot be made, for the condition `Valid`.
    pub invalid_analysis: Option<&'static str>,
    /// A foreign change was put back.
    pub reverted: bool,
    /// The status must tell at once what may be in effect now: a change of the traffic waits for it, or was too urgent to.
    pub record_now: bool,
}

/// `traffic` is brought up to what is about to be written.
pub fn plan_effects(
    world: &World,
    traffic: Option<&mut Traffic>,
    sizes: &Sizes,
    gates: &[OpenGate],
) -> Effects {
    let mut effects = Effects::default();
    let (growing, shrinking) = sizes.writes(world);
    let (runs, blocked) = plan_runs(world, gates);
    let held: Vec<Write> = finalizer(world).into_iter().collect();
    let is_held = held.is_empty();
    effects.stage("hold on to the Rollout", held);
    let shifted = match traffic {
        Some(traffic) => shift_traffic(world, traffic, gates, &mut effects),
        None => move_plain_services(world, &mut effects),
    };
    effects.stage(GROW, growing);
    effects.stage(
        CREATE,
        create(world, sizes.first_replicas)
            .into_iter()
            .chain(runs)
            .collect(),
    );
    // One write of the Rollout makes the version that another was decided on an old one.
    effects.stage(SIZE, size(world).into_iter().filter(|_| is_held).collect());
    effects.invalid_analysis = blocked.first().map(|problem| problem.reason);
    let blocked = blocked
        .into_iter()
        .map(|problem| Wait::on(WaitingReason::Invalid, problem.text));
    effects.waits.splice(0..0, blocked);
    if !shifted {
        effects.stage(SHRINK, shrinking);
    }
    effects.waits.extend(sizes.waits.iter().cloned());
    effects
}

/// What goes on while something must be mended first: stable keeps its size, and traffic leaves a canary that
/// nobody serves or that is not meant to have it.
pub fn plan_rescue(world: &World, traffic: Option<&mut Traffic>, sizes: &Sizes) -> Effects {
    let mut effects = Effects::default();
    if let Some(traffic) = traffic {
        let lowers = matches!(
            next_shift(world, traffic),
            Ok(Some(Shift::Weight(weight))) if weight < traffic.seen_weight()
        );
        if lowers {
            shift_traffic(world, traffic, &[], &mut effects);
        }
    }
    let stable = sizes
        .sizes
        .iter()
        .filter(|size| Some(&size.set.hash) == world.stable());
    let growing = stable.filter(|size| size.replicas > size.set.replicas);
    let writes = growing.filter_map(|size| size.write(world)).collect();
    effects.stage("keep stable at its size", writes);
    effects
}

/// Our finalizer, before there is anything to be taken back.
fn finalizer(world: &World) -> Option<Write> {
    let canary = &world.spec.canary;
    let names_service = canary.stable_service.is_some() || canary.canary_service.is_some();
    let leaves_marks = names_service || world.status.canary.routing.is_some();
    let finalizers = world.finalizers();
    let has_finalizer = finalizers.is_some_and(|list| list.iter().any(|name| name == FINALIZER));
    if !leaves_marks || has_finalizer || world.is_deleting() {
        return None;
    }
    let op = match finalizers {
        Some(_) => PatchOp::add("/metadata/finalizers/-", FINALIZER),
        None => PatchOp::add("/metadata/finalizers", json!([FINALIZER])),
    };
    let reason = "routes and Services are given back before it goes";
    Some(patch_rollout(world, vec![op], reason))
}

/// The scale subresource of a Rollout without a size answers nobody, so that no autoscaler could begin.
fn size(world: &World) -> Option<Write> {
    let is_missing = world.spec.replicas.is_none() && !world.is_deleting();
    let op = PatchOp::add("/spec/replicas", world.replicas);
    is_missing.then(|| patch_rollout(world, vec![op], "an autoscaler finds the size it has"))
}

/// The ReplicaSet of the current version, with its first pods. A Rollout that goes makes nothing new: where its pods are to
/// stay, its ReplicaSets are its own no more.
fn create(world: &World, replicas: i64) -> Option<Write> {
    let wanted = world.is_current_known() && !world.aborted() && !world.is_deleting();
    let missing = wanted && world.set(&world.current).is_none();
    let revision = world.status.revision.unwrap_or_default();
    missing.then(|| Write {
        target: Target {
            kind: Kind::ReplicaSet,
            name: replica_set_name(&world.spec.name, &world.current),
        },
        action: Action::Create {
            object: render_replica_set(world.spec, &world.current, revision, replicas),
        },
        reason: format!("revision {revision} has no ReplicaSet yet"),
    })
}

/// A patch of the Rollout itself.
pub fn patch_rollout(world: &World, ops: Vec<PatchOp>, reason: &str) -> Write {
    let text = |field| {
        let value = metadata_text(&world.snapshot.rollout, field);
        value.unwrap_or_default().to_owned()
    };
    Write {
        target: Target {
            kind: Kind::Rollout,
            name: world.spec.name.clone(),
        },
        action: Action::Patch {
            precondition: Precondition {
                uid: text("uid"),
                resource_version: text("resourceVersion"),
            },
            subresource: None,
            ops,
        },
        reason: reason.to_owned(),
    }
}

/// The next change of the traffic. Nobody gets more while nobody looks.
fn next_observed_shift(world: &World, traffic: &Traffic, gates: &[OpenGate]) -> Result<Option<Shift>, Wait> {
    let shift = next_shift(world, traffic)?;
    match shift {
        Some(Shift::Weight(weight)) if weight > traffic.seen_weight() => {
            unobserved(world, gates).map_or(Ok(shift), Err)
        }
        shift => Ok(shift),
    }
}

/// One change of the traffic, if one is due; true when something is written.
fn shift_traffic(world: &World, traffic: &mut Traffic, gates: &[OpenGate], effects: &mut Effects) -> bool {
    let shift = next_observed_shift(world, traffic, gates).unwrap_or_else(|wait| {
        effects.waits.push(wait);
        None
    });
    let split = shift
        .as_ref()
        .map_or_else(|| traffic.newest(), |shift| split_after(traffic, shift));
    let writes = match &shift {
        Some(Shift::Selector { backend, hash }) => {
            let service = world.service(traffic.service_name(*backend));
            service
                .and_then(|service| select_version(world, service, hash))
                .into_iter()
                .collect()
        }
        // Whatever the canary Service selects, or if it is gone: it is to get nothing.
        Some(Shift::Weight(Weight::ZERO)) => render_routes(world, traffic, &split),
        // Held weights are rendered too, so that everything else about the routes stays right.
        Some(Shift::Weight(_)) | None if traffic.weights.canary.pod_template_hash.is_empty() => Vec::new(),
        // Routes to be given back are not set up again.
        None if traffic.retiring && split.canary_weight == Weight::ZERO => Vec::new(),
        None if traffic.is_shown_in_full() => Vec::new(),
        // What was written in part goes on when the release does.
        // What an abort has lowered in part is not raised again while the rest has to wait.
        None if (world.spec_paused() || world.aborted()) && traffic.is_mixed() => Vec::new(),
        Some(Shift::Weight(_)) | None => render_routes(world, traffic, &split),
    };
    if writes.is_empty() {
        return false;
    }
    let contended = still_contended(world);
    let moves = shift.is_some() || writes.iter().any(sets_weight);
    let goes_back =
        world.aborted() || world.is_rollback() || world.is_deleting() || canary_is_dead(world, traffic);
    let urgent = moves && goes_back;
    if (contended.is_some() || is_foreign_change(world, traffic, shift.as_ref(), &writes)) && !urgent {
        if let Some(wait) = contended.or_else(|| contention(world, traffic, &split, &writes)) {
            effects.waits.insert(0, wait);
            return false;
        }
        effects.reverted = true;
    } else if !is_on_record(world, traffic, &split) {
        effects.record_now = true;
        // A Rollout that goes is in no hurry that could not wait for a moment.
        if !urgent || world.is_deleting() {
            return false;
        }
    }
    traffic.record_change(split);
    effects.stage(SHIFT, writes);
    true
}

fn render_routes(world: &World, traffic: &Traffic, split: &TrafficSplit) -> Vec<Write> {
    let target = traffic.target(world, split.canary_weight);
    let writes = routers::render(&target, &traffic.routing.traffic_routing, traffic.routes());
    let reason = format!("canary weight {} of {}", split.canary_weight, traffic.max);
    writes
        .into_iter()
        .map(|write| route_write(write, &reason))
        .collect()
}

/// The routes show a weight that is neither the one we recorded nor the one we want. Or, while no other is written, a
/// weight that was seen in place has to be written again, or something else of the routes before they have settled.
fn is_foreign_change(world: &World, traffic: &Traffic, shift: Option<&Shift>, writes: &[Write]) -> bool {
    let Some(recorded) = &world.status.canary.weights else {
        return false;
    };
    let (before, seen) = (recorded.canary.weight, traffic.seen_weight());
    let is_other = seen != before && seen != find_goal(world, traffic).weight;
    let was_in_place = recorded.since.is_some();
    let is_repaired = match writes.iter().any(sets_weight) {
        true => was_in_place,
        // Perhaps the canary's Ingress follows the stable one, whose edits come far apart or all at once.
        false => !recorded.verified && !was_just_reverted(world),
    };
    is_other || shift.is_none() && is_repaired
}

/// Else it makes a canary Ingress again what its stable one says.
fn sets_weight(write: &Write) -> bool {
    match (&write.action, write.target.kind) {
        (Action::Patch { ops, .. }, Kind::Ingress) => {
            let is_of_canary = |path: &str| path == "/metadata/annotations" || path.contains("~1canary");
            ops.iter().any(|op| is_of_canary(op.path()))
        }
        (_, kind) => matches!(kind, Kind::Ingress | Kind::HttpRoute),
    }
}

fn was_just_reverted(world: &World) -> bool {
    let reverts = &world.status.canary.route_reverts;
    reverts.last().is_some_and(|at| *at + AT_ONCE > world.now)
}

/// What was seen in a round that left the weights alone is recorded by now, and looks foreign no more.
fn still_contended(world: &World) -> Option<Wait> {
    let waiting = world.status.waiting_on.as_ref();
    let waiting = waiting.filter(|waiting| waiting.reason == WaitingReason::RouteContended)?;
    let until = waiting.until.filter(|until| *until > world.now)?;
    Some(Wait::until(waiting.reason, waiting.message.clone(), until))
}

/// Too many reverts in the last minute: the weights are left alone until it is over.
fn contention(world: &World, traffic: &Traffic, split: &TrafficSplit, writes: &[Write]) -> Option<Wait> {
    let minute = chrono::Duration::seconds(CONTENTION_SECONDS);
    let recent = world
        .status
        .canary
        .route_reverts
        .iter()
        .filter(|at| **at + minute > world.now);
    let recent: Vec<_> = recent.collect();
    let oldest = recent.first().filter(|_| recent.len() >= REVERTS_ALLOWED)?;
    let names: Vec<String> = writes.iter().map(|write| write.target.to_string()).collect();
    let message = format!(
        "somebody keeps changing {}, or what it is made from; by it Service {} is to have weight {} of {}",
        names.join(", "),
        traffic.service_name(Backend::Canary),
        split.canary_weight,
        traffic.max
    );
    Some(Wait::until(
        WaitingReason::RouteContended,
        message,
        **oldest + minute,
    ))
}

pub fn route_write(write: RouteWrite, reason: &str) -> Write {
    let kind = match write.kind() {
        RouteKind::Ingress => Kind::Ingress,
        RouteKind::HttpRoute => Kind::HttpRoute,
    };
    let name = write.name().to_owned();
    let action = match write {
        RouteWrite::Create { object, .. } => Action::Create { object },
        RouteWrite::Patch {
            uid,
            resource_version,
            ops,
            ..
        } => Action::Patch {
            precondition: Precondition {
                uid,
                resource_version,
            },
            subresource: None,
            ops,
        },
        RouteWrite::Delete {
            uid,
            resource_version,
            ..
        } => Action::Delete {
            precondition: Precondition {
                uid,
                resource_version,
            },
        },
    };
    Write {
        target: Target { kind, name },
        action,
        reason: reason.to_owned(),
    }
}

/// Without traffic routing the pods are the traffic. During a release the stable Service selects every version,
/// so that whoever comes through it finds all pods while stable shrinks; it goes back to one version when that
/// can carry everything. The canary Service shows the new version as soon as there is a pod.
fn move_plain_services(world: &World, effects: &mut Effects) -> bool {
    let named = |name: &Option<String>| name.as_deref().and_then(|name| world.service(name));
    let current = &world.current;
    let stable = world.stable().unwrap_or(current);
    let releasing = world.in_release() && !world.aborted() && world.is_current_known();
    let everything = (world.replicas - world.budgets().unavailable).max(1);
    let mut writes = Vec::new();
    if let Some(service) = named(&world.spec.canary.stable_service) {
        let selected = service.selector.get(HASH_LABEL);
        // A first version that another took over from before it was stable.
        let outdated = selected.is_some_and(|hash| hash != stable.as_str());
        if !releasing && world.steady(stable) >= everything {
            writes.extend(select_version(world, service, stable));
        } else if releasing || outdated {
            writes.extend(select_every_version(service));
        }
    }
    let shown = if releasing { current } else { stable };
    if let Some(service) = named(&world.spec.canary.canary_service).filter(|_| world.steady(shown) > 0) {
        writes.extend(select_version(world, service, shown));
    }
    let moved = !writes.is_empty();
    effects.stage("Services follow their versions", writes);
    moved
}

/// Takes our key out of a Service's selector; nothing when it is not there.
fn select_every_version(service: &ServiceSeen) -> Option<Write> {
    service.selector.get(HASH_LABEL)?;
    let ops = vec![PatchOp::remove(pointer(["spec", "selector", HASH_LABEL]))];
    Some(patch_service(service, ops, "selects every version".to_owned()))
}

/// Sets our key in a Service's selector; nothing when it is set.
fn select_version(world: &World, service: &ServiceSeen, hash: &PodTemplateHash) -> Option<Write> {
    let path = pointer(["spec", "selector", HASH_LABEL]);
    let before = service.selector.get(HASH_LABEL).map(|hash| json!(hash));
    let mut ops = PatchOp::change(&path, before.as_ref(), Some(&json!(hash)));
    if ops.is_empty() {
        return None;
    }
    if service.annotation(MANAGED_BY_ANNOTATION) != Some(&world.spec.name) {
        let is_bare = service.annotations.is_none();
        ops.push(PatchOp::annotate(
            MANAGED_BY_ANNOTATION,
            &world.spec.name,
            is_bare,
        ));
    }
    Some(patch_service(service, ops, format!("selects version {hash}")))
}

pub fn patch_service(service: &ServiceSeen, ops: Vec<PatchOp>, reason: String) -> Write {
    Write {
        target: Target {
            kind: Kind::Service,
            name: service.name.clone(),
        },
        action: Action::Patch {
            precondition: service.precondition(),
            subresource: None,
            ops,
        },
        reason,
    }
}

impl Effects {
    pub fn stage(&mut self, purpose: &str, writes: Vec<Write>) {
        if !writes.is_empty() {
            self.stages.push(Stage {
                purpose: purpose.to_owned(),
                writes,
            });
        }
    }
}

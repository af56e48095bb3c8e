//! Rules about pods and traffic: S1 (no version without pods gets requests), S2 (enough pods remain available), S3
//! (no pods go that may get requests), S4 (selectors), S5 (raising a weight), S6 (form of weights), S7 (one thing at a
//! time, and back only to who can take it), S21 (held releases).

use serde_json::Value;

use crate::api::names::HASH_LABEL;
use crate::plan::check::scene::{Scene, Split};
use crate::plan::model::{Kind, Write};
use crate::plan::snapshot::ServiceSeen;

/// What the plan has changed so far.
#[derive(Default)]
pub struct Changes {
    /// The routes were given another weight.
    weight: bool,
    /// Services whose selector was moved.
    selectors: usize,
    /// A ReplicaSet was made smaller.
    shrunk: bool,
}

type Objection = (&'static str, String);

pub fn judge(before: &Scene, after: &Scene, write: &Write, changes: &mut Changes) -> Vec<Objection> {
    let mut objections = Vec::new();
    match write.target.kind {
        Kind::ReplicaSet => objections.extend(judge_size(before, after, write, changes)),
        Kind::Service => objections.extend(judge_selector(before, after, write, changes)),
        Kind::Ingress | Kind::HttpRoute => {
            objections.extend(judge_form(after, write));
            objections.extend(judge_weight(before, after, changes));
        }
        Kind::Rollout | Kind::AnalysisRun | Kind::RolloutCommand => {}
    }
    objections.extend(judge_served(before, after));
    objections.extend(judge_order(before, changes));
    objections
}

/// S2 and S3.
fn judge_size(before: &Scene, after: &Scene, write: &Write, changes: &mut Changes) -> Option<Objection> {
    let set = before.snapshot.replica_sets.get(&write.target.name)?;
    let hash = set.hash.as_str();
    let (old, new) = (before.pods_of(hash), after.pods_of(hash));
    if new.replicas < 0 {
        return Some((
            "S3",
            format!(
                "ReplicaSet {} cannot have {} pods",
                write.target.name, new.replicas
            ),
        ));
    }
    if new.replicas >= old.replicas {
        return None;
    }
    changes.shrunk = true;
    let all = after.replicas?;
    if !after.routed {
        return judge_total(before, after, all).or_else(|| judge_selected(after, hash, new.replicas, all));
    }
    let needed = after.pods_for(after.share(hash));
    let whole = hash == after.stable && !after.deleting && !is_dynamic(after);
    let needed = if whole { needed.max(all) } else { needed };
    let main = after.is_main_backend(hash) && all > 0 && !after.deleting;
    let needed = needed.max(i64::from(main));
    let message = || {
        format!(
            "version {hash} would shrink to {} pods of {needed} that it needs",
            new.replicas
        )
    };
    (new.replicas < needed).then(|| ("S3", message()))
}

/// Without routes the pods are the traffic: available pods go only while enough remain.
fn judge_total(before: &Scene, after: &Scene, all: i64) -> Option<Objection> {
    let available = |scene: &Scene| scene.pods.values().map(|pods| pods.available).sum::<i64>();
    let least = all - unavailable(after, all);
    let (old, new) = (available(before), available(after));
    (new < old && new < least).then(|| ("S2", format!("{new} pods would remain available of {least}")))
}

/// S2: a version that the stable Service alone selects keeps what that Service may be given.
fn judge_selected(after: &Scene, hash: &str, pods: i64, all: i64) -> Option<Objection> {
    let least = all - unavailable(after, all);
    let alone = after.selected(&after.stable_service) == hash && !after.deleting;
    (alone && pods < least).then(|| {
        let message =
            format!("version {hash}, all that the stable Service selects, would shrink to {pods} of {least}");
        ("S2", message)
    })
}

/// S4: a version is selected when it can carry what the Service may get; a selector is never emptied. Only where
/// the pods are the traffic the stable Service may select every version, and a Service that is given back.
fn judge_selector(before: &Scene, after: &Scene, write: &Write, changes: &mut Changes) -> Option<Objection> {
    let service = &write.target.name;
    let (old, new) = (before.selected(service), after.selected(service));
    let selector = after.selectors.get(service)?;
    let every_version = !after.routed && *service == after.stable_service;
    let left = after.given_up && !is_named(after, service);
    let may_be_empty = (after.deleting || every_version || left) && (!selector.is_empty() || old.is_empty());
    if new.is_empty() && !may_be_empty {
        return Some((
            "S4",
            format!("the selector of Service {service} would lose {HASH_LABEL}"),
        ));
    }
    if old == new || new.is_empty() {
        return None;
    }
    changes.selectors += usize::from(after.routed);
    let all = after.replicas?;
    let share = if after.routed {
        after.share_of_service(service)
    } else {
        0
    };
    if share == 0 || all == 0 {
        return None;
    }
    let needed = (after.pods_for(share) - unavailable(after, all)).clamp(1, all.max(1));
    let available = after.pods_of(&new).available;
    let message =
        || format!("Service {service} would select {new}, which has {available} available pods of {needed}");
    (available < needed).then(|| ("S4", message()))
}

/// The spec names this Service.
fn is_named(scene: &Scene, service: &str) -> bool {
    let names = ["stableService", "canaryService"];
    let named = |field: &&str| canary(scene, field).and_then(Value::as_str) == Some(service);
    names.iter().any(named)
}

/// S6: integers between 0 and the maximum, explicit on both backends, the same in one route.
fn judge_form(after: &Scene, write: &Write) -> Option<Objection> {
    let name = &write.target.name;
    let route = after.routes.get(&(write.target.kind, name.clone()))?;
    let broken = |what: String| Some(("S6", format!("{name} {what}")));
    if write.target.kind == Kind::Ingress {
        return match super::scene::ingress_weight(route) {
            Some(weight) if (0..=after.max).contains(&weight) => None,
            weight => broken(format!("would have the weight {weight:?} of {}", after.max)),
        };
    }
    let weights = after.backend_weights(route);
    let wrong = weights.iter().find(|(canary, stable)| {
        let in_range = |weight: &Option<i64>| weight.is_none_or(|weight| (0..=after.max).contains(&weight));
        let sum = canary.unwrap_or(0) + stable.unwrap_or(0);
        !in_range(canary) || !in_range(stable) || sum != after.max
    });
    if let Some((canary, stable)) = wrong {
        return broken(format!(
            "would have weights {canary:?} and {stable:?}, which are not {} together",
            after.max
        ));
    }
    let omitted = route
        .pointer("/spec/rules")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .any(|rule| {
            let backends = rule.get("backendRefs").and_then(Value::as_array);
            backends.into_iter().flatten().any(|backend| {
                let name = backend.get("name").and_then(Value::as_str).unwrap_or_default();
                (name == after.canary_service || name == after.stable_service)
                    && backend.get("weight").is_none()
            })
        });
    if omitted {
        broken("would have a backend without a weight".to_owned())
    } else {
        None
    }
}

/// S5 and S21: a weight is raised only for pods that are there, and never in a release that is held.
fn judge_weight(before: &Scene, after: &Scene, changes: &mut Changes) -> Vec<Objection> {
    let (old, new) = (before.split(), after.split());
    let least = |scene: &Scene| scene.weights().into_iter().min().unwrap_or(0);
    if old.weight != new.weight || least(before) != least(after) {
        changes.weight = true;
    }
    let mut objections = Vec::new();
    if new.weight <= old.weight {
        objections.extend(judge_lowering(&old, &new, before, after));
        return objections;
    }
    let rollout = &after.snapshot.rollout;
    let is_set = |path: &str| rollout.pointer(path).and_then(Value::as_bool) == Some(true);
    if is_set("/spec/paused") || is_set("/status/abort") {
        objections.push((
            "S21",
            format!(
                "the weight would rise to {} in a release that is held",
                new.weight
            ),
        ));
    }
    let needed = enough_of(after, after.pods_for(new.weight)).max(1);
    let available = after.pods_of(&new.canary).available;
    if after.replicas.is_some() && available < needed {
        let message = format!(
            "weight {} would go to {available} available pods of {needed}",
            new.weight
        );
        objections.push(("S5", message));
    }
    objections
}

/// S7: traffic goes back only to a version that can take it, unless the canary has nobody to serve it. An abort
/// asks for one pod, for what is bad about the canary may be worse than a stable that is short of pods.
fn judge_lowering(old: &Split, new: &Split, before: &Scene, after: &Scene) -> Option<Objection> {
    let all = after.replicas.filter(|all| *all > 0)?;
    let known = after.pods.contains_key(&new.stable);
    let served = after.pods_of(&old.canary).available > 0 && !has_no_endpoint(before, &old.canary);
    if new.weight == old.weight || !known || after.deleting || !served {
        return None;
    }
    let dynamic = is_dynamic(after);
    let aborted = after
        .snapshot
        .rollout
        .pointer("/status/abort")
        .and_then(Value::as_bool)
        == Some(true);
    let slack = if dynamic { 0 } else { unavailable(after, all) };
    let by_share = after.pods_for(after.max - new.weight) - slack;
    let needed = if aborted && !dynamic { 1 } else { by_share.max(1) };
    let available = after.pods_of(&new.stable).available;
    let message = || {
        format!(
            "the weight would fall to {}, and stable has {available} available pods of {needed}",
            new.weight
        )
    };
    (available < needed).then(|| ("S7", message()))
}

/// The endpoints of the canary Service were read, and none is of this version; or it has not every port that requests
/// come to.
fn has_no_endpoint(scene: &Scene, hash: &str) -> bool {
    if lacks_port(scene) {
        return true;
    }
    let read = scene.snapshot.endpoints.as_ref();
    let ready = read.and_then(|read| read.get(&scene.canary_service));
    ready.is_some_and(|ready| {
        let mut versions = ready.by_hash.iter();
        versions.all(|(version, count)| version.as_str() != hash || *count == 0)
    })
}

/// A route asks the canary Service for a port that it does not have, and that stable has where it is asked as well.
fn lacks_port(scene: &Scene) -> bool {
    let service = |name: &str| scene.snapshot.services.get(name).and_then(Option::as_ref);
    let (Some(canary), Some(stable)) = (service(&scene.canary_service), service(&scene.stable_service))
    else {
        return false;
    };
    let routes = scene.routes.iter();
    let asked: Vec<(Kind, &str, String)> = routes
        .flat_map(|((kind, _), route)| {
            let backends = backends(route).into_iter();
            backends.map(|(name, port)| (*kind, name, port))
        })
        .collect();
    let finds = |seen: &ServiceSeen, kind: Kind, port: &String| {
        let by_pods = kind == Kind::Ingress && !stable.ports.contains(port);
        seen.ports.is_empty() || seen.ports.contains(port) || by_pods && seen.target_ports.contains(port)
    };
    let stable_lacks = |kind: Kind, port: &String| {
        let same = |(other, name, asked): &(Kind, &str, String)| {
            *other == kind && *name == scene.stable_service && asked == port
        };
        asked.iter().any(same) && !finds(stable, kind, port)
    };
    asked
        .iter()
        .filter(|(_, name, _)| *name == scene.canary_service)
        .any(|(kind, _, port)| !finds(canary, *kind, port) && !stable_lacks(*kind, port))
}

/// Service and port of every backend of an Ingress or HTTPRoute.
fn backends(route: &Value) -> Vec<(&str, String)> {
    fn list<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
        value
            .pointer(path)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    }
    let rules = || list(route, "/spec/rules");
    let paths = rules().flat_map(|rule| list(rule, "/http/paths"));
    let of_ingress = paths
        .filter_map(|path| path.pointer("/backend/service"))
        .chain(route.pointer("/spec/defaultBackend/service"))
        .map(|service| {
            let port = service.pointer("/port/number").or(service.pointer("/port/name"));
            (service.get("name"), port)
        });
    let references = rules().flat_map(|rule| list(rule, "/backendRefs"));
    let of_http_route = references.map(|backend| (backend.get("name"), backend.get("port")));
    let found = of_ingress.chain(of_http_route);
    let found = found.filter_map(|(name, port)| {
        let port = port?;
        let port = port.as_str().map_or_else(|| port.to_string(), str::to_owned);
        Some((name?.as_str()?, port))
    });
    found.collect()
}

/// S1: nobody is sent to a version without pods, unless there is nowhere else.
fn judge_served(before: &Scene, after: &Scene) -> Option<Objection> {
    let (old, new) = (before.split(), after.split());
    if !after.routed || after.replicas == Some(0) || (old == new && before.pods == after.pods) {
        return None;
    }
    let nowhere = [&new.canary, &new.stable]
        .iter()
        .all(|hash| after.pods_of(hash).available == 0);
    [&new.canary, &new.stable].into_iter().find_map(|hash| {
        let known = after.pods.contains_key(hash);
        let share = |split: &Split| split.share(hash, after.max);
        let worse =
            share(&new) > share(&old) || after.pods_of(hash).available < before.pods_of(hash).available;
        let lost = known && worse && share(&new) > 0 && after.pods_of(hash).available == 0 && !nowhere;
        lost.then(|| {
            (
                "S1",
                format!(
                    "version {hash} would get {} of {} without a pod",
                    share(&new),
                    after.max
                ),
            )
        })
    })
}

/// S7: one change of the traffic, and no pods go in the same breath.
fn judge_order(scene: &Scene, changes: &Changes) -> Option<Objection> {
    let moved = changes.selectors + usize::from(changes.weight);
    if !scene.routed || scene.deleting && moved == 0 {
        return None;
    }
    if moved > 1 {
        return Some((
            "S7",
            "two changes of the traffic in one plan; data planes keep no order".to_owned(),
        ));
    }
    let shrinks = moved == 1 && changes.shrunk;
    shrinks.then(|| {
        (
            "S7",
            "pods would go before the change of the traffic is in effect".to_owned(),
        )
    })
}

fn canary<'a>(scene: &'a Scene, field: &str) -> Option<&'a Value> {
    scene
        .snapshot
        .rollout
        .pointer("/spec/strategy/canary")
        .and_then(|canary| canary.get(field))
}

fn is_dynamic(scene: &Scene) -> bool {
    canary(scene, "dynamicStableScale").and_then(Value::as_bool) == Some(true)
}

/// `maxUnavailable` in pods, rounded down; one where nothing could move otherwise.
pub fn unavailable(scene: &Scene, all: i64) -> i64 {
    let unavailable = amount(canary(scene, "maxUnavailable"), all, 0);
    let surge = amount(canary(scene, "maxSurge"), all, 99);
    if surge == 0 && unavailable == 0 {
        1
    } else {
        unavailable.min(all)
    }
}

/// A number or a percentage, 25% unless given; `up` is 99 to round up.
fn amount(value: Option<&Value>, all: i64, up: i64) -> i64 {
    if let Some(number) = value.and_then(Value::as_i64) {
        return number;
    }
    let text = value.and_then(Value::as_str).unwrap_or("25%");
    let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
    if text.ends_with('%') {
        (all * percent + up) / 100
    } else {
        percent
    }
}

/// By `replicaProgressThreshold`.
fn enough_of(scene: &Scene, pods: i64) -> i64 {
    let Some(threshold) = canary(scene, "replicaProgressThreshold") else {
        return pods;
    };
    let value = threshold.get("value").and_then(Value::as_i64).unwrap_or(100);
    match threshold.get("type").and_then(Value::as_str) {
        Some("Pods") => value.min(pods),
        _ => (pods * value + 99) / 100,
    }
}

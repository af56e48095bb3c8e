//! S13: a plan touches nothing but what the Rollout names or owns, in no field but ours, and only as it was seen.

use serde_json::Value;

use crate::api::names::{HASH_LABEL, MANAGED_BY_ANNOTATION, ROLLOUT_LABEL};
use crate::api::patch::PatchOp;
use crate::plan::check::scene::Scene;
use crate::plan::model::{Action, Kind, Precondition, Subresource, Write};

/// What is wrong with a write, if anything is.
pub fn judge(scene: &Scene, write: &Write) -> Option<String> {
    let named = || format!("{:?} {}", write.target.kind, write.target.name);
    match &write.action {
        Action::Create { object } => judge_create(scene, write, object),
        Action::Delete { precondition } => judge_object(scene, write)
            .or_else(|| judge_precondition(scene, write, precondition))
            .or_else(|| {
                let deletable = matches!(
                    write.target.kind,
                    Kind::ReplicaSet | Kind::Ingress | Kind::AnalysisRun | Kind::RolloutCommand
                );
                (!deletable).then(|| format!("{} is not ours to delete", named()))
            }),
        Action::Patch {
            precondition,
            subresource,
            ops,
        } => judge_object(scene, write)
            .or_else(|| judge_precondition(scene, write, precondition))
            .or_else(|| {
                let foreign = ops
                    .iter()
                    .filter(|op| !matches!(op, PatchOp::Test { .. }))
                    .map(PatchOp::path);
                // Added over a map that is there, it would take the place of everybody's annotations.
                let brings_map =
                    |path: &str| path == "/metadata/annotations" && has_annotations(scene, write);
                let gives_size = |path: &str| {
                    let is_missing = scene.snapshot.rollout.pointer("/spec/replicas").is_none();
                    write.target.kind == Kind::Rollout && path == "/spec/replicas" && is_missing
                };
                let is_ours = |path: &str| {
                    (may_write(write.target.kind, path, *subresource) || gives_size(path))
                        && !brings_map(path)
                };
                let mut foreign = foreign.filter(|path| !is_ours(path));
                foreign
                    .next()
                    .map(|path| format!("{}: {path} is not our field", named()))
            }),
    }
}

fn has_annotations(scene: &Scene, write: &Write) -> bool {
    let name = &write.target.name;
    let key = (write.target.kind, name.clone());
    let service = scene.snapshot.services.get(name).and_then(Option::as_ref);
    match write.target.kind {
        Kind::Service => service.is_some_and(|service| service.annotations.is_some()),
        Kind::ReplicaSet => scene
            .snapshot
            .replica_sets
            .get(name)
            .is_some_and(|set| !set.is_bare),
        _ => scene
            .routes
            .get(&key)
            .is_some_and(|route| route.pointer("/metadata/annotations").is_some()),
    }
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn judge_create(scene: &Scene, write: &Write, object: &Value) -> Option<String> {
    let rollout = &scene.snapshot.rollout;
    let named = format!("{:?} {}", write.target.kind, write.target.name);
    if !matches!(
        write.target.kind,
        Kind::ReplicaSet | Kind::AnalysisRun | Kind::Ingress
    ) {
        return Some(format!("{named} is not ours to create"));
    }
    let owner = text(object, "/metadata/ownerReferences/0/uid");
    if owner.is_empty() || owner != text(rollout, "/metadata/uid") {
        return Some(format!("{named} would not be owned by the Rollout"));
    }
    if text(object, "/metadata/namespace") != text(rollout, "/metadata/namespace") {
        return Some(format!("{named} would be in another namespace"));
    }
    let name = text(object, "/metadata/name");
    (name != write.target.name).then(|| format!("{named} would be called {name}"))
}

/// The object is named by the Rollout, or its own.
fn judge_object(scene: &Scene, write: &Write) -> Option<String> {
    let snapshot = scene.snapshot;
    let name = write.target.name.as_str();
    let rollout = text(&snapshot.rollout, "/metadata/name");
    let ours = match write.target.kind {
        Kind::Rollout => name == rollout,
        Kind::ReplicaSet => snapshot.replica_sets.get(name).is_some_and(|set| set.owned),
        Kind::Service => names_service(&snapshot.rollout, name),
        Kind::HttpRoute => scene.routes.contains_key(&(Kind::HttpRoute, name.to_owned())),
        Kind::Ingress => scene
            .routes
            .get(&(Kind::Ingress, name.to_owned()))
            .is_some_and(|ingress| {
                let labels = ingress.pointer("/metadata/labels");
                labels
                    .and_then(|labels| labels.get(ROLLOUT_LABEL))
                    .and_then(Value::as_str)
                    == Some(rollout)
            }),
        Kind::AnalysisRun => snapshot.runs.get(name).is_some_and(|run| {
            let gate = run.spec.gate.as_ref();
            gate.is_some_and(|gate| gate.rollout_uid == text(&snapshot.rollout, "/metadata/uid"))
        }),
        Kind::RolloutCommand => snapshot
            .commands
            .get(name)
            .is_some_and(|command| command.spec.rollout == rollout),
    };
    (!ours).then(|| format!("{:?} {name} belongs to somebody else", write.target.kind))
}

/// In the spec, or in the routing that the status says is in use.
fn names_service(rollout: &Value, name: &str) -> bool {
    let places = ["/spec/strategy/canary", "/status/canary/routing"];
    let fields = ["stableService", "canaryService"];
    places.iter().any(|place| {
        fields
            .iter()
            .any(|field| text(rollout, &format!("{place}/{field}")) == name)
    })
}

/// The object as it was seen, and no other.
fn judge_precondition(scene: &Scene, write: &Write, precondition: &Precondition) -> Option<String> {
    let snapshot = scene.snapshot;
    let name = write.target.name.as_str();
    let of_raw = |object: &Value| {
        (
            text(object, "/metadata/uid").to_owned(),
            text(object, "/metadata/resourceVersion").to_owned(),
        )
    };
    let of_metadata = |metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
        (
            metadata.uid.clone().unwrap_or_default(),
            metadata.resource_version.clone().unwrap_or_default(),
        )
    };
    let route = |routes: &std::collections::BTreeMap<String, Option<Value>>| {
        routes.get(name).and_then(Option::as_ref).map(of_raw)
    };
    let seen = match write.target.kind {
        Kind::Rollout => Some(of_raw(&snapshot.rollout)),
        Kind::ReplicaSet => {
            let set = snapshot.replica_sets.get(name);
            set.map(|set| (set.uid.clone(), set.resource_version.clone()))
        }
        Kind::Service => {
            let service = snapshot.services.get(name).and_then(Option::as_ref);
            service.map(|service| (service.uid.clone(), service.resource_version.clone()))
        }
        Kind::Ingress => route(&snapshot.routes.ingresses),
        Kind::HttpRoute => route(&snapshot.routes.http_routes),
        Kind::AnalysisRun => snapshot.runs.get(name).map(|run| of_metadata(&run.metadata)),
        Kind::RolloutCommand => snapshot
            .commands
            .get(name)
            .map(|command| of_metadata(&command.metadata)),
    };
    let asked = (precondition.uid.clone(), precondition.resource_version.clone());
    (seen.as_ref() != Some(&asked)).then(|| {
        format!(
            "{:?} {name}: the precondition is not what was seen",
            write.target.kind
        )
    })
}

/// The fields that are ours to write, by kind.
fn may_write(kind: Kind, path: &str, subresource: Option<Subresource>) -> bool {
    let escaped = |key: &str| key.replace('/', "~1");
    let within = |folder: &str| path.starts_with(&format!("{folder}/"));
    if subresource == Some(Subresource::Status) {
        return kind == Kind::RolloutCommand && path == "/status";
    }
    match kind {
        Kind::Rollout => path == "/metadata/finalizers" || within("/metadata/finalizers"),
        Kind::ReplicaSet => {
            path == "/spec/replicas"
                || path.starts_with("/metadata/annotations/tidegate.dev~1")
                // As with a Service.
                || path == "/metadata/annotations"
        }
        Kind::Service => {
            path == format!("/spec/selector/{}", escaped(HASH_LABEL))
                || path == format!("/metadata/annotations/{}", escaped(MANAGED_BY_ANNOTATION))
                // A Service without annotations gets the map.
                || path == "/metadata/annotations"
        }
        Kind::Ingress => {
            path == "/spec" || within("/spec") || path == "/metadata/labels" || within("/metadata")
        }
        Kind::HttpRoute => {
            within("/spec/rules") && path.contains("/backendRefs")
                || path.starts_with("/metadata/annotations")
        }
        Kind::AnalysisRun => path == "/spec/terminate",
        Kind::RolloutCommand => false,
    }
}

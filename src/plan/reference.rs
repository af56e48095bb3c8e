//! What the Rollout refers to: Services, routes and the claims of others. Anything wrong is named with its fix,
//! and weights and pods stay where they are until it is mended (but for what `held` says).

use std::fmt;

use serde_json::Value;

use crate::api::names::HASH_LABEL;
use crate::plan::revision::replica_set_name;
use crate::plan::text::shorten;
use crate::plan::traffic::Traffic;
use crate::plan::world::World;
use crate::routers::Destination;

/// More than these help nobody at once.
const SHOWN: usize = 5;
const MAX_TEXT: usize = 2_048;

/// Shown as `<object>: <problem>; <fix>`, under the condition `Valid=False/<reason>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub reason: &'static str,
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The first few of them in one line.
pub fn join_problems(problems: &[Problem]) -> String {
    let texts = problems.iter().map(|problem| problem.text.as_str());
    shorten(texts.take(SHOWN).collect::<Vec<_>>().join(" · "), MAX_TEXT)
}

pub fn find_problems(world: &World, traffic: Option<&Traffic>) -> Vec<Problem> {
    let canary = &world.spec.canary;
    let mut problems = Vec::new();
    for (field, name) in [
        ("canaryService", &canary.canary_service),
        ("stableService", &canary.stable_service),
    ] {
        if let Some(name) = name {
            problems.extend(service_problem(world, field, name));
        }
    }
    problems.extend(foreign_replica_set(world));
    for claim in &world.snapshot.claims {
        problems.push(Problem {
            reason: "ClaimedByOther",
            text: format!(
                "{} {}: Rollout {} names it as well and is older; give this Rollout its own",
                claim.kind, claim.name, claim.rollout
            ),
        });
    }
    if let Some(traffic) = traffic.filter(|traffic| !traffic.retiring) {
        let found = traffic.inspection.violations.iter().map(|violation| Problem {
            reason: violation.reason.as_str(),
            text: violation.to_string(),
        });
        problems.extend(found);
        problems.extend(traffic.reach.astray.iter().map(unknown_port));
    }
    problems
}

fn unknown_port(destination: &Destination) -> Problem {
    let Destination {
        kind,
        route,
        service,
        port,
    } = destination;
    Problem {
        reason: "ServiceInvalid",
        text: format!(
            "Service {service}: it has no port {port}, to which {} {route} leads; add it to spec.ports, or correct the port \
             of the route",
            kind.kind()
        ),
    }
}

/// The name of the current version's ReplicaSet is taken: it could never be created.
fn foreign_replica_set(world: &World) -> Option<Problem> {
    let name = replica_set_name(&world.spec.name, &world.current);
    let set = world.snapshot.replica_sets.get(&name)?;
    (!set.owned).then(|| Problem {
        reason: "ReplicaSetNotOwned",
        text: format!(
            "ReplicaSet {name}: it has the name of the current version's and is not owned by this Rollout; delete it, \
             or give it this Rollout (uid {}) as its controller in metadata.ownerReferences",
            world.spec.uid
        ),
    })
}

fn service_problem(world: &World, field: &str, name: &str) -> Option<Problem> {
    let problem = |reason, text: &str| {
        Some(Problem {
            reason,
            text: format!("Service {name}: {text}"),
        })
    };
    let Some(service) = world.service(name) else {
        // Not read is not absent.
        let absent = world.snapshot.services.get(name).is_some_and(Option::is_none);
        let text = format!("it is not there; create it, or correct spec.strategy.canary.{field}");
        return absent.then(|| problem("ServiceNotFound", &text)).flatten();
    };
    if service.external_name {
        return problem(
            "ServiceInvalid",
            "its type is ExternalName; a Service that selects pods is needed",
        );
    }
    if service.selector.keys().all(|key| key == HASH_LABEL) {
        return problem(
            "ServiceInvalid",
            "spec.selector is empty; it must select the pods of this Rollout",
        );
    }
    let labels = world
        .spec
        .template
        .pointer("/metadata/labels")
        .and_then(Value::as_object);
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
    let wrong = service
        .selector
        .iter()
        .find(|(key, value)| *key != HASH_LABEL && label(key) != Some(value));
    wrong.and_then(|(key, value)| {
        let text = format!(
            "spec.selector {key}={value} selects no pod of this Rollout; {}",
            label(key).map_or_else(
                || format!("spec.template.metadata.labels has no {key}"),
                |label| format!("spec.template.metadata.labels says {key}={label}"),
            )
        );
        problem("ServiceInvalid", &text)
    })
}

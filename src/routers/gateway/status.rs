//! Whether the controllers behind an HTTPRoute have accepted the generation that was read.
//! A necessary sign, not a sufficient one: traffic follows later.

use serde_json::Value;

use super::super::{RouteKind, RouteTarget, object};

const CONDITIONS: [&str; 2] = ["Accepted", "ResolvedRefs"];

/// Why the route is not accepted by every parent it names, in one sentence; `None` when it is.
pub fn refusal(target: &RouteTarget, route: &Value) -> Option<String> {
    let name = object::text(route, "/metadata/name").unwrap_or_default();
    let reason = parents(route)
        .is_empty()
        .then(|| "names no parent".to_owned())
        .or_else(|| {
            parents(route)
                .iter()
                .find_map(|parent| refusal_of(target, route, parent))
        })?;
    Some(format!("{} {name} {reason}", RouteKind::HttpRoute.kind()))
}

pub fn parents(route: &Value) -> &[Value] {
    object::list(route, "/spec/parentRefs")
}

fn refusal_of(target: &RouteTarget, route: &Value, parent: &Value) -> Option<String> {
    let wanted = Parent::read(target, parent);
    let answers: Vec<&Value> = object::list(route, "/status/parents")
        .iter()
        .filter(|answer| {
            answer
                .get("parentRef")
                .is_some_and(|parent| Parent::read(target, parent) == wanted)
        })
        .collect();
    // Policy controllers answer for a parent as well, with conditions of their own only.
    let judging: Vec<&Value> = answers.iter().copied().filter(|answer| judges(answer)).collect();
    let answers = if judging.is_empty() { answers } else { judging };
    let at = format!("at {} {}", wanted.kind, wanted.name);
    if answers.is_empty() {
        return Some(format!("has no answer yet {at}"));
    }
    let generation = route.pointer("/metadata/generation").and_then(Value::as_i64);
    answers
        .iter()
        .flat_map(|answer| CONDITIONS.map(|condition| (*answer, condition)))
        .find_map(|(answer, condition)| problem_of(answer, condition, generation))
        .map(|problem| format!("{problem} {at}"))
}

/// The answer says something about the route itself.
fn judges(answer: &Value) -> bool {
    let mut conditions = object::list(answer, "/conditions").iter();
    conditions.any(|found| object::text(found, "/type").is_some_and(|kind| CONDITIONS.contains(&kind)))
}

fn problem_of(answer: &Value, condition: &str, generation: Option<i64>) -> Option<String> {
    let Some(found) = object::list(answer, "/conditions")
        .iter()
        .find(|found| object::text(found, "/type") == Some(condition))
    else {
        return Some(format!("has no condition {condition} yet"));
    };
    let seen = found.get("observedGeneration").and_then(Value::as_i64);
    if seen.is_none() || seen != generation {
        let number = |generation: Option<i64>| generation.map_or("?".to_owned(), |number| number.to_string());
        return Some(format!(
            "has generation {}, and {condition} is about {}",
            number(generation),
            number(seen)
        ));
    }
    if object::text(found, "/status") == Some("True") {
        return None;
    }
    Some(format!(
        "is not {condition} ({}: {})",
        object::text(found, "/reason").unwrap_or_default(),
        object::text(found, "/message").unwrap_or_default()
    ))
}

/// A parent reference with its defaults.
#[derive(PartialEq)]
struct Parent<'a> {
    group: &'a str,
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
    section_name: Option<&'a str>,
    port: Option<i64>,
}

impl<'a> Parent<'a> {
    fn read(target: &RouteTarget<'a>, parent: &'a Value) -> Self {
        let text = |field: &str| parent.get(field).and_then(Value::as_str);
        Parent {
            group: text("group").unwrap_or("gateway.networking.k8s.io"),
            kind: text("kind").unwrap_or("Gateway"),
            namespace: text("namespace").unwrap_or(target.namespace),
            name: text("name").unwrap_or_default(),
            section_name: text("sectionName"),
            port: parent.get("port").and_then(Value::as_i64),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::tests::target;
    use super::*;

    fn route(parents: Value) -> Value {
        json!({
            "metadata": {"name": "web", "generation": 4},
            "spec": {"parentRefs": [{"name": "public"}]},
            "status": {"parents": parents}
        })
    }

    fn answer(accepted: (&str, i64), resolved: (&str, i64)) -> Value {
        let condition = |kind: &str, (status, generation): (&str, i64)| {
            json!({"type": kind, "status": status, "observedGeneration": generation,
                   "reason": "Because", "message": "of it"})
        };
        json!({
            "controllerName": "example.com/controller",
            "parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public", "namespace": "shop"},
            "conditions": [condition("Accepted", accepted), condition("ResolvedRefs", resolved)]
        })
    }

    #[test]
    fn accepted_when_every_answer_is_true_for_this_generation() {
        let yes = answer(("True", 4), ("True", 4));
        let policy = json!({"controllerName": "example.com/policy", "parentRef": {"name": "public"},
            "conditions": [{"type": "example.com/Limited", "status": "True", "observedGeneration": 4}]});
        for parents in [json!([yes]), json!([yes, policy]), json!([policy, yes])] {
            assert_eq!(refusal(&target(0), &route(parents)), None);
        }
        for (parents, want) in [
            (json!([]), "HTTPRoute web has no answer yet at Gateway public"),
            (
                json!([answer(("True", 3), ("True", 4))]),
                "HTTPRoute web has generation 4, and Accepted is about 3 at Gateway public",
            ),
            (
                json!([answer(("False", 4), ("True", 4))]),
                "HTTPRoute web is not Accepted (Because: of it) at Gateway public",
            ),
            (
                json!([yes, answer(("True", 4), ("Unknown", 4))]),
                "HTTPRoute web is not ResolvedRefs (Because: of it) at Gateway public",
            ),
            (
                json!([policy]),
                "HTTPRoute web has no condition Accepted yet at Gateway public",
            ),
            (
                json!([{"parentRef": {"name": "public"}}]),
                "HTTPRoute web has no condition Accepted yet at Gateway public",
            ),
            (
                json!([{"parentRef": {"name": "public", "sectionName": "https"}}]),
                "HTTPRoute web has no answer yet at Gateway public",
            ),
        ] {
            assert_eq!(refusal(&target(0), &route(parents)).as_deref(), Some(want));
        }
    }

    #[test]
    fn a_route_without_parents_or_generation_is_not_accepted() {
        assert!(refusal(&target(0), &json!({"metadata": {"name": "web"}})).is_some());
        let mut blind = route(json!([{"parentRef": {"name": "public"}, "conditions": [
            {"type": "Accepted", "status": "True"}, {"type": "ResolvedRefs", "status": "True"}]}]));
        blind["metadata"].as_object_mut().unwrap().remove("generation");
        assert!(refusal(&target(0), &blind).is_some());
    }
}

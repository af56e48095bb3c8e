//! `tests/golden/routers/*.yaml`: the objects before, and what must have become of them.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use tidegate::api::names::Weight;
use tidegate::api::rollout::TrafficRouting;
use tidegate::routers::{self, Verification, WeightState};

use crate::model::{apply, objects, observe, target, verify};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(default)]
    action: Action,
    target: Target,
    routing: TrafficRouting,
    observed: Vec<Value>,
    expect: Vec<Value>,
}

#[derive(Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Action {
    #[default]
    Render,
    Remove,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    canary_weight: i64,
    max_weight: Option<i64>,
}

fn check(name: &str, case: &Case) {
    let mut target = target(case.target.canary_weight);
    target.max_weight = Weight(case.target.max_weight.unwrap_or(100));
    let mut observed = observe(&case.routing, &case.observed);
    let routing = &case.routing;
    let run = |observed: &_| match case.action {
        Action::Render => routers::render(&target, routing, observed),
        Action::Remove => routers::remove(&target, observed),
    };
    if case.action == Action::Render {
        assert_eq!(
            routers::inspect(&target, routing, &observed).violations,
            [],
            "{name}"
        );
        assert_eq!(
            verify(&target, routing, &observed),
            Verification::Unwritten,
            "{name}: the case needs something to write"
        );
    }
    let writes = run(&observed);
    apply(&mut observed, &writes);
    let expected = observe(routing, &case.expect);
    let (found, wanted) = (objects(&observed), objects(&expected));
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        wanted.keys().collect::<Vec<_>>(),
        "{name}"
    );
    for (key, object) in &found {
        assert_eq!(object, &wanted[key], "{name}: {key:?}");
    }
    assert_eq!(run(&observed), [], "{name}: a second time writes nothing");
    if case.action == Action::Render {
        let weight = WeightState::Is(target.canary_weight);
        assert_eq!(
            routers::inspect(&target, routing, &observed).state,
            weight,
            "{name}"
        );
        assert_eq!(
            verify(&target, routing, &observed),
            Verification::Written,
            "{name}"
        );
    }
}

#[test]
fn golden_pairs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/routers");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 10, "the cases are not where they were");
    for path in paths {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let case: Case = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        check(name, &case);
    }
}

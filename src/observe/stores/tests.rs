//! Who is woken by which change, and who may keep what.

use super::*;
use serde_json::json;

fn rollout(name: &str, created: &str, service: &str) -> Value {
    json!({
        "metadata": {
            "namespace": "shop", "name": name, "uid": name, "resourceVersion": "1",
            "creationTimestamp": created,
        },
        "spec": {"strategy": {"canary": {
            "stableService": service,
            "analysis": {"templates": [{"templateName": "errors"}]},
        }}},
    })
}

fn named(name: &str) -> Value {
    json!({"metadata": {"namespace": "shop", "name": name, "uid": name, "resourceVersion": "1"}})
}

fn woken(wakes: BTreeSet<Wake>) -> Vec<(String, Cause)> {
    wakes
        .into_iter()
        .map(|wake| (wake.work.key().name.clone(), wake.cause))
        .collect()
}

fn apply(stores: &Stores, resource: Resource, object: Value) -> BTreeSet<Wake> {
    stores.take(resource, CacheEvent::applied(resource, object).unwrap())
}

fn delete(stores: &Stores, resource: Resource, object: &Value) -> BTreeSet<Wake> {
    stores.take(resource, CacheEvent::deleted(object).unwrap())
}

fn stores() -> Stores {
    let stores = Stores::default();
    for (name, created, service) in [
        ("a", "2026-01-02T00:00:00Z", "web"),
        ("b", "2026-01-01T00:00:00Z", "web"),
    ] {
        apply(&stores, Resource::Rollout, rollout(name, created, service));
    }
    stores
}

#[test]
fn a_change_wakes_those_it_concerns() {
    let mut command = named("c");
    command["spec"] = json!({"rollout": "a"});
    let mut replica_set = named("a-1");
    replica_set["metadata"]["labels"] = json!({"tidegate.dev/rollout": "a"});
    let mut run = named("a-run");
    run["metadata"]["labels"] = json!({"tidegate.dev/rollout": "a"});
    for (resource, object, expected) in [
        (
            Resource::Service,
            named("web"),
            vec![("a", Cause::Dependency), ("b", Cause::Dependency)],
        ),
        (Resource::Service, named("other"), vec![]),
        (Resource::ReplicaSet, replica_set, vec![("a", Cause::Dependency)]),
        (
            Resource::AnalysisRun,
            run,
            vec![("a", Cause::Dependency), ("a-run", Cause::Itself)],
        ),
        (Resource::RolloutCommand, command, vec![("a", Cause::Command)]),
        (
            Resource::AnalysisTemplate,
            named("nested"),
            vec![("a", Cause::Dependency), ("b", Cause::Dependency)],
        ),
    ] {
        let stores = stores();
        let expected: Vec<(String, Cause)> = expected.into_iter().map(|(n, c)| (n.to_owned(), c)).collect();
        assert_eq!(woken(apply(&stores, resource, object)), expected, "{resource}");
    }
}

/// `v2` is released; `stable` is what the stable Service selects.
fn status_of_v2(abort: bool, weight: i64, stable: &str) -> Value {
    let behind = |weight: i64, version: &str| json!({"weight": weight, "serviceName": "web", "podTemplateHash": version});
    json!({"abort": abort, "currentPodHash": "v2", "canary": {"weights": {
        "canary": behind(weight, "v2"), "stable": behind(100 - weight, stable), "verified": true,
    }}})
}

#[test]
fn what_takes_traffic_back_is_urgent() {
    let run = |phase: &str| {
        let mut run = named("a-run");
        run["metadata"]["labels"] = json!({"tidegate.dev/rollout": "a"});
        run["status"] = json!({"phase": phase});
        run
    };
    let aborted = |weight: i64, stable: &str| {
        let mut rollout = rollout("a", "2026-01-02T00:00:00Z", "web");
        rollout["metadata"]["resourceVersion"] = json!("2");
        rollout["status"] = status_of_v2(true, weight, stable);
        rollout
    };
    for (resource, object, expected) in [
        (Resource::AnalysisRun, run("Failed"), true),
        (Resource::AnalysisRun, run("Error"), true),
        (Resource::AnalysisRun, run("Running"), false),
        (Resource::AnalysisRun, run("Successful"), false),
        (Resource::Rollout, aborted(10, "v1"), true),
        (Resource::Rollout, aborted(0, "v1"), false),
        // As in a bake.
        (Resource::Rollout, aborted(0, "v2"), true),
    ] {
        let wakes = woken(apply(&stores(), resource, object.clone()));
        let is_urgent = wakes.contains(&("a".to_owned(), Cause::Safety));
        assert_eq!(is_urgent, expected, "{object}");
    }
}

#[test]
fn whatever_an_abort_waits_for_wakes_it_urgently() {
    let stores = stores();
    let mut pods = named("a-1");
    pods["metadata"]["labels"] = json!({"tidegate.dev/rollout": "a"});
    for (version, abort, expected) in [("2", true, Cause::Safety), ("3", false, Cause::Dependency)] {
        let mut rollout = rollout("a", "2026-01-02T00:00:00Z", "web");
        rollout["metadata"]["resourceVersion"] = json!(version);
        rollout["status"] = status_of_v2(abort, 10, "v1");
        apply(&stores, Resource::Rollout, rollout);
        pods["metadata"]["resourceVersion"] = json!(version);
        let wakes = woken(apply(&stores, Resource::ReplicaSet, pods.clone()));
        assert_eq!(wakes, [("a".to_owned(), expected)], "{abort}");
    }
}

#[test]
fn a_command_is_urgent_until_it_is_answered() {
    let stores = stores();
    let mut command = named("c");
    command["spec"] = json!({"rollout": "a"});
    command["status"] = json!({"phase": "Applied"});
    let answered = woken(apply(&stores, Resource::RolloutCommand, command.clone()));
    assert_eq!(answered, [("a".to_owned(), Cause::Dependency)]);
    let gone = woken(delete(&stores, Resource::RolloutCommand, &command));
    assert_eq!(gone, [("a".to_owned(), Cause::Dependency)]);
}

#[test]
fn what_a_live_read_finds_first_still_wakes_those_who_depend_on_it() {
    let stores = stores();
    let mut run = named("a-run");
    run["metadata"]["labels"] = json!({"tidegate.dev/rollout": "a"});
    let key = ObjectKey::new("shop", "a-run");
    stores.heal(Resource::AnalysisRun, &key, Some(&run));
    let late = apply(&stores, Resource::AnalysisRun, run);
    assert_eq!(woken(late), [], "no news");
    let expected = [
        ("a".to_owned(), Cause::Dependency),
        ("a-run".to_owned(), Cause::Itself),
    ];
    assert_eq!(woken(stores.take_unheard()), expected);
    assert_eq!(woken(stores.take_unheard()), [], "once");
}

#[test]
fn only_what_a_watch_keeps_up_to_date_is_kept() {
    let stores = stores();
    assert!(!stores.keeps(Resource::HttpRoute, "shop") && !stores.keeps(Resource::EndpointSlice, "shop"));
    assert!(stores.keeps(Resource::ReplicaSet, "shop"));
    let listed = |namespace: &str| CacheEvent::restarted(Resource::HttpRoute, namespace, vec![]);
    stores.take(Resource::HttpRoute, listed("shop"));
    assert!(stores.keeps(Resource::HttpRoute, "shop") && !stores.keeps(Resource::HttpRoute, "bank"));
    stores.take(Resource::HttpRoute, listed(""));
    assert!(stores.keeps(Resource::HttpRoute, "bank"));
}

#[test]
fn the_oldest_rollout_keeps_what_two_of_them_name() {
    let stores = stores();
    let claim = |name: &str, created: &str| stores.claims(&rollout(name, created, "web"));
    let younger = claim("a", "2026-01-02T00:00:00Z");
    assert_eq!(younger.len(), 1);
    assert_eq!(
        (younger[0].kind.as_str(), younger[0].rollout.as_str()),
        ("Service", "b")
    );
    assert!(claim("b", "2026-01-01T00:00:00Z").is_empty());
}

#[test]
fn what_is_only_remembered_is_no_claim() {
    let remembers = |name: &str, created: &str, service: &str, remembered: &str| {
        let mut rollout = rollout(name, created, service);
        rollout["status"] = json!({"canary": {"routing": {"stableService": remembered}}});
        rollout
    };
    let claims = |older: Value, younger: Value| {
        let stores = Stores::default();
        apply(&stores, Resource::Rollout, older);
        apply(&stores, Resource::Rollout, younger.clone());
        stores.claims(&younger)
    };
    let (first, second) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    // The younger gives back what the older now asks for, and the other way round.
    let gives_back = claims(rollout("b", first, "web"), remembers("a", second, "shop", "web"));
    assert_eq!(gives_back, []);
    let takes_over = claims(remembers("b", first, "shop", "web"), rollout("a", second, "web"));
    assert_eq!(takes_over, []);
}

#[test]
fn those_who_wait_for_a_claim_look_again_when_it_goes() {
    let stores = stores();
    let gone = rollout("b", "2026-01-01T00:00:00Z", "web");
    let wakes = woken(delete(&stores, Resource::Rollout, &gone));
    assert_eq!(
        wakes,
        [
            ("a".to_owned(), Cause::Dependency),
            ("b".to_owned(), Cause::Itself)
        ]
    );
}

#[test]
fn kinds_are_named_only_while_a_rollout_names_them() {
    let stores = stores();
    assert_eq!(stores.named_kinds(), [Resource::Service].into());
    for name in ["a", "b"] {
        let gone = rollout(name, "", "web");
        delete(&stores, Resource::Rollout, &gone);
    }
    assert_eq!(stores.named_kinds(), [].into());
}

#[test]
fn only_a_new_version_of_what_rests_begins() {
    let stores = Stores::default();
    let mut current = rollout("a", "2026-01-01T00:00:00Z", "web");
    current["spec"]["template"] = json!({"spec": 1});
    let at_rest = json!({"phase": "Healthy", "currentPodHash": "1", "stableRS": "1"});
    let mut version = 1;
    for (field, value, cause) in [
        ("/spec/template", json!({"spec": 1}), Cause::Begins),
        ("/status", at_rest.clone(), Cause::Itself),
        ("/spec/template", json!({"spec": 2}), Cause::Begins),
        ("/spec/replicas", json!(7), Cause::Itself),
        ("/status/phase", json!("Progressing"), Cause::Itself),
        ("/spec/template", json!({"spec": 3}), Cause::Itself),
    ] {
        let (parent, name) = field.rsplit_once('/').unwrap();
        current.pointer_mut(parent).unwrap()[name] = value;
        version += 1;
        current["metadata"]["resourceVersion"] = json!(version.to_string());
        let wakes = apply(&stores, Resource::Rollout, current.clone());
        assert_eq!(woken(wakes), [("a".to_owned(), cause)], "{field}");
    }
}

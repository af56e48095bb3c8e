//! Watches.

use serde_json::json;

use crate::object::{labelled, rollout};
use crate::talk::{JSON, Talk};

async fn relabel(talk: &Talk<'_>, name: &str, value: &str) -> String {
    let patch = json!({"metadata": {"labels": {"tier": value}}}).to_string();
    let form = crate::talk::MERGE_PATCH;
    let answer = talk.ask("PATCH", &format!("rollouts/{name}"), form, patch).await;
    answer.version().to_owned()
}

pub async fn changes_from_the_beginning(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    relabel(talk, "a", "web").await;
    talk.given("rollouts", &rollout("b")).await;
    for query in ["rollouts", "rollouts?resourceVersion=0"] {
        let mut events = talk.watch(query).await;
        events.sort_by_key(|event| event["object"]["metadata"]["name"].to_string());
        talk.show_events(&events);
    }
}

pub async fn resuming(talk: &mut Talk<'_>) {
    let created = talk.given("rollouts", &rollout("a")).await;
    let begin = created.version().to_owned();
    let changed = relabel(talk, "a", "web").await;
    relabel(talk, "a", "web").await;
    talk.given("rollouts", &rollout("b")).await;
    talk.ask("DELETE", "rollouts/a", JSON, "").await;
    for version in [begin, changed] {
        let events = talk.watch(&format!("rollouts?resourceVersion={version}")).await;
        talk.show_events(&events);
        let versions = events
            .iter()
            .map(|event| event["object"]["metadata"]["resourceVersion"].as_str().unwrap());
        let versions: Vec<u64> = versions.map(|version| version.parse().unwrap()).collect();
        talk.note(format!("  in order: {}", versions.is_sorted()));
    }
}

pub async fn selected_objects(talk: &mut Talk<'_>) {
    let created = talk
        .given("rollouts", &labelled(rollout("a"), "tier", "web"))
        .await;
    let begin = created.version().to_owned();
    talk.given("rollouts", &labelled(rollout("b"), "tier", "data"))
        .await;
    for (name, value) in [("a", "data"), ("b", "web"), ("b", "web2"), ("a", "web")] {
        relabel(talk, name, value).await;
    }
    talk.ask("DELETE", "rollouts/a", JSON, "").await;
    let query = format!("rollouts?labelSelector=tier=web&resourceVersion={begin}");
    let events = talk.watch(&query).await;
    talk.show_events(&events);
    let last = events
        .last()
        .map(|event| event["object"]["metadata"]["labels"].clone());
    talk.note(format!("  the last one's labels: {last:?}"));
}

pub async fn one_object(talk: &mut Talk<'_>) {
    let begin = talk.given("rollouts", &rollout("a")).await.version().to_owned();
    talk.given("rollouts", &rollout("b")).await;
    relabel(talk, "a", "web").await;
    for query in ["rollouts?fieldSelector=metadata.name=a", "rollouts/a?"] {
        let events = talk.watch(&format!("{query}&resourceVersion={begin}")).await;
        talk.show_events(&events);
    }
}

pub async fn bookmarks(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    let mut attempt = 1;
    let (begin, answer) = loop {
        // A cache that has seen no event yet, as one that was just made anew, does not say how far it is.
        let begin = relabel(talk, "a", &attempt.to_string()).await;
        // It comes in the last two seconds of a watch, which are over too soon on a machine that is busy.
        let seconds = 4 * attempt;
        let query = format!("timeoutSeconds={seconds}&allowWatchBookmarks=true&resourceVersion={begin}");
        let answer = talk
            .ask("GET", &format!("rollouts?watch=true&{query}"), JSON, "")
            .await;
        if attempt == 4 || answer.text("/type") == "BOOKMARK" {
            break (begin, answer);
        }
        attempt += 1;
    };
    talk.show(
        &answer,
        &[
            "/type",
            "/object/kind",
            "/object/apiVersion",
            "/object/metadata/name",
        ],
    );
    let version = answer.text("/object/metadata/resourceVersion").parse::<u64>();
    talk.note(format!(
        "  from there on: {}",
        version.is_ok_and(|at| at >= begin.parse().unwrap())
    ));
}

/// What informers of new clients ask in place of a list.
pub async fn initial_events_and_bookmark(talk: &mut Talk<'_>) {
    for name in ["a", "b"] {
        talk.given("rollouts", &rollout(name)).await;
    }
    let query = "rollouts?sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut events = talk.watch(query).await;
    // At the end of the watch there may be one more, as in any.
    let end = events.iter().position(|event| event["type"] == "BOOKMARK");
    events.truncate(end.map_or(events.len(), |end| end + 1));
    talk.show_events(&events);
    let end = events
        .last()
        .map(|event| event["object"]["metadata"]["annotations"].clone());
    talk.note(format!("  the last one's annotations: {end:?}"));
    talk.get("rollouts?watch=true&timeoutSeconds=1&sendInitialEvents=true")
        .await;
    talk.get("rollouts?sendInitialEvents=true&resourceVersionMatch=NotOlderThan")
        .await;
}

pub async fn invalid_versions(talk: &mut Talk<'_>) {
    talk.get("rollouts?watch=true&timeoutSeconds=1&resourceVersion=nonsense")
        .await;
    talk.get("rollouts?watch=true&timeoutSeconds=1&resourceVersion=1&resourceVersionMatch=Exact")
        .await;
}

pub async fn a_deleted_object(talk: &mut Talk<'_>) {
    let mut object = rollout("a");
    object["metadata"]["finalizers"] = json!(["tidegate.dev/hold"]);
    let begin = talk.given("rollouts", &object).await.version().to_owned();
    talk.ask("DELETE", "rollouts/a", JSON, "").await;
    let patch = json!({"metadata": {"finalizers": null}});
    talk.merge("rollouts/a", &patch).await;
    let events = talk.watch(&format!("rollouts?resourceVersion={begin}")).await;
    talk.show_events(&events);
    for event in &events {
        let metadata = &event["object"]["metadata"];
        let deleting = metadata["deletionTimestamp"].is_string();
        talk.note(format!(
            "  deleting: {deleting}, finalizers: {}",
            metadata["finalizers"]
        ));
    }
}

pub async fn tables(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    let form = "application/json;as=Table;g=meta.k8s.io;v=v1";
    let answer = talk
        .ask("GET", "rollouts?watch=true&timeoutSeconds=1", form, "")
        .await;
    talk.show(
        &answer,
        &[
            "/type",
            "/object/kind",
            "/object/columnDefinitions/1/name",
            "/object/rows/0/cells/0",
        ],
    );
}

pub async fn a_version_that_is_too_old(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    let events = talk.watch("rollouts?resourceVersion=1").await;
    talk.show_events(&events);
}

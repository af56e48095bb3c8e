//! Get and list.

use serde_json::json;

use crate::object::{command, config_map, labelled, pod, replica_set, rollout};
use crate::talk::{JSON, Talk, plain};

pub async fn a_created_object(talk: &mut Talk<'_>) {
    let created = talk.create("configmaps", &config_map("a")).await;
    let read = talk.get("configmaps/a").await;
    talk.show(
        &read,
        &[
            "/apiVersion",
            "/kind",
            "/metadata/name",
            "/metadata/namespace",
            "/data",
        ],
    );
    for field in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "selfLink",
    ] {
        let there = read.body["metadata"][field].is_string();
        talk.note(format!("  {field}: {there}"));
    }
    talk.note(format!("  as created: {}", created.body == read.body));
}

pub async fn a_missing_object(talk: &mut Talk<'_>) {
    for path in [
        "configmaps/none",
        "rollouts/none",
        "replicasets/none",
        "endpointslices/none",
        "rollouts/none/scale",
    ] {
        let answer = talk.get(path).await;
        talk.show(&answer, &["/message"]);
    }
}

pub async fn unserved_paths(talk: &mut Talk<'_>) {
    for path in [
        "/apis/tidegate.dev/v1alpha1/namespaces/default/nothings",
        "/apis/tidegate.dev/v9/namespaces/default/rollouts",
        "/apis/nothing.dev/v1/nothings",
        "/apis/tidegate.dev/v1alpha1/rollouts/a",
    ] {
        talk.get(path).await;
    }
    talk.given("rollouts", &rollout("a")).await;
    talk.get("rollouts/a/nothing").await;
}

async fn names(talk: &mut Talk<'_>, query: &str) {
    let answer = talk.get(query).await;
    let names: Vec<_> = answer
        .items()
        .iter()
        .map(|item| item["metadata"]["name"].clone())
        .collect();
    talk.note(format!("  {}", json!(names)));
}

pub async fn label_selectors(talk: &mut Talk<'_>) {
    for (name, tier) in [("a", "web"), ("b", "web"), ("c", "data")] {
        talk.given("configmaps", &labelled(config_map(name), "tier", tier))
            .await;
    }
    talk.given("configmaps", &config_map("d")).await;
    for selector in [
        "tier=web",
        "tier==data",
        "tier!=web,tier",
        "tier+in+(web,data)",
        "tier+notin+(web),tier",
        "tier",
        "!tier,tier!=web",
        "tier=",
        "tier=none",
        "tier=web,tier=data",
        "tier+in+web",
        "tier=%25",
    ] {
        names(
            talk,
            &format!("configmaps?labelSelector={selector}&fieldSelector=metadata.name!=kube-root-ca.crt"),
        )
        .await;
    }
}

pub async fn field_selectors(talk: &mut Talk<'_>) {
    for name in ["a", "b"] {
        talk.given("pods", &pod(name)).await;
        talk.given("rollouts", &rollout(name)).await;
    }
    for query in [
        "pods?fieldSelector=metadata.name=a",
        "pods?fieldSelector=metadata.name!=a",
        "pods?fieldSelector=status.phase=Pending",
        "pods?fieldSelector=status.phase!=Pending",
        "pods?fieldSelector=spec.nodeName=",
        "pods?fieldSelector=spec.nodeName=none",
        "pods?fieldSelector=spec.priority=1",
        "rollouts?fieldSelector=metadata.name=b",
        "rollouts?fieldSelector=metadata.namespace=default",
        "rollouts?fieldSelector=spec.replicas=2",
        "pods?fieldSelector=nonsense",
    ] {
        names(talk, query).await;
    }
}

pub async fn all_namespaces(talk: &mut Talk<'_>) {
    let (first, second) = (talk.namespace.clone(), format!("{}-2", talk.namespace));
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": second}});
    talk.given("/api/v1/namespaces", &namespace).await;
    for namespace in [second, first] {
        let path = format!("/apis/tidegate.dev/v1alpha1/namespaces/{namespace}/rollouts");
        talk.given(&path, &labelled(rollout("a"), "group", "all-namespaces"))
            .await;
    }
    let answer = talk
        .get("/apis/tidegate.dev/v1alpha1/rollouts?labelSelector=group=all-namespaces")
        .await;
    let items = answer.items().iter();
    let mut places: Vec<_> = items.map(|item| plain(&item["metadata"]["namespace"])).collect();
    places.sort();
    talk.note(format!("  {places:?}"));
    talk.show(
        &answer,
        &["/kind", "/apiVersion", "/items/0/kind", "/items/0/apiVersion"],
    );
    talk.get("/apis/tidegate.dev/v1alpha1/namespaces/nowhere/rollouts")
        .await;
}

pub async fn versions_of_a_list(talk: &mut Talk<'_>) {
    let first = talk.given("rollouts", &rollout("a")).await;
    let second = talk.given("rollouts", &rollout("b")).await;
    let (old, new) = (first.version().to_owned(), second.version().to_owned());
    for query in [
        format!("resourceVersion={new}"),
        format!("resourceVersion={old}&resourceVersionMatch=Exact"),
        format!("resourceVersion={new}&resourceVersionMatch=Exact"),
        format!("resourceVersion={new}&resourceVersionMatch=NotOlderThan"),
        "resourceVersion=0&resourceVersionMatch=Exact".to_owned(),
        "resourceVersionMatch=Exact".to_owned(),
        format!("resourceVersion={new}&resourceVersionMatch=Nonsense"),
        "resourceVersion=nonsense".to_owned(),
    ] {
        names(talk, &format!("rollouts?{query}")).await;
    }
    talk.get("rollouts/a?resourceVersion=0").await;
    let listed = talk.ask("GET", "rollouts", JSON, "").await;
    let (listed, newest): (u64, u64) = (listed.version().parse().unwrap(), new.parse().unwrap());
    talk.note(format!(
        "  a list is as new as its newest object: {}",
        listed >= newest
    ));
}

pub async fn paging(talk: &mut Talk<'_>) {
    for name in ["a", "b", "c", "d", "e"] {
        talk.given("rollouts", &rollout(name)).await;
    }
    let mut query = "rollouts?limit=2".to_owned();
    let mut pages = Vec::new();
    loop {
        let page = talk.get(&query).await;
        for item in page.items() {
            talk.note(format!("  {}", item["metadata"]["name"]));
        }
        talk.show(&page, &["/metadata/remainingItemCount"]);
        pages.push(page.version().to_owned());
        let token = page.text("/metadata/continue");
        if token.is_empty() {
            break;
        }
        if pages.len() == 1 {
            // The pages to come show what was there when the first one was shown.
            talk.ask("DELETE", "rollouts/d", JSON, "").await;
            talk.given("rollouts", &rollout("f")).await;
        }
        query = format!("rollouts?limit=2&continue={token}");
    }
    talk.note(format!(
        "  all of one version: {}",
        pages.iter().all(|page| *page == pages[0])
    ));
    names(talk, "rollouts?limit=2&labelSelector=none=none").await;
    let selected = talk.get("rollouts?limit=1&fieldSelector=metadata.name!=z").await;
    talk.show(&selected, &["/metadata/remainingItemCount"]);
}

pub async fn an_invalid_continue(talk: &mut Talk<'_>) {
    talk.get("rollouts?limit=2&continue=bm9uc2Vuc2U").await;
    talk.get("rollouts?limit=2&continue=%25%25").await;
}

pub async fn an_expired_continue(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    talk.server.compact().await;
    let token = talk.server.token_of_first_version();
    let expired = talk.get(&format!("rollouts?limit=1&continue={token}")).await;
    // To go on with what there is now.
    let goes_on = !expired.text("/metadata/continue").is_empty();
    talk.note(format!("  a token to go on with: {goes_on}"));
}

pub async fn metadata_only(talk: &mut Talk<'_>) {
    talk.given("rollouts", &labelled(rollout("a"), "tier", "web"))
        .await;
    let form = |kind: &str| format!("application/json;as={kind};g=meta.k8s.io;v=v1");
    let one = talk
        .tell("GET", "rollouts/a", &form("PartialObjectMetadata"), "")
        .await;
    let pointers = ["/kind", "/apiVersion", "/metadata/labels", "/spec"];
    talk.show(&one, &pointers);
    let list = talk
        .tell("GET", "rollouts", &form("PartialObjectMetadataList"), "")
        .await;
    talk.show(
        &list,
        &[
            "/kind",
            "/apiVersion",
            "/items/0/kind",
            "/items/0/metadata/labels",
            "/items/0/spec",
        ],
    );
    talk.tell("GET", "rollouts/a", "text/plain", "").await;
}

/// Columns, and the cells but for the age.
async fn table(talk: &mut Talk<'_>, path: &str) {
    let form = "application/json;as=Table;g=meta.k8s.io;v=v1";
    let answer = talk.tell("GET", path, form, "").await;
    let columns = answer.body["columnDefinitions"].as_array().into_iter().flatten();
    let columns: Vec<_> = columns
        .map(|column| format!("{} {} {}", column["name"], column["type"], column["priority"]))
        .collect();
    talk.note(format!("  {}", columns.join(", ")));
    let age = columns.iter().position(|column| column.contains("Age"));
    for row in answer.body["rows"].as_array().into_iter().flatten() {
        let cells = row["cells"].as_array().into_iter().flatten().enumerate();
        let cells: Vec<_> = cells
            .filter(|(at, _)| Some(*at) != age)
            .map(|(_, cell)| cell)
            .collect();
        talk.note(format!("  {} {}", json!(cells), row["object"]["kind"]));
    }
}

pub async fn table_of_rollouts(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    talk.given("rollouts", &rollout("b")).await;
    let status = json!({"status": {"phase": "Paused", "readyReplicas": 2}});
    talk.merge("rollouts/b/status", &status).await;
    table(talk, "rollouts").await;
    table(talk, "rollouts/b").await;
    table(talk, "rollouts/b?includeObject=None").await;
    table(talk, "rollouts?includeObject=Object").await;
    table(talk, "rollouts/none").await;
}

pub async fn table_of_commands(talk: &mut Talk<'_>) {
    let mut object = command("a");
    object["metadata"] = json!({"name": "abort"});
    talk.given("rolloutcommands", &object).await;
    table(talk, "rolloutcommands").await;
}

pub async fn table_of_pods(talk: &mut Talk<'_>) {
    talk.given("pods", &pod("a")).await;
    table(talk, "pods").await;
}

pub async fn table_of_replica_sets(talk: &mut Talk<'_>) {
    talk.given("replicasets", &replica_set("a", 0)).await;
    table(talk, "replicasets").await;
}

pub async fn unserved_methods(talk: &mut Talk<'_>) {
    talk.given("rollouts", &rollout("a")).await;
    talk.tell("POST", "rollouts/a", JSON, rollout("a").to_string())
        .await;
    talk.tell("PUT", "rollouts", JSON, rollout("a").to_string()).await;
    talk.tell("DELETE", "rollouts/a/status", JSON, "").await;
    talk.tell("PATCH", "rollouts", crate::talk::MERGE_PATCH, "{}")
        .await;
    talk.tell("GET", "pods/a/binding", JSON, "").await;
}

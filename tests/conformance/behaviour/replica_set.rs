//! The ReplicaSet controller.

use serde_json::{Value, json};

use crate::object::{pod, replica_set};
use crate::talk::{Answer, JSON, Talk, plain};

fn alive(answer: &Answer) -> Vec<&Value> {
    let items = answer.items().iter();
    items
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .collect()
}

/// A ReplicaSet and its pods' names.
async fn with_pods(talk: &mut Talk<'_>, object: Value) -> Vec<String> {
    let count = object["spec"]["replicas"].as_u64().unwrap();
    talk.given("replicasets", &object).await;
    let pods = talk
        .until("its pods are there", "pods", |answer| {
            answer.items().len() as u64 == count
        })
        .await;
    let names = pods
        .items()
        .iter()
        .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned());
    names.collect()
}

async fn run(talk: &Talk<'_>, names: &[String], ready: bool) {
    for (at, name) in names.iter().enumerate() {
        talk.bind(name).await;
        talk.run_pod(name, &format!("10.77.7.{}", at + 1), ready).await;
    }
}

async fn until_counted(talk: &mut Talk<'_>, path: &str, field: &str, count: u64) -> Answer {
    let what = format!("{field} is {count}");
    let counted = |answer: &Answer| answer.body["status"][field].as_u64().unwrap_or(0) == count;
    talk.until(&what, path, counted).await
}

const COUNTS: [&str; 5] = [
    "/status/replicas",
    "/status/fullyLabeledReplicas",
    "/status/readyReplicas",
    "/status/availableReplicas",
    "/status/observedGeneration",
];

pub async fn pods_from_the_template(talk: &mut Talk<'_>) {
    let mut object = replica_set("web", 2);
    object["metadata"]["labels"] = json!({"of": "the ReplicaSet".replace(' ', "-")});
    object["spec"]["template"]["metadata"]["finalizers"] = json!(["tidegate.dev/hold"]);
    let uid = {
        with_pods(talk, object).await;
        talk.ask("GET", "replicasets/web", JSON, "")
            .await
            .uid()
            .to_owned()
    };
    let pods = talk.get("pods").await;
    for pod in pods.items().to_vec() {
        let metadata = &pod["metadata"];
        let suffix = metadata["name"]
            .as_str()
            .unwrap()
            .strip_prefix("web-")
            .map(str::len);
        talk.note(format!("  suffix {suffix:?}, {}", metadata["generateName"]));
        talk.note(format!(
            "  {} {} {}",
            plain(&metadata["labels"]),
            plain(&metadata["annotations"]),
            metadata["finalizers"]
        ));
        let mut owners = metadata["ownerReferences"].clone();
        let same = owners[0]["uid"] == uid.as_str();
        owners[0].as_object_mut().unwrap().remove("uid");
        talk.note(format!("  {} {same}", plain(&owners)));
        talk.note(format!("  {}", pod["spec"]["containers"][0]["image"]));
    }
}

pub async fn status_counts(talk: &mut Talk<'_>) {
    let created = talk.create("replicasets", &replica_set("a", 3)).await;
    talk.show(&created, &["/status"]);
    let answer = until_counted(talk, "replicasets/a", "replicas", 3).await;
    talk.show(&answer, &COUNTS);
    let pods = talk.ask("GET", "pods", JSON, "").await;
    let names: Vec<_> = pods
        .items()
        .iter()
        .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    run(talk, &names[..2], true).await;
    run(talk, &names[2..], false).await;
    let answer = until_counted(talk, "replicasets/a", "availableReplicas", 2).await;
    talk.show(&answer, &COUNTS);
    talk.run_pod(&names[0], "10.77.7.1", false).await;
    let answer = until_counted(talk, "replicasets/a", "readyReplicas", 1).await;
    talk.show(&answer, &COUNTS);
    talk.merge("replicasets/a", &json!({"spec": {"replicas": 4}}))
        .await;
    let answer = until_counted(talk, "replicasets/a", "replicas", 4).await;
    talk.show(&answer, &COUNTS);
}

pub async fn min_ready_seconds(talk: &mut Talk<'_>) {
    let mut object = replica_set("a", 1);
    object["spec"]["minReadySeconds"] = json!(4);
    let names = with_pods(talk, object).await;
    run(talk, &names, true).await;
    let answer = until_counted(talk, "replicasets/a", "readyReplicas", 1).await;
    talk.show(&answer, &COUNTS);
    let answer = until_counted(talk, "replicasets/a", "availableReplicas", 1).await;
    talk.show(&answer, &COUNTS);
}

pub async fn unready_pods_go_first(talk: &mut Talk<'_>) {
    let names = with_pods(talk, replica_set("a", 3)).await;
    run(talk, &names[..1], true).await;
    run(talk, &names[1..2], false).await;
    // The third has no node. It goes first, then the one that is not ready.
    let place = |pod: &Value| {
        names
            .iter()
            .position(|name| pod["metadata"]["name"] == name.as_str())
    };
    until_counted(talk, "replicasets/a", "readyReplicas", 1).await;
    for replicas in [2, 1] {
        talk.merge("replicasets/a", &json!({"spec": {"replicas": replicas}}))
            .await;
        let pods = talk
            .until("some are told to go", "pods", |answer| {
                alive(answer).len() == replicas
            })
            .await;
        let mut left: Vec<_> = alive(&pods).into_iter().map(place).collect();
        left.sort();
        talk.note(format!("  left: {left:?}"));
    }
}

pub async fn scaled_to_zero(talk: &mut Talk<'_>) {
    let names = with_pods(talk, replica_set("a", 2)).await;
    run(talk, &names, true).await;
    talk.merge("replicasets/a", &json!({"spec": {"replicas": 0}}))
        .await;
    let over = |answer: &Answer| {
        answer.body["status"]["observedGeneration"] == 2 && answer.body["status"]["replicas"] == 0
    };
    let answer = talk.until("none is counted", "replicasets/a", over).await;
    talk.show(&answer, &["/status"]);
    let pods = talk.get("pods").await;
    talk.note(format!("  {} pods terminate", pods.items().len()));
    for name in &names {
        talk.ask(
            "DELETE",
            &format!("pods/{name}"),
            JSON,
            json!({"gracePeriodSeconds": 0}).to_string(),
        )
        .await;
    }
    talk.until("none is left", "pods", |answer| answer.items().is_empty())
        .await;
}

pub async fn a_deleted_pod_is_replaced(talk: &mut Talk<'_>) {
    let names = with_pods(talk, replica_set("a", 1)).await;
    run(talk, &names, true).await;
    talk.ask("DELETE", &format!("pods/{}", names[0]), JSON, "").await;
    // The successor does not wait until its predecessor is gone.
    let pods = talk
        .until("there is a successor", "pods", |answer| answer.items().len() == 2)
        .await;
    talk.note(format!("  {} alive", alive(&pods).len()));
    let over = |answer: &Answer| {
        answer.body["status"]["readyReplicas"].is_null() && answer.body["status"]["replicas"] == 1
    };
    let answer = talk
        .until("the successor is counted", "replicasets/a", over)
        .await;
    talk.show(&answer, &COUNTS);
}

pub async fn a_failed_pod_is_replaced(talk: &mut Talk<'_>) {
    let names = with_pods(talk, replica_set("a", 1)).await;
    run(talk, &names, true).await;
    let failed = json!({"status": {"phase": "Failed"}}).to_string();
    let path = format!("pods/{}/status", names[0]);
    talk.ask("PATCH", &path, crate::talk::MERGE_PATCH, failed).await;
    let other = |answer: &Answer| {
        answer
            .items()
            .iter()
            .any(|pod| pod["metadata"]["name"] != names[0].as_str())
    };
    let pods = talk.until("there is a successor", "pods", other).await;
    talk.note(format!("  {} pods", pods.items().len()));
}

pub async fn terminating_pods(talk: &mut Talk<'_>) {
    let names = with_pods(talk, replica_set("a", 2)).await;
    run(talk, &names, true).await;
    until_counted(talk, "replicasets/a", "availableReplicas", 2).await;
    talk.merge("replicasets/a", &json!({"spec": {"replicas": 1}}))
        .await;
    let answer = until_counted(talk, "replicasets/a", "replicas", 1).await;
    talk.show(&answer, &COUNTS);
    until_counted(talk, "replicasets/a", "terminatingReplicas", 1).await;
}

pub async fn deletion_costs(talk: &mut Talk<'_>) {
    let names = with_pods(talk, replica_set("a", 3)).await;
    run(talk, &names, true).await;
    for (name, cost) in names.iter().zip(["10", "-5", "0"]) {
        let patch =
            json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": cost}}});
        talk.ask(
            "PATCH",
            &format!("pods/{name}"),
            crate::talk::MERGE_PATCH,
            patch.to_string(),
        )
        .await;
    }
    until_counted(talk, "replicasets/a", "readyReplicas", 3).await;
    // Time for the controller to see the costs.
    talk.pause().await;
    for replicas in [2, 1] {
        talk.merge("replicasets/a", &json!({"spec": {"replicas": replicas}}))
            .await;
        let pods = talk
            .until("one is told to go", "pods", |answer| {
                alive(answer).len() == replicas
            })
            .await;
        let place = |pod: &Value| {
            names
                .iter()
                .position(|name| pod["metadata"]["name"] == name.as_str())
        };
        let mut left: Vec<_> = alive(&pods).into_iter().map(place).collect();
        left.sort();
        talk.note(format!("  left: {left:?}"));
    }
}

pub async fn invalid_selectors(talk: &mut Talk<'_>) {
    for (pointer, value) in [
        ("/spec/selector", json!({"matchLabels": {"app": "other"}})),
        ("/spec/selector", json!({})),
        ("/spec/selector", Value::Null),
        (
            "/spec/selector",
            json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}),
        ),
        (
            "/spec/selector",
            json!({"matchExpressions": [{"key": "app", "operator": "Like", "values": ["web"]}]}),
        ),
        ("/spec/replicas", json!(-1)),
        ("/spec/template/spec/containers", json!([])),
        ("/spec/template/spec/restartPolicy", json!("Never")),
        ("/spec/template", Value::Null),
    ] {
        let mut object = replica_set("a", 0);
        object["spec"]["template"]["spec"]["restartPolicy"] = json!("Always");
        *object.pointer_mut(pointer).unwrap() = value.clone();
        talk.note(format!("{pointer} {value}"));
        talk.create("replicasets?dryRun=All", &object).await;
    }
    talk.given("replicasets", &replica_set("a", 0)).await;
    let changed = json!({"spec": {"selector": {"matchLabels": {"app": "web", "tier": "x"}},
        "template": {"metadata": {"labels": {"tier": "x"}}}}});
    talk.merge("replicasets/a", &changed).await;
}

pub async fn adoption(talk: &mut Talk<'_>) {
    talk.given("pods", &pod("stray")).await;
    talk.given("replicasets", &replica_set("a", 1)).await;
    let owned = |answer: &Answer| answer.body["metadata"]["ownerReferences"].is_array();
    let answer = talk.until("it is adopted", "pods/stray", owned).await;
    talk.show(
        &answer,
        &[
            "/metadata/ownerReferences/0/name",
            "/metadata/ownerReferences/0/controller",
        ],
    );
    let pods = talk.get("pods").await;
    talk.note(format!("  {} pods", pods.items().len()));
}

pub async fn a_relabelled_pod(talk: &mut Talk<'_>) {
    let names = with_pods(talk, replica_set("a", 1)).await;
    let patch = json!({"metadata": {"labels": {"app": "other"}}}).to_string();
    let path = format!("pods/{}", names[0]);
    talk.ask("PATCH", &path, crate::talk::MERGE_PATCH, patch).await;
    talk.until("there is a successor", "pods", |answer| answer.items().len() == 2)
        .await;
    let released = |answer: &Answer| answer.body["metadata"]["ownerReferences"].is_null();
    let path = talk.path(&path);
    talk.until("it is released", &path, released).await;
}

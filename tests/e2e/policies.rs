//! The chart's admission policies, asked by its own service account and by people: the table of `tests/chart/policies.yaml`, each case a
//! dry run.

use std::time::Duration;

use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::apply::apply;
use crate::control_plane::{OPERATOR, client};
use crate::world::World;

const NAMESPACE: &str = "policies";
const CASES: &str = include_str!("../chart/policies.yaml");
/// A policy takes about a second to bite.
const POLLS: u32 = 50;

/// What every wrong answer was about. Nobody else may look after the Rollouts meanwhile.
pub async fn judge(world: &World) -> Vec<String> {
    let file: Value = serde_saphyr::from_str(CASES).unwrap();
    apply(
        &world.client,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
    )
    .await;
    let objects = file["objects"].as_object().unwrap();
    apply(&world.client, placed(&objects["rollout"], "")).await;
    let rollout = api(&world.client, &objects["rollout"])
        .get("checkout")
        .await
        .unwrap();
    let uid = rollout.metadata.uid.unwrap();
    for object in objects.iter().filter(|(name, _)| *name != "rollout") {
        apply(&world.client, placed(object.1, &uid)).await;
    }
    let token = world.chart.token(&world.client).await;
    let ours = client(&world.control_plane.kubeconfig("policies", &token), "policies").await;
    let operator = client(&world.control_plane.of_person(OPERATOR), "policies").await;
    let mut wrong = Vec::new();
    for case in file["cases"].as_array().unwrap() {
        let asker = match case["as"].as_str() {
            None => &ours,
            Some(person) => {
                assert_eq!(person, OPERATOR);
                &operator
            }
        };
        let mut answer = ask(asker, case, objects, &uid).await;
        for _ in 0..POLLS {
            if is_right(case, &answer) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            answer = ask(asker, case, objects, &uid).await;
        }
        if !is_right(case, &answer) {
            wrong.push(format!("{}: {answer:?}", case["name"]));
        }
    }
    wrong
}

fn is_right(case: &Value, answer: &Result<(), String>) -> bool {
    match (case["refused"].as_str(), answer) {
        (None, Ok(())) => true,
        (Some(refused), Err(message)) => message.contains(refused),
        _ => false,
    }
}

async fn ask(
    client: &kube::Client,
    case: &Value,
    objects: &serde_json::Map<String, Value>,
    uid: &str,
) -> Result<(), String> {
    let named = |verb: &str| case[verb].as_str().map(|name| &objects[name]);
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    let answer = if case["create"].is_object() {
        let object = placed(&case["create"], uid);
        let parameters = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let created = serde_json::from_value(object.clone()).unwrap();
        api(client, &object).create(&parameters, &created).await.map(drop)
    } else if let Some(object) = named("patch") {
        let ops = serde_json::from_value(replaced(&case["ops"], uid)).unwrap();
        let parameters = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        let patch = Patch::<()>::Json(ops);
        api(client, object)
            .patch(&name(object), &parameters, &patch)
            .await
            .map(drop)
    } else {
        let object = named("delete").unwrap();
        api(client, object)
            .delete(&name(object), &DeleteParams::default().dry_run())
            .await
            .map(drop)
    };
    answer.map_err(|error| error.to_string())
}

fn api(client: &kube::Client, object: &Value) -> Api<DynamicObject> {
    let (group, version) = object["apiVersion"]
        .as_str()
        .unwrap()
        .split_once('/')
        .unwrap_or(("", "v1"));
    let kind = GroupVersionKind::gvk(group, version, object["kind"].as_str().unwrap());
    Api::namespaced_with(client.clone(), NAMESPACE, &ApiResource::from_gvk(&kind))
}

/// In our namespace, with the uid of the Rollout.
fn placed(object: &Value, uid: &str) -> Value {
    let mut object = replaced(object, uid);
    object["metadata"]["namespace"] = json!(NAMESPACE);
    object
}

fn replaced(value: &Value, uid: &str) -> Value {
    serde_json::from_str(&value.to_string().replace("\"UID\"", &format!("\"{uid}\""))).unwrap()
}

//! The chart's Deployment: its pods are admitted under pod security, and become Ready by its own readiness probe. The
//! tests are their kubelet: what a pod would run is a replica that was started beside it.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::apply::apply;
use crate::chart::CLUSTER_WIDE;
use crate::patience::until;
use crate::replica::Replica;
use crate::world::World;

/// The nodes of the sandbox leave alone what another scheduler is asked for.
const SCHEDULER: &str = "tests";

/// Installs the Deployment and waits until it is available, with a replica in the place of each of its pods.
pub async fn become_ready(world: &World, replicas: &[Replica]) {
    let mut deployment = world.chart.deployment.clone();
    deployment["spec"]["template"]["spec"]["schedulerName"] = json!(SCHEDULER);
    let name = deployment["metadata"]["name"].as_str().unwrap().to_owned();
    let probe = probe_path(&deployment);
    apply(&world.client, deployment).await;
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), CLUSTER_WIDE.namespace);
    let made = until("the chart's Deployment has its pods", || async {
        let made = pods.list(&ListParams::default()).await.unwrap().items;
        let count = made.len();
        (count == replicas.len())
            .then_some(made)
            .ok_or(format!("{count} pods"))
    })
    .await;
    for (number, (pod, replica)) in made.iter().zip(replicas).enumerate() {
        assert!(
            replica.answers(&probe).await,
            "{} is not ready by {probe}",
            replica.name
        );
        report_ready(&pods, pod.metadata.name.as_deref().unwrap(), number).await;
    }
    let deployments: Api<Deployment> = Api::namespaced(world.client.clone(), CLUSTER_WIDE.namespace);
    until("the chart's Deployment is available", || async {
        let status = deployments.get(&name).await.unwrap().status.unwrap_or_default();
        let is_available = status.available_replicas == i32::try_from(replicas.len()).ok();
        is_available.then_some(()).ok_or(format!("{status:?}"))
    })
    .await;
}

fn probe_path(deployment: &Value) -> String {
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    container["readinessProbe"]["httpGet"]["path"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// As a scheduler and a kubelet say it.
async fn report_ready(pods: &Api<Pod>, pod: &str, number: usize) {
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "sandbox"},
    });
    let bound: kube::Result<Value> = pods
        .create_subresource("binding", pod, &PostParams::default(), &binding)
        .await;
    bound.unwrap();
    let address = format!("10.77.0.{}", 200 + number);
    let condition = |kind: &str| json!({"type": kind, "status": "True"});
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(condition);
    let status = json!({"status": {
        "phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions,
    }});
    pods.patch_status(pod, &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
}

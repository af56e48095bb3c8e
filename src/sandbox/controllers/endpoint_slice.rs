//! The EndpointSlice controller: one slice per Service that has a selector, whatever the number of its pods.

use std::collections::BTreeMap;

use kube::api::{DynamicObject, PostParams};
use serde_json::{Map, Value, json};

use super::{Error, failed, list_pods};
use crate::sandbox::resource::{
    Key, endpoint_slices, is_ready, is_terminating, list, services, text, text_map,
};

const SERVICE_LABEL: &str = "kubernetes.io/service-name";
const MANAGED_BY_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGED_BY: &str = "endpointslice-controller.k8s.io";

/// Brings the slice of one Service up to date with the pods that the Service selects.
pub async fn sync_endpoint_slice(client: &kube::Client, key: &Key) -> Result<(), Error> {
    let found = key.api(client, &services()).get_opt(&key.name).await;
    let Some(service) = found.map_err(failed("read", "Service", key))? else {
        return Ok(());
    };
    let pods = list_pods(client, key, &selector(&service)).await?;
    reconcile(client, &service, &pods).await
}

/// The labels by which a Service finds its pods; a Service without any has no slice of ours.
pub(super) fn selector(service: &DynamicObject) -> BTreeMap<String, String> {
    text_map(&service.data, "/spec/selector")
}

/// The step itself, for callers that know the Service and the pods it selects.
pub(super) async fn reconcile(
    client: &kube::Client,
    service: &DynamicObject,
    pods: &[DynamicObject],
) -> Result<(), Error> {
    if is_terminating(service) || selector(service).is_empty() {
        return Ok(());
    }
    let wanted = render_slice(service, pods);
    let key = Key::of(&wanted);
    let api = key.api(client, &endpoint_slices());
    let found = api
        .get_opt(&key.name)
        .await
        .map_err(failed("read", "EndpointSlice", &key))?;
    let written = match found {
        None => api.create(&PostParams::default(), &wanted).await,
        Some(found) if found.data == wanted.data && found.metadata.labels == wanted.metadata.labels => {
            return Ok(());
        }
        Some(mut found) => {
            found.data = wanted.data;
            found.metadata.labels = wanted.metadata.labels;
            api.replace(&key.name, &PostParams::default(), &found).await
        }
    };
    written.map(drop).map_err(failed("write", "EndpointSlice", &key))
}

fn render_slice(service: &DynamicObject, pods: &[DynamicObject]) -> DynamicObject {
    let key = Key::of(service);
    let mut slice = DynamicObject::new(&format!("{}-endpoints", key.name), &endpoint_slices());
    slice.metadata.namespace = Some(key.namespace);
    slice.metadata.labels = Some(BTreeMap::from([
        (SERVICE_LABEL.to_owned(), key.name.clone()),
        (MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned()),
    ]));
    slice.metadata.owner_references = service.metadata.uid.clone().map(|uid| {
        vec![k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Service".to_owned(),
            name: key.name,
            uid,
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]
    });
    let mut pods: Vec<_> = pods.iter().collect();
    pods.sort_by_key(|pod| Key::of(pod));
    let publish_unready = service.data.pointer("/spec/publishNotReadyAddresses") == Some(&Value::Bool(true));
    let endpoints: Vec<_> = pods
        .iter()
        .filter_map(|pod| render_endpoint(pod, publish_unready))
        .collect();
    // Without endpoints there is nothing that the ports could be of.
    let ports: Vec<_> = list(&service.data, "/spec/ports")
        .iter()
        .filter(|_| !endpoints.is_empty())
        .filter_map(|port| render_port(port, pods.first().copied()))
        .collect();
    slice.data = json!({"addressType": "IPv4", "endpoints": endpoints, "ports": ports});
    slice
}

/// None for a pod that has no address yet or has finished.
fn render_endpoint(pod: &DynamicObject, publish_unready: bool) -> Option<Value> {
    if matches!(text(&pod.data, "/status/phase"), Some("Succeeded" | "Failed")) {
        return None;
    }
    let address = text(&pod.data, "/status/podIP")?;
    let (serving, terminating) = (is_ready(pod), is_terminating(pod));
    let key = Key::of(pod);
    let mut endpoint = json!({
        "addresses": [address],
        "conditions": {
            "ready": publish_unready || (serving && !terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": {"kind": "Pod", "name": key.name, "namespace": key.namespace, "uid": pod.metadata.uid},
    });
    if let (Some(node), Some(endpoint)) = (text(&pod.data, "/spec/nodeName"), endpoint.as_object_mut()) {
        endpoint.insert("nodeName".to_owned(), json!(node));
    }
    Some(endpoint)
}

/// A Service's port as the pods have it; none while a port's name cannot be resolved for want of a pod.
fn render_port(port: &Value, pod: Option<&DynamicObject>) -> Option<Value> {
    let target = port.get("targetPort").or_else(|| port.get("port"))?;
    let number = match target {
        Value::String(name) => container_port(pod?, name)?,
        number => number.as_u64()?,
    };
    let mut rendered = Map::new();
    rendered.insert("name".to_owned(), json!(text(port, "/name").unwrap_or_default()));
    rendered.insert("port".to_owned(), json!(number));
    rendered.insert(
        "protocol".to_owned(),
        json!(text(port, "/protocol").unwrap_or("TCP")),
    );
    if let Some(protocol) = port.get("appProtocol") {
        rendered.insert("appProtocol".to_owned(), protocol.clone());
    }
    Some(Value::Object(rendered))
}

fn container_port(pod: &DynamicObject, name: &str) -> Option<u64> {
    let ports = list(&pod.data, "/spec/containers")
        .iter()
        .flat_map(|container| list(container, "/ports"));
    ports
        .into_iter()
        .find(|port| text(port, "/name") == Some(name))?
        .get("containerPort")?
        .as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(ports: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "shop", "namespace": "shop", "uid": "service"},
            "spec": {"selector": {"app": "shop"}, "ports": ports},
        }))
        .unwrap()
    }

    fn pod(name: &str, status: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "uid": name},
            "spec": {"containers": [{"name": "app", "ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": status,
        }))
        .unwrap()
    }

    fn running(ready: &str) -> Value {
        json!({"podIP": "127.1.0.1", "phase": "Running", "conditions": [{"type": "Ready", "status": ready}]})
    }

    fn conditions(pod: DynamicObject) -> Value {
        let slice = render_slice(&service(json!([{"port": 80}])), &[pod]);
        slice
            .data
            .pointer("/endpoints/0/conditions")
            .cloned()
            .unwrap_or_default()
    }

    #[test]
    fn conditions_follow_readiness_and_termination() {
        let said = |ready, serving, terminating| json!({"ready": ready, "serving": serving, "terminating": terminating});
        assert_eq!(conditions(pod("a", running("True"))), said(true, true, false));
        assert_eq!(conditions(pod("a", running("False"))), said(false, false, false));
        let mut terminating = pod("a", running("True"));
        terminating.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(conditions(terminating), said(false, true, true));
    }

    #[test]
    fn pods_without_address_and_finished_pods_are_no_endpoints() {
        assert_eq!(conditions(pod("a", json!({"phase": "Pending"}))), Value::Null);
        assert_eq!(
            conditions(pod("a", json!({"phase": "Failed", "podIP": "127.1.0.1"}))),
            Value::Null
        );
    }

    #[test]
    fn a_port_is_the_pods_own() {
        for (port, number) in [
            (json!({"port": 80}), Some(80)),
            (json!({"port": 80, "targetPort": 9000}), Some(9000)),
            (json!({"port": 80, "targetPort": "http"}), Some(8080)),
            (json!({"port": 80, "targetPort": "absent"}), None),
        ] {
            let slice = render_slice(&service(json!([port])), &[pod("a", running("True"))]);
            assert_eq!(
                slice.data.pointer("/ports/0/port").and_then(Value::as_u64),
                number
            );
        }
    }

    #[test]
    fn endpoints_are_sorted_by_pod() {
        let pods = [pod("b", running("True")), pod("a", running("True"))];
        let slice = render_slice(&service(json!([{"port": 80}])), &pods);
        let names: Vec<_> = list(&slice.data, "/endpoints")
            .iter()
            .map(|e| text(e, "/targetRef/name"))
            .collect();
        assert_eq!(names, [Some("a"), Some("b")]);
    }
}

//! Which pods to scrape, as Prometheus's file-based service discovery wants it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use futures::StreamExt;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::super::process::{Error, file_error};
use crate::sandbox::resource::{Key, list, pods, text};
use crate::sandbox::watch::{Event, watch};

/// Changes taken into one write of the file.
const BATCH: usize = 1024;

/// Keeps the targets file up to date with the pods of the cluster, until dropped.
pub async fn follow_pods(client: kube::Client, file: PathBuf) -> Result<(), Error> {
    let mut targets: BTreeMap<Key, Value> = BTreeMap::new();
    let mut batches = watch(&client, &pods()).ready_chunks(BATCH);
    while let Some(events) = batches.next().await {
        let before = targets.clone();
        for event in events {
            let Event::Changed(key, pod) = event else { continue };
            match pod.and_then(|pod| render_target(&pod)) {
                Some(target) => targets.insert(key, target),
                None => targets.remove(&key),
            };
        }
        if targets != before {
            write(&file, &targets)?;
        }
    }
    Ok(())
}

/// Written beside and moved into place: Prometheus never reads half a file.
fn write(file: &Path, targets: &BTreeMap<Key, Value>) -> Result<(), Error> {
    let content = Value::from_iter(targets.values().cloned()).to_string();
    let beside = file.with_extension("new");
    std::fs::write(&beside, content).map_err(file_error("write", &beside))?;
    std::fs::rename(&beside, file).map_err(file_error("replace", file))
}

/// None for a pod that has nothing to scrape. The pod's labels become the series' labels, next to `namespace` and `pod`.
fn render_target(pod: &DynamicObject) -> Option<Value> {
    let address = text(&pod.data, "/status/podIP")?;
    let port = list(&pod.data, "/spec/containers")
        .first()?
        .pointer("/ports/0/containerPort")?
        .as_u64()?;
    let key = Key::of(pod);
    let labels = pod.metadata.labels.iter().flatten();
    let mut labels: BTreeMap<String, &str> = labels
        .map(|(name, value)| (label_name(name), value.as_str()))
        .collect();
    labels.insert("namespace".to_owned(), &key.namespace);
    labels.insert("pod".to_owned(), &key.name);
    Some(json!({"targets": [format!("{address}:{port}")], "labels": labels}))
}

/// A label's name with what Prometheus does not allow replaced, as its Kubernetes discovery does it.
fn label_name(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(status: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "shop-1-x", "namespace": "shop",
                "labels": {"app": "shop", "rollouts-pod-template-hash": "1", "pod": "liar"},
            },
            "spec": {"containers": [{"ports": [{"containerPort": 8080}]}]},
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_target_carries_the_pods_labels() {
        let labels =
            json!({"app": "shop", "rollouts_pod_template_hash": "1", "namespace": "shop", "pod": "shop-1-x"});
        let target = json!({"targets": ["127.1.0.1:8080"], "labels": labels});
        assert_eq!(render_target(&pod(json!({"podIP": "127.1.0.1"}))), Some(target));
        assert_eq!(render_target(&pod(json!({}))), None);
    }
}

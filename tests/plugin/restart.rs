//! `restart`, with the sandbox's ReplicaSet controller and nodes, which replace what is evicted.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use tidegate::sandbox::api_server::{ApiRequest, Commit, Fault, Interceptor, Store};

use crate::cluster::{Cluster, NAMESPACE, aborted, healthy, paused};

async fn pods(cluster: &Cluster) -> BTreeSet<String> {
    let api: Api<Pod> = Api::namespaced(cluster.server.client("test"), NAMESPACE);
    let pods = api.list(&ListParams::default()).await.unwrap().items;
    let pods = pods
        .into_iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none());
    pods.map(|pod| pod.metadata.uid.unwrap()).collect()
}

/// Refuses the first evictions as a PodDisruptionBudget does, and remembers how few pods were ready.
struct Budget {
    refusals: usize,
    fewest: Arc<Mutex<usize>>,
}

impl Interceptor for Budget {
    fn before(&mut self, request: &ApiRequest) -> Fault {
        let subresource = request
            .target
            .as_ref()
            .and_then(|target| target.subresource.as_deref());
        if subresource != Some("eviction") || self.refusals == 0 {
            return Fault::None;
        }
        self.refusals -= 1;
        Fault::Refuse {
            status: 429,
            reason: "TooManyRequests".to_owned(),
            message: "it would violate the pod's disruption budget".to_owned(),
        }
    }

    fn committed(&mut self, _: &Commit, store: &Store) {
        let pods = store.list("Pod");
        let is_ready = |pod: &&Arc<serde_json::Value>| {
            let conditions = pod.pointer("/status/conditions").and_then(|list| list.as_array());
            let mut conditions = conditions.into_iter().flatten();
            pod.pointer("/metadata/deletionTimestamp").is_none()
                && conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        };
        let ready = pods.iter().filter(is_ready).count();
        let mut fewest = self.fewest.lock().unwrap();
        *fewest = ready.min(*fewest);
    }
}

/// The fewest ready pods from now on.
fn watch_budget(cluster: &Cluster, refusals: usize) -> Arc<Mutex<usize>> {
    let fewest = Arc::new(Mutex::new(usize::MAX));
    let budget = Budget {
        refusals,
        fewest: Arc::clone(&fewest),
    };
    cluster.server.set_interceptor(Some(Box::new(budget)));
    fewest
}

#[tokio::test]
async fn every_pod_is_replaced_within_max_unavailable() {
    let cluster = Cluster::running(healthy(), 4).await;
    let fewest = watch_budget(&cluster, 2);
    let before = pods(&cluster).await;
    let ran = cluster.run("restart checkout").await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    let after = pods(&cluster).await;
    assert_eq!((before.len(), after.len()), (4, 4));
    assert!(before.is_disjoint(&after));
    // 25 % of 4.
    assert_eq!(*fewest.lock().unwrap(), 3);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 6, "{}", ran.out);
    assert!(
        lines[0].ends_with(" has to wait: it would violate the pod's disruption budget"),
        "{}",
        ran.out
    );
    assert!(
        lines[1].starts_with("pod/checkout-h3-") && lines[1].ends_with(" evicted (1 of 4)"),
        "{}",
        ran.out
    );
    assert_eq!(
        lines[5],
        "rollout.tidegate.dev/checkout restarted: 4 pods replaced"
    );
    // 4 evictions and the 2 that were refused; nothing else was written.
    assert_eq!(cluster.server.request_counts().writes_by("kubectl"), 6);
}

#[tokio::test]
async fn a_release_and_a_single_pod_want_force() {
    for (status, pods, why) in [
        (paused(), 4, "error: revision 3 of checkout is being released"),
        (healthy(), 1, "error: checkout has a single pod"),
    ] {
        let cluster = Cluster::running(status, pods).await;
        let ran = cluster.run("restart checkout").await;
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.starts_with(why), "{}", ran.err);
        assert_eq!(cluster.server.request_counts().writes_by("kubectl"), 0);
        let ran = cluster.run("restart checkout --force").await;
        assert_eq!(ran.code, 0, "{ran:?}");
    }
}

#[tokio::test]
async fn an_aborted_version_is_no_release() {
    let cluster = Cluster::running(aborted(), 2).await;
    let ran = cluster.run("restart checkout").await;
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[tokio::test]
async fn a_timeout_tells_how_far_it_has_come() {
    let cluster = Cluster::running(healthy(), 2).await;
    let before = pods(&cluster).await;
    watch_budget(&cluster, usize::MAX);
    let ran = cluster.run("restart checkout --timeout 200ms").await;
    assert_eq!(ran.code, 124);
    assert_eq!(
        ran.err,
        "error: timed out after 200ms: 0 of 2 pods of checkout are replaced\n"
    );
    assert_eq!(pods(&cluster).await, before);
}

#[tokio::test]
async fn row_103_an_eviction_that_is_forbidden_names_verb_and_resource() {
    let cluster = Cluster::running(healthy(), 2).await;
    cluster.refuse("pods/eviction", 403, "Forbidden", "no such role");
    let ran = cluster.run("restart checkout").await;
    assert_eq!(ran.code, 1);
    let begin = "Error from server (Forbidden): you may not create pods/eviction \"checkout-h3-";
    assert!(ran.err.starts_with(begin), "{}", ran.err);
}

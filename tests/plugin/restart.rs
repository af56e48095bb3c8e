//! `restart`, with the sandbox's ReplicaSet controller and nodes, which replace what is evicted.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
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
    // Said where the sandbox takes longer than a look.
    let said = ran.out.lines().filter(|line| !line.starts_with("waiting for "));
    let lines: Vec<&str> = said.collect();
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

/// Its canary may have a single pod, or none: the stable version is what serves.
#[tokio::test]
async fn an_aborted_version_is_no_release() {
    let stable_is = |hash: &str| {
        let mut status = aborted();
        (status["stableRS"], status["currentPodHash"]) = (json!(hash), json!("h3"));
        status
    };
    let cluster = Cluster::running(stable_is("h2"), 1).await;
    let ran = cluster.run("restart checkout").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let cluster = Cluster::running(stable_is("h3"), 1).await;
    assert_eq!(cluster.run("restart checkout").await.code, 1);
}

async fn set_spec(cluster: &Cluster, spec: Value) {
    let patch = Patch::Merge(json!({ "spec": spec }));
    let rollouts = cluster.rollouts();
    rollouts
        .patch("checkout", &PatchParams::default(), &patch)
        .await
        .unwrap();
}

#[tokio::test]
async fn no_pod_may_be_missing_where_max_unavailable_is_0() {
    let cluster = Cluster::running(healthy(), 2).await;
    set_spec(&cluster, json!({"strategy": {"canary": {"maxUnavailable": 0}}})).await;
    let ran = cluster.run("restart checkout").await;
    assert_eq!(ran.code, 1, "{ran:?}");
    let begin = "error: spec.strategy.canary.maxUnavailable of checkout is 0";
    assert!(ran.err.starts_with(begin), "{}", ran.err);
    assert_eq!(cluster.server.request_counts().writes_by("kubectl"), 0);
    assert_eq!(cluster.run("restart checkout --force").await.code, 0);
}

/// A pod that is wanted and never comes: its ReplicaSet may create no more.
#[tokio::test]
async fn what_never_comes_is_not_waited_for_in_silence_nor_for_ever() {
    let cluster = Cluster::running(healthy(), 2).await;
    set_spec(&cluster, json!({"progressDeadlineSeconds": 1})).await;
    cluster.server.set_interceptor(Some(Box::new(NoNewPods)));
    let ran = cluster.run("restart checkout").await;
    assert_eq!(ran.code, 1, "{ran:?}");
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ran.out);
    assert!(lines[0].ends_with(" evicted (1 of 2)"), "{}", ran.out);
    assert_eq!(lines[1], "waiting for 1 of 2 pods to be available");
    assert_eq!(
        ran.err,
        "error: nothing has changed for 1s (spec.progressDeadlineSeconds): 1 of 2 pods of checkout are replaced, 1 of 2 \
         are available; see why with `kubectl tidegate get checkout`\n"
    );
}

struct NoNewPods;

impl Interceptor for NoNewPods {
    fn before(&mut self, request: &ApiRequest) -> Fault {
        let target = request.target.as_ref();
        let is_pod = target.is_some_and(|target| target.resource == "pods" && target.subresource.is_none());
        match is_pod && request.method == "POST" {
            false => Fault::None,
            true => Fault::Refuse {
                status: 403,
                reason: "Forbidden".to_owned(),
                message: "exceeded quota".to_owned(),
            },
        }
    }
}

/// As the API server answers where two PodDisruptionBudgets have the pod.
#[tokio::test]
async fn an_eviction_that_fails_twice_is_an_error_whatever_the_timeout() {
    let cluster = Cluster::running(healthy(), 2).await;
    cluster.refuse(
        "pods/eviction",
        500,
        "InternalError",
        "more than one PodDisruptionBudget",
    );
    let ran = cluster.run("restart checkout --timeout 1m").await;
    assert_eq!(ran.code, 1, "{ran:?}");
    let last = ran.err.lines().last().unwrap();
    assert!(
        last.ends_with(": more than one PodDisruptionBudget"),
        "{}",
        ran.err
    );
    assert_eq!(ran.err.lines().count(), 2, "{}", ran.err);
}

/// Somebody else was faster: nothing is said of what somebody else did.
#[tokio::test]
async fn a_pod_that_is_gone_was_not_evicted() {
    for (code, reason) in [(404, "NotFound"), (409, "Conflict")] {
        let cluster = Cluster::running(healthy(), 2).await;
        cluster.refuse("pods/eviction", code, reason, "gone");
        let ran = cluster.run("restart checkout --timeout 200ms").await;
        assert_eq!((ran.code, ran.out.as_str()), (124, ""));
    }
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

//! A Rollout in the middle of a release, for the golden tests of every renderer.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::build::Objects;
use crate::api::time::parse_rfc3339;

pub fn now() -> DateTime<Utc> {
    parse_rfc3339("2026-03-01T12:00:00Z").unwrap()
}

fn objects(rollout: Value, replica_sets: Value, pods: Value, runs: Value, commands: Value) -> Objects {
    Objects {
        rollout: serde_json::from_value(rollout).unwrap(),
        replica_sets: serde_json::from_value(replica_sets).unwrap(),
        pods: serde_json::from_value(pods).unwrap(),
        analysis_runs: serde_json::from_value(runs).unwrap(),
        commands: serde_json::from_value(commands).unwrap(),
    }
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "checkout"}}, "spec": {"containers": [{"name": "app", "image": image}]}})
}

fn rollout(status: Value) -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout",
        "metadata": {
            "name": "checkout", "namespace": "shop", "generation": 4, "creationTimestamp": "2026-02-26T12:00:00Z"
        },
        "spec": {
            "replicas": 5,
            "selector": {"matchLabels": {"app": "checkout"}},
            "template": template("registry.example.com/shop/checkout:v2"),
            "strategy": {"canary": {
                "canaryService": "checkout-canary", "stableService": "checkout-stable",
                "trafficRouting": {"nginx": {"stableIngress": "checkout"}},
                "steps": [
                    {"setWeight": 10},
                    {"pause": {"duration": "10m"}},
                    {"setWeight": 50},
                    {"analysis": {"templates": [{"templateName": "latency"}]}},
                    {"pause": {}},
                ],
            }},
        },
        "status": status,
    })
}

fn replica_set(hash: &str, revision: &str, image: &str, replicas: i32, available: i32) -> Value {
    let mut pod_template = template(image);
    pod_template["metadata"]["labels"]["tidegate.dev/pod-template-hash"] = json!(hash);
    json!({
        "metadata": {
            "name": format!("checkout-{hash}"), "namespace": "shop",
            "creationTimestamp": "2026-03-01T11:30:00Z",
            "labels": {"tidegate.dev/rollout": "checkout", "tidegate.dev/pod-template-hash": hash},
            "annotations": {"tidegate.dev/revision": revision},
        },
        "spec": {"replicas": replicas, "selector": {}, "template": pod_template},
        "status": {"replicas": replicas, "readyReplicas": available, "availableReplicas": available},
    })
}

fn pod(hash: &str, suffix: &str, status: Value) -> Value {
    json!({
        "metadata": {
            "name": format!("checkout-{hash}-{suffix}"), "creationTimestamp": "2026-03-01T11:57:00Z",
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("checkout-{hash}"), "uid": "u"
            }],
        },
        "status": status,
    })
}

fn running() -> Value {
    json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})
}

fn crashing() -> Value {
    json!({
        "phase": "Running",
        "containerStatuses": [{
            "name": "app", "image": "", "imageID": "", "ready": false, "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}}
        }],
    })
}

/// Revision 2 at weight 50 while its analysis runs; one canary pod crashes.
pub fn analysing() -> Objects {
    let status = json!({
        "observedGeneration": 4, "phase": "Progressing", "message": "step 3 of 5: analysis latency",
        "waitingOn": {
            "reason": "Analysis", "message": "AnalysisRun checkout-6f9-2-step-3 is Running",
            "since": "2026-03-01T11:58:00Z",
        },
        "stableRS": "5d4", "currentPodHash": "6f9", "revision": 2, "currentStepIndex": 3, "verdict": "Running",
        "canary": {"currentStepAnalysisRunStatus": {"name": "checkout-6f9-2-step-3", "status": "Running"}, "weights": {
            "canary": {"weight": 50, "podTemplateHash": "6f9"}, "stable": {"weight": 50}, "verified": true
        }},
        "replicas": 8, "updatedReplicas": 3, "readyReplicas": 7, "availableReplicas": 7,
        "history": [
            {"at": "2026-03-01T11:30:00Z", "who": "controller", "what": "RolloutStarted", "revision": 2,
             "why": "the pod template changed"},
            {"at": "2026-03-01T11:58:00Z", "who": "controller", "what": "StepCompleted", "revision": 2,
             "why": "weight 50 is verified"},
        ],
    });
    let run = json!({
        "metadata": {
            "name": "checkout-6f9-2-step-3", "creationTimestamp": "2026-03-01T11:58:00Z",
            "labels": {"tidegate.dev/rollout": "checkout", "tidegate.dev/pod-template-hash": "6f9"},
        },
        "spec": {"metrics": [{
            "name": "p95", "interval": "60s", "count": 5, "successCondition": "result[0] < 0.3", "provider": {},
        }]},
        "status": {"phase": "Running", "metricResults": [{
            "name": "p95", "phase": "Running", "count": 3, "successful": 2, "failed": 1, "noData": 1, "threshold": 0.3,
            "measurements": [{
                "phase": "Failed", "startedAt": "2026-03-01T11:59:30Z", "finishedAt": "2026-03-01T11:59:30Z",
                "value": 0.42
            }],
        }]},
    });
    objects(
        rollout(status),
        json!([
            replica_set("5d4", "1", "registry.example.com/shop/checkout:v1", 5, 5),
            replica_set("6f9", "2", "registry.example.com/shop/checkout:v2", 3, 2),
        ]),
        json!([
            pod("6f9", "x7k2p", running()),
            pod("6f9", "b4j9d", crashing()),
            pod("5d4", "k8s2f", running()),
        ]),
        json!([run]),
        json!([{
            "metadata": {"name": "checkout-promote-9xk2f", "creationTimestamp": "2026-03-01T11:59:58Z"},
            "spec": {"rollout": "checkout", "verb": "Promote", "requestedBy": "alice"},
        }]),
    )
}

/// Revision 2 was aborted by its error rate.
pub fn aborted() -> Objects {
    let status = json!({
        "observedGeneration": 4, "phase": "Degraded", "message": "aborted by analysis: error-rate failed",
        "waitingOn": {
            "reason": "NewVersion", "message": "revision 2 was aborted", "since": "2026-03-01T11:59:00Z",
        },
        "stableRS": "5d4", "currentPodHash": "6f9", "revision": 2, "currentStepIndex": 0, "abort": true,
        "abortReason": {
            "at": "2026-03-01T11:59:00Z", "by": "analysis", "who": "checkout-6f9-2-step-3",
            "reason": "metric error-rate failed", "rule": "error-rate", "measured": 0.052, "threshold": 0.01,
        },
        "canary": {"weights": {"canary": {"weight": 0}, "stable": {"weight": 100}, "verified": false}},
        "replicas": 5, "readyReplicas": 5, "availableReplicas": 5,
    });
    let sets = json!([
        replica_set("5d4", "1", "registry.example.com/shop/checkout:v1", 5, 5),
        replica_set("6f9", "2", "registry.example.com/shop/checkout:v2", 0, 0),
    ]);
    objects(rollout(status), sets, json!([]), json!([]), json!([]))
}

/// Revision 1 serves everything.
pub fn healthy() -> Objects {
    let status = json!({
        "observedGeneration": 4, "phase": "Healthy", "stableRS": "6f9", "currentPodHash": "6f9", "revision": 1,
        "currentStepIndex": 5,
        "canary": {"weights": {"canary": {"weight": 0}, "stable": {"weight": 100}, "verified": true}},
        "replicas": 5, "updatedReplicas": 5, "readyReplicas": 5, "availableReplicas": 5,
    });
    let sets = json!([replica_set(
        "6f9",
        "1",
        "registry.example.com/shop/checkout:v2",
        5,
        5
    )]);
    objects(rollout(status), sets, json!([]), json!([]), json!([]))
}

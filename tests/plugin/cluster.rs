//! A sandbox cluster with one Rollout, somebody who answers commands, and a way to run a command line against it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use tidegate::api::crd;
use tidegate::api::rollout::Rollout;
use tidegate::api::rollout_command::RolloutCommand;
use tidegate::cli::output::{Output, Screen};
use tidegate::cli::plugin::{Plugin, Verb, report, run_in_cluster};
use tidegate::cli::session::Session;
use tidegate::clock::Clock;
use tidegate::sandbox::api_server::{ApiRequest, ApiServer, Fault, Interceptor};
use tidegate::sandbox::controllers;
use tidegate::sandbox::pods::{self, Addresses, NoSockets, Nodes};
use tidegate::sandbox::rng::Rng;

pub const NAMESPACE: &str = "shop";

pub struct Cluster {
    pub server: ApiServer,
}

/// What a command line did.
#[derive(Debug)]
pub struct Ran {
    pub code: u8,
    pub out: String,
    pub err: String,
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Cluster {
    /// Without our CRDs.
    pub fn bare() -> Self {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        Cluster::at(Clock::virtual_at(now))
    }

    fn at(clock: Clock) -> Self {
        Cluster {
            server: ApiServer::new(1, clock),
        }
    }

    pub fn with_crds() -> Self {
        let cluster = Cluster::bare();
        cluster.install_crds();
        cluster
    }

    fn install_crds(&self) {
        for definition in crd::all().unwrap() {
            self.server.install_crd(definition).unwrap();
        }
    }

    /// One Rollout, `checkout`, with this status and so many pods of revision 3, and what keeps them up.
    pub async fn running(status: Value, pods: i64) -> Self {
        let cluster = Cluster::at(Clock::System);
        cluster.install_crds();
        cluster.add_namespace().await;
        cluster.add_rollout("checkout", status).await;
        let (controllers, nodes) = (
            cluster.server.client("controllers"),
            cluster.server.client("nodes"),
        );
        tokio::spawn(controllers::run(
            controllers,
            Clock::System,
            Rng::new(1),
            Vec::new(),
        ));
        let nodes = Nodes::new(nodes, Addresses::loopback(), NoSockets);
        tokio::spawn(pods::run(nodes, Clock::System));
        cluster.add_replica_set(3).await;
        let uid = cluster.rollouts().get("checkout").await.unwrap().metadata.uid;
        let owner = json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout", "name": "checkout",
            "uid": uid, "controller": true});
        let patch = json!({"metadata": {"ownerReferences": [owner]}, "spec": {"replicas": pods}});
        let sets: Api<ReplicaSet> = Api::namespaced(cluster.server.client("test"), NAMESPACE);
        sets.patch("checkout-h3", &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
        while sets
            .get("checkout-h3")
            .await
            .unwrap()
            .status
            .and_then(|status| status.available_replicas)
            != Some(pods.try_into().unwrap())
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        cluster
    }

    /// One Rollout, `checkout`, with this status.
    pub async fn with_rollout(status: Value) -> Self {
        let cluster = Cluster::with_crds();
        cluster.add_namespace().await;
        cluster.add_rollout("checkout", status).await;
        cluster
    }

    async fn add_namespace(&self) {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).unwrap();
        let api: Api<Namespace> = Api::all(self.server.client("test"));
        api.create(&PostParams::default(), &namespace).await.unwrap();
    }

    pub fn rollouts(&self) -> Api<Rollout> {
        Api::namespaced(self.server.client("test"), NAMESPACE)
    }

    pub fn commands(&self) -> Api<RolloutCommand> {
        Api::namespaced(self.server.client("test"), NAMESPACE)
    }

    pub async fn add_rollout(&self, name: &str, status: Value) {
        let rollout: Rollout = serde_json::from_value(json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "replicas": 5,
                "selector": {"matchLabels": {"app": name}},
                "template": template(name, "checkout:v3"),
                "strategy": {"canary": {"steps": [{"setWeight": 10}, {"pause": {}}, {"setWeight": 50}]}},
            },
        }))
        .unwrap();
        self.rollouts()
            .create(&PostParams::default(), &rollout)
            .await
            .unwrap();
        let patch = Patch::Merge(json!({"status": status}));
        self.rollouts()
            .patch_status(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Any object, as `kubectl create` does.
    pub async fn put(&self, object: &Value) {
        let object: DynamicObject = serde_json::from_value(object.clone()).unwrap();
        let types = object.types.clone().unwrap();
        let (group, version) = types.api_version.split_once('/').unwrap_or(("", "v1"));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &types.kind));
        let api: Api<DynamicObject> = Api::namespaced_with(self.server.client("test"), NAMESPACE, &resource);
        api.create(&PostParams::default(), &object).await.unwrap();
    }

    pub async fn add_replica_set(&self, revision: i64) {
        let hash = format!("h{revision}");
        let mut pod_template = template("checkout", &format!("checkout:v{revision}"));
        pod_template["metadata"]["labels"]["tidegate.dev/pod-template-hash"] = json!(hash);
        let set: ReplicaSet = serde_json::from_value(json!({
            "metadata": {
                "name": format!("checkout-{hash}"),
                "labels": {"tidegate.dev/rollout": "checkout", "tidegate.dev/pod-template-hash": hash},
                "annotations": {"tidegate.dev/revision": revision.to_string()},
            },
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": "checkout", "tidegate.dev/pod-template-hash": hash}},
                "template": pod_template,
            },
        }))
        .unwrap();
        let api: Api<ReplicaSet> = Api::namespaced(self.server.client("test"), NAMESPACE);
        api.create(&PostParams::default(), &set).await.unwrap();
    }

    pub fn session(&self) -> Session {
        Session {
            client: self.server.client("kubectl"),
            namespace: NAMESPACE.to_owned(),
            user: Some("alice".to_owned()),
            clock: Clock::virtual_at("2026-03-01T12:00:00Z".parse().unwrap()),
        }
    }

    pub async fn run(&self, line: &str) -> Ran {
        self.run_as(&self.session(), line).await
    }

    pub async fn run_as(&self, session: &Session, line: &str) -> Ran {
        let (out, err) = (Buffer::default(), Buffer::default());
        let screen = Screen {
            width: Some(100),
            ..Screen::default()
        };
        let mut output = Output::new(Box::new(out.clone()), Box::new(err.clone()), screen);
        let words = ["kubectl-tidegate"].into_iter().chain(line.split_whitespace());
        let Verb::Cluster(verb) = Plugin::try_parse_from(words).unwrap().verb else {
            panic!("{line} needs no cluster");
        };
        let ended = run_in_cluster(&verb, session, &mut output).await;
        let code = report(ended, &mut output).code();
        Ran {
            code,
            out: out.text(),
            err: err.text(),
        }
    }

    /// Stands in for the controller: answers every command alike until the test ends.
    pub fn answer_commands(&self, phase: &'static str, message: &'static str) {
        let commands = self.commands();
        tokio::spawn(async move {
            loop {
                for command in commands.list(&ListParams::default()).await.unwrap() {
                    let name = command.metadata.name.unwrap();
                    let patch = Patch::Merge(json!({"status": {"phase": phase, "message": message}}));
                    commands
                        .patch_status(&name, &PatchParams::default(), &patch)
                        .await
                        .unwrap();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }

    /// The commands that were created.
    pub async fn sent(&self) -> Vec<RolloutCommand> {
        self.commands().list(&ListParams::default()).await.unwrap().items
    }

    /// Every request for `resource`, or its subresource, is refused.
    pub fn refuse(&self, resource: &'static str, code: u16, reason: &'static str, message: &'static str) {
        self.server.set_interceptor(Some(Box::new(Refuse {
            resource,
            code,
            reason,
            message,
        })));
    }
}

/// What the API server may do to reads for a moment.
pub fn refused(status: u16) -> Fault {
    Fault::Refuse {
        status,
        reason: "ServiceUnavailable".to_owned(),
        message: "be back soon".to_owned(),
    }
}

struct Refuse {
    resource: &'static str,
    code: u16,
    reason: &'static str,
    message: &'static str,
}

impl Interceptor for Refuse {
    fn before(&mut self, request: &ApiRequest) -> Fault {
        let target = request.target.as_ref();
        let resource = target.map(|target| match &target.subresource {
            Some(subresource) => format!("{}/{subresource}", target.resource),
            None => target.resource.clone(),
        });
        if resource.as_deref() != Some(self.resource) {
            return Fault::None;
        }
        Fault::Refuse {
            status: self.code,
            reason: self.reason.to_owned(),
            message: self.message.to_owned(),
        }
    }
}

fn template(app: &str, image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": app}},
        "spec": {"containers": [{"name": "app", "image": image}]},
    })
}

/// Revision 3 waits at step 1 for a person.
pub fn paused() -> Value {
    json!({
        "observedGeneration": 1, "phase": "Paused", "message": "waits for promote",
        "waitingOn": {"reason": "Promotion", "message": "step 1 pauses", "since": "2026-03-01T11:55:00Z"},
        "stableRS": "h2", "currentPodHash": "h3", "revision": 3, "currentStepIndex": 1,
        "canary": {"weights": {"canary": {"weight": 10}, "stable": {"weight": 90}, "verified": true}},
        "replicas": 6, "readyReplicas": 6, "updatedReplicas": 1, "availableReplicas": 6,
    })
}

pub fn progressing() -> Value {
    let mut status = paused();
    status["phase"] = json!("Progressing");
    status["waitingOn"]["reason"] = json!("CanaryPods");
    status
}

/// Nothing is stable yet.
pub fn first_deploy() -> Value {
    json!({
        "observedGeneration": 1, "phase": "Progressing", "currentPodHash": "h1", "revision": 1,
        "currentStepIndex": 3, "fastTrack": "FirstDeploy", "replicas": 5,
    })
}

pub fn healthy() -> Value {
    json!({
        "observedGeneration": 1, "phase": "Healthy", "stableRS": "h3", "currentPodHash": "h3", "revision": 3,
        "currentStepIndex": 3, "replicas": 5, "readyReplicas": 5, "updatedReplicas": 5, "availableReplicas": 5,
    })
}

pub fn aborted() -> Value {
    json!({
        "observedGeneration": 1, "phase": "Degraded", "abort": true, "stableRS": "h2", "currentPodHash": "h3",
        "revision": 3, "currentStepIndex": 0,
        "abortReason": {"at": "2026-03-01T11:59:00Z", "by": "analysis", "reason": "error-rate failed"},
        "replicas": 5, "readyReplicas": 5, "updatedReplicas": 0, "availableReplicas": 5,
    })
}

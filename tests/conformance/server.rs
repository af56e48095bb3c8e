//! The two API servers under comparison. On neither of them anything runs pods: the behaviours do what a scheduler and
//! a kubelet do.

use std::path::{Path, PathBuf};

use kube::Client;
use serde_json::{Value, json};
use tidegate::api::crd;
use tidegate::sandbox::cluster;

use crate::control_plane::{self, ControlPlane};

/// The one that pods are bound to.
pub const NODE: &str = "sandbox";
const ETCD: &str = "http://127.0.0.1:2379";

pub struct Server {
    pub client: Client,
    /// Where kubectl is.
    pub binaries: PathBuf,
    kubeconfig: PathBuf,
    of: Of,
}

enum Of {
    Real(#[expect(dead_code, reason = "it runs until it is dropped")] Box<ControlPlane>),
    Sandbox(cluster::ControlPlane),
}

impl Server {
    /// kube-apiserver and kube-controller-manager, with our definitions installed.
    pub async fn start_real(binaries: &Path, directory: &Path) -> Self {
        let running = ControlPlane::start(binaries, directory).await;
        let kubeconfig = running.admin();
        let client = control_plane::client(&kubeconfig, "conformance").await;
        install_definitions(&client).await;
        create_node(&client).await;
        Server {
            client,
            binaries: binaries.to_owned(),
            kubeconfig,
            of: Of::Real(Box::new(running)),
        }
    }

    /// Ours, in this process, over HTTP as well.
    pub async fn start_sandbox(binaries: &Path, directory: &Path) -> Self {
        let running = cluster::ControlPlane::start(1).await.unwrap();
        let kubeconfig = directory.join("sandbox.kubeconfig");
        running.http.write_kubeconfig(&kubeconfig).await.unwrap();
        let client = control_plane::client(&kubeconfig, "conformance").await;
        create_node(&client).await;
        Server {
            client,
            binaries: binaries.to_owned(),
            kubeconfig,
            of: Of::Sandbox(running),
        }
    }

    /// That leads to one namespace.
    pub fn kubeconfig_of(&self, namespace: &str) -> PathBuf {
        let text = std::fs::read_to_string(&self.kubeconfig).unwrap();
        let text = text.replace("namespace: default", &format!("namespace: {namespace}"));
        let path = self.kubeconfig.with_extension(format!("{namespace}.kubeconfig"));
        std::fs::write(&path, text).unwrap();
        path
    }

    /// To go on with a list that began at the first version, behind the name `A`.
    pub fn token_of_first_version(&self) -> &'static str {
        match &self.of {
            Of::Sandbox(_) => "1//A",
            // {"v":"meta.k8s.io/v1","rv":1,"start":"A\u0000"}
            Of::Real(_) => "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJBXHUwMDAwIn0",
        }
    }

    /// Forgets the versions before the newest.
    pub async fn compact(&self) {
        match &self.of {
            Of::Sandbox(running) => running.server.compact(),
            Of::Real(_) => {
                let post = async |path: &str, body: Value| -> Value {
                    let client = reqwest::Client::builder()
                        .no_proxy()
                        .tls_certs_only([])
                        .build()
                        .unwrap();
                    let request = client.post(format!("{ETCD}/v3/{path}")).json(&body);
                    request.send().await.unwrap().json().await.unwrap()
                };
                let found = post("kv/range", json!({"key": "AA=="})).await;
                let compacted = post(
                    "kv/compaction",
                    json!({"revision": found["header"]["revision"], "physical": true}),
                );
                assert!(compacted.await["header"].is_object(), "etcd does not compact");
            }
        }
    }
}

async fn install_definitions(client: &Client) {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    let api: kube::Api<CustomResourceDefinition> = kube::Api::all(client.clone());
    for definition in crd::all().unwrap() {
        let definition: CustomResourceDefinition = serde_json::from_value(definition).unwrap();
        api.create(&kube::api::PostParams::default(), &definition)
            .await
            .unwrap();
        let name = definition.metadata.name.as_deref().unwrap();
        let established = kube::runtime::conditions::is_crd_established();
        kube::runtime::wait::await_condition(api.clone(), name, established)
            .await
            .unwrap();
    }
}

/// Pods on a node that does not exist are in no EndpointSlice.
async fn create_node(client: &Client) {
    use k8s_openapi::api::core::v1::Node;
    let node = Node {
        metadata: kube::api::ObjectMeta {
            name: Some(NODE.to_owned()),
            ..kube::api::ObjectMeta::default()
        },
        ..Node::default()
    };
    let api: kube::Api<Node> = kube::Api::all(client.clone());
    api.create(&kube::api::PostParams::default(), &node)
        .await
        .unwrap();
}

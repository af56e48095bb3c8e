//! The chart, as a user installs it: rendered by a real Helm and applied, the Deployment last (`install.rs`). The
//! controllers run with the rights of its service account and under its admission policies.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::apply::apply;
use crate::tools::Tools;

pub const NAMESPACE: &str = "tidegate-system";
const RELEASE: &str = "tidegate";
/// Of its service account, which also names its User in the audit log.
pub const USER: &str = "system:serviceaccount:tidegate-system:tidegate";

/// Every part that gives a right is on.
const VALUES: [&str; 5] = [
    "clusterWide=true",
    "alerts.receiver.enabled=true",
    "alerts.receiver.tlsSecret=tidegate-alerts-tls",
    "alerts.receiver.tokensSecret=tidegate-alerts-tokens",
    "alerts.alertmanager.url=http://alertmanager.monitoring:9093",
];

pub struct Chart {
    objects: Vec<Value>,
    pub deployment: Value,
}

impl Chart {
    /// Installs it for all namespaces; the scenarios make theirs as they go.
    pub async fn install(client: &kube::Client, tools: &Tools) -> Self {
        let objects = render(tools);
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        });
        apply(client, namespace).await;
        let (deployments, others): (Vec<&Value>, Vec<&Value>) =
            objects.iter().partition(|object| object["kind"] == "Deployment");
        for object in others {
            apply(client, object.clone()).await;
        }
        let deployment = deployments[0].clone();
        Chart { objects, deployment }
    }

    /// The controller's, with what a pod has by itself, and without alerts, whose files and addresses are a cluster's.
    pub fn arguments(&self, metrics_address: &str, kubeconfig: &Path) -> Vec<String> {
        let container = &self.deployment["spec"]["template"]["spec"]["containers"][0];
        let written = container["args"].as_array().unwrap().iter();
        let written = written.map(|argument| argument.as_str().unwrap().to_owned());
        let own = [
            format!("--metrics-address={metrics_address}"),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--lease-namespace={NAMESPACE}"),
        ];
        let is_of_cluster = |argument: &&String| {
            let parts = ["--metrics-address", "--alert"];
            parts.iter().any(|part| argument.starts_with(part))
        };
        let kept = written.filter(|argument| !is_of_cluster(&argument));
        kept.chain(own).collect()
    }

    /// A token of its service account.
    pub async fn token(&self, client: &kube::Client) -> String {
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(3600),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let answer = accounts
            .create_token_request(RELEASE, &PostParams::default(), &request)
            .await;
        answer.unwrap().status.unwrap().token
    }

    /// What its roles grant, as `verb group/resource`, but for finalizers: who may block an owner's deletion is asked
    /// inside of admission and stands in no audit log.
    pub fn granted(&self) -> BTreeSet<String> {
        let texts = |value: &Value| -> Vec<String> {
            let list = value.as_array().unwrap().iter();
            list.map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let is_role = |object: &&Value| {
            let mut bindings = self.objects.iter().map(|binding| &binding["roleRef"]);
            bindings
                .any(|bound| bound["kind"] == object["kind"] && bound["name"] == object["metadata"]["name"])
        };
        let rules = self
            .objects
            .iter()
            .filter(is_role)
            .flat_map(|role| role["rules"].as_array().unwrap());
        rules
            .flat_map(|rule| {
                let (groups, resources, verbs) = (
                    texts(&rule["apiGroups"]),
                    texts(&rule["resources"]),
                    texts(&rule["verbs"]),
                );
                let pairs = groups
                    .iter()
                    .flat_map(|group| resources.iter().map(move |kind| format!("{group}/{kind}")));
                let pairs: Vec<String> = pairs.filter(|kind| !kind.ends_with("/finalizers")).collect();
                verbs.into_iter().flat_map(move |verb| {
                    pairs
                        .clone()
                        .into_iter()
                        .map(move |kind| format!("{verb} {kind}"))
                })
            })
            .collect()
    }
}

fn render(tools: &Tools) -> Vec<Value> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/tidegate");
    let rendered = Command::new(&tools.helm)
        .args(["template", RELEASE, "--namespace", NAMESPACE])
        .args(VALUES.iter().flat_map(|value| ["--set", value]))
        .arg(chart)
        .output()
        .unwrap();
    assert!(
        rendered.status.success(),
        "{}",
        String::from_utf8_lossy(&rendered.stderr)
    );
    let text = String::from_utf8(rendered.stdout).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect()
}

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

/// The release of the chart, and its service account.
const RELEASE: &str = "tidegate";

/// One way to install it.
pub struct Installation {
    pub namespace: &'static str,
    values: &'static [&'static str],
}

/// For all namespaces; every part that gives a right is on.
pub const CLUSTER_WIDE: Installation = Installation {
    namespace: "tidegate-system",
    values: &[
        "clusterWide=true",
        "alerts.receiver.enabled=true",
        "alerts.receiver.tlsSecret=tidegate-alerts-tls",
        "alerts.receiver.tokensSecret=tidegate-alerts-tokens",
        "alerts.alertmanager.url=http://alertmanager.monitoring:9093",
    ],
};

/// The one namespace that [`NAMESPACED`] looks after.
pub const SHOP: &str = "namespaced-nginx-100ms";

/// For one namespace, beside the other.
pub const NAMESPACED: Installation = Installation {
    namespace: "tidegate-shop",
    values: &[
        "namespaces={namespaced-nginx-100ms}",
        "crds.install=false",
        "userRoles.enabled=false",
    ],
};

impl Installation {
    /// The service account as a user, as the audit log names it.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{RELEASE}", self.namespace)
    }
}

pub struct Chart {
    namespace: &'static str,
    objects: Vec<Value>,
    pub deployment: Value,
}

impl Chart {
    /// Installs it.
    pub async fn install(client: &kube::Client, tools: &Tools, installation: &Installation) -> Self {
        let objects = render(tools, installation);
        let name = installation.namespace;
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        });
        apply(client, namespace).await;
        let (deployments, others): (Vec<&Value>, Vec<&Value>) =
            objects.iter().partition(|object| object["kind"] == "Deployment");
        for object in others {
            apply(client, object.clone()).await;
        }
        let deployment = deployments[0].clone();
        Chart {
            namespace: installation.namespace,
            objects,
            deployment,
        }
    }

    fn written_arguments(&self) -> impl Iterator<Item = String> {
        let container = &self.deployment["spec"]["template"]["spec"]["containers"][0];
        let written = container["args"].as_array().unwrap().iter();
        written.map(|argument| argument.as_str().unwrap().to_owned())
    }

    /// Whether alerts are sent to it.
    pub fn receives_alerts(&self) -> bool {
        self.written_arguments()
            .any(|argument| argument.starts_with("--alert-address"))
    }

    /// The controller's, with what a pod has by itself, and without alerts, whose files and addresses are a cluster's.
    pub fn arguments(&self, metrics_address: &str, kubeconfig: &Path) -> Vec<String> {
        let own = [
            format!("--metrics-address={metrics_address}"),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--lease-namespace={}", self.namespace),
        ];
        let is_of_cluster = |argument: &&String| {
            let parts = ["--metrics-address", "--alert"];
            parts.iter().any(|part| argument.starts_with(part))
        };
        let kept = self
            .written_arguments()
            .filter(|argument| !is_of_cluster(&argument));
        kept.chain(own).collect()
    }

    /// A token of its service account.
    pub async fn token(&self, client: &kube::Client) -> String {
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), self.namespace);
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

fn render(tools: &Tools, installation: &Installation) -> Vec<Value> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/tidegate");
    let rendered = Command::new(&tools.helm)
        .args(["template", RELEASE, "--namespace", installation.namespace])
        .args(installation.values.iter().flat_map(|value| ["--set", value]))
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

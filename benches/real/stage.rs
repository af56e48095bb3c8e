//! A real control plane with the chart on it and many Rollouts, and the hands of those who release and abort.

use std::path::Path;

use futures::StreamExt;
use http::Method;
use kube::Client;
use serde_json::{Value, json};
use tidegate::sandbox::pods::Addresses;
use tidegate::sandbox::resource::Key;
use tokio::task::JoinSet;

use crate::apply::apply;
use crate::chart::{CLUSTER_WIDE, Chart};
use crate::control_plane::{ADMIN, ControlPlane, client};
use crate::kubelet;
use crate::object::{ingress, rollout, service, template};
use crate::tools::Tools;
use crate::watcher::Watcher;

pub const ROLLOUTS_PER_NAMESPACE: usize = 20;
const SETTLE_SECONDS: u32 = 1;
/// Requests under way at once.
const HANDS: usize = 32;

pub struct Stage {
    pub client: Client,
    pub control_plane: ControlPlane,
    pub chart: Chart,
    pub watcher: Watcher,
    _tasks: JoinSet<()>,
}

/// The `number`th Rollout of the cluster.
pub fn key(number: usize) -> Key {
    Key::new(
        format!("team-{}", number / ROLLOUTS_PER_NAMESPACE),
        format!("app-{number}"),
    )
}

impl Stage {
    pub async fn set_up(tools: &Tools, directory: &Path) -> Self {
        let control_plane = ControlPlane::start(&tools.control_plane, directory).await;
        let admin = control_plane.admin();
        let client = client(&admin, "user").await;
        let chart = Chart::install(&client, tools, &CLUSTER_WIDE).await;
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "sandbox"}});
        let class = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "nginx"},
            "spec": {"controller": "k8s.io/ingress-nginx"},
        });
        for object in [node, class] {
            apply(&client, object).await;
        }
        let watcher = Watcher::start(&self::client(&admin, "watcher").await);
        let mut tasks = JoinSet::new();
        let addresses = Addresses::starting_at([10, 77, 1, 1].into());
        tasks.spawn(kubelet::run(self::client(&admin, "kubelet").await, addresses));
        Stage {
            client,
            control_plane,
            chart,
            watcher,
            _tasks: tasks,
        }
    }

    /// So many Rollouts of two pods, each with its Services and its Ingress.
    pub async fn create_rollouts(&self, count: usize) {
        let steps = json!([{"setWeight": 10}, {"setWeight": 50}]);
        for number in (0..count).step_by(ROLLOUTS_PER_NAMESPACE) {
            let namespace = json!({"metadata": {"name": key(number).namespace}});
            self.ask(Method::POST, "/api/v1/namespaces".to_owned(), &namespace)
                .await;
        }
        self.all_at_once((0..count).map(|number| {
            let Key { namespace, name } = key(number);
            let steps = &steps;
            async move {
                for (path, object) in [
                    (
                        format!("/api/v1/namespaces/{namespace}/services"),
                        service(&name, "stable"),
                    ),
                    (
                        format!("/api/v1/namespaces/{namespace}/services"),
                        service(&name, "canary"),
                    ),
                    (
                        format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses"),
                        ingress(&name),
                    ),
                    (
                        format!("/apis/tidegate.dev/v1alpha1/namespaces/{namespace}/rollouts"),
                        rollout(&name, steps, SETTLE_SECONDS),
                    ),
                ] {
                    self.ask(Method::POST, path, &object).await;
                }
            }
        }))
        .await;
    }

    /// A new version of all of these at once, as `kubectl set image` would ask for it, with other steps if there are any.
    pub async fn release(&self, numbers: impl Iterator<Item = usize>, version: &str, steps: Option<Value>) {
        self.all_at_once(numbers.map(|number| {
            let key = key(number);
            let mut spec = json!({"template": template(&key.name, version)});
            if let Some(steps) = &steps {
                spec["strategy"] = json!({"canary": {"steps": steps}});
            }
            async move {
                let path = path_of(&key);
                self.ask(Method::PATCH, path, &json!({"spec": spec})).await;
            }
        }))
        .await;
    }

    pub async fn abort(&self, rollout: &Key, attempt: &str) {
        let command = json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "RolloutCommand",
            "metadata": {"name": format!("{}-{attempt}", rollout.name)},
            "spec": {"rollout": rollout.name, "verb": "Abort", "reason": "benchmark", "requestedBy": ADMIN},
        });
        let namespace = &rollout.namespace;
        let path = format!("/apis/tidegate.dev/v1alpha1/namespaces/{namespace}/rolloutcommands");
        self.ask(Method::POST, path, &command).await;
    }

    async fn all_at_once<F: Future<Output = ()>>(&self, requests: impl Iterator<Item = F>) {
        let requests = futures::stream::iter(requests);
        requests.buffer_unordered(HANDS).for_each(async |()| ()).await;
    }

    async fn ask(&self, method: Method, path: String, body: &Value) {
        let patch = if method == Method::PATCH {
            "merge-patch+"
        } else {
            ""
        };
        let request = http::Request::builder()
            .method(method)
            .uri(&path)
            .header(http::header::CONTENT_TYPE, format!("application/{patch}json"))
            .body(body.to_string().into_bytes())
            .unwrap();
        if let Err(error) = self.client.request_text(request).await {
            panic!("{path}: {error}");
        }
    }
}

fn path_of(rollout: &Key) -> String {
    let Key { namespace, name } = rollout;
    format!("/apis/tidegate.dev/v1alpha1/namespaces/{namespace}/rollouts/{name}")
}

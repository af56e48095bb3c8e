//! A cluster in this process, with many Rollouts in it, served over HTTP to the controller.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::api::crd;
use tidegate::api::resource::{ObjectKey, Resource};
use tidegate::clock::Clock;
use tidegate::sandbox::api_server::http::HttpServer;
use tidegate::sandbox::api_server::service::Outcome;
use tidegate::sandbox::api_server::{ApiRequest, ApiServer};
use tidegate::sandbox::controllers;
use tidegate::sandbox::pods::{self, Addresses, NoSockets, Nodes};
use tidegate::sandbox::rng::Rng;
use tokio::task::JoinSet;

use crate::object::{ingress, rollout, service, template};
use crate::witness::Witness;
use crate::{Error, Result};

const ROLLOUTS_PER_NAMESPACE: usize = 20;
const SETTLE_SECONDS: u32 = 2;
const POLL: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(600);
/// Everybody else who asks the API server; what is left is the controller.
const OTHERS: [&str; 3] = ["controllers", "nodes", "user"];

pub struct Stage {
    pub server: ApiServer,
    pub witness: Witness,
    pub kubeconfig: PathBuf,
    _http: HttpServer,
    _tasks: JoinSet<()>,
}

/// The `number`th Rollout of the cluster.
pub fn key(number: usize) -> ObjectKey {
    let namespace = format!("team-{}", number / ROLLOUTS_PER_NAMESPACE);
    ObjectKey::new(namespace, format!("app-{number}"))
}

impl Stage {
    pub async fn set_up() -> Result<Self> {
        let server = ApiServer::new(1, Clock::System);
        for definition in crd::all().map_err(|error| Error::Setup(error.to_string()))? {
            let installed = server.install_crd(definition);
            installed.map_err(|refusal| Error::Setup(format!("{refusal:?}")))?;
        }
        let witness = Witness::new();
        server.set_interceptor(Some(Box::new(witness.clone())));
        let http = HttpServer::start(server.clone(), ([127, 0, 0, 1], 0).into()).await?;
        let kubeconfig = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("kubeconfig-bench-{}", http.address.port()));
        http.write_kubeconfig(&kubeconfig).await?;
        let mut tasks = JoinSet::new();
        let garbage_collected = vec![];
        let client = server.client("controllers");
        tasks.spawn(controllers::run(
            client,
            Clock::System,
            Rng::new(1),
            garbage_collected,
        ));
        let nodes = Nodes::new(server.client("nodes"), Addresses::loopback(), NoSockets);
        tasks.spawn(pods::run(nodes, Clock::System));
        Ok(Stage {
            server,
            witness,
            kubeconfig,
            _http: http,
            _tasks: tasks,
        })
    }

    /// A Rollout of two pods with its Services and its Ingress, in a namespace that is made if need be.
    pub fn create_rollout(&self, key: &ObjectKey, steps: &Value) -> Result<()> {
        let ObjectKey { namespace, name } = key;
        if self
            .server
            .inspect(|store| store.get("Namespace", "", namespace).is_none())
        {
            self.ask(
                "POST",
                "/api/v1/namespaces",
                &json!({"metadata": {"name": namespace}}),
            )?;
        }
        for role in ["stable", "canary"] {
            self.create(Resource::Service, namespace, &service(name, role))?;
        }
        self.create(Resource::Ingress, namespace, &ingress(name))?;
        self.create(
            Resource::Rollout,
            namespace,
            &rollout(name, steps, SETTLE_SECONDS),
        )
    }

    pub fn create(&self, resource: Resource, namespace: &str, object: &Value) -> Result<()> {
        self.ask("POST", &resource.collection_path(namespace), object)
    }

    /// A new version, as `kubectl set image` would ask for it.
    pub fn release(&self, key: &ObjectKey, version: &str) -> Result<()> {
        let patch = json!({"spec": {"template": template(&key.name, version)}});
        self.ask("PATCH", &Resource::Rollout.object_path(key), &patch)
    }

    pub fn abort(&self, key: &ObjectKey) -> Result<()> {
        let command = json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "RolloutCommand",
            "metadata": {"name": format!("{}-abort", key.name)},
            "spec": {"rollout": key.name, "verb": "Abort", "reason": "benchmark", "requestedBy": "user"},
        });
        self.create(Resource::RolloutCommand, &key.namespace, &command)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<()> {
        let mut request = ApiRequest::new(method, path);
        let patch = if method == "PATCH" { "merge-patch+" } else { "" };
        request.content_type = format!("application/{patch}json");
        request.actor = "user".to_owned();
        request.body = body.to_string().into_bytes();
        match self.server.handle(&request) {
            Outcome::Answer(answer) if answer.code < 300 => Ok(()),
            _ => Err(Error::Setup(format!("{method} {path} was refused"))),
        }
    }

    /// Waits until so many Rollouts have a status like this.
    pub async fn wait_for(&self, wanted: usize, what: &str, holds: impl Fn(&Value) -> bool) -> Result<()> {
        let begun = self.witness.now();
        loop {
            let rollouts = self.server.inspect(|store| store.list("Rollout"));
            let count = rollouts.iter().filter(|rollout| holds(rollout)).count();
            if count >= wanted {
                return Ok(());
            }
            if self.witness.now() - begun > PATIENCE {
                return Err(Error::Stuck(format!("{count} of {wanted} Rollouts are {what}")));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the controller has written nothing for a while.
    pub async fn wait_for_quiet(&self, quiet: Duration) -> Result<()> {
        let begun = self.witness.now();
        while self.witness.now() - self.witness.last().unwrap_or(begun) < quiet {
            if self.witness.now() - begun > PATIENCE {
                return Err(Error::Stuck("the controller does not stop writing".to_owned()));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Requests of the controller so far, by verb and resource.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        let counts = self.server.request_counts();
        let mut requests = BTreeMap::new();
        for (_, verb, resource, count) in counts.iter().filter(|(actor, ..)| !OTHERS.contains(actor)) {
            *requests
                .entry(format!("{} {resource}", verb.as_str()))
                .or_default() += count;
        }
        requests
    }
}

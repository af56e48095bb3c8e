//! A shop in a namespace of its own behind one of the Traefiks: its customers, and the hands that release, command and
//! scale. What it is asked at the end is always the same: did a customer get no answer?

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, PropagationPolicy,
};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use tidegate::api::analysis_run::AnalysisRun;
use tidegate::api::names::HASH_LABEL;
use tidegate::api::rollout::Rollout;
use tidegate::api::rollout_status::{Phase, RolloutStatus};
use tidegate::cli::error::{CliError, Exit};
use tidegate::cli::output::{Output, Screen};
use tidegate::cli::plugin;
use tidegate::clock::Stopwatch;
use tidegate::sandbox::load::{LoadGenerator, Tally};
use tidegate::sandbox::shop::{NAME, Shop, Version, canary_weight, is_promoted};

use crate::apply::apply;
use crate::control_plane::ADMIN;
use crate::patience::{PATIENCE, POLL, until};
use crate::traefik::Dialect;
use crate::world::{Throttle, World};

const REQUESTS_PER_SECOND: u32 = 50;

/// What a shop differs in.
pub struct Form<'a> {
    pub dialect: Dialect,
    pub throttle: Throttle,
    /// Where customers send their requests.
    pub entry: SocketAddr,
    /// Changes every object before it is applied.
    pub change: &'a (dyn Fn(&mut Value) + Sync),
}

pub struct Tenant<'a> {
    pub world: &'a World,
    pub namespace: String,
    pub shop: Shop,
    customers: LoadGenerator,
}

impl<'a> Tenant<'a> {
    /// A shop whose first version is up, and whose customers come.
    pub async fn open(world: &'a World, name: &str, form: Form<'_>) -> Self {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        apply(&world.client, namespace).await;
        let host = format!("{name}.example");
        if form.dialect == Dialect::GatewayApi {
            apply(&world.client, gateway(name, form.throttle)).await;
        }
        let change = |object: &mut Value| {
            if form.dialect == Dialect::GatewayApi {
                use_gateway_api(object, &host);
            }
            (form.change)(object);
        };
        let settle = form.throttle.settle_seconds();
        let client = world.client.clone();
        let shop = Shop::open_changed(client, name, &host, settle, change)
            .await
            .unwrap();
        await_route(form.entry, &host).await;
        let customers = shop.admit_customers(form.entry, REQUESTS_PER_SECOND);
        let tenant = Tenant {
            world,
            namespace: name.to_owned(),
            shop,
            customers,
        };
        tenant.until("the first version is up", is_promoted).await;
        tenant
    }

    /// A version that answers as it should.
    pub async fn release(&self, name: &str) {
        self.release_version(Version {
            name,
            latency_ms: "20",
            error_rate: "0",
        })
        .await;
    }

    /// Waits until the controller has seen it.
    pub async fn release_version(&self, version: Version<'_>) {
        let generation = self.shop.release(version).await.unwrap();
        self.until("the controller has seen the version", |status| {
            status.observed_generation >= Some(generation)
        })
        .await;
    }

    /// Types `kubectl tidegate …`, as a user with all rights.
    pub async fn type_command(&self, words: &[&str]) {
        let answer = self.try_command(words).await;
        answer.unwrap_or_else(|error| panic!("{words:?}: {error:?}"));
    }

    /// [`Tenant::type_command`], whatever comes of it.
    pub async fn try_command(&self, words: &[&str]) -> Result<Exit, CliError> {
        let kubeconfig = self.world.control_plane.admin();
        let context = ["--namespace", &self.namespace, "--kubeconfig"].map(OsString::from);
        let arguments = ["kubectl-tidegate"].iter().chain(words).map(OsString::from);
        let arguments = arguments.chain(context).chain([kubeconfig.into_os_string()]);
        let mut output = Output::new(
            Box::new(std::io::sink()),
            Box::new(std::io::stderr()),
            Screen::default(),
        );
        plugin::run(arguments, &mut output).await
    }

    /// Asks without waiting for an answer.
    pub async fn post_command(&self, verb: &str) {
        let command = json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "RolloutCommand",
            "metadata": {"generateName": "asked-"},
            "spec": {"rollout": NAME, "verb": verb, "requestedBy": ADMIN},
        });
        let command = serde_json::from_value(command).unwrap();
        let api = self.objects("tidegate.dev", "v1alpha1", "RolloutCommand");
        api.create(&PostParams::default(), &command).await.unwrap();
    }

    /// Waits until there are so many of a kind and no more.
    pub async fn until_only(&self, kind: &str, count: usize) {
        let (group, version) = match kind {
            "ReplicaSet" => ("apps", "v1"),
            _ => ("tidegate.dev", "v1alpha1"),
        };
        let api = self.objects(group, version, kind);
        let what = format!("{} has {count} {kind}s", self.namespace);
        until(&what, || async {
            let found = api.list(&ListParams::default()).await.unwrap().items.len();
            (found == count).then_some(()).ok_or(found.to_string())
        })
        .await;
    }

    /// Waits until an AnalysisRun has ended.
    pub async fn until_ended(&self, run: &str) {
        let api: Api<AnalysisRun> = Api::namespaced(self.world.client.clone(), &self.namespace);
        let what = format!("AnalysisRun {run} in {} has ended", self.namespace);
        until(&what, || async {
            let status = api.get(run).await.unwrap().status.unwrap_or_default();
            let ended = status.completed_at.map(drop);
            ended.ok_or(format!("{:?}", status.phase))
        })
        .await;
    }

    fn objects(&self, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.world.client.clone(), &self.namespace, &resource)
    }

    /// Writes the scale subresource, as a HorizontalPodAutoscaler does: again if something else was written meanwhile.
    pub async fn scale(&self, replicas: i32) {
        let api = self.rollouts();
        loop {
            let mut scale = api.get_scale(NAME).await.unwrap();
            scale.spec.get_or_insert_default().replicas = Some(replicas);
            match api.replace_scale(NAME, &PostParams::default(), &scale).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                written => return drop(written.unwrap()),
            }
        }
    }

    pub async fn patch(&self, patch: Value) {
        self.rollouts()
            .patch(NAME, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    /// `kubectl patch rollout checkout --type json`.
    pub async fn patch_json(&self, operations: Value) {
        let operations = serde_json::from_value(operations).unwrap();
        self.rollouts()
            .patch(NAME, &PatchParams::default(), &Patch::<()>::Json(operations))
            .await
            .unwrap();
    }

    /// `kubectl delete rollout checkout --cascade=orphan`; waits until it is gone.
    pub async fn delete_and_keep_pods(&self) {
        let orphan = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Orphan),
            ..DeleteParams::default()
        };
        let api = self.rollouts();
        api.delete(NAME, &orphan).await.unwrap();
        let what = format!("the Rollout in {} is gone", self.namespace);
        until(&what, || async {
            match api.get_opt(NAME).await.unwrap() {
                None => Ok(()),
                Some(rollout) => Err(format!("{:?}", rollout.status)),
            }
        })
        .await;
    }

    /// Waits until a weight is verified at a pause.
    pub async fn until_paused_at(&self, weight: i64) {
        let what = format!("it pauses at weight {weight}");
        self.until(&what, |status| {
            status.phase == Some(Phase::Paused) && canary_weight(status) == weight
        })
        .await;
    }

    /// Waits until the status is as wanted.
    pub async fn until(&self, what: &str, wanted: impl Fn(&RolloutStatus) -> bool) -> RolloutStatus {
        let what = format!("{}: {what}", self.namespace);
        until(&what, || async {
            let status = self.shop.status().await.unwrap();
            if wanted(&status) {
                Ok(status)
            } else {
                Err(format!("{:?}", (status.phase, status.message, status.waiting_on)))
            }
        })
        .await
    }

    /// Waits until customers have had so many more answers of a version, and of no other.
    pub async fn until_all_answered_by(&self, version: &str) {
        let stopwatch = Stopwatch::start();
        let count = |tally: &Tally| tally.versions.get(version).map_or(0, |version| version.requests);
        let others = |tally: &Tally| tally.ok + tally.errors - count(tally);
        let mut before = self.tally();
        loop {
            tokio::time::sleep(POLL).await;
            let now = self.tally();
            if others(&now) > others(&before) {
                before = now.clone();
            } else if count(&now) >= count(&before) + u64::from(REQUESTS_PER_SECOND) {
                return;
            }
            let told = (&self.namespace, &now.versions.keys());
            assert!(
                stopwatch.elapsed() < PATIENCE,
                "{version} does not answer everything: {told:?}"
            );
        }
    }

    /// Waits until customers have had an answer of each version from now on.
    pub async fn until_answered_by(&self, versions: &[&str]) {
        let before = self.tally();
        let count =
            |tally: &Tally, version: &str| tally.versions.get(version).map_or(0, |found| found.requests);
        until(&format!("{}: {versions:?} answer", self.namespace), || async {
            let now = self.tally();
            let answers = |version: &&str| count(&now, version) > count(&before, version);
            let all = versions.iter().all(answers);
            all.then_some(()).ok_or(format!("{:?}", now.versions.keys()))
        })
        .await;
    }

    pub fn tally(&self) -> Tally {
        self.customers.snapshot()
    }

    /// Lets the dust settle, sends the customers home and tells what became of their requests.
    pub async fn close(self) -> Tally {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let namespace = self.namespace;
        let tally = self.customers.stop().await;
        assert_eq!(tally.lost_total(), 0, "{namespace}: {:?}", tally.lost);
        assert_eq!(tally.ok + tally.errors, tally.sent, "{namespace}");
        tally
    }

    /// Services whose selector still names a version.
    pub async fn services_with_our_selector(&self) -> Vec<String> {
        let api: Api<Service> = Api::namespaced(self.world.client.clone(), &self.namespace);
        let services = api.list(&ListParams::default()).await.unwrap().items;
        let selects = |service: &Service| {
            let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            selector.is_some_and(|selector| selector.contains_key(HASH_LABEL))
        };
        let ours = services.into_iter().filter(selects);
        ours.map(|service| service.metadata.name.unwrap()).collect()
    }

    pub fn rollouts(&self) -> Api<Rollout> {
        Api::namespaced(self.world.client.clone(), &self.namespace)
    }
}

/// Until a route's first answer by a pod: a data plane that is up has not yet read it.
async fn await_route(entry: SocketAddr, host: &str) {
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap();
    until(&format!("a pod answers behind {host}"), || async {
        let request = client.get(format!("http://{entry}/")).header("host", host);
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// The class says which Traefik it is of.
fn gateway(namespace: &str, throttle: Throttle) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "gatewayClassName": throttle.gateway_class(),
            "listeners": [{"name": "http", "protocol": "HTTP", "port": 80}],
        },
    })
}

/// The same shop with an HTTPRoute in the place of its Ingress.
fn use_gateway_api(object: &mut Value, host: &str) {
    match object["kind"].as_str() {
        Some("Rollout") => {
            let routing = &mut object["spec"]["strategy"]["canary"]["trafficRouting"];
            routing.as_object_mut().unwrap().remove("nginx");
            routing["gatewayAPI"] = json!({"httpRoutes": [{"name": NAME}]});
        }
        Some("Ingress") => {
            *object = json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
                "metadata": {"name": NAME},
                "spec": {
                    "parentRefs": [{"name": "web"}],
                    "hostnames": [host],
                    "rules": [{"backendRefs": [
                        {"name": "checkout-stable", "port": 80, "weight": 100},
                        {"name": "checkout-canary", "port": 80, "weight": 0},
                    ]}],
                },
            });
        }
        _ => {}
    }
}

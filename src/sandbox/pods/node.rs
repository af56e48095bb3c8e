//! What a node does about its pods: start, report, crash, terminate.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use futures::{FutureExt, StreamExt};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};

use super::app::Settings;
use super::{Addresses, Error, PodRuntime};
use crate::api::failure::with_causes;
use crate::clock::Clock;
use crate::sandbox::queue::Queue;
use crate::sandbox::resource::{Key, is_ready, is_terminating, list, pods, text};
use crate::sandbox::watch::{Event, watch};

/// The one node there is.
const NODE_NAME: &str = "sandbox";
/// The kubelet's word for a container that was made and cannot be run.
const CANNOT_START: &str = "RunContainerError";
const RETRY_AFTER: TimeDelta = TimeDelta::milliseconds(500);
/// How many addresses are tried when they are in use (by another sandbox on this machine, say).
const ADDRESS_ATTEMPTS: usize = 512;

/// All the nodes of the sandbox: every pod is theirs that asks for no scheduler of its own.
pub struct Nodes<R> {
    client: kube::Client,
    addresses: Addresses,
    runtime: R,
    runs: BTreeMap<Key, Run>,
}

/// One pod on its way through life.
struct Run {
    uid: Option<String>,
    settings: Settings,
    starts_at: DateTime<Utc>,
    state: State,
    /// Set when the pod was told to terminate: until then it serves on.
    stops_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting,
    Serving {
        address: SocketAddr,
        since: DateTime<Utc>,
    },
    Crashed {
        address: SocketAddr,
    },
}

/// Runs all pods there are and will be, until dropped.
pub async fn run<R: PodRuntime>(mut nodes: Nodes<R>, clock: Clock) {
    let mut events = watch(&nodes.client, &pods());
    let mut known: BTreeMap<Key, DynamicObject> = BTreeMap::new();
    let mut queue = Queue::new();
    let observe = |event, known: &mut BTreeMap<Key, DynamicObject>, queue: &mut Queue<Key>| {
        let Event::Changed(key, pod) = event else { return };
        match pod {
            Some(pod) if !is_ours(&pod) => return,
            Some(pod) => known.insert(key.clone(), *pod),
            None => known.remove(&key),
        };
        queue.push(key);
    };
    loop {
        while let Some(Some(event)) = events.next().now_or_never() {
            observe(event, &mut known, &mut queue);
        }
        let now = clock.now();
        if let Some(key) = queue.pop(now) {
            match nodes.sync_pod(&key, known.get(&key), now).await {
                Ok(wait) => wait
                    .into_iter()
                    .for_each(|wait| queue.push_at(now + wait, key.clone())),
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::debug!(%error, ?cause, "trying again");
                    queue.push_at(now + RETRY_AFTER, key);
                }
            }
            continue;
        }
        tokio::select! {
            Some(event) = events.next() => observe(event, &mut known, &mut queue),
            () = tokio::time::sleep(queue.until_next(now).to_std().unwrap_or_default()) => {}
        }
    }
}

impl<R: PodRuntime> Nodes<R> {
    pub fn new(client: kube::Client, addresses: Addresses, runtime: R) -> Self {
        Nodes {
            client,
            addresses,
            runtime,
            runs: BTreeMap::new(),
        }
    }

    /// Brings one pod forward, given its newest known state (none: it is gone). The answer is when to look again if
    /// nothing happens before.
    pub async fn sync_pod(
        &mut self,
        key: &Key,
        pod: Option<&DynamicObject>,
        now: DateTime<Utc>,
    ) -> Result<Option<TimeDelta>, Error> {
        let uid = pod.and_then(|pod| pod.metadata.uid.as_ref());
        if self.runs.get(key).is_some_and(|run| run.uid.as_ref() != uid) {
            self.runtime.stop(key);
            self.runs.remove(key);
        }
        match pod {
            None => Ok(None),
            Some(pod) if is_terminating(pod) => self.terminate(key, pod, now).await,
            Some(pod) if matches!(text(&pod.data, "/status/phase"), Some("Succeeded" | "Failed")) => Ok(None),
            Some(pod) => self.bring_up(key, pod, now).await,
        }
    }

    async fn bring_up(
        &mut self,
        key: &Key,
        pod: &DynamicObject,
        now: DateTime<Utc>,
    ) -> Result<Option<TimeDelta>, Error> {
        if text(&pod.data, "/spec/nodeName").is_none() {
            self.schedule(key).await?;
        }
        let run = self.runs.entry(key.clone()).or_insert_with(|| {
            let settings = Settings::of(pod);
            let starts_at = now + settings.starts_after;
            let uid = pod.metadata.uid.clone();
            Run {
                uid,
                settings,
                starts_at,
                state: State::Starting,
                stops_at: None,
            }
        });
        if run.state == State::Starting {
            if now < run.starts_at {
                return Ok(Some(run.starts_at - now));
            }
            let started = start(&mut self.runtime, &mut self.addresses, key, &run.settings);
            let address = match started {
                Ok(address) => address,
                Err(error) => {
                    self.write_cannot_start(key, pod, &error).await?;
                    return Err(error);
                }
            };
            run.state = State::Serving { address, since: now };
        }
        let crashes_at = run.settings.crashes_after.map(|after| run.starts_at + after);
        if let State::Serving { address, .. } = run.state
            && crashes_at.is_some_and(|at| at <= now)
        {
            self.runtime.stop(key);
            run.state = State::Crashed { address };
        }
        let until_crash = crashes_at
            .map(|at| at - now)
            .filter(|wait| *wait > TimeDelta::zero());
        if let Some(status) = status(pod, run, now) {
            self.write_status(key, &status).await?;
        }
        Ok(until_crash)
    }

    async fn write_status(&self, key: &Key, status: &Value) -> Result<(), Error> {
        let patch = Patch::Merge(json!({ "status": status }));
        let api = key.api(&self.client, &pods());
        let written = api.patch_status(&key.name, &PatchParams::default(), &patch).await;
        ignore_gone(written).map_err(|error| api_error("write the status of", key, error))
    }

    /// Where whoever waits for the pod looks for the reason, as with a kubelet.
    async fn write_cannot_start(&self, key: &Key, pod: &DynamicObject, error: &Error) -> Result<(), Error> {
        let message = with_causes(error);
        if cannot_start(pod) == Some(&message) {
            return Ok(());
        }
        let waiting = json!({"waiting": {"reason": CANNOT_START, "message": message}});
        let status = json!({
            "phase": "Pending",
            "containerStatuses": container_statuses(pod, false, &waiting),
        });
        self.write_status(key, &status).await
    }

    /// Binds a pod to the node. From here on the API server knows that a deletion of the pod takes time.
    async fn schedule(&self, key: &Key) -> Result<(), Error> {
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": key.name, "namespace": key.namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": NODE_NAME},
        });
        let api = key.api(&self.client, &pods());
        let bound: kube::Result<Value> = api
            .create_subresource("binding", &key.name, &PostParams::default(), &binding)
            .await;
        ignore_gone(bound).map_err(|error| api_error("bind", key, error))
    }

    /// Lets a pod serve on for its preStop sleep, then stops it and deletes the object for good.
    async fn terminate(
        &mut self,
        key: &Key,
        pod: &DynamicObject,
        now: DateTime<Utc>,
    ) -> Result<Option<TimeDelta>, Error> {
        if let Some(run) = self.runs.get_mut(key)
            && matches!(run.state, State::Serving { .. })
        {
            let stops_at = *run.stops_at.get_or_insert_with(|| now + serves_on(pod));
            if now < stops_at {
                return Ok(Some(stops_at - now));
            }
        }
        self.runtime.stop(key);
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: pod.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let deleted = key
            .api(&self.client, &pods())
            .delete(&key.name, &parameters)
            .await;
        ignore_gone(deleted).map_err(|error| api_error("delete", key, error))?;
        self.runs.remove(key);
        Ok(None)
    }
}

/// Whoever asks for a scheduler of his own looks after the pod himself.
fn is_ours(pod: &DynamicObject) -> bool {
    let scheduler = text(&pod.data, "/spec/schedulerName");
    scheduler.is_none_or(|scheduler| scheduler == "default-scheduler")
}

fn start<R: PodRuntime>(
    runtime: &mut R,
    addresses: &mut Addresses,
    key: &Key,
    settings: &Settings,
) -> Result<SocketAddr, Error> {
    let untouched = addresses.clone();
    let mut attempts = 0;
    loop {
        let address = SocketAddr::new(addresses.allocate().into(), settings.port);
        attempts += 1;
        match runtime.start(key, settings, address) {
            Ok(()) => return Ok(address),
            Err(error) if error.kind() == ErrorKind::AddrInUse && attempts < ADDRESS_ATTEMPTS => {}
            Err(source) => {
                // The next try begins where this one did, so that the advice about an address stays true.
                *addresses = untouched;
                return Err(Error::Start {
                    key: key.clone(),
                    address,
                    source,
                });
            }
        }
    }
}

/// How long a pod serves after it was told to terminate: its longest preStop sleep, within its grace period.
fn serves_on(pod: &DynamicObject) -> TimeDelta {
    let containers = list(&pod.data, "/spec/containers").iter();
    let sleeps =
        containers.filter_map(|container| container.pointer("/lifecycle/preStop/sleep/seconds")?.as_i64());
    let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
    TimeDelta::seconds(sleeps.max().unwrap_or(0).clamp(0, grace.max(0)))
}

/// The status to write; none when the pod says it already.
fn status(pod: &DynamicObject, run: &Run, now: DateTime<Utc>) -> Option<Value> {
    let (address, since, ready) = match run.state {
        State::Starting => return None,
        State::Serving { address, since } => (address, since, run.settings.becomes_ready),
        State::Crashed { address } => (address, now, false),
    };
    let ip = address.ip().to_string();
    if text(&pod.data, "/status/podIP") == Some(&ip) && is_ready(pod) == ready {
        return None;
    }
    let time = since.to_rfc3339_opts(SecondsFormat::Secs, true);
    let condition = |kind: &str, holds: bool| {
        let status = if holds { "True" } else { "False" };
        json!({"type": kind, "status": status, "lastTransitionTime": time})
    };
    let state = match run.state {
        State::Crashed { .. } => json!({"waiting": {"reason": "CrashLoopBackOff"}}),
        _ => json!({"running": {"startedAt": time}}),
    };
    Some(json!({
        "phase": "Running",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": run.starts_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        "conditions": [
            condition("PodScheduled", true),
            condition("Initialized", true),
            condition("ContainersReady", ready),
            condition("Ready", ready),
        ],
        "containerStatuses": container_statuses(pod, ready, &state),
    }))
}

fn container_statuses(pod: &DynamicObject, ready: bool, state: &Value) -> Vec<Value> {
    let containers = list(&pod.data, "/spec/containers").iter().map(|container| {
        let image = text(container, "/image").unwrap_or_default();
        json!({
            "name": text(container, "/name"), "image": image, "imageID": image, "ready": ready, "started": ready,
            "restartCount": 0, "state": state,
        })
    });
    containers.collect()
}

/// Why a pod cannot start, if its node said so.
pub fn cannot_start(pod: &DynamicObject) -> Option<&str> {
    let waiting = pod.data.pointer("/status/containerStatuses/0/state/waiting")?;
    text(waiting, "/message").filter(|_| text(waiting, "/reason") == Some(CANNOT_START))
}

/// A pod that is gone, is another one of the same name, or is bound already, needs nothing any more.
fn ignore_gone<T>(result: kube::Result<T>) -> kube::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        other => other.map(drop),
    }
}

fn api_error(verb: &'static str, key: &Key, error: kube::Error) -> Error {
    Error::Api {
        verb,
        key: key.clone(),
        source: Box::new(error),
    }
}

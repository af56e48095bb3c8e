//! Watches: keep the caches fed, for as long as the process lives.
//!
//! Guarantees: a watch that breaks begins anew, after a pause that grows; an object is taken as it is, whatever
//! its spec looks like, so that none can end the watch of the others; a relist replaces what is cached in one step.

use std::collections::BTreeSet;
use std::pin::pin;

use futures::StreamExt;
use kube::api::ApiResource;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::mpsc::UnboundedSender;

use crate::api::names::ROLLOUT_LABEL;
use crate::api::resource::Resource;
use crate::api::selector::LabelSelector;
use crate::client::object::Object;
use crate::observe::cache::CacheEvent;
use crate::observe::kept::Kept;

/// Objects in one answer while a kind is listed: the whole answer is in memory at once.
const PAGE_SIZE: u32 = 100;

/// What one watch saw.
#[derive(Debug)]
pub struct Seen {
    pub resource: Resource,
    pub event: CacheEvent,
}

/// Watches one kind in one namespace, or in all if it is empty, until the receiver is gone. Of Rollouts, those that are
/// selected.
pub async fn watch(
    client: kube::Client,
    resource: Resource,
    namespace: String,
    rollouts: LabelSelector,
    seen: UnboundedSender<Seen>,
) {
    let events = watcher(api(client, resource, &namespace), config(resource, &rollouts)).default_backoff();
    let mut events = pin!(events);
    let mut listed = Vec::new();
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(Event::Apply(object)) => CacheEvent::applied(resource, object.value),
            Ok(Event::Delete(object)) => CacheEvent::deleted(&object.value),
            Ok(Event::Init) => {
                listed.clear();
                Some(CacheEvent::Restarting {
                    namespace: namespace.clone(),
                })
            }
            Ok(Event::InitApply(object)) => {
                listed.extend(Kept::of(resource, object.value));
                None
            }
            Ok(Event::InitDone) => Some(CacheEvent::Restarted {
                namespace: namespace.clone(),
                objects: std::mem::take(&mut listed),
            }),
            Err(error) if is_refused(&error) => {
                let right = format!("list and watch {}.{}", resource.plural(), resource.group());
                tracing::error!(%resource, namespace, right, %error, "watch was refused; it is tried again");
                None
            }
            Err(error) => {
                tracing::warn!(%resource, namespace, %error, "watch broke; it begins anew");
                None
            }
        };
        if let Some(event) = event
            && seen.send(Seen { resource, event }).is_err()
        {
            return;
        }
    }
}

/// Whether a right is missing that nobody else can give.
fn is_refused(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code == 403,
        watcher::Error::WatchError(status) => status.code == 403,
        _ => false,
    }
}

/// Kinds that every controller watches; the rest from the moment a Rollout names one, and from then on.
pub const ALWAYS: [Resource; 6] = [
    Resource::Rollout,
    Resource::RolloutCommand,
    Resource::AnalysisRun,
    Resource::AnalysisTemplate,
    Resource::ClusterAnalysisTemplate,
    Resource::ReplicaSet,
];

/// Kinds whose caches must be complete before anything is decided: what is listed by owner is not confirmed by
/// name, so nothing may be missing.
pub const ESSENTIAL: [Resource; 4] = [
    Resource::Rollout,
    Resource::RolloutCommand,
    Resource::AnalysisRun,
    Resource::ReplicaSet,
];

/// Where a kind is watched, if only these namespaces are ours (all, if none is named).
pub fn scopes(resource: Resource, namespaces: &BTreeSet<String>) -> Vec<String> {
    if namespaces.is_empty() || !resource.is_namespaced() {
        vec![String::new()]
    } else {
        namespaces.iter().cloned().collect()
    }
}

fn api(client: kube::Client, resource: Resource, namespace: &str) -> kube::Api<Object> {
    let kind = ApiResource {
        group: resource.group().to_owned(),
        version: resource.version().to_owned(),
        api_version: resource.api_version(),
        kind: resource.kind().to_owned(),
        plural: resource.plural().to_owned(),
    };
    if namespace.is_empty() {
        kube::Api::all_with(client, &kind)
    } else {
        kube::Api::namespaced_with(client, namespace, &kind)
    }
}

fn config(resource: Resource, rollouts: &LabelSelector) -> watcher::Config {
    let all = watcher::Config::default().page_size(PAGE_SIZE);
    match resource {
        // Those of others are none of our business.
        Resource::ReplicaSet => all.labels(ROLLOUT_LABEL),
        Resource::Rollout if !rollouts.selects_all() => all.labels(&rollouts.to_string()),
        _ => all,
    }
}

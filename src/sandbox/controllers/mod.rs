//! The controllers of a cluster that Tidegate leans on: ReplicaSets create and delete pods, EndpointSlices follow pods
//! and Services, and what has lost its owner goes.
//!
//! Each is a step function over the API, keyed by object; it reads no clock and waits for nothing, so a simulation can
//! call it in virtual time. [`run`] is the thin loop around them for a live sandbox: watches, indexes, a queue.

mod cache;
mod endpoint_slice;
mod garbage;
mod live;
mod replica_set;

pub use endpoint_slice::sync_endpoint_slice;
pub use garbage::sync_dependent;
pub use live::run;
pub use replica_set::sync_replica_set;

use std::collections::BTreeMap;

use kube::api::{DynamicObject, ListParams};

use super::resource::Key;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {verb} {kind} {key}")]
    Api {
        verb: &'static str,
        kind: &'static str,
        key: Key,
        source: Box<kube::Error>,
    },
}

/// Names what failed.
fn failed(verb: &'static str, kind: &'static str, key: &Key) -> impl FnOnce(kube::Error) -> Error {
    let key = key.clone();
    move |source| Error::Api {
        verb,
        kind,
        key,
        source: Box::new(source),
    }
}

/// True for the answer that the object is not there, or is another one of the same name.
fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 || status.code == 409)
}

async fn list_pods(
    client: &kube::Client,
    owner: &Key,
    selector: &BTreeMap<String, String>,
) -> Result<Vec<DynamicObject>, Error> {
    let terms: Vec<_> = selector
        .iter()
        .map(|(label, value)| format!("{label}={value}"))
        .collect();
    let parameters = ListParams::default().labels(&terms.join(","));
    let pods = owner
        .api(client, &super::resource::pods())
        .list(&parameters)
        .await;
    Ok(pods.map_err(failed("list the pods of", "object", owner))?.items)
}

//! A kubelet that makes every pod Ready at once and lets it go at once, many of them at a time: what is measured must not
//! wait for it.

use std::time::Duration;

use futures::StreamExt;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::json;
use tidegate::sandbox::pods::Addresses;
use tidegate::sandbox::resource::{Key, is_ready, is_terminating, pods};
use tidegate::sandbox::watch::{Event, watch};

const AT_A_TIME: usize = 32;
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Runs all pods there are and will be, until dropped.
pub async fn run(client: kube::Client, mut addresses: Addresses) {
    let changes = watch(&client, &pods()).filter_map(async |event| match event {
        Event::Changed(key, pod) => Some((key, *pod?)),
        Event::Synced => None,
    });
    let work = changes.map(|(key, pod)| {
        let address = addresses.allocate();
        let client = client.clone();
        async move { look_after(&client, &key, &pod, &address.to_string()).await }
    });
    work.buffer_unordered(AT_A_TIME).for_each(async |()| ()).await;
}

/// What is refused was about a pod that is gone, or has changed and comes again.
async fn look_after(client: &kube::Client, key: &Key, pod: &DynamicObject, address: &str) {
    let api = key.api(client, &pods());
    if is_terminating(pod) {
        let at_once = DeleteParams::default().grace_period(0);
        let _gone = api.delete(&key.name, &at_once).await;
    } else if !is_ready(pod) {
        let condition = |kind: &str| json!({"type": kind, "status": "True"});
        let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(condition);
        let status = json!({"status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "conditions": conditions,
        }});
        let patch = Patch::Merge(status);
        while let Err(error) = api.patch_status(&key.name, &PatchParams::default(), &patch).await {
            if matches!(&error, kube::Error::Api(status) if status.code == 404 || status.code == 409) {
                return;
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }
}

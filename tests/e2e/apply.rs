//! Objects as a user applies them.

use std::time::Duration;

use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

/// Creates or changes an object as `kubectl apply --server-side` does; waits until the API server serves its kind.
pub async fn apply(client: &kube::Client, object: Value) {
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    let kind = GroupVersionKind::try_from(object.types.as_ref().unwrap()).unwrap();
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> = match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let name = object.metadata.name.as_deref().unwrap();
    let parameters = PatchParams::apply("e2e").force();
    for _ in 0..100 {
        match api.patch(name, &parameters, &Patch::Apply(&object)).await {
            Ok(_) => return,
            // The kind was defined a moment ago.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => panic!("{kind:?} {name}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{kind:?} {name}: the API server does not know the kind");
}

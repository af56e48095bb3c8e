//! The garbage collector: an object all of whose owners are gone goes too. An owner is another object when its uid is.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ApiResource, DeleteParams, Preconditions, PropagationPolicy};

use super::{Error, failed, is_gone};
use crate::sandbox::resource::Key;

/// Deletes one object if it has owners and none of them exists. An owner of a kind that is not among `kinds` is taken
/// to exist.
pub async fn sync_dependent(
    client: &kube::Client,
    kinds: &[ApiResource],
    resource: &ApiResource,
    key: &Key,
) -> Result<(), Error> {
    let api = key.api(client, resource);
    let found = api
        .get_metadata_opt(&key.name)
        .await
        .map_err(failed("read", "dependent object", key))?;
    let Some(metadata) = found.map(|object| object.metadata) else {
        return Ok(());
    };
    let owners = metadata.owner_references.unwrap_or_default();
    if owners.is_empty() || metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    for owner in &owners {
        if exists(client, kinds, key, owner).await? {
            return Ok(());
        }
    }
    let parameters = DeleteParams {
        preconditions: Some(Preconditions {
            uid: metadata.uid,
            resource_version: None,
        }),
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    match api.delete(&key.name, &parameters).await {
        Err(error) if !is_gone(&error) => Err(failed("delete", "object without owner", key)(error)),
        _ => Ok(()),
    }
}

async fn exists(
    client: &kube::Client,
    kinds: &[ApiResource],
    dependent: &Key,
    owner: &OwnerReference,
) -> Result<bool, Error> {
    let Some(kind) = kinds
        .iter()
        .find(|kind| kind.kind == owner.kind && kind.api_version == owner.api_version)
    else {
        return Ok(true);
    };
    let key = Key::new(&dependent.namespace, &owner.name);
    let found = key.api(client, kind).get_metadata_opt(&key.name).await;
    let found = found.map_err(failed("read", "owner", &key))?;
    Ok(found.is_some_and(|object| object.metadata.uid.as_ref() == Some(&owner.uid)))
}

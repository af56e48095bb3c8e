//! The garbage collector: an object all of whose owners are gone goes too, a foreground deletion waits for dependents,
//! and orphans lose their references before their owner goes. An owner is another object when its uid is.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{
    ApiResource, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, Preconditions, PropagationPolicy,
};
use serde_json::json;

use super::{Error, failed, is_gone};
use crate::sandbox::resource::Key;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// Deletes one object if it has owners and none of them exists; if it is being deleted itself, does to its dependents
/// what that deletion asks for. An owner of a kind that is not among `kinds` is taken to exist.
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
    if metadata.deletion_timestamp.is_some() {
        return sync_deleting_owner(client, kinds, resource, key, &metadata).await;
    }
    let owners = metadata.owner_references.clone().unwrap_or_default();
    let mut left = Vec::new();
    for owner in &owners {
        if exists(client, kinds, key, owner).await? {
            left.push(owner.clone());
        }
    }
    if left.len() == owners.len() {
        return Ok(());
    }
    if !left.is_empty() {
        return set_owners(client, resource, key, &metadata, &left).await;
    }
    delete(client, resource, key, &metadata, PropagationPolicy::Background).await
}

async fn delete(
    client: &kube::Client,
    resource: &ApiResource,
    key: &Key,
    metadata: &ObjectMeta,
    policy: PropagationPolicy,
) -> Result<(), Error> {
    let parameters = DeleteParams {
        preconditions: Some(Preconditions {
            uid: metadata.uid.clone(),
            resource_version: None,
        }),
        propagation_policy: Some(policy),
        ..DeleteParams::default()
    };
    match key.api(client, resource).delete(&key.name, &parameters).await {
        Err(error) if !is_gone(&error) => Err(failed("delete", "object without owner", key)(error)),
        _ => Ok(()),
    }
}

async fn set_owners(
    client: &kube::Client,
    resource: &ApiResource,
    key: &Key,
    metadata: &ObjectMeta,
    owners: &[OwnerReference],
) -> Result<(), Error> {
    let version = &metadata.resource_version;
    write(
        client,
        resource,
        key,
        json!({"resourceVersion": version, "ownerReferences": owners}),
    )
    .await
}

async fn write(
    client: &kube::Client,
    resource: &ApiResource,
    key: &Key,
    metadata: serde_json::Value,
) -> Result<(), Error> {
    let patch = Patch::Merge(json!({"metadata": metadata}));
    let api = key.api(client, resource);
    let written = api
        .patch_metadata(&key.name, &PatchParams::default(), &patch)
        .await;
    match written {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        // A conflict is an error: it is tried again with what is there then.
        written => written
            .map(drop)
            .map_err(failed("write the metadata of", "object", key)),
    }
}

/// Orphans the dependents, or deletes them and waits for those that block, and lets the owner go.
async fn sync_deleting_owner(
    client: &kube::Client,
    kinds: &[ApiResource],
    resource: &ApiResource,
    key: &Key,
    metadata: &ObjectMeta,
) -> Result<(), Error> {
    let finalizers = metadata.finalizers.clone().unwrap_or_default();
    let has = |finalizer: &str| finalizers.iter().any(|known| known == finalizer);
    if !has(ORPHAN) && !has(FOREGROUND) {
        return Ok(());
    }
    let mut is_blocked = false;
    for kind in kinds {
        let listed = key.api(client, kind).list_metadata(&ListParams::default()).await;
        for dependent in listed
            .map_err(failed("list the dependents of", "object", key))?
            .items
        {
            let owners = dependent.metadata.owner_references.clone().unwrap_or_default();
            let is_ours = |owner: &OwnerReference| Some(&owner.uid) == metadata.uid.as_ref();
            let Some(ours) = owners.iter().find(|owner| is_ours(owner)) else {
                continue;
            };
            let name = dependent.metadata.name.clone().unwrap_or_default();
            let at = Key::new(&key.namespace, name);
            if has(ORPHAN) {
                let others: Vec<_> = owners.iter().filter(|owner| !is_ours(owner)).cloned().collect();
                set_owners(client, kind, &at, &dependent.metadata, &others).await?;
                continue;
            }
            is_blocked |= ours.block_owner_deletion == Some(true);
            if dependent.metadata.deletion_timestamp.is_none() {
                delete(
                    client,
                    kind,
                    &at,
                    &dependent.metadata,
                    PropagationPolicy::Foreground,
                )
                .await?;
            }
        }
    }
    if is_blocked {
        return Ok(());
    }
    let left = finalizers
        .iter()
        .filter(|one| !matches!(one.as_str(), ORPHAN | FOREGROUND));
    let left: Vec<_> = left.collect();
    let version = &metadata.resource_version;
    write(
        client,
        resource,
        key,
        json!({"resourceVersion": version, "finalizers": left}),
    )
    .await
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

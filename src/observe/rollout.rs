//! Everything about one Rollout at one moment.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::decode::{self, PodNames, SERVICE_NAME_LABEL};
use super::stores::is_open;
use super::{Look, ObserveError, Observer};
use crate::api::analysis_run::AnalysisRun;
use crate::api::analysis_template::AnalysisTemplateSpec;
use crate::api::resource::{ObjectKey, Resource};
use crate::api::rollout::TemplateRef;
use crate::api::rollout_command::RolloutCommand;
use crate::api::rollout_status::RolloutStatus;
use crate::plan::needs::{Needs, needs};
use crate::plan::snapshot::{
    EndpointsReady, ObservedRoutes, ReplicaSetSeen, ServiceSeen, Snapshot, TemplateSeen,
};

/// Templates may name templates; more of them than this in one Rollout are not read.
const MAX_TEMPLATES: usize = 100;

/// What one look found.
pub struct Observed {
    pub snapshot: Snapshot,
    /// Its endpoints were read a moment ago, for an earlier round.
    pub remembers_endpoints: bool,
}

impl Observer {
    /// `None`: the Rollout is gone.
    pub async fn observe_rollout(
        &self,
        key: &ObjectKey,
        now: DateTime<Utc>,
    ) -> Result<Option<Observed>, ObserveError> {
        let look = Look {
            observer: self,
            live: self.heals.is_due(key, now),
        };
        let Some(rollout) = look.object(Resource::Rollout, key).await? else {
            self.own.forget(key);
            self.forget(key);
            return Ok(None);
        };
        if let Some(status) = rollout.get("status") {
            // A status of a newer version of us, perhaps. Taken for none, an abort would be forgotten.
            RolloutStatus::deserialize(status).map_err(|error| ObserveError::Undecodable {
                resource: Resource::Rollout,
                key: key.clone(),
                problem: format!("status: {error}"),
            })?;
        }
        let needs = needs(&rollout);
        let mut snapshot = look.snapshot(key, rollout, &needs).await?;
        let remembered = self.endpoints.recall(key, &snapshot, now);
        let remembered = remembered.filter(|_| needs.endpoints && !look.live);
        let remembers_endpoints = remembered.is_some();
        snapshot.endpoints = remembered;
        if !needs.endpoints {
            self.endpoints.forget(key);
        } else if !remembers_endpoints {
            self.read_endpoints(key, &mut snapshot, now).await?;
        }
        self.heals.plan(key, needs.in_progress, look.live, now);
        Ok(Some(Observed {
            snapshot,
            remembers_endpoints,
        }))
    }

    /// Reads the endpoints behind the Services of a snapshot, now.
    pub async fn read_endpoints(
        &self,
        key: &ObjectKey,
        snapshot: &mut Snapshot,
        now: DateTime<Utc>,
    ) -> Result<(), ObserveError> {
        let look = Look {
            observer: self,
            live: true,
        };
        let (sets, services) = (&snapshot.replica_sets, &snapshot.services);
        let pods = PodNames::new(&key.name, sets.values(), services.values().flatten());
        let ready = look.endpoints(key, services, &pods).await?;
        self.endpoints.keep(key, snapshot, &ready, now);
        snapshot.endpoints = Some(ready);
        Ok(())
    }

    /// Commands for a Rollout that is gone. Those without an answer are read live: what we remember of our own
    /// answers went with the Rollout.
    pub async fn unaddressed_commands(&self, key: &ObjectKey) -> Result<Vec<RolloutCommand>, ObserveError> {
        let look = Look {
            observer: self,
            live: true,
        };
        let mut commands = Vec::new();
        for key in self.stores.of_rollout(Resource::RolloutCommand, key) {
            let cached = self.stores.get(Resource::RolloutCommand, &key);
            let object = match cached {
                Some(object) if !is_open(&object) => Some(object),
                _ => look.object(Resource::RolloutCommand, &key).await?,
            };
            let read = object.and_then(|object| command((key, object)));
            commands.extend(read.map(|(_, command)| command));
        }
        Ok(commands)
    }
}

impl Look<'_> {
    async fn snapshot(
        self,
        key: &ObjectKey,
        rollout: Value,
        needs: &Needs,
    ) -> Result<Snapshot, ObserveError> {
        let replica_sets: BTreeMap<String, ReplicaSetSeen> = self
            .belongings(Resource::ReplicaSet, key)
            .await?
            .into_iter()
            .map(|(key, object)| (key.name, decode::replica_set(&object, &rollout)))
            .collect();
        let (runs, unreadable_runs) = sort_out(self.belongings(Resource::AnalysisRun, key).await?);
        let commands = self.belongings(Resource::RolloutCommand, key).await?;
        let services = self.named(Resource::Service, key, needs.services.iter()).await?;
        let services: BTreeMap<String, Option<ServiceSeen>> = services
            .into_iter()
            .map(|(name, object)| (name, object.as_ref().map(ServiceSeen::read)))
            .collect();
        let mut ingresses = self.named(Resource::Ingress, key, needs.ingresses.iter()).await?;
        let http_routes = self
            .named(Resource::HttpRoute, key, needs.http_routes.iter())
            .await?;
        // Our canary Ingresses have our label, whoever has forgotten their names.
        let kept = self.observer.stores.of_rollout(Resource::Ingress, key);
        let kept = kept.iter().map(|ingress| &ingress.name);
        let forgotten = kept.filter(|name| !ingresses.contains_key(*name));
        let forgotten: Vec<&String> = forgotten.collect();
        ingresses.extend(self.named(Resource::Ingress, key, forgotten.into_iter()).await?);
        Ok(Snapshot {
            replica_sets,
            services,
            endpoints: None,
            routes: ObservedRoutes {
                ingresses,
                http_routes,
            },
            runs,
            unreadable_runs,
            templates: self.templates(key, &needs.templates).await?,
            commands: commands.into_iter().filter_map(command).collect(),
            claims: self.observer.stores.claims(&rollout),
            rollout,
            data_plane: None,
            unwritten: None,
        })
    }

    /// Objects by name; `None` where there is none.
    async fn named(
        self,
        resource: Resource,
        rollout: &ObjectKey,
        names: impl Iterator<Item = &String>,
    ) -> Result<BTreeMap<String, Option<Value>>, ObserveError> {
        let mut objects = BTreeMap::new();
        for name in names {
            let key = ObjectKey::new(rollout.namespace.clone(), name.clone());
            objects.insert(name.clone(), self.object(resource, &key).await?);
        }
        Ok(objects)
    }

    async fn endpoints(
        self,
        rollout: &ObjectKey,
        services: &BTreeMap<String, Option<ServiceSeen>>,
        pods: &PodNames,
    ) -> Result<BTreeMap<String, EndpointsReady>, ObserveError> {
        let there = services.values().flatten();
        let names: Vec<&str> = there.clone().map(|service| service.name.as_str()).collect();
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let labels = format!("{SERVICE_NAME_LABEL} in ({})", names.join(","));
        let slices = self
            .list_live(Resource::EndpointSlice, &rollout.namespace, Some(&labels))
            .await?;
        let ready = |service: &ServiceSeen| {
            let slices = slices
                .iter()
                .filter(|slice| decode::service_of(slice) == Some(service.name.as_str()))
                .filter(|slice| service.ports.is_empty() || !decode::is_portless(slice));
            (service.name.clone(), decode::endpoints(slices, pods))
        };
        Ok(there.map(ready).collect())
    }

    /// The templates the Rollout names, and those they name in turn, each once.
    async fn templates(
        self,
        rollout: &ObjectKey,
        named: &[TemplateRef],
    ) -> Result<Vec<TemplateSeen>, ObserveError> {
        let mut pending: Vec<TemplateRef> = named.iter().rev().cloned().collect();
        let mut seen: Vec<TemplateSeen> = Vec::new();
        while let Some(reference) = pending.pop() {
            if seen.len() >= MAX_TEMPLATES || seen.iter().any(|known| known.reference == reference) {
                continue;
            }
            let (resource, namespace) = match reference.cluster_scope {
                Some(true) => (Resource::ClusterAnalysisTemplate, ""),
                _ => (Resource::AnalysisTemplate, rollout.namespace.as_str()),
            };
            let key = ObjectKey::new(namespace, reference.template_name.clone());
            let object = self.object(resource, &key).await?;
            let spec = object.and_then(|mut object| object.get_mut("spec").map(Value::take));
            let spec: Result<Option<AnalysisTemplateSpec>, ObserveError> =
                spec.map(|spec| understand(resource, &key, spec)).transpose();
            let (spec, problem) = match spec {
                Ok(spec) => (spec, None),
                Err(error) => (None, Some(error.to_string())),
            };
            pending.extend(spec.iter().flat_map(|spec| spec.templates.iter().rev().cloned()));
            seen.push(TemplateSeen {
                reference,
                spec,
                problem,
            });
        }
        Ok(seen)
    }
}

/// Runs that can be read, and the names of the rest: one of them must not hold up an abort, nor be made again.
fn sort_out(runs: Vec<(ObjectKey, Value)>) -> (BTreeMap<String, AnalysisRun>, BTreeSet<String>) {
    let mut readable = BTreeMap::new();
    let mut unreadable = BTreeSet::new();
    for (key, object) in runs {
        match understand(Resource::AnalysisRun, &key, object) {
            Ok(run) => {
                readable.insert(key.name, run);
            }
            Err(error) => {
                tracing::warn!(%error, "run is left aside");
                unreadable.insert(key.name);
            }
        }
    }
    (readable, unreadable)
}

/// A command we cannot read must not hold up an abort that we can.
fn command<T: DeserializeOwned>((key, object): (ObjectKey, Value)) -> Option<(String, T)> {
    match understand(Resource::RolloutCommand, &key, object) {
        Ok(command) => Some((key.name, command)),
        Err(error) => {
            tracing::warn!(%error, "command is left aside");
            None
        }
    }
}

fn understand<T: DeserializeOwned>(
    resource: Resource,
    key: &ObjectKey,
    object: Value,
) -> Result<T, ObserveError> {
    serde_json::from_value(object).map_err(|error| ObserveError::Undecodable {
        resource,
        key: key.clone(),
        problem: error.to_string(),
    })
}

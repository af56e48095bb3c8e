//! What the controller sees of the cluster, as the observer of the real one would report it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tidegate::api::data_plane::{DataPlaneSeen, Said};
use tidegate::api::names::{HASH_LABEL, REVISION_ANNOTATION, ROLLOUT_LABEL, Revision};
use tidegate::plan::model::Kind;
use tidegate::plan::needs::needs;
use tidegate::plan::snapshot::{EndpointsReady, ObservedRoutes, ReplicaSetSeen, ServiceSeen, Snapshot};
use tidegate::plan::witness::question;

use super::{Cluster, DataPlane};

impl Cluster {
    pub fn snapshot(&self) -> Snapshot {
        let rollout = self.rollout().unwrap().clone();
        let of = |wanted: Kind| self.objects.iter().filter(move |((kind, _), _)| *kind == wanted);
        let needs = needs(&rollout);
        let services = needs.services.iter().map(|name| {
            let service = self.object(Kind::Service, name).map(see_service);
            (name.clone(), service)
        });
        let services: BTreeMap<_, _> = services.collect();
        let labelled = of(Kind::Ingress)
            .filter(|(_, ingress)| strings(ingress, "/metadata/labels").contains_key(ROLLOUT_LABEL));
        let labelled = labelled.map(|((_, name), _)| name.clone());
        let seen = |kind: Kind, names: BTreeSet<String>| {
            names
                .into_iter()
                .map(|name| (name.clone(), self.object(kind, &name).cloned()))
                .collect()
        };
        let is_deleted = self
            .rollout()
            .is_some_and(|rollout| rollout["metadata"].get("deletionTimestamp").is_some());
        let replica_sets: BTreeMap<_, _> = of(Kind::ReplicaSet)
            .map(|((_, name), set)| (name.clone(), see_replica_set(set, is_deleted)))
            .collect();
        let typed = |kind| of(kind).map(|((_, name), object)| (name.clone(), object.clone()));
        let mut snapshot = Snapshot {
            endpoints: needs.endpoints.then(|| see_endpoints(&services, &replica_sets)),
            replica_sets,
            services,
            routes: ObservedRoutes {
                ingresses: seen(Kind::Ingress, labelled.chain(needs.ingresses).collect()),
                http_routes: seen(Kind::HttpRoute, needs.http_routes),
            },
            runs: typed(Kind::AnalysisRun)
                .map(|(name, run)| (name, from_raw(run, "AnalysisRun")))
                .collect(),
            unreadable_runs: Default::default(),
            templates: self.templates.clone(),
            commands: typed(Kind::RolloutCommand)
                .map(|(name, it)| (name, from_raw(it, "RolloutCommand")))
                .collect(),
            claims: self.claims.clone(),
            rollout,
            data_plane: None,
            unwritten: self.unwritten.clone(),
        };
        if question(&snapshot, self.now).is_some() {
            snapshot.data_plane = Some(DataPlaneSeen {
                asked_at: self.now,
                said: self.say(),
            });
        }
        snapshot
    }

    fn max_weight(&self) -> i64 {
        let max = "/spec/strategy/canary/trafficRouting/maxTrafficWeight";
        let max = self.rollout().and_then(|rollout| rollout.pointer(max));
        max.and_then(Value::as_i64).unwrap_or(100)
    }

    /// What the data plane says when it is asked for the canary's share.
    fn say(&self) -> Said {
        match self.data_plane {
            DataPlane::Obeys => Said::Share {
                share: self.weight() as f64 / self.max_weight() as f64,
                requests: 1e6,
            },
            DataPlane::Ignores(weight) => Said::Share {
                share: weight as f64 / 100.0,
                requests: 1e6,
            },
            DataPlane::IsSilent => Said::Nothing("no answer within 10 s".to_owned()),
        }
    }
}

fn from_raw<T: serde::de::DeserializeOwned>(mut object: Value, kind: &str) -> T {
    object["apiVersion"] = json!("tidegate.dev/v1alpha1");
    object["kind"] = json!(kind);
    serde_json::from_value(object).unwrap()
}

fn text(object: &Value, path: &str) -> String {
    object
        .pointer(path)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn strings(object: &Value, path: &str) -> BTreeMap<String, String> {
    object
        .pointer(path)
        .map(|map| serde_json::from_value(map.clone()).unwrap())
        .unwrap_or_default()
}

/// Of the annotations the controller keeps its own.
fn see_service(service: &Value) -> ServiceSeen {
    let mut service = service.clone();
    if let Some(annotations) = service["metadata"]["annotations"].as_object_mut() {
        annotations.retain(|key, _| key.starts_with("tidegate.dev/"));
    }
    ServiceSeen::read(&service)
}

fn see_replica_set(set: &Value, is_deleted: bool) -> ReplicaSetSeen {
    let number = |path: &str| set.pointer(path).and_then(Value::as_i64).unwrap_or_default();
    let revision = strings(set, "/metadata/annotations")
        .get(REVISION_ANNOTATION)
        .cloned();
    ReplicaSetSeen {
        name: text(set, "/metadata/name"),
        uid: text(set, "/metadata/uid"),
        resource_version: text(set, "/metadata/resourceVersion"),
        hash: tidegate::api::names::PodTemplateHash(strings(set, "/metadata/labels")[HASH_LABEL].clone()),
        revision: revision.map(|revision| Revision(revision.parse().unwrap())),
        is_bare: set.pointer("/metadata/annotations").is_none(),
        created_at: None,
        replicas: number("/spec/replicas"),
        running: number("/status/replicas"),
        ready: number("/status/readyReplicas"),
        available: number("/status/availableReplicas"),
        caught_up: true,
        owned: match set.pointer("/metadata/ownerReferences") {
            Some(_) => text(set, "/metadata/ownerReferences/0/uid") == "rollout-uid",
            None => is_deleted,
        },
        deleting: false,
    }
}

fn see_endpoints(
    services: &BTreeMap<String, Option<ServiceSeen>>,
    sets: &BTreeMap<String, ReplicaSetSeen>,
) -> BTreeMap<String, EndpointsReady> {
    let behind = |service: &ServiceSeen| {
        let selected = service.selector.get(HASH_LABEL);
        let is_found = service.selector.get("app").is_some_and(|app| app == "checkout");
        let chosen = sets
            .values()
            .filter(|set| is_found && selected.is_none_or(|hash| set.hash.as_str() == hash));
        EndpointsReady {
            by_hash: chosen.map(|set| (set.hash.clone(), set.steady())).collect(),
            others: 0,
        }
    };
    services
        .iter()
        .filter_map(|(name, service)| Some((name.clone(), behind(service.as_ref()?))))
        .collect()
}

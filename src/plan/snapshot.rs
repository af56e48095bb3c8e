//! What a plan is made from: everything that was observed about one Rollout at one moment, sorted and
//! serialisable, so that a decision can be saved and replayed.
//!
//! `None` in a map means *read live and absent*; a missing key means *not read*.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::analysis_run::AnalysisRun;
use crate::api::analysis_template::AnalysisTemplateSpec;
use crate::api::data_plane::DataPlaneSeen;
use crate::api::names::{PodTemplateHash, Revision};
use crate::api::resource::metadata_text;
use crate::api::rollout::TemplateRef;
use crate::api::rollout_command::RolloutCommand;
use crate::api::rollout_status::RolloutStatus;
use crate::plan::model::Precondition;
pub use crate::routers::ObservedRoutes;

/// One Rollout and what it depends on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The Rollout as the API server gave it, without managed fields.
    pub rollout: Value,
    /// ReplicaSets of this Rollout, by name.
    pub replica_sets: BTreeMap<String, ReplicaSetSeen>,
    pub services: BTreeMap<String, Option<ServiceSeen>>,
    /// Ready endpoints by Service; read only while a decision depends on them.
    pub endpoints: Option<BTreeMap<String, EndpointsReady>>,
    pub routes: ObservedRoutes,
    /// What the data plane said of itself; asked only while a decision depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_plane: Option<DataPlaneSeen>,
    /// AnalysisRuns of this Rollout, by name.
    pub runs: BTreeMap<String, AnalysisRun>,
    /// Names of AnalysisRuns of this Rollout that could not be understood.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unreadable_runs: BTreeSet<String>,
    pub templates: Vec<TemplateSeen>,
    /// RolloutCommands that name this Rollout, by name.
    pub commands: BTreeMap<String, RolloutCommand>,
    /// Objects of ours that an older Rollout already claims.
    pub claims: Vec<Claim>,
    /// What the rounds since the last write of the status found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwritten: Option<Unwritten>,
}

/// A status that was worth no write so far. Only the controller that made it knows it, and it may be lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unwritten {
    pub status: RolloutStatus,
    /// Since when it says more than the one that is written.
    pub since: DateTime<Utc>,
}

/// What we read of a ReplicaSet; its pod template is not kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReplicaSetSeen {
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub hash: PodTemplateHash,
    pub revision: Option<Revision>,
    /// It has no annotations at all, and the first one brings the map.
    #[serde(default)]
    pub is_bare: bool,
    pub created_at: Option<DateTime<Utc>>,
    /// `spec.replicas`.
    pub replicas: i64,
    /// `status.replicas`, `.readyReplicas`, `.availableReplicas`.
    pub running: i64,
    pub ready: i64,
    pub available: i64,
    /// The status was made for the size in the spec. Otherwise it may count pods that were told to go under another
    /// size meanwhile.
    pub caught_up: bool,
    /// Our Rollout is its controller; an object of the same name that is not ours is never touched.
    pub owned: bool,
    pub deleting: bool,
}

impl ServiceSeen {
    /// As it was seen.
    pub fn precondition(&self) -> Precondition {
        Precondition {
            uid: self.uid.clone(),
            resource_version: self.resource_version.clone(),
        }
    }

    /// From the object as the API server gives it.
    pub fn read(object: &Value) -> Self {
        let text = |field| metadata_text(object, field).unwrap_or_default().to_owned();
        let annotations = object.pointer("/metadata/annotations");
        ServiceSeen {
            name: text("name"),
            resource_version: text("resourceVersion"),
            uid: text("uid"),
            selector: texts(object.pointer("/spec/selector")),
            annotations: annotations.map(|annotations| texts(Some(annotations))),
            external_name: object.pointer("/spec/type").and_then(Value::as_str) == Some("ExternalName"),
            ports: ports(object, &["port", "name"]),
            target_ports: ports(object, &["targetPort"]),
        }
    }

    pub fn annotation(&self, key: &str) -> Option<&String> {
        self.annotations.as_ref()?.get(key)
    }
}

impl ReplicaSetSeen {
    /// Pods that are available and not about to go.
    pub fn steady(&self) -> i64 {
        self.available.min(self.replicas)
    }

    /// As it was seen.
    pub fn precondition(&self) -> Precondition {
        Precondition {
            uid: self.uid.clone(),
            resource_version: self.resource_version.clone(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceSeen {
    pub name: String,
    pub resource_version: String,
    pub uid: String,
    pub selector: BTreeMap<String, String>,
    /// Those of ours. `None`: the Service has no annotations at all, and the first one brings the map.
    pub annotations: Option<BTreeMap<String, String>>,
    pub external_name: bool,
    /// Numbers and names by which a route can ask for a port of it. Only a headless Service may have none.
    #[serde(default)]
    pub ports: BTreeSet<String>,
    /// Those of the pods' ports.
    #[serde(default)]
    pub target_ports: BTreeSet<String>,
}

fn ports(service: &Value, keys: &[&str]) -> BTreeSet<String> {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array);
    let values = |port: &Value| {
        keys.iter()
            .filter_map(|key| port.get(key).cloned())
            .collect::<Vec<_>>()
    };
    let values = ports.into_iter().flatten().flat_map(values);
    let texts = values.filter_map(|value| match value {
        Value::String(name) => Some(name),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    texts.collect()
}

fn texts(map: Option<&Value>) -> BTreeMap<String, String> {
    let entries = map.and_then(Value::as_object).into_iter().flatten();
    entries
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// Ready endpoints behind a Service, counted by the version their pods belong to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EndpointsReady {
    pub by_hash: BTreeMap<PodTemplateHash, i64>,
    /// Ready endpoints of pods that are not of this Rollout.
    pub others: i64,
}

impl EndpointsReady {
    pub fn of(&self, hash: &PodTemplateHash) -> i64 {
        self.by_hash.get(hash).copied().unwrap_or(0)
    }

    pub fn total(&self) -> i64 {
        self.by_hash.values().sum::<i64>() + self.others
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TemplateSeen {
    pub reference: TemplateRef,
    /// `None`: absent, or not to be understood.
    pub spec: Option<AnalysisTemplateSpec>,
    /// What cannot be understood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A Service or route that belongs to somebody else.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// `Service`, `Ingress`, `HTTPRoute`.
    pub kind: String,
    pub name: String,
    /// The older Rollout that names it as well.
    pub rollout: String,
}

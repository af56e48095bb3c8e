//! Writes: carries a plan out, stage by stage, and reports what came of it. Nothing is decided here.
//!
//! Guarantees: every write but a create names the version and uid it was decided on; the first failure stops the
//! rest, but for stages on which nothing else rests ([`ON_THEIR_OWN`]): a refusal there stops nothing, and they go on after
//! one elsewhere; the status is written last, and only if it says something new that cannot wait; every write is
//! remembered, so that the next look does not miss it.

pub mod postponed;
pub mod problem;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

use crate::api::failure::with_causes;
use crate::api::patch::PatchOp;
use crate::api::resource::{ObjectKey, Resource, metadata_text};
use crate::api::rollout_status::RolloutStatus;
use crate::apply::problem::Problem;
use crate::client::own_writes::OwnWrites;
use crate::client::{Api, Expected, Failure};
use crate::plan::model::{
    Action, CLEAR_UP, CREATE, GROW, Kind, ON_THEIR_OWN, Plan, Precondition, SIZE, Stage, Subresource, Target,
    Write,
};
use crate::plan::snapshot::Snapshot;

/// Where writes go, and where they are remembered.
#[derive(Clone, Copy)]
pub struct Writer<'a> {
    pub api: &'a Api,
    pub own: &'a OwnWrites,
}

/// What came of a plan.
#[derive(Debug, Default)]
pub struct Applied {
    pub writes: Vec<Written>,
    /// Why the rest was not carried out.
    pub failure: Option<ApplyError>,
    /// What the API server refused although everything was carried out that does not rest on it. The status tells both.
    pub refused: Option<ApplyError>,
    /// Something that can be done without was left as it is, because the API server refused it.
    pub left: bool,
    /// The status as it was to be after the round; none if it failed.
    pub status: Option<RolloutStatus>,
}

/// One write that was tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    pub resource: Resource,
    pub key: ObjectKey,
    pub verb: &'static str,
    /// `ok`, or the category of the failure.
    pub result: &'static str,
    /// The object as the write left it, if the answer told.
    pub object: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("cannot {verb} {resource} {key}")]
pub struct ApplyError {
    pub verb: &'static str,
    pub resource: Resource,
    pub key: ObjectKey,
    pub source: Failure,
}

/// One finished request about one object.
struct Request<'a> {
    resource: Resource,
    key: ObjectKey,
    body: Body<'a>,
}

enum Body<'a> {
    Create(&'a Value),
    Patch {
        expected: Expected<'a>,
        subresource: &'static str,
        ops: &'a [PatchOp],
    },
    Delete(Expected<'a>),
}

/// Carries out the stages in order, then the status.
pub async fn apply_plan(writer: Writer<'_>, snapshot: &Snapshot, plan: &Plan, now: DateTime<Utc>) -> Applied {
    let mut applied = Applied::default();
    let Some(rollout) = ObjectKey::of(&snapshot.rollout) else {
        return applied;
    };
    let mut version = metadata_text(&snapshot.rollout, "resourceVersion")
        .unwrap_or_default()
        .to_owned();
    let mut stopped = false;
    for stage in &plan.stages {
        if stopped && !is_on_its_own(stage) {
            continue;
        }
        let carried = writer.carry_out_stage(&rollout, stage, &mut version, &mut applied);
        let Err(error) = carried.await else { continue };
        if !is_refusal(&error) {
            applied.failure = Some(error);
            return applied;
        }
        stopped |= !is_on_its_own(stage);
        match stage.purpose.as_str() {
            CLEAR_UP | SIZE => {
                tracing::warn!(%rollout, error = %with_causes(&error), "left as it is");
                applied.left = true;
            }
            // That pods are there is seen, not assumed.
            CREATE | GROW => applied.refused = applied.refused.or(Some(error)),
            _ => applied.failure = Some(error),
        }
    }
    if applied.failure.is_some() {
        return applied;
    }
    let planned = plan.status.clone();
    let status = match &applied.refused {
        Some(error) => problem::status_beside(&snapshot.rollout, planned, &Problem::refused(error), now),
        None => planned,
    };
    let is_due = applied.refused.is_some() || plan.status_due.is_none();
    if is_due && differs(&snapshot.rollout, &status) {
        let uid = metadata_text(&snapshot.rollout, "uid").unwrap_or_default();
        let expected = Expected {
            uid,
            resource_version: &version,
        };
        let status = json!(status);
        let written = write_status(writer, &rollout, Resource::Rollout, &rollout, expected, status).await;
        applied.note(written);
    }
    applied.status = Some(status).filter(|_| applied.failure.is_none());
    applied
}

/// Whether no other stage rests on this one.
fn is_on_its_own(stage: &Stage) -> bool {
    ON_THEIR_OWN.contains(&stage.purpose.as_str())
}

fn is_refusal(error: &ApplyError) -> bool {
    matches!(error.source, Failure::Refused { .. })
}

/// Carries out writes about a Rollout that is not there, and so has no status to report in.
pub async fn apply_writes(writer: Writer<'_>, rollout: &ObjectKey, writes: &[Write]) -> Applied {
    let mut applied = Applied::default();
    for write in writes {
        if !applied.note(writer.write(rollout, write).await) {
            break;
        }
    }
    applied
}

/// Replaces the status of an object of ours as a whole.
pub async fn write_status(
    writer: Writer<'_>,
    rollout: &ObjectKey,
    resource: Resource,
    key: &ObjectKey,
    expected: Expected<'_>,
    status: Value,
) -> (Written, Result<(), ApplyError>) {
    let ops = [PatchOp::add("/status", status)];
    let request = Request {
        resource,
        key: key.clone(),
        body: Body::Patch {
            expected,
            subresource: "/status",
            ops: &ops,
        },
    };
    writer.carry_out(rollout, request).await
}

/// Whether a status says something that the observed one does not.
fn differs(rollout: &Value, status: &RolloutStatus) -> bool {
    let observed = match rollout.get("status") {
        Some(observed) => RolloutStatus::deserialize(observed).ok(),
        None => Some(RolloutStatus::default()),
    };
    observed.as_ref() != Some(status)
}

impl Applied {
    /// Whether it was carried out.
    fn note(&mut self, (written, outcome): (Written, Result<(), ApplyError>)) -> bool {
        self.writes.push(written);
        self.failure = outcome.err();
        self.failure.is_none()
    }
}

impl Writer<'_> {
    async fn write(self, rollout: &ObjectKey, write: &Write) -> (Written, Result<(), ApplyError>) {
        let Target { kind, name } = &write.target;
        tracing::info!(%rollout, ?kind, name, reason = write.reason, "write");
        self.carry_out(rollout, request(rollout, write)).await
    }

    /// Where nothing rests on the stage, a refusal does not stop its other writes; the first one is what came of it.
    async fn carry_out_stage(
        self,
        rollout: &ObjectKey,
        stage: &Stage,
        version: &mut String,
        applied: &mut Applied,
    ) -> Result<(), ApplyError> {
        let mut outcome = Ok(());
        for write in &stage.writes {
            let (written, answer) = self.write(rollout, write).await;
            let object = written.object.as_ref();
            let new = object.and_then(|object| metadata_text(object, "resourceVersion"));
            // Our own write to the Rollout makes a version that we know everything about.
            if let Some(new) = new.filter(|_| write.target.kind == Kind::Rollout) {
                new.clone_into(version);
            }
            applied.writes.push(written);
            match answer {
                Ok(()) => {}
                Err(error) if is_on_its_own(stage) && is_refusal(&error) => outcome = outcome.and(Err(error)),
                Err(error) => return Err(error),
            }
        }
        outcome
    }

    async fn carry_out(self, rollout: &ObjectKey, request: Request<'_>) -> (Written, Result<(), ApplyError>) {
        let Request { resource, key, body } = request;
        let verb = body.verb();
        let answer = match &body {
            Body::Create(object) => self.api.create(resource, &key.namespace, object).await,
            Body::Patch {
                expected,
                subresource,
                ops,
            } => self.api.patch(resource, &key, subresource, *expected, ops).await,
            Body::Delete(expected) => self.api.delete(resource, &key, *expected).await,
        };
        self.remember(rollout, resource, &key, &body, &answer);
        let written = Written {
            resource,
            key: key.clone(),
            verb,
            result: answer.as_ref().map_or_else(Failure::category, |_| "ok"),
            object: None,
        };
        match answer {
            Ok(object) => {
                let object = Some(object).filter(|object| is_a(resource, object));
                (Written { object, ..written }, Ok(()))
            }
            Err(source) => {
                let error = ApplyError {
                    verb,
                    resource,
                    key,
                    source,
                };
                (written, Err(error))
            }
        }
    }

    /// What a refused or unsent write would have changed is as it was; of anything else we must look again.
    fn remember(
        self,
        rollout: &ObjectKey,
        resource: Resource,
        key: &ObjectKey,
        body: &Body<'_>,
        answer: &Result<Value, Failure>,
    ) {
        match (answer, body) {
            (Ok(object), _) if is_a(resource, object) => match metadata_text(object, "resourceVersion") {
                Some(version) => self.own.record_version(rollout, resource, key, version),
                None => self.own.record_unknown(rollout, resource, key),
            },
            (Ok(_), Body::Delete(expected)) => self.own.record_deleted(rollout, resource, key, expected.uid),
            (
                Err(Failure::Refused { .. } | Failure::Busy(_) | Failure::Unsent(_) | Failure::NotLeader),
                _,
            ) => {}
            _ => self.own.record_unknown(rollout, resource, key),
        }
    }
}

/// A delete is answered by the object, or by a word about it.
fn is_a(resource: Resource, answer: &Value) -> bool {
    answer.get("kind").and_then(Value::as_str) == Some(resource.kind())
}

impl Body<'_> {
    fn verb(&self) -> &'static str {
        match self {
            Body::Create(_) => "create",
            Body::Patch { subresource: "", .. } => "patch",
            Body::Patch { .. } => "patch status of",
            Body::Delete(_) => "delete",
        }
    }
}

fn request<'a>(rollout: &ObjectKey, write: &'a Write) -> Request<'a> {
    let Target { kind, name } = &write.target;
    let body = match &write.action {
        Action::Create { object } => Body::Create(object),
        Action::Patch {
            precondition,
            subresource,
            ops,
        } => Body::Patch {
            expected: expected(precondition),
            subresource: match subresource {
                Some(Subresource::Status) => "/status",
                None => "",
            },
            ops,
        },
        Action::Delete { precondition } => Body::Delete(expected(precondition)),
    };
    Request {
        resource: resource(*kind),
        key: ObjectKey::new(rollout.namespace.clone(), name.clone()),
        body,
    }
}

fn expected(precondition: &Precondition) -> Expected<'_> {
    Expected {
        uid: &precondition.uid,
        resource_version: &precondition.resource_version,
    }
}

fn resource(kind: Kind) -> Resource {
    match kind {
        Kind::Rollout => Resource::Rollout,
        Kind::ReplicaSet => Resource::ReplicaSet,
        Kind::Service => Resource::Service,
        Kind::Ingress => Resource::Ingress,
        Kind::HttpRoute => Resource::HttpRoute,
        Kind::AnalysisRun => Resource::AnalysisRun,
        Kind::RolloutCommand => Resource::RolloutCommand,
    }
}

/// Tells the user what must be mended, in the status and nowhere else; `None` if it says so already.
pub async fn report_problem(
    writer: Writer<'_>,
    rollout: &Value,
    status: &RolloutStatus,
) -> Option<(Written, Result<(), ApplyError>)> {
    let key = ObjectKey::of(rollout)?;
    if !differs(rollout, status) {
        return None;
    }
    let text = |field| metadata_text(rollout, field).unwrap_or_default();
    let expected = Expected {
        uid: text("uid"),
        resource_version: text("resourceVersion"),
    };
    Some(write_status(writer, &key, Resource::Rollout, &key, expected, json!(status)).await)
}

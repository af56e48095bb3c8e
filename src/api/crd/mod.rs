//! The five CustomResourceDefinitions: what the derive makes of the types, mended where it is not what an API
//! server wants to read, and with the rules that no type can state.
//!
//! The result is deterministic and a structural schema. Everything refused here `plan::validate` refuses too.

pub mod fields;
mod rules;
mod schema;

use kube::CustomResourceExt;
use serde_json::Value;
use thiserror::Error;

use super::analysis_run::AnalysisRun;
use super::analysis_template::{AnalysisTemplate, ClusterAnalysisTemplate};
use super::rollout::Rollout;
use super::rollout_command::RolloutCommand;

#[derive(Debug, Error)]
pub enum CrdError {
    #[error("a CustomResourceDefinition cannot be written as text")]
    Encode(#[source] serde_saphyr::ser::Error),
    #[error("{kind} has no field {path}, which a rule is about")]
    NoSuchField { kind: String, path: String },
    #[error("the derived CustomResourceDefinition is no JSON")]
    Derive(#[source] serde_json::Error),
}

/// Every CustomResourceDefinition, Rollout first.
pub fn all() -> Result<Vec<Value>, CrdError> {
    let derived = [
        Rollout::crd(),
        AnalysisTemplate::crd(),
        ClusterAnalysisTemplate::crd(),
        AnalysisRun::crd(),
        RolloutCommand::crd(),
    ];
    derived
        .into_iter()
        .map(|crd| {
            let mut crd = serde_json::to_value(crd).map_err(CrdError::Derive)?;
            let kind = kind_of(&crd).to_owned();
            if let Some(root) = crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema") {
                schema::mend(root);
                rules::add(&kind, root)?;
            }
            // Whatever order serde_json keeps, files must not change with it.
            crd.sort_all_objects();
            Ok(crd)
        })
        .collect()
}

/// The schema of the objects of `kind`.
pub fn schema_of(kind: &str) -> Result<Option<Value>, CrdError> {
    let mut crd = all()?.into_iter().find(|crd| kind_of(crd) == kind);
    let root = crd
        .as_mut()
        .and_then(|crd| crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema"));
    Ok(root.map(Value::take))
}

/// `rollouts` and the like: the names of the files.
pub fn plural_of(crd: &Value) -> &str {
    text_at(crd, "/spec/names/plural")
}

pub fn kind_of(crd: &Value) -> &str {
    text_at(crd, "/spec/names/kind")
}

fn text_at<'a>(crd: &'a Value, pointer: &str) -> &'a str {
    crd.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub fn to_yaml(crd: &Value) -> Result<String, CrdError> {
    serde_saphyr::to_string(crd).map_err(CrdError::Encode)
}

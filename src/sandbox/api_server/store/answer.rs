//! What the store hands back: code, body, warnings, and the commits that the request made.

use std::sync::Arc;

use serde_json::{Value, json};

use super::refusal::Refusal;
use super::request::{ApiRequest, Verb};

/// The body of an answer; objects are shared with the store, not copied.
#[derive(Clone, Debug)]
pub enum Body {
    Object(Arc<Value>),
    List {
        kind: String,
        api_version: String,
        metadata: Value,
        items: Vec<Arc<Value>>,
    },
}

impl Body {
    pub fn to_value(&self) -> Value {
        match self {
            Body::Object(object) => object.as_ref().clone(),
            Body::List {
                kind,
                api_version,
                metadata,
                items,
            } => {
                let items: Vec<&Value> = items.iter().map(AsRef::as_ref).collect();
                json!({"kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items})
            }
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let written = match self {
            Body::Object(object) => serde_json::to_vec(object.as_ref()),
            Body::List { .. } => serde_json::to_vec(&self.to_value()),
        };
        // Writing a `Value` to memory cannot fail: its keys are strings.
        written.unwrap_or_default()
    }
}

impl From<Value> for Body {
    fn from(value: Value) -> Self {
        Body::Object(Arc::new(value))
    }
}

/// One change of one object, with everything a checker needs to know who made it and on what ground.
#[derive(Clone, Debug)]
pub struct Commit {
    pub resource_version: u64,
    pub verb: Verb,
    /// The User-Agent of the request.
    pub actor: String,
    pub field_manager: Option<String>,
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub subresource: Option<String>,
    pub before: Option<Arc<Value>>,
    pub after: Option<Arc<Value>>,
    /// Whether the request named the version of the object it was based on.
    pub had_resource_version: bool,
    /// Whether the request named the uid of the object it meant.
    pub had_uid: bool,
    /// The request's body: the patch, the object, or the delete options.
    pub body: Arc<Value>,
}

/// The answer to one request.
#[derive(Clone, Debug)]
pub struct ApiResponse {
    pub code: u16,
    pub body: Body,
    pub warnings: Vec<String>,
    pub commits: Vec<Commit>,
}

impl ApiResponse {
    pub(super) fn new(request: &ApiRequest, answer: Result<Body, Refusal>) -> Self {
        let (code, body) = match answer {
            Ok(body) if request.verb == Verb::Create => (201, body),
            Ok(body) => (200, body),
            Err(refusal) => (refusal.code, refusal.to_status().into()),
        };
        ApiResponse {
            code,
            body,
            warnings: Vec::new(),
            commits: Vec::new(),
        }
    }

    pub fn is_success(&self) -> bool {
        self.code < 300
    }
}

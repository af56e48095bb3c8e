//! The answers other than success, as `Status` objects with the real API server's reasons and words.

use serde_json::{Value, json};

use crate::api::schema::Violation;

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    pub details: Value,
}

/// The resource, its group and the object's name, for the details of a refusal.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub group: &'a str,
    pub resource: &'a str,
    pub kind: &'a str,
    pub name: &'a str,
}

impl Subject<'_> {
    fn qualified(&self, word: &str) -> String {
        if self.group.is_empty() {
            word.to_owned()
        } else {
            format!("{word}.{}", self.group)
        }
    }

    /// What is empty is left out.
    pub fn details(&self, kind: &str) -> Value {
        let fields = [("name", self.name), ("group", self.group), ("kind", kind)];
        let fields = fields.into_iter().filter(|(_, text)| !text.is_empty());
        fields
            .map(|(field, text)| (field.to_owned(), json!(text)))
            .collect()
    }
}

impl Refusal {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Refusal {
            code,
            reason,
            message: message.into(),
            details: json!({}),
        }
    }

    fn about(subject: Subject<'_>, code: u16, reason: &'static str, message: String) -> Self {
        Refusal {
            details: subject.details(subject.resource),
            ..Refusal::new(code, reason, message)
        }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Refusal::new(400, "BadRequest", message)
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Refusal::new(403, "Forbidden", message)
    }

    /// The path names nothing that is served.
    pub fn no_such_path() -> Self {
        Refusal::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
    }

    pub fn not_found(subject: Subject<'_>) -> Self {
        let message = format!(
            "{} \"{}\" not found",
            subject.qualified(subject.resource),
            subject.name
        );
        Refusal::about(subject, 404, "NotFound", message)
    }

    pub fn method_not_allowed() -> Self {
        Refusal::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    pub fn already_exists(subject: Subject<'_>) -> Self {
        let message = format!(
            "{} \"{}\" already exists",
            subject.qualified(subject.resource),
            subject.name
        );
        Refusal::about(subject, 409, "AlreadyExists", message)
    }

    pub fn conflict(subject: Subject<'_>, why: &str) -> Self {
        let what = subject.qualified(subject.resource);
        let message = format!(
            "Operation cannot be fulfilled on {what} \"{}\": {why}",
            subject.name
        );
        Refusal::about(subject, 409, "Conflict", message)
    }

    /// Somebody else wrote the object since the caller read it.
    pub fn stale(subject: Subject<'_>) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Refusal::conflict(subject, why)
    }

    /// A watch or a list wants to go on from a version that is no longer remembered.
    pub fn expired(message: impl Into<String>) -> Self {
        Refusal::new(410, "Expired", message)
    }

    pub fn not_acceptable() -> Self {
        let message = "only application/json is served, and tables and metadata as such";
        Refusal::new(406, "NotAcceptable", message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        let message = message.into();
        Refusal {
            details: json!({"causes": [{"message": message}]}),
            ..Refusal::new(500, "InternalError", message)
        }
    }

    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Refusal::new(415, "UnsupportedMediaType", message)
    }

    /// A JSON Patch that does not fit the object, a failed `test` among them. The real server does not say why.
    pub fn patch_does_not_apply() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Refusal::new(422, "Invalid", message)
    }

    /// A patch whose outcome is no object of the kind.
    pub fn unreadable_outcome(error: &str) -> Self {
        let nobody = Subject {
            group: "",
            resource: "",
            kind: "",
            name: "",
        };
        Refusal::invalid(nobody, &[Violation::invalid("patch", &Value::Null, error)])
    }

    /// A list or a watch with options that contradict each other.
    pub fn invalid_list_options(violations: &[Violation]) -> Self {
        let options = Subject {
            group: "meta.k8s.io",
            resource: "",
            kind: "ListOptions",
            name: "",
        };
        Refusal::invalid(options, violations)
    }

    /// The object is not the one that the caller means.
    pub fn precondition_failed(subject: Subject<'_>, why: &str) -> Self {
        Refusal {
            details: subject.details(subject.kind),
            ..Refusal::conflict(subject, why)
        }
    }

    pub fn invalid(subject: Subject<'_>, violations: &[Violation]) -> Self {
        let texts: Vec<String> = violations.iter().map(Violation::to_string).collect();
        let listed = match texts.as_slice() {
            [only] => only.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let causes: Vec<Value> = violations
            .iter()
            .map(|found| {
                json!({"reason": found.reason.cause(), "message": found.message(), "field": found.field})
            })
            .collect();
        let kind = subject.qualified(subject.kind);
        let mut details = subject.details(subject.kind);
        if let Some(fields) = details.as_object_mut() {
            fields.insert("causes".to_owned(), Value::Array(causes));
        }
        let message = format!("{kind} \"{}\" is invalid: {listed}", subject.name);
        Refusal {
            details,
            ..Refusal::new(422, "Invalid", message)
        }
    }

    /// The `Status` object that carries the refusal over the wire.
    pub fn to_status(&self) -> Value {
        failure_status(self.code, self.reason, &self.message, self.details.clone())
    }
}

/// A `Status` object that says no.
pub fn failure_status(code: u16, reason: &str, message: &str, details: Value) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "details": details, "code": code,
    })
}

//! How a command ends: exit codes that scripts rely on, and errors that name the verb, the resource and the fix.

use std::error::Error as _;
use std::fmt;
use std::process::ExitCode;

use kube::core::Status;
use thiserror::Error;

use super::connect::ConnectError;
use super::output::OutputError;
use crate::api::failure::with_causes;
use crate::api::names::API_VERSION;

/// Exit codes are part of the plugin's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Ok,
    Error,
    /// Aborted or degraded.
    Degraded,
    /// Waits for a person.
    Paused,
    Timeout,
    Interrupted,
    /// The reader of the output went away, so nobody learned how it ended.
    Closed,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Error => 1,
            Exit::Degraded => 2,
            Exit::Paused => 3,
            Exit::Timeout => 124,
            Exit::Interrupted => 130,
            // What a shell makes of SIGPIPE.
            Exit::Closed => 141,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// One request, for messages: `get rollouts.tidegate.dev "checkout" in namespace "shop"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub verb: &'static str,
    /// Plural with group, as `kubectl auth can-i` takes it.
    pub resource: String,
    pub name: Option<String>,
    pub namespace: Option<String>,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace:?}"),
            None => Ok(()),
        }
    }
}

#[derive(Debug, Error)]
pub enum CliError {
    #[error("error: {0}")]
    Usage(String),
    /// What was asked for makes no sense now, or the controller said no.
    #[error("error: {0}")]
    Refused(String),
    #[error("error: {0}{cause}", cause = chain(.0.source()))]
    Connect(#[from] ConnectError),
    #[error("error: {0}{cause}", cause = chain(.0.source()))]
    Output(#[from] OutputError),
    #[error(
        "Error from server (NotFound): rollouts.tidegate.dev {name:?} not found in namespace {namespace:?}{hint}"
    )]
    NotFound {
        name: String,
        namespace: String,
        hint: String,
    },
    #[error(transparent)]
    Server(Box<ServerError>),
}

impl CliError {
    pub fn exit(&self) -> Exit {
        match self {
            CliError::Output(OutputError::Closed) => Exit::Closed,
            _ => Exit::Error,
        }
    }

    /// The same request may succeed in a moment: nobody answered, or the server said that it is overloaded or broken.
    pub fn may_pass(&self) -> bool {
        match self {
            CliError::Server(error) => match error.as_ref() {
                ServerError::Unreachable { .. } => true,
                ServerError::Other { code, .. } => *code == 429 || *code >= 500,
                _ => false,
            },
            _ => false,
        }
    }
}

/// A request that did not get what it asked for.
#[derive(Debug, Error)]
pub enum ServerError {
    #[error(
        "error: You must be logged in to the server: it refused the credentials of the kubeconfig for {0}; log in again"
    )]
    Unauthorized(Request),
    #[error("Error from server (Forbidden): you may not {request}: {message}")]
    Forbidden { request: Request, message: String },
    #[error(
        "error: the server doesn't have a resource type \"{resource}\" in {API_VERSION} ({request}){hint}",
        resource = .request.resource
    )]
    UnknownResource { request: Request, hint: String },
    #[error(
        "Error from server (Conflict): {request}: it was changed by someone else in the meantime; look again and \
         repeat ({message})"
    )]
    Conflict { request: Request, message: String },
    #[error("Error from server ({reason}): {request}: {message}")]
    Other {
        request: Request,
        code: u16,
        reason: String,
        message: String,
    },
    #[error(
        "error: cannot read the server's answer to {request}; use the plugin of the controller's version (this is \
         {version}): {message}",
        version = env!("CARGO_PKG_VERSION")
    )]
    Undecodable { request: Request, message: String },
    #[error("error: cannot reach the server to {request}{cause}", cause = chain(.source.source()))]
    Unreachable { request: Request, source: kube::Error },
}

impl ServerError {
    pub fn from_kube(request: Request, error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => ServerError::from_status(request, &status),
            kube::Error::SerdeError(error) => ServerError::Undecodable {
                request,
                message: error.to_string(),
            },
            source => ServerError::Unreachable { request, source },
        }
    }

    fn from_status(request: Request, status: &Status) -> Self {
        let message = status.message.clone();
        match status.code {
            401 => ServerError::Unauthorized(request),
            403 => ServerError::Forbidden { request, message },
            404 if !names_object(status) => ServerError::UnknownResource {
                request,
                hint: String::new(),
            },
            409 => ServerError::Conflict { request, message },
            // A JSON Patch whose `test` fails is an Invalid that names no object.
            422 if request.verb == "patch" && !names_object(status) => {
                ServerError::Conflict { request, message }
            }
            code => ServerError::Other {
                request,
                code,
                reason: Some(status.reason.clone())
                    .filter(|reason| !reason.is_empty())
                    .unwrap_or_else(|| code.to_string()),
                message,
            },
        }
    }
}

/// An absent object is named in the details; an absent resource type has none.
pub fn names_object(status: &Status) -> bool {
    status
        .details
        .as_ref()
        .is_some_and(|details| !details.name.is_empty())
}

/// `: cause: its cause`.
fn chain(cause: Option<&(dyn std::error::Error + 'static)>) -> String {
    cause
        .map(|cause| format!(": {}", with_causes(cause)))
        .unwrap_or_default()
}

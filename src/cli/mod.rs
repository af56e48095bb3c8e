//! The verbs of `kubectl tidegate` and what both binaries share to talk to a terminal and to a cluster.
//!
//! `plugin` parses the command line and dispatches; each verb has a file with a pure part that decides and a thin
//! part that reads and writes. Everything that is printed goes through [`output::Output`], every request through
//! [`session::Session`], so that a closed pipe and a refusing server are handled in one place each.

pub mod abort;
pub mod alerts;
pub mod command;
pub mod completion;
pub mod connect;
pub mod controller;
pub mod crds;
pub mod daemon;
#[cfg(feature = "sandbox")]
pub mod demo;
pub mod error;
pub mod explain;
pub mod get;
pub mod lint;
pub mod list;
pub mod output;
pub mod patience;
pub mod pause;
pub mod plugin;
pub mod promote;
pub mod restart;
pub mod retry;
pub mod session;
pub mod set_image;
pub mod status;
pub mod target;
pub mod undo;
pub mod version;

//! The kubectl plugin against the sandbox's API server: every verb in the process, and the real binary over HTTP for
//! exit codes, pipes and signals. Numbers in names are the rows of the table of bad inputs.
#![cfg(feature = "sandbox")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "in a test a panic is a failure"
)]

#[path = "plugin/cluster.rs"]
mod cluster;

#[path = "plugin/binary.rs"]
mod binary;

#[path = "plugin/completion.rs"]
mod completion;

#[path = "plugin/hiccups.rs"]
mod hiccups;

#[path = "plugin/lint.rs"]
mod lint;

#[path = "plugin/no_op.rs"]
mod no_op;

#[path = "plugin/restart.rs"]
mod restart;

#[path = "plugin/screen.rs"]
mod screen;

#[path = "plugin/terminal.rs"]
mod terminal;

#[path = "plugin/verbs.rs"]
mod verbs;

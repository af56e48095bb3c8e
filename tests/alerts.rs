//! Alerts that abort releases: the receiver on a real socket, and a real Alertmanager that posts to it and is asked.
#![cfg(feature = "sandbox")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is a failure"
)]

#[path = "alerts/alertmanager.rs"]
mod alertmanager;
#[path = "alerts/client.rs"]
mod client;
#[path = "alerts/release.rs"]
mod release;
#[path = "alerts/replica.rs"]
mod replica;
#[path = "alerts/rows.rs"]
mod rows;
#[path = "alerts/storm.rs"]
mod storm;
#[path = "alerts/tls.rs"]
mod tls;

//! What Git tools make of Tidegate's objects: Argo CD's scripts in the Lua that it runs, the rules of kstatus as Flux and
//! `kubectl` tools follow them, and Kustomize's transformers. Rollouts are as the planner leaves them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]

mod argocd;
#[path = "../plan/blame.rs"]
#[allow(dead_code, reason = "the tests of the planner use the rest")]
mod blame;
#[path = "../plan/cluster/mod.rs"]
#[allow(dead_code, reason = "the tests of the planner use the rest")]
mod cluster;
#[path = "../plan/fixture.rs"]
#[allow(dead_code, reason = "the tests of the planner use the rest")]
mod fixture;
mod flux;
mod krew;
mod kstatus;
mod kustomize;
mod stage;

//! The Helm chart, rendered by a real Helm: every way to set its values gives objects that Kubernetes knows, with the
//! rights that docs/install.md explains and no others, and a value that is misspelt is refused by name.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod access;
mod alerts;
mod certificate;
mod helm;
mod object;
mod policies;
mod render;
mod rights;
mod schema;

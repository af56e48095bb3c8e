//! Tidegate.

pub mod api;
pub mod apply;
pub mod cli;
pub mod clock;
pub mod controllers;
pub mod observe;
pub mod plan;
pub mod providers;
pub mod routers;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod server;
pub mod view;

//! A cluster in the process: API server, controllers, nodes, ingress data plane, load generator.

pub mod api_server;
pub mod controllers;
pub mod dataplane;
pub mod load;
pub mod pods;
pub mod prometheus;
mod queue;
pub mod resource;
pub mod rng;
pub mod watch;

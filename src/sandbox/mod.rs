//! A cluster in the process: API server, controllers, nodes, ingress data plane, load generator.

pub mod api_server;
pub mod rng;

//! A cluster in the process: API server, controllers, nodes, ingress data plane, load generator.
//!
//! Every part knows the others only through the API, by a `kube::Client`: [`controllers`] turn ReplicaSets into pods and
//! pods into EndpointSlices, [`pods`] runs them on loopback addresses, [`dataplane`] sends requests to them by Ingress
//! and HTTPRoute, [`load`] makes the requests and counts what is lost, [`prometheus`] scrapes the pods, [`alertmanager`] says what is
//! wrong. So each part
//! works against a real API server too, and a simulation can replace any live loop by calling the steps it is made of
//! in virtual time: `controllers::sync_*`, [`pods::Nodes::sync_pod`] and [`dataplane::DataPlane`].

pub mod alertmanager;
pub mod api_server;
pub mod cluster;
pub mod controllers;
pub mod dataplane;
mod listen;
pub mod load;
pub mod pods;
pub mod process;
pub mod prometheus;
mod queue;
pub mod resource;
pub mod rng;
pub mod shop;
pub mod watch;

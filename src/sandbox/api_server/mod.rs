//! The sandbox's API server.
//!
//! * [`store`]: state and rules, pure and synchronous.
//! * [`service`]: the store as a `tower::Service`, so that a `kube::Client` talks to it in the process.
//! * [`http`]: the same over HTTP on loopback, for `kubectl`.
//! * [`hooks`]: where tests and the simulation look at every commit and put faults before requests.
//!
//! Not served, on purpose: server-side apply, conversion between versions, admission webhooks, authorization.

pub mod hooks;
pub mod http;
pub mod service;
pub mod store;

pub use hooks::{Fault, Interceptor, RequestCounts};
pub use service::ApiServer;
pub use store::{ApiRequest, ApiResponse, Commit, Store};

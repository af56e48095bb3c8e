//! Tidegate moves the traffic of a Kubernetes workload from the version everybody uses (*stable*) to a new one
//! (*canary*) step by step, asks Prometheus at each step whether the canary is healthy, promotes it when it is
//! and takes the traffic back when it is not.
//!
//! This page tells how one turn of that works, and which module may know which. There is no code here.
//!
//! # One idea: plan, then apply
//!
//! Every turn is the same short pipeline. Only its ends touch the network; all that is decided is decided in the
//! middle, by functions that read nothing but their arguments.
//!
//! ```text
//! observe ──▶ validate ──▶ plan ──▶ check ──▶ apply ──▶ status
//!   IO          pure        pure      pure      IO        IO
//! ```
//!
//! * [`observe`] reads what the decision needs into one `Snapshot`, a plain value with sorted maps that can be
//!   saved and read again.
//! * [`plan`] first validates the snapshot: either every field is usable, or there is a list of violations that
//!   name the object, the field and the fix, and the cluster is left as it is. Then it decides. The result is a
//!   `Plan`: ordered stages of finished writes, the new status, the moment to look again, and the rule that decided.
//!   Writes in one stage have no order between them; a stage starts when the one before it has succeeded. So the
//!   order of effects is data that can be read and tested, not an order of statements.
//! * `check`, also in [`plan`], looks at snapshot and plan with code of its own and asks only: could this lose a
//!   request? If it could, nothing is written but a condition that says so.
//! * [`apply`] carries the stages out. Every write says which state of the object it was decided on
//!   (resourceVersion, and uid on a delete), so a write decided on old news fails instead of doing harm. A
//!   conflict ends the turn: the news that caused it starts the next one.
//! * The status is written last, once, and only when it says something new that cannot wait. What was decided never
//!   waits. What was merely seen is remembered for the next round, which mostly overtakes it, and written when it
//!   lasts; forgetting it does no harm.
//!
//! `now` is an argument too, and there is no randomness. Planning the same snapshot twice gives the same bytes,
//! and planning a world in which the plan has been carried out gives an empty plan: a cluster at rest is not
//! written to. Because a plan is a value it can be printed to explain itself, compared with a golden file, and
//! driven through thousands of simulated faults by the very functions that run in a cluster.
//!
//! # Watch event to patch
//!
//! 1. The API server sends an event: a Rollout changed, or something it depends on did.
//! 2. A reflector takes it into its store, trimmed to the fields we read. An object that cannot be decoded is a
//!    fact about that object; it never ends the watch.
//! 3. [`controllers`] maps the event to the Rollout it concerns and queues that Rollout's key.
//! 4. The reconcile function of the kind takes the key. It knows stores and an API handle and nothing of queues.
//! 5. [`observe`] builds the `Snapshot`, reading live what is too large or too volatile to keep. Endpoints that it read a
//!    moment ago will do for a plan that moves no traffic.
//! 6. The snapshot is validated, 7. [`plan`]ned, and 8. checked.
//! 9. [`apply`] carries out the stages, and 10. the status is written. What the answers to these writes tell goes into
//!    the stores at once. If the status was a decision and nothing else, steps 6 to 10 follow once more, on the Rollout as
//!    that write left it.
//! 11. The key is queued again for the earliest deadline that the plan named, or rests until something changes.
//!
//! Our own writes come back as step 1 until the plan is empty.
//!
//! An AnalysisRun has the same shape: a pure function says which measurements are due, [`providers`] take them and
//! return samples (never a verdict), a pure function records them and judges. Only a verdict *Successful* for this
//! Rollout, this pod template and this step moves a rollout on; a failure takes the traffic back, and silence waits.
//!
//! # Weights are verified, not assumed
//!
//! A weight that has been written is not yet a weight that is served: data planes follow seconds later, and they do
//! not keep the order of writes to different objects. So the planner keeps capacity for every weight that may still
//! be in effect, makes one dependent write at a time, and calls a weight verified only when the route object shows
//! it, ready endpoints stand behind every backend with a share, the settle time has passed, and the data plane, where
//! the Rollout names somebody who knows it, agrees ([`plan::witness`]). It is asked beside the rounds and never waited
//! for in one ([`controllers::data_planes`]). [`routers`] are pure as well: they render the change that a route needs,
//! and they say whether a route, or Traefik, shows it.
//!
//! # One writes
//!
//! Of several controllers of one shard one leads ([`controllers::lease`]). Every write of [`client`] asks first whether we
//! still do, on the monotonic clock, and carries the epoch of the term. A round is cut off with its term, and a term
//! begins with every cache listed anew. What people should hear is read off the status once it is persisted
//! ([`plan::event`]), and told beside everything else.
//!
//! # Which module may know which
//!
//! `tests/tidy.rs` reads this table and fails on an import that it does not allow. A module may always use itself
//! and `std`; a *pure* one has no `async` and none of the parts of `std` that do IO. A row whose name extends
//! another's adds to it, `*` stands for the rest of a name, and `any` for every crate. Test code is free.
//!
//! | module | kind | of ours | of others |
//! |---|---|---|---|
//! | `api` | pure | | chrono, k8s_openapi, kube::core, kube::CustomResource, kube::CustomResourceExt, kube::KubeSchema, kube::CELSchema, kube::Resource, kube::ResourceExt, regex, schemars, serde, serde_json, serde_saphyr, thiserror, url |
//! | `routers` | pure | api | k8s_openapi, serde, serde_json, sha2, thiserror |
//! | `plan` | pure | api, routers | chrono, expr_lang, k8s_openapi::apimachinery, promql_parser, serde, serde_json, sha2, thiserror |
//! | `view` | pure | api, plan | chrono, k8s_openapi, serde, serde_json, thiserror, unicode_width |
//! | `alerts` | pure | api | chrono, serde, serde_json, serde_saphyr, sha2, subtle, thiserror |
//! | `clock` | IO | | chrono, tokio |
//! | `client` | IO | api, clock | http, kube, serde, serde_json, thiserror, tokio |
//! | `observe` | IO | api, client, plan::needs, plan::snapshot | chrono, futures, http, k8s_openapi, kube, lz4_flex, serde, serde_json, thiserror, tokio, tracing |
//! | `apply` | IO | api, client, plan | chrono, futures, http, k8s_openapi, kube, serde, serde_json, thiserror, tokio, tracing |
//! | `providers` | IO | api | chrono, futures, http, prometheus_http_query, promql_parser, reqwest, rustls, serde, serde_json, thiserror, tokio, tracing, url |
//! | `controllers` | IO | alerts, api, apply, client, clock, observe, plan, providers | chrono, futures, http, k8s_openapi, kube, prometheus_client, rustls, serde, serde_json, thiserror, tokio, tower, tracing |
//! | `server` | IO | controllers::metrics | axum, futures, http, http_body_util, prometheus_client, serde, serde_json, thiserror, tokio, tower, tracing |
//! | `receiver` | IO | alerts, api, clock, controllers::alerts, controllers::context, controllers::metrics | http, http_body_util, hyper, hyper_util, rustls, thiserror, tokio, tokio_rustls, tracing |
//! | `sandbox` | IO | api, clock | axum, cel, chrono, form_urlencoded, futures, http, http_body_util, hyper, hyper_util, json_patch, k8s_openapi, kube, prometheus_client, rustls, schemars, serde, serde_json, serde_saphyr, sha2, thiserror, tokio, tower, tracing |
//! | `cli` | IO | alerts, api, client, clock, controllers, plan, providers, receiver, server, view | any |
//! | `cli::demo*` | IO | sandbox | |
//! | `bin` | IO | cli | any |

pub mod alerts;
pub mod api;
pub mod apply;
pub mod cli;
pub mod client;
pub mod clock;
pub mod controllers;
pub mod observe;
pub mod plan;
pub mod providers;
pub mod receiver;
pub mod routers;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod server;
pub mod view;

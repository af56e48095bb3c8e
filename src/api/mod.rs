//! The types of `tidegate.dev/v1alpha1`: what users write and what the controller reports.
//! No behaviour beyond parsing and formatting; decisions live in `plan`.

pub mod address;
pub mod analysis_run;
pub mod analysis_template;
pub mod argo;
pub mod condition;
pub mod crd;
pub mod data_plane;
pub mod duration;
pub mod failure;
pub mod matcher;
pub mod measure;
pub mod names;
pub mod patch;
pub mod resource;
pub mod rollout;
pub mod rollout_command;
pub mod rollout_status;
pub mod schema;
pub mod selector;
pub mod time;

//! The types of `tidegate.dev/v1alpha1`: what users write and what the controller reports. No behaviour beyond parsing.

pub mod schema;

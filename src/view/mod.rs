//! The read model shared by everything that shows a Rollout to a person: [`RolloutView`] is built once from a
//! set of objects and rendered as a tree, as a row of a list, as an explanation or as JSON.
//!
//! Guarantees: pure (`now` is an argument), the same objects in any order give the same bytes, a missing or odd
//! field makes a gap in the picture and never an error. Assumes that the objects belong to the one Rollout.

pub mod age;
mod build;
pub mod explain;
pub mod model;
pub mod paint;
pub mod row;
pub mod table;
pub mod tree;
pub mod warning;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

pub use build::{Objects, build};
pub use model::RolloutView;

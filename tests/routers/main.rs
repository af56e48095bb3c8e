//! The routers against golden pairs, tables of refusals, and properties. Writes are applied to the objects as
//! the API server would, by a JSON Patch library that is not ours.

mod golden;
mod model;
mod property;
mod refusal;

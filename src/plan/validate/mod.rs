//! What a user wrote to what the planner may trust, or the list of everything that is wrong with it.
//! The API server has refused most of it already; an API server with an older CRD has not.

pub mod valid;

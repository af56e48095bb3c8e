//! The read model shared by everything that shows a Rollout to a person.

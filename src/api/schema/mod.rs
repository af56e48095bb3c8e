//! Structural schemas as the API server applies them: prune, default, validate, list unknown fields.

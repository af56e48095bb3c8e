//! s
pub const ALLOWED_ANNOTATIONS: &[&str] = &[];

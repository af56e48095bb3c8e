//! The verbs of `kubectl tidegate` and `tidegate`, one file each.

pub mod crds;

//! IO reads: caches and live reads into one serialisable Snapshot.

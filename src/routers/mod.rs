//! Pure renderers of traffic weights into route objects, and their verification.

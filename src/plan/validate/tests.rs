//! Tables of bad inputs.

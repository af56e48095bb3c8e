//! IO writes: executes the stages of a plan, each write preconditioned.

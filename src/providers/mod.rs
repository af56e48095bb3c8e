//! Metric providers: the only code that asks anything outside the cluster a question.

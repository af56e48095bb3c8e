//! kube-rs wiring: watches, queues and the reconcile functions that the simulation drives too.

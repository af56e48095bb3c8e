//! A cluster in the process: API server, controllers, nodes, ingress data plane, load generator.

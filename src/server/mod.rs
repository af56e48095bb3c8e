//! The controller's own HTTP: `/metrics`, `/healthz`, `/readyz`.

//! The ingress data plane: what Traefik does with Ingress, HTTPRoute, Service and EndpointSlice objects, as it was
//! measured, and a small reverse proxy that does it on real sockets.
//!
//! * [`table`]: pure. Changes go in and take effect after a delay of their kind; routing decisions come out.
//! * [`proxy`]: the sockets and the watches around the table.
//!
//! A request is **lost** when no pod answered it ([`LostReason`]); a 5xx that a pod itself answered is not.

mod balancer;
mod endpoints;
mod fraction;
mod gateway_status;
mod http_route;
mod index;
mod ingress;
pub mod proxy;
mod route;
pub mod table;

pub use fraction::Fraction;
pub use gateway_status::CONTROLLER_NAME;
pub use table::{DataPlane, Decision, Delays, Kind, Shares};

/// Response header that tells a lost request and why; a pod's own answer never carries it.
pub const LOST_HEADER: &str = "x-sandbox-lost";

/// Why no pod answered a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LostReason {
    /// No route matches host, path and method.
    NoRoute,
    /// The route's weights sum up to 0.
    NoBackend,
    /// The backend's Service, or its port, does not exist.
    NoService,
    /// The Service has no ready endpoint.
    NoEndpoint,
    /// All the Service's endpoints serve but terminate.
    Terminating,
    /// The pod does not accept connections.
    Refused,
    /// The connection broke before the answer was complete.
    Reset,
    /// The pod did not answer in time.
    Timeout,
}

impl LostReason {
    pub fn as_str(self) -> &'static str {
        match self {
            LostReason::NoRoute => "no-route",
            LostReason::NoBackend => "no-backend",
            LostReason::NoService => "no-service",
            LostReason::NoEndpoint => "no-endpoint",
            LostReason::Terminating => "terminating",
            LostReason::Refused => "refused",
            LostReason::Reset => "reset",
            LostReason::Timeout => "timeout",
        }
    }

    /// The status that Traefik answers in this case.
    pub fn status(self) -> http::StatusCode {
        match self {
            LostReason::NoRoute => http::StatusCode::NOT_FOUND,
            LostReason::NoBackend | LostReason::NoService => http::StatusCode::INTERNAL_SERVER_ERROR,
            LostReason::NoEndpoint | LostReason::Terminating => http::StatusCode::SERVICE_UNAVAILABLE,
            LostReason::Refused | LostReason::Reset => http::StatusCode::BAD_GATEWAY,
            LostReason::Timeout => http::StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

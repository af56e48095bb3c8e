//! From a Service and its EndpointSlices to the pods behind one of its ports.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use super::LostReason;
use crate::sandbox::resource::{list, text};

/// A Service's ports as `(name, number)`; an unnamed port has the empty name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    ports: Vec<(String, u16)>,
}

/// How a route names a Service's port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Port {
    Number(u16),
    Name(String),
}

/// What we read of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    /// The Service's name, from the label.
    pub(super) service: String,
    ports: Vec<(String, u16)>,
    endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoint {
    address: IpAddr,
    pod: String,
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: bool,
}

/// A pod that may get requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) address: SocketAddr,
}

impl Port {
    pub(super) fn parse(number: Option<&Value>, name: Option<&Value>) -> Option<Port> {
        let number = number
            .and_then(Value::as_u64)
            .and_then(|number| u16::try_from(number).ok());
        let name = || Some(Port::Name(name?.as_str()?.to_owned()));
        number.map(Port::Number).or_else(name)
    }
}

impl Service {
    pub(super) fn parse(object: &Value) -> Self {
        Service {
            ports: ports(object, "/spec/ports"),
        }
    }

    /// The name under which the slices list this port.
    fn port_name(&self, port: &Port) -> Option<&str> {
        let mut ports = self.ports.iter();
        let found = match port {
            Port::Number(wanted) => ports.find(|(_, number)| number == wanted),
            Port::Name(wanted) => ports.find(|(name, _)| name == wanted),
        };
        found.map(|(name, _)| name.as_str())
    }
}

impl Slice {
    /// None when the slice belongs to no Service.
    pub(super) fn parse(object: &Value) -> Option<Self> {
        let service = object
            .pointer("/metadata/labels")?
            .get("kubernetes.io/service-name")?
            .as_str()?;
        let endpoints = list(object, "/endpoints")
            .iter()
            .flat_map(parse_endpoint)
            .collect();
        Some(Slice {
            service: service.to_owned(),
            ports: ports(object, "/ports"),
            endpoints,
        })
    }
}

fn ports(object: &Value, pointer: &str) -> Vec<(String, u16)> {
    list(object, pointer)
        .iter()
        .filter_map(|port| {
            let number = u16::try_from(port.get("port")?.as_u64()?).ok()?;
            Some((text(port, "/name").unwrap_or_default().to_owned(), number))
        })
        .collect()
}

fn parse_endpoint(endpoint: &Value) -> Option<Endpoint> {
    let condition = |name: &str| endpoint.get("conditions")?.get(name)?.as_bool();
    let address: IpAddr = list(endpoint, "/addresses").first()?.as_str()?.parse().ok()?;
    let pod = text(endpoint, "/targetRef/name").map_or_else(|| address.to_string(), str::to_owned);
    Some(Endpoint {
        address,
        pod,
        ready: condition("ready"),
        serving: condition("serving"),
        terminating: condition("terminating").unwrap_or(false),
    })
}

/// The pods behind a Service's port, or why there are none. `absent_is_ready` is the reading of an endpoint that does
/// not say whether it is ready: yes for Ingress, no for HTTPRoute.
pub(super) fn resolve<'a>(
    service: Option<&Service>,
    slices: impl Iterator<Item = &'a Slice>,
    port: &Port,
    absent_is_ready: bool,
) -> Result<Vec<Pod>, LostReason> {
    let port_name = service
        .and_then(|service| service.port_name(port))
        .ok_or(LostReason::NoService)?;
    let mut pods = Vec::new();
    let mut seen = BTreeSet::new();
    let mut only_terminating = false;
    for slice in slices {
        let Some((_, number)) = slice.ports.iter().find(|(name, _)| name == port_name) else {
            continue;
        };
        for endpoint in &slice.endpoints {
            let ready = endpoint.ready.unwrap_or(absent_is_ready);
            if ready && !endpoint.terminating {
                // Traefik takes two endpoints of one address for the same one, whatever their ports.
                if seen.insert(endpoint.address) {
                    let address = SocketAddr::new(endpoint.address, *number);
                    pods.push(Pod {
                        name: endpoint.pod.clone(),
                        address,
                    });
                }
            } else if endpoint.terminating && endpoint.serving.unwrap_or(ready) {
                only_terminating = true;
            }
        }
    }
    match (pods.is_empty(), only_terminating) {
        (false, _) => Ok(pods),
        (true, true) => Err(LostReason::Terminating),
        (true, false) => Err(LostReason::NoEndpoint),
    }
}

//! Addresses of metric backends. They are written by people who may not reach everything the controller
//! can reach, so what a pod has no business asking (cloud metadata, the API server, the controller itself) is
//! refused: by text here, and by the same rule on each IP address that a name resolves to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;
use url::{Host, Url};

pub const MAX_LENGTH: usize = 2_048;

/// What the administrator of the controller allows beyond the default, and what the cluster forbids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    /// Loopback addresses; on where controller and Prometheus share a machine, as in the sandbox.
    pub allow_loopback: bool,
    /// Where the pod of the controller finds the API server, which no name may lead to.
    pub api_server: Option<IpAddr>,
}

/// `AddressNotAllowed`, with what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    #[error("address is longer than {MAX_LENGTH} bytes")]
    TooLong,
    #[error("address {0:?} is not a URL; write http://host:port")]
    NotAUrl(String),
    #[error("address must start with http:// or https://, not {0}:")]
    Scheme(String),
    #[error("address must not carry a user or password")]
    UserInfo,
    #[error("address must not carry a query or fragment")]
    Query,
    #[error("address {host} is not allowed: {reason}")]
    Host { host: String, reason: &'static str },
}

/// [`check_address`] for who does not know the policy: whether loopback is allowed is checked before dialling.
pub fn check_written(text: &str) -> Result<(), AddressError> {
    let policy = AddressPolicy {
        allow_loopback: true,
        ..AddressPolicy::default()
    };
    check_address(text, &policy).map(drop)
}

/// Parses and checks; what a host name resolves to is checked by [`check_ip`] when it is dialled.
pub fn check_address(text: &str, policy: &AddressPolicy) -> Result<Url, AddressError> {
    if text.len() > MAX_LENGTH {
        return Err(AddressError::TooLong);
    }
    let url = Url::parse(text).map_err(|_| AddressError::NotAUrl(shown(text)))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(AddressError::Scheme(url.scheme().to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(AddressError::UserInfo);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(AddressError::Query);
    }
    let refused = match url.host() {
        Some(Host::Ipv4(ip)) => check_ip(IpAddr::V4(ip), policy).err(),
        Some(Host::Ipv6(ip)) => check_ip(IpAddr::V6(ip), policy).err(),
        Some(Host::Domain(name)) => refused_name(name, policy),
        None => Some("it names no host"),
    };
    match refused {
        Some(reason) => Err(AddressError::Host {
            host: url.host_str().unwrap_or_default().to_owned(),
            reason,
        }),
        None => Ok(url),
    }
}

/// What cannot be parsed may carry a password all the same, before an `@`.
fn shown(text: &str) -> String {
    let text = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
    text.chars().take(120).collect()
}

/// Whether a connection may go to this address; the reason if not.
pub fn check_ip(ip: IpAddr, policy: &AddressPolicy) -> Result<(), &'static str> {
    let is_api_server = |address: IpAddr| address.to_canonical() == ip.to_canonical();
    let refused = match ip {
        _ if policy.api_server.is_some_and(is_api_server) => Some(API_SERVER),
        IpAddr::V4(ip) => refused_v4(ip, policy),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(mapped) => refused_v4(mapped, policy),
            None => refused_v6(ip, policy),
        },
    };
    refused.map_or(Ok(()), Err)
}

const LOOPBACK: &str = "it is the controller itself (loopback is off)";
const API_SERVER: &str = "it is the API server";
const LINK_LOCAL: &str = "link-local addresses serve cloud metadata";
const NOT_A_HOST: &str = "it is not the address of one host";

fn refused_v4(ip: Ipv4Addr, policy: &AddressPolicy) -> Option<&'static str> {
    let [first, ..] = ip.octets();
    match ip {
        _ if ip.is_loopback() => (!policy.allow_loopback).then_some(LOOPBACK),
        _ if ip.is_link_local() => Some(LINK_LOCAL),
        // 0.0.0.0/8 reaches the own host on Linux; 224/4 and 240/4 are multicast and reserved.
        _ if first == 0 || first >= 224 => Some(NOT_A_HOST),
        _ => None,
    }
}

fn refused_v6(ip: Ipv6Addr, policy: &AddressPolicy) -> Option<&'static str> {
    match ip {
        _ if ip.is_loopback() => (!policy.allow_loopback).then_some(LOOPBACK),
        _ if ip.is_unicast_link_local() => Some(LINK_LOCAL),
        // AWS serves its metadata over IPv6 here.
        _ if ip.segments().starts_with(&[0xfd00, 0x0ec2]) => Some(LINK_LOCAL),
        _ if ip.is_unspecified() || ip.is_multicast() => Some(NOT_A_HOST),
        // ::a.b.c.d, NAT64 and 6to4 carry an IPv4 address past the checks above.
        _ if ip.segments().starts_with(&[0, 0, 0, 0, 0, 0]) => Some(NOT_A_HOST),
        _ if ip.segments().starts_with(&[0x64, 0xff9b]) || ip.segments().starts_with(&[0x2002]) => {
            Some(NOT_A_HOST)
        }
        _ => None,
    }
}

fn refused_name(name: &str, policy: &AddressPolicy) -> Option<&'static str> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let first_labels = name
        .split_once(".svc")
        .map_or(name.as_str(), |(labels, _)| labels);
    match name.as_str() {
        "localhost" => (!policy.allow_loopback).then_some(LOOPBACK),
        _ if name.ends_with(".localhost") => (!policy.allow_loopback).then_some(LOOPBACK),
        "metadata" | "metadata.google.internal" => Some("it serves cloud metadata"),
        _ if matches!(first_labels, "kubernetes" | "kubernetes.default") => Some(API_SERVER),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: AddressPolicy = AddressPolicy {
        allow_loopback: false,
        api_server: None,
    };
    const SANDBOX: AddressPolicy = AddressPolicy {
        allow_loopback: true,
        ..STRICT
    };

    #[test]
    fn takes_what_clusters_use() {
        for text in [
            "http://prometheus:9090",
            "https://thanos.monitoring.svc.cluster.local:10902/prefix",
            "http://10.0.0.7:9090",
            "http://[fd12::7]:9090",
            "http://kubernetes-prometheus.monitoring.svc:9090",
        ] {
            assert!(check_address(text, &STRICT).is_ok(), "{text}");
        }
    }

    #[test]
    fn refuses_what_no_tenant_should_reach() {
        let long = format!("http://host/{}", "a".repeat(MAX_LENGTH));
        for text in [
            "file:///etc/passwd",
            "gopher://host/1",
            "http://user:password@host",
            "http://user@host",
            "http://169.254.169.254/latest/meta-data",
            "http://[fe80::1]:9090",
            "http://[fd00:ec2::254]",
            "http://[::ffff:169.254.169.254]",
            "http://[::a9fe:a9fe]",
            "http://[64:ff9b::a9fe:a9fe]",
            "http://2852039166/",
            "http://0xa9.0xfe.0xa9.0xfe/",
            "http://0.0.0.0:9090",
            "http://[::]:9090",
            "http://metadata.google.internal",
            "https://kubernetes.default.svc",
            "https://Kubernetes.default.svc.cluster.local.",
            "http://host/?token=x",
            "host:9090",
            "",
            &long,
        ] {
            assert!(check_address(text, &SANDBOX).is_err(), "{text}");
        }
    }

    #[test]
    fn never_shows_a_password() {
        for text in [
            "http://user:hunter2@host",
            "http://user:hunter2@host:port",
            "http://user:hun@ter2@[host",
        ] {
            let error = check_address(text, &SANDBOX).unwrap_err().to_string();
            assert!(!error.contains("hun") && !error.contains("ter2"), "{error}");
        }
    }

    #[test]
    fn the_api_server_is_refused_by_its_address() {
        let policy = AddressPolicy {
            api_server: Some("10.96.0.1".parse().unwrap()),
            ..SANDBOX
        };
        for text in ["10.96.0.1", "::ffff:10.96.0.1"] {
            assert_eq!(
                check_ip(text.parse().unwrap(), &policy),
                Err(API_SERVER),
                "{text}"
            );
        }
        assert!(check_address("https://10.96.0.1", &policy).is_err());
        assert!(check_address("https://10.96.0.2", &policy).is_ok());
    }

    #[test]
    fn loopback_needs_the_administrator() {
        for text in [
            "http://127.0.0.1:9090",
            "http://localhost:9090",
            "http://[::1]:9090",
            "http://127.9.9.9",
        ] {
            assert!(check_address(text, &STRICT).is_err(), "{text}");
            assert!(check_address(text, &SANDBOX).is_ok(), "{text}");
        }
    }
}

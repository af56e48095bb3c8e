//! HTTP clients that go where they may and nowhere else.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Response, header};
use thiserror::Error;
use url::Url;

use crate::api::address::{AddressPolicy, check_address, check_ip};
use crate::api::failure::with_causes;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Error)]
#[error("the HTTP client cannot be built")]
pub struct BuildError(#[from] reqwest::Error);

/// One client for each scheme.
pub struct Clients {
    policy: AddressPolicy,
    /// Needs no certificates: building it must not depend on a CA bundle on the machine.
    plain: Client,
    /// With the CA bundle of the machine. Cannot be built without one, which matters only to `https://` addresses.
    secure: Result<Client, String>,
}

impl Clients {
    pub fn new(policy: AddressPolicy) -> Result<Self, BuildError> {
        super::install_tls();
        let secure = builder(policy).https_only(true).build();
        Ok(Clients {
            policy,
            plain: builder(policy).tls_certs_only([]).build()?,
            secure: secure.map_err(|error| with_causes(&error)),
        })
    }

    /// The address as a URL, if it is allowed, and the client for it.
    pub fn find(&self, address: &str) -> Result<(Url, Client), String> {
        let url = check_address(address, &self.policy).map_err(|error| error.to_string())?;
        let client = match url.scheme() {
            "https" => self.secure.clone()?,
            _ => self.plain.clone(),
        };
        Ok((url, client))
    }
}

/// What an answer is that leads elsewhere, which nobody follows; `None` for any other.
pub fn redirection(response: &Response) -> Option<String> {
    let status = response.status();
    let target = response
        .headers()
        .get(header::LOCATION)
        .and_then(|target| target.to_str().ok());
    let target: String = target.unwrap_or("elsewhere").chars().take(120).collect();
    status
        .is_redirection()
        .then(|| format!("{status}: redirects are not followed (to {target})"))
}

/// The next part of the body. Nothing compressed was asked for, so nothing is unpacked.
pub async fn next_chunk(response: &mut Response) -> Result<Option<Vec<u8>>, String> {
    let encoding = response.headers().get(header::CONTENT_ENCODING);
    if let Some(encoding) = encoding.filter(|encoding| *encoding != "identity") {
        return Err(format!(
            "the answer is compressed ({encoding:?}), which was not asked for"
        ));
    }
    let chunk = response.chunk().await.map_err(|error| with_causes(&error))?;
    Ok(chunk.map(|chunk| chunk.to_vec()))
}

/// The whole body, cut while it streams if it is longer than `limit` bytes.
pub async fn read_body(mut response: Response, limit: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = next_chunk(&mut response).await? {
        if body.len().saturating_add(chunk.len()) > limit {
            return Err(format!("the answer is longer than {limit} bytes"));
        }
        body.extend(chunk);
    }
    Ok(body)
}

/// No redirects, no proxies, no retries of its own.
pub fn builder(policy: AddressPolicy) -> reqwest::ClientBuilder {
    Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(GuardedResolver { policy })
}

/// A name may resolve to anything; only allowed addresses are handed to the connector. (Addresses that are
/// written as such never come here: they are checked with the text.)
struct GuardedResolver {
    policy: AddressPolicy,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.policy;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found
                .filter(|address| check_ip(address.ip(), &policy).is_ok())
                .collect();
            if allowed.is_empty() {
                return Err(format!("{} resolves to no address that is allowed", name.as_str()).into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

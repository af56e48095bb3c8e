//! HTTP clients that go where they may and nowhere else.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Client;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::api::address::{AddressPolicy, check_ip};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// For `http://`, which needs no certificates: building it must not depend on a CA bundle on the machine.
pub fn build_plain(policy: AddressPolicy) -> reqwest::Result<Client> {
    builder(policy).tls_certs_only([]).build()
}

/// For `https://`, with the CA bundle of the machine.
pub fn build_secure(policy: AddressPolicy) -> reqwest::Result<Client> {
    builder(policy).https_only(true).build()
}

/// No redirects, no proxies, no retries of its own.
fn builder(policy: AddressPolicy) -> reqwest::ClientBuilder {
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

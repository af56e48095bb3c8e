//! Alertmanager's API: the alerts that fire now, but for those that are silenced or inhibited.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::{Certificate, Client, StatusCode};
use url::Url;

use super::AlertSource;
use super::dial::{BuildError, builder, read_body, redirection};
use crate::api::address::{AddressPolicy, check_address};
use crate::api::failure::with_causes;

/// For one answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Some ten thousand alerts.
const MAX_BODY_BYTES: usize = 8 * 1_048_576;
const QUERY: &str = "api/v2/alerts?active=true&silenced=false&inhibited=false";

/// The files are read for every question, so that they may change.
pub struct Alertmanager {
    address: String,
    token: Option<PathBuf>,
    authorities: Option<PathBuf>,
    policy: AddressPolicy,
    client: Mutex<Option<Cached>>,
}

/// A client that trusts these authorities.
struct Cached {
    authorities: Option<Vec<u8>>,
    client: Client,
}

impl Alertmanager {
    /// `token`: a file with a bearer token. `authorities`: a PEM file of those that are trusted instead of the machine's.
    pub fn new(
        address: String,
        token: Option<PathBuf>,
        authorities: Option<PathBuf>,
        policy: AddressPolicy,
    ) -> Self {
        super::install_tls();
        Alertmanager {
            address,
            token,
            authorities,
            policy,
            client: Mutex::default(),
        }
    }

    async fn get(&self) -> Result<Vec<u8>, String> {
        let url = check_address(&self.address, &self.policy).map_err(|error| error.to_string())?;
        let query = format!("{}/{QUERY}", url.as_str().trim_end_matches('/'));
        let mut request = self.client(&url)?.get(query);
        if let Some(path) = &self.token {
            let token = read(path)?;
            request = request.bearer_auth(String::from_utf8_lossy(&token).trim());
        }
        let response = request.send().await.map_err(|error| with_causes(&error))?;
        if let Some(why) = redirection(&response) {
            return Err(why);
        }
        if response.status() != StatusCode::OK {
            return Err(response.status().to_string());
        }
        read_body(response, MAX_BODY_BYTES).await
    }

    fn client(&self, url: &Url) -> Result<Client, String> {
        let authorities = self.authorities.as_ref().map(read).transpose()?;
        let mut cached = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = cached.as_ref().filter(|cached| cached.authorities == authorities) {
            return Ok(cached.client.clone());
        }
        let client = build(url, self.policy, authorities.as_deref()).map_err(|error| with_causes(&error))?;
        *cached = Some(Cached {
            authorities,
            client: client.clone(),
        });
        Ok(client)
    }
}

impl AlertSource for Alertmanager {
    fn active(&self) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        Box::pin(async move {
            let answer = tokio::time::timeout(TIMEOUT, self.get()).await;
            answer.unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs())))
        })
    }
}

fn build(url: &Url, policy: AddressPolicy, authorities: Option<&[u8]>) -> Result<Client, BuildError> {
    let builder = builder(policy);
    let builder = match authorities {
        Some(pem) => builder.tls_certs_only(Certificate::from_pem_bundle(pem)?),
        // A CA bundle of the machine need not be there where it is not used.
        None if url.scheme() == "http" => builder.tls_certs_only([]),
        None => builder,
    };
    Ok(builder.build()?)
}

fn read(path: &PathBuf) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

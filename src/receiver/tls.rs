//! The receiver's side of TLS: 1.2 and 1.3, HTTP/1.1 only, and a certificate of the client if an authority is given.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

use crate::api::failure::with_causes;

pub type Tls = rustls::ServerConfig;

/// From the contents of certificate, key and, if there is one, the file of the clients' authorities.
pub fn read_tls(files: &[Vec<u8>]) -> Result<Tls, String> {
    let [certificate, key, rest @ ..] = files else {
        return Err("certificate and key are needed".to_owned());
    };
    let chain = certificates(certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("the key: {error}"))?;
    let config = Tls::builder();
    let config = match rest.first() {
        Some(authorities) => config.with_client_cert_verifier(verifier(authorities)?),
        None => config.with_no_client_auth(),
    };
    let mut config = config
        .with_single_cert(chain, key)
        .map_err(|error| with_causes(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn verifier(authorities: &[u8]) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(authorities)? {
        roots
            .add(authority)
            .map_err(|error| format!("an authority of clients: {error}"))?;
    }
    WebPkiClientVerifier::builder(Arc::new(roots))
        .build()
        .map_err(|error| with_causes(&error))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| format!("a certificate: {error}"))?;
    match all.is_empty() {
        true => Err("there is no certificate in it".to_owned()),
        false => Ok(all),
    }
}

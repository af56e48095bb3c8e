//! Certificates, authorities and tokens that change while the receiver runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Certificate, Client, Identity};
use serde_json::json;
use tidegate::receiver::TlsFiles;

use crate::client::{PATH, alert, webhook};
use crate::replica::{LATER, Replica, SHOP, hash_of};

/// An authority of its own.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for 127.0.0.1 and its key.
    pub fn sign(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// Writes a certificate where the receiver reads it, and what to trust beside it.
    pub fn write(&self, folder: &Path) -> TlsFiles {
        let (certificate, key) = self.sign();
        let files = TlsFiles {
            certificate: folder.join("tls.crt"),
            key: folder.join("tls.key"),
            client_ca: None,
        };
        std::fs::write(&files.certificate, certificate).unwrap();
        std::fs::write(&files.key, key).unwrap();
        std::fs::write(ca_of(folder), self.pem()).unwrap();
        files
    }
}

pub fn ca_of(folder: &Path) -> PathBuf {
    folder.join("ca.crt")
}

fn client(authority: &str, identity: Option<(String, String)>) -> Client {
    let authority = Certificate::from_pem(authority.as_bytes()).unwrap();
    let mut client = Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .tls_certs_only([authority]);
    if let Some((certificate, key)) = identity {
        client = client.identity(Identity::from_pem(format!("{certificate}{key}").as_bytes()).unwrap());
    }
    client.build().unwrap()
}

/// The code, or `None` where there is no connection.
async fn post(replica: &Replica, client: &Client, token: &str) -> Option<u16> {
    let url = format!("https://{}{PATH}", replica.address);
    let request = client
        .post(url)
        .bearer_auth(token)
        .header("content-type", "application/json");
    let body = webhook(&[alert(&json!({"alertname": "Down"}), "f", LATER)]);
    Some(request.body(body).send().await.ok()?.status().as_u16())
}

async fn eventually(replica: &Replica, client: &Client, token: &str, expected: Option<u16>) {
    let wait = async {
        while post(replica, client, token).await != expected {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
}

#[tokio::test]
async fn a_new_certificate_and_new_tokens_are_taken_up_and_broken_ones_are_not() {
    let replica = Replica::start(Some(|folder| Authority::new().write(folder))).await;
    replica.ready().await;
    let trusted = std::fs::read_to_string(ca_of(&replica.folder)).unwrap();
    let first = client(&trusted, None);
    assert_eq!(post(&replica, &first, SHOP).await, Some(200));

    std::fs::write(replica.folder.join("tls.crt"), "half a certif").unwrap();
    std::fs::write(replica.folder.join("tokens.yaml"), "- namespaces: [shop").unwrap();
    let is_told = || {
        ["tls", "tokens"].iter().all(|file| {
            replica.counted(&format!(
                "tidegate_alert_file_reloads_total{{file=\"{file}\",result=\"error\"}} 1"
            ))
        })
    };
    crate::replica::until(is_told).await;
    assert_eq!(post(&replica, &first, SHOP).await, Some(200));

    let authority = Authority::new();
    authority.write(&replica.folder);
    let tokens = json!([{"namespaces": ["shop"], "tokens": [hash_of("new")]}]);
    std::fs::write(replica.folder.join("tokens.yaml"), tokens.to_string()).unwrap();
    let second = client(&authority.pem(), None);
    eventually(&replica, &second, "new", Some(200)).await;
    eventually(&replica, &second, SHOP, Some(401)).await;
    assert_eq!(post(&replica, &first, "new").await, None);
}

#[tokio::test]
async fn where_clients_need_a_certificate_a_token_alone_is_not_enough() {
    fn with_clients(folder: &Path) -> TlsFiles {
        let authority = Authority::new();
        let (certificate, key) = authority.sign();
        std::fs::write(folder.join("client.crt"), certificate).unwrap();
        std::fs::write(folder.join("client.key"), key).unwrap();
        TlsFiles {
            client_ca: Some(ca_of(folder)),
            ..authority.write(folder)
        }
    }
    let replica = Replica::start(Some(with_clients)).await;
    replica.ready().await;
    let read = |name: &str| std::fs::read_to_string(replica.folder.join(name)).unwrap();
    let known = client(&read("ca.crt"), Some((read("client.crt"), read("client.key"))));
    assert_eq!(post(&replica, &known, SHOP).await, Some(200));
    assert_eq!(post(&replica, &known, "wrong").await, Some(401));
    assert_eq!(post(&replica, &client(&read("ca.crt"), None), SHOP).await, None);
    let stranger = client(&read("ca.crt"), Some(Authority::new().sign()));
    assert_eq!(post(&replica, &stranger, SHOP).await, None);
}

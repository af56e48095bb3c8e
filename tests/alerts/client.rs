//! Who sends alerts, with the means to do it wrongly.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const PATH: &str = "/alertmanager/v1/webhook";

/// An answer: status code, head and body.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub head: String,
    pub body: String,
}

/// A request on a connection of its own, as it is written.
pub async fn send(address: SocketAddr, head: &str, body: &[u8]) -> Answer {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    // Whoever is refused early is not read to the end.
    let _ = socket.write_all(body).await;
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Answer {
        code: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_lowercase(),
        body: body.to_owned(),
    }
}

/// As Alertmanager posts, with a token.
pub async fn post(address: SocketAddr, token: &str, body: &[u8]) -> Answer {
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    send(address, &head, body).await
}

/// The body of a webhook with these alerts.
pub fn webhook(alerts: &[Value]) -> Vec<u8> {
    let body = json!({
        "version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0, "status": "firing", "receiver": "tidegate",
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://a:9093",
        "alerts": alerts, "somethingNew": {"of": ["a", "later", "version"]},
    });
    body.to_string().into_bytes()
}

pub fn alert(labels: &Value, fingerprint: &str, starts_at: &str) -> Value {
    json!({
        "status": "firing", "labels": labels, "annotations": {"summary": "12 % of requests fail"},
        "startsAt": starts_at, "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "", "fingerprint": fingerprint,
    })
}

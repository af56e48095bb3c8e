//! The API server as Tidegate speaks to it: one request, one answer, a time limit, no retries.
//!
//! Guarantees: every create and patch names our field manager, is decoded strictly and carries the leader's epoch; every
//! write is sent in the leader's term only, but for one that only asks the leader ([`Api::ask`]); no call outlives
//! [`CALL_TIMEOUT`], and no write the term; what an answer means is said once, in [`Failure`].
//! Assumes a client whose own retries are off.

use std::time::Duration;

use http::{Method, Request};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::names::FIELD_MANAGER;
use crate::api::patch::PatchOp;
use crate::api::resource::{ObjectKey, Resource};

pub mod failure;
pub mod leadership;
pub mod object;
pub mod own_writes;
pub mod urgency;

pub use failure::Failure;
use leadership::Leadership;
use object::{Object, Page};
use urgency::Urgency;

const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const PAGE_SIZE: usize = 500;

/// What an update or delete was decided on: it is carried out on this version of this object or not at all.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub uid: &'a str,
    pub resource_version: &'a str,
}

#[derive(Clone)]
pub struct Api {
    client: kube::Client,
    leadership: Leadership,
    urgency: Urgency,
}

impl Api {
    pub fn new(client: kube::Client) -> Self {
        Api {
            client,
            leadership: Leadership::default(),
            urgency: Urgency::default(),
        }
    }

    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// What decides whether a write may be sent.
    pub fn leadership(&self) -> &Leadership {
        &self.leadership
    }

    /// What decides whose requests go first.
    pub fn urgency(&self) -> &Urgency {
        &self.urgency
    }

    /// `None`: the API server says that there is no such object. A read that failed is never absence.
    pub async fn get(&self, resource: Resource, key: &ObjectKey) -> Result<Option<Value>, Failure> {
        let answer = self.call(Method::GET, &resource.object_path(key), None).await;
        match answer {
            Ok(mut object) => {
                resource.stamp(&mut object);
                Ok(Some(object))
            }
            Err(Failure::NotFound) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Every object of a namespace, or of all if it is empty, that has the labels.
    pub async fn list(
        &self,
        resource: Resource,
        namespace: &str,
        labels: Option<&str>,
    ) -> Result<Vec<Value>, Failure> {
        let selector = labels.map(|labels| format!("&labelSelector={}", escape_query(labels)));
        let collection = resource.collection_path(namespace);
        let path = format!("{collection}?limit={PAGE_SIZE}{}", selector.unwrap_or_default());
        let mut objects = Vec::new();
        let mut next = path.clone();
        loop {
            let page: Page = self.call_for(Method::GET, &next, None).await?;
            let items = page.items.into_iter().flatten();
            objects.extend(items.map(|object| object.value));
            match page.metadata.get("continue").and_then(Value::as_str) {
                None | Some("") => break,
                Some(token) => next = format!("{path}&continue={}", escape_query(token)),
            }
        }
        objects.iter_mut().for_each(|object| resource.stamp(object));
        Ok(objects)
    }

    pub async fn create(
        &self,
        resource: Resource,
        namespace: &str,
        object: &Value,
    ) -> Result<Value, Failure> {
        let path = format!("{}?{}", resource.collection_path(namespace), write_options());
        self.call(
            Method::POST,
            &path,
            Some(("application/json", object.to_string())),
        )
        .await
    }

    /// Creates a RolloutCommand, whether we lead or not: it changes nothing by itself, and whoever leads decides on it.
    pub async fn ask(&self, namespace: &str, command: &Value) -> Result<Value, Failure> {
        let collection = Resource::RolloutCommand.collection_path(namespace);
        let path = format!("{collection}?{}", write_options());
        let body = Some(("application/json", command.to_string()));
        let answer: Object = self
            .send(Method::POST, &path, body, self.leadership.epoch(), CALL_TIMEOUT)
            .await?;
        Ok(answer.value)
    }

    /// A JSON Patch of the object, or of its status, that the API server refuses on any other version of it.
    pub async fn patch(
        &self,
        resource: Resource,
        key: &ObjectKey,
        subresource: &str,
        expected: Expected<'_>,
        ops: &[PatchOp],
    ) -> Result<Value, Failure> {
        let path = format!("{}{subresource}?{}", resource.object_path(key), write_options());
        // The API server compares a version that the patched object carries with the stored one.
        let mut patch = vec![
            PatchOp::test("/metadata/uid", expected.uid),
            PatchOp::replace("/metadata/resourceVersion", expected.resource_version),
        ];
        patch.extend_from_slice(ops);
        let body = json!(patch).to_string();
        self.call(Method::PATCH, &path, Some(("application/json-patch+json", body)))
            .await
    }

    pub async fn delete(
        &self,
        resource: Resource,
        key: &ObjectKey,
        expected: Expected<'_>,
    ) -> Result<Value, Failure> {
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": expected.uid, "resourceVersion": expected.resource_version},
        });
        let body = Some(("application/json", options.to_string()));
        self.call(Method::DELETE, &resource.object_path(key), body).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<(&str, String)>) -> Result<Value, Failure> {
        let answer: Object = self.call_for(method, path, body).await?;
        Ok(answer.value)
    }

    async fn call_for<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, String)>,
    ) -> Result<T, Failure> {
        self.urgency.give_way().await;
        let (epoch, left) = match method {
            Method::GET => (self.leadership.epoch(), CALL_TIMEOUT),
            _ => self.leadership.admit()?,
        };
        self.send(method, path, body, epoch, left.min(CALL_TIMEOUT)).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, String)>,
        epoch: u64,
        patience: Duration,
    ) -> Result<T, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::ACCEPT, "application/json")
            .header(http::header::USER_AGENT, user_agent(epoch));
        if let Some((content_type, _)) = body {
            request = request.header(http::header::CONTENT_TYPE, content_type);
        }
        let bytes = body.map(|(_, text)| text.into_bytes()).unwrap_or_default();
        let request = request
            .body(bytes)
            .map_err(|error| Failure::Unsent(error.to_string()))?;
        let answer = tokio::time::timeout(patience, self.client.request_text(request))
            .await
            .map_err(|_| Failure::Unknown(format!("no answer within {:.1} s", patience.as_secs_f64())))?;
        let text = answer.map_err(Failure::from)?;
        serde_json::from_str(&text)
            .map_err(|error| Failure::Unknown(format!("answer cannot be read: {error}")))
    }
}

fn user_agent(epoch: u64) -> String {
    format!("tidegate/{} (epoch {epoch})", env!("CARGO_PKG_VERSION"))
}

fn write_options() -> String {
    format!("fieldManager={FIELD_MANAGER}&fieldValidation=Strict")
}

/// Percent-encodes everything but what is plain in a query (RFC 3986).
fn escape_query(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if plain(byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_survive_a_query() {
        assert_eq!(escape_query("a.b/c=d,e"), "a.b%2Fc%3Dd%2Ce");
        assert_eq!(escape_query("ü "), "%C3%BC%20");
    }
}

//! What the controllers and people asked of the API server, from its audit log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

/// Every request of one user; the controllers share theirs with nobody but the tests.
pub struct Audit {
    requests: Vec<Request>,
}

struct Request {
    verb: String,
    /// `group/resource`, with `/subresource` where there is one.
    resource: String,
    namespace: String,
    code: u64,
    message: String,
    agent: String,
    at: String,
}

impl Audit {
    pub fn read(log: &Path, user: &str) -> Self {
        let text = std::fs::read_to_string(log).unwrap();
        // The last line may be half written.
        let events = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ours = events.filter(|event| event["user"]["username"] == user);
        Audit {
            requests: ours
                .filter_map(|event| request(&event))
                // Their watches have no name of their own.
                .filter(|request| !request.agent.starts_with("e2e-"))
                .collect(),
        }
    }

    /// Requests by `verb group/resource`.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.counts_where(|_| true)
    }

    /// The same, in the namespaces that `is_meant` names.
    pub fn counts_where(&self, is_meant: impl Fn(&str) -> bool) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        let meant = self
            .requests
            .iter()
            .filter(|request| is_meant(&request.namespace));
        for request in meant {
            *counts
                .entry(format!("{} {}", request.verb, request.resource))
                .or_default() += 1;
        }
        counts
    }

    /// In one namespace, each as `verb group/resource code`.
    pub fn answers(&self, namespace: &str) -> Vec<String> {
        let inside = self
            .requests
            .iter()
            .filter(|request| request.namespace == namespace);
        inside
            .map(|request| format!("{} {} {}", request.verb, request.resource, request.code))
            .collect()
    }

    pub fn used(&self) -> BTreeSet<String> {
        self.counts().into_keys().collect()
    }

    /// What was refused for want of a right, or by an admission policy.
    pub fn forbidden(&self) -> Vec<String> {
        let by_policy = |request: &Request| request.message.contains("ValidatingAdmissionPolicy");
        let forbidden = self
            .requests
            .iter()
            .filter(|request| request.code == 403 || by_policy(request));
        forbidden
            .map(|request| format!("{} {}", request.verb, request.resource))
            .collect()
    }

    /// Every leader writes with an epoch of its own.
    pub fn epochs(&self) -> BTreeSet<u64> {
        let writes = self.requests.iter().filter(|request| request.is_write());
        writes.filter_map(Request::epoch).collect()
    }

    /// Writes that carry an older epoch than one that was accepted before them, or none.
    pub fn fenced(&self) -> Vec<String> {
        let mut newest = 0;
        let mut writes: Vec<&Request> = self
            .requests
            .iter()
            .filter(|request| request.is_write())
            .collect();
        writes.sort_by(|left, right| left.at.cmp(&right.at));
        let mut fenced = Vec::new();
        for write in writes {
            let Some(epoch) = write.epoch() else {
                fenced.push(format!(
                    "{} {} {} without epoch",
                    write.at, write.verb, write.resource
                ));
                continue;
            };
            if epoch < newest && write.code < 400 {
                fenced.push(format!(
                    "{} {} {} of epoch {epoch} after {newest}",
                    write.at, write.verb, write.resource
                ));
            }
            newest = newest.max(epoch);
        }
        fenced
    }
}

impl Request {
    /// Of what a release is made of: a Lease is contended for by everybody, every replica may ask for what an alert
    /// wants, and what people are told is in nobody's way.
    fn is_write(&self) -> bool {
        let asks = self.verb == "create" && self.resource.ends_with("/rolloutcommands");
        !asks
            && !matches!(self.verb.as_str(), "get" | "list" | "watch")
            && !self.resource.starts_with("coordination.k8s.io/")
            && !self.resource.starts_with("events.k8s.io/")
    }

    /// The leader's, from the User-Agent.
    fn epoch(&self) -> Option<u64> {
        let (_, rest) = self.agent.split_once("(epoch ")?;
        rest.split(')').next()?.parse().ok()
    }
}

fn request(event: &Value) -> Option<Request> {
    let text = |pointer: &str| {
        event
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let reference = event.get("objectRef")?;
    let part = |field: &str| reference.get(field).and_then(Value::as_str).unwrap_or_default();
    let subresource = match part("subresource") {
        "" => String::new(),
        subresource => format!("/{subresource}"),
    };
    Some(Request {
        verb: text("/verb"),
        resource: format!("{}/{}{subresource}", part("apiGroup"), part("resource")),
        namespace: part("namespace").to_owned(),
        code: event
            .pointer("/responseStatus/code")
            .and_then(Value::as_u64)
            .unwrap_or(0),
        message: text("/responseStatus/message"),
        agent: text("/userAgent"),
        at: text("/requestReceivedTimestamp"),
    })
}

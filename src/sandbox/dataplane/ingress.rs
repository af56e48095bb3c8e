//! What we read of an Ingress in the nginx dialect.

use serde_json::Value;

use super::endpoints::Port;
use super::route::PathMatch;
use crate::sandbox::resource::{Key, list, text, text_map};

/// The annotation that makes an Ingress a canary, after whichever prefix the ingress class uses.
const CANARY_SUFFIX: &str = "/canary";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ingress {
    /// None for a primary Ingress.
    pub(super) canary: Option<CanaryWeight>,
    pub(super) paths: Vec<(Location, ServicePort)>,
}

/// Where a path is served. A canary finds its primary by the whole of it: the slightest difference means no traffic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location {
    pub(super) namespace: String,
    pub(super) class: String,
    /// Empty for any host.
    pub(super) host: String,
    pub(super) path: String,
    pub(super) path_type: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ServicePort {
    pub(super) service: Key,
    pub(super) port: Port,
}

/// `weight` of `total` requests go to the canary; `weight` ≤ `total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CanaryWeight {
    pub(super) weight: u64,
    pub(super) total: u64,
}

impl Ingress {
    pub(super) fn parse(key: &Key, object: &Value) -> Self {
        let annotations = text_map(object, "/metadata/annotations");
        let class = text(object, "/spec/ingressClassName")
            .or_else(|| annotations.get("kubernetes.io/ingress.class").map(String::as_str))
            .unwrap_or_default();
        let canary = annotations.iter().find_map(|(name, value)| {
            let prefix = name.strip_suffix(CANARY_SUFFIX).filter(|_| value == "true")?;
            let number = |suffix: &str| annotations.get(&format!("{prefix}/{suffix}"));
            Some(parse_weight(
                number("canary-weight"),
                number("canary-weight-total"),
            ))
        });
        let paths = list(object, "/spec/rules").iter().flat_map(|rule| {
            let host = text(rule, "/host").unwrap_or_default();
            list(rule, "/http/paths")
                .iter()
                .filter_map(move |path| parse_path(key, class, host, path))
        });
        Ingress {
            canary,
            paths: paths.collect(),
        }
    }
}

impl Location {
    pub(super) fn path_match(&self) -> PathMatch {
        match self.path_type.as_str() {
            "Exact" => PathMatch::Exact(self.path.clone()),
            _ => PathMatch::Prefix(self.path.clone()),
        }
    }
}

/// Weights are plain integers: whatever else is written there means 0 without a word, and a total below 100 means 100.
fn parse_weight(weight: Option<&String>, total: Option<&String>) -> CanaryWeight {
    let number = |text: Option<&String>| text.and_then(|text| text.parse::<u64>().ok());
    let total = number(total).unwrap_or(100).max(100);
    CanaryWeight {
        weight: number(weight).unwrap_or(0).min(total),
        total,
    }
}

fn parse_path(key: &Key, class: &str, host: &str, path: &Value) -> Option<(Location, ServicePort)> {
    let location = Location {
        namespace: key.namespace.clone(),
        class: class.to_owned(),
        host: host.to_owned(),
        path: text(path, "/path").unwrap_or("/").to_owned(),
        path_type: text(path, "/pathType")
            .unwrap_or("ImplementationSpecific")
            .to_owned(),
    };
    let service = Key::new(&key.namespace, text(path, "/backend/service/name")?);
    let port = Port::parse(
        path.pointer("/backend/service/port/number"),
        path.pointer("/backend/service/port/name"),
    )?;
    Some((location, ServicePort { service, port }))
}

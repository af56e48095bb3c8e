//! What we read of a Gateway API HTTPRoute. Matches on headers or query parameters never match here: the data plane
//! routes by host, path and method alone.

use serde_json::Value;

use super::endpoints::Port;
use super::route::PathMatch;
use crate::sandbox::resource::{Key, list, text};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HttpRoute {
    /// Empty means any host.
    pub(super) hosts: Vec<String>,
    pub(super) rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) matches: Vec<Match>,
    pub(super) backends: Vec<BackendRef>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) path: PathMatch,
    pub(super) method: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BackendRef {
    pub(super) service: Key,
    pub(super) port: Port,
    pub(super) weight: u64,
    /// False for what is no Service of the route's own namespace: its share is lost, as that of a missing Service.
    pub(super) permitted: bool,
}

impl HttpRoute {
    pub(super) fn parse(key: &Key, object: &Value) -> Self {
        let hosts = list(object, "/spec/hostnames")
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned);
        let rules = list(object, "/spec/rules").iter().map(|rule| Rule {
            matches: parse_matches(rule),
            backends: list(rule, "/backendRefs")
                .iter()
                .filter_map(|r| parse_backend(key, r))
                .collect(),
        });
        HttpRoute {
            hosts: hosts.collect(),
            rules: rules.collect(),
        }
    }
}

fn parse_matches(rule: &Value) -> Vec<Match> {
    let matches = list(rule, "/matches");
    if matches.is_empty() {
        return vec![Match {
            path: PathMatch::Prefix("/".to_owned()),
            method: None,
        }];
    }
    matches
        .iter()
        .filter(|one| list(one, "/headers").is_empty() && list(one, "/queryParams").is_empty())
        .filter_map(|one| {
            let value = text(one, "/path/value").unwrap_or("/").to_owned();
            let path = match text(one, "/path/type").unwrap_or("PathPrefix") {
                "PathPrefix" => PathMatch::Prefix(value),
                "Exact" => PathMatch::Exact(value),
                _ => return None,
            };
            Some(Match {
                path,
                method: text(one, "/method").map(str::to_owned),
            })
        })
        .collect()
}

fn parse_backend(route: &Key, backend: &Value) -> Option<BackendRef> {
    let namespace = text(backend, "/namespace").unwrap_or(&route.namespace);
    let is_service = text(backend, "/kind").is_none_or(|kind| kind == "Service")
        && text(backend, "/group").is_none_or(str::is_empty);
    Some(BackendRef {
        service: Key::new(namespace, text(backend, "/name")?),
        port: Port::parse(backend.get("port"), None).unwrap_or(Port::Number(0)),
        // Gateway API: a backend without a weight has weight 1.
        weight: backend.get("weight").map_or(Some(1), Value::as_u64).unwrap_or(0),
        permitted: is_service && namespace == route.namespace,
    })
}

//! What a request asks for: verb, target and options, read once from method, path, query and headers.
//!
//! Guarantees: parsing never fails; a path that is no resource's has no target and is left to discovery.

use std::collections::BTreeMap;

/// What is done to the target, in the words of RBAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
        }
    }

    /// Whether the request may change an object.
    pub fn is_write(self) -> bool {
        !matches!(self, Verb::Get | Verb::List | Verb::Watch)
    }
}

/// The resource, and where in it, that a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub group: String,
    pub version: String,
    /// The plural, as in the path.
    pub resource: String,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub subresource: Option<String>,
}

impl Target {
    /// Reads `/api/v1/…` and `/apis/<group>/<version>/…`.
    pub fn parse(path: &str) -> Option<Target> {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            // A namespace's own subresources look like a resource inside it.
            ["namespaces", _, "status" | "finalize"] => (None, rest),
            ["namespaces", namespace, inside @ ..] if !inside.is_empty() => (Some(*namespace), inside),
            _ => (None, rest),
        };
        let (resource, name, subresource) = match rest {
            [resource] => (*resource, None, None),
            [resource, name] => (*resource, Some(*name), None),
            [resource, name, subresource] => (*resource, Some(*name), Some(*subresource)),
            _ => return None,
        };
        Some(Target {
            group: group.to_owned(),
            version: version.to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            subresource: subresource.map(str::to_owned),
        })
    }
}

/// One request as it came in. The body stays text, because strict decoding must see duplicate fields.
#[derive(Clone, Debug)]
pub struct ApiRequest {
    pub method: String,
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub accept: String,
    pub content_type: String,
    /// Who asks: the User-Agent header.
    pub actor: String,
    pub body: Vec<u8>,
    pub verb: Verb,
    pub target: Option<Target>,
}

impl ApiRequest {
    /// A request for `path_and_query` with everything else empty.
    pub fn new(method: &str, path_and_query: &str) -> Self {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        let query: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let target = Target::parse(path);
        let verb = verb(method, target.as_ref(), &query);
        ApiRequest {
            method: method.to_owned(),
            path: path.to_owned(),
            query,
            accept: String::new(),
            content_type: String::new(),
            actor: String::new(),
            body: Vec::new(),
            verb,
            target,
        }
    }

    pub fn param(&self, name: &str) -> Option<&str> {
        self.query
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    pub fn flag(&self, name: &str) -> bool {
        matches!(self.param(name), Some("true" | "1"))
    }

    pub fn is_dry_run(&self) -> bool {
        self.param("dryRun").is_some()
    }

    /// Whether the caller asked for rows to print instead of objects.
    pub fn wants_table(&self) -> bool {
        self.accept.contains("as=Table")
    }

    /// Whether the caller takes JSON.
    pub fn takes_json(&self) -> bool {
        ["json", "*/*", "application/*"]
            .iter()
            .any(|form| self.accept.contains(form))
            || self.accept.is_empty()
    }

    /// Whether the caller asked for nothing of the objects but their metadata.
    pub fn wants_metadata(&self) -> bool {
        self.accept.contains("as=PartialObjectMetadata")
    }
}

fn verb(method: &str, target: Option<&Target>, query: &BTreeMap<String, String>) -> Verb {
    let named = target.is_some_and(|target| target.name.is_some());
    let watch = query
        .get("watch")
        .is_some_and(|value| matches!(value.as_str(), "true" | "1"));
    match method {
        "POST" => Verb::Create,
        "PUT" => Verb::Update,
        "PATCH" => Verb::Patch,
        "DELETE" if named => Verb::Delete,
        "DELETE" => Verb::DeleteCollection,
        _ if named => Verb::Get,
        _ if watch => Verb::Watch,
        _ => Verb::List,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let table = [
            ("/api/v1/pods", Some(("", "pods", None, None, None))),
            ("/api/v1/namespaces", Some(("", "namespaces", None, None, None))),
            (
                "/api/v1/namespaces/shop",
                Some(("", "namespaces", None, Some("shop"), None)),
            ),
            (
                "/api/v1/namespaces/shop/finalize",
                Some(("", "namespaces", None, Some("shop"), Some("finalize"))),
            ),
            (
                "/api/v1/namespaces/shop/pods/a/status",
                Some(("", "pods", Some("shop"), Some("a"), Some("status"))),
            ),
            (
                "/apis/apps/v1/namespaces/shop/replicasets",
                Some(("apps", "replicasets", Some("shop"), None, None)),
            ),
            ("/apis/apps/v1", None),
            ("/api", None),
            ("/version", None),
        ];
        for (path, expected) in table {
            let target = Target::parse(path);
            let found = target.as_ref().map(|target| {
                let text = |field: &Option<String>| field.clone();
                (
                    target.group.as_str(),
                    target.resource.as_str(),
                    text(&target.namespace),
                    text(&target.name),
                    text(&target.subresource),
                )
            });
            let expected = expected.map(|(group, resource, namespace, name, subresource)| {
                let text = |field: Option<&str>| field.map(str::to_owned);
                (group, resource, text(namespace), text(name), text(subresource))
            });
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn verbs_and_options() {
        let verb = |method, path| ApiRequest::new(method, path).verb;
        assert_eq!(verb("GET", "/api/v1/pods"), Verb::List);
        assert_eq!(verb("GET", "/api/v1/pods?watch=1"), Verb::Watch);
        assert_eq!(verb("GET", "/api/v1/namespaces/a/pods/b"), Verb::Get);
        assert_eq!(
            verb("DELETE", "/api/v1/namespaces/a/pods"),
            Verb::DeleteCollection
        );
        assert_eq!(verb("DELETE", "/api/v1/namespaces/a/pods/b"), Verb::Delete);
        let request = ApiRequest::new("GET", "/api/v1/pods?labelSelector=a%3Db%2Cc&dryRun=All");
        assert_eq!(request.param("labelSelector"), Some("a=b,c"));
        assert!(request.is_dry_run());
    }
}

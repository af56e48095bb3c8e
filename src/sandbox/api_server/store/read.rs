//! Get and list, with selectors and consistent paging.

use std::sync::Arc;

use serde_json::{Value, json};

use super::answer::Body;
use super::refusal::Refusal;
use super::request::{ApiRequest, Verb};
use super::selector::Selector;
use super::{Call, ObjectKey, Store, event_form};
use crate::api::schema::{Reason, Violation};

/// Where a list goes on: the version it began at and the last key it showed. Opaque to clients.
struct Continue {
    version: u64,
    after: ObjectKey,
}

impl Continue {
    fn parse(token: &str) -> Result<Self, Refusal> {
        let refuse = || Refusal::bad_request(format!("continue key is not valid: {token}"));
        let mut parts = token.split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(version), Some(namespace), Some(name), None) => {
                let version = version.parse().map_err(|_| refuse())?;
                Ok(Continue {
                    version,
                    after: ObjectKey::new(namespace, name),
                })
            }
            _ => Err(refuse()),
        }
    }

    fn token(&self) -> String {
        format!("{}/{}/{}", self.version, self.after.namespace, self.after.name)
    }
}

/// Refuses versions that contradict each other, of a list or a watch.
pub(super) fn check_versions(request: &ApiRequest) -> Result<(), Refusal> {
    const MATCH: &str = "resourceVersionMatch";
    const INITIAL: &str = "sendInitialEvents";
    let (version, wanted) = (request.param("resourceVersion"), request.param(MATCH));
    let is_watch = request.verb == Verb::Watch;
    let (streams, matches) = (request.param(INITIAL).is_some(), wanted.is_some());
    let forbidden =
        |field: &str, detail: &str| Violation::new(field, Reason::Forbidden, &Value::Null, detail);
    let mut found = Vec::new();
    match wanted {
        Some("NotOlderThan") if is_watch => {}
        Some("Exact" | "NotOlderThan") if !is_watch => {}
        Some(other) => {
            let detail = "supported values: \"Exact\", \"NotOlderThan\"";
            found.push(Violation::new(MATCH, Reason::NotSupported, &json!(other), detail));
        }
        None => {}
    }
    if streams && !is_watch {
        found.push(forbidden(INITIAL, "sendInitialEvents is forbidden for list"));
    }
    if streams && !matches {
        found.push(forbidden(
            MATCH,
            "sendInitialEvents requires setting resourceVersionMatch",
        ));
    }
    if matches && is_watch && !streams {
        found.push(forbidden(MATCH, "resourceVersionMatch is forbidden for watch"));
    }
    if matches && !is_watch && version.is_none() {
        found.push(forbidden(
            MATCH,
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ));
    }
    if wanted == Some("Exact") && version == Some("0") {
        found.push(forbidden(
            MATCH,
            "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"",
        ));
    }
    if !found.is_empty() {
        return Err(Refusal::invalid_list_options(&found));
    }
    match version.map(str::parse::<u64>) {
        Some(Err(_)) => Err(Refusal::bad_request("invalid resource version")),
        _ => Ok(()),
    }
}

/// A list of the objects as they were: like the pages of one that began then.
fn exactly_at(request: &ApiRequest) -> Option<Continue> {
    let exact = request.param("resourceVersionMatch") == Some("Exact");
    let version = request.param("resourceVersion").filter(|_| exact)?;
    Some(Continue {
        version: version.parse().ok()?,
        after: ObjectKey::new("", ""),
    })
}

impl Store {
    pub(super) fn read(&self, call: &Call<'_>) -> Result<Body, Refusal> {
        self.object(call).map(Body::Object)
    }

    pub(super) fn list_objects(&self, call: &Call<'_>) -> Result<Body, Refusal> {
        let selector = Selector::of(call.request, &call.resource)?;
        let limit = call.request.param("limit").map(str::parse).transpose();
        let limit = limit.map_err(|_| Refusal::bad_request("limit is not a number"))?;
        let limit = limit.filter(|limit| *limit > 0);
        check_versions(call.request)?;
        let resume = match call.request.param("continue") {
            Some(token) => Some(Continue::parse(token)?),
            None => exactly_at(call.request),
        };
        let version = resume.as_ref().map_or(self.version, |resume| resume.version);
        let selected = self.selected(call, &selector, resume.as_ref())?;
        let (page, rest) = selected
            .split_at_checked(limit.unwrap_or(selected.len()))
            .unwrap_or((&selected, &[]));
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if let (Some((last, _)), Some(fields), false) =
            (page.last(), metadata.as_object_mut(), rest.is_empty())
        {
            let token = Continue {
                version,
                after: last.clone(),
            }
            .token();
            fields.insert("continue".to_owned(), json!(token));
            // With a selector the real server does not know.
            if selector.is_empty() {
                fields.insert("remainingItemCount".to_owned(), json!(rest.len()));
            }
        }
        Ok(Body::List {
            kind: call.resource.list_kind.clone(),
            api_version: call.resource.api_version(),
            metadata,
            items: page.iter().map(|(_, object)| Arc::clone(object)).collect(),
        })
    }

    /// The matching objects, all or those after the last page, as of the version the list began at.
    fn selected(
        &self,
        call: &Call<'_>,
        selector: &Selector,
        resume: Option<&Continue>,
    ) -> Result<Vec<(ObjectKey, Arc<Value>)>, Refusal> {
        let Some(collection) = self.collection(&call.resource) else {
            return Ok(Vec::new());
        };
        let namespace = call.target.namespace.as_deref();
        let form = |(key, object): (&ObjectKey, &Arc<Value>)| {
            (key.clone(), event_form::served(&call.resource, object))
        };
        let Some(resume) = resume else {
            let all = collection.list(namespace).map(form);
            return Ok(all.filter(|(_, object)| selector.matches(object)).collect());
        };
        let expired = |_| {
            Refusal::expired(
                "The provided continue parameter is too old to display a consistent list result. \
                 You must start a new list without the continue parameter.",
            )
        };
        let past = collection.objects_at(resume.version).map_err(expired)?;
        let later = past.iter().filter(|(key, _)| {
            **key > resume.after && namespace.is_none_or(|wanted| wanted == key.namespace)
        });
        Ok(later
            .map(form)
            .filter(|(_, object)| selector.matches(object))
            .collect())
    }
}

//! Watches: what a watcher is to be told next.
//!
//! A [`Watch`] remembers how far it has read the log; [`Store::watch_next`] hands out what came since. An
//! object that leaves the selector is DELETED for this watcher, one that enters it is ADDED.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::collection::{Collection, Event};
use super::refusal::Refusal;
use super::request::ApiRequest;
use super::selector::Selector;
use super::{Body, Resource, Store, event_form, meta, read, table};

/// One open watch.
#[derive(Clone, Debug)]
pub struct Watch {
    request: ApiRequest,
    resource: Arc<Resource>,
    namespace: Option<String>,
    selector: Selector,
    version: u64,
    /// The objects there were, for a watcher that did not say where to begin.
    initial: Vec<Arc<Value>>,
    /// Whether a bookmark is due once they are told.
    tells_end_of_initial: bool,
}

/// The lines to send, and whether the watch is over.
#[derive(Clone, Debug, Default)]
pub struct WatchBatch {
    pub events: Vec<Value>,
    pub ended: bool,
}

impl Watch {
    pub fn wants_bookmarks(&self) -> bool {
        self.request.flag("allowWatchBookmarks")
    }

    /// How long the watcher wants to watch.
    pub fn timeout_seconds(&self) -> Option<u64> {
        self.request.param("timeoutSeconds")?.parse().ok()
    }

    fn sees(&self, object: &Value) -> bool {
        let here = self
            .namespace
            .as_deref()
            .is_none_or(|wanted| wanted == meta::text(object, "namespace"));
        here && self.selector.matches(object)
    }

    fn translate(&self, now: DateTime<Utc>, event: &Event) -> Option<Value> {
        let seen = |object: &Option<Arc<Value>>| {
            let served = event_form::served(&self.resource, object.as_ref()?);
            self.sees(&served).then_some(served)
        };
        match (seen(&event.before), seen(&event.after)) {
            (None, None) => None,
            (None, Some(after)) => Some(self.line(now, "ADDED", &after)),
            (Some(_), Some(after)) => Some(self.line(now, "MODIFIED", &after)),
            (Some(before), None) => {
                let mut last = before.as_ref().clone();
                meta::set(&mut last, "resourceVersion", json!(event.version.to_string()));
                Some(self.line(now, "DELETED", &Arc::new(last)))
            }
        }
    }

    fn line(&self, now: DateTime<Utc>, kind: &str, object: &Arc<Value>) -> Value {
        let body = || Body::Object(Arc::clone(object));
        if self.request.wants_table() {
            let rows = table::render(now, &self.request, &self.resource, &body());
            json!({"type": kind, "object": rows.to_value()})
        } else if self.request.wants_metadata() {
            json!({"type": kind, "object": table::metadata_alone(&body()).to_value()})
        } else {
            json!({"type": kind, "object": **object})
        }
    }
}

fn too_old(version: u64, oldest: u64) -> Refusal {
    Refusal::expired(format!("too old resource version: {version} ({oldest})"))
}

impl Store {
    /// Opens the watch that the request asks for.
    pub fn watch(&self, request: &ApiRequest) -> Result<Watch, Refusal> {
        let target = request.target.as_ref().ok_or_else(Refusal::no_such_path)?;
        let resource = self.resolve(target)?;
        read::check_versions(request)?;
        let selector = Selector::of(request, &resource)?;
        let mut watch = Watch {
            request: request.clone(),
            resource,
            namespace: target.namespace.clone(),
            selector,
            version: self.version,
            initial: Vec::new(),
            tells_end_of_initial: request.flag("sendInitialEvents"),
        };
        let collection = self.collection(&watch.resource);
        let from = request.param("resourceVersion").filter(|version| *version != "0");
        match from.filter(|_| !watch.tells_end_of_initial) {
            Some(version) => {
                let parsed = version.parse();
                watch.version = parsed
                    .map_err(|_| Refusal::bad_request(format!("invalid resource version \"{version}\"")))?;
            }
            None => {
                let objects = collection
                    .into_iter()
                    .flat_map(|found| found.list(watch.namespace.as_deref()));
                watch.initial = objects
                    .map(|(_, object)| event_form::served(&watch.resource, object))
                    .collect();
                watch.initial.retain(|object| watch.selector.matches(object));
            }
        }
        Ok(watch)
    }

    /// Everything the watcher has not been told yet.
    pub fn watch_next(&self, now: DateTime<Utc>, watch: &mut Watch) -> WatchBatch {
        let mut batch = WatchBatch::default();
        for object in std::mem::take(&mut watch.initial) {
            batch.events.push(watch.line(now, "ADDED", &object));
        }
        if std::mem::take(&mut watch.tells_end_of_initial) {
            let mut bookmark = self.bookmark(watch);
            if let Some(object) = bookmark.get_mut("object") {
                meta::set(
                    object,
                    "annotations",
                    json!({"k8s.io/initial-events-end": "true"}),
                );
            }
            batch.events.push(bookmark);
        }
        let newer = self
            .collection(&watch.resource)
            .map_or(Ok(Vec::new()), |found: &Collection| {
                found
                    .events_after(watch.version)
                    .map(Iterator::collect::<Vec<&Event>>)
            });
        match newer {
            Ok(events) => {
                batch
                    .events
                    .extend(events.into_iter().filter_map(|event| watch.translate(now, event)));
                watch.version = watch.version.max(self.version);
            }
            Err(refused) => {
                let status = too_old(watch.version, refused.oldest).to_status();
                batch.events.push(json!({"type": "ERROR", "object": status}));
                batch.ended = true;
            }
        }
        batch
    }

    /// Tells the watcher how far it has come; nothing may lie between the last batch and this.
    pub fn bookmark(&self, watch: &Watch) -> Value {
        json!({"type": "BOOKMARK", "object": {
            "kind": watch.resource.kind, "apiVersion": watch.resource.api_version(),
            "metadata": {"resourceVersion": watch.version.to_string()},
        }})
    }
}

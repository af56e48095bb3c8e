//! A watch as a plain stream of changes. It never ends and never fails: errors are retried after a pause, and what a
//! broken watch has missed is found by comparing the new list with what was known before.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use futures::future::ready;
use futures::stream::{self, BoxStream};
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::watcher;

use super::resource::Key;

/// The pause after an error. Short: a data plane is expected to follow within a second once the API is back.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(300);

#[derive(Clone, Debug)]
pub enum Event {
    /// An object's new state; none when it is gone.
    Changed(Key, Option<Box<DynamicObject>>),
    /// All objects there are have been reported.
    Synced,
}

/// Watches all objects of a kind in all namespaces.
pub fn watch(client: &kube::Client, resource: &ApiResource) -> BoxStream<'static, Event> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), resource);
    let kind = resource.kind.clone();
    let mut known = Known::default();
    watcher(api, watcher::Config::default())
        .then(move |event| pause_after_error(kind.clone(), event))
        .filter_map(ready)
        .flat_map(move |event| stream::iter(known.step(event)))
        .boxed()
}

async fn pause_after_error(
    kind: String,
    event: watcher::Result<watcher::Event<DynamicObject>>,
) -> Option<watcher::Event<DynamicObject>> {
    match event {
        Ok(event) => Some(event),
        Err(error) => {
            tracing::debug!(%kind, %error, "watch failed, trying again");
            tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            None
        }
    }
}

/// What has been reported as existing.
#[derive(Default)]
struct Known {
    keys: BTreeSet<Key>,
    /// Of the keys, those that the list under way has not confirmed yet.
    unconfirmed: BTreeSet<Key>,
}

impl Known {
    fn step(&mut self, event: watcher::Event<DynamicObject>) -> Vec<Event> {
        match event {
            watcher::Event::Init => {
                self.unconfirmed = self.keys.clone();
                Vec::new()
            }
            watcher::Event::InitApply(object) | watcher::Event::Apply(object) => {
                let key = Key::of(&object);
                self.unconfirmed.remove(&key);
                self.keys.insert(key.clone());
                vec![Event::Changed(key, Some(Box::new(object)))]
            }
            watcher::Event::Delete(object) => {
                let key = Key::of(&object);
                self.keys.remove(&key);
                vec![Event::Changed(key, None)]
            }
            watcher::Event::InitDone => {
                let gone = std::mem::take(&mut self.unconfirmed);
                self.keys.retain(|key| !gone.contains(key));
                let gone = gone.into_iter().map(|key| Event::Changed(key, None));
                gone.chain([Event::Synced]).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::resource::pods;

    fn pod(name: &str) -> DynamicObject {
        DynamicObject::new(name, &pods()).within("shop")
    }

    #[test]
    fn a_new_list_reports_what_vanished_meanwhile() {
        let mut known = Known::default();
        for event in [
            watcher::Event::Init,
            watcher::Event::InitApply(pod("a")),
            watcher::Event::InitApply(pod("b")),
        ] {
            known.step(event);
        }
        assert!(matches!(
            known.step(watcher::Event::InitDone).as_slice(),
            [Event::Synced]
        ));
        known.step(watcher::Event::Init);
        known.step(watcher::Event::InitApply(pod("b")));
        let events = known.step(watcher::Event::InitDone);
        assert!(matches!(events.as_slice(), [Event::Changed(key, None), Event::Synced] if key.name == "a"));
    }
}

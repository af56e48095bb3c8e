//! Watched objects of one kind, found by label pair, so that a change costs what it concerns and not what there is.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::DynamicObject;

use crate::sandbox::resource::Key;

type Pair = (String, String);

/// Objects, indexed by the pairs that `pairs_of` names.
pub(super) struct Cache {
    pairs_of: fn(&DynamicObject) -> Vec<Pair>,
    objects: BTreeMap<Key, DynamicObject>,
    by_pair: BTreeMap<(String, Pair), BTreeSet<Key>>,
}

impl Cache {
    pub(super) fn new(pairs_of: fn(&DynamicObject) -> Vec<Pair>) -> Self {
        Cache {
            pairs_of,
            objects: BTreeMap::new(),
            by_pair: BTreeMap::new(),
        }
    }

    /// Takes an object's new state; one that is older than what is known (our own write came first) is dropped.
    pub(super) fn put(&mut self, key: &Key, object: Option<DynamicObject>) {
        if let (Some(known), Some(new)) = (self.objects.get(key), &object)
            && known.metadata.uid == new.metadata.uid
            && version(new) < version(known)
        {
            return;
        }
        if let Some(old) = self.objects.remove(key) {
            for pair in (self.pairs_of)(&old) {
                if let Some(keys) = self.by_pair.get_mut(&(key.namespace.clone(), pair)) {
                    keys.remove(key);
                }
            }
        }
        if let Some(object) = object {
            for pair in (self.pairs_of)(&object) {
                self.by_pair
                    .entry((key.namespace.clone(), pair))
                    .or_default()
                    .insert(key.clone());
            }
            self.objects.insert(key.clone(), object);
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<&DynamicObject> {
        self.objects.get(key)
    }

    /// The objects of a namespace that are indexed by one pair.
    pub(super) fn at<'a>(
        &'a self,
        namespace: &str,
        pair: Pair,
    ) -> impl Iterator<Item = &'a DynamicObject> + use<'a> {
        let keys = self
            .by_pair
            .get(&(namespace.to_owned(), pair))
            .into_iter()
            .flatten();
        keys.filter_map(|key| self.objects.get(key))
    }

    /// The objects of a namespace whose labels have all the given pairs, for a cache indexed by [`labels`]. An empty
    /// selector selects nothing.
    pub(super) fn select(&self, namespace: &str, selector: &BTreeMap<String, String>) -> Vec<DynamicObject> {
        let size = |pair: &Pair| {
            self.by_pair
                .get(&(namespace.to_owned(), pair.clone()))
                .map_or(0, BTreeSet::len)
        };
        let pairs = selector
            .iter()
            .map(|(label, value)| (label.clone(), value.clone()));
        let Some(rarest) = pairs.min_by_key(size) else {
            return Vec::new();
        };
        self.at(namespace, rarest)
            .filter(|object| matches(selector, object))
            .cloned()
            .collect()
    }
}

/// True when the object's labels have all the selector's pairs.
pub(super) fn matches(selector: &BTreeMap<String, String>, object: &DynamicObject) -> bool {
    let labels = object.metadata.labels.as_ref();
    selector
        .iter()
        .all(|(label, value)| labels.and_then(|labels| labels.get(label)) == Some(value))
}

pub(super) fn labels(object: &DynamicObject) -> Vec<Pair> {
    object
        .metadata
        .labels
        .clone()
        .unwrap_or_default()
        .into_iter()
        .collect()
}

fn version(object: &DynamicObject) -> Option<u64> {
    object.metadata.resource_version.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, version: &str, labels: &[(&str, &str)]) -> DynamicObject {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": version, "labels": labels},
        }))
        .unwrap()
    }

    fn put(cache: &mut Cache, pod: DynamicObject) {
        cache.put(&Key::of(&pod), Some(pod));
    }

    fn select(cache: &Cache, selector: &[(&str, &str)]) -> Vec<String> {
        let selector = selector
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
        cache
            .select("shop", &selector)
            .iter()
            .map(|pod| Key::of(pod).name)
            .collect()
    }

    #[test]
    fn selection_needs_every_pair_and_follows_label_changes() {
        let mut cache = Cache::new(labels);
        put(&mut cache, pod("a", "1", &[("app", "shop"), ("hash", "1")]));
        put(&mut cache, pod("b", "2", &[("app", "shop"), ("hash", "2")]));
        assert_eq!(select(&cache, &[("app", "shop")]), ["a", "b"]);
        assert_eq!(select(&cache, &[("app", "shop"), ("hash", "2")]), ["b"]);
        put(&mut cache, pod("b", "3", &[("app", "other")]));
        assert_eq!(select(&cache, &[("hash", "2")]), Vec::<String>::new());
        assert_eq!(select(&cache, &[]), Vec::<String>::new());
    }

    #[test]
    fn an_older_version_does_not_undo_our_own_write() {
        let mut cache = Cache::new(labels);
        put(&mut cache, pod("a", "10", &[("hash", "new")]));
        put(&mut cache, pod("a", "9", &[("hash", "old")]));
        assert_eq!(select(&cache, &[("hash", "new")]), ["a"]);
    }
}

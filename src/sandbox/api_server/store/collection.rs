//! The objects of one resource and the log of their changes.
//!
//! The log serves watches and consistent paging. It is bounded: whoever wants to go on from before its
//! beginning gets 410 and lists again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

/// How many changes of one resource are remembered.
const LOG_LIMIT: usize = 4096;

/// Orders objects as lists show them. Cluster-scoped objects have an empty namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    pub namespace: String,
    pub name: String,
}

impl ObjectKey {
    pub fn new(namespace: &str, name: &str) -> Self {
        ObjectKey {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// One change. `before` and `after` are the whole object; one is absent on creation and deletion.
#[derive(Clone, Debug)]
pub struct Event {
    pub version: u64,
    pub key: ObjectKey,
    pub before: Option<Arc<Value>>,
    pub after: Option<Arc<Value>>,
}

/// The wanted version is older than the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooOld {
    pub oldest: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Collection {
    objects: BTreeMap<ObjectKey, Arc<Value>>,
    log: VecDeque<Event>,
    /// Everything up to this version is forgotten.
    compacted: u64,
}

impl Collection {
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// Objects in key order, of one namespace or of all.
    pub fn list<'a>(
        &'a self,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a Arc<Value>)> {
        let start = ObjectKey::new(namespace.unwrap_or_default(), "");
        self.objects
            .range(start..)
            .take_while(move |(key, _)| namespace.is_none_or(|wanted| wanted == key.namespace))
    }

    pub fn record(&mut self, event: Event) {
        match &event.after {
            Some(after) => self.objects.insert(event.key.clone(), Arc::clone(after)),
            None => self.objects.remove(&event.key),
        };
        self.log.push_back(event);
        while self.log.len() > LOG_LIMIT {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(event) = self.log.pop_front() {
            self.compacted = event.version;
        }
    }

    /// Forgets the whole log, as etcd does at a compaction.
    pub fn compact(&mut self, version: u64) {
        self.log.clear();
        self.compacted = self.compacted.max(version);
    }

    /// Changes newer than `version`, oldest first.
    pub fn events_after(&self, version: u64) -> Result<impl Iterator<Item = &Event>, TooOld> {
        if version < self.compacted {
            return Err(TooOld {
                oldest: self.compacted,
            });
        }
        let start = self.log.partition_point(|event| event.version <= version);
        Ok(self.log.iter().skip(start))
    }

    /// The objects as they were at `version`: today's, with the changes since then undone.
    pub fn objects_at(&self, version: u64) -> Result<BTreeMap<ObjectKey, Arc<Value>>, TooOld> {
        let mut objects = self.objects.clone();
        let newer: Vec<&Event> = self.events_after(version)?.collect();
        for event in newer.into_iter().rev() {
            match &event.before {
                Some(before) => objects.insert(event.key.clone(), Arc::clone(before)),
                None => objects.remove(&event.key),
            };
        }
        Ok(objects)
    }
}

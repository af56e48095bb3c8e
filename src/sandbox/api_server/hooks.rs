//! Faults before a request, a look at every commit after it, and the count of requests.

use std::collections::BTreeMap;

use super::store::{ApiRequest, Commit, Store, Verb};

/// What happens to a request on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// The server answers with a `Status` and does nothing.
    Refuse {
        status: u16,
        reason: String,
        message: String,
    },
    /// The request is carried out and the answer is lost: the caller gets a transport error.
    ApplyThenLose,
    /// The request is lost: the caller gets a transport error and nothing happens.
    LoseBefore,
    /// Nothing happens and no answer ever comes.
    Hang,
}

/// Sees every request before and every commit after it.
///
/// Both run while the store is locked: an implementation reads the `Store` it is given and must not call the
/// API server.
pub trait Interceptor: Send {
    fn before(&mut self, request: &ApiRequest) -> Fault {
        let _ = request;
        Fault::None
    }

    fn committed(&mut self, commit: &Commit, store: &Store) {
        let _ = (commit, store);
    }
}

/// How often whom asked what, whatever the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    counts: BTreeMap<(String, Verb, String), u64>,
}

impl RequestCounts {
    pub(super) fn add(&mut self, request: &ApiRequest) {
        let resource = request
            .target
            .as_ref()
            .map(|target| target.resource.clone())
            .unwrap_or_default();
        *self
            .counts
            .entry((request.actor.clone(), request.verb, resource))
            .or_default() += 1;
    }

    /// Actor, verb, resource (plural; empty for discovery) and how often.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Verb, &str, u64)> {
        self.counts
            .iter()
            .map(|((actor, verb, resource), count)| (actor.as_str(), *verb, resource.as_str(), *count))
    }

    /// Requests of one actor that ask for a change.
    pub fn writes_by(&self, actor: &str) -> u64 {
        self.iter()
            .filter(|(by, verb, ..)| *by == actor && verb.is_write())
            .map(|(.., count)| count)
            .sum()
    }
}

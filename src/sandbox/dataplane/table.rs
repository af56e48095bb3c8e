//! The pure routing state. It owns no clock and no socket: every call says what time it is, and the same calls give the
//! same answers.
//!
//! A change takes effect a delay after it was made. The delay is per kind of object, so writes to objects of different
//! kinds can take effect in another order than they were made; those to one kind never do. A change that makes no
//! difference to routing is no reload; any other one is, and a reload starts every balancer anew.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::index::Index;
use super::route::Route;
use super::{Fraction, LostReason};
use crate::sandbox::resource::Key;

/// The kinds that the data plane reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Ingress,
    HttpRoute,
    Service,
    EndpointSlice,
}

/// How long a change to an object of each kind takes until requests feel it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delays {
    pub ingress: TimeDelta,
    pub http_route: TimeDelta,
    pub service: TimeDelta,
    pub endpoint_slice: TimeDelta,
}

impl Delays {
    pub fn all(delay: TimeDelta) -> Self {
        Delays {
            ingress: delay,
            http_route: delay,
            service: delay,
            endpoint_slice: delay,
        }
    }

    fn of(&self, kind: Kind) -> TimeDelta {
        match kind {
            Kind::Ingress => self.ingress,
            Kind::HttpRoute => self.http_route,
            Kind::Service => self.service,
            Kind::EndpointSlice => self.endpoint_slice,
        }
    }
}

/// What happens to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    To {
        service: Key,
        pod: String,
        address: SocketAddr,
    },
    Lost(LostReason),
}

/// Where the requests for one path go in the long run: the fractions, all together, sum up to 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares {
    /// By pod name.
    pub pods: BTreeMap<String, Fraction>,
    pub lost: BTreeMap<LostReason, Fraction>,
}

impl Shares {
    pub(super) fn lost(reason: LostReason) -> Self {
        Shares {
            pods: BTreeMap::new(),
            lost: BTreeMap::from([(reason, Fraction::ONE)]),
        }
    }

    /// The share that no pod answers.
    pub fn lost_total(&self) -> Fraction {
        self.lost.values().fold(Fraction::ZERO, |sum, share| sum + *share)
    }
}

/// The routing state and the changes on their way to it.
#[derive(Debug)]
pub struct DataPlane {
    delays: Delays,
    pending: BTreeMap<Kind, VecDeque<Change>>,
    index: Index,
    /// Compiled routes by host, thrown away at every reload.
    compiled: BTreeMap<String, Vec<Route>>,
}

#[derive(Debug)]
struct Change {
    due: DateTime<Utc>,
    key: Key,
    object: Option<Value>,
}

impl DataPlane {
    pub fn new(delays: Delays) -> Self {
        DataPlane {
            delays,
            pending: BTreeMap::new(),
            index: Index::default(),
            compiled: BTreeMap::new(),
        }
    }

    /// Changes the delays of what is applied from now on; what is on its way keeps its own.
    pub fn set_delays(&mut self, delays: Delays) {
        self.delays = delays;
    }

    /// Takes a change made at `at`: an object's new state, or none when it was deleted.
    pub fn apply(&mut self, at: DateTime<Utc>, kind: Kind, key: &Key, object: Option<&Value>) {
        let queue = self.pending.entry(kind).or_default();
        let due = at + self.delays.of(kind);
        let due = queue.back().map_or(due, |last| due.max(last.due));
        queue.push_back(Change {
            due,
            key: key.clone(),
            object: object.cloned(),
        });
    }

    /// When the next change takes effect, if one is on its way.
    pub fn next_change(&self) -> Option<DateTime<Utc>> {
        self.pending
            .values()
            .filter_map(|queue| queue.front())
            .map(|change| change.due)
            .min()
    }

    /// Decides about one request and moves the balancers on.
    pub fn route(&mut self, now: DateTime<Utc>, host: &str, method: &str, path: &str) -> Decision {
        match self.find(now, host, method, path) {
            Some(route) => route.next(),
            None => Decision::Lost(LostReason::NoRoute),
        }
    }

    /// Where GET requests for a path go; asking changes nothing.
    pub fn shares(&mut self, now: DateTime<Utc>, host: &str, path: &str) -> Shares {
        match self.find(now, host, "GET", path) {
            Some(route) => route.shares(),
            None => Shares::lost(LostReason::NoRoute),
        }
    }

    fn find(&mut self, now: DateTime<Utc>, host: &str, method: &str, path: &str) -> Option<&mut Route> {
        self.advance(now);
        let host = host.split(':').next().unwrap_or(host).to_ascii_lowercase();
        let index = &self.index;
        let routes = self
            .compiled
            .entry(host)
            .or_insert_with_key(|host| index.compile(host));
        routes.iter_mut().find(|route| route.matches(method, path))
    }

    /// Lets the changes that are due take effect.
    fn advance(&mut self, now: DateTime<Utc>) {
        let mut changed = false;
        for (kind, queue) in &mut self.pending {
            while let Some(change) = queue.pop_front_if(|change| change.due <= now) {
                changed |= self.index.put(*kind, &change.key, change.object.as_ref());
            }
        }
        if changed {
            self.compiled.clear();
        }
    }
}

#[cfg(test)]
mod tests;

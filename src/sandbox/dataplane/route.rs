//! One compiled route: what it matches and how it spreads requests over backends and their pods.

use std::collections::BTreeMap;

use super::balancer::Balancer;
use super::endpoints::Pod;
use super::{Decision, Fraction, LostReason, Shares};
use crate::sandbox::resource::Key;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PathMatch {
    Exact(String),
    /// By whole path elements: `/a` matches `/a` and `/a/b`, not `/ab`.
    Prefix(String),
}

#[derive(Debug)]
pub(super) struct Route {
    path: PathMatch,
    method: Option<String>,
    balancer: Balancer,
    backends: Vec<Backend>,
}

/// A Service's part in a route: its pods, or why its share is lost.
#[derive(Debug)]
pub(super) struct Backend {
    service: Key,
    weight: u64,
    pods: Result<Vec<Pod>, LostReason>,
    /// Pods take turns from the first one after every reload, as the backends do.
    turn: usize,
}

impl PathMatch {
    fn matches(&self, path: &str) -> bool {
        match self {
            PathMatch::Exact(exact) => path == exact,
            PathMatch::Prefix(prefix) => {
                let prefix = prefix.trim_end_matches('/');
                path.strip_prefix(prefix)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }

    fn precedence(&self) -> (bool, usize) {
        match self {
            PathMatch::Exact(path) => (true, path.len()),
            PathMatch::Prefix(path) => (false, path.len()),
        }
    }
}

impl Backend {
    pub(super) fn new(service: Key, weight: u64, pods: Result<Vec<Pod>, LostReason>) -> Self {
        Backend {
            service,
            weight,
            pods,
            turn: 0,
        }
    }

    fn next(&mut self) -> Decision {
        let pods = match &self.pods {
            Ok(pods) => pods,
            Err(reason) => return Decision::Lost(*reason),
        };
        let Some(pod) = pods.get(self.turn % pods.len().max(1)) else {
            return Decision::Lost(LostReason::NoEndpoint);
        };
        self.turn += 1;
        Decision::To {
            service: self.service.clone(),
            pod: pod.name.clone(),
            address: pod.address,
        }
    }
}

impl Route {
    pub(super) fn new(path: PathMatch, method: Option<String>, backends: Vec<Backend>) -> Self {
        let balancer = Balancer::new(backends.iter().map(|backend| backend.weight));
        Route {
            path,
            method,
            balancer,
            backends,
        }
    }

    pub(super) fn matches(&self, method: &str, path: &str) -> bool {
        self.path.matches(path) && self.method.as_deref().is_none_or(|wanted| wanted == method)
    }

    /// Of two routes for one host that match, the one of the higher precedence serves: exact before prefix, then the
    /// longer path, then the one that names a method.
    pub(super) fn precedence(&self) -> impl Ord + use<> {
        (self.path.precedence(), self.method.is_some())
    }

    /// Who serves the next request.
    pub(super) fn next(&mut self) -> Decision {
        let index = self.balancer.next();
        match index.and_then(|index| self.backends.get_mut(index)) {
            Some(backend) => backend.next(),
            None => Decision::Lost(LostReason::NoBackend),
        }
    }

    /// Where requests go in the long run.
    pub(super) fn shares(&self) -> Shares {
        let total: u128 = self
            .backends
            .iter()
            .map(|backend| u128::from(backend.weight))
            .sum();
        if total == 0 {
            return Shares::lost(LostReason::NoBackend);
        }
        let mut shares = Shares {
            pods: BTreeMap::new(),
            lost: BTreeMap::new(),
        };
        for backend in self.backends.iter().filter(|backend| backend.weight > 0) {
            let share = Fraction::new(u128::from(backend.weight), total);
            match &backend.pods {
                Ok(pods) => {
                    let each = share * Fraction::new(1, pods.len() as u128);
                    for pod in pods {
                        add(&mut shares.pods, pod.name.clone(), each);
                    }
                }
                Err(reason) => add(&mut shares.lost, *reason, share),
            }
        }
        shares
    }
}

fn add<K: Ord>(shares: &mut BTreeMap<K, Fraction>, key: K, share: Fraction) {
    let sum = shares.entry(key).or_insert(Fraction::ZERO);
    *sum = *sum + share;
}

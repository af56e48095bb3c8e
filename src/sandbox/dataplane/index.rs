//! The objects that are in effect, indexed so that compiling the routes of one host reads only what belongs to it,
//! however many other routes there are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::endpoints::{Pod, Port, Service, Slice, resolve};
use super::http_route::{HttpRoute, Rule};
use super::ingress::{CanaryWeight, Ingress, Location, ServicePort};
use super::route::{Backend, Route};
use super::{Kind, LostReason};
use crate::sandbox::resource::Key;

/// What is in effect.
#[derive(Debug, Default)]
pub(super) struct Index {
    services: BTreeMap<Key, Service>,
    slices: BTreeMap<Key, Slice>,
    ingresses: BTreeMap<Key, Ingress>,
    http_routes: BTreeMap<Key, HttpRoute>,
    /// Slices by Service.
    slices_of: BTreeMap<Key, BTreeSet<Key>>,
    /// Primary Ingresses and HTTPRoutes by host; the empty host is any host.
    ingresses_at: BTreeMap<String, BTreeSet<Key>>,
    http_routes_at: BTreeMap<String, BTreeSet<Key>>,
    canaries_at: BTreeMap<Location, BTreeSet<Key>>,
    /// Locations of primary Ingresses by Service: a canary splits its primary's Service wherever that is served.
    locations_of: BTreeMap<ServicePort, BTreeSet<(Location, Key)>>,
}

impl Index {
    /// Puts one object's new state, or its absence, into effect; false when nothing that we read has changed.
    pub(super) fn put(&mut self, kind: Kind, key: &Key, object: Option<&Value>) -> bool {
        match kind {
            Kind::Service => replace(&mut self.services, key, object.map(Service::parse)).is_some(),
            Kind::EndpointSlice => self.put_slice(key, object.and_then(Slice::parse)),
            Kind::Ingress => self.put_ingress(key, object.map(|object| Ingress::parse(key, object))),
            Kind::HttpRoute => self.put_http_route(key, object.map(|object| HttpRoute::parse(key, object))),
        }
    }

    /// The routes that may serve a host, the best first.
    pub(super) fn compile(&self, host: &str) -> Vec<Route> {
        let mut routes = Vec::new();
        for pattern in patterns(host) {
            let mut at_host = Vec::new();
            for key in self.ingresses_at.get(&pattern).into_iter().flatten() {
                let ingress = self.ingresses.get(key).into_iter();
                at_host.extend(ingress.flat_map(|ingress| self.ingress_routes(ingress, &pattern)));
            }
            for key in self.http_routes_at.get(&pattern).into_iter().flatten() {
                let rules = self
                    .http_routes
                    .get(key)
                    .into_iter()
                    .flat_map(|route| &route.rules);
                at_host.extend(rules.flat_map(|rule| self.rule_routes(rule)));
            }
            at_host.sort_by_key(|route| std::cmp::Reverse(route.precedence()));
            routes.append(&mut at_host);
        }
        routes
    }

    fn put_slice(&mut self, key: &Key, slice: Option<Slice>) -> bool {
        let service_key = |slice: &Slice| Key::new(&key.namespace, &slice.service);
        let added = slice.as_ref().map(service_key);
        let Some(old) = replace(&mut self.slices, key, slice) else {
            return false;
        };
        unlink(&mut self.slices_of, old.as_ref().map(service_key), key);
        link(&mut self.slices_of, added, key);
        true
    }

    fn put_ingress(&mut self, key: &Key, ingress: Option<Ingress>) -> bool {
        let Some(old) = replace(&mut self.ingresses, key, ingress.clone()) else {
            return false;
        };
        for (location, backend) in old.iter().flat_map(|old| &old.paths) {
            unlink(&mut self.ingresses_at, Some(location.host.clone()), key);
            unlink(&mut self.canaries_at, Some(location.clone()), key);
            unlink(
                &mut self.locations_of,
                Some(backend.clone()),
                &(location.clone(), key.clone()),
            );
        }
        for (location, backend) in ingress.iter().flat_map(|ingress| &ingress.paths) {
            if ingress.as_ref().is_some_and(|ingress| ingress.canary.is_some()) {
                link(&mut self.canaries_at, Some(location.clone()), key);
            } else {
                link(&mut self.ingresses_at, Some(location.host.clone()), key);
                link(
                    &mut self.locations_of,
                    Some(backend.clone()),
                    &(location.clone(), key.clone()),
                );
            }
        }
        true
    }

    fn put_http_route(&mut self, key: &Key, route: Option<HttpRoute>) -> bool {
        let hosts = |route: &HttpRoute| {
            if route.hosts.is_empty() {
                vec![String::new()]
            } else {
                route.hosts.clone()
            }
        };
        let added = route.as_ref().map(hosts).unwrap_or_default();
        let Some(old) = replace(&mut self.http_routes, key, route) else {
            return false;
        };
        for host in old.as_ref().map(hosts).unwrap_or_default() {
            unlink(&mut self.http_routes_at, Some(host), key);
        }
        for host in added {
            link(&mut self.http_routes_at, Some(host), key);
        }
        true
    }

    fn ingress_routes(&self, ingress: &Ingress, host: &str) -> Vec<Route> {
        let at_host = ingress.paths.iter().filter(|(location, _)| location.host == host);
        at_host
            .map(|(location, main)| Route::new(location.path_match(), None, self.ingress_backends(main)))
            .collect()
    }

    /// A canary without endpoints gives its share back to the main backend; one whose endpoints all terminate, and a
    /// main backend without endpoints, lose theirs.
    fn ingress_backends(&self, main: &ServicePort) -> Vec<Backend> {
        let main_pods = self.pods(&main.service, &main.port, true);
        let main_only = |pods| vec![Backend::new(main.service.clone(), 1, pods)];
        let Some((canary, split)) = self.canary_of(main) else {
            return main_only(main_pods);
        };
        let canary_pods = self.pods(&canary.service, &canary.port, true);
        if matches!(canary_pods, Err(LostReason::NoEndpoint | LostReason::NoService)) {
            return main_only(main_pods);
        }
        vec![
            Backend::new(main.service.clone(), split.total - split.weight, main_pods),
            Backend::new(canary.service.clone(), split.weight, canary_pods),
        ]
    }

    /// The canary of a primary Service: of several on one path only the first by name counts.
    fn canary_of(&self, main: &ServicePort) -> Option<(&ServicePort, CanaryWeight)> {
        let mut locations = self.locations_of.get(main)?.iter();
        locations.find_map(|(location, _)| {
            let ingress = self.ingresses.get(self.canaries_at.get(location)?.first()?)?;
            let (_, backend) = ingress.paths.iter().find(|(at, _)| at == location)?;
            Some((backend, ingress.canary?))
        })
    }

    fn rule_routes(&self, rule: &Rule) -> Vec<Route> {
        let backends = || {
            rule.backends.iter().map(|backend| {
                let pods = match backend.permitted {
                    true => self.pods(&backend.service, &backend.port, false),
                    false => Err(LostReason::NoService),
                };
                Backend::new(backend.service.clone(), backend.weight, pods)
            })
        };
        let one = |matched: &super::http_route::Match| {
            Route::new(matched.path.clone(), matched.method.clone(), backends().collect())
        };
        rule.matches.iter().map(one).collect()
    }

    fn pods(&self, service: &Key, port: &Port, absent_is_ready: bool) -> Result<Vec<Pod>, LostReason> {
        let slices = self
            .slices_of
            .get(service)
            .into_iter()
            .flatten()
            .filter_map(|key| self.slices.get(key));
        resolve(self.services.get(service), slices, port, absent_is_ready)
    }
}

/// The host patterns that cover a host, the most specific first: itself, `*.` and its parents, any.
fn patterns(host: &str) -> Vec<String> {
    let mut patterns = vec![host.to_owned()];
    let mut rest = host;
    while let Some((_, parent)) = rest.split_once('.') {
        patterns.push(format!("*.{parent}"));
        rest = parent;
    }
    patterns.push(String::new());
    patterns
}

/// Replaces an entry; the old one if that made a difference.
fn replace<V: PartialEq>(map: &mut BTreeMap<Key, V>, key: &Key, new: Option<V>) -> Option<Option<V>> {
    if map.get(key) == new.as_ref() {
        return None;
    }
    Some(match new {
        Some(new) => map.insert(key.clone(), new),
        None => map.remove(key),
    })
}

fn link<K: Ord, V: Ord + Clone>(index: &mut BTreeMap<K, BTreeSet<V>>, at: Option<K>, value: &V) {
    if let Some(at) = at {
        index.entry(at).or_default().insert(value.clone());
    }
}

fn unlink<K: Ord, V: Ord>(index: &mut BTreeMap<K, BTreeSet<V>>, at: Option<K>, value: &V) {
    let Some(at) = at else { return };
    if let Some(values) = index.get_mut(&at) {
        values.remove(value);
        if values.is_empty() {
            index.remove(&at);
        }
    }
}

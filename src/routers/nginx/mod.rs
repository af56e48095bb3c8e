//! Ingress in the nginx dialect: beside each stable Ingress stands a canary Ingress of ours, with the same hosts
//! and paths, whose annotations hold the weight. Understood by ingress-nginx, Traefik and others.
//!
//! The canary Ingress is made as soon as the Rollout routes traffic, at weight 0, so that what could refuse it
//! does so before there is a canary; it stays at weight 0 between releases. The stable Ingress is only read.
//! A canary Ingress is ours when the Rollout is its controller, by uid; any other is left alone.

mod annotation;
mod spec;
mod validate;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::share::Share;
use super::{ObservedRoutes, RouteKind, RouteTarget, RouteWrite, object};
use crate::api::names::{API_VERSION, ROLLOUT_LABEL};
use crate::api::patch::{PatchOp, pointer};
use crate::api::rollout::NginxRouting;

pub use annotation::refused_keys;
pub use spec::ports;
pub use validate::validate;

const NAME_BYTES_MAX: usize = 253;

/// `<rollout>-<ingress>-canary`; a name too long for the API server is cut and told apart by a hash.
pub fn canary_name(rollout: &str, ingress: &str) -> String {
    let name = format!("{rollout}-{ingress}-canary");
    if name.len() <= NAME_BYTES_MAX {
        return name;
    }
    let hash: String = Sha256::digest(&name)
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let end = format!("-{hash}-canary");
    let start: String = name
        .chars()
        .take(NAME_BYTES_MAX.saturating_sub(end.len()))
        .collect();
    format!("{}{end}", start.trim_end_matches(['-', '.']))
}

/// Every stable Ingress once, however often the spec names it.
pub fn names(nginx: &NginxRouting) -> BTreeSet<&str> {
    nginx.ingresses().collect()
}

pub fn render(target: &RouteTarget, nginx: &NginxRouting, observed: &ObservedRoutes) -> Vec<RouteWrite> {
    names(nginx)
        .into_iter()
        .filter_map(|name| {
            let stable = observed.ingresses.get(name)?.as_ref()?;
            render_one(target, nginx, observed, name, stable)
        })
        .collect()
}

/// What each pair of Ingresses says.
pub fn shares(target: &RouteTarget, nginx: &NginxRouting, observed: &ObservedRoutes) -> Vec<Share> {
    names(nginx)
        .into_iter()
        .flat_map(|name| {
            let canary_name = canary_name(target.rollout_name, name);
            match (observed.ingresses.get(name), observed.ingresses.get(&canary_name)) {
                (Some(None), _) => Vec::new(),
                (Some(Some(_)), Some(None)) => vec![Share::all_stable(target.max())],
                (Some(Some(stable)), Some(Some(canary))) => {
                    let mut shares = vec![canary_share(target, nginx, canary)];
                    // Where hosts, paths or class differ, a data plane splits nothing.
                    if !matches_stable(target, stable, canary) {
                        shares.push(Share::all_stable(target.max()));
                    }
                    shares
                }
                _ => vec![Share::unknown(target.max())],
            }
        })
        .collect()
}

/// What a canary Ingress gives, wherever its paths match.
pub fn canary_share(target: &RouteTarget, nginx: &NginxRouting, canary: &Value) -> Share {
    match annotation::weights(nginx, canary) {
        Some((canary, stable)) => Share::of(canary, stable, target.max()),
        None => Share::unknown(target.max()),
    }
}

fn render_one(
    target: &RouteTarget,
    nginx: &NginxRouting,
    observed: &ObservedRoutes,
    name: &str,
    stable: &Value,
) -> Option<RouteWrite> {
    let spec = spec::derive(target, stable)?;
    let name = canary_name(target.rollout_name, name);
    match observed.ingresses.get(&name)? {
        None => Some(create(target, nginx, name, stable, spec)),
        Some(canary) if object::is_of_rollout(canary, target.rollout_uid, target.rollout_name) => {
            let mut ops = object::change_metadata(
                canary,
                "labels",
                &[(ROLLOUT_LABEL.to_owned(), Some(target.rollout_name.to_owned()))].into(),
            );
            let wanted = annotation::wanted(target, nginx, stable);
            let annotations = annotation::changes(canary, &wanted);
            ops.extend(object::change_metadata(canary, "annotations", &annotations));
            ops.extend(change_spec(canary, spec));
            object::patch(RouteKind::Ingress, &name, canary, ops)
        }
        Some(_) => None,
    }
}

fn create(
    target: &RouteTarget,
    nginx: &NginxRouting,
    name: String,
    stable: &Value,
    spec: Map<String, Value>,
) -> RouteWrite {
    let kind = RouteKind::Ingress;
    let object = json!({
        "apiVersion": kind.api_version(),
        "kind": kind.kind(),
        "metadata": {
            "name": name,
            "namespace": target.namespace,
            "labels": {ROLLOUT_LABEL: target.rollout_name},
            "annotations": annotation::wanted(target, nginx, stable),
            "ownerReferences": [{
                "apiVersion": API_VERSION,
                "kind": "Rollout",
                "name": target.rollout_name,
                "uid": target.rollout_uid,
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "spec": spec,
    });
    RouteWrite::Create { kind, name, object }
}

fn change_spec(canary: &Value, wanted: Map<String, Value>) -> Vec<PatchOp> {
    let Some(spec) = canary.get("spec").and_then(Value::as_object) else {
        return vec![PatchOp::add("/spec", wanted)];
    };
    spec::FIELDS
        .iter()
        .flat_map(|field| PatchOp::change(&pointer(["spec", field]), spec.get(*field), wanted.get(*field)))
        .collect()
}

fn matches_stable(target: &RouteTarget, stable: &Value, canary: &Value) -> bool {
    let same_class =
        object::annotation(stable, annotation::CLASS) == object::annotation(canary, annotation::CLASS);
    same_class && spec::derive(target, stable).is_some_and(|spec| change_spec(canary, spec).is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_and_stays_distinct() {
        assert_eq!(canary_name("checkout", "web"), "checkout-web-canary");
        let (one, two) = (
            format!("{}.one", "i".repeat(240)),
            format!("{}.two", "i".repeat(240)),
        );
        let names = [canary_name("checkout", &one), canary_name("checkout", &two)];
        assert_ne!(names[0], names[1]);
        for name in names {
            assert!(name.len() <= 253 && object::is_name(&name), "{name}");
            assert!(
                name.starts_with("checkout-iii") && name.ends_with("-canary"),
                "{name}"
            );
        }
    }

    #[test]
    fn a_cut_does_not_end_in_a_dot() {
        for length in 220..245 {
            let name = canary_name(
                "checkout",
                &format!("{}.b-{}", "i".repeat(length), "c".repeat(30)),
            );
            assert!(name.len() <= 253 && object::is_name(&name), "{name}");
        }
    }
}

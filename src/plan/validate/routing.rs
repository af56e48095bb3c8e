//! Traffic routing: one router, its objects, and annotations that cannot reach further than the canary.

use std::collections::{BTreeMap, BTreeSet};

use super::canary::{CANARY, budget};
use super::valid::{Nginx, Router, Routing};
use super::violation::{Findings, InvalidReason};
use crate::api::duration::Duration;
use crate::api::rollout::{CanaryStrategy, GatewayApiRouting, NginxRouting, TrafficRouting};

const DEFAULT_SETTLE_SECONDS: i32 = 5;
/// Who may write a Rollout need not be allowed to write Ingresses: nothing beyond choosing the canary.
const ALLOWED_ANNOTATIONS: &[&str] = &[
    "canary-by-header",
    "canary-by-header-value",
    "canary-by-header-pattern",
    "canary-by-cookie",
];

/// `Some(None)` without traffic routing, `None` when it is not valid.
pub(super) fn build_routing(written: &CanaryStrategy, findings: &mut Findings) -> Option<Option<Routing>> {
    let Some(routing) = &written.traffic_routing else {
        return Some(None);
    };
    let router = build_router(routing, findings);
    let seconds = routing.settle_seconds.unwrap_or(DEFAULT_SETTLE_SECONDS);
    Some(Some(Routing {
        router: router?,
        canary_service: written.canary_service.clone()?,
        stable_service: written.stable_service.clone()?,
        settle: Duration::from_seconds(u32::try_from(seconds).unwrap_or_default()),
        dynamic_stable_scale: written.dynamic_stable_scale.unwrap_or_default(),
        min_pods: i64::from(written.min_pods_per_replica_set.unwrap_or(1)),
        max_surge: written.max_surge.as_ref().map(budget),
    }))
}

fn build_router(routing: &TrafficRouting, findings: &mut Findings) -> Option<Router> {
    let path = format!("{CANARY}.trafficRouting");
    match (&routing.nginx, &routing.gateway_api) {
        (Some(nginx), None) => build_nginx(nginx, &format!("{path}.nginx"), findings).map(Router::Nginx),
        (None, Some(gateway)) => Some(build_gateway(gateway, &format!("{path}.gatewayAPI"), findings)),
        (nginx, _) => {
            let inside = format!("{path}.");
            let explained = findings
                .violations
                .iter()
                .any(|found| found.path.starts_with(&inside));
            if nginx.is_some() || !explained {
                let message = "must have exactly one of nginx and gatewayAPI";
                findings
                    .about(InvalidReason::InvalidRouting)
                    .add(path, message, "choose one");
            }
            None
        }
    }
}

fn build_gateway(written: &GatewayApiRouting, path: &str, findings: &mut Findings) -> Router {
    let http_routes: Vec<String> = written
        .http_routes
        .iter()
        .map(|route| route.name.clone())
        .collect();
    refuse_twins(&http_routes, &format!("{path}.httpRoutes"), findings);
    Router::GatewayApi { http_routes }
}

fn build_nginx(written: &NginxRouting, path: &str, findings: &mut Findings) -> Option<Nginx> {
    let stable_ingresses: Vec<String> = written.ingresses().map(str::to_owned).collect();
    if written.stable_ingress.is_some() != written.stable_ingresses.is_empty() {
        let message = "must have exactly one of stableIngress and stableIngresses";
        findings
            .about(InvalidReason::InvalidRouting)
            .add(path, message, "name the Ingresses in one of them");
        return None;
    }
    refuse_twins(&stable_ingresses, &format!("{path}.stableIngresses"), findings);
    let prefix = written.prefix();
    let mut annotations = BTreeMap::new();
    for (key, value) in &written.additional_ingress_annotations {
        let full = format!("{prefix}/{key}");
        check_annotation(
            &full,
            prefix,
            &format!("{path}.additionalIngressAnnotations"),
            findings,
        );
        annotations.insert(full, value.clone());
    }
    for (key, value) in &written.canary_ingress_annotations {
        check_annotation(key, prefix, &format!("{path}.canaryIngressAnnotations"), findings);
        annotations.insert(key.clone(), value.clone());
    }
    Some(Nginx {
        stable_ingresses,
        annotation_prefix: prefix.to_owned(),
        annotations,
    })
}

fn check_annotation(key: &str, prefix: &str, path: &str, findings: &mut Findings) {
    let name = key.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/'));
    findings.about(InvalidReason::AnnotationNotAllowed).require(
        name.is_some_and(|name| ALLOWED_ANNOTATIONS.contains(&name)),
        path,
        format!("{key} is not allowed"),
        "only canary-by-header, canary-by-header-value, canary-by-header-pattern and canary-by-cookie are",
    );
}

fn refuse_twins(names: &[String], path: &str, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (index, name) in names.iter().enumerate() {
        findings.about(InvalidReason::InvalidRouting).require(
            seen.insert(name),
            format!("{path}[{index}]"),
            format!("{name} is named twice"),
            "remove one",
        );
    }
}

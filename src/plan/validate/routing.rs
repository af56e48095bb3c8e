//! Traffic routing: one router, its objects, and annotations that cannot reach further than the canary.

use std::collections::BTreeSet;

use super::canary::{CANARY, budget};
use super::valid::Routing;
use super::violation::{Findings, InvalidReason};
use crate::api::address::check_written;
use crate::api::data_plane::{DataPlane, MeasuredShare};
use crate::api::rollout::{CanaryStrategy, NginxRouting, TrafficRouting};
use crate::api::rollout_status::RoutingInUse;
use crate::plan::template::check_query;
use crate::routers::refused_annotations;

/// `Some(None)` without traffic routing, `None` when it is not valid.
pub(super) fn build_routing(written: &CanaryStrategy, findings: &mut Findings) -> Option<Option<Routing>> {
    let Some(routing) = &written.traffic_routing else {
        return Some(None);
    };
    check_router(routing, findings);
    if let Some(data_plane) = &routing.data_plane {
        check_data_plane(data_plane, findings);
    }
    Some(Some(Routing {
        wanted: RoutingInUse {
            traffic_routing: routing.clone(),
            canary_service: written.canary_service.clone()?,
            stable_service: written.stable_service.clone()?,
        },
        dynamic_stable_scale: written.dynamic_stable_scale.unwrap_or_default(),
        min_pods: i64::from(written.min_pods_per_replica_set.unwrap_or(1)),
        max_surge: written.max_surge.as_ref().map(budget),
    }))
}

fn check_router(routing: &TrafficRouting, findings: &mut Findings) {
    let path = format!("{CANARY}.trafficRouting");
    match (&routing.nginx, &routing.gateway_api) {
        (Some(nginx), None) => check_nginx(nginx, &format!("{path}.nginx"), findings),
        (None, Some(gateway)) => {
            let names = gateway.http_routes.iter().map(|route| route.name.as_str());
            refuse_twins(names, &format!("{path}.gatewayAPI.httpRoutes"), findings);
        }
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
        }
    }
}

fn check_data_plane(written: &DataPlane, findings: &mut Findings) {
    let path = format!("{CANARY}.trafficRouting.dataPlane");
    match (&written.traefik, &written.prometheus) {
        (Some(traefik), None) => {
            check_data_plane_address(&traefik.url, &format!("{path}.traefik.url"), findings)
        }
        (None, Some(measured)) => check_measured(measured, &format!("{path}.prometheus"), findings),
        _ => findings.about(InvalidReason::InvalidRouting).add(
            path,
            "must have exactly one of traefik and prometheus",
            "keep the one that knows",
        ),
    }
}

fn check_measured(written: &MeasuredShare, path: &str, findings: &mut Findings) {
    if let Some(address) = &written.address {
        check_data_plane_address(address, &format!("{path}.address"), findings);
    }
    for (field, query) in [("query", &written.query), ("requests", &written.requests)] {
        if let Err(error) = check_query(query) {
            let fix = "write a PromQL expression that gives one number";
            findings.about(InvalidReason::InvalidRouting).add(
                format!("{path}.{field}"),
                error.to_string(),
                fix,
            );
        }
    }
}

fn check_data_plane_address(text: &str, path: &str, findings: &mut Findings) {
    if let Err(error) = check_written(text) {
        findings.about(InvalidReason::AddressNotAllowed).add(
            path,
            error.to_string(),
            "name the data plane's own address",
        );
    }
}

fn check_nginx(written: &NginxRouting, path: &str, findings: &mut Findings) {
    if written.stable_ingress.is_some() != written.stable_ingresses.is_empty() {
        let message = "must have exactly one of stableIngress and stableIngresses";
        findings
            .about(InvalidReason::InvalidRouting)
            .add(path, message, "name the Ingresses in one of them");
        return;
    }
    refuse_twins(written.ingresses(), &format!("{path}.stableIngresses"), findings);
    for (field, problem, fix) in refused_annotations(written) {
        findings
            .about(InvalidReason::AnnotationNotAllowed)
            .add(format!("{path}.{field}"), problem, &fix);
    }
}

fn refuse_twins<'a>(names: impl Iterator<Item = &'a str>, path: &str, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (index, name) in names.enumerate() {
        findings.about(InvalidReason::InvalidRouting).require(
            seen.insert(name),
            format!("{path}[{index}]"),
            format!("{name} is named twice"),
            "remove one",
        );
    }
}

//! The canary strategy: steps, budgets, and what needs what.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::analysis::{build_analysis, build_background, build_bake};
use super::routing::build_routing;
use super::valid::{Budget, Canary, CanaryScale, Step, Threshold};
use super::violation::{Findings, InvalidReason};
use crate::api::duration::Duration;
use crate::api::names::Weight;
use crate::api::rollout::{
    CanaryStep, CanaryStrategy, ReplicaProgressThreshold, SetCanaryScale, ThresholdType,
};

pub(super) const CANARY: &str = "spec.strategy.canary";
const DEFAULT_MAX_WEIGHT: i32 = 100;
const DEFAULT_DELAY_SECONDS: i32 = 30;

pub(super) fn build_canary(
    mut written: CanaryStrategy,
    raw_steps: Vec<Value>,
    findings: &mut Findings,
) -> Option<Canary> {
    let routed = written.traffic_routing.is_some();
    check_services(&written, findings);
    check_needs(&written, findings);
    let (max_surge, max_unavailable) = budgets(&written, findings);
    let max_weight = written
        .traffic_routing
        .as_ref()
        .and_then(|routing| routing.max_traffic_weight);
    let max_weight = Weight(i64::from(max_weight.unwrap_or(DEFAULT_MAX_WEIGHT)));
    let count = written.steps.len();
    let written_steps = std::mem::take(&mut written.steps);
    let steps: Vec<Option<Step>> = written_steps
        .into_iter()
        .enumerate()
        .map(|(index, step)| {
            build_step(
                step,
                &format!("{CANARY}.steps[{index}]"),
                max_weight,
                routed,
                findings,
            )
        })
        .collect();
    let analysis = written
        .analysis
        .take()
        .map(|analysis| build_background(analysis, count, findings));
    let bake = written.bake.take().map(|bake| build_bake(bake, findings));
    let threshold = written
        .replica_progress_threshold
        .as_ref()
        .map(|threshold| build_threshold(threshold, findings));
    let routing = build_routing(&written, findings);
    Some(Canary {
        routing: routing?,
        max_weight,
        steps: steps.into_iter().collect::<Option<Vec<Step>>>()?,
        raw_steps,
        analysis,
        bake,
        max_surge,
        max_unavailable,
        scale_down_delay: delay(written.scale_down_delay_seconds),
        abort_scale_down_delay: Some(delay(written.abort_scale_down_delay_seconds))
            .filter(|delay| !delay.is_zero()),
        replica_progress_threshold: threshold,
        canary_service: written.canary_service,
        stable_service: written.stable_service,
    })
}

fn delay(seconds: Option<i32>) -> Duration {
    Duration::from_seconds(u32::try_from(seconds.unwrap_or(DEFAULT_DELAY_SECONDS)).unwrap_or_default())
}

fn check_services(written: &CanaryStrategy, findings: &mut Findings) {
    let (canary, stable) = (&written.canary_service, &written.stable_service);
    findings.about(InvalidReason::InvalidServices).require(
        canary.is_none() || canary != stable,
        format!("{CANARY}.canaryService"),
        "is the same as stableService",
        "make a second Service",
    );
    findings.require(
        written.traffic_routing.is_none() || (canary.is_some() && stable.is_some()),
        format!("{CANARY}.trafficRouting"),
        "needs canaryService and stableService",
        "name both Services",
    );
}

/// Fields that mean something only beside another.
fn check_needs(written: &CanaryStrategy, findings: &mut Findings) {
    let dynamic = written.dynamic_stable_scale.unwrap_or_default();
    let needs = "needs trafficRouting";
    findings.about(InvalidReason::InvalidScale);
    if written.traffic_routing.is_none() {
        findings.require(
            !dynamic,
            format!("{CANARY}.dynamicStableScale"),
            needs,
            "remove it",
        );
        let min_pods = written.min_pods_per_replica_set;
        findings.require(
            min_pods.is_none(),
            format!("{CANARY}.minPodsPerReplicaSet"),
            needs,
            "remove it",
        );
    }
    check_bake(written, findings);
    findings.require(
        !dynamic || written.scale_down_delay_seconds.is_none(),
        format!("{CANARY}.scaleDownDelaySeconds"),
        "has no meaning with dynamicStableScale",
        "remove one of them",
    );
}

/// A bake is for going straight back, to pods that are still there.
fn check_bake(written: &CanaryStrategy, findings: &mut Findings) {
    let baked = written.bake.is_some();
    let dynamic = written.dynamic_stable_scale.unwrap_or_default();
    findings.about(InvalidReason::InvalidScale).require(
        !baked || written.traffic_routing.is_some(),
        format!("{CANARY}.bake"),
        "needs trafficRouting: without it the old pods are gone by then",
        "remove it",
    );
    findings.require(
        !baked || !dynamic,
        format!("{CANARY}.bake"),
        "needs the old pods, which dynamicStableScale has given up by then",
        "remove one of them",
    );
}

fn budgets(written: &CanaryStrategy, findings: &mut Findings) -> (Budget, Budget) {
    let max_surge = written.max_surge.as_ref().map_or(Budget::DEFAULT, budget);
    let max_unavailable = written.max_unavailable.as_ref().map_or(Budget::DEFAULT, budget);
    findings.about(InvalidReason::InvalidScale).require(
        !max_surge.is_zero() || !max_unavailable.is_zero(),
        format!("{CANARY}.maxUnavailable"),
        "must not be 0 when maxSurge is 0: no pod could ever be replaced",
        "raise one of them",
    );
    (max_surge, max_unavailable)
}

/// The schema has refused what is neither; 0 is then the careful reading.
pub(super) fn budget(written: &IntOrString) -> Budget {
    match written {
        IntOrString::Int(pods) => Budget::Pods(i64::from(*pods)),
        IntOrString::String(text) => Budget::Percent(
            text.strip_suffix('%')
                .and_then(|percent| percent.parse().ok())
                .unwrap_or_default(),
        ),
    }
}

fn build_threshold(written: &ReplicaProgressThreshold, findings: &mut Findings) -> Threshold {
    let value = i64::from(written.value);
    match written.type_ {
        ThresholdType::Pods => Threshold::Pods(value),
        ThresholdType::Percent => {
            let path = format!("{CANARY}.replicaProgressThreshold.value");
            let message = format!("{value} is more than 100 percent");
            findings.about(InvalidReason::InvalidScale).require(
                value <= 100,
                path,
                message,
                "write at most 100",
            );
            Threshold::Percent(value)
        }
    }
}

fn build_step(
    written: CanaryStep,
    path: &str,
    max_weight: Weight,
    routed: bool,
    findings: &mut Findings,
) -> Option<Step> {
    match written {
        CanaryStep {
            set_weight: Some(weight),
            pause: None,
            set_canary_scale: None,
            analysis: None,
        } => {
            let path = format!("{path}.setWeight");
            Some(Step::SetWeight(build_weight(weight, path, max_weight, findings)))
        }
        CanaryStep {
            set_weight: None,
            pause: Some(pause),
            set_canary_scale: None,
            analysis: None,
        } => Some(Step::Pause(pause.duration)),
        CanaryStep {
            set_weight: None,
            pause: None,
            set_canary_scale: Some(scale),
            analysis: None,
        } => {
            let path = format!("{path}.setCanaryScale");
            findings.about(InvalidReason::InvalidStep).require(
                routed,
                path.as_str(),
                "needs trafficRouting",
                "use setWeight",
            );
            build_scale(&scale, &path, max_weight, findings).map(Step::SetCanaryScale)
        }
        CanaryStep {
            set_weight: None,
            pause: None,
            set_canary_scale: None,
            analysis: Some(analysis),
        } => Some(Step::Analysis(build_analysis(
            analysis,
            &format!("{path}.analysis"),
            findings,
        ))),
        several_or_none => {
            refuse_step(&several_or_none, path, findings);
            None
        }
    }
}

fn refuse_step(step: &CanaryStep, path: &str, findings: &mut Findings) {
    let is_empty = *step == CanaryStep::default();
    let inside = format!("{path}.");
    let explained = findings
        .violations
        .iter()
        .any(|found| found.path.starts_with(&inside));
    // A step that is empty to us because its action is unsupported or misspelt has been refused by that name.
    if !(is_empty && explained) {
        findings.about(InvalidReason::InvalidStep).add(
            path,
            "must have exactly one of setWeight, pause, setCanaryScale and analysis",
            if is_empty {
                "add one"
            } else {
                "make a step of each"
            },
        );
    }
}

fn build_weight(written: i32, path: String, max_weight: Weight, findings: &mut Findings) -> Weight {
    let weight = Weight(i64::from(written));
    findings.about(InvalidReason::InvalidStep).require(
        weight <= max_weight,
        path,
        format!("{weight} is more than maxTrafficWeight ({max_weight})"),
        "lower it, or raise trafficRouting.maxTrafficWeight",
    );
    weight
}

fn build_scale(
    written: &SetCanaryScale,
    path: &str,
    max_weight: Weight,
    findings: &mut Findings,
) -> Option<CanaryScale> {
    match (
        written.weight,
        written.replicas,
        written.match_traffic_weight.unwrap_or_default(),
    ) {
        (Some(weight), None, false) => {
            let path = format!("{path}.weight");
            Some(CanaryScale::Weight(build_weight(
                weight, path, max_weight, findings,
            )))
        }
        (None, Some(replicas), false) => Some(CanaryScale::Replicas(i64::from(replicas))),
        (None, None, true) => Some(CanaryScale::MatchTrafficWeight),
        _ => {
            let message = "must have exactly one of weight, replicas and matchTrafficWeight: true";
            findings
                .about(InvalidReason::InvalidStep)
                .add(path, message, "make a step of each");
            None
        }
    }
}

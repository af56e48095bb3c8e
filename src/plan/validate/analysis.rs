//! Analyses of a Rollout: arguments with exactly one source each.

use std::collections::BTreeSet;

use super::canary::CANARY;
use super::valid::{BackgroundAnalysis, Bake};
use super::violation::{Findings, InvalidReason};
use crate::api::names::StepIndex;
use crate::api::rollout::{self, AnalysisArg, AnalysisStep};

pub(super) fn build_background(
    written: rollout::BackgroundAnalysis,
    steps: usize,
    findings: &mut Findings,
) -> BackgroundAnalysis {
    let path = format!("{CANARY}.analysis");
    let starting_step = StepIndex(written.starting_step.unwrap_or_default());
    let analysis = build_analysis(written.analysis, &path, findings);
    findings.about(InvalidReason::InvalidAnalysis).require(
        starting_step.as_usize() <= steps,
        format!("{path}.startingStep"),
        format!("{starting_step} is behind the last step; there are {steps} steps"),
        "lower it",
    );
    BackgroundAnalysis {
        analysis,
        starting_step,
    }
}

pub(super) fn build_bake(written: rollout::Bake, findings: &mut Findings) -> Bake {
    let path = format!("{CANARY}.bake.analysis");
    Bake {
        duration: written.duration,
        analysis: written
            .analysis
            .map(|analysis| build_analysis(analysis, &path, findings)),
    }
}

/// The analysis as written, once its arguments are known to make sense.
pub(super) fn build_analysis(written: AnalysisStep, path: &str, findings: &mut Findings) -> AnalysisStep {
    let mut names = BTreeSet::new();
    for (index, arg) in written.args.iter().enumerate() {
        let path = format!("{path}.args[{index}]");
        findings.about(InvalidReason::InvalidAnalysis).require(
            names.insert(&arg.name),
            format!("{path}.name"),
            format!("{} is given twice", arg.name),
            "remove one",
        );
        check_arg(arg, &path, findings);
    }
    written
}

fn check_arg(arg: &AnalysisArg, path: &str, findings: &mut Findings) {
    let from = arg.value_from.clone().unwrap_or_default();
    match (&arg.value, from.pod_template_hash_value, from.field_ref) {
        (Some(_), None, None) | (None, Some(_), None) => {}
        (None, None, Some(field)) => {
            check_field(
                &field.field_path,
                &format!("{path}.valueFrom.fieldRef.fieldPath"),
                findings,
            );
        }
        _ => {
            let message =
                "must have exactly one of value, valueFrom.podTemplateHashValue and valueFrom.fieldRef";
            findings.about(InvalidReason::InvalidAnalysis).add(
                path,
                message,
                "write for example value: checkout",
            );
        }
    }
}

fn check_field(written: &str, path: &str, findings: &mut Findings) {
    let keyed = |list: &str| {
        let key = written
            .strip_prefix(list)
            .and_then(|rest| rest.strip_prefix("['")?.strip_suffix("']"));
        key.is_some_and(|key| !key.is_empty())
    };
    let plain = matches!(written, "metadata.name" | "metadata.namespace");
    findings.about(InvalidReason::InvalidAnalysis).require(
        plain || keyed("metadata.labels") || keyed("metadata.annotations"),
        path,
        format!("{written:?} is not a field of the Rollout's metadata"),
        "write metadata.name, metadata.namespace, metadata.labels['x'] or metadata.annotations['x']",
    );
}

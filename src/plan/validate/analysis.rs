//! Analyses of a Rollout: arguments with exactly one source each.

use std::collections::BTreeSet;

use super::canary::CANARY;
use super::valid::{Analysis, Arg, ArgSource, BackgroundAnalysis, Bake, MetadataField};
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

pub(super) fn build_analysis(written: AnalysisStep, path: &str, findings: &mut Findings) -> Analysis {
    let mut names = BTreeSet::new();
    let mut args = Vec::new();
    for (index, arg) in written.args.into_iter().enumerate() {
        let path = format!("{path}.args[{index}]");
        findings.about(InvalidReason::InvalidAnalysis).require(
            names.insert(arg.name.clone()),
            format!("{path}.name"),
            format!("{} is given twice", arg.name),
            "remove one",
        );
        args.extend(build_arg(arg, &path, findings));
    }
    Analysis {
        templates: written.templates,
        args,
        dry_run: written
            .dry_run
            .into_iter()
            .map(|dry_run| dry_run.metric_name)
            .collect(),
        on_inconclusive: written.on_inconclusive.unwrap_or_default(),
    }
}

fn build_arg(written: AnalysisArg, path: &str, findings: &mut Findings) -> Option<Arg> {
    let from = written.value_from.unwrap_or_default();
    let source = match (written.value, from.pod_template_hash_value, from.field_ref) {
        (Some(value), None, None) => Some(ArgSource::Value(value)),
        (None, Some(hash), None) => Some(ArgSource::PodTemplateHash(hash)),
        (None, None, Some(field)) => {
            let path = format!("{path}.valueFrom.fieldRef.fieldPath");
            metadata_field(&field.field_path, &path, findings).map(ArgSource::Field)
        }
        _ => {
            let message =
                "must have exactly one of value, valueFrom.podTemplateHashValue and valueFrom.fieldRef";
            findings.about(InvalidReason::InvalidAnalysis).add(
                path,
                message,
                "write for example value: checkout",
            );
            None
        }
    };
    source.map(|source| Arg {
        name: written.name,
        source,
    })
}

fn metadata_field(written: &str, path: &str, findings: &mut Findings) -> Option<MetadataField> {
    let keyed = |list: &str| {
        let rest = written.strip_prefix(list)?;
        let key = rest.strip_prefix("['")?.strip_suffix("']")?;
        (!key.is_empty()).then(|| key.to_owned())
    };
    let field = match written {
        "metadata.name" => Some(MetadataField::Name),
        "metadata.namespace" => Some(MetadataField::Namespace),
        "metadata.uid" => Some(MetadataField::Uid),
        _ => keyed("metadata.labels")
            .map(MetadataField::Label)
            .or_else(|| keyed("metadata.annotations").map(MetadataField::Annotation)),
    };
    if field.is_none() {
        findings.about(InvalidReason::InvalidAnalysis).add(
            path,
            format!("{written:?} is not a field of the Rollout's metadata"),
            "write metadata.name, metadata.namespace, metadata.uid, metadata.labels['x'] or metadata.annotations['x']",
        );
    }
    field
}

//! AnalysisTemplates: names, limits and intervals. What conditions and queries say is judged elsewhere.

use std::collections::BTreeSet;

use serde_json::Value;

use super::shape;
use super::violation::{Findings, InvalidReason, Violation};
use crate::api::analysis_template::{AnalysisTemplateSpec, Metric};
use crate::plan::analysis::Limits;

/// Judges an AnalysisTemplate or ClusterAnalysisTemplate; `raw` is the whole object.
pub fn validate_template(raw: &Value) -> Result<AnalysisTemplateSpec, Vec<Violation>> {
    let mut findings = Findings::new();
    let spec = shape::check("AnalysisTemplate", raw, &mut findings);
    match serde_json::from_value::<AnalysisTemplateSpec>(spec) {
        Ok(spec) => {
            check_template(&spec, &mut findings);
            if findings.violations.is_empty() {
                Ok(spec)
            } else {
                Err(findings.violations)
            }
        }
        Err(error) => {
            if findings.violations.is_empty() {
                findings
                    .about(InvalidReason::InvalidField)
                    .add("spec", error.to_string(), "");
            }
            Err(findings.violations)
        }
    }
}

fn check_template(spec: &AnalysisTemplateSpec, findings: &mut Findings) {
    findings.about(InvalidReason::InvalidMetric).require(
        !spec.metrics.is_empty() || !spec.templates.is_empty(),
        "spec.metrics",
        "is missing: a template without metrics or templates judges nothing",
        "add a metric",
    );
    let mut names = BTreeSet::new();
    for (index, metric) in spec.metrics.iter().enumerate() {
        let path = format!("spec.metrics[{index}]");
        let message = format!("{} is the name of an earlier metric too", metric.name);
        findings.require(
            names.insert(&metric.name),
            format!("{path}.name"),
            message,
            "rename one of them",
        );
        check_conditions(metric, &path, findings);
        check_thresholds(metric, &path, findings);
        check_limits(metric, &path, findings);
        check_provider(metric, &path, findings);
    }
}

fn check_conditions(metric: &Metric, path: &str, findings: &mut Findings) {
    let (success, failure) = (
        metric.success_condition.is_some(),
        metric.failure_condition.is_some(),
    );
    findings.require(
        success || failure,
        path,
        "needs successCondition or failureCondition: without one nothing could fail",
        "write for example successCondition: result[0] < 0.01",
    );
    findings.require(
        success || !failure || metric.no_data.is_some(),
        format!("{path}.noData"),
        "must be set when there is only a failureCondition",
        "say what a measurement without data means: wait, inconclusive, success or fail",
    );
}

/// Thresholds that no measurement is ever above, below or equal to.
fn check_thresholds(metric: &Metric, path: &str, findings: &mut Findings) {
    let conditions = [
        ("successCondition", &metric.success_condition),
        ("failureCondition", &metric.failure_condition),
    ];
    for (field, condition) in conditions {
        let is_part_of_a_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let mut words = condition
            .iter()
            .flat_map(|text| text.split(|letter| !is_part_of_a_word(letter)));
        findings.require(
            !words.any(|word| ["NaN", "Inf", "Infinity"].contains(&word)),
            format!("{path}.{field}"),
            "may not compare with NaN or Inf, which nothing ever equals",
            "write a number, isNaN(result[0]) or isInf(result[0])",
        );
    }
}

/// By what the controller itself counts with. What the schema has said of a field already is not said again.
fn check_limits(metric: &Metric, path: &str, findings: &mut Findings) {
    let Err(error) = Limits::check_before_args(metric) else {
        return;
    };
    let field = format!("{path}.{}", error.field());
    if findings.violations.iter().all(|found| found.path != field) {
        findings.add(field, error.to_string(), "");
    }
}

fn check_provider(metric: &Metric, path: &str, findings: &mut Findings) {
    let inside = format!("{path}.provider.");
    let explained = findings
        .violations
        .iter()
        .any(|found| found.path.starts_with(&inside));
    let provider = metric.provider.prometheus.as_ref();
    findings.require(
        provider.is_some() || explained,
        format!("{path}.provider"),
        "has no provider",
        "write prometheus",
    );
    findings.require(
        metric.min_samples.is_none() || provider.is_none_or(|provider| provider.samples_query.is_some()),
        format!("{path}.minSamples"),
        "needs provider.prometheus.samplesQuery, which counts the requests",
        "write the query",
    );
    findings.require(
        metric.min_samples.is_some() || provider.is_none_or(|provider| provider.samples_query.is_none()),
        format!("{path}.minSamples"),
        "is missing: without it nothing is compared with what samplesQuery counts",
        "say how many requests are enough, or remove samplesQuery",
    );
}

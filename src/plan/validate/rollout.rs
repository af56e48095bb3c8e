//! The Rollout as a whole: name, size, selector, deadlines; then its strategy.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use serde_json::Value;

use super::alert::check_abort_on;
use super::canary::build_canary;
use super::shape;
use super::valid::{Step, ValidRollout};
use super::violation::{Findings, InvalidReason, Violation, Warning};
use crate::api::duration::Duration;
use crate::api::rollout::RolloutSpec;

/// Names of ReplicaSets and pods append a hash and more, and labels hold at most 63 characters.
const MAX_NAME: usize = 52;
const MAX_SPEC_BYTES: usize = 256 * 1024;
const DEFAULT_DEADLINE_SECONDS: i32 = 600;
const DEFAULT_REVISIONS: usize = 10;
const DEFAULT_RUNS: usize = 5;

/// Judges a whole Rollout as the API server returns it: every violation, not only the first.
pub fn validate_rollout(raw: &Value) -> Result<ValidRollout, Vec<Violation>> {
    let mut findings = Findings::new();
    let spec = shape::check("Rollout", raw, &mut findings);
    check_name(raw, &mut findings);
    check_size(&spec, &mut findings);
    let raw_steps = spec
        .pointer("/strategy/canary/steps")
        .and_then(Value::as_array)
        .cloned();
    let valid = match serde_json::from_value::<RolloutSpec>(spec) {
        Ok(spec) => build(raw, spec, raw_steps.unwrap_or_default(), &mut findings),
        Err(error) => {
            // The schema has named the field already, but for what only a type knows.
            if findings.violations.is_empty() {
                findings
                    .about(InvalidReason::InvalidField)
                    .add("spec", error.to_string(), "");
            }
            None
        }
    };
    match valid {
        Some(valid) if findings.violations.is_empty() => Ok(valid),
        _ => Err(findings.violations),
    }
}

/// Accepted, but hardly meant.
pub fn warn_rollout(rollout: &ValidRollout) -> Vec<Warning> {
    let steps = "spec.strategy.canary.steps";
    let mut warnings = Vec::new();
    let mut last = None;
    for (index, step) in rollout.canary.steps.iter().enumerate() {
        let Step::SetWeight(weight) = step else { continue };
        if let Some(before) = last.filter(|before| before > weight) {
            warnings.push(Warning {
                path: format!("{steps}[{index}].setWeight"),
                message: format!("{weight} is less than {before} of an earlier step: the weight goes down"),
            });
        }
        last = Some(*weight);
    }
    if rollout.canary.steps.is_empty() {
        let message = "there are no steps: a new version replaces the stable one unjudged".to_owned();
        warnings.push(Warning {
            path: steps.to_owned(),
            message,
        });
    }
    warnings
}

fn text<'a>(raw: &'a Value, pointer: &str) -> &'a str {
    raw.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn check_name(raw: &Value, findings: &mut Findings) {
    let length = text(raw, "/metadata/name").chars().count();
    findings.about(InvalidReason::NameTooLong).require(
        length <= MAX_NAME,
        "metadata.name",
        format!(
            "has {length} characters, at most {MAX_NAME} leave room for the names of ReplicaSets and pods"
        ),
        "choose a shorter name",
    );
}

fn check_size(spec: &Value, findings: &mut Findings) {
    let size = spec.to_string().len();
    findings.about(InvalidReason::SpecTooLarge).require(
        size <= MAX_SPEC_BYTES,
        "spec",
        format!("has {size} bytes, at most {MAX_SPEC_BYTES} are allowed"),
        "move data of the pod template into a ConfigMap",
    );
}

fn build(
    raw: &Value,
    spec: RolloutSpec,
    raw_steps: Vec<Value>,
    findings: &mut Findings,
) -> Option<ValidRollout> {
    check_selector(&spec.selector, &spec.template, findings);
    check_abort_on(spec.abort_on.as_ref(), findings);
    let progress_deadline = deadline(&spec, findings);
    let canary = match spec.strategy.canary {
        Some(canary) => build_canary(canary, raw_steps, findings),
        None => {
            require_strategy(raw, findings);
            None
        }
    };
    let history = spec.analysis.unwrap_or_default();
    Some(ValidRollout {
        namespace: text(raw, "/metadata/namespace").to_owned(),
        name: text(raw, "/metadata/name").to_owned(),
        uid: text(raw, "/metadata/uid").to_owned(),
        generation: raw
            .pointer("/metadata/generation")
            .and_then(Value::as_i64)
            .unwrap_or_default(),
        replicas: spec.replicas.map(i64::from),
        selector: spec.selector,
        template: spec.template,
        min_ready_seconds: spec.min_ready_seconds.unwrap_or_default(),
        revision_history_limit: size_or(spec.revision_history_limit, DEFAULT_REVISIONS),
        progress_deadline,
        progress_deadline_abort: spec.progress_deadline_abort.unwrap_or_default(),
        drain_seconds: spec.drain_seconds.map(i64::from).filter(|seconds| *seconds > 0),
        paused: spec.paused.unwrap_or_default(),
        rollback_window: spec
            .rollback_window
            .and_then(|window| window.revisions)
            .map(|revisions| size_or(Some(revisions), 0)),
        successful_run_history_limit: size_or(history.successful_run_history_limit, DEFAULT_RUNS),
        unsuccessful_run_history_limit: size_or(history.unsuccessful_run_history_limit, DEFAULT_RUNS),
        canary: canary?,
    })
}

fn require_strategy(raw: &Value, findings: &mut Findings) {
    // Blue-green is refused as unsupported; that a canary is missing then says nothing new.
    let has_other = raw
        .pointer("/spec/strategy/blueGreen")
        .is_some_and(|other| !other.is_null());
    findings.about(InvalidReason::RequiredField).require(
        has_other,
        "spec.strategy.canary",
        "is missing",
        "write canary: {} for a plain rolling release",
    );
}

fn size_or(written: Option<i32>, default: usize) -> usize {
    written
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(default)
}

fn deadline(spec: &RolloutSpec, findings: &mut Findings) -> Option<Duration> {
    let ready = spec.min_ready_seconds.unwrap_or_default();
    let deadline = spec.progress_deadline_seconds.unwrap_or(DEFAULT_DEADLINE_SECONDS);
    findings.about(InvalidReason::InvalidDeadline).require(
        ready < deadline,
        "spec.minReadySeconds",
        format!("{ready} is not less than progressDeadlineSeconds ({deadline}): every release would miss its deadline"),
        "raise progressDeadlineSeconds",
    );
    let seconds = u32::try_from(deadline).ok().filter(|_| deadline != i32::MAX);
    seconds.map(Duration::from_seconds)
}

fn check_selector(selector: &LabelSelector, template: &Value, findings: &mut Findings) {
    findings.about(InvalidReason::InvalidSelector);
    let wanted = selector.match_labels.clone().unwrap_or_default();
    let expressions = selector.match_expressions.as_deref().unwrap_or_default();
    findings.require(
        !wanted.is_empty() || !expressions.is_empty(),
        "spec.selector",
        "is empty",
        "name labels of the template in matchLabels",
    );
    let labels = template_labels(template);
    for (key, value) in &wanted {
        findings.require(
            labels.get(key.as_str()) == Some(&value.as_str()),
            "spec.selector.matchLabels",
            format!("{key}={value} is not among spec.template.metadata.labels"),
            "add the label to the template",
        );
    }
    for (index, expression) in expressions.iter().enumerate() {
        findings.require(
            selects(expression, labels.get(expression.key.as_str()).copied()),
            format!("spec.selector.matchExpressions[{index}]"),
            "does not select the pods of spec.template",
            "change the labels of the template",
        );
    }
}

fn template_labels(template: &Value) -> BTreeMap<&str, &str> {
    let labels = template.pointer("/metadata/labels").and_then(Value::as_object);
    let texts = labels.into_iter().flatten();
    texts
        .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
        .collect()
}

fn selects(expression: &LabelSelectorRequirement, label: Option<&str>) -> bool {
    let values = expression.values.as_deref().unwrap_or_default();
    let is_listed = label.is_some_and(|label| values.iter().any(|value| value == label));
    match expression.operator.as_str() {
        "In" => is_listed,
        "NotIn" => !is_listed,
        "Exists" => label.is_some(),
        "DoesNotExist" => label.is_none(),
        _ => false,
    }
}

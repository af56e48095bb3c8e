//! From templates and arguments to the spec of an AnalysisRun.
//!
//! The spec that comes out is complete: nested templates are flattened, every argument is in its place, every
//! query parses, every condition and limit makes sense. What later happens to a template changes nothing
//! about the run.
//!
//! Guarantees. Text given by whoever edits a Rollout cannot change what a query asks: `{{args.x}}` is put
//! into label values (escaped) or stands for a number or a duration, and the query must have the same shape
//! with the real arguments as with harmless ones. A value from a Secret is never put anywhere. The result
//! depends on the arguments alone, byte for byte.
//!
//! Parsing queries takes tens of microseconds each, so this is called when a run is created, not in every
//! round.

mod promql;
mod resolve;
mod stand_in;
mod substitute;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::api::address::{AddressError, check_written};
use crate::api::analysis_run::AnalysisRunSpec;
use crate::api::analysis_template::{AnalysisTemplateSpec, Metric, PrometheusProvider, TemplateArg};
use crate::api::names::PodTemplateHash;
use crate::api::rollout::AnalysisStep;
use crate::plan::analysis::{LimitError, Limits};
use crate::plan::condition::{ConditionError, check_condition};

pub use promql::QueryError;
pub(super) use promql::check_query;
pub use resolve::{ArgValue, TemplateSet};
use resolve::{Flat, flatten, resolve_args};
pub use stand_in::{check_condition_before_args, check_query_before_args};
pub use substitute::SubstituteError;
use substitute::{put_into_condition, put_into_number, put_into_query};

const MAX_METRICS: usize = 20;

/// What arguments can be taken from, beside plain values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ArgContext {
    /// Of the Rollout, as are the fields below.
    pub name: String,
    pub namespace: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Nothing before the first version is stable.
    pub stable_hash: Option<PodTemplateHash>,
    pub latest_hash: PodTemplateHash,
}

#[derive(Clone, Debug, PartialEq, Error)]
pub enum TemplateError {
    #[error("{kind} {name:?} does not exist; create it, or correct the name")]
    TemplateMissing { kind: &'static str, name: String },
    #[error("templates include each other in a circle: {}", .0.join(" -> "))]
    Cycle(Vec<String>),
    #[error("metric {metric:?} is in two templates, {first} and {second}; rename one")]
    MetricConflict {
        metric: String,
        first: String,
        second: String,
    },
    #[error("argument {0:?} has two different defaults in the templates; give it a value in args")]
    ArgConflict(String),
    #[error("argument {0:?} is given twice")]
    DuplicateArg(String),
    #[error("argument {0:?} is given, but no template has it; correct its name, or remove it")]
    UnknownArg(String),
    #[error("argument {0:?} has no value; give it one in args")]
    MissingArg(String),
    #[error("argument {arg:?}: {reason}")]
    ArgSource { arg: String, reason: String },
    #[error("dryRun names metric {0:?}, which is in no template")]
    DryRun(String),
    #[error("the templates have no metrics")]
    NoMetrics,
    #[error("the templates have {0} metrics, more than {MAX_METRICS}")]
    TooManyMetrics(usize),
    #[error("metric {metric:?}, {field}: {reason}")]
    Metric {
        metric: String,
        field: &'static str,
        reason: FieldError,
    },
    #[error(
        "metric {0:?} has an interval but no count, so a step would wait for it for ever; give it a count"
    )]
    Unbounded(String),
}

impl TemplateError {
    /// For the condition `Valid`.
    pub fn reason(&self) -> &'static str {
        match self {
            TemplateError::TemplateMissing { .. } => "TemplateNotFound",
            TemplateError::ArgConflict(_)
            | TemplateError::DuplicateArg(_)
            | TemplateError::UnknownArg(_)
            | TemplateError::MissingArg(_)
            | TemplateError::ArgSource { .. } => "InvalidArgs",
            TemplateError::Metric {
                reason: FieldError::Address(_),
                ..
            } => "AddressNotAllowed",
            TemplateError::Metric { .. } | TemplateError::Unbounded(_) => "InvalidMetric",
            TemplateError::Cycle(_)
            | TemplateError::MetricConflict { .. }
            | TemplateError::DryRun(_)
            | TemplateError::NoMetrics
            | TemplateError::TooManyMetrics(_) => "InvalidTemplate",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Error)]
pub enum FieldError {
    #[error(transparent)]
    Substitute(#[from] SubstituteError),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Condition(#[from] ConditionError),
    #[error(transparent)]
    Limit(#[from] LimitError),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("give exactly one provider: prometheus")]
    Provider,
    #[error("minSamples needs samplesQuery beside query, and samplesQuery needs minSamples")]
    Samples,
    #[error("{{{{args}}}} cannot be used here")]
    NoArgsHere,
}

/// The spec of a run for one analysis of a Rollout; its gate is left to the caller.
pub fn build_run(
    templates: &TemplateSet,
    analysis: &AnalysisStep,
    context: &ArgContext,
) -> Result<AnalysisRunSpec, TemplateError> {
    let flat = flatten(templates, &analysis.templates)?;
    let args = resolve_args(&flat.args, &analysis.args, context)?;
    match flat.metrics.len() {
        0 => return Err(TemplateError::NoMetrics),
        count if count > MAX_METRICS => return Err(TemplateError::TooManyMetrics(count)),
        _ => {}
    }
    let metrics = flat
        .metrics
        .iter()
        .map(|(_, metric)| build_metric(metric, &args))
        .collect::<Result<_, _>>()?;
    Ok(AnalysisRunSpec {
        metrics,
        dry_run: dry_run(&flat, analysis)?,
        args: args
            .into_iter()
            .map(|(name, value)| value.into_arg(name))
            .collect(),
        terminate: false,
        gate: None,
    })
}

/// A run that a step waits for must end by itself; one in the background need not.
pub fn check_bounded(run: &AnalysisRunSpec) -> Result<(), TemplateError> {
    match run
        .metrics
        .iter()
        .find(|metric| metric.interval.is_some() && metric.count.is_none())
    {
        Some(unbounded) => Err(TemplateError::Unbounded(unbounded.name.clone())),
        None => Ok(()),
    }
}

/// Names as they are: Argo Rollouts takes them for patterns, so that `err` also silences `latency-err`.
fn dry_run(flat: &Flat, analysis: &AnalysisStep) -> Result<Vec<String>, TemplateError> {
    let mut names: Vec<String> = flat
        .dry_run
        .iter()
        .chain(&analysis.dry_run)
        .map(|dry| dry.metric_name.clone())
        .collect();
    names.sort();
    names.dedup();
    match names
        .iter()
        .find(|name| !flat.metrics.iter().any(|(_, metric)| metric.name == **name))
    {
        Some(unknown) => Err(TemplateError::DryRun(unknown.clone())),
        None => Ok(names),
    }
}

fn build_metric(metric: &Metric, args: &BTreeMap<String, ArgValue>) -> Result<Metric, TemplateError> {
    let at = |field: &'static str| {
        let metric = metric.name.clone();
        move |reason: FieldError| TemplateError::Metric {
            metric,
            field,
            reason,
        }
    };
    let number = |field, value: &Option<_>| {
        let put = value
            .as_ref()
            .map(|value| put_into_number(value, args))
            .transpose();
        put.map_err(|error| at(field)(error.into()))
    };
    let condition = |field, value: &Option<String>| {
        let put = value
            .as_ref()
            .map(|value| build_condition(value, args))
            .transpose();
        put.map_err(at(field))
    };
    if metric.name.contains("{{") {
        return Err(at("name")(FieldError::NoArgsHere));
    }
    let built = Metric {
        count: number("count", &metric.count)?,
        failure_limit: number("failureLimit", &metric.failure_limit)?,
        inconclusive_limit: number("inconclusiveLimit", &metric.inconclusive_limit)?,
        consecutive_error_limit: number("consecutiveErrorLimit", &metric.consecutive_error_limit)?,
        consecutive_success_limit: number("consecutiveSuccessLimit", &metric.consecutive_success_limit)?,
        success_condition: condition("successCondition", &metric.success_condition)?,
        failure_condition: condition("failureCondition", &metric.failure_condition)?,
        ..metric.clone()
    };
    if built.success_condition.is_none() && built.failure_condition.is_none() {
        return Err(at("successCondition")(ConditionError::Missing.into()));
    }
    Limits::of(&built).map_err(|error| at("limits")(error.into()))?;
    let Some(prometheus) = &metric.provider.prometheus else {
        return Err(at("provider")(FieldError::Provider));
    };
    if metric.min_samples.is_some() != prometheus.samples_query.is_some() {
        return Err(at("minSamples")(FieldError::Samples));
    }
    let prometheus = build_prometheus(prometheus, args).map_err(|(field, reason)| at(field)(reason))?;
    Ok(Metric {
        provider: crate::api::analysis_template::Provider {
            prometheus: Some(prometheus),
        },
        ..built
    })
}

fn build_condition(source: &str, args: &BTreeMap<String, ArgValue>) -> Result<String, FieldError> {
    let condition = put_into_condition(source, args)?;
    check_condition(&condition)?;
    Ok(condition)
}

fn build_prometheus(
    provider: &PrometheusProvider,
    args: &BTreeMap<String, ArgValue>,
) -> Result<PrometheusProvider, (&'static str, FieldError)> {
    if let Some(address) = &provider.address {
        let field = "provider.prometheus.address";
        if address.contains("{{") {
            return Err((field, FieldError::NoArgsHere));
        }
        check_written(address).map_err(|error| (field, error.into()))?;
    }
    let samples_query = provider
        .samples_query
        .as_ref()
        .map(|query| put_into_query(query, args))
        .transpose();
    Ok(PrometheusProvider {
        query: put_into_query(&provider.query, args).map_err(|error| ("provider.prometheus.query", error))?,
        samples_query: samples_query.map_err(|error| ("provider.prometheus.samplesQuery", error))?,
        ..provider.clone()
    })
}

impl ArgValue {
    fn into_arg(self, name: String) -> TemplateArg {
        match self {
            ArgValue::Text(value) => TemplateArg {
                name,
                value: Some(value),
                value_from: None,
            },
            ArgValue::Secret(source) => TemplateArg {
                name,
                value: None,
                value_from: Some(source),
            },
        }
    }
}

#[cfg(test)]
mod tests;

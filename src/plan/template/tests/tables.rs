//! What is refused, with what the refusal must say.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Metric, prometheus};
use crate::api::duration::Duration;

/// An analysis that does not fit the templates, and the whole message.
pub const REFUSED_TEMPLATES: &[(&str, &str)] = &[
    (
        "{templates: [{templateName: a}]}",
        "templates include each other in a circle: a -> b -> c -> a",
    ),
    (
        "{templates: [{templateName: lost}]}",
        "AnalysisTemplate \"nowhere\" does not exist; create it, or correct the name",
    ),
    (
        "{templates: [{templateName: rate, clusterScope: true}]}",
        "ClusterAnalysisTemplate \"rate\" does not exist; create it, or correct the name",
    ),
    (
        "{templates: [{templateName: one}, {templateName: two}]}",
        "metric \"same\" is in two templates, one and two; rename one",
    ),
    (
        "{templates: [{templateName: default-1}, {templateName: default-2}]}",
        "argument \"x\" has two different defaults in the templates; give it a value in args",
    ),
    (
        "{templates: [{templateName: rate}]}",
        "argument \"service\" has no value; give it one in args",
    ),
    (
        "{templates: [{templateName: one}], args: [{name: y, value: z}]}",
        "argument \"y\" is given, but no template has it; correct its name, or remove it",
    ),
    (
        "{templates: [{templateName: rate}], args: [{name: service, value: a}, {name: service, value: b}]}",
        "argument \"service\" is given twice",
    ),
    (
        "{templates: [{templateName: bare}], args: [{name: x, value: '1'}]}",
        "the templates have no metrics",
    ),
    (
        "{templates: [{templateName: one}], dryRun: [{metricName: other}]}",
        "dryRun names metric \"other\", which is in no template",
    ),
];

type Change = fn(&mut Metric);

/// A change to one metric, and a part of the message.
pub const REFUSED_METRICS: &[(Change, &str)] = &[
    (|m| m.success_condition = None, "successCondition"),
    (
        |m| m.success_condition = Some("result[0]".into()),
        "successCondition",
    ),
    (
        |m| m.success_condition = Some("result[0] < {{args.service}}".into()),
        "must be a number",
    ),
    (
        |m| m.failure_condition = Some("1..9 == nil".into()),
        "failureCondition",
    ),
    (
        |m| m.interval = Some(Duration::default()),
        "interval must be at least 1s",
    ),
    (|m| m.count = Some(IntOrString::Int(0)), "count"),
    (
        |m| m.count = Some(IntOrString::String("{{args.service}}".into())),
        "{{args.service}} is \"cart\", not a whole number",
    ),
    (
        |m| m.failure_limit = Some(IntOrString::Int(4)),
        "more than count 3",
    ),
    (|m| m.name = "{{args.service}}".into(), "cannot be used here"),
    (|m| m.min_samples = Some(10), "samplesQuery"),
    (|m| m.provider.prometheus = None, "exactly one provider"),
    (|m| prometheus(m).query = " ".into(), "empty"),
    (
        |m| prometheus(m).query = "sum(rate(x[1m])".into(),
        "not valid PromQL",
    ),
    (
        |m| prometheus(m).query = format!("{}1{}", "(".repeat(500), ")".repeat(500)),
        "too complex",
    ),
    (
        |m| prometheus(m).query = format!("1{}", "+1".repeat(5_000)),
        "too complex",
    ),
    (
        |m| prometheus(m).query = "up{job=\"{{args.other}}\"}".into(),
        "is not an argument",
    ),
    (
        |m| prometheus(m).query = "up{job=\"{{service}}\"}".into(),
        "is not a placeholder",
    ),
    (
        |m| prometheus(m).query = "up{job=\"{{args.service\"}".into(),
        "is not a placeholder",
    ),
    (
        |m| prometheus(m).query = "up{job=`{{args.service}}`}".into(),
        "raw string",
    ),
    (
        |m| prometheus(m).query = "{{args.service}}".into(),
        "only a number or a duration",
    ),
    (
        |m| prometheus(m).query = "up{{{args.service}}=\"a\"}".into(),
        "not a placeholder",
    ),
    (
        |m| prometheus(m).query = "sum by ({{args.service}}) (up)".into(),
        "only a number or a duration",
    ),
    (
        |m| prometheus(m).query = "label_replace(up, \"a\", \"{{args.service}}\", \"b\", \"c\")".into(),
        "changes what",
    ),
    (
        |m| prometheus(m).query = "up @ {{args.limit}}".into(),
        "changes what",
    ),
    (
        |m| prometheus(m).query = "up{{{args.limit}}}".into(),
        "placeholder",
    ),
    (
        |m| prometheus(m).address = Some("file:///etc/passwd".into()),
        "must start with http",
    ),
    (
        |m| prometheus(m).address = Some("http://169.254.169.254".into()),
        "not allowed",
    ),
    (
        |m| prometheus(m).address = Some("http://{{args.service}}".into()),
        "cannot be used here",
    ),
];

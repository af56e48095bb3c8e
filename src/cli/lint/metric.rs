//! Conditions and queries of metrics, by the checks that the controller makes when it starts a run.

use serde_json::Value;

use super::check::Finding;
use crate::api::analysis_template::TemplateArg;
use crate::plan::template::{FieldError, check_condition_before_args, check_query_before_args};

type Check = fn(&str, &[TemplateArg]) -> Result<(), FieldError>;

/// Of the metrics of a template or a run; `object` may be anything.
pub fn check_metrics(object: &Value) -> Vec<Finding> {
    let args = object.pointer("/spec/args").and_then(Value::as_array);
    let args: Vec<TemplateArg> = args
        .into_iter()
        .flatten()
        .filter_map(|arg| serde_json::from_value(arg.clone()).ok())
        .collect();
    let metrics = object.pointer("/spec/metrics").and_then(Value::as_array);
    let metrics = metrics.into_iter().flatten().enumerate();
    metrics
        .flat_map(|(index, metric)| check_metric(index, metric, &args))
        .collect()
}

fn check_metric(index: usize, metric: &Value, args: &[TemplateArg]) -> Vec<Finding> {
    let (condition, query): (Check, Check) = (check_condition_before_args, check_query_before_args);
    let checks = [
        ("successCondition", condition),
        ("failureCondition", condition),
        ("provider.prometheus.query", query),
        ("provider.prometheus.samplesQuery", query),
    ];
    let wrong = |(field, check): (&str, Check)| {
        let written = metric.pointer(&format!("/{}", field.replace('.', "/")))?;
        let error = check(written.as_str()?, args).err()?;
        Some(Finding::error(
            format!("spec.metrics[{index}].{field}"),
            error.to_string(),
        ))
    };
    checks.into_iter().filter_map(wrong).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::cli::lint::check::check;

    fn paths(success: &str, query: &str) -> Vec<String> {
        let template = json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "a"},
            "spec": {"args": [{"name": "window", "value": "5m"}, {"name": "limit"}, {"name": "over"}], "metrics": [{
                "name": "errors", "successCondition": success, "provider": {"prometheus": {"query": query}},
            }]},
        });
        check(&template).into_iter().map(|finding| finding.path).collect()
    }

    #[test]
    fn finds_what_the_controller_would_refuse() {
        let (condition, query) = (
            "spec.metrics[0].successCondition",
            "spec.metrics[0].provider.prometheus.query",
        );
        for (success, asked, expected) in [
            ("result[0] < 0.01", "sum(rate(x[1m]))", &[][..]),
            ("result[0] <", "sum(rate(x[1m]))", &[condition][..]),
            ("result[0]", "sum(rate(x[1m]))", &[condition]),
            ("result[0] < 0.01", "sum(rate(", &[query]),
            ("len(result", "sum(rate(", &[condition, query]),
            (
                "result[0] < {{args.limit}}",
                "sum(rate(x{a=\"{{args.over}}\"}[{{args.window}}]))",
                &[],
            ),
            ("result[0] < 1", "rate(x[{{args.over}}]) > {{args.limit}}", &[]),
            (
                "result[0] < {{args.limit",
                "sum(rate(x[{{args.over}}]",
                &[condition, query],
            ),
            ("result[0] < {{args.window}}", "up", &[condition]),
        ] {
            assert_eq!(paths(success, asked), expected, "{success} {asked}");
        }
    }
}

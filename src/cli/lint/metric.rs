//! Conditions and queries of metrics, by the checks that the controller makes when it starts a run. A text with `{{` is
//! left out: what it says is known only with its arguments.

use serde_json::Value;

use super::check::Finding;
use crate::plan::condition::check_condition;
use crate::plan::template::check_whole_query;

type Check = fn(&str) -> Result<(), String>;

/// Of the metrics of a template or a run; `object` may be anything.
pub fn check_metrics(object: &Value) -> Vec<Finding> {
    let metrics = object.pointer("/spec/metrics").and_then(Value::as_array);
    let metrics = metrics.into_iter().flatten().enumerate();
    metrics
        .flat_map(|(index, metric)| check_metric(index, metric))
        .collect()
}

fn check_metric(index: usize, metric: &Value) -> Vec<Finding> {
    let condition: Check = |text| check_condition(text).map_err(|error| error.to_string());
    let query: Check = |text| check_whole_query(text).map_err(|error| error.to_string());
    let checks = [
        ("successCondition", condition),
        ("failureCondition", condition),
        ("provider.prometheus.query", query),
        ("provider.prometheus.samplesQuery", query),
    ];
    let wrong = |(field, check): (&str, Check)| {
        let written = metric.pointer(&format!("/{}", field.replace('.', "/")))?;
        let text = written.as_str().filter(|text| !text.contains("{{"))?;
        let message = check(text).err()?;
        Some(Finding::error(format!("spec.metrics[{index}].{field}"), message))
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
            "spec": {"metrics": [{
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
            ("result[0] < {{args.limit}}", "sum(rate(x[{{args.window}}]", &[]),
        ] {
            assert_eq!(paths(success, asked), expected, "{success} {asked}");
        }
    }
}

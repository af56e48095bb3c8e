//! Tables and properties of templates and arguments: what is refused, and that no argument changes a query.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use proptest::prelude::*;

use super::*;
use crate::api::duration::Duration;

fn template(yaml: &str) -> AnalysisTemplateSpec {
    serde_saphyr::from_str(yaml).unwrap()
}

fn set(templates: &[(&str, &str)]) -> TemplateSet {
    TemplateSet {
        namespaced: templates
            .iter()
            .map(|(name, yaml)| ((*name).to_owned(), template(yaml)))
            .collect(),
        cluster: BTreeMap::new(),
    }
}

fn step(yaml: &str) -> AnalysisStep {
    serde_saphyr::from_str(yaml).unwrap()
}

fn context() -> ArgContext {
    ArgContext {
        name: "checkout".into(),
        namespace: "shop".into(),
        labels: [("team".to_owned(), "pay".to_owned())].into(),
        annotations: BTreeMap::new(),
        stable_hash: Some(PodTemplateHash("old".into())),
        latest_hash: PodTemplateHash("new".into()),
    }
}

const RATE: &str = r#"
args: [{name: service}, {name: window, value: 1m}, {name: limit, value: "0.01"}, {name: n, value: "3"}]
metrics:
- name: error-rate
  interval: 30s
  count: "{{args.n}}"
  failureLimit: 1
  successCondition: result[0] < {{ args.limit }}
  provider:
    prometheus:
      query: sum(rate(http_requests_total{service="{{args.service}}",code=~"5.."}[{{args.window}}])) > {{args.limit}}
"#;

fn build(templates: &TemplateSet, analysis: &str) -> Result<AnalysisRunSpec, TemplateError> {
    build_run(templates, &step(analysis), &context())
}

fn with_service(value: &str) -> Result<AnalysisRunSpec, TemplateError> {
    let mut step = step("templates: [{templateName: rate}]\nargs: [{name: service}]");
    step.args[0].value = Some(value.to_owned());
    build_run(&set(&[("rate", RATE)]), &step, &context())
}

fn query(run: &AnalysisRunSpec) -> &str {
    &run.metrics[0].provider.prometheus.as_ref().unwrap().query
}

#[test]
fn puts_arguments_in_their_places() {
    let run = build(
        &set(&[("rate", RATE)]),
        "{templates: [{templateName: rate}], args: [{name: service, value: cart}, {name: n, value: '7'}]}",
    )
    .unwrap();
    assert_eq!(
        query(&run),
        r#"sum(rate(http_requests_total{service="cart",code=~"5.."}[1m])) > 0.01"#
    );
    assert_eq!(run.metrics[0].count, Some(IntOrString::Int(7)));
    assert_eq!(
        run.metrics[0].success_condition.as_deref(),
        Some("result[0] < 0.01")
    );
    let args: Vec<_> = run
        .args
        .iter()
        .map(|arg| (arg.name.as_str(), arg.value.as_deref().unwrap()))
        .collect();
    assert_eq!(
        args,
        [
            ("limit", "0.01"),
            ("n", "7"),
            ("service", "cart"),
            ("window", "1m")
        ]
    );
    assert_eq!(check_bounded(&run), Ok(()));
}

#[test]
fn takes_values_from_the_rollout() {
    for (source, value) in [
        ("podTemplateHashValue: Latest", "new"),
        ("podTemplateHashValue: Stable", "old"),
        ("fieldRef: {fieldPath: metadata.name}", "checkout"),
        ("fieldRef: {fieldPath: metadata.namespace}", "shop"),
        ("fieldRef: {fieldPath: \"metadata.labels['team']\"}", "pay"),
    ] {
        let analysis = format!(
            "{{templates: [{{templateName: rate}}], args: [{{name: service, valueFrom: {{{source}}}}}]}}"
        );
        let run = build(&set(&[("rate", RATE)]), &analysis).unwrap();
        assert!(query(&run).contains(&format!("service=\"{value}\"")), "{source}");
    }
    for source in [
        "fieldRef: {fieldPath: \"metadata.labels['none']\"}",
        "fieldRef: {fieldPath: spec.replicas}",
        "{}",
        "{podTemplateHashValue: Latest, fieldRef: {fieldPath: metadata.name}}",
    ] {
        let source = if source.starts_with('{') {
            source.to_owned()
        } else {
            format!("{{{source}}}")
        };
        let analysis = format!(
            "{{templates: [{{templateName: rate}}], args: [{{name: service, valueFrom: {source}}}]}}"
        );
        assert!(
            matches!(
                build(&set(&[("rate", RATE)]), &analysis),
                Err(TemplateError::ArgSource { .. })
            ),
            "{source}"
        );
    }
}

#[test]
fn names_what_is_wrong_with_templates_and_arguments() {
    let single = |name: &str| {
        format!(
            "metrics: [{{name: {name}, successCondition: 'result[0] < 1', provider: {{prometheus: {{query: up}}}}}}]"
        )
    };
    let with = |extra: &str, name: &str| format!("{extra}\n{}", single(name));
    let templates = set(&[
        ("rate", RATE),
        ("a", "templates: [{templateName: b}]"),
        ("b", "templates: [{templateName: c}]"),
        ("c", "templates: [{templateName: a}]"),
        ("one", &single("same")),
        ("two", &single("same")),
        ("default-1", &with("args: [{name: x, value: '1'}]", "d1")),
        ("default-2", &with("args: [{name: x, value: '2'}]", "d2")),
        ("lost", "templates: [{templateName: nowhere}]"),
        (
            "diamond",
            "templates: [{templateName: one}, {templateName: left}]",
        ),
        ("left", "templates: [{templateName: one}]"),
        ("bare", "args: [{name: x}]"),
    ]);
    let refused = |analysis: &str| build(&templates, analysis).unwrap_err().to_string();
    for (analysis, message) in [
        (
            "{templates: [{templateName: a}]}",
            "templates include each other in a circle: a -> b -> c -> a",
        ),
        (
            "{templates: [{templateName: lost}]}",
            "AnalysisTemplate \"nowhere\" does not exist",
        ),
        (
            "{templates: [{templateName: rate, clusterScope: true}]}",
            "ClusterAnalysisTemplate \"rate\" does not exist",
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
            "argument \"y\" is given, but no template has it",
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
    ] {
        assert_eq!(refused(analysis), message);
    }
    assert_eq!(
        build(&templates, "{templates: [{templateName: diamond}]}")
            .unwrap()
            .metrics
            .len(),
        1
    );
    let both =
        "{templates: [{templateName: default-1}, {templateName: default-2}], args: [{name: x, value: '3'}]}";
    assert!(build(&templates, both).is_ok());
    let dry = build(
        &templates,
        "{templates: [{templateName: one}], dryRun: [{metricName: same}]}",
    )
    .unwrap();
    assert_eq!(dry.dry_run, ["same"]);
}

/// One metric with this change to it.
fn changed(change: fn(&mut Metric)) -> Result<AnalysisRunSpec, TemplateError> {
    let mut templates = set(&[("rate", RATE)]);
    change(&mut templates.namespaced.get_mut("rate").unwrap().metrics[0]);
    build(
        &templates,
        "{templates: [{templateName: rate}], args: [{name: service, value: cart}]}",
    )
}

fn prometheus(metric: &mut Metric) -> &mut PrometheusProvider {
    metric.provider.prometheus.as_mut().unwrap()
}

#[test]
fn refuses_metrics_that_make_no_sense() {
    type Change = fn(&mut Metric);
    let cases: &[(Change, &str)] = &[
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
    for (index, (change, expected)) in cases.iter().enumerate() {
        let message = changed(*change).unwrap_err().to_string();
        assert!(message.contains(expected), "case {index}: {message}");
        assert!(message.contains("metric \""), "case {index}: {message}");
    }
    let unbounded = changed(|m| m.count = None).unwrap();
    assert_eq!(
        check_bounded(&unbounded),
        Err(TemplateError::Unbounded("error-rate".into()))
    );
}

#[test]
fn queries_as_deep_as_allowed_are_parsed_and_compared() {
    let indented = format!("sum(up)\n{}+ 1", " ".repeat(2_000));
    let deep = [
        format!("{}1{}", "(".repeat(390), ")".repeat(390)),
        format!("{}up", "-".repeat(390)),
        format!("1{}", "+1".repeat(390)),
        format!("up{}", " or up".repeat(190)),
        indented,
    ];
    for query in deep {
        let parsed = promql::check_query(&query).unwrap();
        assert_eq!(promql::same_shape(parsed.clone(), parsed), Ok(()));
    }
}

#[test]
fn reasons_are_for_conditions() {
    let reason = |change: fn(&mut Metric)| changed(change).unwrap_err().reason();
    assert_eq!(
        reason(|m| prometheus(m).address = Some("http://169.254.169.254".into())),
        "AddressNotAllowed"
    );
    assert_eq!(reason(|m| prometheus(m).query = "sum(".into()), "InvalidMetric");
    assert_eq!(TemplateError::UnknownArg("x".into()).reason(), "InvalidArgs");
}

#[test]
fn secrets_are_never_put_anywhere() {
    let templates = set(&[(
        "secret",
        r#"
args: [{name: token, valueFrom: {secretKeyRef: {name: prometheus, key: token}}}]
metrics:
- {name: m, successCondition: "result[0] < 1", provider: {prometheus: {query: 'up{job="{{args.token}}"}'}}}
"#,
    )]);
    let message = build(&templates, "{templates: [{templateName: secret}]}")
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("{{args.token}} comes from a Secret"),
        "{message}"
    );
}

#[test]
fn injections_stay_text_or_are_refused() {
    let attempts = [
        "\"} or vector(1) #",
        "\"} or vector(0) or up{a=\"",
        "a\"}) or (vector(1",
        "\\\"} or vector(1) #",
        "\\",
        "x\\",
        "'} or vector(1) #",
        "a\nb",
        "a\r\n} or vector(1)",
        "{{args.window}}",
        "`} or vector(1) #",
        "\u{202e}\"}",
        ".*",
    ];
    for attempt in attempts {
        let run = with_service(attempt).unwrap();
        let parsed = promql::check_query(query(&run)).unwrap();
        let harmless = promql::check_query(query(&with_service("x").unwrap())).unwrap();
        assert_eq!(
            promql::same_shape(parsed.clone(), harmless),
            Ok(()),
            "{attempt:?}"
        );
        assert!(
            format!("{parsed:?}").contains(&format!("value: {attempt:?}")),
            "{attempt:?} is not one label value"
        );
    }
    for refused in ["", "\0", "a\u{1b}[2J", &"x".repeat(10_240)] {
        assert!(with_service(refused).is_err(), "{refused:?}");
    }
}

#[test]
fn numbers_and_durations_are_nothing_else() {
    let window = |value: &str| {
        let mut step =
            step("{templates: [{templateName: rate}], args: [{name: service, value: a}, {name: window}]}");
        step.args[1].value = Some(value.to_owned());
        build_run(&set(&[("rate", RATE)]), &step, &context()).is_ok()
    };
    for good in ["30s", "1h30m", "5m"] {
        assert!(window(good), "{good}");
    }
    for bad in [
        "1m] or vector(1) #",
        "1m]) or (rate(up[1m",
        "m",
        "",
        "1m:1m",
        "1.5m",
        "-1m",
        "5m offset 1h",
        "inf",
    ] {
        assert!(!window(bad), "{bad}");
    }
}

proptest! {
    /// No text changes what a query asks: it becomes one label value, or an error.
    #[test]
    fn no_string_changes_the_shape(value in "\\PC{0,60}|[\"'`\\\\{}()\\n# ora-z]{0,30}") {
        if let Ok(run) = with_service(&value) {
            let asked = promql::check_query(query(&run)).unwrap();
            let harmless = promql::check_query(query(&with_service("x").unwrap())).unwrap();
            prop_assert_eq!(promql::same_shape(asked, harmless), Ok(()));
        }
    }

    /// Wherever a template's author puts it.
    #[test]
    fn no_place_lets_text_through(
        value in "[\"'`\\\\{}()\\n# or1m\\[\\]a-z]{1,12}",
        place in prop::sample::select(vec![
            "up{a='{{args.service}}'}", "up{a=~\"x{{args.service}}.*\"}", "rate(up[{{args.service}}])", "up > {{args.service}}",
            "up offset {{args.service}}", "up # it's\n + {{args.service}}", "\"{{args.service}}\"", "topk({{args.service}}, up)",
            "up{a=\"\\\"{{args.service}}\"}",
        ]),
    ) {
        let mut templates = set(&[("rate", RATE)]);
        prometheus(&mut templates.namespaced.get_mut("rate").unwrap().metrics[0]).query = place.to_owned();
        let built = |value: &str| {
            let mut step = step("{templates: [{templateName: rate}], args: [{name: service}]}");
            step.args[0].value = Some(value.to_owned());
            let run = build_run(&templates, &step, &context()).ok()?;
            promql::check_query(query(&run)).ok()
        };
        if let Some(asked) = built(&value) {
            let same = ["x", "1", "1m"].into_iter().filter_map(built).any(|harmless| {
                promql::same_shape(asked.clone(), harmless).is_ok()
            });
            prop_assert!(same, "{asked:?}");
        }
    }

    #[test]
    fn the_same_arguments_give_the_same_bytes(value in "[a-z]{1,9}") {
        let json = |run| serde_json::to_string(&run).unwrap();
        prop_assert_eq!(json(with_service(&value).unwrap()), json(with_service(&value).unwrap()));
    }
}

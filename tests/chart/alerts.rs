//! The alerts fire when they should, and say what to do; they and the dashboard ask for metrics that there are.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use serde_json::Value;

use crate::helm::{chart, objects, root, the};

/// Comes with every Prometheus: beside the one that the tests use.
fn promtool(arguments: &[&str]) {
    let prometheus = env::var_os("PROMETHEUS").map(PathBuf::from);
    let beside = prometheus.as_deref().and_then(Path::parent);
    let program = beside
        .map(|folder| folder.join("promtool"))
        .filter(|program| program.exists());
    let program = program.unwrap_or_else(|| "promtool".into());
    let output = Command::new(&program)
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(output.status.success(), "{}", said.concat());
}

fn rules() -> Vec<Value> {
    let rendered = objects(&["prometheusRule.enabled=true"]);
    let groups = &the(&rendered, "PrometheusRule")["spec"]["groups"];
    let groups = groups.as_array().unwrap().iter();
    groups
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .collect()
}

#[test]
fn they_fire_when_they_should() {
    promtool(&["check", "rules", "charts/tidegate/files/alerts.yaml"]);
    promtool(&["test", "rules", "tests/chart/alerts.yaml"]);
}

/// In the file of tests each alert is named where it fires, and where it does not.
#[test]
fn each_is_tested_both_ways() {
    let text = fs::read_to_string(root().join("tests/chart/alerts.yaml")).unwrap();
    let file: Value = serde_saphyr::from_str(&text).unwrap();
    let cases = file["tests"].as_array().unwrap();
    for rule in rules() {
        let Some(alert) = rule["alert"].as_str() else {
            continue;
        };
        let of_alert = cases
            .iter()
            .filter(|case| case["name"].as_str().unwrap().starts_with(&format!("{alert}: ")));
        let fires: BTreeSet<bool> = of_alert
            .map(|case| {
                !case["promql_expr_test"][0]["exp_samples"]
                    .as_array()
                    .unwrap()
                    .is_empty()
            })
            .collect();
        assert_eq!(fires, BTreeSet::from([false, true]), "{alert}");
    }
}

#[test]
fn each_says_what_to_do_and_has_a_runbook() {
    let page = fs::read_to_string(root().join("docs/alerts.md")).unwrap();
    let mut alerts = BTreeSet::new();
    for rule in rules() {
        let Some(alert) = rule["alert"].as_str() else {
            continue;
        };
        let annotations = &rule["annotations"];
        for annotation in ["summary", "description"] {
            assert!(
                annotations[annotation].as_str().unwrap().len() > 20,
                "{alert}: {annotation}"
            );
        }
        let anchor = format!("docs/alerts.md#{}", alert.to_lowercase());
        assert_eq!(annotations["runbook"], anchor.as_str(), "{alert}");
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning", "info"].contains(&severity), "{alert}");
        alerts.insert(alert.to_owned());
    }
    let headings = page.lines().filter_map(|line| line.strip_prefix("### "));
    let headings = headings.filter(|heading| heading.starts_with("Tidegate"));
    assert_eq!(headings.map(str::to_owned).collect::<BTreeSet<_>>(), alerts);
}

#[test]
fn they_and_the_dashboard_ask_for_metrics_that_are_documented() {
    let page = fs::read_to_string(root().join("docs/install.md")).unwrap();
    let name = Regex::new("tidegate_[a-z_]+").unwrap();
    for file in ["files/alerts.yaml", "files/dashboard.json"] {
        let text = fs::read_to_string(chart().join(file)).unwrap();
        let names: BTreeSet<&str> = name.find_iter(&text).map(|found| found.as_str()).collect();
        assert!(names.len() > 5, "{names:?}");
        for metric in names {
            let metric = metric.trim_end_matches("_bucket").trim_end_matches("_count");
            assert!(page.contains(&format!("`{metric}`")), "{file}: {metric}");
        }
    }
}

#[test]
fn the_dashboard_is_one() {
    let rendered = objects(&["dashboard.enabled=true"]);
    let text = the(&rendered, "ConfigMap")["data"]["tidegate.json"]
        .as_str()
        .unwrap();
    let dashboard: Value = serde_json::from_str(text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 10);
    for panel in panels {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap().replace("$__rate_interval", "5m");
            promql_parser::parser::parse(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
        }
    }
}

//! The tables of bad inputs, and the good objects that each row changes in one place.

use serde_json::{Value, json};

pub fn rollout() -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "checkout", "namespace": "default"},
        "spec": {
            "replicas": 5,
            "selector": {"matchLabels": {"app": "checkout"}},
            "template": {
                "metadata": {"labels": {"app": "checkout"}},
                "spec": {"containers": [{"name": "app", "image": "checkout:1"}]},
            },
            "strategy": {"canary": {
                "stableService": "checkout-stable", "canaryService": "checkout-canary",
                "trafficRouting": {"nginx": {"stableIngress": "checkout"}},
                "steps": [{"setWeight": 5}, {"pause": {"duration": "2m"}},
                    {"analysis": {"templates": [{"templateName": "latency"}]}}, {"setWeight": 50}, {"pause": {}}],
            }},
        },
    })
}

pub fn template() -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "AnalysisTemplate",
        "metadata": {"name": "error-rate", "namespace": "default"},
        "spec": {
            "args": [{"name": "service"}],
            "metrics": [{
                "name": "error-rate", "interval": "30s", "count": 10, "failureLimit": 2,
                "successCondition": "result[0] < 0.01",
                "provider": {"prometheus": {"address": "http://prometheus:9090", "query": "sum(up)"}},
            }],
        },
    })
}

/// Sets `value` at a JSON pointer, which may name a new field; null removes it.
pub fn set(object: &mut Value, pointer: &str, value: &Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = object
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("no {pointer}"));
    match parent {
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = value.clone(),
        _ if value.is_null() => drop(parent.as_object_mut().unwrap().remove(name)),
        _ => parent[name] = value.clone(),
    }
}

/// One line of a table of bad inputs.
pub struct Bad<'a> {
    pub row: &'a str,
    pub pointer: String,
    pub value: Value,
    pub path: String,
    pub part: &'a str,
}

/// Also for the rows about weights of pods.
pub fn rollout_with_a_canary_scale() -> Value {
    let mut base = rollout();
    let steps = base.pointer_mut("/spec/strategy/canary/steps").unwrap();
    let steps = steps.as_array_mut().unwrap();
    steps.push(json!({"setCanaryScale": {"replicas": 1}}));
    base
}

pub fn rollouts() -> Vec<Bad<'static>> {
    read_table(include_str!("bad-rollouts.txt"), "/spec/strategy/canary")
}

pub fn templates() -> Vec<Bad<'static>> {
    read_table(include_str!("bad-templates.txt"), "/spec/metrics/0")
}

/// `home` is what `~` stands for.
fn read_table<'a>(table: &'a str, home: &str) -> Vec<Bad<'a>> {
    let dotted = home
        .trim_start_matches('/')
        .replace('/', ".")
        .replace(".0", "[0]");
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split(" | ").map(str::trim).collect();
            let [row, pointer, value, path, part] = cells.try_into().unwrap();
            let pointer = pointer.replace('~', home);
            Bad {
                row,
                pointer,
                value: read_value(value),
                path: path.replace('~', &dotted),
                part,
            }
        })
        .collect()
}

fn read_value(text: &str) -> Value {
    match text
        .split_once('*')
        .map(|(times, item)| (times.parse::<usize>(), item))
    {
        Some((Ok(times), item)) => json!(vec![read_value(item); times]),
        _ => serde_json::from_str(text).unwrap(),
    }
}

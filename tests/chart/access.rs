//! The ClusterRoles for people: what each may do that the one below may not, and where it is aggregated to.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::helm::{objects, of_kind, the};
use crate::rights::{Right, granted};

const READ: [&str; 3] = ["get", "list", "watch"];

fn role<'a>(rendered: &'a [Value], name: &str) -> &'a Value {
    let mut roles = of_kind(rendered, "ClusterRole").into_iter();
    roles
        .find(|role| role["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("there is no {name}"))
}

/// What it may do but read.
fn writes(rendered: &[Value], name: &str) -> BTreeSet<String> {
    let of = |name: &str| -> BTreeSet<Right> { granted([role(rendered, name)]) };
    let viewer = of("tidegate-viewer");
    let rights = of(name);
    assert!(rights.is_superset(&viewer), "{name} sees less than a viewer");
    let more = rights.difference(&viewer);
    more.map(|(_, resource, verb)| format!("{verb} {resource}"))
        .collect()
}

#[test]
fn who_commands_edits_nothing_and_who_edits_commands_nothing() {
    let rendered = objects(&[]);
    let viewer = granted([role(&rendered, "tidegate-viewer")]);
    assert!(
        viewer.iter().all(|(_, _, verb)| READ.contains(&verb.as_str())),
        "{viewer:?}"
    );
    let operator = writes(&rendered, "tidegate-operator");
    assert_eq!(operator, BTreeSet::from(["create rolloutcommands".to_owned()]));
    let editor = writes(&rendered, "tidegate-editor");
    let expected = [
        "create analysistemplates",
        "create pods/eviction",
        "create rollouts",
        "delete analysistemplates",
        "delete rollouts",
        "patch analysistemplates",
        "patch rollouts",
        "patch rollouts/scale",
        "update analysistemplates",
        "update rollouts",
        "update rollouts/scale",
    ];
    assert_eq!(editor, expected.map(str::to_owned).into());
}

#[test]
fn they_are_aggregated_unless_told_otherwise() {
    let label = |values: &[&str], name: &str, to: &str| {
        let rendered = objects(values);
        let labels = &role(&rendered, name)["metadata"]["labels"];
        labels[format!("rbac.authorization.k8s.io/aggregate-to-{to}")] == "true"
    };
    for (name, to) in [
        ("tidegate-viewer", "view"),
        ("tidegate-operator", "edit"),
        ("tidegate-editor", "edit"),
    ] {
        assert!(label(&[], name, to), "{name}");
        assert!(!label(&["userRoles.aggregate=false"], name, to), "{name}");
    }
    assert!(!label(&[], "tidegate-operator", "view"));
    // What is left is the controller's.
    the(&objects(&["userRoles.enabled=false"]), "ClusterRole");
}

/// Two installations can share a cluster: each judges the commands of its own namespaces.
#[test]
fn commands_are_judged_where_the_controller_looks() {
    for (values, expected) in [
        (
            &[r#"namespaces=["shop","payments"]"#][..],
            Some(["shop", "payments"]),
        ),
        (&["clusterWide=true"], None),
    ] {
        let rendered = objects(values);
        let policies = of_kind(&rendered, "ValidatingAdmissionPolicy");
        let is_ours = |policy: &&&Value| {
            let name = policy["metadata"]["name"].as_str();
            name.is_some_and(|name| name.starts_with("rolloutcommands."))
        };
        let constraints = &policies.iter().find(is_ours).unwrap()["spec"]["matchConstraints"];
        let values = constraints.pointer("/namespaceSelector/matchExpressions/0/values");
        let values: Option<Vec<&str>> = values.map(|values| {
            values
                .as_array()
                .unwrap()
                .iter()
                .filter_map(Value::as_str)
                .collect()
        });
        assert_eq!(values.as_deref(), expected.as_ref().map(|names| &names[..]));
    }
}

//! The rights that the chart gives: those of the table in docs/install.md, where they belong.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::helm::{NAMESPACE, bound, objects, of_kind, root, the};
use crate::render::ALERTS;

/// Group, resource, verb.
pub type Right = (String, String, String);

pub fn granted<'a>(roles: impl IntoIterator<Item = &'a Value>) -> BTreeSet<Right> {
    let texts = |rule: &Value, field: &str| -> Vec<String> {
        let list = rule[field].as_array().unwrap().iter();
        list.map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in roles
        .into_iter()
        .flat_map(|role| role["rules"].as_array().unwrap())
    {
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                for verb in texts(rule, "verbs") {
                    rights.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    rights
}

/// The rows below the heading; an empty group is that of the row above.
fn documented() -> BTreeSet<Right> {
    let page = fs::read_to_string(root().join("docs/install.md")).unwrap();
    let (_, table) = page
        .split_once("\n| group | resource | verbs | for |\n|---|---|---|---|\n")
        .unwrap();
    let mut rights = BTreeSet::new();
    let mut group = "";
    for row in table.lines().take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().trim_matches('`'))
            .collect();
        let [named, resource, verbs, reason] = cells[..] else {
            panic!("{row}")
        };
        group = match named {
            "" => group,
            "core" => "",
            named => named,
        };
        assert!(!reason.is_empty(), "{row}");
        rights.extend(
            verbs
                .split(", ")
                .map(|verb| (group.to_owned(), resource.to_owned(), verb.to_owned())),
        );
    }
    rights
}

#[test]
fn what_is_granted_is_what_is_explained() {
    let documented = documented();
    assert!(documented.len() > 40, "{documented:?}");
    for mut values in [
        vec![],
        vec!["clusterWide=true"],
        vec![r#"namespaces=["shop","payments"]"#],
    ] {
        let create = ["tidegate.dev", "rolloutcommands", "create"].map(str::to_owned);
        let without = objects(&values);
        assert!(
            !granted(bound(&without, "Role")).contains(&create.into()),
            "{values:?}"
        );
        values.extend(ALERTS);
        let rendered = objects(&values);
        let roles = bound(&rendered, "Role");
        let roles = roles.into_iter().chain(bound(&rendered, "ClusterRole"));
        assert_eq!(granted(roles), documented, "{values:?}");
    }
}

#[test]
fn nothing_that_could_be_used_to_take_over_a_cluster() {
    for (group, resource, verb) in documented() {
        for text in [&group, &resource, &verb] {
            assert!(!text.contains('*'), "{group} {resource} {verb}");
        }
        let kind = resource.split('/').next().unwrap();
        assert!(
            ![
                "secrets",
                "configmaps",
                "pods",
                "jobs",
                "serviceaccounts",
                "namespaces"
            ]
            .contains(&kind),
            "{resource}"
        );
        assert!(group != "rbac.authorization.k8s.io", "{resource}");
        assert!(
            kind != "services" || !["create", "delete"].contains(&verb.as_str()),
            "{verb}"
        );
        assert!(
            !["escalate", "bind", "impersonate", "deletecollection"].contains(&verb.as_str()),
            "{verb}"
        );
    }
}

#[test]
fn rights_end_at_the_namespaces() {
    for (values, expected) in [
        (vec![], vec![NAMESPACE]),
        (
            vec![r#"namespaces=["shop","payments"]"#],
            vec!["shop", "payments"],
        ),
        (vec!["clusterWide=true"], vec![]),
    ] {
        let rendered = objects(&values);
        let is_lease = |object: &&&Value| object["metadata"]["name"] == "tidegate-lease";
        let namespaces: Vec<&Value> = of_kind(&rendered, "Role")
            .iter()
            .filter(|role| !is_lease(role))
            .map(|role| &role["metadata"]["namespace"])
            .collect();
        assert_eq!(namespaces, expected, "{values:?}");
        let of_cluster = granted(bound(&rendered, "ClusterRole"));
        let templates_only = of_cluster
            .iter()
            .all(|(_, resource, _)| resource == "clusteranalysistemplates");
        assert_eq!(templates_only, !expected.is_empty(), "{of_cluster:?}");
        let bindings = of_kind(&rendered, "RoleBinding");
        for binding in bindings
            .into_iter()
            .chain(of_kind(&rendered, "ClusterRoleBinding"))
        {
            let subjects = json!([{"kind": "ServiceAccount", "name": "tidegate", "namespace": NAMESPACE}]);
            assert_eq!(binding["subjects"], subjects);
        }
    }
}

#[test]
fn the_lease_is_one_of_its_own_namespace() {
    let rendered = objects(&["clusterWide=true", r#"fullnameOverride="gate""#]);
    let role = the(&rendered, "Role");
    assert_eq!(role["metadata"]["namespace"], NAMESPACE);
    assert_eq!(
        role["rules"],
        json!([
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["gate"],
             "verbs": ["get", "patch"]},
        ])
    );
}

#[test]
fn routers_that_are_off_have_no_rights() {
    for (value, resource) in [
        ("routers.nginx=false", "ingresses"),
        ("routers.gatewayAPI=false", "httproutes"),
    ] {
        let rendered = objects(&[value]);
        let rights = granted(of_kind(&rendered, "Role"));
        assert!(rights.iter().all(|(_, granted, _)| granted != resource));
        assert_eq!(of_kind(&rendered, "ValidatingAdmissionPolicy").len(), 6);
    }
}

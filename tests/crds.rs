//! The committed CRDs and the pages about fields are what the code makes, and the CRDs are such as an API server
//! takes. `UPDATE=1 cargo test --test crds` writes all of them anew.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidegate::api::argo::{self, FIELDS, Home, Support};
use tidegate::api::crd::{self, fields};
use tidegate::api::rollout::CANARY_ANNOTATIONS;
use tidegate::api::schema::validate;

/// The chart has a copy: a symbolic link would be followed by Helm, but not by everything that takes charts from a
/// checkout, such as Argo CD or a Git without links.
const FOLDERS: [&str; 2] = ["crds", "charts/tidegate/files/crds"];

/// A plain `kubectl apply` keeps the whole object in an annotation of at most 256 KiB; we stay far below.
const MAX_BYTES: usize = 150_000;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn compare(path: &Path, made: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, made).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == made,
        "{} is not up to date; run `make crds`",
        path.display()
    );
}

#[test]
fn committed_files_are_what_the_types_make() {
    for folder in FOLDERS.map(|folder| root().join(folder)) {
        for crd in crd::all().unwrap() {
            let path = folder.join(format!("{}.yaml", crd::plural_of(&crd)));
            compare(&path, &crd::to_yaml(&crd).unwrap());
        }
        assert_eq!(fs::read_dir(folder).unwrap().count(), 5);
    }
}

#[test]
fn page_of_argo_fields_is_what_the_table_makes() {
    compare(&root().join("docs/argo-rollouts-fields.md"), &argo::render_page());
}

#[test]
fn page_of_fields_is_what_the_schemas_make() {
    compare(&root().join("docs/fields.md"), &fields::render_page().unwrap());
}

#[test]
fn every_field_that_is_written_has_a_meaning() {
    let kinds = ["Rollout", "AnalysisTemplate", "RolloutCommand"];
    let fields = kinds
        .into_iter()
        .flat_map(|kind| fields::fields_of(kind).unwrap());
    let silent: Vec<_> = fields
        .filter(|field| field.meaning.is_empty())
        .map(|field| field.path)
        .collect();
    assert!(silent.is_empty(), "{silent:#?}");
}

/// Names of service accounts and of people of an identity provider are long, and the admission policy wants them whole.
#[test]
fn whoever_has_a_long_name_can_ask() {
    let schema = crd::schema_of("RolloutCommand").unwrap().unwrap();
    let faults = |length| {
        let command = json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "RolloutCommand", "metadata": {"name": "a"},
            "spec": {"rollout": "checkout", "verb": "Abort", "requestedBy": "a".repeat(length)},
        });
        validate(&schema, &command).len()
    };
    assert_eq!((faults(512), faults(513)), (0, 1));
}

#[test]
fn all_crds_together_stay_small() {
    let total: usize = crd::all()
        .unwrap()
        .iter()
        .map(|crd| crd::to_yaml(crd).unwrap().len())
        .sum();
    assert!(total <= MAX_BYTES, "{total} bytes");
}

/// `[rules of structural schemas](https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/)`.
fn structural_faults(node: &Value, path: &str, is_root: bool, faults: &mut Vec<String>) {
    let flag = |name: &str| node.get(name).and_then(Value::as_bool).unwrap_or(false);
    let is_open = flag("x-kubernetes-int-or-string") || flag("x-kubernetes-preserve-unknown-fields");
    if node.get("type").is_none() && !is_open {
        faults.push(format!("{path}: neither a type nor open"));
    }
    for banned in [
        "$ref",
        "$schema",
        "definitions",
        "patternProperties",
        "uniqueItems",
        "deprecated",
        "nullable",
        "const",
    ] {
        if node.get(banned).is_some() {
            faults.push(format!("{path}: {banned}"));
        }
    }
    if node.get("properties").is_some() && node.get("additionalProperties").is_some() {
        faults.push(format!("{path}: both properties and additionalProperties"));
    }
    if node.get("type").and_then(Value::as_str) == Some("array") && node.get("items").is_none() {
        faults.push(format!("{path}: a list without items"));
    }
    if !is_root && path == ".metadata" {
        faults.push(format!("{path}: metadata is not ours to describe"));
    }
    for (name, child) in node
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        structural_faults(child, &format!("{path}.{name}"), false, faults);
    }
    for (name, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(child) = node.get(name) {
            structural_faults(child, &format!("{path}{mark}"), false, faults);
        }
    }
}

/// The rules of the CRD cannot refer to the list, so they repeat it.
#[test]
fn annotations_are_allowed_from_one_list() {
    let path = root().join("crds/rollouts.yaml");
    let definition = fs::read_to_string(path).unwrap();
    let mut listed = CANARY_ANNOTATIONS.map(|name| format!("'{name}'"));
    listed.sort();
    let rules = definition
        .lines()
        .filter(|line| line.contains("rule:") && line.contains("IngressAnnotations"));
    let mut count = 0;
    for rule in rules {
        let list = rule.split_once('[').unwrap().1.split_once(']').unwrap().0;
        let mut named: Vec<&str> = list.split(", ").collect();
        named.sort();
        assert_eq!(named, listed);
        count += 1;
    }
    assert_eq!(count, 2);
}

#[test]
fn schemas_are_structural() {
    let mut faults = Vec::new();
    for crd in crd::all().unwrap() {
        let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap();
        structural_faults(schema, "", true, &mut faults);
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

fn columns(crd: &Value, is_wide: bool) -> Vec<String> {
    let listed = crd
        .pointer("/spec/versions/0/additionalPrinterColumns")
        .and_then(Value::as_array);
    let of_width = |column: &&Value| column.get("priority").is_some() == is_wide;
    let name = |column: &Value| column["name"].as_str().unwrap().to_uppercase();
    listed.into_iter().flatten().filter(of_width).map(name).collect()
}

#[test]
fn kubectl_shows_and_finds_every_kind() {
    let all = crd::all().unwrap();
    let mut short_names = Vec::new();
    for crd in &all {
        let names = &crd["spec"]["names"];
        assert!(
            names["categories"]
                .as_array()
                .unwrap()
                .contains(&"delivery".into()),
            "{names}"
        );
        let has = |pointer: &str| crd.pointer(pointer).is_some();
        assert_eq!(
            has("/spec/versions/0/subresources/status"),
            has("/spec/versions/0/schema/openAPIV3Schema/properties/status"),
            "{names}"
        );
        short_names.push(names["shortNames"][0].as_str().unwrap());
    }
    assert_eq!(short_names, ["rol", "at", "cat", "ar", "rolcmd"]);
    let rollout = &all[0];
    assert_eq!(
        columns(rollout, false),
        ["STATUS", "STEP", "WEIGHT", "VERDICT", "READY", "AGE"]
    );
    assert_eq!(columns(rollout, true), ["REVISION", "IMAGE", "WAITING-ON"]);
    let scale = rollout.pointer("/spec/versions/0/subresources/scale").unwrap();
    assert_eq!(scale["specReplicasPath"], ".spec.replicas");
    assert_eq!(scale["statusReplicasPath"], ".status.HPAReplicas");
    assert_eq!(scale["labelSelectorPath"], ".status.selector");
}

fn node<'a>(schema: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(schema, |node, segment| {
        let name = segment.trim_end_matches("[]");
        let child = node.get("properties")?.get(name)?;
        if segment.ends_with("[]") {
            child.get("items")
        } else {
            Some(child)
        }
    })
}

#[test]
fn every_argo_field_that_is_promised_is_in_the_schema() {
    for field in FIELDS {
        let kind = match field.home {
            Home::Rollout => "Rollout",
            Home::Template | Home::Metric => "AnalysisTemplate",
            Home::Run => "AnalysisRun",
        };
        let schema = crd::schema_of(kind).unwrap().unwrap();
        assert!(
            node(&schema, field.path).is_some(),
            "{} is not in the schema of {kind}",
            field.path
        );
        if let Support::Refused(_) = field.support {
            let rules = &node(&schema, field.path).unwrap()["x-kubernetes-validations"];
            let refuses = |rule: &Value| rule["rule"] == "false";
            assert!(
                rules.as_array().unwrap().iter().any(refuses),
                "{} is not refused",
                field.path
            );
        }
    }
}

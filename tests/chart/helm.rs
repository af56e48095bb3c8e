//! Helm, and what it makes of the chart.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use serde_json::Value;

pub const NAMESPACE: &str = "tidegate-system";
/// The oldest that the chart is for.
pub const KUBERNETES: &str = "1.30.0";

static HELM: LazyLock<PathBuf> = LazyLock::new(|| {
    let found = Command::new(root().join("scripts/ensure-helm")).output().unwrap();
    assert!(
        found.status.success(),
        "{}",
        String::from_utf8_lossy(&found.stderr)
    );
    PathBuf::from(String::from_utf8(found.stdout).unwrap().trim())
});

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn chart() -> PathBuf {
    root().join("charts/tidegate")
}

pub fn helm(arguments: &[&str]) -> Output {
    Command::new(&*HELM).args(arguments).output().unwrap()
}

/// `helm template` with these values, each as `--set` takes it.
pub fn template(values: &[&str]) -> Output {
    let chart = chart();
    let mut arguments = vec!["template", "tidegate", chart.to_str().unwrap()];
    arguments.extend(["--namespace", NAMESPACE, "--kube-version", KUBERNETES]);
    arguments.extend(values.iter().flat_map(|value| ["--set-json", value]));
    helm(&arguments)
}

/// The text of all objects, which must come out.
pub fn text(values: &[&str]) -> String {
    let output = template(values);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{values:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

pub fn objects(values: &[&str]) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text(values)).unwrap();
    documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect()
}

pub fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// Roles of this kind that are the controller's: those that the chart binds.
pub fn bound<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let is_bound = |role: &&Value| {
        objects.iter().any(|object| {
            object["roleRef"]["kind"] == kind && object["roleRef"]["name"] == role["metadata"]["name"]
        })
    };
    of_kind(objects, kind).into_iter().filter(is_bound).collect()
}

pub fn the<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found = of_kind(objects, kind);
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}

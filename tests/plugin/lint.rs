//! `lint` as it is used: on what users copy, against a cluster, strictly, and by pre-commit.

use serde_json::{Value, json};
use tidegate::sandbox::api_server::http::HttpServer;

use crate::binary::{lint, run, serve};
use crate::cluster::{Cluster, NAMESPACE};

fn path(of: &str) -> String {
    format!("{}/{of}", env!("CARGO_MANIFEST_DIR"))
}

/// What users copy. That its pods stop at once is left to those who know their data plane.
#[test]
fn the_examples_have_no_findings() {
    let (code, out, err) = run(&["lint", &path("examples/checkout"), &path("analysis-templates")]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(err.contains(" 0 errors"), "{err}");
    let others = out
        .lines()
        .filter(|line| !line.contains("no preStop hook and no spec.drainSeconds"));
    assert_eq!(others.count(), 0, "{out}");
}

const ROLLOUT: &str = "\
apiVersion: tidegate.dev/v1alpha1
kind: Rollout
metadata: {name: checkout}
spec:
  replicas: 2
  drainSeconds: 5
  selector: {matchLabels: {app: checkout}}
  template:
    metadata: {labels: {app: checkout}}
    spec:
      containers:
      - {name: app, image: 'checkout:v1', ports: [{name: http, containerPort: 8080}], readinessProbe: {},
         resources: {requests: {cpu: 1}, limits: {memory: 1Gi}}}
  strategy:
    canary:
      stableService: stable
      canaryService: canary
      steps:
      - setWeight: 5
      - analysis: {templates: [{templateName: errors}]}
";

#[test]
fn strictly_a_warning_is_an_error() {
    assert_eq!(
        lint(ROLLOUT, &[]),
        (0, String::new(), "1 objects, 0 errors, 0 warnings\n".to_owned())
    );
    assert_eq!(lint(ROLLOUT, &["--strict"]).0, 0);
    let single = ROLLOUT.replace("replicas: 2", "replicas: 1");
    let begin = "<stdin>:5:3: warning: spec.replicas: one replica";
    for (flags, expected) in [(&[][..], 0), (&["--strict"], 1)] {
        let (code, out, _) = lint(&single, flags);
        assert_eq!(code, expected);
        assert!(out.starts_with(begin), "{out}");
    }
}

#[test]
fn replicas_are_left_out_for_an_autoscaler_alone() {
    let without = ROLLOUT.replace("  replicas: 2\n", "");
    let (code, out, _) = lint(&without, &["--strict"]);
    assert_eq!(code, 1);
    assert!(
        out.starts_with("<stdin>:4:1: warning: spec.replicas: is left out"),
        "{out}"
    );
    let scaled = format!(
        "{without}---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: checkout}}\nspec:\n  \
         scaleTargetRef: {{apiVersion: tidegate.dev/v1alpha1, kind: Rollout, name: checkout}}\n"
    );
    assert_eq!(lint(&scaled, &["--strict"]).0, 0);
}

fn service(name: &str, port: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": "checkout"}, "ports": [{"port": 80, "targetPort": port}]}})
}

fn template(name: &str, other: Option<&str>) -> Value {
    let others: Vec<Value> = other.iter().map(|name| json!({"templateName": name})).collect();
    json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": name},
        "spec": {"templates": others, "metrics": [{
            "name": name, "count": 1, "successCondition": "result[0] < 1",
            "provider": {"prometheus": {"query": "vector(0)"}}}]}})
}

/// With these objects in it.
async fn cluster_with(objects: &[Value], name: &str) -> (Cluster, HttpServer, std::path::PathBuf) {
    let cluster = Cluster::with_rollout(json!({})).await;
    for object in objects {
        cluster.put(object).await;
    }
    let (server, kubeconfig) = serve(&cluster, name).await;
    (cluster, server, kubeconfig)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_named_is_looked_up_in_the_cluster() {
    let objects = [
        service("stable", "http"),
        service("canary", "http"),
        template("errors", Some("latency")),
        template("latency", None),
    ];
    let (_cluster, server, kubeconfig) = cluster_with(&objects, "lint").await;
    let flags = [
        "--with-cluster",
        "-n",
        NAMESPACE,
        "--kubeconfig",
        kubeconfig.to_str().unwrap(),
    ];
    assert_eq!(
        lint(ROLLOUT, &flags),
        (0, String::new(), "1 objects, 0 errors, 0 warnings\n".to_owned())
    );
    // In another namespace there is nothing of it.
    let elsewhere = ROLLOUT.replace("{name: checkout}", "{name: checkout, namespace: default}");
    let (code, out, _) = lint(&elsewhere, &flags);
    assert_eq!((code, out.lines().count()), (1, 3), "{out}");
    let place = "<stdin>:16:7: spec.strategy.canary.stableService: ";
    let problem = "Service \"stable\" is neither in the manifests nor in the cluster";
    assert!(out.starts_with(&format!("{place}{problem}\n")), "{out}");
    drop(server);
    let (code, out, err) = lint(ROLLOUT, &flags);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("cannot reach the server to get "), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_has_is_checked_with_the_rest() {
    let objects = [
        service("stable", "http"),
        service("canary", "grpc"),
        template("errors", Some("gone")),
    ];
    let (_cluster, _server, kubeconfig) = cluster_with(&objects, "lint-wrong").await;
    let flags = [
        "--with-cluster",
        "-n",
        NAMESPACE,
        "--kubeconfig",
        kubeconfig.to_str().unwrap(),
    ];
    let (code, out, _) = lint(ROLLOUT, &flags);
    assert_eq!(code, 1);
    assert!(
        out.contains("Service canary: spec.ports[].targetPort: no container"),
        "{out}"
    );
}

/// pre-commit appends `args` to the entry, and files only where it is to pass them: a Rollout alone does not show that the
/// template it names has gone.
#[test]
fn the_hook_is_one_that_works() {
    let hooks: Value =
        serde_saphyr::from_str(&std::fs::read_to_string(path(".pre-commit-hooks.yaml")).unwrap()).unwrap();
    let hook = &hooks[0];
    assert_eq!(
        (&hook["id"], &hook["language"]),
        (&json!("tidegate-lint"), &json!("system"))
    );
    let entry: Vec<&str> = hook["entry"].as_str().unwrap().split(' ').collect();
    assert_eq!(entry[0], "kubectl-tidegate");
    assert_eq!(hook["pass_filenames"], json!(false));
    let docs = std::fs::read_to_string(path("docs/kubectl-plugin.md")).unwrap();
    let (_, after) = docs.split_once("# .pre-commit-config.yaml\n").unwrap();
    let (config, _) = after.split_once("```").unwrap();
    let config: Value = serde_saphyr::from_str(config).unwrap();
    let used = &config["repos"][0]["hooks"][0];
    assert_eq!(used["id"], hook["id"]);
    let deploy = path("examples/checkout");
    let args = used["args"].as_array().unwrap().iter();
    let args = args.map(|argument| match argument.as_str().unwrap() {
        "deploy/" => deploy.as_str(),
        flag => flag,
    });
    let arguments: Vec<&str> = entry[1..].iter().copied().chain(args).collect();
    assert!(arguments.contains(&deploy.as_str()), "{arguments:?}");
    let (code, out, err) = run(&arguments);
    // The example keeps one warning, and strictly that is an error.
    assert_eq!(code, 1, "{out}{err}");
    assert!(
        !out.contains(" error: ") && err.contains(" 0 errors, "),
        "{out}{err}"
    );
}

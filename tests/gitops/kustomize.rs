//! `gitops/kustomize/tidegate.yaml` in the hands of a real Kustomize.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn kustomize() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = Command::new(root.join("scripts/ensure-kustomize"))
        .output()
        .unwrap();
    assert!(
        found.status.success(),
        "{}",
        String::from_utf8_lossy(&found.stderr)
    );
    PathBuf::from(String::from_utf8(found.stdout).unwrap().trim())
}

/// Everything that a Rollout can name.
const RESOURCES: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: Rollout
metadata: { name: checkout }
spec:
  selector: { matchLabels: { app: checkout } }
  template:
    metadata: { labels: { app: checkout } }
    spec:
      serviceAccountName: account
      imagePullSecrets: [{ name: secret }]
      initContainers:
      - name: init
        image: registry.example/init:v1
        env:
        - { name: A, valueFrom: { configMapKeyRef: { name: settings, key: a } } }
        - { name: B, valueFrom: { secretKeyRef: { name: secret, key: b } } }
        envFrom: [{ configMapRef: { name: settings } }, { secretRef: { name: secret } }]
      containers:
      - name: app
        image: registry.example/checkout:v1
        env:
        - { name: A, valueFrom: { configMapKeyRef: { name: settings, key: a } } }
        - { name: B, valueFrom: { secretKeyRef: { name: secret, key: b } } }
        envFrom: [{ configMapRef: { name: settings } }, { secretRef: { name: secret } }]
      volumes:
      - { name: a, configMap: { name: settings } }
      - { name: b, secret: { secretName: secret } }
      - { name: c, persistentVolumeClaim: { claimName: claim } }
      - { name: d, projected: { sources: [{ configMap: { name: settings } }, { secret: { name: secret } }] } }
  strategy:
    canary:
      stableService: stable
      canaryService: canary
      trafficRouting:
        nginx: { stableIngress: web, stableIngresses: [web] }
        gatewayAPI: { httpRoutes: [{ name: route }] }
      analysis: { templates: [{ templateName: errors }], args: [{ name: service, value: canary }] }
      bake:
        analysis:
          templates: [{ templateName: latency, clusterScope: true }]
          args: [{ name: service, value: stable }]
      steps:
      - setWeight: 10
      - analysis:
          templates: [{ templateName: errors }, { templateName: latency, clusterScope: true }]
          args:
          - { name: canaryService, value: canary }
          - { name: window, value: 1m }
          - { name: namespace, valueFrom: { fieldRef: { fieldPath: metadata.namespace } } }
---
apiVersion: v1
kind: Service
metadata: { name: stable }
---
apiVersion: v1
kind: Service
metadata: { name: canary }
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: web }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: route }
spec: { rules: [{ backendRefs: [{ name: stable, port: 80 }] }] }
---
apiVersion: tidegate.dev/v1alpha1
kind: AnalysisTemplate
metadata: { name: errors }
spec: { templates: [{ templateName: latency, clusterScope: true }] }
---
apiVersion: tidegate.dev/v1alpha1
kind: ClusterAnalysisTemplate
metadata: { name: latency }
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: { name: checkout }
spec: { scaleTargetRef: { apiVersion: tidegate.dev/v1alpha1, kind: Rollout, name: checkout } }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: account }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: settings }
---
apiVersion: v1
kind: Secret
metadata: { name: secret }
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: { name: claim }
";

const KUSTOMIZATION: &str = "
resources: [resources.yaml]
configurations: [tidegate.yaml]
namePrefix: eu-
images: [{ name: registry.example/checkout, newTag: v2 }, { name: registry.example/init, digest: 'sha256:00' }]
replicas: [{ name: checkout, count: 7 }]
labels: [{ pairs: { team: payments }, includeSelectors: true }]
commonAnnotations: { owner: ada }
";

/// What Kustomize makes of it, by kind.
fn build(kustomization: &str) -> Value {
    static FOLDERS: AtomicU32 = AtomicU32::new(0);
    let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
    let name = format!("tidegate-kustomize-{}-{number}", process::id());
    let folder = Folder(std::env::temp_dir().join(name));
    fs::create_dir_all(&folder.0).unwrap();
    let configuration = include_str!("../../gitops/kustomize/tidegate.yaml");
    for (name, text) in [
        ("kustomization.yaml", kustomization),
        ("resources.yaml", RESOURCES),
        ("tidegate.yaml", configuration),
    ] {
        fs::write(folder.0.join(name), text).unwrap();
    }
    let built = Command::new(kustomize())
        .arg("build")
        .arg(&folder.0)
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&String::from_utf8(built.stdout).unwrap()).unwrap();
    documents
        .into_iter()
        .map(|object| (object["kind"].as_str().unwrap().to_owned(), object))
        .collect()
}

/// The values of every field that is a name in another object, with where they are.
fn names(path: &str, node: &Value, found: &mut Vec<(String, String)>) {
    const FIELDS: [&str; 11] = [
        "name",
        "value",
        "secretName",
        "claimName",
        "serviceAccountName",
        "stableService",
        "canaryService",
        "stableIngress",
        "stableIngresses",
        "templateName",
        "rollout",
    ];
    match node {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(key, value)| names(&format!("{path}/{key}"), value, found)),
        Value::Array(items) => items.iter().for_each(|item| names(path, item, found)),
        Value::String(text) if FIELDS.contains(&path.rsplit('/').next().unwrap()) => {
            found.push((path.to_owned(), text.clone()));
        }
        _ => {}
    }
}

#[test]
fn kustomize_follows_every_name_in_a_rollout() {
    let objects = build(KUSTOMIZATION);
    let mut found = Vec::new();
    for kind in [
        "Rollout",
        "HTTPRoute",
        "AnalysisTemplate",
        "HorizontalPodAutoscaler",
    ] {
        names(kind, &objects[kind]["spec"], &mut found);
    }
    // These name nothing but themselves.
    let own = [
        "args/name",
        "containers/name",
        "initContainers/name",
        "env/name",
        "volumes/name",
    ];
    found.retain(|(path, _)| !own.iter().any(|own| path.ends_with(own)));
    // An argument that is no name stays.
    let window = found.iter().position(|(_, name)| name == "1m").unwrap();
    found.remove(window);
    let left: Vec<_> = found
        .iter()
        .filter(|(_, name)| !name.starts_with("eu-"))
        .collect();
    assert!(left.is_empty(), "not renamed: {left:?}");
    assert_eq!(found.len(), 30, "{found:?}");
}

#[test]
fn kustomize_sets_images_replicas_labels_and_annotations() {
    let rollout = build(KUSTOMIZATION)["Rollout"].clone();
    let spec = &rollout["spec"];
    let pod = &spec["template"];
    assert_eq!(
        pod["spec"]["containers"][0]["image"],
        "registry.example/checkout:v2"
    );
    assert_eq!(
        pod["spec"]["initContainers"][0]["image"],
        "registry.example/init@sha256:00"
    );
    assert_eq!(spec["replicas"], 7);
    let labels = json!({"app": "checkout", "team": "payments"});
    assert_eq!(spec["selector"]["matchLabels"], labels);
    assert_eq!(pod["metadata"]["labels"], labels);
    assert_eq!(pod["metadata"]["annotations"], json!({"owner": "ada"}));
}

/// The configuration is what does it: without it the names of the Services stay.
#[test]
fn without_the_configuration_names_are_not_followed() {
    let plain = KUSTOMIZATION.replace("configurations: [tidegate.yaml]\n", "");
    let plain = plain.replace("replicas: [{ name: checkout, count: 7 }]\n", "");
    let rollout = build(&plain)["Rollout"].clone();
    assert_eq!(rollout["metadata"]["name"], "eu-checkout");
    assert_eq!(rollout["spec"]["strategy"]["canary"]["stableService"], "stable");
}

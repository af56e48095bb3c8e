//! What comes out, for each way to set the values.

use serde_json::{Value, json};
use tidegate::api::crd;

use crate::helm::{KUBERNETES, chart, helm, objects, of_kind, root, text, the};
use crate::object::faults;

/// Alerts, in both ways.
pub const ALERTS: &[&str] = &[
    "alerts.receiver.enabled=true",
    r#"alerts.receiver.tlsSecret="alert-tls""#,
    r#"alerts.receiver.tokensSecret="alert-tokens""#,
    r#"alerts.alertmanager.url="http://alertmanager.monitoring:9093""#,
];

/// Every value at least once away from its default.
const MATRIX: [&[&str]; 14] = [
    &[],
    &["clusterWide=true", r#"selector="team in (a, b),tier!=test""#],
    &[r#"namespaces=["shop","payments"]"#, "replicas=1"],
    &["routers.nginx=false", "admissionPolicies.enabled=false"],
    &[
        "routers.gatewayAPI=false",
        "crds.install=false",
        "userRoles.aggregate=false",
        r#"admissionPolicies.otherControllers=["system:serviceaccount:payments:tidegate"]"#,
    ],
    &[
        r#"prometheus.url="https://thanos.monitoring:10902/prefix""#,
        r#"prometheus.caConfigMap={"name":"authorities","key":"bundle.pem"}"#,
        r#"networkPolicy.prometheus={"ports":[10902],"to":[{"ipBlock":{"cidr":"10.0.0.0/8"}}]}"#,
        r#"networkPolicy.apiServer={"ports":[443],"cidrs":["10.96.0.1/32","fd00::1/128"]}"#,
        r#"networkPolicy.metricsFrom=[{"namespaceSelector":{"matchLabels":{"name":"monitoring"}}}]"#,
        r#"networkPolicy.extraEgress=[{"ports":[{"port":8080}]}]"#,
    ],
    ALERTS,
    &[
        r#"alerts.receiver={"enabled":true,"tlsSecret":"t","tokensSecret":"s","port":8443,"clientCertificates":true,"namespaceLabel":"ns","rolloutLabel":"app","from":[{"podSelector":{}}]}"#,
        r#"alerts.alertmanager={"url":"https://alertmanager.monitoring","pollInterval":"10s","tokenSecret":{"name":"a","key":"k"},"caConfigMap":{"name":"c","key":"bundle.pem"}}"#,
        r#"networkPolicy.alertmanager={"ports":[443],"to":[{"ipBlock":{"cidr":"10.0.0.0/8"}}]}"#,
    ],
    &[
        "alerts.receiver.enabled=true",
        r#"alerts.receiver.tokensSecret="alert-tokens""#,
        r#"alerts.receiver.certManager.issuerRef.name="authority""#,
    ],
    &[
        r#"alerts.receiver={"enabled":true,"tlsSecret":"t","tokensSecret":"s"}"#,
        r#"alerts.receiver.certManager.issuerRef={"name":"a","kind":"StepClusterIssuer","group":"certmanager.step.sm"}"#,
    ],
    &[
        "podMonitor.enabled=true",
        r#"podMonitor.labels={"release":"prometheus"}"#,
        r#"podMonitor.interval="30s""#,
        "prometheusRule.enabled=true",
        r#"prometheusRule.labels={"release":"prometheus"}"#,
        "dashboard.enabled=true",
        r#"dashboard.annotations={"folder":"Delivery"}"#,
        r#"dashboard.labels={"grafana":"yes"}"#,
    ],
    &[
        r#"image={"repository":"registry.example:5000/tide/gate","digest":"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","pullPolicy":"Always"}"#,
        r#"imagePullSecrets=[{"name":"registry"}]"#,
        r#"serviceAccount={"name":"gate-keeper","annotations":{"a":"b"}}"#,
        r#"fullnameOverride="gate""#,
        r#"nameOverride="tide""#,
    ],
    &[
        r#"podAnnotations={"a":"1"}"#,
        r#"podLabels={"b":"true"}"#,
        r#"priorityClassName="system-cluster-critical""#,
        r#"nodeSelector={"kubernetes.io/os":"linux"}"#,
        r#"tolerations=[{"operator":"Exists"}]"#,
        r#"affinity={"nodeAffinity":{}}"#,
        r#"topologySpreadConstraints=[{"maxSkew":2,"topologyKey":"zone","whenUnsatisfiable":"DoNotSchedule"}]"#,
    ],
    &[
        r#"resources={"limits":{"cpu":2,"memory":"1Gi"},"requests":{"cpu":"0.5"}}"#,
        r#"log={"format":"text","level":"debug"}"#,
        r#"metrics={"host":"[::]","port":9000}"#,
        "podDisruptionBudget.enabled=false",
        "networkPolicy.enabled=false",
        "userRoles.enabled=false",
    ],
];

#[test]
fn helm_has_nothing_to_complain_about() {
    let chart = chart();
    for values in MATRIX {
        let mut arguments = vec![
            "lint",
            "--strict",
            "--kube-version",
            KUBERNETES,
            chart.to_str().unwrap(),
        ];
        arguments.extend(values.iter().flat_map(|value| ["--set-json", value]));
        let output = helm(&arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{values:?}: {said}");
        assert!(!said.contains("[WARNING]"), "{values:?}: {said}");
    }
}

#[test]
fn kubernetes_knows_every_object() {
    for values in MATRIX {
        for object in objects(values) {
            let found = faults(&object);
            assert!(
                found.is_empty(),
                "{values:?}, {} {}: {found:#?}",
                object["kind"],
                object["metadata"]["name"]
            );
        }
    }
}

#[test]
fn the_default_is_this() {
    let rendered = text(&["crds.install=false"]);
    // Helm 3 and 4 differ in empty lines.
    let lines: Vec<&str> = rendered.lines().filter(|line| !line.trim().is_empty()).collect();
    insta::assert_snapshot!("default", lines.join("\n"));
}

/// Helm deletes what is not marked, and every Rollout with it.
#[test]
fn definitions_are_those_of_the_types_and_are_kept() {
    let rendered = objects(&[]);
    let definitions = of_kind(&rendered, "CustomResourceDefinition");
    let mut found = Vec::new();
    for definition in definitions {
        let mut definition = definition.clone();
        let annotations = definition["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("annotations");
        assert_eq!(annotations, Some(json!({"helm.sh/resource-policy": "keep"})));
        found.push(definition);
    }
    let mut made = crd::all().unwrap();
    let by_name = |crd: &Value| crd["metadata"]["name"].as_str().unwrap().to_owned();
    found.sort_by_key(by_name);
    made.sort_by_key(by_name);
    assert_eq!(found, made);
    let without = objects(&["crds.install=false"]);
    assert!(of_kind(&without, "CustomResourceDefinition").is_empty());
}

/// [Pod Security Standard](https://kubernetes.io/docs/concepts/security/pod-security-standards/) `restricted`.
#[test]
fn the_pod_is_restricted() {
    let rendered = objects(&[]);
    let pod = &the(&rendered, "Deployment")["spec"]["template"]["spec"];
    for field in [
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "volumes",
        "initContainers",
        "ephemeralContainers",
    ] {
        assert_eq!(pod.get(field), None, "{field}");
    }
    assert_eq!(
        pod["securityContext"],
        json!({
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        })
    );
    let containers = pod["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    assert_eq!(
        containers[0]["securityContext"],
        json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        })
    );
    assert_eq!(containers[0]["resources"]["limits"]["memory"], "128Mi");
}

/// The user of the image and of the pod are one, and the policies are bound to the pod's service account.
#[test]
fn the_parts_fit_together() {
    let values = [
        r#"serviceAccount={"name":"gate-keeper"}"#,
        r#"fullnameOverride="gate""#,
    ];
    let rendered = objects(&values);
    let dockerfile = std::fs::read_to_string(root().join("Dockerfile")).unwrap();
    assert!(dockerfile.contains("\nUSER 65532:65532\n"));
    let deployment = &the(&rendered, "Deployment")["spec"];
    assert_eq!(
        deployment["template"]["spec"]["serviceAccountName"],
        "gate-keeper"
    );
    for selector in [
        &deployment["selector"]["matchLabels"],
        &the(&rendered, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        &the(&rendered, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ] {
        for (name, value) in selector.as_object().unwrap() {
            assert_eq!(&deployment["template"]["metadata"]["labels"][name], value);
        }
    }
    let policies = of_kind(&rendered, "ValidatingAdmissionPolicy");
    let bindings = of_kind(&rendered, "ValidatingAdmissionPolicyBinding");
    assert_eq!((policies.len(), bindings.len()), (7, 7));
    for (policy, binding) in policies.iter().zip(bindings) {
        let spec = &policy["spec"];
        assert_eq!(policy["metadata"]["name"], binding["spec"]["policyName"]);
        assert_eq!(binding["spec"]["validationActions"], json!(["Deny"]));
        // One concerns everybody, and the controller otherwise.
        let (known_by, operator) = match spec["matchConditions"].as_array() {
            Some(conditions) => (&conditions[0]["expression"], "=="),
            None => (&spec["variables"][1]["expression"], "in"),
        };
        let name = "'system:serviceaccount:tidegate-system:gate-keeper'";
        let name = if operator == "in" {
            format!("[{name}]")
        } else {
            name.to_owned()
        };
        assert_eq!(*known_by, format!("request.userInfo.username {operator} {name}"));
    }
}

/// What Alertmanager sends reaches every replica, by the port that it listens on and the NetworkPolicy opens.
#[test]
fn alerts_come_in_only_where_they_are_wanted() {
    let without = objects(&[]);
    assert!(of_kind(&without, "Service").is_empty());
    let rendered = objects(ALERTS);
    let pod = &the(&rendered, "Deployment")["spec"]["template"];
    let service = &the(&rendered, "Service")["spec"];
    for (name, value) in service["selector"].as_object().unwrap() {
        assert_eq!(&pod["metadata"]["labels"][name], value);
    }
    let container = &pod["spec"]["containers"][0];
    assert_eq!(
        container["ports"][1],
        json!({"name": "alerts", "containerPort": 9443})
    );
    assert_eq!(service["ports"][0]["targetPort"], "alerts");
    // One that cannot list some namespace acts on the alerts about all others.
    assert_eq!(service["publishNotReadyAddresses"], true);
    let policy = &the(&rendered, "NetworkPolicy")["spec"];
    assert_eq!(policy["ingress"][1]["ports"][0]["port"], "alerts");
    let mounted: Vec<&str> = container["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| mount["mountPath"].as_str().unwrap())
        .collect();
    let arguments: Vec<&str> = container["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|argument| argument.as_str().unwrap())
        .collect();
    for argument in [
        "--alert-address=0.0.0.0:9443",
        "--alertmanager-url=http://alertmanager.monitoring:9093",
    ] {
        assert!(arguments.contains(&argument), "{arguments:?}");
    }
    let files = ["--alert-tls-cert=", "--alert-tls-key=", "--alert-tokens="];
    for flag in files {
        let file = arguments
            .iter()
            .find_map(|argument| argument.strip_prefix(flag))
            .unwrap();
        assert!(mounted.iter().any(|folder| file.starts_with(folder)), "{file}");
    }
}

#[test]
fn arguments_say_where_to_look() {
    for (values, expected) in [
        (vec![], Some("--namespaces=tidegate-system")),
        (
            vec![r#"namespaces=["shop","payments"]"#],
            Some("--namespaces=shop,payments"),
        ),
        (vec!["clusterWide=true"], None),
    ] {
        let rendered = objects(&values);
        let container = &the(&rendered, "Deployment")["spec"]["template"]["spec"]["containers"][0];
        let arguments = container["args"].as_array().unwrap();
        let namespaces: Vec<&str> = arguments
            .iter()
            .filter_map(Value::as_str)
            .filter(|argument| argument.starts_with("--namespaces"))
            .collect();
        assert_eq!(namespaces, Vec::from_iter(expected));
        assert!(arguments.contains(&json!("--lease-name=tidegate")));
    }
}

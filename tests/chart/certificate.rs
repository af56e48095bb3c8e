//! The certificate of the receiver of alerts where cert-manager makes it: asked for under every name that the Service
//! has, and mounted from the Secret that it is written to.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::helm::{NAMESPACE, objects, of_kind, the};
use crate::object::faults;
use crate::render::ALERTS;

/// Of cert-manager's definition what the chart writes: what is optional here is optional there, and a name or an enum
/// value that is not here is a fault. At least one name is wanted by its webhook.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    spec: CertificateSpec,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificateSpec {
    secret_name: String,
    issuer_ref: IssuerRef,
    dns_names: Vec<String>,
    usages: Option<Vec<Usage>>,
    private_key: Option<PrivateKey>,
}

#[derive(Deserialize, Serialize)]
struct IssuerRef {
    name: String,
    kind: Option<String>,
    group: Option<String>,
}

#[derive(Deserialize, Serialize)]
enum Usage {
    #[serde(rename = "digital signature")]
    DigitalSignature,
    #[serde(rename = "key encipherment")]
    KeyEncipherment,
    #[serde(rename = "server auth")]
    ServerAuth,
    #[serde(rename = "client auth")]
    ClientAuth,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct PrivateKey {
    algorithm: Option<Algorithm>,
    rotation_policy: Option<RotationPolicy>,
}

#[derive(Deserialize, Serialize)]
enum Algorithm {
    #[serde(rename = "RSA")]
    Rsa,
    #[serde(rename = "ECDSA")]
    Ecdsa,
    Ed25519,
}

#[derive(Deserialize, Serialize)]
enum RotationPolicy {
    Never,
    Always,
}

const RECEIVER: [&str; 2] = [
    "alerts.receiver.enabled=true",
    r#"alerts.receiver.tokensSecret="alert-tokens""#,
];
const ISSUER: &str = r#"alerts.receiver.certManager.issuerRef.name="authority""#;

fn with_receiver<'a>(more: &[&'a str]) -> Vec<Value> {
    let values: Vec<&'a str> = RECEIVER.into_iter().chain(more.iter().copied()).collect();
    objects(&values)
}

/// The Secret that the receiver reads its certificate from.
fn mounted(rendered: &[Value]) -> &Value {
    let volumes = &the(rendered, "Deployment")["spec"]["template"]["spec"]["volumes"];
    let mut volumes = volumes.as_array().unwrap().iter();
    &volumes.find(|volume| volume["name"] == "alert-tls").unwrap()["secret"]["secretName"]
}

#[test]
fn it_is_asked_for_under_every_name_of_the_service() {
    let rendered = with_receiver(&[ISSUER, r#"fullnameOverride="gate""#]);
    let certificate = the(&rendered, "Certificate");
    assert_eq!(certificate["metadata"]["namespace"], NAMESPACE);
    let service = &the(&rendered, "Service")["metadata"]["name"];
    assert_eq!(*service, "gate-alerts");
    assert_eq!(
        certificate["spec"],
        json!({
            "secretName": "gate-alert-tls",
            "issuerRef": {"name": "authority", "kind": "Issuer"},
            "dnsNames": [
                "gate-alerts.tidegate-system.svc",
                "gate-alerts.tidegate-system.svc.cluster.local",
                "gate-alerts.tidegate-system",
                "gate-alerts",
            ],
            "usages": ["digital signature", "server auth"],
            "privateKey": {"algorithm": "ECDSA", "rotationPolicy": "Always"},
        })
    );
}

#[test]
fn what_is_mounted_is_what_cert_manager_writes() {
    let named = r#"alerts.receiver.tlsSecret="alert-tls""#;
    for (more, expected) in [
        (&[ISSUER][..], "tidegate-alert-tls"),
        (&[ISSUER, named], "alert-tls"),
    ] {
        let rendered = with_receiver(more);
        assert_eq!(mounted(&rendered), expected);
        let certificate = the(&rendered, "Certificate");
        assert_eq!(certificate["spec"]["secretName"], expected);
    }
    assert_eq!(mounted(&with_receiver(&[named])), "alert-tls");
}

#[test]
fn the_issuer_is_the_one_that_is_named() {
    for issuer in [
        json!({"name": "authority", "kind": "ClusterIssuer"}),
        json!({"name": "42", "kind": "StepIssuer", "group": "certmanager.step.sm"}),
    ] {
        let value = format!("alerts.receiver.certManager.issuerRef={issuer}");
        let rendered = with_receiver(&[&value]);
        assert_eq!(the(&rendered, "Certificate")["spec"]["issuerRef"], issuer);
    }
}

/// Without cert-manager in the cluster, the API server would refuse the whole release.
#[test]
fn none_is_asked_for_unless_an_issuer_is_named_and_alerts_are_received() {
    for values in [&[][..], ALERTS, &[ISSUER]] {
        let rendered = objects(values);
        assert!(of_kind(&rendered, "Certificate").is_empty(), "{values:?}");
    }
}

#[test]
fn a_fault_in_one_is_found() {
    let rendered = with_receiver(&[ISSUER]);
    let valid = the(&rendered, "Certificate");
    assert_eq!(faults(valid), Vec::<String>::new());
    for (pointer, value, named) in [
        (
            "/spec",
            json!({"secretName": "a", "dnsNames": ["a"]}),
            "issuerRef",
        ),
        ("/spec/secretName", Value::Null, "string"),
        ("/spec/issuerRef", json!({"kind": "Issuer"}), "name"),
        ("/spec/issuerRef", json!({"name": "a", "type": "Issuer"}), "type"),
        ("/spec/dnsNames", json!("a"), "sequence"),
        ("/spec/usages/1", json!("server"), "server"),
        ("/spec/privateKey/algorithm", json!("ecdsa"), "ecdsa"),
        (
            "/spec/privateKey",
            json!({"rotation": "Always"}),
            ".spec.privateKey.rotation",
        ),
    ] {
        let mut certificate = valid.clone();
        *certificate.pointer_mut(pointer).unwrap() = value;
        let found = faults(&certificate);
        assert!(
            found.iter().any(|fault| fault.contains(named)),
            "{pointer}: {found:?}"
        );
    }
}

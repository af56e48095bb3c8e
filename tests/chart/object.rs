//! Whether Kubernetes knows an object as it is written: each field by its name and type.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::certificate::Certificate;

/// What is wrong with it; nothing for most kinds that others define.
pub fn faults(object: &Value) -> Vec<String> {
    let kind = object["kind"].as_str().unwrap_or_default();
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    match (api_version, kind) {
        ("v1", "ServiceAccount") => read::<ServiceAccount>(object),
        ("v1", "ConfigMap") => read::<ConfigMap>(object),
        ("v1", "Service") => read::<Service>(object),
        ("apps/v1", "Deployment") => read::<Deployment>(object),
        ("policy/v1", "PodDisruptionBudget") => read::<PodDisruptionBudget>(object),
        ("networking.k8s.io/v1", "NetworkPolicy") => read::<NetworkPolicy>(object),
        ("rbac.authorization.k8s.io/v1", "Role") => read::<Role>(object),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => read::<RoleBinding>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => read::<ClusterRole>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => read::<ClusterRoleBinding>(object),
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy") => {
            read::<ValidatingAdmissionPolicy>(object)
        }
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding") => {
            read::<ValidatingAdmissionPolicyBinding>(object)
        }
        ("cert-manager.io/v1", "Certificate") => read::<Certificate>(object),
        // tests/crds.rs judges these.
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition") => vec![],
        ("monitoring.coreos.com/v1", "PodMonitor" | "PrometheusRule") => vec![],
        _ => vec![format!("nobody knows {api_version} {kind}")],
    }
}

/// A field that is read and not written again is none of the type's.
fn read<T: DeserializeOwned + Serialize>(object: &Value) -> Vec<String> {
    match serde_json::from_value::<T>(object.clone()) {
        Ok(read) => lost(object, &json!(read), ""),
        Err(error) => vec![error.to_string()],
    }
}

fn lost(written: &Value, read: &Value, path: &str) -> Vec<String> {
    match (written, read) {
        (Value::Object(fields), _) => fields
            .iter()
            .flat_map(|(name, value)| lost(value, &read[name.as_str()], &format!("{path}.{name}")))
            .collect(),
        (Value::Array(items), Value::Array(found)) if items.len() == found.len() => (0..)
            .zip(items.iter().zip(found))
            .flat_map(|(index, (item, read)): (usize, _)| lost(item, read, &format!("{path}[{index}]")))
            .collect(),
        // A quantity may be written as a number.
        (Value::Number(number), Value::String(text)) if number.to_string() == *text => vec![],
        _ if written == read => vec![],
        _ => vec![format!("{path}: {written} is read as {read}")],
    }
}

#[test]
fn a_misspelt_field_is_found() {
    let mut deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "a"},
        "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "a", "imagePolicy": "Always"}]}}},
    });
    let found = faults(&deployment);
    assert_eq!(
        found,
        [".spec.template.spec.containers[0].imagePolicy: \"Always\" is read as null"]
    );
    deployment["spec"]["replicas"] = json!("two");
    assert!(
        faults(&deployment)[0].contains("i32"),
        "{:?}",
        faults(&deployment)
    );
}

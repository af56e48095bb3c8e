//! People with the chart's ClusterRoles, who type the plugin: what each may do, and where it is written who did it.

use std::collections::BTreeSet;
use std::process::Output;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use tidegate::api::names::{GROUP, HASH_LABEL};
use tidegate::sandbox::load::Tally;
use tidegate::sandbox::shop::{NAME, is_promoted};
use tokio::process::Command;

use super::open_at_half;
use crate::apply::apply;
use crate::audit::Audit;
use crate::control_plane::{EDITOR, OPERATOR, VIEWER};
use crate::patience::until;
use crate::tenant::Tenant;
use crate::traefik::Dialect;
use crate::world::{Throttle, World};

const REASON: &str = "the payment team has looked";

/// A viewer looks and is refused, an editor edits and is refused, an operator promotes; the audit log names them.
pub async fn people(world: &World, name: &str, dialect: Dialect, throttle: Throttle) -> Tally {
    let shop = open_at_half(world, name, dialect, throttle, |spec| {
        spec["drainSeconds"] = 5.into()
    })
    .await;
    for (person, role) in [
        (VIEWER, "tidegate-viewer"),
        (EDITOR, "tidegate-editor"),
        (OPERATOR, "tidegate-operator"),
    ] {
        bind(&shop, person, role).await;
    }
    look(&shop, VIEWER).await;
    let why = format!(
        "Error from server (Forbidden): you may not create rolloutcommands.{GROUP} in namespace {name:?}: "
    );
    refused(&shop, VIEWER, &["promote", NAME], &why).await;
    let why = format!(
        "Error from server (Forbidden): you may not patch rollouts.{GROUP} {NAME:?} in namespace {name:?}: "
    );
    refused(&shop, VIEWER, &["pause", NAME], &why).await;
    refused(&shop, OPERATOR, &["pause", NAME], &why).await;

    done(&shop, EDITOR, &["pause", NAME]).await;
    done(&shop, EDITOR, &["resume", NAME]).await;
    let why = format!(
        "Error from server (Forbidden): you may not create rolloutcommands.{GROUP} in namespace {name:?}: "
    );
    refused(&shop, EDITOR, &["abort", NAME], &why).await;

    done(&shop, OPERATOR, &["promote", NAME, "--reason", REASON]).await;
    let status = shop.until("v2 is promoted", is_promoted).await;
    let told = status.history.iter().find(|entry| entry.who == OPERATOR).unwrap();
    assert!(told.why.contains(REASON), "{told:?}");
    let log = type_as(&shop, OPERATOR, &["get", NAME]).await;
    let log = String::from_utf8(log.stdout).unwrap();
    assert!(log.contains(OPERATOR) && log.contains(REASON), "{log}");

    let create = format!("create {GROUP}/rolloutcommands");
    in_the_log(&shop, VIEWER, &format!("{create} 403")).await;
    in_the_log(&shop, EDITOR, &format!("{create} 403")).await;
    in_the_log(&shop, OPERATOR, &format!("{create} 201")).await;
    restart(&shop).await;
    shop.close().await
}

/// Every pod is replaced under a budget of one, while customers come.
async fn restart(shop: &Tenant<'_>) {
    shop.until_all_answered_by("v2").await;
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": NAME, "namespace": shop.namespace},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": NAME}}},
    });
    apply(&shop.world.client, budget).await;
    let hash = shop.until("v2 is promoted", is_promoted).await.stable_rs.unwrap();
    let pods = async || -> BTreeSet<String> {
        let api: Api<Pod> = Api::namespaced(shop.world.client.clone(), &shop.namespace);
        let own = ListParams::default().labels(&format!("{HASH_LABEL}={hash}"));
        let pods = api.list(&own).await.unwrap().items.into_iter();
        let pods = pods.filter(|pod| pod.metadata.deletion_timestamp.is_none());
        pods.map(|pod| pod.metadata.uid.unwrap()).collect()
    };
    let before = pods().await;
    let namespace = &shop.namespace;
    let why = "Error from server (Forbidden): you may not create pods/eviction ";
    refused(shop, OPERATOR, &["restart", NAME], why).await;
    done(shop, EDITOR, &["restart", NAME, "--timeout", "3m"]).await;
    let after = pods().await;
    assert_eq!(before.len(), after.len(), "{namespace}");
    assert!(before.is_disjoint(&after), "{namespace}");
    in_the_log(shop, EDITOR, "create /pods/eviction 201").await;
    shop.until_all_answered_by("v2").await;
}

/// `kubectl create rolebinding`.
async fn bind(shop: &Tenant<'_>, person: &str, role: &str) {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": person, "namespace": shop.namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": person}],
    });
    apply(&shop.world.client, binding).await;
}

/// The plugin itself, as this person.
async fn type_as(shop: &Tenant<'_>, person: &str, words: &[&str]) -> Output {
    let mut plugin = Command::new(env!("CARGO_BIN_EXE_kubectl-tidegate"));
    plugin.args(words).args(["--namespace", &shop.namespace]);
    plugin
        .arg("--kubeconfig")
        .arg(shop.world.control_plane.of_person(person));
    plugin.output().await.unwrap()
}

/// It takes a moment until a binding is known.
async fn look(shop: &Tenant<'_>, person: &str) {
    until(&format!("{person} may look"), || async {
        let output = type_as(shop, person, &["get", NAME]).await;
        output.status.success().then_some(()).ok_or(format!("{output:?}"))
    })
    .await;
}

async fn done(shop: &Tenant<'_>, person: &str, words: &[&str]) {
    look(shop, person).await;
    let output = type_as(shop, person, words).await;
    assert!(output.status.success(), "{person} {words:?}: {output:?}");
}

async fn refused(shop: &Tenant<'_>, person: &str, words: &[&str], why: &str) {
    look(shop, person).await;
    let output = type_as(shop, person, words).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{person} {words:?}: {output:?}");
    assert!(said.starts_with(why), "{person} {words:?}: {said}");
    assert!(said.contains(&format!("User \"{person}\"")), "{said}");
}

async fn in_the_log(shop: &Tenant<'_>, person: &str, line: &str) {
    until(&format!("the audit log has of {person}: {line}"), || async {
        let audit = Audit::read(&shop.world.control_plane.audit_log(), person);
        let answers = audit.answers(&shop.namespace);
        let found = answers.iter().any(|answer| answer == line);
        found.then_some(()).ok_or(format!("{answers:?}"))
    })
    .await;
}

//! `get -w` on a terminal: what is seen is what `get` prints for a screen so wide, with its header in place.

use std::path::Path;
use std::process::Command;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::binary::{plugin, serve};
use crate::cluster::{Cluster, NAMESPACE, paused};
use crate::terminal::Terminal;

const HEIGHT: u16 = 24;
/// More than fit.
const PODS: usize = 20;

fn get(kubeconfig: &Path) -> Command {
    let mut command = plugin();
    command.args(["get", "checkout", "-n", NAMESPACE, "--kubeconfig"]);
    command.arg(kubeconfig);
    command
}

/// The first lines of what `get` prints, and how many are missing.
fn expected(kubeconfig: &Path, width: u16, height: u16) -> Vec<String> {
    let printed = get(kubeconfig)
        .env("COLUMNS", width.to_string())
        .output()
        .unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let lines: Vec<String> = printed.lines().map(|line| line.trim_end().to_owned()).collect();
    let widest = lines.iter().map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= usize::from(width), "{printed}");
    let shown = usize::from(height) - 1;
    let more = format!("… {} more lines", lines.len() - shown);
    lines.into_iter().take(shown).chain([more]).collect()
}

async fn crowded() -> Cluster {
    let mut status = paused();
    status["message"] = json!(format!("it {} for promote", "waits ".repeat(40)));
    let cluster = Cluster::with_rollout(status).await;
    cluster.add_replica_set(2).await;
    cluster.add_replica_set(3).await;
    let pods: Api<Pod> = Api::namespaced(cluster.server.client("test"), NAMESPACE);
    for number in 0..PODS {
        let name = format!("checkout-h3-{}-{number:02}", "with-a-very-long-name".repeat(4));
        let owner =
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "checkout-h3", "uid": "h3"});
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"app": "checkout"}, "ownerReferences": [owner]},
            "spec": {"containers": [{"name": "app", "image": "checkout:v3"}]},
        }))
        .unwrap();
        pods.create(&PostParams::default(), &pod).await.unwrap();
    }
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_fits_its_screen_and_keeps_its_header() {
    let cluster = crowded().await;
    for width in [80, 200] {
        let (_server, kubeconfig) = serve(&cluster, &format!("screen-{width}")).await;
        let mut command = get(&kubeconfig);
        command.arg("-w");
        let mut terminal = Terminal::run(command, width, HEIGHT);
        let lines = expected(&kubeconfig, width, HEIGHT);
        assert!(lines[0].starts_with("Name:        checkout"), "{lines:?}");
        // A line as wide as the screen keeps its last character.
        assert!(
            width > 80 || lines.iter().any(|line| line.chars().count() == 80),
            "{lines:?}"
        );
        terminal.shows(&lines);

        let message = json!({"status": {"message": format!("seen at {width} columns")}});
        cluster
            .rollouts()
            .patch_status("checkout", &PatchParams::default(), &Patch::Merge(message))
            .await
            .unwrap();
        let changed = expected(&kubeconfig, width, HEIGHT);
        assert!(
            changed[3].contains(&format!("seen at {width} columns")),
            "{changed:?}"
        );
        terminal.shows(&changed);
        assert_eq!(terminal.has_wrapped_or_scrolled(), (false, false));

        // The window is made smaller.
        terminal.resize(width / 2 + 20, HEIGHT - 4);
        let smaller = expected(&kubeconfig, width / 2 + 20, HEIGHT - 4);
        terminal.shows(&smaller);
    }
}

/// Service accounts and people of an identity provider have long names; the reason is what somebody looks for.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_user_name_leaves_the_reason_on_the_screen() {
    let users = [
        "system:serviceaccount:argocd:argocd-server".to_owned(),
        format!("oidc:https://login.example.com/{}", "0123456789".repeat(3)),
    ];
    for (number, user) in users.iter().enumerate() {
        let mut status = paused();
        let why = "the p95 has doubled since Tuesday";
        status["history"] = json!([{"at": "2026-03-01T11:58:00Z", "who": user, "what": "PromotedInFull", "revision": 3, "why": why}]);
        let cluster = Cluster::with_rollout(status).await;
        let (_server, kubeconfig) = serve(&cluster, &format!("history-{number}")).await;
        let printed = get(&kubeconfig).env("COLUMNS", "80").output().unwrap();
        let printed = String::from_utf8(printed.stdout).unwrap();
        let line = printed
            .lines()
            .find(|line| line.starts_with("PromotedInFull"))
            .unwrap();
        assert!(line.chars().count() <= 80, "{line}");
        assert!(
            line.contains(&user[..10]) && line.contains("revision 3: the p95"),
            "{line}"
        );
        // Both ends of the name say who it was.
        let end: String = user.chars().skip(user.len() - 5).collect();
        assert!(line.contains(&format!("{end}   revision")), "{line}");
    }
}

/// A log that is read later: a line for each change and nothing that only a terminal understands.
#[tokio::test(flavor = "multi_thread")]
async fn status_is_plain_where_nobody_looks() {
    let cluster = Cluster::with_rollout(paused()).await;
    let (_server, kubeconfig) = serve(&cluster, "plain").await;
    let arguments = ["status", "checkout", "-n", NAMESPACE, "--kubeconfig"];
    let printed = plugin().args(arguments).arg(&kubeconfig).output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert_eq!(printed.lines().count(), 1, "{printed}");
    assert!(printed.starts_with("Paused: revision 3"), "{printed}");
    assert!(
        !printed.contains(|character: char| character.is_control() && character != '\n'),
        "{printed:?}"
    );
}

//! `tidegate controller` as a process: over HTTP, with signals.
#![cfg(feature = "sandbox")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is a failure"
)]

#[path = "controller_process/failover.rs"]
mod failover;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::api::crd;
use tidegate::api::resource::{ObjectKey, Resource};
use tidegate::cli::connect::{ConnectOptions, load};
use tidegate::client::{Api, Expected};
use tidegate::clock::Clock;
use tidegate::sandbox::api_server::http::HttpServer;
use tidegate::sandbox::api_server::service::Outcome;
use tidegate::sandbox::api_server::{ApiRequest, ApiServer, Fault, Interceptor};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};

/// A controller that has said where it serves its metrics.
struct Process {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    metrics: SocketAddr,
}

fn send(server: &ApiServer, method: &str, path: &str, content_type: &str, body: &Value) {
    let mut request = ApiRequest::new(method, path);
    request.content_type = content_type.to_owned();
    request.body = body.to_string().into_bytes();
    assert!(
        matches!(server.handle(&request), Outcome::Answer(answer) if answer.code < 300),
        "{method} {path}"
    );
}

fn post(server: &ApiServer, path: &str, object: &Value) {
    send(server, "POST", path, "application/json", object);
}

/// A server with a Rollout in each of these namespaces.
fn with_rollouts(namespaces: &[&str]) -> ApiServer {
    let server = ApiServer::new(1, Clock::System);
    for definition in crd::all().unwrap() {
        server.install_crd(definition).unwrap();
    }
    for namespace in namespaces {
        post(
            &server,
            "/api/v1/namespaces",
            &json!({"metadata": {"name": namespace}}),
        );
        let rollout = json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "checkout", "namespace": namespace},
            "spec": {
                "replicas": 1, "selector": {"matchLabels": {"app": "checkout"}},
                "template": {
                    "metadata": {"labels": {"app": "checkout"}},
                    "spec": {"containers": [{"name": "web", "image": "web:1"}]},
                },
                "strategy": {"canary": {"steps": [{"setWeight": 10}]}},
            },
        });
        let path = format!("/apis/tidegate.dev/v1alpha1/namespaces/{namespace}/rollouts");
        post(&server, &path, &rollout);
    }
    server
}

async fn listen(server: &ApiServer) -> (HttpServer, PathBuf) {
    let http = HttpServer::start(server.clone(), "127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let kubeconfig =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kubeconfig-{}", http.address.port()));
    http.write_kubeconfig(&kubeconfig).await.unwrap();
    (http, kubeconfig)
}

async fn run(server: &ApiServer, more: &[&str]) -> (Process, HttpServer) {
    let (http, kubeconfig) = listen(server).await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args([
            "controller",
            "--metrics-address",
            "127.0.0.1:0",
            "--log-format",
            "json",
            "--kubeconfig",
        ])
        .arg(&kubeconfig)
        .args(more)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let metrics = loop {
        let line = log.next_line().await.unwrap().unwrap();
        let entry: Value = serde_json::from_str(&line).unwrap();
        if let Some(address) = entry.pointer("/fields/address") {
            break address.as_str().unwrap().parse().unwrap();
        }
    };
    (Process { child, log, metrics }, http)
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn signal(process: &Process, signal: &str) {
    let id = process.child.id().unwrap().to_string();
    assert!(
        Command::new("kill")
            .args([signal, &id])
            .status()
            .await
            .unwrap()
            .success()
    );
}

/// Waits for the end, which must come by itself.
async fn end(mut process: Process) -> std::process::ExitStatus {
    let drained = async { while process.log.next_line().await.unwrap().is_some() {} };
    tokio::time::timeout(Duration::from_secs(30), drained)
        .await
        .unwrap();
    process.child.wait().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_serves_metrics_works_and_stops_when_told() {
    let server = with_rollouts(&["shop"]);
    let (process, _http) = run(&server, &[]).await;
    while server.inspect(|store| store.list("ReplicaSet").is_empty()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(get(process.metrics, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get(process.metrics, "/readyz").await.starts_with("HTTP/1.1 200"));
    let metrics = get(process.metrics, "/metrics").await;
    let created = "tidegate_writes_total{kind=\"ReplicaSet\",verb=\"create\",result=\"ok\"} 1\n";
    assert!(metrics.contains(created), "{metrics}");
    signal(&process, "-TERM").await;
    assert!(end(process).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_never_reached_its_cluster_is_not_ready_and_stops_when_told() {
    let server = ApiServer::new(1, Clock::System);
    let (process, http) = run(&server, &[]).await;
    drop(http);
    assert!(get(process.metrics, "/readyz").await.starts_with("HTTP/1.1 503"));
    assert!(get(process.metrics, "/healthz").await.starts_with("HTTP/1.1 200"));
    signal(&process, "-INT").await;
    assert!(end(process).await.success());
}

/// Notes what is asked for outside of the namespace `shop`.
struct Fence(Arc<Mutex<Vec<String>>>);

impl Interceptor for Fence {
    fn before(&mut self, request: &ApiRequest) -> Fault {
        let ours = request.path.contains("/namespaces/shop/");
        if !ours && !request.path.ends_with("/clusteranalysistemplates") {
            self.0.lock().unwrap().push(request.path.clone());
        }
        Fault::None
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_of_one_namespace_asks_for_nothing_outside_of_it() {
    let server = with_rollouts(&["shop", "bank"]);
    let outside = Arc::default();
    server.set_interceptor(Some(Box::new(Fence(Arc::clone(&outside)))));
    let (process, _http) = run(&server, &["--namespace", "shop", "--lease-namespace", "shop"]).await;
    while server.inspect(|store| store.list("ReplicaSet").is_empty()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    signal(&process, "-TERM").await;
    assert!(end(process).await.success());
    assert_eq!(*outside.lock().unwrap(), Vec::<String>::new());
}

struct Away;

impl Interceptor for Away {
    fn before(&mut self, _: &ApiRequest) -> Fault {
        Fault::Refuse {
            status: 503,
            reason: "ServiceUnavailable".to_owned(),
            message: "away".to_owned(),
        }
    }
}

/// Ends with this exit code before it connects; what it says.
async fn refused(code: i32, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["controller", "--kubeconfig", "/nonexistent"])
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?} {variables:?}: {said}"
    );
    said
}

#[tokio::test]
async fn a_namespace_that_is_none_is_not_all_of_them() {
    for (arguments, variables) in [
        (&["--namespaces", "shop,"][..], &[][..]),
        (&["--namespace", ""], &[]),
        (&["--namespace", "Shop"], &[]),
        (&[], &[("TIDEGATE_NAMESPACES", "shop,")]),
    ] {
        let said = refused(2, arguments, variables).await;
        assert!(said.contains("--namespaces"), "{said}");
    }
}

/// It goes on to the kubeconfig, which is not there.
#[tokio::test]
async fn variables_that_are_empty_or_say_1_are_understood() {
    for variable in [
        ("TIDEGATE_NAMESPACES", ""),
        ("TIDEGATE_PROMETHEUS_URL", ""),
        ("TIDEGATE_LOG_LEVEL", ""),
        ("TIDEGATE_SELECTOR", ""),
        ("TIDEGATE_LEADER_ELECT", ""),
        ("TIDEGATE_LEADER_ELECT", "0"),
        ("TIDEGATE_ALLOW_LOOPBACK_METRICS", "1"),
        ("TIDEGATE_ALLOW_LOOPBACK_METRICS", "no"),
    ] {
        let said = refused(1, &[], &[variable]).await;
        assert!(said.contains("cannot connect to the cluster"), "{said}");
    }
}

#[tokio::test]
async fn what_it_runs_with_is_printed_at_the_start() {
    let address = "http://prometheus.example:9090";
    let variables = [
        ("TIDEGATE_NAMESPACES", "shop"),
        ("TIDEGATE_ALERT_POLL_INTERVAL", "7s"),
    ];
    let said = refused(1, &["--prometheus-url", address], &variables).await;
    let start = said
        .lines()
        .find(|line| line.contains("tidegate controller starts"));
    let start = start.unwrap_or_else(|| panic!("{said}"));
    for part in [address, "shop", "7s"] {
        assert!(start.contains(part), "{part}: {start}");
    }
}

#[tokio::test]
async fn a_password_is_never_shown() {
    for address in ["http://u:hunter2@h", "http://u:hunter2@h:port"] {
        for said in [
            refused(1, &["--prometheus-url", address], &[]).await,
            refused(1, &[], &[("TIDEGATE_PROMETHEUS_URL", address)]).await,
        ] {
            assert!(
                said.contains("--prometheus-url") && !said.contains("hunter2"),
                "{said}"
            );
        }
    }
}

/// A write that is repeated below us would be repeated on old news.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_answered_with_503_is_sent_once() {
    let server = with_rollouts(&["shop"]);
    server.set_interceptor(Some(Box::new(Away)));
    let (_http, kubeconfig) = listen(&server).await;
    let options = ConnectOptions {
        kubeconfig: Some(kubeconfig),
        ..ConnectOptions::default()
    };
    let api = Api::new(load(&options).await.unwrap().client().unwrap());
    let key = ObjectKey::new("shop", "checkout");
    let expected = Expected {
        uid: "1",
        resource_version: "1",
    };
    let before = sent(&server);
    let created = api.create(Resource::Rollout, "shop", &json!({})).await;
    assert!(created.is_err(), "{created:?}");
    assert_eq!(sent(&server) - before, 1, "POST");
    let patched = api.patch(Resource::Rollout, &key, "", expected, &[]).await;
    assert!(patched.is_err(), "{patched:?}");
    assert_eq!(sent(&server) - before, 2, "PATCH");
}

fn sent(server: &ApiServer) -> u64 {
    let counts = server.request_counts();
    counts.iter().map(|(.., count)| count).sum()
}

#[tokio::test]
async fn metrics_are_not_asked_of_the_api_server() {
    let api_server = ("KUBERNETES_SERVICE_HOST", "10.96.0.1");
    let said = refused(1, &["--prometheus-url", "https://10.96.0.1"], &[api_server]).await;
    assert!(said.contains("it is the API server"), "{said}");
}

#[tokio::test]
async fn times_of_a_lease_that_contradict_each_other_are_refused() {
    for (arguments, named) in [
        (["--lease-duration", "1500ms"], "--lease-duration"),
        (["--renew-deadline", "15s"], "--renew-deadline"),
        (["--retry-period", "6s"], "--retry-period"),
    ] {
        let said = refused(1, &arguments, &[]).await;
        assert!(said.contains(named), "{said}");
    }
}

#[tokio::test]
async fn flags_about_alerts_that_do_not_go_together_are_refused() {
    let address = ["--alert-address", "127.0.0.1:0"];
    let tokens = ["--alert-tokens", "/nonexistent"];
    for (code, arguments, named) in [
        (2, address.to_vec(), "--alert-tokens"),
        (2, tokens.to_vec(), "--alert-address"),
        (1, [address, tokens].concat(), "--alert-insecure"),
        (2, vec!["--alert-tls-cert", "/a"], "--alert-tls-key"),
        (1, vec!["--alert-poll-interval", "10ms"], "--alert-poll-interval"),
        (
            1,
            vec!["--alertmanager-url", "http://u:hunter2@h"],
            "--alertmanager-url",
        ),
        (2, vec!["--alertmanager-ca-file", "/a"], "--alertmanager-url"),
    ] {
        let said = refused(code, &arguments, &[]).await;
        assert!(said.contains(named) && !said.contains("hunter2"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_receives_alerts_where_it_is_told_to() {
    let server = with_rollouts(&["shop"]);
    let tokens = Path::new(env!("CARGO_TARGET_TMPDIR")).join("process-tokens.yaml");
    std::fs::write(&tokens, "[]").unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let receiver = free.local_addr().unwrap();
    drop(free);
    let address = receiver.to_string();
    let flags = ["--alert-address", &address, "--alert-insecure", "--alert-tokens"];
    let flags = [&flags[..], &[tokens.to_str().unwrap()]].concat();
    let (process, _http) = run(&server, &flags).await;
    let path = "/alertmanager/v1/webhook";
    assert!(get(receiver, path).await.starts_with("HTTP/1.1 405"));
    signal(&process, "-TERM").await;
    assert!(end(process).await.success());
}

#[tokio::test]
async fn a_misspelt_log_level_is_refused() {
    assert!(
        refused(1, &["--log-level", "inof"], &[])
            .await
            .contains("--log-level")
    );
}

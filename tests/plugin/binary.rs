//! The real binary over HTTP: exit codes, streams, pipes and signals.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tidegate::sandbox::api_server::http::HttpServer;

use crate::cluster::{Cluster, healthy, progressing};

pub fn plugin() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-tidegate"));
    command
        .env_clear()
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null());
    command
}

pub fn run(arguments: &[&str]) -> (i32, String, String) {
    read(plugin().args(arguments).output().unwrap())
}

fn read(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// The cluster over HTTP and a kubeconfig that leads there.
pub async fn serve(cluster: &Cluster, name: &str) -> (HttpServer, PathBuf) {
    let server = HttpServer::start(cluster.server.clone(), "127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("kubeconfig-{name}"));
    server.write_kubeconfig(&path).await.unwrap();
    (server, path)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_binary_talks_to_a_cluster() {
    let cluster = Cluster::with_rollout(healthy()).await;
    let (_server, kubeconfig) = serve(&cluster, "talks").await;
    let kubeconfig = kubeconfig.to_str().unwrap();
    let (code, out, err) = run(&["--kubeconfig", kubeconfig, "-n", "shop", "status", "checkout"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("Healthy: revision 3"), "{out}");
    let (code, out, err) = run(&["list", "--kubeconfig", kubeconfig]);
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (0, "", "No rollouts found in default namespace\n")
    );
    let (code, _, err) = run(&["list", "--kubeconfig", kubeconfig, "--context", "prod"]);
    assert_eq!(
        (code, err.as_str()),
        (
            1,
            "error: no context \"prod\" in the kubeconfig; it has: sandbox\n"
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn row_103_a_server_that_is_not_there() {
    let (server, kubeconfig) = serve(&Cluster::bare(), "gone").await;
    drop(server);
    let (code, _, err) = run(&["list", "--kubeconfig", kubeconfig.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(
        err.starts_with("error: cannot reach the server to list rollouts.tidegate.dev"),
        "{err}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn row_108_sigint_ends_with_130() {
    let cluster = Cluster::with_rollout(progressing()).await;
    let (_server, kubeconfig) = serve(&cluster, "sigint").await;
    let mut child = plugin()
        .args([
            "status",
            "checkout",
            "-n",
            "shop",
            "--kubeconfig",
            kubeconfig.to_str().unwrap(),
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Its first line says that it follows, so the signal meets it at work.
    let mut line = String::new();
    let mut reader = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
    assert!(line.starts_with("Progressing"), "{line}");
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

fn interrupt(child: &Child) {
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
}

/// Nothing of ours may take the signal while standard input is read; which of the two came first was a matter of luck.
#[test]
fn row_108_sigint_ends_a_lint_that_reads() {
    for _ in 0..8 {
        let mut child = plugin()
            .args(["lint", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        // More than a pipe holds: once it is written, the other side reads.
        std::io::Write::write_all(&mut input, &[b'#'; 200_000]).unwrap();
        interrupt(&child);
        let ended = (0..500).find_map(|_| {
            std::thread::sleep(Duration::from_millis(10));
            child.try_wait().unwrap()
        });
        // The input is closed in the end, so that a deaf child fails the test instead of outliving it.
        drop(input);
        assert_eq!(
            ended
                .unwrap_or_else(|| panic!("the signal was swallowed"))
                .signal(),
            Some(2)
        );
    }
}

#[test]
fn row_101_weights_out_of_range_are_found_offline() {
    let manifest = |weight: &str| {
        format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: Rollout\nmetadata: {{name: a}}\nspec:\n  \
             selector: {{matchLabels: {{app: a}}}}\n  \
             template: {{metadata: {{labels: {{app: a}}}}, spec: {{containers: [{{name: a, image: 'a:1'}}]}}}}\n  \
             strategy:\n    canary:\n      steps:\n      - setWeight: {weight}\n"
        )
    };
    for weight in WEIGHTS_OUT_OF_RANGE {
        let (code, out, _) = lint(&manifest(weight), &[]);
        assert_eq!(code, 1, "{weight}: {out}");
        assert!(
            out.contains("<stdin>:10:9: spec.strategy.canary.steps[0].setWeight: "),
            "{weight}: {out}"
        );
    }
    assert_eq!(lint(&manifest("50"), &[]).0, 0);
}

const WEIGHTS_OUT_OF_RANGE: [&str; 4] = ["-1", "101", "50.5", "'50'"];

pub fn lint(manifest: &str, flags: &[&str]) -> (i32, String, String) {
    let mut child = plugin()
        .args(["lint", "-"])
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), manifest.as_bytes()).unwrap();
    read(child.wait_with_output().unwrap())
}

#[test]
fn row_102_a_timeout_needs_a_unit() {
    let (code, _, err) = run(&["status", "checkout", "--timeout", "5"]);
    assert_eq!(code, 1);
    assert!(
        err.contains("\"5\" is not a duration; write a number with a unit, for example 30s"),
        "{err}"
    );
}

#[test]
fn row_103_no_kubeconfig() {
    let (code, _, err) = run(&["list"]);
    let fix = "set KUBECONFIG, pass --kubeconfig or create ~/.kube/config";
    assert_eq!((code, err), (1, format!("error: no kubeconfig found: {fix}\n")));
    let (code, _, err) = read(
        plugin()
            .arg("list")
            .env("KUBECONFIG", "/nonexistent/one")
            .output()
            .unwrap(),
    );
    let expected = format!("error: no kubeconfig found (KUBECONFIG is /nonexistent/one): {fix}\n");
    assert_eq!((code, err), (1, expected));
    let (code, _, err) = run(&["list", "--kubeconfig", "/nonexistent/config"]);
    assert_eq!(code, 1);
    assert!(err.contains("/nonexistent/config"), "{err}");
}

#[test]
fn row_105_bad_names_end_before_any_request() {
    for name in ["A/b", "🚀", "Checkout", "../x"] {
        let (code, _, err) = run(&["get", name]);
        assert_eq!(code, 1, "{name}");
        assert!(err.contains("invalid value"), "{err}");
    }
}

#[test]
fn row_106_many_documents_and_duplicate_keys() {
    let (code, out, err) = lint("a: 1\n---\nb: 1\nb: 2\n", &[]);
    assert_eq!((code, out.as_str()), (1, "<stdin>:4:1: duplicate key \"b\"\n"));
    assert_eq!(err, "0 objects, 1 errors, 0 warnings\n");
    let (code, out, err) = lint("kind: Service\n---\nkind: Ingress\n", &[]);
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (0, "", "2 objects, 0 errors, 0 warnings\n")
    );
    for nothing in ["", "# nothing\n", "---\n---\n", "kind: List\nitems: []\n"] {
        let (code, _, err) = lint(nothing, &[]);
        assert!(
            code == 1 && err.contains("nothing was checked"),
            "{nothing:?}: {code} {err}"
        );
    }
    let (code, out, _) = lint("a: 1\na: 2\n", &["-o", "json"]);
    assert_eq!(code, 1);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&out).unwrap()[0]["line"],
        2
    );
}

#[test]
fn row_109_namespace_and_all_namespaces_exclude_each_other() {
    for arguments in [["list", "-n", "shop", "-A"], ["-n", "shop", "list", "-A"]] {
        let (code, _, err) = run(&arguments);
        assert_eq!(code, 1);
        assert!(
            err.contains("--namespace shop and --all-namespaces exclude each other"),
            "{err}"
        );
    }
}

#[test]
fn row_110_a_closed_pipe_is_no_panic_and_no_success() {
    let bad = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bad.yaml");
    std::fs::write(&bad, "a: 1\na: 2\n").unwrap();
    let lint = ["lint", bad.to_str().unwrap()];
    for arguments in [&["completion", "bash"][..], &["version"], &["--help"], &lint] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = plugin()
            .args(arguments)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(
            (output.status.code(), output.stderr.len()),
            (Some(141), 0),
            "{arguments:?}"
        );
    }
}

#[test]
fn usage_errors_do_not_look_like_a_degraded_rollout() {
    assert_eq!(run(&["status"]).0, 1);
    assert_eq!(run(&["nonsense"]).0, 1);
    assert_eq!(run(&["--help"]).0, 0);
    let help = run(&["undo", "--help"]).1;
    let words: Vec<&str> = help.split_whitespace().collect();
    assert!(
        words.join(" ").contains("the version that was stable last"),
        "{help}"
    );
}

//! What a shell offers when TAB is pressed.

use std::process::{Command, Stdio};

use crate::binary::{run, serve};
use crate::cluster::{Cluster, NAMESPACE, healthy};

/// The shell reads the script and says what it would offer. Bash is everywhere; whoever has not got the others is told
/// what was not tried, unless TIDEGATE_SHELLS says that all are required.
#[test]
fn each_shell_takes_its_script() {
    let bash = r#"source /dev/stdin
        function=$(complete -p kubectl-tidegate | sed -E 's/.* -F ([^ ]+) .*/\1/')
        COMP_WORDS=(kubectl-tidegate pro); COMP_CWORD=1
        "$function" kubectl-tidegate pro kubectl-tidegate
        printf '%s\n' "${COMPREPLY[@]}""#;
    let zsh = "autoload -U compinit && compinit -u -D && source /dev/stdin
        (( $+functions[_kubectl-tidegate] )) && echo promote";
    let fish = r"source - && complete -C 'kubectl-tidegate pro' | string split -f 1 \t";
    for (shell, alone, typed) in [
        ("bash", "--norc", bash),
        ("zsh", "-f", zsh),
        ("fish", "--no-config", fish),
    ] {
        let (code, script, _) = run(&["completion", shell]);
        assert_eq!(code, 0);
        assert!(script.contains("promote"), "{shell}");
        let started = Command::new(shell)
            .args([alone, "-c", typed])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(error) => {
                let required = std::env::var_os("TIDEGATE_SHELLS").is_some_and(|shells| shells == "required");
                assert!(shell != "bash" && !required, "{shell}: {error}");
                // Not eprintln!, which is kept back where a test passes.
                let untried = format!("{shell} is not installed: nobody has read its completion script\n");
                std::io::Write::write_all(&mut std::io::stderr(), untried.as_bytes()).unwrap();
                continue;
            }
        };
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), script.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let offered = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{shell}: {output:?}"
        );
        assert_eq!(offered.trim(), "promote", "{shell}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rollouts_of_the_cluster_are_offered() {
    let cluster = Cluster::with_rollout(healthy()).await;
    cluster.add_rollout("basket", healthy()).await;
    let (server, kubeconfig) = serve(&cluster, "completion").await;
    let words = |last: &str| {
        let kubeconfig = kubeconfig.to_str().unwrap();
        let words = [
            "__complete",
            "--",
            "promote",
            "-n",
            NAMESPACE,
            "--kubeconfig",
            kubeconfig,
            last,
        ];
        run(&words)
    };
    assert_eq!(words(""), (0, "basket\ncheckout\n:4\n".to_owned(), String::new()));
    assert_eq!(words("ch"), (0, "checkout\n:4\n".to_owned(), String::new()));
    // Without an answer there is nothing to offer, and nothing to say.
    drop(server);
    assert_eq!(words("ch"), (0, ":4\n".to_owned(), String::new()));
    assert_eq!(
        run(&["__complete", "--", "get", "ch"]),
        (0, ":4\n".to_owned(), String::new())
    );
    assert_eq!(
        run(&["__complete", "--", "lint", ""]),
        (0, ":0\n".to_owned(), String::new())
    );
}

#[test]
fn kubectl_gets_the_words_it_asks_for() {
    let (code, out, err) = run(&["__complete", "--", "promote", "-n", "shop", "checkout", "--fu"]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "--full\n:4\n", ""));
    let (code, out, _) = run(&["__complete", "--", ""]);
    assert_eq!(code, 0);
    assert!(out.contains("abort\n") && !out.contains("__complete"), "{out}");
    assert!(
        run(&["completion", "--help"])
            .1
            .contains("kubectl_complete-tidegate")
    );
}

//! Every verb in the process, over `kube::Client`.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tidegate::api::names::{Revision, StepIndex};
use tidegate::api::rollout_command::{Expectation, Verb};

use crate::cluster::{Cluster, aborted, first_deploy, healthy, paused, progressing};

#[tokio::test]
async fn get_list_and_explain_show_the_release() {
    let cluster = Cluster::with_rollout(paused()).await;
    cluster.add_replica_set(2).await;
    cluster.add_replica_set(3).await;
    let tree = cluster.run("get rollout/checkout").await;
    assert_eq!((tree.code, tree.err.as_str()), (0, ""));
    for part in [
        "॥ Paused",
        "2 of 3 (pause until promoted)",
        "# revision:3",
        "⧉ checkout-h2",
        "checkout:v3 (canary)",
    ] {
        assert!(tree.out.contains(part), "{part} is missing in\n{}", tree.out);
    }
    let list = cluster.run("list").await;
    assert!(
        list.out
            .starts_with("NAME       STATUS   STEP   WEIGHT   VERDICT   READY   AGE\n"),
        "{}",
        list.out
    );
    assert!(
        list.out
            .contains("checkout   Paused   1/3    10       -         6/5"),
        "{}",
        list.out
    );
    assert!(cluster.run("list -A").await.out.starts_with("NAMESPACE   NAME"));
    assert_eq!(
        cluster.run("list -o name").await.out,
        "rollout.tidegate.dev/checkout\n"
    );
    let why = cluster.run("explain rol/checkout").await;
    assert!(
        why.out
            .contains("`kubectl tidegate promote checkout` goes on with set weight 50"),
        "{}",
        why.out
    );
}

#[tokio::test]
async fn a_watch_ends_in_the_state_asked_for() {
    let cluster = Cluster::with_rollout(paused()).await;
    let ran = cluster.run("get checkout -w --until paused").await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(
        ran.out.contains("॥ Paused") && !ran.out.contains('\u{1b}'),
        "{}",
        ran.out
    );
}

#[tokio::test]
async fn row_107_output_for_programs_is_plain_and_stable() {
    let cluster = Cluster::with_rollout(paused()).await;
    let (first, second) = (
        cluster.run("get checkout -o json").await,
        cluster.run("get checkout -o json").await,
    );
    assert_eq!(first.out, second.out);
    let view: Value = serde_json::from_str(&first.out).unwrap();
    assert_eq!(
        view["weight"],
        json!({"set": 10, "actual": 10, "routed": false, "max": 100, "verified": true})
    );
    for line in [
        "get checkout",
        "list",
        "explain checkout",
        "get checkout -o yaml",
        "status checkout",
    ] {
        assert!(!cluster.run(line).await.out.contains('\u{1b}'), "{line}");
    }
}

#[tokio::test]
async fn status_tells_the_end_by_its_exit_code() {
    for (status, code) in [
        (healthy(), 0),
        (aborted(), 2),
        (paused(), 3),
        (progressing(), 124),
    ] {
        let cluster = Cluster::with_rollout(status.clone()).await;
        let ran = cluster.run("status checkout --timeout 1ms").await;
        assert_eq!(ran.code, code, "{status} {ran:?}");
        let phase = status["phase"].as_str().unwrap();
        let once = cluster.run("status checkout --timeout 0s").await;
        assert_eq!(once.code, code);
        assert!(once.out.starts_with(phase), "{}", once.out);
    }
    let cluster = Cluster::with_rollout(healthy()).await;
    assert_eq!(cluster.run("status absent").await.code, 1);
}

#[tokio::test]
async fn promote_abort_and_retry_create_commands_and_report_the_answer() {
    for (status, line, verb, step, done) in [
        (paused(), "promote checkout", Verb::Promote, Some(1), "promoted"),
        (
            paused(),
            "promote checkout --full",
            Verb::PromoteFull,
            Some(1),
            "fully promoted",
        ),
        (
            paused(),
            "abort checkout --reason=bad",
            Verb::Abort,
            None,
            "aborted",
        ),
        (aborted(), "retry checkout", Verb::Retry, Some(0), "retried"),
    ] {
        let cluster = Cluster::with_rollout(status).await;
        cluster.answer_commands("Accepted", "as you wish");
        let ran = cluster.run(line).await;
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{line}");
        let begin = format!("rollout.tidegate.dev/checkout {done} (revision 3");
        assert!(
            ran.out.starts_with(&begin) && ran.out.ends_with("): as you wish\n"),
            "{}",
            ran.out
        );
        // No weight has been written yet when the answer comes.
        assert!(
            !ran.out.contains(", weight ") || ran.out.contains(", weight was 10)"),
            "{}",
            ran.out
        );
        let sent = cluster.sent().await;
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].spec.verb, verb);
        let expect = Expectation {
            revision: Some(Revision(3)),
            step: step.map(StepIndex),
        };
        assert_eq!(
            sent[0].spec.expect,
            Some(expect),
            "row 99: what was observed is the precondition"
        );
        assert_eq!(sent[0].spec.requested_by.as_deref(), Some("sandbox"));
        let name = sent[0].metadata.name.as_deref().unwrap();
        assert!(
            name.starts_with(&format!("checkout-{}", line.split(' ').next().unwrap())),
            "{name}"
        );
        let managers = sent[0].metadata.managed_fields.iter().flatten();
        assert!(
            managers
                .filter_map(|entry| entry.manager.as_deref())
                .all(|manager| manager == "kubectl-tidegate")
        );
    }
}

#[tokio::test]
async fn the_kubeconfig_names_the_user_when_the_server_does_not() {
    let cluster = Cluster::with_rollout(paused()).await;
    cluster.answer_commands("Accepted", "");
    cluster.refuse("selfsubjectreviews", 403, "Forbidden", "");
    assert_eq!(cluster.run("promote checkout -o name").await.code, 0);
    assert_eq!(
        cluster.sent().await[0].spec.requested_by.as_deref(),
        Some("alice")
    );
}

#[tokio::test]
async fn row_99_a_stale_promote_shows_the_controllers_refusal() {
    let cluster = Cluster::with_rollout(paused()).await;
    cluster.answer_commands("Refused", "expected step 1, it is at step 2");
    let ran = cluster.run("promote checkout").await;
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.err,
        "error: promote refused: expected step 1, it is at step 2\n"
    );
}

#[tokio::test]
async fn row_99_a_spec_nobody_has_looked_at_is_not_promoted() {
    let mut status = paused();
    status["observedGeneration"] = json!(0);
    let cluster = Cluster::with_rollout(status).await;
    let ran = cluster.run("promote checkout").await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.err
            .contains("the controller has not seen the last change of checkout yet"),
        "{}",
        ran.err
    );
    assert!(cluster.sent().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_silent_controller_is_named() {
    let cluster = Cluster::with_rollout(paused()).await;
    let ran = cluster.run("abort checkout").await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.err
            .contains("is stored, but the controller has not answered within 5s"),
        "{}",
        ran.err
    );
    assert_eq!(cluster.sent().await.len(), 1);
}

#[tokio::test]
async fn row_96_an_aborted_rollout_is_not_promoted() {
    let cluster = Cluster::with_rollout(aborted()).await;
    let ran = cluster.run("promote checkout").await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("`kubectl tidegate retry checkout`"),
        "{}",
        ran.err
    );
    assert!(cluster.sent().await.is_empty());
}

#[tokio::test]
async fn row_97_full_promotion_over_a_failing_analysis_needs_force_and_a_reason() {
    let mut status = paused();
    status["canary"]["currentStepAnalysisRunStatus"] =
        json!({"name": "checkout-run", "status": "Inconclusive"});
    let cluster = Cluster::with_rollout(status).await;
    cluster.answer_commands("Accepted", "forced");
    let ran = cluster.run("promote checkout --full").await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("analysis checkout-run is Inconclusive"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("--full --force --reason"), "{}", ran.err);
    assert!(cluster.sent().await.is_empty());
    assert_eq!(
        cluster
            .run("promote checkout --full --force --reason=known")
            .await
            .code,
        0
    );
    let sent = cluster.sent().await;
    assert!(sent[0].spec.force);
    assert_eq!(sent[0].spec.reason.as_deref(), Some("known"));
}

#[tokio::test]
async fn row_98_what_is_so_already_is_no_error_and_no_write() {
    let mut rollback = healthy();
    rollback["phase"] = json!("Progressing");
    rollback["fastTrack"] = json!("Rollback");
    rollback["canary"] =
        json!({"weights": {"canary": {"weight": 10}, "stable": {"weight": 90}, "verified": true}});
    for (status, line, says) in [
        (
            rollback,
            "abort checkout",
            "the traffic goes back to stable already, revision 3 is wanted and the weight was 10 when last seen",
        ),
        (
            healthy(),
            "abort checkout",
            "nothing is in progress, revision 3 serves all traffic",
        ),
        (
            aborted(),
            "abort checkout",
            "revision 3 is aborted already: error-rate failed",
        ),
        (healthy(), "promote checkout", "revision 3 is promoted already"),
        (
            first_deploy(),
            "abort checkout",
            "revision 1 is the first, there is no stable version to go back to",
        ),
        (
            first_deploy(),
            "promote checkout --full",
            "revision 1 is the first and becomes stable without steps",
        ),
        (healthy(), "resume checkout", "it is not paused"),
        (
            healthy(),
            "set image checkout app=checkout:v3",
            "it has these images already",
        ),
    ] {
        let cluster = Cluster::with_rollout(status).await;
        let ran = cluster.run(line).await;
        assert_eq!(ran.code, 0, "{line}: {}", ran.err);
        assert_eq!(
            ran.out,
            format!("rollout.tidegate.dev/checkout unchanged: {says}\n")
        );
        assert_eq!(cluster.server.request_counts().writes_by("kubectl"), 0, "{line}");
    }
}

#[tokio::test]
async fn retry_of_what_is_not_aborted_is_refused() {
    let cluster = Cluster::with_rollout(paused()).await;
    let ran = cluster.run("retry checkout").await;
    assert_eq!(
        (ran.code, ran.err.contains("is not aborted: nothing to retry")),
        (1, true),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn pause_and_resume_edit_the_spec() {
    let cluster = Cluster::with_rollout(paused()).await;
    assert_eq!(
        cluster.run("pause checkout").await.out,
        "rollout.tidegate.dev/checkout paused\n"
    );
    assert_eq!(
        cluster.rollouts().get("checkout").await.unwrap().spec.paused,
        Some(true)
    );
    let promote = cluster.run("promote checkout").await;
    assert!(
        promote.err.contains("has not seen the last change"),
        "{}",
        promote.err
    );
    let seen = Patch::Merge(json!({"status": {"observedGeneration": 2}}));
    let rollouts = cluster.rollouts();
    rollouts
        .patch_status("checkout", &PatchParams::default(), &seen)
        .await
        .unwrap();
    let promote = cluster.run("promote checkout").await;
    assert!(
        promote.err.contains("`kubectl tidegate resume checkout` first"),
        "{}",
        promote.err
    );
    assert!(cluster.sent().await.is_empty());
    assert_eq!(
        cluster.run("resume checkout").await.out,
        "rollout.tidegate.dev/checkout resumed\n"
    );
    assert_eq!(
        cluster.rollouts().get("checkout").await.unwrap().spec.paused,
        Some(false)
    );
}

#[tokio::test]
async fn set_image_changes_one_container() {
    let cluster = Cluster::with_rollout(healthy()).await;
    let ran = cluster.run("set image rollout/checkout app=checkout:v4").await;
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "rollout.tidegate.dev/checkout image updated\n"),
        "{}",
        ran.err
    );
    let template = cluster.rollouts().get("checkout").await.unwrap().spec.template;
    assert_eq!(
        template.pointer("/spec/containers/0/image"),
        Some(&json!("checkout:v4"))
    );
    let wrong = cluster.run("set image checkout web=x:1").await;
    assert_eq!(wrong.err, "error: no container named \"web\"; there are: app\n");
}

#[tokio::test]
async fn undo_goes_back_without_our_label() {
    let cluster = Cluster::with_rollout(healthy()).await;
    for revision in 1..=3 {
        cluster.add_replica_set(revision).await;
    }
    let ran = cluster.run("undo checkout").await;
    assert_eq!(
        ran.out,
        "rollout.tidegate.dev/checkout rolled back to the template of revision 2; it goes through the steps like any version (spec.rollbackWindow lets it skip them)\n",
        "{}",
        ran.err
    );
    let template = cluster.rollouts().get("checkout").await.unwrap().spec.template;
    assert_eq!(
        template.pointer("/metadata/labels"),
        Some(&json!({"app": "checkout"}))
    );
    assert_eq!(
        template.pointer("/spec/containers/0/image"),
        Some(&json!("checkout:v2"))
    );
    assert_eq!(cluster.run("undo checkout --to-revision 1").await.code, 0);
}

#[tokio::test]
async fn row_100_undo_to_an_absent_revision() {
    let cluster = Cluster::with_rollout(healthy()).await;
    cluster.add_replica_set(3).await;
    let ran = cluster.run("undo checkout --to-revision 9").await;
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (
            1,
            "error: revision 9 of checkout is not in its history; there are: 3\n"
        )
    );
    assert_eq!(cluster.server.request_counts().writes_by("kubectl"), 0);
}

#[tokio::test]
async fn row_95_not_found_names_namespace_and_nearest() {
    let cluster = Cluster::with_rollout(healthy()).await;
    cluster.add_rollout("basket", healthy()).await;
    let ran = cluster.run("get chekout").await;
    assert_eq!(ran.code, 1);
    let begin =
        "Error from server (NotFound): rollouts.tidegate.dev \"chekout\" not found in namespace \"shop\"";
    assert_eq!(ran.err, format!("{begin}; nearest names: checkout, basket\n"));
}

#[tokio::test]
async fn row_103_forbidden_and_expired_name_verb_and_resource() {
    let cluster = Cluster::with_rollout(paused()).await;
    cluster.refuse("rolloutcommands", 403, "Forbidden", "no such role");
    let ran = cluster.run("abort checkout").await;
    let denied = "you may not create rolloutcommands.tidegate.dev in namespace \"shop\": no such role";
    assert_eq!(
        (ran.code, ran.err),
        (1, format!("Error from server (Forbidden): {denied}\n"))
    );
    cluster.refuse("rollouts", 401, "Unauthorized", "Unauthorized");
    let ran = cluster.run("list").await;
    assert_eq!(ran.code, 1);
    let refused =
        "refused the credentials of the kubeconfig for list rollouts.tidegate.dev in namespace \"shop\"";
    assert!(ran.err.contains(refused), "{}", ran.err);
}

#[tokio::test]
async fn row_104_absent_crds_are_named_with_the_fix() {
    let ran = Cluster::bare().run("get checkout").await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.err
            .contains("doesn't have a resource type \"rollouts.tidegate.dev\""),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("`tidegate crds | kubectl apply -f -`"),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn a_conflicting_edit_is_told_apart_from_a_wrong_one() {
    let cluster = Cluster::with_rollout(healthy()).await;
    let session = cluster.session();
    let name = "checkout".parse().unwrap();
    let operations = json!([
        {"op": "test", "path": "/metadata/uid", "value": "another"},
        {"op": "add", "path": "/spec/paused", "value": true},
    ]);
    let error = session
        .patch_rollout(&name, operations)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("Error from server (Conflict): patch rollouts.tidegate.dev \"checkout\""),
        "{error}"
    );
    let wrong = json!([{"op": "add", "path": "/spec/replicas", "value": -1}]);
    let error = session.patch_rollout(&name, wrong).await.unwrap_err().to_string();
    assert!(
        error.contains("(Invalid)") && error.contains("spec.replicas"),
        "{error}"
    );
}

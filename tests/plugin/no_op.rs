//! What is so already, asked for by a program.

use serde_json::{Value, json};

use crate::cluster::{Cluster, healthy};

#[tokio::test]
async fn row_98_a_program_gets_the_rollout_that_stays_as_it_is() {
    for line in [
        "abort checkout -o json",
        "promote checkout -o yaml",
        "resume checkout -o json",
        "set image checkout app=checkout:v3 -o yaml",
        "undo checkout --to-revision 3 -o json",
    ] {
        let cluster = Cluster::with_rollout(healthy()).await;
        cluster.add_replica_set(3).await;
        let ran = cluster.run(line).await;
        assert_eq!(ran.code, 0, "{line}: {}", ran.err);
        let object: Value = serde_saphyr::from_str(&ran.out).unwrap();
        assert_eq!(
            (&object["kind"], &object["metadata"]["name"]),
            (&json!("Rollout"), &json!("checkout")),
            "{line}: {}",
            ran.out
        );
        let begin = "rollout.tidegate.dev/checkout unchanged: ";
        assert!(
            ran.err.starts_with(begin) && ran.err.lines().count() == 1,
            "{line}: {}",
            ran.err
        );
    }
    let cluster = Cluster::with_rollout(healthy()).await;
    let ran = cluster.run("pause checkout -o name").await;
    assert_eq!(
        (ran.out.as_str(), ran.err.as_str()),
        ("rollout.tidegate.dev/checkout\n", "")
    );
    let ran = cluster.run("pause checkout -o name").await;
    assert_eq!(
        (ran.out.as_str(), ran.err.as_str()),
        (
            "rollout.tidegate.dev/checkout\n",
            "rollout.tidegate.dev/checkout unchanged: it is paused already\n"
        )
    );
}

//! What follows a release goes on when the API server does not answer for a moment, and only for a moment.

use tidegate::sandbox::api_server::store::Verb;
use tidegate::sandbox::api_server::{ApiRequest, Fault, Interceptor};

use crate::cluster::{Cluster, healthy, paused, refused};

/// The first reads of one resource fail.
struct Hiccups {
    resource: &'static str,
    left: usize,
    fault: Fault,
}

impl Interceptor for Hiccups {
    fn before(&mut self, request: &ApiRequest) -> Fault {
        let resource = request.target.as_ref().map(|target| target.resource.as_str());
        if request.verb != Verb::Get || resource != Some(self.resource) || self.left == 0 {
            return Fault::None;
        }
        self.left -= 1;
        self.fault.clone()
    }
}

fn hiccup(cluster: &Cluster, resource: &'static str, left: usize, fault: Fault) {
    let hiccups = Hiccups {
        resource,
        left,
        fault,
    };
    cluster.server.set_interceptor(Some(Box::new(hiccups)));
}

#[tokio::test(start_paused = true)]
async fn followers_outlive_a_hiccup() {
    for fault in [refused(503), refused(429), refused(500), Fault::LoseBefore] {
        for line in [
            "status checkout",
            "status checkout --timeout 5m",
            "get checkout -w --until healthy",
        ] {
            let cluster = Cluster::with_rollout(healthy()).await;
            hiccup(&cluster, "rollouts", 3, fault.clone());
            let ran = cluster.run(line).await;
            assert_eq!(ran.code, 0, "{line}, {fault:?}: {}", ran.err);
            assert_eq!(ran.err.matches("trying again").count(), 1, "{}", ran.err);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_command_is_waited_for_through_a_hiccup() {
    let cluster = Cluster::with_rollout(paused()).await;
    cluster.answer_commands("Accepted", "as you wish");
    hiccup(&cluster, "rolloutcommands", 20, refused(503));
    let ran = cluster.run("abort checkout").await;
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[tokio::test(start_paused = true)]
async fn patience_ends() {
    let cluster = Cluster::with_rollout(healthy()).await;
    hiccup(&cluster, "rollouts", usize::MAX, refused(503));
    for (line, code) in [
        ("status checkout", 1),
        ("get checkout -w", 1),
        ("status checkout --timeout 2m", 124),
        ("status checkout --timeout 0s", 1),
        ("get checkout", 1),
    ] {
        let ran = cluster.run(line).await;
        assert_eq!(ran.code, code, "{line}: {}", ran.err);
        assert!(ran.err.contains("be back soon"), "{line}: {}", ran.err);
    }
}

#[tokio::test(start_paused = true)]
async fn what_will_not_pass_ends_at_once() {
    let cluster = Cluster::with_rollout(healthy()).await;
    hiccup(&cluster, "rollouts", 1, refused(403));
    assert_eq!(cluster.run("status checkout").await.code, 1);
}

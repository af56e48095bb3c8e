//! A real Alertmanager: it posts over TLS with a bearer token, and it is asked where it cannot post.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::api::address::AddressPolicy;
use tidegate::controllers::alert_poll::AlertPoll;
use tidegate::providers;
use tidegate::sandbox::alertmanager::Alertmanager;

use crate::client::PATH;
use crate::release::Release;
use crate::replica::{ALL, until};
use crate::tls::{Authority, ca_of};

/// The configuration that the documentation tells to copy, with another place to send to.
fn config(url: &str, token: &Path, authorities: &Path) -> Value {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/alerts.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut blocks = page
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let block = blocks.find(|block| block.starts_with("route:")).unwrap();
    let mut config: Value = serde_saphyr::from_str(block).unwrap();
    config["route"]["receiver"] = json!("somebody");
    config["receivers"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "somebody"}));
    let webhook = &mut config["receivers"][0]["webhook_configs"][0];
    webhook["url"] = json!(url);
    webhook["http_config"]["authorization"]["credentials_file"] = json!(token);
    webhook["http_config"]["tls_config"]["ca_file"] = json!(authorities);
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alertmanager_posts_over_tls_and_the_release_is_turned_back() {
    let release = Release::begin(2, Some(|folder| Authority::new().write(folder)), None).await;
    let token = release.folder.join("token");
    std::fs::write(&token, ALL).unwrap();
    let url = format!("https://{}{PATH}", release.receiver);
    let config = config(&url, &token, &ca_of(&release.folder));
    let alertmanager = Alertmanager::start(&config).await.unwrap();
    for (namespace, _) in &release.shops {
        let began = release.stopwatch.elapsed();
        let labels = json!({"alertname": "HighErrorRate", "severity": "critical", "shop": namespace});
        assert!(alertmanager.fire(&labels, "12 % of requests fail").await);
        let took = release.zeroed(namespace).await - began;
        println!("fired in Alertmanager to weight 0 written, by push: {took:?}");
    }
    release.wait_for(|status| status.abort).await;
    release.assert_aborted_once("HighErrorRate").await;
    let command = release.commands("shop-0").remove(0);
    assert_eq!(command["spec"]["requestedBy"], "alert:HighErrorRate");
    assert_eq!(
        command["spec"]["reason"],
        "alert HighErrorRate fires: 12 % of requests fail"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alertmanager_that_cannot_post_is_asked() {
    // It waits for half an hour before it would send anything, to nobody who listens.
    let config = json!({
        "route": {"receiver": "nobody", "group_wait": "30m"},
        "receivers": [{"name": "nobody", "webhook_configs": [{"url": "http://127.0.0.1:1/"}]}],
        "inhibit_rules": [{"source_matchers": ["a=b"], "target_matchers": ["alertname=Inhibited"]}],
    });
    let alertmanager = Alertmanager::start(&config).await.unwrap();
    let policy = AddressPolicy {
        allow_loopback: true,
        ..AddressPolicy::default()
    };
    let interval = Duration::from_secs(1);
    let poll = AlertPoll {
        source: Arc::new(providers::Alertmanager::new(
            alertmanager.url(),
            None,
            None,
            policy,
        )),
        interval,
    };
    let release = Release::begin(2, None, Some(poll)).await;
    let polls = |result: &str| {
        let metrics = release.controller.context.metrics.encode();
        let name = format!("tidegate_alert_polls_total{{result=\"{result}\"}} ");
        let count = metrics
            .lines()
            .find_map(|line| line.strip_prefix(&name)?.parse().ok());
        count.unwrap_or(0)
    };
    // What is inhibited does not count.
    assert!(alertmanager.fire(&json!({"a": "b"}), "").await);
    assert!(
        alertmanager
            .fire(&json!({"alertname": "Inhibited", "shop": "all"}), "")
            .await
    );
    let before = polls("ok");
    until(|| polls("ok") >= before + 2).await;
    assert!(release.commands("shop-0").is_empty());

    let began = release.stopwatch.elapsed();
    assert!(
        alertmanager
            .fire(&json!({"alertname": "Polled", "shop": "all"}), "")
            .await
    );
    for (namespace, _) in &release.shops {
        let took = release.zeroed(namespace).await - began;
        println!("fired in Alertmanager to weight 0 written, by a poll every {interval:?}: {took:?}");
    }
    release.wait_for(|status| status.abort).await;
    release.assert_aborted_once("Polled").await;
    // Nothing is in progress any more, so nobody is asked.
    let after = polls("ok");
    tokio::time::sleep(3 * interval).await;
    assert!(polls("ok") <= after + 1);
    assert_eq!(polls("error"), 0);
}

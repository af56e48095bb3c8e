//! Everything that may be wrong with what is posted: one test for each row of the list of bad inputs. The receiver is that
//! of a replica which does not lead.

use serde_json::{Value, json};
use tidegate::sandbox::api_server::store::Verb;
use tidegate::sandbox::api_server::{ApiRequest, Fault, Interceptor};

use crate::client::{self, PATH, alert, send, webhook};
use crate::replica::{ALL, BEGAN, LATER, Replica, SHOP};

const DOWN: &str = "alertname=\"Down\"";

fn down() -> Value {
    json!({"alertname": "Down"})
}

/// A replica with one Rollout in release in `shop`, which [`down`] aborts.
async fn releasing() -> Replica {
    let replica = Replica::standby().await;
    replica.release("shop", "checkout", &[DOWN], json!({})).await;
    replica
}

#[tokio::test]
async fn a_firing_alert_asks_for_one_abort_of_this_revision() {
    let replica = releasing().await;
    let answer = replica.fire(SHOP, down()).await;
    assert_eq!((answer.code, answer.body.as_str()), (200, "ok"));
    let commands = replica.commands();
    assert_eq!(commands.len(), 1);
    assert_eq!(
        commands[0]["spec"],
        json!({
            "rollout": "checkout", "verb": "Abort", "expect": {"revision": 7}, "requestedBy": "alert:Down",
            "reason": "alert Down fires: 12 % of requests fail",
            "alert": {"fingerprint": "6f5a", "startsAt": "2026-11-26T06:01:00.123Z"},
        })
    );
    assert!(replica.counted("tidegate_alerts_total{source=\"push\",result=\"asked\"} 1"));
}

#[tokio::test]
async fn row_79_without_a_valid_token() {
    let replica = releasing().await;
    for token in ["", "wrong", "TOKEN-OF-THE-SHOP", "token-of-the-shop,x"] {
        assert_eq!(replica.fire(token, down()).await.code, 401, "{token}");
    }
    let body = webhook(&[alert(&down(), "f", LATER)]);
    for authorization in [
        "",
        "authorization: Basic dG9rZW4=\r\n",
        "authorization: token-of-the-shop\r\n",
    ] {
        let head = format!(
            "POST {PATH}?token={SHOP} HTTP/1.1\r\nhost: x\r\n{authorization}content-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        let answer = send(replica.address, &head, &body).await;
        assert_eq!(answer.code, 401, "{authorization}");
        assert!(answer.head.contains("connection: close"), "{}", answer.head);
    }
    assert!(replica.commands().is_empty());
    assert_eq!(replica.fire("the-next-token", down()).await.code, 200);
}

#[tokio::test]
async fn row_80_a_token_of_another_namespace() {
    let replica = releasing().await;
    replica.release("bank", "ledger", &[DOWN], json!({})).await;
    let ledger = json!({"namespace": "bank", "rollout": "ledger"});
    assert_eq!(replica.fire(SHOP, ledger.clone()).await.code, 403);
    assert!(replica.commands().is_empty());
    // What the token reaches is done all the same.
    let alerts = [alert(&ledger, "a", LATER), alert(&down(), "b", LATER)];
    assert_eq!(replica.post(SHOP, &alerts).await.code, 403);
    let commands = replica.commands();
    assert_eq!(commands.len(), 1);
    assert_eq!(commands[0]["metadata"]["namespace"], "shop");
    assert_eq!(replica.fire(ALL, ledger).await.code, 200);
    assert_eq!(replica.commands().len(), 2);
}

#[tokio::test]
async fn row_81_not_by_post() {
    let replica = releasing().await;
    for method in ["GET", "PUT", "DELETE"] {
        let head = format!("{method} {PATH} HTTP/1.1\r\nhost: x\r\n\r\n");
        let answer = send(replica.address, &head, b"").await;
        assert_eq!(answer.code, 405, "{method}");
        assert!(answer.head.contains("allow: post"), "{}", answer.head);
        assert!(answer.head.contains("connection: close"), "{}", answer.head);
    }
    let head = "POST /elsewhere HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    let answer = send(replica.address, head, b"").await;
    assert_eq!(answer.code, 404);
    assert!(answer.head.contains("connection: close"), "{}", answer.head);
}

#[tokio::test]
async fn row_82_not_json_by_its_type() {
    let replica = releasing().await;
    let body = webhook(&[alert(&down(), "f", LATER)]);
    let post = async |content_type: &str| {
        let head = format!(
            "POST {PATH} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: bearer {SHOP}\r\n{content_type}\
             content-length: {}\r\n\r\n",
            body.len()
        );
        send(replica.address, &head, &body).await.code
    };
    assert_eq!(post("").await, 415);
    assert_eq!(post("content-type: text/plain\r\n").await, 415);
    assert_eq!(post("content-type: application/json-patch+json\r\n").await, 415);
    assert_eq!(
        post("content-type: Application/JSON; charset=utf-8\r\n").await,
        200
    );
}

#[tokio::test]
async fn row_83_too_long() {
    let replica = releasing().await;
    let answer = client::post(replica.address, SHOP, &vec![b' '; 1_048_577]).await;
    assert_eq!(answer.code, 413);
    // One that does not say how long it is.
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {SHOP}\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    assert_eq!(send(replica.address, &head, &chunk.repeat(17)).await.code, 413);
    let mut longest = webhook(&[alert(&down(), "f", LATER)]);
    longest.resize(1_048_576, b' ');
    assert_eq!(client::post(replica.address, SHOP, &longest).await.code, 200);
}

#[tokio::test]
async fn row_84_not_the_webhook_of_version_4() {
    let replica = releasing().await;
    let bodies = [
        b"".to_vec(),
        b"{".to_vec(),
        b"<html>".to_vec(),
        b"[]".to_vec(),
        b"\xff\xfe".to_vec(),
        br#"{"version":"3","alerts":[]}"#.to_vec(),
        br#"{"alerts":[]}"#.to_vec(),
        "[".repeat(100_000).into_bytes(),
        format!(
            r#"{{"version":"4","alerts":[{}]}}"#,
            vec!["{\"status\":\"firing\"}"; 20_001].join(",")
        )
        .into_bytes(),
    ];
    for body in bodies {
        let answer = client::post(replica.address, SHOP, &body).await;
        assert_eq!(answer.code, 400, "{:.40}", String::from_utf8_lossy(&body));
    }
}

#[tokio::test]
async fn row_85_no_alerts() {
    let replica = releasing().await;
    assert_eq!(replica.post(SHOP, &[]).await.code, 200);
    assert!(replica.commands().is_empty());
}

#[tokio::test]
async fn row_86_resolved() {
    let replica = releasing().await;
    let mut resolved = alert(&down(), "f", LATER);
    resolved["status"] = json!("resolved");
    assert_eq!(replica.post(SHOP, &[resolved]).await.code, 200);
    assert!(replica.commands().is_empty());
    assert!(replica.counted("tidegate_alerts_total{source=\"push\",result=\"resolved\"} 1"));
}

#[tokio::test]
async fn row_87_labels_that_name_no_rollout() {
    let replica = releasing().await;
    for labels in [
        json!({}),
        json!({"namespace": "shop"}),
        json!({"rollout": "checkout"}),
    ] {
        assert_eq!(replica.fire(SHOP, labels).await.code, 200);
    }
    assert!(replica.commands().is_empty());
    assert!(replica.counted("tidegate_alerts_total{source=\"push\",result=\"unaddressed\"} 3"));
}

#[tokio::test]
async fn row_88_an_unknown_rollout() {
    let replica = releasing().await;
    let labels = json!({"namespace": "shop", "rollout": "cart"});
    assert_eq!(replica.fire(SHOP, labels).await.code, 200);
    assert!(replica.commands().is_empty());
    assert!(replica.counted("tidegate_alerts_total{source=\"push\",result=\"unknown_rollout\"} 1"));
}

#[tokio::test]
async fn row_89_older_than_the_revision() {
    let replica = releasing().await;
    let before = alert(&down(), "f", "2026-11-26T05:59:59Z");
    assert_eq!(replica.post(SHOP, &[before]).await.code, 200);
    assert!(replica.commands().is_empty());
    assert!(replica.counted("tidegate_alerts_total{source=\"push\",result=\"older\"} 1"));
    assert_eq!(replica.post(SHOP, &[alert(&down(), "f", BEGAN)]).await.code, 200);
    assert_eq!(replica.commands().len(), 1);
}

#[tokio::test]
async fn row_90_the_same_alert_again() {
    let replica = releasing().await;
    let same = || alert(&down(), "f", LATER);
    for _ in 0..3 {
        assert_eq!(replica.post(SHOP, &[same(), same()]).await.code, 200);
    }
    // As many as come at once, from whichever replica.
    let posts = (0..50).map(|_| replica.fire(SHOP, down()));
    assert!(
        futures::future::join_all(posts)
            .await
            .iter()
            .all(|answer| answer.code == 200)
    );
    assert_eq!(replica.commands().len(), 1);
    // Somebody has tried again: what fired before then asks no more, but the next one does.
    let retry = json!({"at": "2026-11-26T06:10:00Z", "who": "ann", "what": "RetryCommanded", "revision": 7, "why": ""});
    let retried = json!({"retries": 1, "history": [retry]});
    replica.put_status("shop", "checkout", &retried).await;
    let another = alert(&down(), "e", LATER);
    assert_eq!(replica.post(SHOP, &[same(), another]).await.code, 200);
    assert_eq!(replica.commands().len(), 1);
    let next = alert(&down(), "f", "2026-11-26T06:30:00Z");
    assert_eq!(replica.post(SHOP, &[same(), next]).await.code, 200);
    assert_eq!(replica.commands().len(), 2);
}

#[tokio::test]
async fn an_alert_that_was_turned_down_asks_again() {
    let replica = releasing().await;
    let mut expected = 0;
    // A retry of somebody's ends the time in which an abort counts as on its way.
    for (retries, phase, asks) in [
        (1, "Refused", true),
        (2, "Expired", true),
        (3, "Accepted", true),
        (4, "", false),
    ] {
        let retried = json!({"retries": retries});
        replica.put_status("shop", "checkout", &retried).await;
        for _ in 0..2 {
            assert_eq!(replica.fire(SHOP, down()).await.code, 200);
        }
        expected += usize::from(asks);
        assert_eq!(replica.commands().len(), expected, "before {phase}");
        if asks {
            replica.answer_commands(phase).await;
        }
    }
}

#[tokio::test]
async fn row_91_alerts_that_were_left_out() {
    let replica = releasing().await;
    let mut body: Value = serde_json::from_slice(&webhook(&[alert(&down(), "f", LATER)])).unwrap();
    body["truncatedAlerts"] = json!(12);
    let answer = client::post(replica.address, SHOP, body.to_string().as_bytes()).await;
    assert_eq!(answer.code, 200);
    assert_eq!(replica.commands().len(), 1);
    assert!(replica.counted("tidegate_alerts_truncated_total 12"));
}

#[tokio::test]
async fn row_92_more_than_a_thousand_alerts() {
    let replica = releasing().await;
    for number in 0..20 {
        let matcher = format!("number=~\"{number}|x{number}\"");
        replica
            .release("shop", &format!("shop-{number}"), &[&matcher], json!({}))
            .await;
    }
    let alerts: Vec<Value> = (0..1_500)
        .map(|number| {
            alert(
                &json!({"number": number.to_string()}),
                &format!("{number:x}"),
                LATER,
            )
        })
        .collect();
    assert_eq!(replica.post(SHOP, &alerts).await.code, 200);
    assert_eq!(replica.commands().len(), 20);
}

#[tokio::test]
async fn row_93_labels_that_cannot_be() {
    let replica = releasing().await;
    let hostile = [
        json!({"alertname": "Down\nforged line"}),
        json!({"alertname": "Down\u{1b}[2J"}),
        json!({"alertname": "x".repeat(1_000_000)}),
        json!({"namespace": "../kube-system", "rollout": "checkout"}),
        json!({"namespace": "shop", "rollout": "../../api/v1/secrets"}),
        json!({"namespace": "shop", "rollout": "Checkout"}),
    ];
    for labels in hostile {
        let answer = replica.fire(SHOP, labels.clone()).await;
        assert_eq!(answer.code, 400, "{:.60}", labels.to_string());
        assert!(!answer.body.contains("forged") && answer.body.len() < 200);
    }
    assert!(replica.commands().is_empty());
    // It does not take the others with it.
    let bad = alert(&json!({"alertname": "a\nb"}), "a", LATER);
    assert_eq!(
        replica.post(SHOP, &[bad, alert(&down(), "b", LATER)]).await.code,
        400
    );
    assert_eq!(replica.commands().len(), 1);
}

/// Answers commands that are to be created in this way.
struct Creating(Fault);

impl Interceptor for Creating {
    fn before(&mut self, request: &ApiRequest) -> Fault {
        let is_command = request.path.ends_with("/rolloutcommands") && request.verb == Verb::Create;
        if is_command { self.0.clone() } else { Fault::None }
    }
}

fn refuse(status: u16, reason: &str) -> Fault {
    Fault::Refuse {
        status,
        reason: reason.to_owned(),
        message: "no".to_owned(),
    }
}

#[tokio::test]
async fn row_94_what_cannot_be_stored_is_to_be_sent_again() {
    let replica = releasing().await;
    let faults = [
        refuse(429, "TooManyRequests"),
        refuse(500, "InternalError"),
        refuse(403, "Forbidden"),
        Fault::LoseBefore,
        Fault::ApplyThenLose,
    ];
    for fault in faults {
        replica
            .server
            .set_interceptor(Some(Box::new(Creating(fault.clone()))));
        assert_eq!(replica.fire(SHOP, down()).await.code, 503, "{fault:?}");
    }
    // The last one was applied, unknown to the one who asked; the cache may know by now or not.
    replica.server.set_interceptor(None);
    assert_eq!(replica.fire(SHOP, down()).await.code, 200);
    assert_eq!(replica.commands().len(), 1);
}

#[tokio::test]
async fn row_94_a_replica_that_does_not_know_the_rollouts_yet() {
    struct Away;
    impl Interceptor for Away {
        fn before(&mut self, request: &ApiRequest) -> Fault {
            match request.path.contains("/leases") {
                true => Fault::None,
                false => refuse(503, "ServiceUnavailable"),
            }
        }
    }
    let replica = Replica::start_before(None, Some(Box::new(Away))).await;
    assert_eq!(replica.fire(SHOP, down()).await.code, 503);
    replica.server.set_interceptor(None);
    replica.ready().await;
    assert_eq!(replica.fire(SHOP, down()).await.code, 200);
}

/// What is known is acted on at once, and the rest when it is sent again.
#[tokio::test]
async fn row_94_a_namespace_that_cannot_be_listed_silences_no_other() {
    struct Unlisted;
    impl Interceptor for Unlisted {
        fn before(&mut self, request: &ApiRequest) -> Fault {
            match request.path.ends_with("/namespaces/bank/rollouts") {
                true => refuse(403, "Forbidden"),
                false => Fault::None,
            }
        }
    }
    let replica = Replica::start_before(None, Some(Box::new(Unlisted))).await;
    replica.release("shop", "checkout", &[DOWN], json!({})).await;
    let ledger = json!({"namespace": "bank", "rollout": "ledger"});
    let alerts = [alert(&down(), "a", LATER), alert(&ledger, "b", LATER)];
    assert_eq!(replica.post(ALL, &alerts).await.code, 503);
    assert_eq!(replica.commands().len(), 1);
}

#[tokio::test]
async fn what_is_at_rest_or_aborted_is_left_alone() {
    let replica = Replica::standby().await;
    for (name, change) in [
        ("healthy", json!({"currentPodHash": "old"})),
        ("first", json!({"stableRS": null})),
        ("aborted", json!({"abort": true})),
    ] {
        replica.release("shop", name, &[DOWN], change).await;
        let labels = json!({"alertname": "Down", "namespace": "shop", "rollout": name});
        assert_eq!(replica.fire(SHOP, labels).await.code, 200, "{name}");
    }
    assert!(replica.commands().is_empty());
    assert!(replica.counted("tidegate_alerts_total{source=\"push\",result=\"at_rest\"} 2"));
    assert!(replica.counted("tidegate_alerts_total{source=\"push\",result=\"aborted\"} 1"));
}

/// Who has begun to send and does not go on has a place for a while, but only so many.
#[tokio::test]
async fn row_94_a_slow_sender_keeps_no_other_waiting() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let replica = releasing().await;
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {SHOP}\r\ncontent-type: application/json\r\n\
         content-length: 1000\r\n\r\n{{"
    );
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut socket = tokio::net::TcpStream::connect(replica.address).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        slow.push(socket);
    }
    let busy = replica.fire(SHOP, down()).await;
    assert_eq!((busy.code, busy.body.as_str()), (503, "others are being taken"));
    assert_eq!(replica.fire(ALL, down()).await.code, 200);
    for mut socket in slow {
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 503");
    }
}

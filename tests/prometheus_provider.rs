//! The Prometheus provider against servers that misbehave in every way we know of. Each server is a real
//! listener.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]

#[path = "prometheus_provider/server.rs"]
mod server;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use chrono::{DateTime, Utc};
use tidegate::api::address::AddressPolicy;
use tidegate::api::duration::Duration;
use tidegate::api::measure::{MeasureTask, Outcome, Samples};
use tidegate::providers::{Prometheus, Provider, install_tls};
use tokio::net::TcpListener;

use server::{Reply, serve};

const NOW: i64 = 1_700_000_000;

fn http(status: &str, headers: &str, body: &[u8]) -> Reply {
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    Reply::Bytes([head.as_bytes(), body].concat())
}

fn ok(body: &str) -> Reply {
    http("200 OK", "content-type: application/json\r\n", body.as_bytes())
}

fn vector(series: &str) -> String {
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}}}"#)
}

fn series(time: i64, value: &str) -> String {
    vector(&format!(r#"{{"metric":{{"pod":"a"}},"value":[{time},{value}]}}"#))
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW, 0).unwrap()
}

fn task(address: &str) -> MeasureTask {
    MeasureTask {
        metric: "m".into(),
        namespace: "shop".into(),
        address: Some(address.into()),
        query: "up".into(),
        samples_query: None,
        min_samples: None,
        timeout: Duration::from_seconds(20),
        max_age: Duration::from_seconds(300),
        many_series: false,
    }
}

fn provider() -> Prometheus {
    install_tls();
    Prometheus::new(
        None,
        AddressPolicy {
            allow_loopback: true,
            ..AddressPolicy::default()
        },
    )
    .unwrap()
}

async fn measure(replies: Vec<Reply>, change: impl FnOnce(&mut MeasureTask)) -> Outcome {
    let server = serve(replies).await;
    let mut task = task(&server.address);
    change(&mut task);
    provider().measure(&task, now()).await
}

async fn measure_one(reply: Reply) -> Outcome {
    measure(vec![reply], |_| {}).await
}

fn error(outcome: Outcome) -> String {
    match outcome {
        Outcome::Error(why) => why,
        other => panic!("not an error: {other:?}"),
    }
}

fn no_data(outcome: Outcome) -> String {
    match outcome {
        Outcome::NoData(why) => why,
        other => panic!("not without data: {other:?}"),
    }
}

fn has(message: String, expected: &str) {
    assert!(message.contains(expected), "{expected:?} is not in {message:?}");
}

#[tokio::test]
async fn reads_a_good_answer() {
    let server = serve(vec![ok(&series(NOW, r#""0.25""#))]).await;
    let outcome = provider().measure(&task(&server.address), now()).await;
    assert_eq!(outcome, Outcome::Samples(Samples::Vector(vec![0.25])));
    let request = server.last_request.lock().await.clone();
    assert!(
        request.starts_with("POST /api/v1/query HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(request.contains("query=up"), "{request}");
    assert!(!request.to_lowercase().contains("accept-encoding"), "{request}");
    let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1700000000,"1.5"]}}"#;
    assert_eq!(
        measure_one(ok(scalar)).await,
        Outcome::Samples(Samples::Scalar(1.5))
    );
}

#[tokio::test]
async fn row_59_status_error() {
    let body = r#"{"status":"error","errorType":"execution","error":"too many samples"}"#;
    has(error(measure_one(ok(body)).await), "execution: too many samples");
    has(
        error(measure_one(http("422 Unprocessable Entity", "", body.as_bytes())).await),
        "too many samples",
    );
}

#[tokio::test]
async fn rows_60_and_61_nothing_to_judge() {
    has(no_data(measure_one(ok(&vector(""))).await), "no series");
    has(no_data(measure_one(ok(&series(NOW, r#""NaN""#))).await), "NaN");
}

#[tokio::test]
async fn row_62_infinite() {
    has(error(measure_one(ok(&series(NOW, r#""+Inf""#))).await), "inf");
    has(error(measure_one(ok(&series(NOW, r#""-Inf""#))).await), "-inf");
}

#[tokio::test]
async fn row_63_several_series() {
    let three = ["a", "b", "c"]
        .map(|pod| format!(r#"{{"metric":{{"pod":"{pod}"}},"value":[{NOW},"1"]}}"#))
        .join(",");
    let body = ok(&vector(&three));
    has(
        error(measure_one(body.clone()).await),
        r#"got 3 series: {"pod":"a"}, {"pod":"b"}"#,
    );
    let many = measure(vec![body], |task| task.many_series = true).await;
    assert_eq!(many, Outcome::Samples(Samples::Vector(vec![1.0; 3])));
    let hundreds = vec![format!(r#"{{"metric":{{}},"value":[{NOW},"1"]}}"#); 101].join(",");
    has(
        error(measure(vec![ok(&vector(&hundreds))], |task| task.many_series = true).await),
        "101 series",
    );
}

#[tokio::test]
async fn row_64_other_kinds_of_results() {
    for (kind, result) in [
        ("matrix", "[]"),
        ("string", r#"[1700000000,"a"]"#),
        ("vector", "{}"),
    ] {
        let body = format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#);
        has(error(measure_one(ok(&body)).await), &format!("got a {kind}"));
    }
}

#[tokio::test]
async fn row_65_not_a_number() {
    for value in [r#""abc""#, r#""""#, "null", "1", "{}", r#""0x10""#] {
        has(
            error(measure_one(ok(&series(NOW, value))).await),
            "not a time and a number",
        );
    }
    has(error(measure_one(ok(&series(NOW, r#""1e400""#))).await), "inf");
}

#[tokio::test]
async fn rows_66_and_67_wrong_times() {
    has(
        no_data(measure_one(ok(&series(NOW - 301, r#""1""#))).await),
        "301 s old, more than 300 s",
    );
    has(
        error(measure_one(ok(&series(NOW + 3_600, r#""1""#))).await),
        "3600 s ahead",
    );
    for skew in [-299, 30] {
        let outcome = measure_one(ok(&series(NOW + skew, r#""1""#))).await;
        assert_eq!(outcome, Outcome::Samples(Samples::Vector(vec![1.0])), "{skew}");
    }
}

#[tokio::test]
async fn row_68_warnings_are_a_partial_answer() {
    let body = format!(
        r#"{{"status":"success","warnings":["store eu is down"],"data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[{NOW},"0"]}}]}}}}"#
    );
    assert_eq!(
        measure_one(ok(&body)).await,
        Outcome::Partial("store eu is down".into())
    );
}

#[tokio::test]
async fn row_69_redirects_are_not_followed() {
    let target = serve(vec![ok(&series(NOW, r#""0""#))]).await;
    let location = format!("location: {}/\r\n", target.address);
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        has(
            error(measure_one(http(status, &location, b"")).await),
            "redirects are not followed",
        );
    }
    assert_eq!(target.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn row_70_credentials() {
    for status in ["401 Unauthorized", "403 Forbidden"] {
        has(
            error(measure_one(http(status, "", b"no")).await),
            "put a proxy that adds it before it",
        );
    }
}

#[tokio::test]
async fn row_71_what_the_server_calls_temporary_is_tried_again() {
    for status in [
        "429 Too Many Requests",
        "500 Internal Server Error",
        "503 Service Unavailable",
    ] {
        let server = serve(vec![http(status, "", b"later"), ok(&series(NOW, r#""1""#))]).await;
        let outcome = provider().measure(&task(&server.address), now()).await;
        assert_eq!(outcome, Outcome::Samples(Samples::Vector(vec![1.0])), "{status}");
    }
    let server = serve(vec![http("503 Service Unavailable", "", b"never")]).await;
    has(
        error(provider().measure(&task(&server.address), now()).await),
        "503 Service Unavailable: never",
    );
    assert_eq!(server.requests.load(Ordering::SeqCst), 4);
    // The timeout ends the attempts, and the message says what the last one said.
    let outcome = measure(
        vec![http("503 Service Unavailable", "", b"down"), Reply::Silence],
        |task| {
            task.timeout = Duration::from_seconds(1);
        },
    );
    has(
        error(outcome.await),
        "503 Service Unavailable: down; no better answer within 1s",
    );
}

#[tokio::test]
async fn row_72_not_json() {
    let html = http(
        "200 OK",
        "content-type: text/html\r\n",
        b"<html>\x00\x1b[2J<body>login</body></html>",
    );
    let message = error(measure_one(html).await);
    assert_eq!(
        message,
        "not an answer of Prometheus: <html>[2J<body>login</body></html>"
    );
    has(
        error(measure_one(ok(r#"{"status":"succ"#)).await),
        r#"not an answer of Prometheus: {"status":"succ"#,
    );
    has(error(measure_one(ok("")).await), "nothing readable");
    let long = error(measure_one(ok(&"x".repeat(5_000))).await);
    assert!(long.ends_with(&format!(": {}", "x".repeat(120))), "{long}");
}

#[tokio::test]
async fn row_73_too_long() {
    has(
        error(measure_one(Reply::Endless(vec![b' '; 65_536])).await),
        "longer than 1048576 bytes",
    );
    let claimed = "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n{"
        .as_bytes()
        .to_vec();
    error(measure_one(Reply::Bytes(claimed)).await);
}

#[tokio::test]
async fn row_74_compressed() {
    let bomb = http("200 OK", "content-encoding: gzip\r\n", &[0x1f, 0x8b, 8, 0]);
    has(error(measure_one(bomb).await), "compressed");
}

#[tokio::test]
async fn row_75_too_slow() {
    let brief = |task: &mut MeasureTask| task.timeout = Duration::parse("200ms").unwrap();
    has(error(measure(vec![Reply::Silence], brief).await), "within 200ms");
    has(error(measure(vec![Reply::Trickle], brief).await), "within 200ms");
    let cut_off = Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec());
    error(measure(vec![cut_off], brief).await);
}

#[tokio::test]
async fn row_76_nested_too_deeply() {
    for body in [
        "[".repeat(100_000),
        format!("{}{}", "[".repeat(65), "]".repeat(65)),
    ] {
        has(error(measure_one(ok(&body)).await), "levels deep");
    }
    // Brackets in a label are text.
    let label = vector(&format!(
        r#"{{"metric":{{"a":"{}"}},"value":[{NOW},"1"]}}"#,
        "[".repeat(100)
    ));
    assert_eq!(
        measure_one(ok(&label)).await,
        Outcome::Samples(Samples::Vector(vec![1.0]))
    );
}

#[tokio::test]
async fn row_77_native_histogram() {
    let body = vector(&format!(
        r#"{{"metric":{{"pod":"a"}},"histogram":[{NOW},{{"count":"5"}}]}}"#
    ));
    has(error(measure_one(ok(&body)).await), "histogram_quantile()");
}

#[tokio::test]
async fn row_78_too_few_requests() {
    let counted = |count: &str| {
        let replies = vec![
            ok(&series(NOW, &format!("\"{count}\""))),
            ok(&series(NOW, r#""0""#)),
        ];
        measure(replies, |task| {
            task.samples_query = Some("sum(requests)".into());
            task.min_samples = Some(50);
        })
    };
    assert_eq!(no_data(counted("49").await), "49 requests, minSamples 50");
    assert_eq!(counted("50").await, Outcome::Samples(Samples::Vector(vec![0.0])));
    has(no_data(counted("NaN").await), "NaN");
}

#[tokio::test]
async fn says_who_did_not_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    has(error(provider().measure(&task(&address), now()).await), "refused");
    let nowhere = MeasureTask {
        address: None,
        ..task("")
    };
    has(
        error(provider().measure(&nowhere, now()).await),
        "--prometheus-url",
    );
    has(
        error(measure_one(Reply::Bytes(Vec::new())).await),
        "failed to send request",
    );
    has(
        error(measure_one(Reply::Bytes(b"SSH-2.0-OpenSSH\r\n".to_vec())).await),
        "failed to send request",
    );
}

#[tokio::test]
async fn goes_nowhere_it_may_not() {
    let server = serve(vec![ok(&series(NOW, r#""0""#))]).await;
    install_tls();
    let strict = Prometheus::new(None, AddressPolicy::default()).unwrap();
    for address in [
        server.address.clone(),
        server.address.replace("127.0.0.1", "localhost"),
        "http://169.254.169.254/latest".into(),
        "file:///etc/passwd".into(),
        "http://user:secret@prometheus:9090".into(),
    ] {
        let message = error(strict.measure(&task(&address), now()).await);
        assert!(message.contains("address"), "{message}");
        assert!(!message.contains("secret"), "{message}");
    }
    assert_eq!(server.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_hanging_backend_does_not_keep_others_waiting() {
    let hanging = serve(vec![Reply::Silence]).await;
    let healthy = serve(vec![ok(&series(NOW, r#""1""#))]).await;
    let provider = Arc::new(provider());
    let stuck: Vec<_> = (0..60)
        .map(|_| {
            let (provider, task) = (provider.clone(), task(&hanging.address));
            tokio::spawn(async move { provider.measure(&task, now()).await })
        })
        .collect();
    while hanging.requests.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..10 {
        let outcome = provider.measure(&task(&healthy.address), now()).await;
        assert_eq!(outcome, Outcome::Samples(Samples::Vector(vec![1.0])));
    }
    assert!(stuck.iter().all(|task| !task.is_finished()));
    assert!(hanging.requests.load(Ordering::SeqCst) <= 2);
    stuck.iter().for_each(tokio::task::JoinHandle::abort);
}

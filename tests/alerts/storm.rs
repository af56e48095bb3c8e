//! A thousand alerts a second, about releases that go on and about everything else.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::clock::{Clock, Stopwatch};

use crate::client::{PATH, alert, webhook};
use crate::release::{Release, p99};
use crate::replica::ALL;

const SHOPS: usize = 6;
const ALERTS_PER_REQUEST: usize = 20;
const REQUESTS_PER_SECOND: u64 = 50;
/// `TIDEGATE_STORM_SECONDS=30` for the full length.
const SECONDS: &str = "TIDEGATE_STORM_SECONDS";
/// What a storm may leave behind, once every release is aborted and the allocator has what it needs. The whole cluster is
/// in this process.
const MOST_KEPT_KIB: u64 = 4 * 1_024;

/// Resident memory of this process.
fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// In a process of its own: whatever else is tested in this one takes memory too.
#[test]
fn in_a_storm_every_release_is_aborted_once_and_memory_stays_flat() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "storm::a_storm_by_itself", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    println!("{}", said.concat());
    assert!(output.status.success() && said.concat().contains("1 passed"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "is run by in_a_storm_every_release_is_aborted_once_and_memory_stays_flat"]
async fn a_storm_by_itself() {
    let seconds: u64 = std::env::var(SECONDS).map_or(3, |seconds| seconds.parse().unwrap());
    let release = Release::begin(SHOPS, None, None).await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap();
    let url = format!("http://{}{PATH}", release.receiver);
    let starts_at = Clock::System.now().to_rfc3339();
    let mut after_a_second = 0;
    let (began, stopwatch) = (release.stopwatch.elapsed(), Stopwatch::start());
    let mut sending = tokio::task::JoinSet::new();
    for number in 0..seconds * REQUESTS_PER_SECOND {
        let due = Duration::from_secs(1) * u32::try_from(number).unwrap()
            / u32::try_from(REQUESTS_PER_SECOND).unwrap();
        tokio::time::sleep(stopwatch.left_of(due)).await;
        if number == REQUESTS_PER_SECOND {
            after_a_second = memory_kib();
        }
        let alerts: Vec<Value> = (0..ALERTS_PER_REQUEST)
            .map(|index| {
                let labels = match index {
                    0..10 => json!({"alertname": "Storm", "shop": "all"}),
                    _ => json!({"alertname": "Other", "shop": "elsewhere"}),
                };
                alert(&labels, &format!("{number:x}a{index:x}"), &starts_at)
            })
            .collect();
        let request = client
            .post(&url)
            .bearer_auth(ALL)
            .header("content-type", "application/json");
        let request = request.body(webhook(&alerts));
        sending.spawn(async move { request.send().await.map(|answer| answer.status().as_u16()) });
    }
    let mut refused = 0;
    while let Some(answer) = sending.join_next().await {
        // Whoever is told to come again may; nobody is told that it was in vain.
        match answer.unwrap().unwrap() {
            200 => {}
            503 => refused += 1,
            code => panic!("{code}"),
        }
    }
    let took = stopwatch.elapsed();
    release.wait_for(|status| status.abort).await;
    let mut times = Vec::new();
    for (namespace, _) in &release.shops {
        times.push(release.zeroed(namespace).await - began);
        let commands = release.commands(namespace).len();
        assert!(commands <= 2, "{namespace}: {commands} commands");
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    release.assert_aborted_once("Storm").await;
    let grown = memory_kib().saturating_sub(after_a_second);
    println!(
        "{} alerts in {:.1} s, {refused} requests told to come again; first alert sent to weight 0 written: p99 {:?} of \
         {} releases; memory after a second {after_a_second} KiB, and then {grown} KiB more",
        seconds * REQUESTS_PER_SECOND * u64::try_from(ALERTS_PER_REQUEST).unwrap(),
        took.as_secs_f64(),
        p99(times.clone()),
        times.len(),
    );
    assert!(after_a_second > 0, "not measured");
    assert!(grown < MOST_KEPT_KIB, "{grown} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_alert_after_the_other_each_turns_its_release_back() {
    let release = Release::begin(SHOPS, None, None).await;
    let mut times = Vec::new();
    for (number, (namespace, _)) in release.shops.iter().enumerate() {
        let labels = json!({"alertname": "Errors", "shop": namespace});
        let firing = alert(&labels, &format!("{number:x}"), &Clock::System.now().to_rfc3339());
        let began = release.stopwatch.elapsed();
        let answer = crate::client::post(release.receiver, ALL, &webhook(&[firing])).await;
        let answered = release.stopwatch.elapsed() - began;
        assert_eq!(answer.code, 200);
        assert_eq!(
            release.commands(namespace).len(),
            1,
            "it is there before the answer is"
        );
        times.push((release.zeroed(namespace).await - began, answered));
    }
    release.wait_for(|status| status.abort).await;
    release.assert_aborted_once("Errors").await;
    println!(
        "alert posted to weight 0 written: p99 {:?}, to the answer: p99 {:?}, of {} releases",
        p99(times.iter().map(|(zeroed, _)| *zeroed).collect()),
        p99(times.iter().map(|(_, answered)| *answered).collect()),
        times.len()
    );
}

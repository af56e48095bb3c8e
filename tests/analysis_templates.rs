//! Every file in `analysis-templates/` against a real Prometheus that scrapes a healthy, a failing and a slow
//! version.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate::api::address::AddressPolicy;
use tidegate::api::analysis_run::{AnalysisRun, AnalysisRunStatus, Verdict};
use tidegate::api::analysis_template::AnalysisTemplate;
use tidegate::api::measure::{Measured, Outcome};
use tidegate::api::names::PodTemplateHash;
use tidegate::api::rollout::AnalysisStep;
use tidegate::clock::Clock;
use tidegate::plan::analysis::{deciding_metric, record, schedule};
use tidegate::plan::template::{ArgContext, TemplateSet, build_run, check_bounded};
use tidegate::providers::{Prometheus, Provider, install_tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn template_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("analysis-templates")
}

fn template_names() -> BTreeSet<String> {
    let files = std::fs::read_dir(template_directory()).unwrap();
    files
        .map(|file| {
            file.unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect()
}

fn templates() -> TemplateSet {
    let namespaced = template_names().into_iter().map(|name| {
        let text = std::fs::read_to_string(template_directory().join(format!("{name}.yaml"))).unwrap();
        let template: AnalysisTemplate = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(template.metadata.name.as_ref(), Some(&name));
        (name, template.spec)
    });
    TemplateSet {
        namespaced: namespaced.collect(),
        cluster: BTreeMap::new(),
    }
}

/// Ends with the test, by the handle it was started with.
struct RealPrometheus {
    process: Child,
    address: String,
    directory: PathBuf,
}

impl Drop for RealPrometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn start_prometheus(target: &str) -> RealPrometheus {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let directory = std::env::temp_dir().join(format!("tidegate-templates-{}-{port}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n\
         scrape_configs:\n- job_name: pods\n  static_configs: [{{targets: ['{target}']}}]\n"
    );
    std::fs::write(directory.join("prometheus.yml"), config).unwrap();
    let process = Command::new("prometheus")
        .arg(format!(
            "--config.file={}",
            directory.join("prometheus.yml").display()
        ))
        .arg(format!(
            "--storage.tsdb.path={}",
            directory.join("data").display()
        ))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("these tests need a program named prometheus on PATH; on Debian: apt-get install prometheus");
    RealPrometheus {
        process,
        address: format!("http://127.0.0.1:{port}"),
        directory,
    }
}

/// Requests per scrape of a version: answered well, answered with a 500, slower than half a second.
const VERSIONS: [(&str, u64, u64, u64); 4] = [
    ("healthy", 100, 0, 0),
    ("failing", 95, 5, 0),
    ("slow", 100, 0, 20),
    ("idle", 0, 0, 0),
];

/// What the pods would have counted after so many scrapes.
fn metrics_page(scrapes: u64) -> String {
    let mut page = String::from("# TYPE http_requests_total counter\n");
    for (hash, good, bad, _) in VERSIONS {
        let labels =
            format!(r#"namespace="shop",pod="checkout-{hash}",tidegate_dev_pod_template_hash="{hash}""#);
        page += &format!(
            "http_requests_total{{{labels},code=\"200\"}} {}\n",
            good * scrapes
        );
        if bad > 0 {
            page += &format!("http_requests_total{{{labels},code=\"500\"}} {}\n", bad * scrapes);
        }
    }
    page += "# TYPE http_request_duration_seconds histogram\n";
    for (hash, good, bad, slow) in VERSIONS {
        let labels =
            format!(r#"namespace="shop",pod="checkout-{hash}",tidegate_dev_pod_template_hash="{hash}""#);
        let all = (good + bad) * scrapes;
        for (bound, count) in [
            ("0.1", all - slow * scrapes),
            ("0.5", all - slow * scrapes),
            ("1", all),
            ("+Inf", all),
        ] {
            page += &format!("http_request_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {count}\n");
        }
        page += &format!("http_request_duration_seconds_sum{{{labels}}} {all}\n");
        page += &format!("http_request_duration_seconds_count{{{labels}}} {all}\n");
    }
    page
}

async fn serve_metrics() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let scrapes = AtomicU64::new(0);
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let body = metrics_page(scrapes.fetch_add(1, Ordering::SeqCst));
            let _ = stream.read(&mut [0; 4096]).await;
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + &body).as_bytes()).await;
        }
    });
    address
}

fn run_of(template: &str, hash: &str) -> AnalysisRun {
    let step: AnalysisStep = serde_saphyr::from_str(&format!(
        "templates: [{{templateName: {template}}}]\n\
         args:\n\
         - {{name: namespace, valueFrom: {{fieldRef: {{fieldPath: metadata.namespace}}}}}}\n\
         - {{name: hash, valueFrom: {{podTemplateHashValue: Latest}}}}\n\
         - {{name: window, value: 2s}}\n\
         - {{name: count, value: '3'}}\n\
         - {{name: failureLimit, value: '1'}}\n"
    ))
    .unwrap();
    let context = ArgContext {
        name: "checkout".into(),
        namespace: "shop".into(),
        latest_hash: PodTemplateHash(hash.into()),
        ..ArgContext::default()
    };
    let spec = build_run(&templates(), &step, &context).unwrap();
    check_bounded(&spec).unwrap();
    let mut run = AnalysisRun::new("run", spec);
    run.metadata.namespace = Some("shop".into());
    run
}

/// The loop of a controller, with the waits between measurements left out.
async fn drive(mut run: AnalysisRun, provider: &Prometheus) -> AnalysisRunStatus {
    let mut now = Clock::System.now();
    loop {
        let mut measured = Vec::new();
        for task in schedule(&run, now).tasks {
            let outcome = provider.measure(&task, Clock::System.now()).await;
            measured.push(Measured {
                metric: task.metric,
                started_at: now,
                outcome,
            });
        }
        run.status = Some(record(&run, &measured, now));
        match schedule(&run, now).next_at {
            Some(next_at) => now = now.max(next_at),
            None => return run.status.unwrap(),
        }
    }
}

/// Until Prometheus is up and has scraped often enough for a rate.
async fn wait_for_data(provider: &Prometheus) {
    let mut run = run_of("latency-p95", "healthy");
    let now = Clock::System.now();
    run.status = Some(record(&run, &[], now));
    let task = schedule(&run, now).tasks.remove(0);
    for _ in 0..600 {
        match provider.measure(&task, Clock::System.now()).await {
            Outcome::Samples(_) => return,
            _ => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
    panic!(
        "Prometheus has no data: {:?}",
        provider.measure(&task, Clock::System.now()).await
    );
}

#[tokio::test]
async fn templates_tell_good_versions_from_bad_ones() {
    install_tls();
    let prometheus = start_prometheus(&serve_metrics().await);
    let provider = Prometheus::new(
        Some(prometheus.address.clone()),
        AddressPolicy {
            allow_loopback: true,
            ..AddressPolicy::default()
        },
    )
    .unwrap();
    wait_for_data(&provider).await;
    let mut tried = BTreeSet::new();
    for (template, hash, verdict) in [
        ("error-rate", "healthy", Verdict::Successful),
        ("error-rate", "failing", Verdict::Failed),
        ("error-rate", "slow", Verdict::Successful),
        ("error-rate", "idle", Verdict::Inconclusive),
        ("error-rate", "absent", Verdict::Inconclusive),
        ("latency-p95", "healthy", Verdict::Successful),
        ("latency-p95", "failing", Verdict::Successful),
        ("latency-p95", "slow", Verdict::Failed),
        ("latency-p95", "idle", Verdict::Inconclusive),
        ("latency-p95", "absent", Verdict::Inconclusive),
    ] {
        tried.insert(template.to_owned());
        let status = drive(run_of(template, hash), &provider).await;
        assert_eq!(status.phase, verdict, "{template} of {hash}: {status:?}");
        let Some(decision) = deciding_metric(&status).filter(|_| verdict == Verdict::Failed) else {
            continue;
        };
        let (threshold, expected) = if template == "error-rate" {
            (0.01, 0.04..0.06)
        } else {
            (0.5, 0.5..1.0)
        };
        assert_eq!(
            (decision.rule.as_str(), decision.threshold),
            (template, Some(threshold))
        );
        assert!(
            decision
                .measured
                .is_some_and(|measured| expected.contains(&measured)),
            "{decision:?}"
        );
    }
    assert_eq!(tried, template_names(), "a template without a test");
}

//! Every template in `analysis-templates/` against a real Prometheus, which scrapes versions that are healthy, failing,
//! slow, without requests, short of memory and so on, as each source of metrics would show them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]

#[path = "analysis_templates/series.rs"]
mod series;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;
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

/// By name, from every file.
fn templates() -> TemplateSet {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("analysis-templates");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let manifests = files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let named = manifests.flat_map(|path| {
        let text = std::fs::read_to_string(path).unwrap();
        let documents: Vec<AnalysisTemplate> = serde_saphyr::from_multiple(&text).unwrap();
        documents
            .into_iter()
            .map(|template| (template.metadata.name.unwrap(), template.spec))
    });
    let named: Vec<_> = named.collect();
    let namespaced: BTreeMap<_, _> = named.iter().cloned().collect();
    assert_eq!(namespaced.len(), named.len(), "two templates of one name");
    TemplateSet {
        namespaced,
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

/// `service` is the argument of Traefik's templates.
fn run_of(template: &str, version: &str, service: &str, dry_run: &[&str]) -> AnalysisRun {
    let templates = templates();
    let spec = &templates.namespaced[template];
    let args = [
        (
            "namespace",
            json!({"valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}),
        ),
        (
            "rollout",
            json!({"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
        ),
        ("hash", json!({"valueFrom": {"podTemplateHashValue": "Latest"}})),
        ("service", json!({"value": service})),
        ("canaryService", json!({"value": format!("checkout-{version}")})),
        ("port", json!({"value": "80"})),
        ("window", json!({"value": "5s"})),
        ("cpuWindow", json!({"value": "5s"})),
        ("count", json!({"value": "3"})),
        ("failureLimit", json!({"value": "1"})),
    ];
    let declared = |name: &str| spec.args.iter().any(|arg| arg.name == name);
    let args = args
        .into_iter()
        .filter(|(name, _)| declared(name))
        .map(|(name, mut arg)| {
            arg["name"] = json!(name);
            arg
        });
    let step: AnalysisStep = serde_json::from_value(json!({
        "templates": [{"templateName": template}],
        "args": args.collect::<Vec<_>>(),
        "dryRun": dry_run.iter().map(|name| json!({"metricName": name})).collect::<Vec<_>>(),
    }))
    .unwrap();
    let context = ArgContext {
        name: "checkout".into(),
        namespace: "shop".into(),
        latest_hash: PodTemplateHash(version.into()),
        ..ArgContext::default()
    };
    let spec = build_run(&templates, &step, &context).unwrap();
    check_bounded(&spec).unwrap();
    let mut run = AnalysisRun::new("run", spec);
    run.metadata.namespace = Some("shop".into());
    run
}

fn behind_an_ingress(version: &str) -> String {
    format!("web-checkout-{version}-80-canary")
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
    // What wants the most requests has something to judge last.
    let mut run = run_of("latency", "healthy", "", &[]);
    let now = Clock::System.now();
    run.status = Some(record(&run, &[], now));
    let task = schedule(&run, now).tasks.pop().unwrap();
    assert_eq!(task.metric, "latency-p99");
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

/// What each template must say of each version: the verdict, and of what is Failed the metric (after the template's
/// name), the threshold and what is measured.
type Expected = (&'static str, Verdict, Option<(&'static str, f64, Range<f64>)>);

fn error_rate() -> Vec<Expected> {
    vec![
        ("healthy", Verdict::Successful, None),
        ("failing", Verdict::Failed, Some(("", 0.01, 0.04..0.06))),
        ("slow", Verdict::Successful, None),
        ("idle", Verdict::Inconclusive, None),
        ("absent", Verdict::Inconclusive, None),
    ]
}

fn latency() -> Vec<Expected> {
    vec![
        ("healthy", Verdict::Successful, None),
        ("failing", Verdict::Successful, None),
        ("tail", Verdict::Failed, Some(("-p99", 1.0, 1.0..2.5))),
        ("slow", Verdict::Failed, Some(("-p95", 0.5, 1.0..2.5))),
        ("sluggish", Verdict::Failed, Some(("-p50", 0.25, 1.0..2.5))),
        ("idle", Verdict::Inconclusive, None),
        ("absent", Verdict::Inconclusive, None),
    ]
}

/// Of `template`, if it is known here.
fn expected_of(template: &str) -> Vec<Expected> {
    match template {
        "latency-p95" => vec![
            ("healthy", Verdict::Successful, None),
            ("failing", Verdict::Successful, None),
            ("slow", Verdict::Failed, Some(("", 0.5, 1.0..2.5))),
            ("idle", Verdict::Inconclusive, None),
            ("absent", Verdict::Inconclusive, None),
        ],
        "saturation" => vec![
            ("healthy", Verdict::Successful, None),
            ("hot", Verdict::Failed, Some(("cpu-", 0.9, 0.9..6.0))),
            ("full", Verdict::Failed, Some(("memory-", 0.9, 0.94..0.96))),
            ("unlimited", Verdict::Failed, Some(("memory-", 0.9, 1.4..1.6))),
            ("boundless", Verdict::Inconclusive, None),
            ("absent", Verdict::Inconclusive, None),
        ],
        "restarts" => vec![
            ("healthy", Verdict::Successful, None),
            ("restarting", Verdict::Failed, Some(("", 0.0, 0.9..1.1))),
            ("absent", Verdict::Inconclusive, None),
        ],
        other if other.ends_with("error-rate") => error_rate(),
        other if other.ends_with("latency") => latency(),
        other => panic!("{other} is a template without a test"),
    }
}

async fn check(provider: &Prometheus, template: &str, service: &str, expected: &Expected) {
    let (version, verdict, decided) = expected;
    let status = drive(run_of(template, version, service, &[]), provider).await;
    assert_eq!(status.phase, *verdict, "{template} of {version}: {status:?}");
    let Some((metric, threshold, range)) = decided else {
        return;
    };
    let rule = match metric.strip_suffix('-') {
        Some(resource) => format!("{resource}-{template}"),
        None => format!("{template}{metric}"),
    };
    let decision = deciding_metric(&status).unwrap();
    assert_eq!((decision.rule, decision.threshold), (rule, Some(*threshold)));
    assert!(
        decision
            .measured
            .is_some_and(|measured| range.contains(&measured)),
        "{template} of {version} measured {:?}",
        decision.measured
    );
}

#[tokio::test]
async fn templates_tell_good_versions_from_bad_ones() {
    install_tls();
    let prometheus = start_prometheus(&series::serve().await);
    let provider = Prometheus::new(
        Some(prometheus.address.clone()),
        AddressPolicy {
            allow_loopback: true,
            ..AddressPolicy::default()
        },
    )
    .unwrap();
    wait_for_data(&provider).await;
    let mut tried = 0;
    for template in templates().namespaced.keys() {
        for expected in expected_of(template) {
            check(&provider, template, &behind_an_ingress(expected.0), &expected).await;
            tried += 1;
            if template.starts_with("traefik-") {
                // Of an HTTPRoute, whose index in the rule nobody wants to count.
                let service = format!("checkout-{}-[0-9]+", expected.0);
                check(&provider, template, &service, &expected).await;
                tried += 1;
            }
        }
    }
    println!("{tried} verdicts of {} templates", templates().namespaced.len());

    // One metric of a template alone: the others are measured, and decide nothing.
    let alone = run_of("latency", "tail", "", &["latency-p99"]);
    assert_eq!(drive(alone, &provider).await.phase, Verdict::Successful);
    let alone = run_of("latency", "tail", "", &["latency-p50", "latency-p95"]);
    assert_eq!(drive(alone, &provider).await.phase, Verdict::Failed);
}

/// Templates that are named together share one list of arguments, and a metric is called by its name alone.
#[test]
fn templates_of_different_sources_go_together() {
    let mut defaults: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut metrics: BTreeMap<String, String> = BTreeMap::new();
    for (template, spec) in templates().namespaced {
        for arg in spec.args {
            let known = defaults
                .entry(arg.name.clone())
                .or_insert_with(|| arg.value.clone());
            assert_eq!(*known, arg.value, "default of {} in {template}", arg.name);
        }
        for metric in spec.metrics {
            let other = metrics.insert(metric.name.clone(), template.clone());
            let is_shared = other.as_deref() == Some("latency") && template == "latency-p95";
            assert!(
                other.is_none() || is_shared,
                "{} is in {other:?} and {template}",
                metric.name
            );
        }
    }
    assert!(metrics.len() > 20, "{metrics:?}");
}

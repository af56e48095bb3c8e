//! What Prometheus is given to scrape: for each source of the shipped templates the series that it really has, for
//! versions that behave in different ways. The namespace next door has the same versions, and there all do everything
//! wrong.

use std::fmt::Write as _;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

/// How a version behaves. Its name is its pod template hash, too.
#[derive(Clone, Copy)]
struct Version {
    name: &'static str,
    /// Requests for each scrape: all of them, those that are answered with a 500, those that take 1 to 2.5 seconds.
    requests: u64,
    failed: u64,
    slow: u64,
    /// Cores in use, of one.
    cpu: f64,
    /// Bytes in use, of 1,000.
    memory: u64,
    limits: bool,
    requested: bool,
    restarts: u64,
}

const HEALTHY: Version = Version {
    name: "healthy",
    requests: 100,
    failed: 0,
    slow: 0,
    cpu: 0.3,
    memory: 300,
    limits: true,
    requested: true,
    restarts: 0,
};

fn versions() -> [Version; 11] {
    let named = |name, change: fn(&mut Version)| {
        let mut version = Version { name, ..HEALTHY };
        change(&mut version);
        version
    };
    [
        HEALTHY,
        named("failing", |version| version.failed = 5),
        named("tail", |version| version.slow = 2),
        named("slow", |version| version.slow = 20),
        named("sluggish", |version| version.slow = 60),
        named("idle", |version| version.requests = 0),
        // So much that it shows even where scrapes were missed: a rate counts what is missing as nothing.
        named("hot", |version| version.cpu = 5.0),
        named("full", |version| version.memory = 950),
        named("unlimited", |version| {
            (version.limits, version.memory) = (false, 1500)
        }),
        named("boundless", |version| {
            (version.limits, version.requested) = (false, false)
        }),
        named("restarting", |version| version.restarts = 1),
    ]
}

fn next_door(version: Version) -> Version {
    Version {
        requests: 100,
        failed: 50,
        slow: 100,
        cpu: 3.0,
        memory: 3000,
        restarts: 9,
        limits: true,
        ..version
    }
}

/// Somebody who counts requests.
struct Source {
    /// None where the histogram is all there is.
    counter: Option<&'static str>,
    histogram: &'static str,
    /// The unit of the histogram's bounds, in each second.
    units: u64,
    /// Labels of requests that were answered well, and of the others.
    good: &'static str,
    bad: &'static str,
    /// What tells the version from others, by namespace and name.
    labels: fn(&str, &str) -> String,
}

const LINKERD: Source = Source {
    counter: Some("response_total"),
    histogram: "response_latency_ms",
    units: 1000,
    good: r#"classification="success",status_code="200""#,
    bad: r#"classification="failure",status_code="500""#,
    labels: |namespace, name| {
        let pod = linkerd_pod(namespace, name);
        format!(r#"{pod},target_port="8080",route_name="default""#)
    },
};

const SOURCES: [Source; 8] = [
    Source {
        counter: Some("http_requests_total"),
        histogram: "http_request_duration_seconds",
        units: 1,
        good: r#"code="200""#,
        bad: r#"code="500""#,
        labels: |namespace, name| {
            format!(
                r#"namespace="{namespace}",pod="checkout-{name}-x7k2p",tidegate_dev_pod_template_hash="{name}""#
            )
        },
    },
    Source {
        counter: Some("traefik_service_requests_total"),
        histogram: "traefik_service_request_duration_seconds",
        units: 1,
        good: r#"code="200",method="GET",protocol="http""#,
        bad: r#"code="502",method="GET",protocol="http""#,
        labels: |namespace, name| {
            format!(r#"service="{namespace}-web-checkout-{name}-80-canary@kubernetesingressnginx""#)
        },
    },
    // The same of an HTTPRoute.
    Source {
        counter: Some("traefik_service_requests_total"),
        histogram: "traefik_service_request_duration_seconds",
        units: 1,
        good: r#"code="200",method="GET",protocol="http""#,
        bad: r#"code="503",method="GET",protocol="http""#,
        labels: |namespace, name| {
            let router = format!("httproute-{namespace}-web-gw-public-web-ep-websecure-0-1f2e3d");
            format!(r#"service="{router}-svc-{namespace}-checkout-{name}-1@kubernetesgateway""#)
        },
    },
    Source {
        counter: Some("nginx_ingress_controller_requests"),
        histogram: "nginx_ingress_controller_request_duration_seconds",
        units: 1,
        good: r#"status="200",method="GET",path="/""#,
        bad: r#"status="500",method="GET",path="/""#,
        labels: |namespace, name| {
            let canary = format!("{namespace}-checkout-{name}-80");
            format!(r#"namespace="{namespace}",ingress="web",service="checkout-stable",canary="{canary}""#)
        },
    },
    Source {
        counter: Some("istio_requests_total"),
        histogram: "istio_request_duration_milliseconds",
        units: 1000,
        good: r#"response_code="200",request_protocol="http""#,
        bad: r#"response_code="500",request_protocol="http""#,
        labels: |namespace, name| {
            format!(
                r#"reporter="destination",destination_workload_namespace="{namespace}",destination_workload="checkout-{name}""#
            )
        },
    },
    LINKERD,
    Source {
        counter: None,
        histogram: "http_server_request_duration_seconds",
        units: 1,
        good: r#"http_response_status_code="200",http_request_method="GET""#,
        bad: r#"http_response_status_code="500",http_request_method="GET""#,
        labels: open_telemetry,
    },
    Source {
        counter: None,
        histogram: "http_server_duration_milliseconds",
        units: 1000,
        good: r#"http_status_code="200",http_method="GET""#,
        bad: r#"http_status_code="500",http_method="GET""#,
        labels: open_telemetry,
    },
];

fn open_telemetry(namespace: &str, name: &str) -> String {
    format!(r#"k8s_namespace_name="{namespace}",k8s_pod_name="checkout-{name}-x7k2p",job="checkout""#)
}

fn linkerd_pod(namespace: &str, name: &str) -> String {
    format!(r#"direction="inbound",namespace="{namespace}",pod="checkout-{name}-x7k2p""#)
}

/// What a Linkerd proxy counts though no customer came: the kubelet's probes and its own port, which is scraped.
const NOT_CUSTOMERS: [Source; 2] = [
    Source {
        labels: |namespace, name| {
            let pod = linkerd_pod(namespace, name);
            format!(r#"{pod},target_port="8080",route_name="probe""#)
        },
        ..LINKERD
    },
    Source {
        labels: |namespace, name| {
            let pod = linkerd_pod(namespace, name);
            format!(r#"{pod},target_port="4191",route_name="default""#)
        },
        ..LINKERD
    },
];

impl Source {
    /// What it has counted after so many scrapes. No series for errors before there are any.
    fn write(&self, page: &mut String, namespace: &str, version: &Version, scrapes: u64) {
        let labels = (self.labels)(namespace, version.name);
        let (failed, slow) = (version.failed * scrapes, version.slow * scrapes);
        let answered = version.requests * scrapes - failed;
        for (status, all, slow) in [(self.good, answered, slow.min(answered)), (self.bad, failed, 0)] {
            if status == self.bad && version.failed == 0 {
                continue;
            }
            if let Some(counter) = self.counter {
                let _ = writeln!(page, "{counter}{{{labels},{status}}} {all}");
            }
            let name = self.histogram;
            for (bound_ms, count) in [
                (100, all - slow),
                (250, all - slow),
                (500, all - slow),
                (1000, all - slow),
                (2500, all),
            ] {
                let bound = bound_ms as f64 * self.units as f64 / 1000.0;
                let _ = writeln!(page, "{name}_bucket{{{labels},{status},le=\"{bound}\"}} {count}");
            }
            let _ = writeln!(page, "{name}_bucket{{{labels},{status},le=\"+Inf\"}} {all}");
            let _ = writeln!(page, "{name}_sum{{{labels},{status}}} {all}");
            let _ = writeln!(page, "{name}_count{{{labels},{status}}} {all}");
        }
    }
}

/// cAdvisor, and kube-state-metrics in two replicas.
fn write_container(page: &mut String, namespace: &str, version: &Version, seconds: f64) {
    let container = format!(
        r#"namespace="{namespace}",pod="checkout-{}-x7k2p",container="app""#,
        version.name
    );
    let _ = writeln!(
        page,
        "container_cpu_usage_seconds_total{{{container},cpu=\"total\"}} {}",
        version.cpu * seconds
    );
    let _ = writeln!(
        page,
        "container_memory_working_set_bytes{{{container}}} {}",
        version.memory
    );
    // The pod as a whole, which is none of its containers.
    let pod = container.replace("\"app\"", "\"\"");
    let _ = writeln!(page, "container_memory_working_set_bytes{{{pod}}} 1000000");
    for replica in ["a", "b"] {
        let seen = format!(r#"{container},instance="{replica}""#);
        let _ = writeln!(
            page,
            "kube_pod_container_status_restarts_total{{{seen}}} {}",
            version.restarts
        );
        for (resource, amount) in [("cpu", 1), ("memory", 1000)] {
            for (kind, is_set) in [("limits", version.limits), ("requests", version.requested)] {
                let name = format!("kube_pod_container_resource_{kind}");
                if is_set {
                    // Small beside a limit, so that taking the wrong one shows.
                    let amount = if kind == "requests" && version.limits {
                        amount as f64 / 10.0
                    } else {
                        amount as f64
                    };
                    let _ = writeln!(page, "{name}{{{seen},resource=\"{resource}\"}} {amount}");
                }
            }
        }
    }
}

/// What there would be to read after so many scrapes and seconds.
fn page(scrapes: u64, seconds: f64) -> String {
    let mut page = String::new();
    for version in versions() {
        for (namespace, version) in [("shop", version), ("shop-b", next_door(version))] {
            for source in &SOURCES {
                source.write(&mut page, namespace, &version, scrapes);
            }
            for source in &NOT_CUSTOMERS {
                source.write(
                    &mut page,
                    namespace,
                    &Version {
                        name: version.name,
                        ..HEALTHY
                    },
                    scrapes,
                );
            }
            write_container(&mut page, namespace, &version, seconds);
        }
    }
    page
}

/// Serves the page to whoever asks, until the test ends; the address.
pub async fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let started = Instant::now();
        for scrapes in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let body = page(scrapes, started.elapsed().as_secs_f64());
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

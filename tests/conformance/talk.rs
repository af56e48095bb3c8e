//! A conversation with an API server, and what is written down of it: codes, reasons and fields, but nothing that
//! differs between two runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use chrono::SecondsFormat;
use http::Request;
use http_body_util::BodyExt;
use kube::client::Body;
use regex::Regex;
use serde_json::{Value, json};
use tidegate::clock::{Clock, Stopwatch};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::server::{NODE, Server};

const POLL: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(30);

pub const JSON: &str = "application/json";
pub const JSON_PATCH: &str = "application/json-patch+json";
pub const MERGE_PATCH: &str = "application/merge-patch+json";
pub const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";

pub struct Answer {
    pub code: u16,
    pub body: Value,
    pub warnings: Vec<String>,
}

impl Answer {
    pub fn text(&self, pointer: &str) -> &str {
        self.body
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    pub fn uid(&self) -> &str {
        self.text("/metadata/uid")
    }

    pub fn version(&self) -> &str {
        self.text("/metadata/resourceVersion")
    }

    pub fn items(&self) -> &[Value] {
        self.body["items"].as_array().map_or(&[], Vec::as_slice)
    }
}

pub struct Talk<'a> {
    pub server: &'a Server,
    pub namespace: String,
    pub transcript: Vec<String>,
}

impl Talk<'_> {
    pub fn note(&mut self, line: impl Into<String>) {
        self.transcript.push(line.into());
    }

    /// Of a collection in this conversation's namespace.
    pub fn path(&self, plural: &str) -> String {
        let root = match plural.split(['/', '?']).next().unwrap() {
            "replicasets" | "deployments" => "apis/apps/v1",
            "endpointslices" => "apis/discovery.k8s.io/v1",
            "leases" => "apis/coordination.k8s.io/v1",
            "ingresses" => "apis/networking.k8s.io/v1",
            "rollouts" | "rolloutcommands" | "analysisruns" | "analysistemplates" => {
                "apis/tidegate.dev/v1alpha1"
            }
            _ => "api/v1",
        };
        format!("/{root}/namespaces/{}/{plural}", self.namespace)
    }

    /// Without a word in the transcript. A path that does not begin with `/` is in the namespace.
    pub async fn ask(&self, method: &str, path: &str, form: &str, body: impl Into<Vec<u8>>) -> Answer {
        let path = match path.starts_with('/') {
            true => path.to_owned(),
            false => self.path(path),
        };
        let kind = if method == "GET" { "accept" } else { "content-type" };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(kind, form)
            .body(Body::from(body.into()))
            .unwrap();
        let answer = self.server.client.send(request).await.unwrap();
        let warnings = answer.headers().get_all("warning").iter();
        let warnings = warnings
            .map(|warning| warning.to_str().unwrap().to_owned())
            .collect();
        let code = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes).into_owned()));
        Answer { code, body, warnings }
    }

    /// A request whose outcome counts.
    pub async fn tell(&mut self, method: &str, path: &str, form: &str, body: impl Into<Vec<u8>>) -> Answer {
        let answer = self.ask(method, path, form, body).await;
        let outcome = outcome(&answer);
        self.note(format!("{method} {}: {outcome}", without_versions(path)));
        answer
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.tell("GET", path, JSON, "").await
    }

    pub async fn create(&mut self, plural: &str, object: &Value) -> Answer {
        self.tell("POST", plural, JSON, object.to_string()).await
    }

    pub async fn replace(&mut self, path: &str, object: &Value) -> Answer {
        self.tell("PUT", path, JSON, object.to_string()).await
    }

    pub async fn patch(&mut self, path: &str, form: &str, patch: &Value) -> Answer {
        self.tell("PATCH", path, form, patch.to_string()).await
    }

    pub async fn merge(&mut self, path: &str, patch: &Value) -> Answer {
        self.patch(path, MERGE_PATCH, patch).await
    }

    pub async fn delete(&mut self, path: &str, options: &Value) -> Answer {
        self.tell("DELETE", path, JSON, options.to_string()).await
    }

    /// Creates what a behaviour only stands on.
    pub async fn given(&self, plural: &str, object: &Value) -> Answer {
        let answer = self.ask("POST", plural, JSON, object.to_string()).await;
        assert_eq!(answer.code, 201, "{plural}: {}", answer.body);
        answer
    }

    /// Writes down the values at these pointers.
    pub fn show(&mut self, answer: &Answer, pointers: &[&str]) {
        for pointer in pointers {
            let shown = answer.body.pointer(pointer).map_or("absent".to_owned(), plain);
            self.note(format!("  {pointer} = {shown}"));
        }
    }

    /// Reads until it is as wanted; the transcript says so, or what was found in its stead.
    pub async fn until(&mut self, what: &str, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let stopwatch = Stopwatch::start();
        loop {
            let answer = self.ask("GET", path, JSON, "").await;
            let late = stopwatch.elapsed() > PATIENCE;
            if wanted(&answer) || late {
                let said = if late {
                    format!("NEVER, but {}", answer.body)
                } else {
                    "yes".to_owned()
                };
                self.note(format!("until {what}: {said}"));
                return answer;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    pub async fn until_gone(&mut self, path: &str) {
        self.until(&format!("{path} is gone"), path, |answer| answer.code == 404)
            .await;
    }

    /// Waits until what must not happen had its time.
    pub async fn pause(&self) {
        tokio::time::sleep(Duration::from_secs(2)).await;
    }

    /// Types `kubectl …` and writes down what is printed and how it ends.
    pub async fn kubectl(&mut self, words: &str, input: &str) {
        let plugins = Path::new(env!("CARGO_BIN_EXE_kubectl-tidegate"))
            .parent()
            .unwrap();
        let path = std::env::join_paths([plugins, Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
        let mut child = Command::new(self.server.binaries.join("kubectl"))
            .args(words.split(' '))
            .env("KUBECONFIG", self.server.kubeconfig_of(&self.namespace))
            .env("PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        self.note(format!("kubectl {words}: {:?}", output.status.code()));
        for text in [output.stdout, output.stderr] {
            let text = String::from_utf8(text).unwrap();
            let lines = text.lines().filter_map(timeless);
            self.transcript.extend(lines.map(|line| format!("  {line}")));
        }
    }

    /// What a scheduler does. A real API server under load deletes a pod by its cache, where it may have no node yet.
    pub async fn bind(&self, pod: &str) {
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod},
            "target": {"apiVersion": "v1", "kind": "Node", "name": NODE},
        });
        self.given(&format!("pods/{pod}/binding"), &binding).await;
        let cached = format!("pods/{pod}?resourceVersion=0");
        let stopwatch = Stopwatch::start();
        while self.ask("GET", &cached, JSON, "").await.body["spec"]["nodeName"] != NODE {
            assert!(
                stopwatch.elapsed() < PATIENCE,
                "pod {pod} is not seen on its node"
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// What a kubelet says of a pod that runs.
    pub async fn run_pod(&self, pod: &str, address: &str, ready: bool) {
        let ready = if ready { "True" } else { "False" };
        let condition = |kind: &str| {
            let now = Clock::System.now().to_rfc3339_opts(SecondsFormat::Secs, true);
            json!({"type": kind, "status": ready, "lastTransitionTime": now})
        };
        let status = json!({"status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "conditions": [condition("ContainersReady"), condition("Ready")],
        }});
        let path = format!("pods/{pod}/status");
        let answer = self.ask("PATCH", &path, MERGE_PATCH, status.to_string()).await;
        assert_eq!(answer.code, 200, "{path}: {}", answer.body);
    }

    /// The events of a watch of one second.
    pub async fn watch(&self, query: &str) -> Vec<Value> {
        let separator = if query.contains('?') { '&' } else { '?' };
        let path = format!("{query}{separator}watch=true&timeoutSeconds=1");
        let answer = self.ask("GET", &path, JSON, "").await;
        let text = match &answer.body {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Writes down each event's type, and the name, code and reason that its object has.
    pub fn show_events(&mut self, events: &[Value]) {
        for event in events {
            if event["type"].is_null() {
                self.note(format!("  no watch, but {} {}", event["code"], event["reason"]));
                continue;
            }
            let object = &event["object"];
            let name = object["metadata"]["name"].as_str().unwrap_or("no name");
            let status = match object["kind"] == "Status" {
                true => format!(" {} {}", object["code"], object["reason"]),
                false => String::new(),
            };
            self.note(format!("  {} {} {name}{status}", event["type"], object["kind"]));
        }
    }
}

/// A printed line without what differs between two runs: none when nothing is left of it.
fn timeless(line: &str) -> Option<String> {
    const OWN: [&str; 4] = [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "Creation Timestamp",
    ];
    let field = line.trim().trim_start_matches("- ").trim_start_matches('"');
    let is_own = OWN.iter().any(|own| {
        field
            .strip_prefix(own)
            .is_some_and(|rest| rest.starts_with(['"', ':']))
    });
    // The headers of a diff end in a time.
    let is_own = is_own || line.starts_with("--- ") || line.starts_with("+++ ");
    let is_own = is_own || field.starts_with("UID:") || field.starts_with("Resource Version:");
    let ages = Regex::new(r"\b\d+m?s\b").unwrap();
    let folders = Regex::new(r"/tmp/[A-Za-z]+-\d+").unwrap();
    let words = folders.replace_all(line, "…");
    let words = ages.replace_all(&words, "…");
    // Columns are as wide as what is in them.
    let words: Vec<_> = words.split_whitespace().collect();
    let indent = line.len() - line.trim_start().len();
    (!is_own).then(|| format!("{}{}", " ".repeat(indent), words.join(" ")))
}

/// Resource versions, uids and continue tokens are each server's own.
fn without_versions(path: &str) -> String {
    let Some((path, query)) = path.split_once('?') else {
        return path.to_owned();
    };
    let hide = |pair: &str| match pair.split_once('=') {
        Some((name @ ("resourceVersion" | "continue"), value)) if value.len() > 1 => format!("{name}=…"),
        _ => pair.to_owned(),
    };
    let query: Vec<_> = query.split('&').map(hide).collect();
    format!("{path}?{}", query.join("&"))
}

/// Code, and of a refusal its reason, what it is about and its causes; that one is named twice does not count.
fn outcome(answer: &Answer) -> String {
    let text = |value: &'_ Value| {
        value
            .as_str()
            .filter(|text| !text.is_empty())
            .unwrap_or("-")
            .to_owned()
    };
    let mut said = answer.code.to_string();
    let body = &answer.body;
    if body["kind"] == "Status" {
        let details = &body["details"];
        let about = ["group", "kind", "name"].map(|field| text(&details[field]));
        said += &format!(
            " {} {} {}",
            text(&body["status"]),
            text(&body["reason"]),
            about.join("/")
        );
        let causes = details["causes"].as_array().into_iter().flatten();
        let causes: BTreeSet<_> = causes
            .map(|cause| format!("{} {}", text(&cause["field"]), text(&cause["reason"])))
            .collect();
        if !causes.is_empty() {
            said += &format!(" [{}]", causes.into_iter().collect::<Vec<_>>().join(", "));
        }
    }
    for warning in &answer.warnings {
        said += &format!(" ({warning})");
    }
    said
}

/// JSON with the fields in alphabetical order: their order says nothing.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<_, _> = fields.iter().collect();
            let fields: Vec<_> = fields
                .into_iter()
                .map(|(name, value)| format!("{name:?}: {}", plain(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

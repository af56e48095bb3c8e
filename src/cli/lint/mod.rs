//! `lint`: check manifests, without a cluster unless it is asked to look up there what they name. Findings come as
//! `file:line:column: path: message`, so that editors and CI can point at them; any error ends with exit code 1, and
//! with `--strict` any warning.

pub mod check;
mod lookup;
mod metric;
pub mod reference;
mod release;
mod scale;
mod service;
pub mod yaml;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::ArgGroup;
use serde::Serialize;
use serde_json::Value;

use self::check::{Finding, Severity, check};
use self::lookup::look_up;
use self::reference::Catalogue;
use self::release::check_release;
use self::scale::warn_unsized;
use self::service::warn_service;
use self::yaml::{Document, Place, SyntaxError};
use super::connect;
use super::error::{CliError, Exit};
use super::output::Output;
use super::plugin::{Format, GlobalArgs};
use super::session::Session;

const STDIN: &str = "-";

#[derive(Clone, Debug, clap::Args)]
#[command(group(ArgGroup::new("input").required(true).multiple(true).args(["paths", "filenames"])))]
pub struct LintArgs {
    /// Files, directories (with everything below them), or - for standard input
    pub paths: Vec<PathBuf>,
    /// The same, as kubectl takes them
    #[arg(short = 'f', long = "filename")]
    pub filenames: Vec<PathBuf>,
    /// Services, routes and templates that are named must be among the manifests
    #[arg(long)]
    pub require_references: bool,
    /// Look up in the cluster what is named and not among the manifests; what is not there either is an error
    #[arg(long)]
    pub with_cluster: bool,
    /// Warnings fail, too (exit code 1)
    #[arg(long)]
    pub strict: bool,
    /// Output format: json or yaml
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
}

/// A finding and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Placed {
    pub file: String,
    pub line: u64,
    pub column: u64,
    pub severity: Severity,
    pub path: String,
    pub message: String,
}

impl Placed {
    fn new(file: &str, place: Place, finding: Finding) -> Self {
        let Finding {
            severity,
            path,
            message,
        } = finding;
        Placed {
            file: file.to_owned(),
            line: place.line,
            column: place.column,
            severity,
            path,
            message,
        }
    }

    fn render(&self) -> String {
        let Placed {
            file,
            line,
            column,
            path,
            message,
            ..
        } = self;
        let severity = if self.severity == Severity::Warning {
            "warning: "
        } else {
            ""
        };
        let path = if path.is_empty() {
            String::new()
        } else {
            format!("{path}: ")
        };
        format!("{file}:{line}:{column}: {severity}{path}{message}")
    }
}

pub async fn run(args: &LintArgs, global: &GlobalArgs, out: &mut Output) -> Result<Exit, CliError> {
    let mut sources = Vec::new();
    for path in args.paths.iter().chain(&args.filenames) {
        read_sources(path, &mut sources)?;
    }
    let manifests = Manifests::parse(&sources);
    let mut found = Vec::new();
    if args.with_cluster {
        // Not before everything is read: that awaits nothing, and would be deaf once the signal is taken.
        found = tokio::select! {
            found = ask_cluster(&manifests, global) => found?,
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Interrupted),
        };
    }
    let required = match (args.with_cluster, args.require_references) {
        (true, _) => Required::Somewhere,
        (false, true) => Required::Here,
        (false, false) => Required::Nowhere,
    };
    report(
        args,
        manifests.objects().count(),
        &manifests.judge(&found, required),
        out,
    )
}

async fn ask_cluster(manifests: &Manifests<'_>, global: &GlobalArgs) -> Result<Vec<Value>, CliError> {
    let connection = connect::load(&global.connect_options()).await?;
    let objects: Vec<&Value> = manifests.objects().map(|member| member.object).collect();
    look_up(&objects, &Session::open(&connection)?).await
}

fn report(args: &LintArgs, objects: usize, findings: &[Placed], out: &mut Output) -> Result<Exit, CliError> {
    match args.output {
        Some(Format::Json) => out.json(&findings)?,
        Some(Format::Yaml) => out.yaml(&findings)?,
        _ => out.lines(findings.iter().map(Placed::render))?,
    }
    let is_error = |finding: &&Placed| finding.severity == Severity::Error;
    let errors = findings.iter().filter(is_error).count();
    let warnings = findings.len() - errors;
    out.note(format!("{objects} objects, {errors} errors, {warnings} warnings"));
    if errors > 0 || args.strict && warnings > 0 {
        return Ok(Exit::Error);
    }
    match objects {
        0 => Err(CliError::Refused(
            "no object was read, so nothing was checked; name files or directories with manifests".to_owned(),
        )),
        _ => Ok(Exit::Ok),
    }
}

/// A manifest file: the name to show, and its text.
#[derive(Clone, Debug)]
pub struct Source {
    pub name: String,
    pub text: String,
}

/// Where everything that is named has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Required {
    Nowhere,
    /// Among the manifests.
    Here,
    /// Among the manifests or in the cluster.
    Somewhere,
}

/// What was read, by file.
pub struct Manifests<'a>(Vec<(&'a str, Result<Vec<Document>, SyntaxError>)>);

impl<'a> Manifests<'a> {
    pub fn parse(sources: &'a [Source]) -> Self {
        let parsed = sources.iter();
        Manifests(
            parsed
                .map(|source| (source.name.as_str(), yaml::parse(&source.text)))
                .collect(),
        )
    }

    fn objects(&self) -> impl Iterator<Item = Member<'_>> {
        let documents = self.0.iter().filter_map(|(_, parsed)| parsed.as_ref().ok());
        documents.flatten().flat_map(|document| members(&document.value))
    }

    /// What is wrong, in the order of the sources and the places in them. `found` is what the cluster has.
    pub fn judge(&self, found: &[Value], required: Required) -> Vec<Placed> {
        let own = || self.objects().map(|member| member.object);
        let catalogue = Catalogue::of(own().chain(found));
        let context = Context {
            objects: own().chain(found).collect(),
            catalogue,
            required,
        };
        let mut findings = Vec::new();
        for (file, parsed) in &self.0 {
            let documents = match parsed {
                Ok(documents) => documents,
                Err(error) => {
                    findings.push(Placed::new(file, error.place, Finding::error("", &error.message)));
                    continue;
                }
            };
            for document in documents {
                let members = members(&document.value).into_iter();
                let found = members.flat_map(|member| member.judge(&context));
                let placed =
                    found.map(|finding| Placed::new(file, document.place_of(&finding.path), finding));
                let mut placed: Vec<_> = placed.collect();
                placed.sort_by_key(|finding| (finding.line, finding.column));
                findings.extend(placed);
            }
        }
        findings
    }
}

/// What one object is seen together with.
struct Context<'a> {
    objects: Vec<&'a Value>,
    catalogue: Catalogue<'a>,
    required: Required,
}

/// An object of a document, and its path there: none, or its place in a List.
struct Member<'a> {
    path: String,
    object: &'a Value,
}

impl Member<'_> {
    fn judge(&self, context: &Context) -> Vec<Finding> {
        let catalogue = &context.catalogue;
        let mut found = check(self.object);
        found.extend(catalogue.find_missing(self.object, context.required));
        found.extend(check_release(self.object, catalogue));
        found.extend(warn_service(self.object, &context.objects));
        found.extend(warn_unsized(self.object, &context.objects));
        for finding in found.iter_mut().filter(|_| !self.path.is_empty()) {
            let parts = [self.path.as_str(), finding.path.as_str()];
            finding.path = parts.join(if finding.path.is_empty() { "" } else { "." });
        }
        found
    }
}

/// The items of a List (`kubectl get -o yaml` writes one), which kubectl applies one by one; else the document itself.
fn members(document: &Value) -> Vec<Member<'_>> {
    let kind = document.get("kind").and_then(Value::as_str).unwrap_or_default();
    match document.get("items").and_then(Value::as_array) {
        Some(items) if kind.ends_with("List") => {
            let items = items.iter().enumerate();
            items
                .map(|(index, object)| Member {
                    path: format!("items[{index}]"),
                    object,
                })
                .collect()
        }
        _ => vec![Member {
            path: String::new(),
            object: document,
        }],
    }
}

/// A directory is read with everything below it, in the order of names.
fn read_sources(path: &Path, sources: &mut Vec<Source>) -> Result<(), CliError> {
    let name = path.display().to_string();
    let failed = |error: io::Error| CliError::Refused(format!("cannot read {name}: {error}"));
    if path.as_os_str() == STDIN {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map_err(failed)?;
        sources.push(Source {
            name: "<stdin>".to_owned(),
            text,
        });
    } else if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(failed)?;
        let mut paths = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        paths.sort();
        for below in paths
            .iter()
            .filter(|below| !below.is_symlink() && (below.is_dir() || is_manifest(below)))
        {
            read_sources(below, sources)?;
        }
    } else {
        let text = std::fs::read_to_string(path).map_err(failed)?;
        sources.push(Source { name, text });
    }
    Ok(())
}

fn is_manifest(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "\
apiVersion: v1
kind: Service
metadata: {name: checkout-stable}
---
apiVersion: tidegate.dev/v1alpha1
kind: Rollout
metadata:
  name: checkout
spec:
  replicas: 2
  drainSeconds: 5
  selector: {matchLabels: {app: checkout}}
  template:
    metadata: {labels: {app: checkout}}
    spec:
      containers:
      - {name: app, image: checkout, readinessProbe: {httpGet: {port: 80}}}
  strategy:
    canary:
      stableService: checkout-stable
      canaryService: checkout-canary
      steps:
      - setWieght: 5
";

    fn render(text: &str, required: Required) -> Vec<String> {
        let sources = [Source {
            name: "rollout.yaml".to_owned(),
            text: text.to_owned(),
        }];
        let findings = Manifests::parse(&sources).judge(&[], required);
        findings.iter().map(Placed::render).collect()
    }

    #[test]
    fn row_38_points_at_the_misspelt_field() {
        let found = render(MANIFEST, Required::Nowhere);
        assert!(
            found.contains(
                &"rollout.yaml:23:9: spec.strategy.canary.steps[0].setWieght: is not a field of Tidegate; correct its spelling or remove it".to_owned()
            ),
            "{found:?}"
        );
        assert!(found.iter().any(|line| {
            line.starts_with("rollout.yaml:17:21: warning: spec.template.spec.containers[0].image: ")
        }));
    }

    #[test]
    fn references_are_required_only_when_asked() {
        let line = "rollout.yaml:21:7: spec.strategy.canary.canaryService: Service \"checkout-canary\" is not in the manifests";
        assert!(!render(MANIFEST, Required::Nowhere).contains(&line.to_owned()));
        assert!(render(MANIFEST, Required::Here).contains(&line.to_owned()));
    }

    #[test]
    fn items_of_a_list_are_checked_where_they_stand() {
        let lines = MANIFEST.lines().skip(4).map(|line| format!("  {line}\n"));
        let body: String = lines.collect();
        let list = format!("apiVersion: v1\nkind: List\nitems:\n- {}", body.trim_start());
        let found = render(&list, Required::Here);
        for line in [
            "rollout.yaml:22:11: items[0].spec.strategy.canary.steps[0].setWieght: is not a field",
            "rollout.yaml:20:9: items[0].spec.strategy.canary.canaryService: Service \"checkout-canary\" is not in",
        ] {
            assert!(
                found.iter().any(|found| found.starts_with(line)),
                "{line}: {found:?}"
            );
        }
        let scalars = render("kind: RolloutList\nitems: [1]\n", Required::Nowhere);
        assert_eq!(
            scalars,
            ["rollout.yaml:2:9: items[0]: not an object: a manifest has apiVersion, kind and metadata"]
        );
    }

    #[test]
    fn one_broken_file_does_not_hide_the_others() {
        let source = |name: &str, text: &str| Source {
            name: name.to_owned(),
            text: text.to_owned(),
        };
        let sources = [source("a.yaml", "a: 1\na: 2\n"), source("b.yaml", MANIFEST)];
        let manifests = Manifests::parse(&sources);
        let found = manifests.judge(&[], Required::Nowhere);
        assert_eq!(manifests.objects().count(), 2);
        assert_eq!((found[0].file.as_str(), found[0].line), ("a.yaml", 2));
        assert!(found.iter().any(|finding| finding.file == "b.yaml"));
    }
}

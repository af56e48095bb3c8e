//! `lint`: check manifests without a cluster. Findings come as `file:line:column: path: message`, so that editors and
//! CI can point at them; any error ends with exit code 1, warnings do not.

pub mod check;
mod metric;
pub mod reference;
mod release;
pub mod yaml;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::ArgGroup;
use serde::Serialize;
use serde_json::Value;

use self::check::{Finding, Severity, check};
use self::reference::Catalogue;
use self::release::check_release;
use self::yaml::{Document, Place, SyntaxError};
use super::error::{CliError, Exit};
use super::output::Output;
use super::plugin::Format;

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

pub fn run(args: &LintArgs, out: &mut Output) -> Result<Exit, CliError> {
    let mut sources = Vec::new();
    for path in args.paths.iter().chain(&args.filenames) {
        read_sources(path, &mut sources)?;
    }
    let (objects, findings) = lint(&sources, args.require_references);
    match args.output {
        Some(Format::Json) => out.json(&findings)?,
        Some(Format::Yaml) => out.yaml(&findings)?,
        _ => out.lines(findings.iter().map(Placed::render))?,
    }
    let errors = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    out.note(format!(
        "{objects} objects, {errors} errors, {} warnings",
        findings.len() - errors
    ));
    match (errors, objects) {
        (0, 0) => Err(CliError::Refused(
            "no object was read, so nothing was checked; name files or directories with manifests".to_owned(),
        )),
        (0, _) => Ok(Exit::Ok),
        _ => Ok(Exit::Error),
    }
}

/// A manifest file: the name to show, and its text.
#[derive(Clone, Debug)]
pub struct Source {
    pub name: String,
    pub text: String,
}

/// The number of objects read, and what was found, in the order of the sources and the places in them.
pub fn lint(sources: &[Source], require_references: bool) -> (usize, Vec<Placed>) {
    let read: Vec<(&str, Result<Vec<Document>, SyntaxError>)> = sources
        .iter()
        .map(|source| (source.name.as_str(), yaml::parse(&source.text)))
        .collect();
    let objects = || {
        let documents = read.iter().filter_map(|(_, parsed)| parsed.as_ref().ok());
        documents.flatten().flat_map(|document| members(&document.value))
    };
    let catalogue = Catalogue::of(objects().map(|member| member.object));
    let mut findings = Vec::new();
    for (file, parsed) in &read {
        match parsed {
            Err(error) => findings.push(Placed::new(file, error.place, Finding::error("", &error.message))),
            Ok(documents) => {
                for document in documents {
                    let found = members(&document.value)
                        .into_iter()
                        .flat_map(|member| member.judge(&catalogue, require_references));
                    let placed =
                        found.map(|finding| Placed::new(file, document.place_of(&finding.path), finding));
                    let mut placed: Vec<_> = placed.collect();
                    placed.sort_by_key(|finding| (finding.line, finding.column));
                    findings.extend(placed);
                }
            }
        }
    }
    (objects().count(), findings)
}

/// An object of a document, and its path there: none, or its place in a List.
struct Member<'a> {
    path: String,
    object: &'a Value,
}

impl Member<'_> {
    fn judge(&self, catalogue: &Catalogue, require_references: bool) -> Vec<Finding> {
        let mut found = check(self.object);
        if require_references {
            found.extend(catalogue.find_missing(self.object));
        }
        found.extend(check_release(self.object, catalogue));
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

    fn render(text: &str, require_references: bool) -> Vec<String> {
        let source = Source {
            name: "rollout.yaml".to_owned(),
            text: text.to_owned(),
        };
        lint(&[source], require_references)
            .1
            .iter()
            .map(Placed::render)
            .collect()
    }

    #[test]
    fn row_38_points_at_the_misspelt_field() {
        let found = render(MANIFEST, false);
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
        assert!(!render(MANIFEST, false).contains(&line.to_owned()));
        assert!(render(MANIFEST, true).contains(&line.to_owned()));
    }

    #[test]
    fn items_of_a_list_are_checked_where_they_stand() {
        let lines = MANIFEST.lines().skip(4).map(|line| format!("  {line}\n"));
        let body: String = lines.collect();
        let list = format!("apiVersion: v1\nkind: List\nitems:\n- {}", body.trim_start());
        let found = render(&list, true);
        for line in [
            "rollout.yaml:22:11: items[0].spec.strategy.canary.steps[0].setWieght: is not a field",
            "rollout.yaml:20:9: items[0].spec.strategy.canary.canaryService: Service \"checkout-canary\" is not in",
        ] {
            assert!(
                found.iter().any(|found| found.starts_with(line)),
                "{line}: {found:?}"
            );
        }
        let scalars = render("kind: RolloutList\nitems: [1]\n", false);
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
        let (objects, found) = lint(
            &[source("a.yaml", "a: 1\na: 2\n"), source("b.yaml", MANIFEST)],
            false,
        );
        assert_eq!(objects, 2);
        assert_eq!((found[0].file.as_str(), found[0].line), ("a.yaml", 2));
        assert!(found.iter().any(|finding| finding.file == "b.yaml"));
    }
}

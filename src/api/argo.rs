//! What becomes of every field of Argo Rollouts' manifests after the change of `apiVersion`: one table that
//! feeds the stubs in the CRDs, the pure check and `docs/argo-rollouts-fields.md`.
//! A field that is not supported is refused by its path; it is never ignored.

use std::fmt::Write as _;

use serde_json::Value;

mod table;

pub use table::FIELDS;

/// One field of Argo Rollouts.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub home: Home,
    /// `spec.strategy.canary.steps[].setWeight`; `[]` stands for every item.
    pub path: &'static str,
    pub support: Support,
    /// The difference, or what to do instead; may be empty.
    pub note: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    Rollout,
    /// AnalysisTemplate and ClusterAnalysisTemplate.
    Template,
    /// AnalysisRun.
    Run,
    /// The fields of a metric; they are in templates and runs alike.
    Metric,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    Supported,
    Different,
    /// Refused; the schema knows it as a stub of this type, or a server would drop it without a word.
    Refused(Stub),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stub {
    Object,
    Objects,
    String,
    Integer,
    Boolean,
}

/// A field in a manifest that Tidegate does not support.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    pub path: String,
    pub message: String,
}

impl Field {
    /// The sentence of the CRD's rule, the controller and lint.
    pub fn refusal(&self, path: &str) -> String {
        let mut sentence = format!("{path} is not supported by Tidegate yet");
        if self.note.is_empty() {
            sentence.push_str("; remove it");
        } else {
            let _ = write!(sentence, "; {}", self.note);
        }
        sentence
    }

    /// Whether objects of `kind` have the field.
    pub fn is_in(&self, kind: &str) -> bool {
        match self.home {
            Home::Rollout => kind == "Rollout",
            Home::Template => matches!(kind, "AnalysisTemplate" | "ClusterAnalysisTemplate"),
            Home::Run => kind == "AnalysisRun",
            Home::Metric => matches!(
                kind,
                "AnalysisTemplate" | "ClusterAnalysisTemplate" | "AnalysisRun"
            ),
        }
    }
}

/// Every unsupported field that is present in an object of `kind`, with its full path.
pub fn unsupported_fields(kind: &str, object: &Value) -> Vec<Unsupported> {
    let refused = |field: &&Field| matches!(field.support, Support::Refused(_)) && field.is_in(kind);
    let mut found = Vec::new();
    for field in FIELDS.iter().filter(refused) {
        for path in paths_to(object, field.path) {
            let message = field.refusal(&path);
            found.push(Unsupported { path, message });
        }
    }
    found
}

/// The paths in `object` that `pattern` stands for; a null counts as absent, as the API server drops it.
fn paths_to(object: &Value, pattern: &str) -> Vec<String> {
    let mut reached = vec![(String::new(), object)];
    for segment in pattern.split('.') {
        let (name, each) = segment
            .strip_suffix("[]")
            .map_or((segment, false), |name| (name, true));
        let mut next = Vec::new();
        for (path, value) in reached {
            let Some(child) = value.get(name).filter(|child| !child.is_null()) else {
                continue;
            };
            let dot = if path.is_empty() { "" } else { "." };
            let path = format!("{path}{dot}{name}");
            match child.as_array().filter(|_| each) {
                Some(items) => {
                    next.extend(
                        items
                            .iter()
                            .enumerate()
                            .map(|(index, item)| (format!("{path}[{index}]"), item)),
                    );
                }
                None => next.push((path, child)),
            }
        }
        reached = next;
    }
    reached.into_iter().map(|(path, _)| path).collect()
}

/// The page `docs/argo-rollouts-fields.md`.
pub fn render_page() -> String {
    let mut page = String::from(
        "# Fields of Argo Rollouts\n\n\
         What becomes of a manifest of Argo Rollouts once its `apiVersion` is `tidegate.dev/v1alpha1`.\n\
         *Refused* means that the API server, the controller and `kubectl tidegate lint` name the field and say no;\n\
         nothing is ever ignored. This page is generated from `src/api/argo/table.rs`.\n",
    );
    for (title, home) in [
        ("Rollout", Home::Rollout),
        ("AnalysisTemplate and ClusterAnalysisTemplate", Home::Template),
        ("AnalysisRun", Home::Run),
        ("Metrics, in templates and AnalysisRuns", Home::Metric),
    ] {
        let _ = write!(
            page,
            "\n## {title}\n\n| field | in Tidegate | note |\n|---|---|---|\n"
        );
        for field in FIELDS.iter().filter(|field| field.home == home) {
            let support = match field.support {
                Support::Supported => "supported",
                Support::Different => "different",
                Support::Refused(_) => "refused",
            };
            let _ = writeln!(
                page,
                "| `{}` | {support} | {} |",
                field.path,
                field.note.replace('|', "\\|")
            );
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_each_place_of_an_unsupported_field() {
        let rollout = json!({"spec": {"restartAt": null, "strategy": {"canary": {
            "steps": [{"setWeight": 5}, {"experiment": {}}, {"plugin": {"name": "x"}}],
            "trafficRouting": {"istio": {"virtualService": {"name": "vs"}}},
        }}}});
        let paths: Vec<String> = unsupported_fields("Rollout", &rollout)
            .into_iter()
            .map(|found| found.path)
            .collect();
        assert_eq!(
            paths,
            [
                "spec.strategy.canary.steps[1].experiment",
                "spec.strategy.canary.steps[2].plugin",
                "spec.strategy.canary.trafficRouting.istio",
            ]
        );
    }

    #[test]
    fn says_what_to_do_instead() {
        let rollout = json!({"spec": {"strategy": {"blueGreen": {}}}});
        let found = unsupported_fields("Rollout", &rollout);
        let message = &found.first().unwrap().message;
        assert!(
            message.starts_with("spec.strategy.blueGreen is not supported by Tidegate yet; "),
            "{message}"
        );
    }
}

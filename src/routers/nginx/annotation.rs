//! The annotations of a canary Ingress: the weight, the class, and what a Rollout may add.
//!
//! A Rollout may add those of [`CANARY_ANNOTATIONS`] under the router's own prefix and nothing else, with values
//! that cannot leave their directive.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::{Reason, RouteTarget, Violation, object};
use crate::api::rollout::{CANARY_ANNOTATIONS, NginxRouting};

pub const CLASS: &str = "kubernetes.io/ingress.class";
const VALUE_BYTES_MAX: usize = 1024;
/// Data planes read a smaller total as this.
const TOTAL_DEFAULT: i64 = 100;

/// What the canary Ingress of this stable Ingress says.
pub fn wanted(target: &RouteTarget, nginx: &NginxRouting, stable: &Value) -> BTreeMap<String, String> {
    let prefix = nginx.prefix();
    let mut wanted = BTreeMap::from([
        (format!("{prefix}/canary"), "true".to_owned()),
        (format!("{prefix}/canary-weight"), target.canary().to_string()),
    ]);
    if target.max() != TOTAL_DEFAULT {
        wanted.insert(format!("{prefix}/canary-weight-total"), target.max().to_string());
    }
    if let Some(class) = object::annotation(stable, CLASS) {
        wanted.insert(CLASS.to_owned(), class.to_owned());
    }
    // A request picked by header or cookie goes to the canary whatever the weight: at weight 0, when its pods
    // may go at any time, nothing may lead there.
    if target.canary() > 0 {
        let allowed = extras(nginx).filter(|extra| extra.problem(prefix).is_none());
        wanted.extend(allowed.map(|extra| (extra.key, extra.value.to_owned())));
    }
    wanted
}

/// What to set and what to remove so that `existing` says `wanted`. A key that we could have set and do not
/// want is removed: it might be from an older spec, and a hand-made one would bend our weights.
pub fn changes(existing: &Value, wanted: &BTreeMap<String, String>) -> BTreeMap<String, Option<String>> {
    let managed = object::annotations(existing)
        .into_iter()
        .flat_map(|map| map.keys())
        .filter(|key| is_managed(key))
        .map(|key| (key.clone(), None));
    let set = wanted
        .iter()
        .map(|(key, value)| (key.clone(), Some(value.clone())));
    managed.chain(set).collect()
}

/// The weights of a canary Ingress as `(canary, stable)`, read the way data planes do: what is no integer is
/// 0, what is too much is all. `None` when it is not marked as a canary, and so a route of its own.
pub fn weights(nginx: &NginxRouting, canary: &Value) -> Option<(i64, i64)> {
    let read = |name: &str| object::annotation(canary, &format!("{}/{name}", nginx.prefix()));
    let number = |name: &str| read(name).and_then(|text| text.parse::<i64>().ok());
    if read("canary") != Some("true") {
        return None;
    }
    let total = number("canary-weight-total").map_or(TOTAL_DEFAULT, |total| total.max(TOTAL_DEFAULT));
    let weight = number("canary-weight").map_or(0, |weight| weight.clamp(0, total));
    Some((weight, total.saturating_sub(weight)))
}

/// What is wrong with the annotations that the Rollout asks for.
pub fn validate(target: &RouteTarget, nginx: &NginxRouting) -> Vec<Violation> {
    let prefix = nginx.prefix();
    let mut violations = Vec::new();
    if !object::is_name(prefix) {
        violations.push(target.violation(
            Reason::RoutingInvalid,
            "nginx.annotationPrefix",
            format!("{prefix:?} is no DNS name"),
            "write the part before the slash, such as nginx.ingress.kubernetes.io",
        ));
    }
    violations.extend(extras(nginx).filter_map(|extra| {
        let (problem, fix) = extra.problem(prefix)?;
        let field = format!("nginx.{}[{:?}]", extra.field, extra.written);
        Some(target.violation(Reason::AnnotationNotAllowed, &field, problem, fix))
    }));
    violations
}

/// Keys that a Rollout may not set, each with its field in `NginxRouting`, the problem and the fix.
pub fn refused_keys(nginx: &NginxRouting) -> impl Iterator<Item = (&'static str, String, String)> {
    extras(nginx).filter_map(|extra| {
        let (problem, fix) = extra.problem_of_key(nginx.prefix())?;
        Some((extra.field, problem, fix))
    })
}

/// Of any prefix: one that the spec no longer names must not go on weighing.
fn is_managed(key: &str) -> bool {
    let weighs = |name: &str| name == "canary" || name.starts_with("canary-");
    key == CLASS || key.split_once('/').is_some_and(|(_, name)| weighs(name))
}

/// One annotation that the Rollout asks for.
struct Extra<'a> {
    /// Of `NginxRouting`.
    field: &'static str,
    written: &'a str,
    key: String,
    value: &'a str,
}

fn extras(nginx: &NginxRouting) -> impl Iterator<Item = Extra<'_>> {
    let prefix = nginx.prefix();
    let additional = nginx
        .additional_ingress_annotations
        .iter()
        .map(move |(key, value)| Extra {
            field: "additionalIngressAnnotations",
            written: key,
            key: format!("{prefix}/{key}"),
            value,
        });
    let verbatim = nginx.canary_ingress_annotations.iter().map(|(key, value)| Extra {
        field: "canaryIngressAnnotations",
        written: key,
        key: key.clone(),
        value,
    });
    additional.chain(verbatim)
}

impl Extra<'_> {
    fn problem_of_key(&self, prefix: &str) -> Option<(String, String)> {
        let name = self
            .key
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix('/'));
        if name.is_some_and(|name| CANARY_ANNOTATIONS.contains(&name)) {
            return None;
        }
        let fix = match name {
            Some("canary" | "canary-weight" | "canary-weight-total") => {
                "remove it, and use setWeight and maxTrafficWeight".to_owned()
            }
            _ => format!("only {} of prefix {prefix} are", CANARY_ANNOTATIONS.join(", ")),
        };
        Some((format!("{} is not allowed", self.written), fix))
    }

    /// What is wrong with it and what to do, if anything is.
    fn problem(&self, prefix: &str) -> Option<(String, String)> {
        if let Some(problem) = self.problem_of_key(prefix) {
            return Some(problem);
        }
        if self.value.len() > VALUE_BYTES_MAX {
            return Some((
                format!("the value has {} bytes", self.value.len()),
                format!("use at most {VALUE_BYTES_MAX}"),
            ));
        }
        let bad = self.value.chars().find(|&letter| !is_harmless(letter))?;
        Some((
            format!("the value contains {bad:?}, which could end the proxy's directive"),
            "use printable ASCII without ; { } \" ' ` # and \\".to_owned(),
        ))
    }
}

fn is_harmless(letter: char) -> bool {
    (letter == ' ' || letter.is_ascii_graphic()) && !";{}\"'`#\\".contains(letter)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::tests::target;
    use super::*;

    fn nginx(additional: &[(&str, &str)], verbatim: &[(&str, &str)]) -> NginxRouting {
        let map = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect()
        };
        NginxRouting {
            additional_ingress_annotations: map(additional),
            canary_ingress_annotations: map(verbatim),
            ..NginxRouting::default()
        }
    }

    #[test]
    fn refuses_what_is_not_in_the_list() {
        let full = |name: &str| format!("nginx.ingress.kubernetes.io/{name}");
        for (additional, verbatim) in [
            (vec![("configuration-snippet", "x")], vec![]),
            (vec![("server-snippet", "x")], vec![]),
            (vec![("canary-weight", "100")], vec![]),
            (vec![("canary", "true")], vec![]),
            (vec![("auth-url", "http://evil")], vec![]),
            (vec![("backend-protocol", "HTTPS")], vec![]),
            (vec![("other.io/canary-by-header", "x")], vec![]),
            (vec![], vec![("canary-by-header", "x")]),
            (vec![], vec![("cert-manager.io/cluster-issuer", "x")]),
            (vec![], vec![(CLASS, "other")]),
            (vec![("canary-by-header", "x\ny")], vec![]),
            (vec![("canary-by-header", "x;")], vec![]),
            (vec![("canary-by-header", "{")], vec![]),
            (vec![("canary-by-header", "}")], vec![]),
            (vec![("canary-by-header", "\"")], vec![]),
            (vec![("canary-by-header", "\u{2028}")], vec![]),
        ] {
            let nginx = nginx(&additional, &verbatim);
            let violations = validate(&target(10), &nginx);
            assert_eq!(violations.len(), 1, "{additional:?} {verbatim:?}");
            assert_eq!(violations[0].reason, Reason::AnnotationNotAllowed);
            let wanted = wanted(&target(10), &nginx, &json!({}));
            assert_eq!(
                wanted.into_keys().collect::<Vec<_>>(),
                [full("canary"), full("canary-weight")],
                "what is refused is not written either"
            );
        }
    }

    #[test]
    fn prefixes_additional_keys_and_leaves_the_others() {
        let nginx = nginx(
            &[("canary-by-header", "X-Canary")],
            &[("nginx.ingress.kubernetes.io/canary-by-cookie", "beta")],
        );
        assert_eq!(validate(&target(10), &nginx), []);
        let wanted = wanted(&target(10), &nginx, &json!({}));
        let get = |name: &str| {
            wanted
                .get(&format!("nginx.ingress.kubernetes.io/{name}"))
                .map(String::as_str)
        };
        assert_eq!(get("canary-by-header"), Some("X-Canary"));
        assert_eq!(get("canary-by-cookie"), Some("beta"));
        assert_eq!(wanted.len(), 4);
    }

    #[test]
    fn nothing_leads_to_the_canary_at_weight_0() {
        let nginx = nginx(&[("canary-by-header", "X-Canary")], &[]);
        let wanted = wanted(&target(0), &nginx, &json!({}));
        assert!(!wanted.contains_key("nginx.ingress.kubernetes.io/canary-by-header"));
    }

    #[test]
    fn a_total_is_written_unless_it_is_100() {
        let mut target = target(10);
        target.max_weight.0 = 1000;
        let wanted = wanted(&target, &NginxRouting::default(), &json!({}));
        assert_eq!(
            wanted
                .get("nginx.ingress.kubernetes.io/canary-weight-total")
                .map(String::as_str),
            Some("1000")
        );
    }

    #[test]
    fn removes_what_is_managed_and_keeps_what_is_foreign() {
        let existing = json!({"metadata": {"annotations": {
            "nginx.ingress.kubernetes.io/canary-by-cookie": "by-hand",
            "old.prefix/canary-weight": "100",
            "nginx.ingress.kubernetes.io/rewrite-target": "/",
            "team": "payments"}}});
        let changes = changes(&existing, &BTreeMap::new());
        assert_eq!(
            changes.into_keys().collect::<Vec<_>>(),
            [
                "nginx.ingress.kubernetes.io/canary-by-cookie",
                "old.prefix/canary-weight"
            ]
        );
    }

    #[test]
    fn reads_weights_as_data_planes_do() {
        let read = |weight: &str, total: &str| {
            weights(
                &NginxRouting::default(),
                &json!({"metadata": {"annotations": {
                    "nginx.ingress.kubernetes.io/canary": "true",
                    "nginx.ingress.kubernetes.io/canary-weight": weight,
                    "nginx.ingress.kubernetes.io/canary-weight-total": total}}}),
            )
        };
        for zero in ["-5", "50%", "33.3", "", "9999999999999999999999"] {
            assert_eq!(read(zero, "100"), Some((0, 100)), "{zero}");
        }
        assert_eq!(read("150", "100"), Some((100, 0)));
        assert_eq!(read("20", "50"), Some((20, 80)));
        assert_eq!(read("20", "1000"), Some((20, 980)));
        assert_eq!(read("20", "abc"), Some((20, 80)));
        assert_eq!(weights(&NginxRouting::default(), &json!({})), None);
    }
}

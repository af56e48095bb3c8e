//! Which templates take part, and which value each of their arguments has.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{AnalysisTemplateSpec, ArgContext, TemplateError};
use crate::api::analysis_template::{Metric, TemplateArg, TemplateArgSource};
use crate::api::rollout::{AnalysisArg, ArgValueFrom, DryRun, HashOf, TemplateRef};

/// The templates that can be named: those of the Rollout's namespace and those of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TemplateSet {
    pub namespaced: BTreeMap<String, AnalysisTemplateSpec>,
    pub cluster: BTreeMap<String, AnalysisTemplateSpec>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArgValue {
    Text(String),
    /// Only the reference; nobody here ever sees the value.
    Secret(TemplateArgSource),
}

/// Metrics, arguments and dry runs of all templates together; metrics beside the template they are from.
#[derive(Debug, Default)]
pub(super) struct Flat<'a> {
    pub metrics: Vec<(&'a str, &'a Metric)>,
    pub args: Vec<&'a TemplateArg>,
    pub dry_run: Vec<DryRun>,
}

/// Depth first, in the order written; a template that is reached twice counts once.
pub(super) fn flatten<'a>(
    templates: &'a TemplateSet,
    refs: &'a [TemplateRef],
) -> Result<Flat<'a>, TemplateError> {
    let mut flat = Flat::default();
    let mut done = BTreeSet::new();
    for named in refs {
        visit(templates, named, &mut Vec::new(), &mut done, &mut flat)?;
    }
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (template, metric) in &flat.metrics {
        if let Some(first) = seen.insert(&metric.name, template) {
            return Err(TemplateError::MetricConflict {
                metric: metric.name.clone(),
                first: first.to_owned(),
                second: (*template).to_owned(),
            });
        }
    }
    Ok(flat)
}

type Key<'a> = (bool, &'a str);

/// The path never holds a template twice and every template is visited once, so this ends.
fn visit<'a>(
    templates: &'a TemplateSet,
    named: &'a TemplateRef,
    path: &mut Vec<Key<'a>>,
    done: &mut BTreeSet<Key<'a>>,
    flat: &mut Flat<'a>,
) -> Result<(), TemplateError> {
    let name = named.template_name.as_str();
    let cluster = named.cluster_scope.unwrap_or(false);
    let (kind, known) = match cluster {
        true => ("ClusterAnalysisTemplate", &templates.cluster),
        false => ("AnalysisTemplate", &templates.namespaced),
    };
    if path.contains(&(cluster, name)) {
        let names = path.iter().map(|(_, name)| *name).chain([name]);
        return Err(TemplateError::Cycle(names.map(str::to_owned).collect()));
    }
    let Some(template) = known.get(name) else {
        return Err(TemplateError::TemplateMissing {
            kind,
            name: name.to_owned(),
        });
    };
    if !done.insert((cluster, name)) {
        return Ok(());
    }
    path.push((cluster, name));
    for nested in &template.templates {
        visit(templates, nested, path, done, flat)?;
    }
    path.pop();
    flat.metrics
        .extend(template.metrics.iter().map(|metric| (name, metric)));
    flat.args.extend(&template.args);
    flat.dry_run.extend(template.dry_run.iter().cloned());
    Ok(())
}

/// A value in `given` wins over a default; every argument of a template must have one, and nothing else may
/// be given.
pub(super) fn resolve_args(
    declared: &[&TemplateArg],
    given: &[AnalysisArg],
    context: &ArgContext,
) -> Result<BTreeMap<String, ArgValue>, TemplateError> {
    let mut values = BTreeMap::new();
    for arg in given {
        if !declared.iter().any(|known| known.name == arg.name) {
            return Err(TemplateError::UnknownArg(arg.name.clone()));
        }
        if values
            .insert(arg.name.clone(), given_value(arg, context)?)
            .is_some()
        {
            return Err(TemplateError::DuplicateArg(arg.name.clone()));
        }
    }
    let mut defaults: BTreeMap<&str, ArgValue> = BTreeMap::new();
    for arg in declared.iter().filter(|arg| !values.contains_key(&arg.name)) {
        let Some(default) = default_value(arg)? else {
            continue;
        };
        match defaults.insert(&arg.name, default.clone()) {
            Some(other) if other != default => return Err(TemplateError::ArgConflict(arg.name.clone())),
            _ => {}
        }
    }
    values.extend(defaults.into_iter().map(|(name, value)| (name.to_owned(), value)));
    match declared.iter().find(|arg| !values.contains_key(&arg.name)) {
        Some(missing) => Err(TemplateError::MissingArg(missing.name.clone())),
        None => Ok(values),
    }
}

fn given_value(arg: &AnalysisArg, context: &ArgContext) -> Result<ArgValue, TemplateError> {
    let wrong = |reason: &str| TemplateError::ArgSource {
        arg: arg.name.clone(),
        reason: reason.to_owned(),
    };
    let text = match (&arg.value, &arg.value_from) {
        (Some(value), None) => value.clone(),
        (None, Some(source)) => value_from(source, context).map_err(|reason| wrong(&reason))?,
        _ => return Err(wrong("give either value or valueFrom")),
    };
    Ok(ArgValue::Text(text))
}

fn default_value(arg: &TemplateArg) -> Result<Option<ArgValue>, TemplateError> {
    match (&arg.value, &arg.value_from) {
        (Some(_), Some(_)) => Err(TemplateError::ArgSource {
            arg: arg.name.clone(),
            reason: "give either value or valueFrom".to_owned(),
        }),
        (Some(value), None) => Ok(Some(ArgValue::Text(value.clone()))),
        (None, Some(source)) if source.secret_key_ref.is_some() => Ok(Some(ArgValue::Secret(source.clone()))),
        (None, _) => Ok(None),
    }
}

fn value_from(source: &ArgValueFrom, context: &ArgContext) -> Result<String, String> {
    match (source.pod_template_hash_value, &source.field_ref) {
        (Some(HashOf::Latest), None) => Ok(context.latest_hash.to_string()),
        (Some(HashOf::Stable), None) => match &context.stable_hash {
            Some(hash) => Ok(hash.to_string()),
            None => Err("there is no stable version yet".to_owned()),
        },
        (None, Some(field)) => field_value(&field.field_path, context),
        _ => Err("valueFrom needs exactly one of podTemplateHashValue and fieldRef".to_owned()),
    }
}

fn field_value(path: &str, context: &ArgContext) -> Result<String, String> {
    let quoted = |prefix: &str| {
        let key = path.strip_prefix(prefix)?.strip_suffix(']')?;
        let unquoted = |quote| key.strip_prefix(quote).and_then(|key| key.strip_suffix(quote));
        unquoted('\'').or_else(|| unquoted('"'))
    };
    let found = match path {
        "metadata.name" => Some(&context.name),
        "metadata.namespace" => Some(&context.namespace),
        _ => match (quoted("metadata.labels["), quoted("metadata.annotations[")) {
            (Some(key), _) => context.labels.get(key),
            (_, Some(key)) => context.annotations.get(key),
            _ => {
                return Err(format!(
                    "fieldPath {path:?} is not supported; use metadata.name, metadata.namespace, metadata.labels['x'] \
                     or metadata.annotations['x']"
                ));
            }
        },
    };
    found.cloned().ok_or_else(|| format!("the Rollout has no {path}"))
}

//! `undo`: the pod template of an older revision becomes the Rollout's again. What the controller added to the
//! ReplicaSet is left behind, so that the version is recognised as the old one.

use k8s_openapi::api::apps::v1::ReplicaSet;
use serde_json::{Value, json};

use super::command::{out_object, out_unchanged};
use super::error::{CliError, Exit};
use super::output::Output;
use super::plugin::Format;
use super::session::{Session, to_value};
use super::target::RolloutName;
use crate::api::names::{HASH_LABEL, POD_TEMPLATE_ANNOTATION, REVISION_ANNOTATION, Revision};
use crate::api::rollout::Rollout;
use crate::plan::revision::hash_template;

#[derive(Clone, Debug, clap::Args)]
pub struct UndoArgs {
    /// NAME or rollout/NAME
    pub name: RolloutName,
    /// Revision to go back to; unless set, the version that was stable last
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..))]
    pub to_revision: Option<i64>,
    /// Output format
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
}

pub async fn run(args: &UndoArgs, session: &Session, out: &mut Output) -> Result<Exit, CliError> {
    let rollout = session.get_rollout(&args.name).await?;
    let replica_sets = session.list_replica_sets(&args.name).await?;
    // 0 means none, as in kubectl.
    let wanted = args.to_revision.filter(|number| *number > 0).map(Revision);
    let (revision, template) = choose(&rollout, &replica_sets, wanted)?;
    let name = args.name.qualified();
    if template == rollout.spec.template {
        let sentence = format!("its template is that of revision {revision} already");
        return out_unchanged(out, args.output, &rollout, &name, &sentence);
    }
    let operations = json!([
        {"op": "test", "path": "/metadata/uid", "value": rollout.metadata.uid},
        {"op": "test", "path": "/spec/template", "value": rollout.spec.template},
        {"op": "replace", "path": "/spec/template", "value": &template},
    ]);
    let patched = session.patch_rollout(&args.name, operations).await?;
    match args.output {
        Some(format) => out_object(out, format, &patched, &name),
        None => {
            out.line(format!(
                "{name} rolled back to the template of revision {revision}; {}",
                describe_way(&rollout, &template)
            ))?;
            Ok(Exit::Ok)
        }
    }
}

/// What the controller makes of it.
fn describe_way(rollout: &Rollout, template: &Value) -> String {
    let status = rollout.status.clone().unwrap_or_default();
    let hash = hash_template(template);
    let window = rollout.spec.rollback_window.as_ref();
    let window = window
        .and_then(|window| window.revisions)
        .filter(|revisions| *revisions > 0);
    match window.filter(|_| status.former_stable.contains(&hash)) {
        _ if status.stable_rs.is_none() => "nothing is stable yet, so it goes out without steps".to_owned(),
        _ if status.stable_rs.as_ref() == Some(&hash) => {
            "it is stable, and gets all traffic back without steps".to_owned()
        }
        Some(window) => {
            format!("it skips the steps if it is one of the {window} revisions of spec.rollbackWindow")
        }
        None => {
            "it goes through the steps like any version (spec.rollbackWindow lets it skip them)".to_owned()
        }
    }
}

/// The revision to go back to and its template.
pub fn choose(
    rollout: &Rollout,
    replica_sets: &[ReplicaSet],
    wanted: Option<Revision>,
) -> Result<(Revision, Value), CliError> {
    let mut revisions: Vec<_> = replica_sets
        .iter()
        .filter_map(|set| Some((revision_of(set)?, set)))
        .collect();
    revisions.sort_by_key(|(revision, _)| *revision);
    let found = match wanted {
        Some(wanted) => revisions.iter().find(|(revision, _)| *revision == wanted),
        None => last_good(rollout, &revisions).or_else(|| before_current(rollout, &revisions)),
    };
    match found {
        Some((revision, set)) => Ok((*revision, restore_template(set))),
        None => Err(CliError::Refused(describe_absent(rollout, &revisions, wanted))),
    }
}

type Candidate<'a> = (Revision, &'a ReplicaSet);

/// The version that was stable last, other than the current one: one that was aborted is not gone back to.
fn last_good<'a, 'b>(rollout: &Rollout, revisions: &'b [Candidate<'a>]) -> Option<&'b Candidate<'a>> {
    let status = rollout.status.as_ref()?;
    let good = status.former_stable.iter().rev();
    let mut good = good.filter(|hash| status.current_pod_hash.as_ref() != Some(hash));
    good.find_map(|hash| {
        revisions
            .iter()
            .find(|(_, set)| hash_of(set) == Some(hash.as_str()))
    })
}

/// For a status that does not tell which versions were stable.
fn before_current<'a, 'b>(rollout: &Rollout, revisions: &'b [Candidate<'a>]) -> Option<&'b Candidate<'a>> {
    let status = rollout.status.as_ref();
    if status.is_some_and(|status| !status.former_stable.is_empty()) {
        return None;
    }
    let current = status.and_then(|status| status.revision);
    let mut newest_first = revisions.iter().rev();
    newest_first.find(|(revision, _)| current.is_none_or(|current| *revision < current))
}

fn hash_of(set: &ReplicaSet) -> Option<&str> {
    set.metadata.labels.as_ref()?.get(HASH_LABEL).map(String::as_str)
}

fn describe_absent(
    rollout: &Rollout,
    revisions: &[(Revision, &ReplicaSet)],
    wanted: Option<Revision>,
) -> String {
    let name = rollout.metadata.name.as_deref().unwrap_or_default();
    let known: Vec<_> = revisions
        .iter()
        .map(|(revision, _)| revision.to_string())
        .collect();
    let known = if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    };
    match wanted {
        Some(wanted) => format!("revision {wanted} of {name} is not in its history; there are: {known}"),
        None => format!(
            "no other version of {name} was stable before; choose one with --to-revision; there are: {known}"
        ),
    }
}

fn revision_of(set: &ReplicaSet) -> Option<Revision> {
    let text = set.metadata.annotations.as_ref()?.get(REVISION_ANNOTATION)?;
    Revision::from_annotation(text)
}

/// The template as the user wrote it where the ReplicaSet remembers it, else the ReplicaSet's without our label.
fn restore_template(set: &ReplicaSet) -> Value {
    let written = set
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(POD_TEMPLATE_ANNOTATION));
    if let Some(template) = written.and_then(|text| serde_json::from_str(text).ok()) {
        return template;
    }
    let mut template = to_value(&set.spec.as_ref().map(|spec| &spec.template));
    if let Some(labels) = template
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.remove(HASH_LABEL);
    }
    template
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::names::PodTemplateHash;

    fn set(revision: i64, annotations: Value) -> ReplicaSet {
        let mut annotations = annotations;
        annotations[REVISION_ANNOTATION] = json!(revision.to_string());
        let labels = json!({"app": "a", (HASH_LABEL): "h"});
        serde_json::from_value(json!({
            "metadata": {"name": format!("a-{revision}"), "annotations": annotations},
            "spec": {"selector": {}, "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "app", "image": format!("a:v{revision}")}]},
            }},
        }))
        .unwrap()
    }

    fn rollout(revision: i64) -> Rollout {
        serde_json::from_value(json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "a"},
            "spec": {"selector": {}, "template": {}, "strategy": {}},
            "status": {"revision": revision},
        }))
        .unwrap()
    }

    #[test]
    fn goes_to_the_one_before_and_leaves_our_label_behind() {
        let sets = [set(3, json!({})), set(1, json!({})), set(2, json!({}))];
        let (revision, template) = choose(&rollout(3), &sets, None).unwrap();
        assert_eq!(revision, Revision(2));
        assert_eq!(template.pointer("/metadata/labels"), Some(&json!({"app": "a"})));
        assert_eq!(template.pointer("/spec/containers/0/image"), Some(&json!("a:v2")));
    }

    #[test]
    fn goes_to_what_was_stable_and_not_to_what_was_aborted() {
        let labelled = |revision, hash: &str| {
            let mut set = set(revision, json!({}));
            set.metadata.labels = Some([(HASH_LABEL.to_owned(), hash.to_owned())].into());
            set
        };
        let sets = [labelled(1, "a"), labelled(2, "bad"), labelled(3, "c")];
        for (current, expected) in [("c", 1), ("bad", 3)] {
            let mut rollout = rollout(3);
            let status = rollout.status.as_mut().unwrap();
            status.current_pod_hash = Some(PodTemplateHash(current.to_owned()));
            status.former_stable = ["a", "c"].map(|hash| PodTemplateHash(hash.to_owned())).into();
            let (revision, _) = choose(&rollout, &sets, None).unwrap();
            assert_eq!(revision, Revision(expected), "{current} is current");
        }
    }

    #[test]
    fn says_whether_the_steps_are_gone_through() {
        let template = json!({"spec": {}});
        let mut undone = rollout(3);
        assert!(describe_way(&undone, &template).starts_with("nothing is stable yet"));
        undone.status.as_mut().unwrap().stable_rs = Some(PodTemplateHash("other".to_owned()));
        assert!(describe_way(&undone, &template).starts_with("it goes through the steps"));
        undone.status.as_mut().unwrap().former_stable = vec![hash_template(&template)];
        assert!(describe_way(&undone, &template).starts_with("it goes through the steps"));
        undone.spec.rollback_window = serde_json::from_value(json!({"revisions": 2})).unwrap();
        assert!(describe_way(&undone, &template).starts_with("it skips the steps if"));
        undone.status.as_mut().unwrap().stable_rs = Some(hash_template(&template));
        assert!(describe_way(&undone, &template).starts_with("it is stable"));
    }

    #[test]
    fn prefers_what_the_user_wrote() {
        let sets = [set(
            1,
            json!({(POD_TEMPLATE_ANNOTATION): r#"{"spec":{"future":1}}"#}),
        )];
        assert_eq!(
            choose(&rollout(2), &sets, None).unwrap().1,
            json!({"spec": {"future": 1}})
        );
    }

    #[test]
    fn row_100_names_the_revisions_there_are() {
        let sets = [set(2, json!({})), set(1, json!({}))];
        let error = choose(&rollout(2), &sets, Some(Revision(9)))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "error: revision 9 of a is not in its history; there are: 1, 2"
        );
        assert!(choose(&rollout(1), &sets[1..], None).is_err());
    }
}

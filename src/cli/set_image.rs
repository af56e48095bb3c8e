//! `set image`: new images for containers, found by name, with the observed image as the precondition.

use std::collections::BTreeSet;
use std::str::FromStr;

use serde_json::{Value, json};
use thiserror::Error;

use super::command::{out_object, out_unchanged};
use super::error::{CliError, Exit};
use super::output::Output;
use super::plugin::Format;
use super::session::Session;
use super::target::RolloutName;

#[derive(Clone, Debug, clap::Args)]
pub struct SetImageArgs {
    /// NAME or rollout/NAME
    pub name: RolloutName,
    /// CONTAINER=IMAGE, or *=IMAGE for every container
    #[arg(required = true, value_name = "CONTAINER=IMAGE")]
    pub images: Vec<Assignment>,
    /// Output format
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    container: String,
    image: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not CONTAINER=IMAGE")]
pub struct AssignmentError(String);

impl FromStr for Assignment {
    type Err = AssignmentError;

    fn from_str(text: &str) -> Result<Self, AssignmentError> {
        let refuse = || AssignmentError(text.to_owned());
        let (container, image) = text.split_once('=').ok_or_else(refuse)?;
        let odd = |part: &str| part.is_empty() || part.chars().any(|c| c.is_whitespace() || c.is_control());
        match odd(container) || odd(image) {
            true => Err(refuse()),
            false => Ok(Assignment {
                container: container.to_owned(),
                image: image.to_owned(),
            }),
        }
    }
}

pub async fn run(args: &SetImageArgs, session: &Session, out: &mut Output) -> Result<Exit, CliError> {
    let rollout = session.get_rollout(&args.name).await?;
    let name = args.name.qualified();
    let mut operations = plan_patch(&rollout.spec.template, &args.images).map_err(CliError::Refused)?;
    if operations.is_empty() {
        return out_unchanged(out, args.output, &rollout, &name, "it has these images already");
    }
    operations.insert(
        0,
        json!({"op": "test", "path": "/metadata/uid", "value": rollout.metadata.uid}),
    );
    let patched = session
        .patch_rollout(&args.name, Value::Array(operations))
        .await?;
    match args.output {
        Some(format) => out_object(out, format, &patched, &name),
        None => {
            out.line(format!("{name} image updated"))?;
            Ok(Exit::Ok)
        }
    }
}

/// JSON Patch operations; empty when nothing would change.
pub fn plan_patch(template: &Value, images: &[Assignment]) -> Result<Vec<Value>, String> {
    let containers: Vec<_> = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| containers(template, list))
        .collect();
    let mut operations = Vec::new();
    let mut given = BTreeSet::new();
    for assignment in images {
        let meant: Vec<_> = containers
            .iter()
            .filter(|container| assignment.container == "*" || assignment.container == container.name)
            .collect();
        if meant.is_empty() {
            let names: Vec<_> = containers.iter().map(|container| container.name).collect();
            return Err(format!(
                "no container named {:?}; there are: {}",
                assignment.container,
                names.join(", ")
            ));
        }
        if let Some(twice) = meant.iter().find(|container| !given.insert(&container.path)) {
            return Err(format!(
                "container {:?} is given two images; give it one",
                twice.name
            ));
        }
        for container in meant
            .iter()
            .filter(|container| container.image != Some(&assignment.image))
        {
            let path = &container.path;
            operations.extend([
                json!({"op": "test", "path": format!("{path}/name"), "value": container.name}),
                json!({"op": "test", "path": format!("{path}/image"), "value": container.image}),
                json!({"op": "replace", "path": format!("{path}/image"), "value": assignment.image}),
            ]);
        }
    }
    Ok(operations)
}

struct Container<'a> {
    path: String,
    name: &'a str,
    image: Option<&'a str>,
}

fn containers<'a>(template: &'a Value, list: &str) -> Vec<Container<'a>> {
    let items = template
        .pointer(&format!("/spec/{list}"))
        .and_then(Value::as_array);
    let text = |item: &'a Value, key| item.get(key).and_then(Value::as_str);
    items
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(index, item)| Container {
            path: format!("/spec/template/spec/{list}/{index}"),
            name: text(item, "name").unwrap_or_default(),
            image: text(item, "image"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Value {
        json!({"spec": {
            "containers": [{"name": "app", "image": "a:1"}, {"name": "proxy", "image": "p:1"}],
            "initContainers": [{"name": "init", "image": "i:1"}],
        }})
    }

    fn plan(images: &[&str]) -> Result<Vec<Value>, String> {
        let images: Vec<_> = images.iter().map(|text| text.parse().unwrap()).collect();
        plan_patch(&template(), &images)
    }

    #[test]
    fn patches_by_name_with_the_old_image_as_the_precondition() {
        let path = "/spec/template/spec/containers/1";
        assert_eq!(
            plan(&["proxy=p:2"]).unwrap(),
            [
                json!({"op": "test", "path": format!("{path}/name"), "value": "proxy"}),
                json!({"op": "test", "path": format!("{path}/image"), "value": "p:1"}),
                json!({"op": "replace", "path": format!("{path}/image"), "value": "p:2"}),
            ]
        );
        assert_eq!(plan(&["*=x:1"]).unwrap().len(), 9);
        assert_eq!(plan(&["app=a:1"]).unwrap(), Vec::<Value>::new());
    }

    #[test]
    fn names_the_containers_there_are() {
        let error = plan(&["web=a:2"]).unwrap_err();
        assert_eq!(error, "no container named \"web\"; there are: app, proxy, init");
    }

    /// The second would fail on the image that the first has written, and be taken for somebody else's edit.
    #[test]
    fn refuses_two_images_for_one_container() {
        for images in [
            ["app=a:2", "app=a:3"],
            ["*=x:1", "app=a:2"],
            ["app=a:2", "app=a:2"],
        ] {
            let error = plan(&images).unwrap_err();
            assert_eq!(
                error, "container \"app\" is given two images; give it one",
                "{images:?}"
            );
        }
        assert_eq!(plan(&["app=a:2", "proxy=p:2"]).unwrap().len(), 6);
    }

    #[test]
    fn refuses_what_is_no_assignment() {
        for text in ["app", "=a:1", "app=", "app=a b", ""] {
            assert!(text.parse::<Assignment>().is_err(), "{text}");
        }
    }
}

//! The resources that are served: what each is called and how its objects behave.

use std::sync::Arc;

use serde_json::Value;

use super::builtin;
use super::crd::CustomResource;
use super::refusal::Subject;

/// Where a resource's `/scale` reads and writes, as dotted paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScalePaths {
    pub spec_replicas: String,
    pub status_replicas: String,
    pub label_selector: Option<String>,
}

/// A column of `kubectl get`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub column_type: String,
    pub json_path: String,
    pub priority: i64,
    pub description: String,
}

/// One served resource.
#[derive(Debug)]
pub struct Resource {
    pub group: String,
    pub version: String,
    pub plural: String,
    pub singular: String,
    pub kind: String,
    pub list_kind: String,
    pub namespaced: bool,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub has_status: bool,
    pub scale: Option<ScalePaths>,
    /// Whether `metadata.generation` counts changes of the wanted state.
    pub has_generation: bool,
    pub columns: Vec<Column>,
    /// The definition behind a custom resource; built-in kinds have none.
    pub custom: Option<CustomResource>,
    /// `group/plural`: names the collection that holds the objects.
    pub key: String,
}

impl Resource {
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    pub fn subject<'a>(&'a self, name: &'a str) -> Subject<'a> {
        Subject {
            group: &self.group,
            resource: &self.plural,
            kind: &self.kind,
            name,
        }
    }

    /// Whether an update must say which version it is based on. Custom resources and Leases insist.
    pub fn requires_version_on_update(&self) -> bool {
        self.custom.is_some() || self.kind == "Lease"
    }

    pub fn schema(&self) -> Option<&Value> {
        self.custom.as_ref().map(|custom| &custom.schema)
    }
}

/// All served resources, built-in ones first, in a fixed order.
#[derive(Clone, Debug)]
pub struct Registry {
    resources: Vec<Arc<Resource>>,
}

impl Registry {
    pub fn built_in() -> Self {
        Registry {
            resources: builtin::resources().into_iter().map(Arc::new).collect(),
        }
    }

    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.resources
            .iter()
            .find(|known| known.plural == plural && known.group == group && known.version == version)
    }

    pub fn by_kind(&self, kind: &str) -> Option<&Arc<Resource>> {
        self.resources.iter().find(|known| known.kind == kind)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.iter()
    }

    /// Adds a resource, or puts it in the place of the one with the same key.
    pub fn install(&mut self, resource: Resource) {
        let resource = Arc::new(resource);
        match self.resources.iter_mut().find(|known| known.key == resource.key) {
            Some(place) => *place = resource,
            None => self.resources.push(resource),
        }
    }

    pub fn uninstall(&mut self, key: &str) {
        self.resources
            .retain(|known| known.key != key || known.custom.is_none());
    }
}

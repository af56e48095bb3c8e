//! What a Rollout names, read leniently from its raw form, so that a spec that is wrong elsewhere is still
//! observed. Whether the names make sense is for `validate` to say.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::api::resource::Resource;
use crate::api::rollout::TemplateRef;
use crate::routers;

/// Names of the objects that one Rollout depends on; all are of its own namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub services: BTreeSet<String>,
    /// Stable Ingresses, and the canary Ingresses we keep beside them.
    pub ingresses: BTreeSet<String>,
    pub http_routes: BTreeSet<String>,
    pub templates: Vec<TemplateRef>,
    /// A decision depends on which pods stand behind the Services: something is in progress or not verified.
    pub endpoints: bool,
}

impl Needs {
    /// Objects that are watched only because some Rollout names them.
    pub fn named(&self) -> impl Iterator<Item = (Resource, &str)> {
        let of = |resource| move |name: &'_ String| (resource, name.as_str());
        fn pair(resource: Resource) -> impl Fn(&String) -> (Resource, &str) {
            move |name| (resource, name.as_str())
        }
        let _ = of;
        let services = self.services.iter().map(pair(Resource::Service));
        let ingresses = self.ingresses.iter().map(pair(Resource::Ingress));
        let routes = self.http_routes.iter().map(pair(Resource::HttpRoute));
        services.chain(ingresses).chain(routes)
    }
}


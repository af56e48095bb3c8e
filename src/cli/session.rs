//! A connection to a cluster with the namespace in use, and every read of the plugin. Failures come back as
//! [`CliError`]s that name the request.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::core::Selector;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::connect::Connection;
use super::error::{CliError, Request, ServerError, names_object};
use super::target::RolloutName;
use crate::api::analysis_run::AnalysisRun;
use crate::api::names::{API_VERSION, GROUP, ROLLOUT_LABEL, VERSION};
use crate::api::rollout::Rollout;
use crate::api::rollout_command::RolloutCommand;
use crate::clock::Clock;
use crate::view::{Objects, RolloutView, build};

/// Field manager of every write of the plugin.
pub const FIELD_MANAGER: &str = "kubectl-tidegate";
/// Names offered when the one asked for does not exist.
const NEAREST: usize = 3;

pub struct Session {
    pub client: Client,
    pub namespace: String,
    /// The kubeconfig's name for the user.
    pub user: Option<String>,
    pub clock: Clock,
}

impl Session {
    pub fn open(connection: &Connection) -> Result<Self, CliError> {
        Ok(Session {
            client: connection.client()?,
            namespace: connection.config.default_namespace.clone(),
            user: connection.user.clone(),
            clock: Clock::System,
        })
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn request<K: Resource<DynamicType = ()>>(&self, verb: &'static str, name: Option<&str>) -> Request {
        Request {
            verb,
            resource: resource_name::<K>(),
            name: name.map(str::to_owned),
            namespace: Some(self.namespace.clone()),
        }
    }

    pub async fn get_rollout(&self, name: &RolloutName) -> Result<Rollout, CliError> {
        match self.api::<Rollout>().get(name.as_str()).await {
            Ok(rollout) => Ok(rollout),
            Err(kube::Error::Api(status)) if status.code == 404 && names_object(&status) => {
                Err(self.not_found(name).await)
            }
            Err(error) => Err(self
                .fail(self.request::<Rollout>("get", Some(name.as_str())), error)
                .await),
        }
    }

    pub async fn get_view(&self, name: &RolloutName) -> Result<RolloutView, CliError> {
        Ok(build(&self.get_objects(name).await?))
    }

    /// The Rollout and everything that hangs on it.
    pub async fn get_objects(&self, name: &RolloutName) -> Result<Objects, CliError> {
        let rollout = self.get_rollout(name).await?;
        let own = ListParams::default().labels(&format!("{ROLLOUT_LABEL}={name}"));
        let all = ListParams::default();
        let (replica_sets, pods, analysis_runs, commands) = futures::try_join!(
            self.list(&own),
            self.list_pods(&rollout),
            self.list::<AnalysisRun>(&own),
            self.list::<RolloutCommand>(&all),
        )?;
        let is_own = |command: &RolloutCommand| command.spec.rollout == name.as_str();
        let commands = commands.into_iter().filter(is_own).collect();
        Ok(Objects {
            rollout,
            replica_sets,
            pods,
            analysis_runs,
            commands,
        })
    }

    pub async fn list_replica_sets(&self, name: &RolloutName) -> Result<Vec<ReplicaSet>, CliError> {
        self.list(&ListParams::default().labels(&format!("{ROLLOUT_LABEL}={name}")))
            .await
    }

    /// Those that its selector matches.
    pub async fn list_pods(&self, rollout: &Rollout) -> Result<Vec<Pod>, CliError> {
        let selector: Selector = rollout.spec.selector.clone().try_into().map_err(|error| {
            let name = rollout.metadata.name.as_deref().unwrap_or_default();
            CliError::Refused(format!("spec.selector of {name} cannot be used: {error}"))
        })?;
        self.list(&ListParams::default().labels_from(&selector)).await
    }

    async fn list<K>(&self, params: &ListParams) -> Result<Vec<K>, CliError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        match self.api::<K>().list(params).await {
            Ok(list) => Ok(list.items),
            Err(error) => Err(self.fail(self.request::<K>("list", None), error).await),
        }
    }

    /// Sorted by namespace and name; `everywhere` looks into all namespaces.
    pub async fn list_rollouts(&self, everywhere: bool) -> Result<Vec<Rollout>, CliError> {
        let mut rollouts = match everywhere {
            false => self.list::<Rollout>(&ListParams::default()).await?,
            true => match Api::<Rollout>::all(self.client.clone())
                .list(&ListParams::default())
                .await
            {
                Ok(list) => list.items,
                Err(error) => {
                    let request = Request {
                        namespace: None,
                        ..self.request::<Rollout>("list", None)
                    };
                    return Err(self.fail(request, error).await);
                }
            },
        };
        rollouts.sort_by(|a, b| {
            (&a.metadata.namespace, &a.metadata.name).cmp(&(&b.metadata.namespace, &b.metadata.name))
        });
        Ok(rollouts)
    }

    /// An edit as JSON Patch; its `test` operations are the precondition.
    pub async fn patch_rollout(&self, name: &RolloutName, operations: Value) -> Result<Rollout, CliError> {
        let patch = serde_json::from_value(operations)
            .map(Patch::<()>::Json)
            .map_err(|error| CliError::Refused(format!("cannot make the patch: {error}")))?;
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        match self.api::<Rollout>().patch(name.as_str(), &params, &patch).await {
            Ok(rollout) => Ok(rollout),
            Err(error) => Err(self
                .fail(self.request::<Rollout>("patch", Some(name.as_str())), error)
                .await),
        }
    }

    /// Who the server takes us for; else the kubeconfig's name for the user.
    pub async fn who_am_i(&self) -> Option<String> {
        let review: Api<SelfSubjectReview> = Api::all(self.client.clone());
        let answer = review
            .create(&post_params(), &SelfSubjectReview::default())
            .await
            .ok();
        let user = answer.and_then(|review| review.status?.user_info?.username);
        user.or_else(|| self.user.clone())
    }

    async fn not_found(&self, name: &RolloutName) -> CliError {
        let others = self
            .list::<Rollout>(&ListParams::default())
            .await
            .unwrap_or_default();
        let names: Vec<_> = others
            .into_iter()
            .filter_map(|rollout| rollout.metadata.name)
            .collect();
        CliError::NotFound {
            name: name.to_string(),
            namespace: self.namespace.clone(),
            hint: hint_nearest(name.as_str(), names),
        }
    }

    /// An unknown resource type is worth one more request that tells why.
    pub async fn fail(&self, request: Request, error: kube::Error) -> CliError {
        let failure = match ServerError::from_kube(request, error) {
            ServerError::UnknownResource { request, .. } => ServerError::UnknownResource {
                request,
                hint: self.hint_missing_crd().await,
            },
            other => other,
        };
        CliError::Server(Box::new(failure))
    }

    async fn hint_missing_crd(&self) -> String {
        let groups = self.client.list_api_groups().await;
        let group = groups
            .ok()
            .and_then(|list| list.groups.into_iter().find(|group| group.name == GROUP));
        let versions: Vec<_> = group
            .into_iter()
            .flat_map(|group| group.versions)
            .map(|version| version.version)
            .collect();
        describe_skew(&versions)
    }
}

/// What to do when the server knows no such resource, although it has our group in these versions.
fn describe_skew(versions: &[String]) -> String {
    match versions.iter().any(|version| version == VERSION) {
        _ if versions.is_empty() => {
            "; Tidegate's CRDs are not installed here: `tidegate crds | kubectl apply -f -`".to_owned()
        }
        true => "; the CRDs here are older than this plugin: `tidegate crds | kubectl apply -f -`".to_owned(),
        false => format!(
            "; the server has {GROUP} in {}, this plugin speaks {API_VERSION}: use the plugin of that version",
            versions.join(", ")
        ),
    }
}

pub fn post_params() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

fn resource_name<K: Resource<DynamicType = ()>>() -> String {
    match K::group(&()).as_ref() {
        "" => K::plural(&()).into_owned(),
        group => format!("{}.{group}", K::plural(&())),
    }
}

/// Names like the one asked for, best first; all that there are when none is like it.
fn hint_nearest(wanted: &str, mut names: Vec<String>) -> String {
    if names.is_empty() {
        return "; there is no Rollout in it".to_owned();
    }
    let likeness = |name: &str| strsim::jaro_winkler(wanted, name);
    names.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)).then_with(|| a.cmp(b)));
    names.truncate(NEAREST);
    format!("; nearest names: {}", names.join(", "))
}

/// The whole object as JSON; null for one that cannot be written as such.
pub fn to_value(object: &impl Serialize) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_the_nearest_names_first() {
        let names = ["basket", "checkout-api", "checkout", "search"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(
            hint_nearest("chekout", names),
            "; nearest names: checkout, checkout-api, basket"
        );
        assert_eq!(hint_nearest("x", vec![]), "; there is no Rollout in it");
    }

    #[test]
    fn row_104_tells_absent_crds_from_old_ones_and_from_another_version() {
        for (versions, hint) in [
            (
                &[][..],
                "; Tidegate's CRDs are not installed here: `tidegate crds | kubectl apply -f -`",
            ),
            (
                &["v1alpha1", "v1"][..],
                "; the CRDs here are older than this plugin: `tidegate crds | kubectl apply -f -`",
            ),
            (
                &["v1beta1", "v1"][..],
                "; the server has tidegate.dev in v1beta1, v1, this plugin speaks tidegate.dev/v1alpha1: use the \
                 plugin of that version",
            ),
        ] {
            let versions: Vec<_> = versions.iter().map(|version| (*version).to_owned()).collect();
            assert_eq!(describe_skew(&versions), hint);
        }
    }
}

//! `restart`: every pod is replaced by a new one of the same version, so many at a time that `maxUnavailable` holds,
//! without a rollout. The person evicts them with rights of their own: the controller has none on pods, and a
//! PodDisruptionBudget is heard.

use std::collections::BTreeSet;
use std::time::Duration as StdDuration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, EvictParams, Preconditions};

use super::command::Standing;
use super::error::{CliError, Exit, Request};
use super::output::Output;
use super::patience::{self, Patience};
use super::session::{Session, to_value};
use super::target::RolloutName;
use crate::api::duration::Duration;
use crate::api::names::HASH_LABEL;
use crate::api::rollout::Rollout;
use crate::plan::validate::valid::ValidRollout;
use crate::plan::validate::validate_rollout;

const POLL: StdDuration = StdDuration::from_millis(500);

#[derive(Clone, Debug, clap::Args)]
pub struct RestartArgs {
    /// NAME or rollout/NAME
    pub name: RolloutName,
    /// Give up after this long (exit code 124): 30s, 5m, 1h30m; what was replaced by then stays
    #[arg(short, long, value_parser = Duration::parse)]
    pub timeout: Option<Duration>,
    /// Also in the middle of a release, and where a single pod leaves nobody to serve meanwhile
    #[arg(long)]
    pub force: bool,
}

/// One ReplicaSet that serves, and its pods but those that end or have ended.
#[derive(Clone, Debug, PartialEq)]
struct Set {
    desired: i64,
    /// By its status, which knows `minReadySeconds` and may lag behind the pods.
    available: i64,
    pods: Vec<Seen>,
}

#[derive(Clone, Debug, PartialEq)]
struct Seen {
    name: String,
    uid: String,
    ready: bool,
}

impl Set {
    fn available(&self) -> i64 {
        let ready = self.pods.iter().filter(|pod| pod.ready).count();
        self.available.min(i64::try_from(ready).unwrap_or(i64::MAX))
    }

    fn missing(&self) -> i64 {
        (self.desired - self.available()).max(0)
    }

    /// The pods to evict now. One that is not ready serves nobody, so that its end costs nothing.
    fn choose(&self, old: &BTreeSet<String>, limit: i64) -> Vec<&Seen> {
        let room = usize::try_from(limit - self.missing()).unwrap_or(0);
        let old = || self.pods.iter().filter(|pod| old.contains(&pod.uid));
        let ready = old().filter(|pod| pod.ready).take(room);
        old().filter(|pod| !pod.ready).chain(ready).collect()
    }
}

/// The pods that were there when the command began, and how many of them are still.
#[derive(Debug, Default)]
struct Progress {
    old: BTreeSet<String>,
    left: usize,
    evicted: BTreeSet<String>,
    /// What was waited for when it was last said.
    said: String,
}

impl Progress {
    fn replaced(&self) -> usize {
        self.old.len() - self.left
    }
}

pub async fn run(args: &RestartArgs, session: &Session, out: &mut Output) -> Result<Exit, CliError> {
    let mut progress = Progress::default();
    let Some(limit) = args.timeout else {
        return replace_all(args, session, &mut progress, out).await;
    };
    let millis = u64::try_from(limit.as_millis()).unwrap_or_default();
    let replaced = replace_all(args, session, &mut progress, out);
    match tokio::time::timeout(StdDuration::from_millis(millis), replaced).await {
        Ok(ended) => ended,
        Err(_) => {
            out.note(format!(
                "error: timed out after {limit}: {} of {} pods of {} are replaced",
                progress.replaced(),
                progress.old.len(),
                args.name
            ));
            Ok(Exit::Timeout)
        }
    }
}

async fn replace_all(
    args: &RestartArgs,
    session: &Session,
    progress: &mut Progress,
    out: &mut Output,
) -> Result<Exit, CliError> {
    let (_, sets) = look(args, session).await?;
    refuse_single(args, &sets)?;
    let pods = sets.iter().flat_map(|set| &set.pods);
    progress.old = pods.map(|pod| pod.uid.clone()).collect();
    progress.left = progress.old.len();
    let name = args.name.qualified();
    if progress.old.is_empty() {
        out.line(format!("{name} unchanged: it has no pods"))?;
        return Ok(Exit::Ok);
    }
    // With --timeout that is what ends the waiting.
    let limit = args.timeout.is_none().then_some(patience::DEFAULT);
    let mut patience = Patience::new(limit);
    loop {
        let stepped = match look(args, session).await {
            Ok((spec, sets)) => step(session, &spec, &sets, progress, out).await,
            Err(failure) => Err(failure),
        };
        match stepped {
            Ok(true) => break,
            Ok(false) => patience.restore(),
            Err(failure) => patience.bear(failure, out).await?,
        }
        tokio::time::sleep(POLL).await;
    }
    out.line(format!("{name} restarted: {} pods replaced", progress.old.len()))?;
    Ok(Exit::Ok)
}

/// Evicts what may go now; true once all are replaced and available.
async fn step(
    session: &Session,
    spec: &ValidRollout,
    sets: &[Set],
    progress: &mut Progress,
    out: &mut Output,
) -> Result<bool, CliError> {
    let there = sets.iter().flat_map(|set| &set.pods);
    progress.left = there.filter(|pod| progress.old.contains(&pod.uid)).count();
    if progress.left == 0 && sets.iter().all(|set| set.missing() == 0) {
        return Ok(true);
    }
    for set in sets {
        let limit = spec.canary.resolve_budgets(set.desired).unavailable.max(1);
        for pod in set.choose(&progress.old, limit) {
            match evict(session, pod).await? {
                None if progress.evicted.insert(pod.uid.clone()) => out.line(format!(
                    "pod/{} evicted ({} of {})",
                    pod.name,
                    progress.evicted.len(),
                    progress.old.len()
                ))?,
                Some(why) if progress.said != why => {
                    out.line(format!("pod/{} has to wait: {why}", pod.name))?;
                    progress.said = why;
                }
                None | Some(_) => {}
            }
        }
    }
    Ok(false)
}

/// Nothing once it goes or is gone; else why it may not go yet.
async fn evict(session: &Session, pod: &Seen) -> Result<Option<String>, CliError> {
    let parameters = EvictParams {
        delete_options: Some(DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(pod.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        }),
        ..EvictParams::default()
    };
    match session.api::<Pod>().evict(&pod.name, &parameters).await {
        Ok(_) => Ok(None),
        // Gone, or another one of its name.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(None),
        // What a PodDisruptionBudget answers.
        Err(kube::Error::Api(status)) if status.code == 429 => Ok(Some(status.message.clone())),
        Err(error) => {
            let request = Request {
                resource: "pods/eviction".to_owned(),
                ..session.request::<Pod>("create", Some(&pod.name))
            };
            Err(session.fail(request, error).await)
        }
    }
}

/// The Rollout and its ReplicaSets that serve, if pods may be replaced now.
async fn look(args: &RestartArgs, session: &Session) -> Result<(ValidRollout, Vec<Set>), CliError> {
    let rollout = session.get_rollout(&args.name).await?;
    refuse_release(args, &Standing::of(&rollout))?;
    let spec = validate_rollout(&to_value(&rollout)).map_err(|violations| {
        let first = violations.first().map(ToString::to_string).unwrap_or_default();
        CliError::Refused(format!(
            "{} is not valid, so maxUnavailable is not known: {first}",
            args.name
        ))
    })?;
    let pods = session.list_pods(&rollout).await?;
    let replica_sets = session.list_replica_sets(&args.name).await?;
    let serving = replica_sets.iter().filter(|set| serves(set, &rollout));
    Ok((spec, serving.map(|set| build_set(set, &pods)).collect()))
}

/// New pods would be measured cold and held against the new version. One that is aborted is measured no more.
fn refuse_release(args: &RestartArgs, standing: &Standing) -> Result<(), CliError> {
    if args.force || !standing.in_progress || standing.status.abort {
        return Ok(());
    }
    let name = &standing.name;
    Err(CliError::Refused(format!(
        "{} of {name} is being released, which replaces the pods anyway; wait for its end (`kubectl tidegate status \
         {name}`), or use --force",
        standing.revision_text()
    )))
}

fn refuse_single(args: &RestartArgs, sets: &[Set]) -> Result<(), CliError> {
    match !args.force && sets.iter().any(|set| set.desired == 1) {
        false => Ok(()),
        true => Err(CliError::Refused(format!(
            "{name} has a single pod: nothing serves until its successor does; scale it to 2 first, or use --force",
            name = args.name
        ))),
    }
}

/// Of the stable or the current version; older ones go as they are.
fn serves(set: &ReplicaSet, rollout: &Rollout) -> bool {
    let hash = set
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(HASH_LABEL));
    let status = rollout.status.as_ref();
    let serving = status.map(|status| [&status.stable_rs, &status.current_pod_hash]);
    let serving = serving.into_iter().flatten().flatten();
    let owners = set.metadata.owner_references.iter().flatten();
    let is_owned = owners
        .into_iter()
        .any(|owner| Some(&owner.uid) == rollout.metadata.uid.as_ref());
    is_owned && serving.into_iter().any(|serving| Some(&serving.0) == hash)
}

fn build_set(set: &ReplicaSet, pods: &[Pod]) -> Set {
    let uid = set.metadata.uid.as_ref();
    let is_own = |pod: &&Pod| {
        let mut owners = pod.metadata.owner_references.iter().flatten();
        owners.any(|owner| Some(&owner.uid) == uid)
    };
    let status = set.status.as_ref();
    Set {
        desired: set
            .spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1)
            .into(),
        available: status
            .and_then(|status| status.available_replicas)
            .unwrap_or(0)
            .into(),
        pods: pods.iter().filter(is_own).filter_map(build_pod).collect(),
    }
}

/// Nothing for one that ends or has ended: that is replaced already.
fn build_pod(pod: &Pod) -> Option<Seen> {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    if pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed")) {
        return None;
    }
    let mut conditions = status
        .into_iter()
        .flat_map(|status| status.conditions.iter().flatten());
    Some(Seen {
        name: pod.metadata.name.clone()?,
        uid: pod.metadata.uid.clone()?,
        ready: conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pods by their first letter: `o`ld and ready, `O`ld and not ready, `n`ew and ready, `N`ew and not ready.
    fn set(desired: i64, available: i64, pods: &str) -> (Set, BTreeSet<String>) {
        let pods = pods.chars().enumerate().map(|(index, letter)| Seen {
            name: format!("{letter}{index}"),
            uid: format!("{letter}{index}"),
            ready: letter.is_lowercase(),
        });
        let pods: Vec<Seen> = pods.collect();
        let old = pods.iter().filter(|pod| pod.uid.to_lowercase().starts_with('o'));
        let old = old.map(|pod| pod.uid.clone()).collect();
        (
            Set {
                desired,
                available,
                pods,
            },
            old,
        )
    }

    #[test]
    fn no_more_are_missing_than_may_be() {
        for (desired, available, pods, limit, chosen) in [
            (4, 4, "oooo", 1, &["o0"][..]),
            (4, 4, "oooo", 2, &["o0", "o1"]),
            // Its status has not yet noticed that one is gone.
            (4, 4, "ooo", 1, &[]),
            (4, 3, "oooN", 1, &[]),
            // Ready, and not yet for minReadySeconds.
            (4, 3, "ooon", 1, &[]),
            (4, 4, "ooon", 1, &["o0"]),
            // Nobody misses what serves nobody.
            (4, 3, "oooO", 1, &["O3"]),
            (4, 2, "ooOO", 1, &["O2", "O3"]),
            (4, 2, "ooOO", 3, &["O2", "O3", "o0"]),
            (4, 4, "nnnn", 1, &[]),
            // More than are wanted, as after a scaling down.
            (2, 4, "oooo", 1, &["o0"]),
            (0, 0, "", 1, &[]),
        ] {
            let (set, old) = set(desired, available, pods);
            let found: Vec<&str> = set
                .choose(&old, limit)
                .iter()
                .map(|pod| pod.name.as_str())
                .collect();
            assert_eq!(found, chosen, "{desired} {available} {pods} {limit}");
        }
    }
}

//! `restart`: every pod is replaced by a new one of the same version, so many at a time that `maxUnavailable` holds,
//! without a rollout. The person evicts them with rights of their own: the controller has none on pods, and a
//! PodDisruptionBudget is heard.

use std::collections::BTreeSet;
use std::time::Duration as StdDuration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, EvictParams, Preconditions};

use super::command::Standing;
use super::error::{CliError, Exit, Request, ServerError};
use super::output::Output;
use super::patience::{self, Patience};
use super::session::{Session, to_value};
use super::target::RolloutName;
use crate::api::duration::Duration;
use crate::api::names::HASH_LABEL;
use crate::api::rollout::Rollout;
use crate::clock::Stopwatch;
use crate::plan::validate::valid::ValidRollout;
use crate::plan::validate::validate_rollout;

const POLL: StdDuration = StdDuration::from_millis(500);
const EVICTION: &str = "pods/eviction";

#[derive(Clone, Debug, clap::Args)]
pub struct RestartArgs {
    /// NAME or rollout/NAME
    pub name: RolloutName,
    /// Give up after this long (exit code 124): 30s, 5m, 1h30m; what was replaced by then stays
    #[arg(short, long, value_parser = Duration::parse)]
    pub timeout: Option<Duration>,
    /// Also in the middle of a release, with maxUnavailable 0, and where a single pod leaves nobody to serve meanwhile
    #[arg(long)]
    pub force: bool,
}

/// One ReplicaSet that serves, and its pods but those that end or have ended.
#[derive(Clone, Debug, PartialEq)]
struct Set {
    /// Of the version that customers have been given: the stable one, or the only one.
    is_stable: bool,
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

    /// The pods to evict now. The end of one that is not ready costs nothing today, and all of them would be gone if their
    /// successors never started: so no more than `limit` successors are awaited.
    fn choose(&self, old: &BTreeSet<String>, limit: i64) -> Vec<&Seen> {
        let is_old = |pod: &&Seen| old.contains(&pod.uid);
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let starting = self.pods.iter().filter(|pod| !is_old(pod) && !pod.ready);
        let to_come = (self.desired - count(self.pods.len())).max(0);
        let room = |taken: i64| usize::try_from(limit - taken).unwrap_or(0);
        let unready_room = room(count(starting.count()) + to_come);
        let old = || self.pods.iter().filter(is_old);
        let ready = old().filter(|pod| pod.ready).take(room(self.missing()));
        let unready = old().filter(|pod| !pod.ready).take(unready_room);
        unready.chain(ready).collect()
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
    said_waiting: bool,
    /// The pod whose eviction the server failed at, the last time.
    failed: Option<String>,
    /// What there was at the last change: old pods, evictions, and pods that are available of those wanted.
    seen: (usize, usize, i64, i64),
    since_change: Option<Stopwatch>,
}

impl Progress {
    fn replaced(&self) -> usize {
        self.old.len() - self.left
    }

    /// An error once nothing has changed for so long.
    fn expire(&mut self, spec: &ValidRollout, sets: &[Set]) -> Result<(), CliError> {
        let desired: i64 = sets.iter().map(|set| set.desired).sum();
        let available = desired - sets.iter().map(Set::missing).sum::<i64>();
        let seen = (self.left, self.evicted.len(), available, desired);
        if self.seen != seen {
            (self.seen, self.since_change) = (seen, None);
        }
        let since = self.since_change.get_or_insert_with(Stopwatch::start);
        let limit = spec
            .progress_deadline
            .filter(|limit| since.elapsed() >= to_std(*limit));
        match limit {
            None => Ok(()),
            Some(limit) => Err(CliError::Refused(format!(
                "nothing has changed for {limit} (spec.progressDeadlineSeconds): {replaced} of {old} pods of {name} are \
                 replaced, {available} of {desired} are available; see why with `kubectl tidegate get {name}`",
                replaced = self.replaced(),
                old = self.old.len(),
                name = spec.name,
            ))),
        }
    }

    /// The server may fail at an eviction once. The second time it will not pass: more than one PodDisruptionBudget for
    /// a pod is answered with a 500 as well.
    fn fails_again(&mut self, failure: &CliError) -> bool {
        let CliError::Server(error) = failure else {
            return false;
        };
        match error.as_ref() {
            ServerError::Other {
                request, code: 500, ..
            } if request.resource == EVICTION => {
                let before = self.failed.replace(request.to_string());
                before == self.failed
            }
            _ => false,
        }
    }
}

fn to_std(duration: Duration) -> StdDuration {
    StdDuration::from_millis(u64::try_from(duration.as_millis()).unwrap_or_default())
}

/// What has become of a pod that was to be evicted.
enum Eviction {
    Begun,
    /// It is gone, or its name is another's.
    Gone,
    Refused(String),
}

pub async fn run(args: &RestartArgs, session: &Session, out: &mut Output) -> Result<Exit, CliError> {
    let mut progress = Progress::default();
    let Some(limit) = args.timeout else {
        return replace_all(args, session, &mut progress, out).await;
    };
    let replaced = replace_all(args, session, &mut progress, out);
    match tokio::time::timeout(to_std(limit), replaced).await {
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
    let (spec, sets) = look(args, session).await?;
    refuse_single(args, &sets)?;
    refuse_zero(args, &spec)?;
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
            Ok(false) => {
                patience.restore();
                progress.failed = None;
            }
            Err(failure) if progress.fails_again(&failure) => return Err(failure),
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
    progress.expire(spec, sets)?;
    let mut is_idle = true;
    for set in sets {
        let limit = spec.canary.resolve_budgets(set.desired).unavailable.max(1);
        for pod in set.choose(&progress.old, limit) {
            is_idle = false;
            match evict(session, pod).await? {
                Eviction::Begun if progress.evicted.insert(pod.uid.clone()) => out.line(format!(
                    "pod/{} evicted ({} of {})",
                    pod.name,
                    progress.evicted.len(),
                    progress.old.len()
                ))?,
                Eviction::Refused(why) if progress.said != why => {
                    out.line(format!("pod/{} has to wait: {why}", pod.name))?;
                    progress.said = why;
                }
                Eviction::Begun | Eviction::Gone | Eviction::Refused(_) => {}
            }
        }
    }
    let missing: i64 = sets.iter().map(Set::missing).sum();
    if is_idle && missing > 0 && !progress.said_waiting {
        let desired: i64 = sets.iter().map(|set| set.desired).sum();
        out.line(format!("waiting for {missing} of {desired} pods to be available"))?;
        progress.said_waiting = true;
    }
    Ok(false)
}

async fn evict(session: &Session, pod: &Seen) -> Result<Eviction, CliError> {
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
        Ok(_) => Ok(Eviction::Begun),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(Eviction::Gone),
        // What a PodDisruptionBudget answers.
        Err(kube::Error::Api(status)) if status.code == 429 => Ok(Eviction::Refused(status.message.clone())),
        Err(error) => {
            let request = Request {
                resource: EVICTION.to_owned(),
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
    let sets = serving.map(|set| build_set(set, &pods, &rollout)).collect();
    Ok((spec, sets))
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

/// A canary may have a single pod: the stable version serves beside it.
fn refuse_single(args: &RestartArgs, sets: &[Set]) -> Result<(), CliError> {
    match !args.force && sets.iter().any(|set| set.is_stable && set.desired == 1) {
        false => Ok(()),
        true => Err(CliError::Refused(format!(
            "{name} has a single pod: nothing serves until its successor does; scale it to 2 first, or use --force",
            name = args.name
        ))),
    }
}

/// Whoever wrote 0 wants no pod to be missing, and an eviction comes before its successor.
fn refuse_zero(args: &RestartArgs, spec: &ValidRollout) -> Result<(), CliError> {
    match !args.force && spec.canary.max_unavailable.is_zero() {
        false => Ok(()),
        true => Err(CliError::Refused(format!(
            "spec.strategy.canary.maxUnavailable of {name} is 0, and a restart takes away one pod at a time; raise it, or \
             use --force",
            name = args.name
        ))),
    }
}

fn hash_of(set: &ReplicaSet) -> Option<&String> {
    set.metadata.labels.as_ref()?.get(HASH_LABEL)
}

/// Of the stable or the current version; older ones go as they are.
fn serves(set: &ReplicaSet, rollout: &Rollout) -> bool {
    let hash = hash_of(set);
    let status = rollout.status.as_ref();
    let serving = status.map(|status| [&status.stable_rs, &status.current_pod_hash]);
    let serving = serving.into_iter().flatten().flatten();
    let owners = set.metadata.owner_references.iter().flatten();
    let is_owned = owners
        .into_iter()
        .any(|owner| Some(&owner.uid) == rollout.metadata.uid.as_ref());
    is_owned && serving.into_iter().any(|serving| Some(&serving.0) == hash)
}

fn build_set(set: &ReplicaSet, pods: &[Pod], rollout: &Rollout) -> Set {
    let stable = rollout.status.as_ref();
    let stable = stable.and_then(|status| status.stable_rs.as_ref().or(status.current_pod_hash.as_ref()));
    let uid = set.metadata.uid.as_ref();
    let is_own = |pod: &&Pod| {
        let mut owners = pod.metadata.owner_references.iter().flatten();
        owners.any(|owner| Some(&owner.uid) == uid)
    };
    let status = set.status.as_ref();
    Set {
        is_stable: stable.map(|hash| &hash.0) == hash_of(set),
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
                is_stable: true,
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
            (4, 2, "ooOO", 3, &["O2", "O3", "o0"]),
            // All at once would be missed if none came back.
            (4, 2, "ooOO", 1, &["O2"]),
            (4, 0, "OOOO", 2, &["O0", "O1"]),
            // The successor of the first is not there yet, is there, and is ready.
            (4, 0, "OOO", 1, &[]),
            (4, 0, "OOON", 1, &[]),
            (4, 0, "OOON", 2, &["O0"]),
            (4, 1, "OOOn", 1, &["O0"]),
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

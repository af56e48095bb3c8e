//! Which news of a status can wait. Every write of the status costs the API server and all who watch; most of what a
//! busy round finds out is overtaken by the next one, moments later.
//!
//! Guarantees: what was decided is written at once, and so are a new phase and that routes and Services send an aborted
//! version nothing any more. Splits of the traffic are on record before the next change of the traffic, unless what is
//! on record asks for as much. Everything else is written when it has lasted a moment, so that a status at rest is
//! complete. What is lost with the controller is found out anew: the settle time begins again.

use chrono::{DateTime, Duration, Utc};

use crate::api::condition::ConditionStatus;
use crate::api::names::Weight;
use crate::api::rollout_status::{
    CanaryStatus, Promotion, RolloutStatus, TrafficSplit, WaitingOn, WaitingReason,
};
use crate::plan::report::AVAILABLE;
use crate::plan::traffic::{Traffic, share_in};
use crate::plan::world::World;

/// What lasts longer is shown.
const MOMENT: Duration = Duration::seconds(3);
/// A wait that ends by itself so soon after it began is not shown at all.
const SHORT_WAIT: Duration = Duration::milliseconds(5_500);
/// However short each wait is, nobody is left in the dark for longer.
const LONGEST: Duration = Duration::seconds(10);

/// When `status` must be written, unless a later round says something else; `None` is now, or there is nothing new.
pub fn due_later(world: &World, status: &RolloutStatus) -> Option<DateTime<Utc>> {
    let written = world.written();
    if !decides_the_same(written, status) || status == written {
        return None;
    }
    let unwritten = world.snapshot.unwritten.as_ref();
    let since = unwritten.map_or(world.now, |unwritten| unwritten.since);
    let last = since + LONGEST;
    let shown = written.waiting_on.as_ref().map(|waiting| waiting.reason);
    let due = match &status.waiting_on {
        Some(waiting) if Some(waiting.reason) != shown && is_short(waiting) && !shown.is_some_and(alarms) => {
            last
        }
        Some(waiting) => since.max(waiting.since) + MOMENT,
        None => since + MOMENT,
    };
    // A clock that went back postpones nothing.
    Some(due.min(last)).filter(|due| *due > world.now && since <= world.now)
}

/// People who read it look for something to mend: it is not shown for longer than it is true.
fn alarms(reason: WaitingReason) -> bool {
    use WaitingReason::{CanaryPods, DataPlane, Invalid, RouteAccepted, RouteContended, StablePods};
    matches!(
        reason,
        CanaryPods | StablePods | RouteAccepted | RouteContended | DataPlane | Invalid
    )
}

fn is_short(waiting: &WaitingOn) -> bool {
    waiting
        .until
        .is_some_and(|until| until <= waiting.since + SHORT_WAIT)
}

/// They differ at most in what the cluster was seen to do, which will be seen again.
fn decides_the_same(written: &RolloutStatus, status: &RolloutStatus) -> bool {
    // That a command was answered is told by the command; until the status is written it is carried out no second time.
    let mut handled = status.handled_commands.iter();
    // People and scripts wait for an abort to have arrived.
    let has_arrived = |status: &RolloutStatus| status.abort && status.spares_current();
    decisions(written) == decisions(status)
        && judgements(status).eq(judgements(written))
        && handled.all(|uid| written.handled_commands.contains(uid))
        && (has_arrived(written) || !has_arrived(status))
}

/// Everything in a status but what was merely seen. Every field is named, so that a new one is sorted in here.
fn decisions(status: &RolloutStatus) -> impl PartialEq {
    let RolloutStatus {
        message: _,
        waiting_on: _,
        conditions: _,
        last_progress_at: _,
        replicas: _,
        updated_replicas: _,
        ready_replicas: _,
        available_replicas: _,
        hpa_replicas: _,
        handled_commands: _,
        kept_until: _,
        observed_generation,
        phase,
        stable_rs,
        current_pod_hash,
        revision,
        revision_started_at,
        hash_algorithm,
        current_step_hash,
        executed_step_hashes,
        current_step_index,
        step,
        verdict,
        promotion,
        fast_track,
        pause_conditions,
        abort,
        aborted_at,
        abort_reason,
        retries,
        canary,
        wanted_replicas,
        former_stable,
        selector,
        history,
    } = status;
    let version = (
        stable_rs,
        current_pod_hash,
        revision,
        revision_started_at,
        hash_algorithm,
        former_stable,
    );
    let steps = (current_step_hash, executed_step_hashes, current_step_index, step);
    // Between its begin and its bake a promotion is where the traffic is, see `promotion`.
    let promotion = promotion.map(|stage| stage == Promotion::Bake);
    let course = (phase, promotion, fast_track, pause_conditions, verdict);
    let end = (abort, aborted_at, abort_reason, retries, history);
    let scale = (observed_generation, wanted_replicas, selector);
    (version, steps, course, end, scale, canary_decisions(canary))
}

fn canary_decisions(canary: &CanaryStatus) -> impl PartialEq {
    let CanaryStatus {
        weights: _,
        routing,
        current_step_analysis_run_status,
        current_background_analysis_run_status,
        bake_analysis_run_status,
        accepted_runs,
        step_hash,
        bake_started_at,
        route_reverts,
    } = canary;
    let analysis = (
        current_step_analysis_run_status,
        current_background_analysis_run_status,
        bake_analysis_run_status,
        accepted_runs,
    );
    let step = (step_hash, bake_started_at);
    (routing, analysis, step, route_reverts)
}

/// Conditions that tell a person or a script to do something; whether pods are available comes and goes.
fn judgements(status: &RolloutStatus) -> impl Iterator<Item = (&str, ConditionStatus)> {
    let conditions = status.conditions.iter();
    let lasting = conditions.filter(|condition| condition.type_ != AVAILABLE);
    lasting.map(|condition| (condition.type_.as_str(), condition.status))
}

/// Every split that may be in effect is in the status as persisted, as far as it makes a difference who is behind
/// a Service without weight. Whatever is seen only is forgotten by a crash once the routes show `next`.
pub fn is_on_record(world: &World, traffic: &Traffic, next: &TrafficSplit) -> bool {
    let recorded = world.written().canary.weights.as_ref();
    let recorded = recorded.map_or(&[][..], |weights| weights.live.as_slice());
    let alike = |one: &TrafficSplit, other: &TrafficSplit| {
        one.canary_weight == other.canary_weight
            && one.stable_hash == other.stable_hash
            && (one.canary_hash == other.canary_hash || one.canary_weight <= Weight::ZERO)
    };
    let is_recorded = |split| recorded.iter().any(|recorded| alike(recorded, split));
    let known: Vec<&TrafficSplit> = recorded.iter().chain([next]).collect();
    let mut live = traffic.weights.live.iter();
    live.all(|split| is_recorded(split) || traffic.verified() && is_covered(split, &known, traffic.max))
}

/// While all of `known` may be in effect, nothing goes, and no Service moves, that `split` has need of.
fn is_covered(split: &TrafficSplit, known: &[&TrafficSplit], max: Weight) -> bool {
    let at_most = |of: &dyn Fn(&TrafficSplit) -> Weight| known.iter().any(|known| of(split) <= of(known));
    let mut versions = [&split.canary_hash, &split.stable_hash].into_iter();
    let mut known_canaries = known.iter().map(|known| known.canary_weight);
    let keeps_canary =
        split.canary_weight <= Weight::ZERO || known_canaries.any(|weight| weight > Weight::ZERO);
    keeps_canary
        && at_most(&|split| Weight(max.0 - split.canary_weight.0))
        && versions.all(|hash| at_most(&|split| share_in(split, hash, max)))
        && known.iter().any(|known| known.stable_hash == split.stable_hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::names::PodTemplateHash;

    fn split((weight, canary, stable): (i64, &str, &str)) -> TrafficSplit {
        TrafficSplit {
            canary_weight: Weight(weight),
            canary_hash: PodTemplateHash(canary.to_owned()),
            stable_hash: PodTemplateHash(stable.to_owned()),
        }
    }

    #[test]
    fn a_split_is_forgotten_only_if_others_ask_for_as_much() {
        let cases = [
            // Full weight, and then the stable Service moves.
            ((100, "v2", "v1"), [(50, "v2", "v1"), (100, "v2", "v2")], true),
            ((100, "v2", "v2"), [(50, "v2", "v1"), (0, "v2", "v2")], true),
            // Between two weights.
            ((50, "v2", "v1"), [(40, "v2", "v1"), (100, "v2", "v1")], true),
            // More for the new version, or for the old one.
            ((60, "v2", "v1"), [(40, "v2", "v1"), (50, "v2", "v1")], false),
            ((30, "v2", "v1"), [(40, "v2", "v1"), (50, "v2", "v1")], false),
            // A version that no other split names, in either Service.
            ((10, "v3", "v1"), [(10, "v2", "v1"), (20, "v2", "v1")], false),
            ((100, "v2", "v3"), [(100, "v2", "v1"), (100, "v2", "v2")], false),
            // Somebody is behind the canary Service, and would seem to be nobody.
            ((10, "v1", "v1"), [(0, "v1", "v1"), (0, "v2", "v1")], false),
        ];
        for (forgotten, known, expected) in cases {
            let known = known.map(split);
            let known: Vec<&TrafficSplit> = known.iter().collect();
            let covered = is_covered(&split(forgotten), &known, Weight(100));
            assert_eq!(covered, expected, "{forgotten:?}");
        }
    }
}

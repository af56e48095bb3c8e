//! Replica arithmetic: how many pods of each version a weight asks for. All in `i64`, which no product of
//! 100,000 pods and a weight of 1,000,000 overflows; saturating where an input could be anything.

use crate::api::names::Weight;

/// ceil(replicas · weight / max). Pods that carry this share of the traffic.
pub fn pods_for_share(replicas: i64, weight: Weight, max: Weight) -> i64 {
    let product = replicas.max(0).saturating_mul(weight.0.max(0));
    div_ceil(product, max.0.max(1))
}

/// The largest weight that `pods` of `replicas` can carry: floor(max · pods / replicas), at most `max`.
pub fn weight_carried_by(pods: i64, replicas: i64, max: Weight) -> Weight {
    if replicas <= 0 {
        return Weight::ZERO;
    }
    Weight((max.0.saturating_mul(pods.max(0)) / replicas).min(max.0))
}

fn div_ceil(number: i64, divisor: i64) -> i64 {
    number.saturating_add(divisor - 1) / divisor
}

/// Sizes of the two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub canary: i64,
    pub stable: i64,
}

/// Weight approximated by the number of pods, without traffic routing: the split of `replicas`, or of one more
/// where a surge is allowed, whose ratio is nearest to the weight. The rules for ties are Argo Rollouts'.
pub fn split_by_weight(replicas: i64, weight: Weight, max: Weight, surge: i64) -> Counts {
    let zero_allowed = weight.0 <= 0 || weight >= max || (replicas == 1 && surge == 0);
    let mut best: Option<(Counts, i64)> = None;
    let totals = if surge > 0 {
        [replicas, replicas + 1]
    } else {
        [replicas, replicas]
    };
    for total in totals {
        let product = replicas.saturating_mul(weight.0);
        let ceil = div_ceil(product, max.0.max(1));
        let floor = product / max.0.max(1);
        let is_half = product.saturating_mul(2) == (2 * floor + 1).saturating_mul(max.0);
        let ceil_fits = total > replicas || ceil < replicas || zero_allowed;
        let floor_fits = !is_half && (floor != 0 || zero_allowed);
        for (count, fits) in [(ceil, ceil_fits), (floor, floor_fits)] {
            let distance = (count.saturating_mul(max.0) - total.saturating_mul(weight.0)).abs();
            // Distances for different totals are compared as fractions: |c·M/total − w|.
            let scaled = distance.saturating_mul(totals.iter().product::<i64>() / total.max(1));
            if fits && best.is_none_or(|(_, smallest)| scaled < smallest) {
                best = Some((
                    Counts {
                        canary: count,
                        stable: total - count,
                    },
                    scaled,
                ));
            }
        }
    }
    best.map_or(
        Counts {
            canary: replicas,
            stable: 0,
        },
        |(counts, _)| counts,
    )
}

/// What is there now: `spec.replicas` and available pods of each version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Present {
    pub canary: i64,
    pub canary_available: i64,
    pub stable: i64,
    pub stable_available: i64,
    /// `spec.replicas` of all older versions together.
    pub older: i64,
    pub older_available: i64,
}

/// One move from what is there toward `target`, inside the budgets: never more than `replicas + surge` pods are
/// asked for, and pods go only while at least `replicas - unavailable` remain available. Stable grows first,
/// older versions shrink before these two (by the caller). Pods that are not available go without that budget, so
/// that a crash-looping side cannot wedge the other, as far as [`Leeway`] allows.
pub fn step_toward(target: Counts, present: Present, replicas: i64, surge: i64, unavailable: i64) -> Counts {
    let mut room = (replicas + surge - present.canary - present.stable - present.older).max(0);
    let mut next = Counts {
        canary: present.canary,
        stable: present.stable,
    };
    for (count, goal) in [
        (&mut next.stable, target.stable),
        (&mut next.canary, target.canary),
    ] {
        let growth = (goal - *count).clamp(0, room);
        *count += growth;
        room -= growth;
    }
    if present.older > 0 {
        return next;
    }
    let mut leeway = Leeway::of(present, replicas, unavailable);
    next.stable = leeway.shrink(next.stable, target.stable, present.stable_available);
    next.canary = leeway.shrink(next.canary, target.canary, present.canary_available);
    next
}

/// How many pods may still go, of one version after the other.
#[derive(Clone, Copy, Debug)]
pub struct Leeway {
    /// Pods that have to remain available.
    enough: i64,
    /// Available pods beyond those.
    spare: i64,
    /// Available pods of all versions.
    available: i64,
}

impl Leeway {
    pub fn of(present: Present, replicas: i64, unavailable: i64) -> Leeway {
        let enough = replicas - unavailable;
        let available = present.canary_available + present.stable_available + present.older_available;
        let spare = (available - enough).max(0);
        Leeway {
            enough,
            spare,
            available,
        }
    }

    /// The size of a version that has `count` pods, `own` of them available, on its way to `goal`.
    pub fn shrink(&mut self, count: i64, goal: i64, own: i64) -> i64 {
        let excess = (count - goal).max(0);
        // A ReplicaSet lets go of pods that are not ready first.
        let free = excess.min(self.idle_may_go(count, own));
        let costly = (excess - free).min(self.spare);
        let left = count - free - costly;
        self.spare -= costly;
        self.available -= own - own.min(left);
        left
    }

    /// How many of a version's pods may go because they are not available. What we know of them may be old: they may
    /// have become available since, or be back in a moment. So it shrinks only to what would be enough if all that
    /// remain were available, with the pods of other versions that surely are.
    fn idle_may_go(&self, count: i64, own: i64) -> i64 {
        let beside = self.available - own;
        (count - own).min(count + beside - self.enough).max(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const M: Weight = Weight(100);

    #[test]
    fn splits_like_the_golden_table() {
        for (replicas, weight, surge, canary, stable) in [
            (10, 10, 1, 1, 9),
            (10, 1, 1, 1, 10),
            (10, 99, 1, 10, 1),
            (10, 30, 3, 3, 7),
            (5, 5, 0, 1, 4),
            (5, 5, 2, 1, 5),
            (1, 5, 1, 1, 1),
            (1, 10, 0, 0, 1),
            (1, 50, 0, 1, 0),
            (1, 50, 1, 1, 1),
            (2, 1, 1, 1, 2),
            (2, 90, 0, 1, 1),
            (3, 33, 1, 1, 2),
            (3, 50, 0, 2, 1),
            (3, 50, 1, 2, 2),
            (4, 25, 1, 1, 3),
            (7, 20, 1, 2, 6),
        ] {
            assert_eq!(
                split_by_weight(replicas, Weight(weight), M, surge),
                Counts { canary, stable },
                "R{replicas} w{weight} S{surge}"
            );
        }
    }

    #[test]
    fn moves_inside_the_budgets() {
        let all_stable = |replicas| Present {
            stable: replicas,
            stable_available: replicas,
            ..Present::default()
        };
        for (replicas, weight, surge, unavailable, canary, stable) in
            [(10, 30, 3, 0, 3, 10), (10, 30, 0, 5, 0, 7), (10, 10, 1, 1, 1, 9)]
        {
            let target = split_by_weight(replicas, Weight(weight), M, surge);
            let next = step_toward(target, all_stable(replicas), replicas, surge, unavailable);
            assert_eq!(
                next,
                Counts { canary, stable },
                "R{replicas} w{weight} S{surge} U{unavailable}"
            );
        }
    }

    #[test]
    fn a_crashing_canary_goes_without_a_budget() {
        let present = Present {
            canary: 3,
            stable: 7,
            stable_available: 7,
            ..Present::default()
        };
        let back = Counts {
            canary: 0,
            stable: 10,
        };
        // Were all three available by now, one of them could be missed.
        assert_eq!(
            step_toward(back, present, 10, 0, 1),
            Counts { canary: 2, stable: 7 }
        );
    }

    #[test]
    fn a_pod_that_is_not_ready_for_a_moment_stays() {
        let present = Present {
            canary: 2,
            stable: 5,
            stable_available: 4,
            ..Present::default()
        };
        let next = step_toward(Counts { canary: 3, stable: 4 }, present, 6, 1, 1);
        assert_eq!(next, Counts { canary: 2, stable: 5 });
    }

    #[test]
    fn shares_round_up_and_weights_round_down() {
        assert_eq!(pods_for_share(10, Weight(5), M), 1);
        assert_eq!(pods_for_share(3, Weight(50), M), 2);
        assert_eq!(pods_for_share(10, Weight::ZERO, M), 0);
        assert_eq!(weight_carried_by(1, 3, M), Weight(33));
        assert_eq!(weight_carried_by(9, 3, M), M);
    }

    /// Pods of a version, those seen to be available, and those that are by now.
    fn seen_and_true() -> impl Strategy<Value = (i64, i64, i64)> {
        (0..30i64, 0..30i64, 0..30i64)
            .prop_map(|(pods, seen, later)| (pods, seen.min(pods), pods.min(seen + later)))
    }

    proptest! {
        #[test]
        fn never_overflows(replicas in 0..=100_000i64, weight in 0..=1_000_000i64, max in 100..=1_000_000i64, surge in 0..3i64) {
            let weight = Weight(weight.min(max));
            let max = Weight(max);
            let counts = split_by_weight(replicas, weight, max, surge);
            prop_assert!(counts.canary >= 0 && counts.stable >= 0);
            prop_assert!(counts.canary + counts.stable <= replicas + 1);
            prop_assert!(pods_for_share(replicas, weight, max) <= replicas);
            let carried = weight_carried_by(pods_for_share(replicas, weight, max), replicas, max);
            prop_assert!(replicas == 0 || carried >= weight);
        }

        #[test]
        fn budgets_hold(replicas in 1..50i64, weight in 0..=100i64, surge in 0..5i64, unavailable in 0..5i64, canary in 0..50i64, stable in 0..50i64) {
            prop_assume!(surge + unavailable > 0);
            let present = Present { canary, canary_available: canary, stable, stable_available: stable, ..Present::default() };
            let next = step_toward(split_by_weight(replicas, Weight(weight), M, surge), present, replicas, surge, unavailable);
            prop_assert!(next.canary + next.stable <= (replicas + surge).max(canary + stable));
            let lost = (canary - next.canary).max(0) + (stable - next.stable).max(0);
            prop_assert!(lost == 0 || canary + stable - lost >= replicas - unavailable);
        }

        #[test]
        fn old_news_cost_no_capacity(
            replicas in 1..30i64, weight in 0..=100i64, surge in 0..4i64, unavailable in 0..4i64,
            (canary, canary_seen, canary_true) in seen_and_true(), (stable, stable_seen, stable_true) in seen_and_true(),
        ) {
            prop_assume!(surge + unavailable > 0);
            let present = Present { canary, canary_available: canary_seen, stable, stable_available: stable_seen, ..Present::default() };
            let next = step_toward(split_by_weight(replicas, Weight(weight), M, surge), present, replicas, surge, unavailable);
            let before = canary_true + stable_true;
            let after = canary_true.min(next.canary) + stable_true.min(next.stable);
            prop_assert!(after >= before.min(replicas - unavailable), "{present:?} to {next:?}");
        }

        #[test]
        fn old_news_of_older_versions_cost_no_capacity(
            replicas in 1..30i64, unavailable in 0..4i64, versions in prop::collection::vec(seen_and_true(), 1..5),
        ) {
            let sum = |of: fn(&(i64, i64, i64)) -> i64| versions.iter().map(of).sum();
            let present = Present { older: sum(|it| it.0), older_available: sum(|it| it.1), ..Present::default() };
            let mut leeway = Leeway::of(present, replicas, unavailable);
            let left: Vec<i64> = versions.iter().map(|(pods, seen, _)| leeway.shrink(*pods, 0, *seen)).collect();
            let after: i64 = versions.iter().zip(&left).map(|((_, _, later), left)| later.min(left)).sum();
            let before: i64 = sum(|it| it.2);
            prop_assert!(after >= before.min(replicas - unavailable), "{versions:?} to {left:?}");
        }

        #[test]
        fn a_broken_canary_goes_whatever_it_is(replicas in 1..30i64, weight in 1..100i64, surge in 0..4i64, unavailable in 0..4i64) {
            prop_assume!(surge + unavailable > 0);
            let counts = split_by_weight(replicas, Weight(weight), M, surge);
            let mut now = Counts { canary: counts.canary.min(replicas + surge), stable: counts.stable };
            for _ in 0..=2 * (replicas + surge) {
                let present = Present { canary: now.canary, stable: now.stable, stable_available: now.stable, ..Present::default() };
                now = step_toward(Counts { canary: 0, stable: replicas }, present, replicas, surge, unavailable);
            }
            prop_assert_eq!(now, Counts { canary: 0, stable: replicas });
        }
    }
}

//! Shares of traffic as routes state them, and what several routes say together. Rounds up on both sides: a
//! caller that keeps capacity for what it reads here never keeps too little.

use crate::api::names::Weight;

/// What all routes of a Rollout say about the canary, in parts of `maxTrafficWeight`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightState {
    /// Every route is confirmed absent: no traffic is split.
    Absent,
    /// Every route gives the canary this share and stable the rest.
    Is(Weight),
    /// Routes or rules disagree, or cannot be read: the most that each side may be given.
    Mixed { canary_max: Weight, stable_max: Weight },
}

impl WeightState {
    /// The canary's share; where routes disagree, the most it may get.
    pub fn canary_max(self) -> Weight {
        match self {
            WeightState::Absent => Weight::ZERO,
            WeightState::Is(weight) => weight,
            WeightState::Mixed { canary_max, .. } => canary_max,
        }
    }
}

/// The most that one rule may give each side, in parts of the maximal weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    canary: i64,
    stable: i64,
}

impl Share {
    /// A rule that weighs the canary against stable; the weights may be of any scale.
    pub fn of(canary: i64, stable: i64, max: i64) -> Self {
        let (canary, stable) = (i128::from(canary.max(0)), i128::from(stable.max(0)));
        let sum = canary + stable;
        let scale = |weight: i128| match sum {
            0 => 0,
            _ => i64::try_from((weight * i128::from(max) + sum - 1) / sum).unwrap_or(max),
        };
        Share {
            canary: scale(canary),
            stable: scale(stable),
        }
    }

    /// A rule that leads to stable only.
    pub fn all_stable(max: i64) -> Self {
        Share {
            canary: 0,
            stable: max,
        }
    }

    /// A rule that may say anything.
    pub fn unknown(max: i64) -> Self {
        Share {
            canary: max,
            stable: max,
        }
    }
}

/// What the rules say together; without any rule there is no route.
pub fn combine(shares: &[Share], max: i64) -> WeightState {
    let canary = shares.iter().map(|share| share.canary).max();
    let stable = shares.iter().map(|share| share.stable).max();
    match (canary, stable) {
        (Some(canary), Some(stable)) if canary.saturating_add(stable) == max => {
            WeightState::Is(Weight(canary))
        }
        (Some(canary), Some(stable)) => WeightState::Mixed {
            canary_max: Weight(canary),
            stable_max: Weight(stable),
        },
        _ => WeightState::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed(canary_max: i64, stable_max: i64) -> WeightState {
        WeightState::Mixed {
            canary_max: Weight(canary_max),
            stable_max: Weight(stable_max),
        }
    }

    #[test]
    fn one_rule() {
        for (canary, stable, max, want) in [
            (20, 80, 100, WeightState::Is(Weight(20))),
            (1, 1, 100, WeightState::Is(Weight(50))),
            (10, 90, 1000, WeightState::Is(Weight(100))),
            (0, 1, 100, WeightState::Is(Weight(0))),
            (1, 0, 100, WeightState::Is(Weight(100))),
            (1, 2, 100, mixed(34, 67)),
            (0, 0, 100, mixed(0, 0)),
            (-5, 105, 100, WeightState::Is(Weight(0))),
            (i64::MAX, i64::MAX, 100, WeightState::Is(Weight(50))),
        ] {
            assert_eq!(
                combine(&[Share::of(canary, stable, max)], max),
                want,
                "{canary}/{stable}"
            );
        }
    }

    #[test]
    fn several_rules_keep_the_most_of_each_side() {
        let of = |canary| Share::of(canary, 100 - canary, 100);
        assert_eq!(combine(&[], 100), WeightState::Absent);
        assert_eq!(combine(&[of(20), of(20)], 100), WeightState::Is(Weight(20)));
        assert_eq!(combine(&[of(20), of(50)], 100), mixed(50, 80));
        assert_eq!(combine(&[of(20), Share::all_stable(100)], 100), mixed(20, 100));
        assert_eq!(combine(&[of(20), Share::unknown(100)], 100), mixed(100, 100));
    }
}

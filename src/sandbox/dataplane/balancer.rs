//! Traefik's weighted round robin: earliest deadline first, deterministic, and forgotten at every reload. That is why a
//! canary of weight 1 gets nothing of the first 99 requests, and nothing at all under frequent reloads.

/// Deals out turns by weight.
#[derive(Clone, Debug)]
pub(super) struct Balancer {
    turns: Vec<Turns>,
}

#[derive(Clone, Debug)]
struct Turns {
    weight: u64,
    served: u64,
}

impl Balancer {
    pub(super) fn new(weights: impl IntoIterator<Item = u64>) -> Self {
        Balancer {
            turns: weights
                .into_iter()
                .map(|weight| Turns { weight, served: 0 })
                .collect(),
        }
    }

    /// The index of the next in turn; none when no weight is positive.
    ///
    /// The next deadline of a member is `(served + 1) / weight`; ties go to the member listed first.
    pub(super) fn next(&mut self) -> Option<usize> {
        let (index, _) = self
            .turns
            .iter()
            .enumerate()
            .filter(|(_, turns)| turns.weight > 0)
            .min_by(|(_, a), (_, b)| {
                let (left, right) = (u128::from(a.served) + 1, u128::from(b.served) + 1);
                (left * u128::from(b.weight)).cmp(&(right * u128::from(a.weight)))
            })?;
        self.turns.get_mut(index)?.served += 1;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_weight_1_the_first_99_requests_go_to_stable() {
        let mut balancer = Balancer::new([99, 1]);
        let first: Vec<_> = (0..99).map(|_| balancer.next().unwrap()).collect();
        assert!(first.iter().all(|index| *index == 0));
        assert_eq!(balancer.next(), Some(1));
    }

    #[test]
    fn shares_are_exact() {
        for weight in [0u64, 1, 5, 25, 50, 75, 100] {
            let mut balancer = Balancer::new([100 - weight, weight]);
            let canary = (0..2000).filter(|_| balancer.next() == Some(1)).count() as u64;
            assert_eq!(canary, weight * 20, "weight {weight}");
        }
    }

    #[test]
    fn no_positive_weight_serves_nobody() {
        assert_eq!(Balancer::new([0, 0]).next(), None);
        assert_eq!(Balancer::new([]).next(), None);
    }
}

//! Whether a measured share of requests is the one that was wanted. A share alone says nothing: 1 of 10 requests may
//! come of a weight of 2 as well as of 30. So the number of requests decides how far the two may be apart, by the
//! Wilson score interval (E. B. Wilson, 1927), which holds for small shares and few requests too:
//!
//! ```text
//! (p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n)
//! ```
//!
//! A share agrees when the interval has the wanted share and none of those that it must be told from: those of every
//! weight that may still be in effect, and nothing and everything, which is what a data plane shows that ignores the
//! weight.

/// Of 99.9 %, on both sides: one in a thousand answers of a data plane that does as it is told is not believed, and is
/// asked for again.
const Z: f64 = 3.290_526_731;
/// Shares are quotients of numbers that were extrapolated.
const ROUNDING: f64 = 1e-9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    Agrees,
    /// It cannot be the wanted share.
    Differs,
    /// It may be the wanted share or another; of about so many requests it could be told.
    TooFew {
        needed: u64,
    },
}

/// `share` is of `requests`; it is told from each of `others`. All shares are 0 to 1.
pub fn compare(wanted: f64, others: &[f64], share: f64, requests: f64) -> Reading {
    let mut others = others.to_vec();
    others.extend([0.0, 1.0]);
    others.retain(|other| (other - wanted).abs() > ROUNDING);
    let requests = requests.floor();
    let hits = (share * requests).round();
    // Nothing is nothing and everything is everything, of however many requests.
    if (wanted <= 0.0 && hits > 0.0) || (wanted >= 1.0 && hits < requests) {
        return Reading::Differs;
    }
    let (low, high) = interval((hits / requests).clamp(0.0, 1.0), requests);
    let contains = |share: &f64| *share >= low - ROUNDING && *share <= high + ROUNDING;
    if requests >= 1.0 && !contains(&wanted) {
        return Reading::Differs;
    }
    if requests < 1.0 || others.iter().any(contains) {
        let needed = others.iter().map(|other| enough_to_tell(wanted, *other));
        return Reading::TooFew {
            needed: needed.fold(1.0, f64::max).ceil() as u64,
        };
    }
    Reading::Agrees
}

fn interval(share: f64, requests: f64) -> (f64, f64) {
    let square = Z * Z / requests;
    let middle = share + square / 2.0;
    let half = Z * (share * (1.0 - share) / requests + square / (4.0 * requests)).sqrt();
    ((middle - half) / (1.0 + square), (middle + half) / (1.0 + square))
}

/// Requests of which about `wanted` were hits, so that the interval ends short of `other`.
fn enough_to_tell(wanted: f64, other: f64) -> f64 {
    let apart = (wanted - other).abs();
    let spread = wanted * (1.0 - wanted);
    if spread > 0.0 {
        Z * Z * spread / (apart * apart)
    } else {
        Z * Z * (1.0 - apart) / apart
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_wilsons() {
        for (share, requests, low, high) in [
            (0.0, 10.0, 0.0, 0.519_87),
            (1.0, 100.0, 0.902_30, 1.0),
            (0.5, 100.0, 0.343_72, 0.656_28),
            (0.1, 1_000.0, 0.072_94, 0.135_63),
        ] {
            let (found_low, found_high) = interval(share, requests);
            assert!(
                (found_low - low).abs() < 2e-5,
                "{share} of {requests}: {found_low}"
            );
            assert!(
                (found_high - high).abs() < 2e-5,
                "{share} of {requests}: {found_high}"
            );
        }
    }

    #[test]
    fn a_share_agrees_when_it_cannot_be_another() {
        use Reading::{Agrees, Differs};
        let few = |needed| Reading::TooFew { needed };
        for (wanted, others, share, requests, reading) in [
            // Raised from 0.1 to 0.5.
            (0.5, &[0.1][..], 0.5, 100.0, Agrees),
            (0.5, &[0.1], 0.47, 100.0, Agrees),
            (0.5, &[0.1], 0.1, 100.0, Differs),
            (0.5, &[0.1], 0.3, 10.0, few(17)),
            (0.5, &[0.1], 0.0, 0.4, few(17)),
            // A data plane that ignores the weight shows nothing, or everything.
            (0.1, &[0.0], 0.0, 40.0, few(98)),
            (0.1, &[0.0], 0.0, 98.0, Differs),
            (0.1, &[0.0], 0.1, 100.0, Agrees),
            (0.1, &[0.0], 1.0, 100.0, Differs),
            (0.01, &[], 0.01, 100.0, Agrees),
            (0.01, &[], 0.0, 500.0, few(1_072)),
            // One part in a hundred more is told by many requests only.
            (0.51, &[0.5], 0.51, 1_000.0, few(27_059)),
            (0.51, &[0.5], 0.51, 30_000.0, Agrees),
            // No request at all, of enough.
            (0.0, &[0.5], 0.0, 10.0, few(11)),
            (0.0, &[0.5], 0.0, 11.0, Agrees),
            (0.0, &[0.5], 0.001, 1_000.0, Differs),
            (0.0, &[], 0.0, 1.0, Agrees),
            (0.0, &[], 0.0, 0.0, few(1)),
            // Every request.
            (1.0, &[0.5], 1.0, 11.0, Agrees),
            (1.0, &[0.5], 0.999_999, 11.0, Agrees),
            (1.0, &[0.5], 0.99, 1_000.0, Differs),
        ] {
            let found = compare(wanted, others, share, requests);
            assert_eq!(found, reading, "{wanted} {others:?}: {share} of {requests}");
        }
    }
}

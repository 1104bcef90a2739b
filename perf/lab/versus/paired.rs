//! Ratios of what was measured in pairs. Must never touch: what the figures mean.

use crate::stats::median;
use coretide_stdx::prng::Prng;
use serde::{Deserialize, Serialize};

/// How often the pairs are drawn anew.
const DRAWS: usize = 10_000;

/// The median of paired ratios.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// The median.
    pub ratio: f64,
    /// Its 95 % interval by bootstrap.
    pub interval: [f64; 2],
    /// The ratios, in the order of the pairs.
    pub pairs: Vec<f64>,
}

/// The ratios of `(value, base)`; none without a pair, or where a base is zero.
pub fn paired(both: &[(f64, f64)], seed: u64) -> Option<Paired> {
    if both.is_empty() || both.iter().any(|(_, base)| *base <= 0.0) {
        return None;
    }
    let pairs: Vec<f64> = both.iter().map(|(value, base)| value / base).collect();
    let mut rng = Prng::new(seed);
    let mut medians: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let drawn: Vec<f64> = pairs.iter().map(|_| pairs[rng.below(pairs.len() as u64) as usize]).collect();
            median(&drawn)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    let interval = [medians[DRAWS * 25 / 1000], medians[DRAWS * 975 / 1000 - 1]];
    Some(Paired { ratio: median(&pairs), interval, pairs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_holds_the_median_and_is_the_same_for_the_same_seed() {
        let both = [(20.0, 10.0), (33.0, 11.0), (21.0, 10.0), (25.0, 10.0), (22.0, 10.0)];
        let found = paired(&both, 7).unwrap();
        assert_eq!(found.ratio, 2.2);
        assert_eq!(found.pairs.len(), 5);
        let [low, high] = found.interval;
        assert!((2.0..2.2).contains(&low) && (2.2..=3.0).contains(&high) && low < high, "{found:?}");
        assert_eq!(paired(&both, 7).unwrap(), found);
    }

    #[test]
    fn five_equal_pairs_leave_no_doubt_and_no_pairs_say_nothing() {
        assert_eq!(paired(&[(4.0, 2.0); 5], 1).unwrap().interval, [2.0, 2.0]);
        assert_eq!(paired(&[], 1), None);
        assert_eq!(paired(&[(1.0, 0.0)], 1), None);
    }
}

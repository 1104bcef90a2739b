//! Medians, ratios of pairs, and how sure one may be of them.
//! Must never touch: what the numbers mean.

use coretide_stdx::prng::Prng;

use crate::stats;

/// How often the pairs are drawn anew.
const RESAMPLES: usize = 10_000;
/// The interval leaves out this part on each side: 95 % are inside.
const OUTSIDE_EACH: f64 = 0.025;

/// The middle value, or the mean of the two middle ones; NaN without values.
pub fn median(values: &[f64]) -> f64 {
    if values.is_empty() { f64::NAN } else { stats::median(values) }
}

/// The 95 % interval of the values' median by the percentile bootstrap.
pub fn interval(values: &[f64], seed: u64) -> [f64; 2] {
    if values.is_empty() {
        return [f64::NAN; 2];
    }
    let mut rng = Prng::new(seed);
    let mut drawn = vec![0.0; values.len()];
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            drawn.fill_with(|| values[rng.below(values.len() as u64) as usize]);
            median(&drawn)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    let last = RESAMPLES - 1;
    let low = (OUTSIDE_EACH * last as f64).floor() as usize;
    [medians[low], medians[last - low]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn intervals_hold_the_median_and_shrink_with_more_values() {
        let few: Vec<f64> = (0..5).map(|n| 1.0 + f64::from(n) * 0.1).collect();
        let many: Vec<f64> = (0..200).map(|n| 1.0 + f64::from(n % 5) * 0.1).collect();
        for values in [&few, &many] {
            let [low, high] = interval(values, 7);
            assert!(low <= median(values) && median(values) <= high);
        }
        let width = |values: &[f64]| interval(values, 7)[1] - interval(values, 7)[0];
        assert!(width(&many) < width(&few), "{} {}", width(&many), width(&few));
        assert_eq!(interval(&few, 7), interval(&few, 7), "the same seed gives the same interval");
        assert_eq!(interval(&[2.0, 2.0, 2.0], 1), [2.0, 2.0]);
    }

    /// Of samples whose true median is 0, about 95 % of the intervals must hold it.
    #[test]
    fn ninety_five_percent_means_that() {
        let mut rng = Prng::new(3);
        let mut held = 0;
        for seed in 0..100 {
            let values: Vec<f64> = (0..25).map(|_| rng.below(2_000_001) as f64 - 1e6).collect();
            let [low, high] = interval(&values, seed);
            held += u32::from(low <= 0.0 && 0.0 <= high);
        }
        assert!((88..=100).contains(&held), "{held}");
    }
}

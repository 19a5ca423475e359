//! A quantile such as the 95th percentile of latency, with an interval that needs no distribution: two of the sorted values.
//! Knows nothing about units; a timeout is plus infinity, never dropped, and the rows count as independent.

use super::binomial;
use crate::Error;

/// A quantile with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantile {
    /// The smallest value that at least this share of the values does not exceed.
    pub value: f64,
    /// Lower end; minus infinity where there are too few values to have one.
    pub low: f64,
    /// Upper end; plus infinity where it is a timeout or there are too few values to have one.
    pub high: f64,
    /// Number of values, timeouts included.
    pub n: usize,
}

/// The ranks, counted from 1, of the interval of the quantile `share` of `n` values: Bin⁻¹(α/2) and Bin⁻¹(1 − α/2) + 1.
///
/// Rank 0 and rank n + 1 mean that no value is low or high enough.
pub fn ranks(n: u64, share: f64, level: f64) -> (u64, u64) {
    let tail = (1.0 - level) / 2.0;
    (binomial::quantile(tail, n, share), binomial::quantile(1.0 - tail, n, share) + 1)
}

/// The quantile `share` of `values` with its interval; for one-sided bounds with error rate α ask for the level 1 − 2α.
///
/// # Errors
/// Without a value, with one that is not a number, or when `share` is not between 0 and 1.
pub fn quantile(values: &[f64], share: f64, level: f64) -> Result<Quantile, Error> {
    if values.is_empty() || values.iter().any(|value| value.is_nan()) || !(share > 0.0 && share < 1.0) {
        let problem = "needs values that are numbers, and a share between 0 and 1";
        return Err(Error::BadStatistic { statistic: "quantile", problem });
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let n = sorted.len();
    let at = |rank: usize| rank.checked_sub(1).and_then(|at| sorted.get(at)).copied();
    let (low, high) = ranks(n as u64, share, level);
    // A product such as 0.95 · 20 may end just above the whole number that it is.
    let rank = ((n as f64 * share - 1e-9).ceil() as usize).clamp(1, n);
    Ok(Quantile {
        value: at(rank).unwrap_or(f64::NAN),
        low: at(low as usize).unwrap_or(f64::NEG_INFINITY),
        high: at(high as usize).unwrap_or(f64::INFINITY),
        n,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    // `quantile ranks 400 .95` in oracles/reference_values.json.
    #[test]
    fn the_ranks_equal_the_reference() {
        assert_eq!(ranks(400, 0.95, 0.95), (371, 389));
    }

    #[test]
    fn the_interval_is_two_of_the_values() {
        let values: Vec<f64> = (1..=400).rev().map(f64::from).collect();
        let found = quantile(&values, 0.95, 0.95).unwrap();
        assert_eq!(found, Quantile { value: 380.0, low: 371.0, high: 389.0, n: 400 });
    }

    #[test]
    fn timeouts_stay_in_the_count() {
        let mut values: Vec<f64> = (1..=400).map(f64::from).collect();
        values[388..].fill(f64::INFINITY);
        let found = quantile(&values, 0.95, 0.95).unwrap();
        assert_eq!((found.value, found.high), (380.0, f64::INFINITY));
        values.fill(f64::INFINITY);
        assert_eq!(quantile(&values, 0.5, 0.95).unwrap().low, f64::INFINITY);
    }

    #[test]
    fn a_few_values_have_no_upper_end() {
        let found = quantile(&[1.0, 2.0, 3.0], 0.95, 0.95).unwrap();
        assert_eq!((found.value, found.high), (3.0, f64::INFINITY));
        assert_eq!(quantile(&[1.0, 2.0], 0.05, 0.95).unwrap().low, f64::NEG_INFINITY);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        assert!(quantile(&[], 0.5, 0.95).is_err());
        assert!(quantile(&[f64::NAN], 0.5, 0.95).is_err());
        assert!(quantile(&[1.0], 1.0, 0.95).is_err());
    }
}

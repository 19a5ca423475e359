//! What a bootstrap drew, and the bounds read off it: percentile and BCa, one-sided and two-sided.
//! Knows nothing about how the draws were made.

use crate::stats::quantile;

/// The values of a statistic on all draws.
#[derive(Clone, Debug, PartialEq)]
pub struct Draws {
    /// The value on the rows themselves.
    pub observed: f64,
    /// The values on the draws, sorted; those that are not a number are not among them.
    pub sorted: Vec<f64>,
    /// Draws on which the statistic is not a number, as a ratio without a denominator is. Every bound counts them as its worst case.
    pub undefined: usize,
    /// The acceleration of BCa, from leaving out one cluster at a time; none when a value is not a number or nothing moves,
    /// or when there are more kinds of clusters than draws, which a bootstrap of that many rows does not need.
    pub acceleration: Option<f64>,
}

impl Draws {
    pub(super) fn new(observed: f64, values: Vec<f64>, leave_one_out: &[(f64, u32)]) -> Self {
        let num_values = values.len();
        let mut sorted: Vec<f64> = values.into_iter().filter(|value| !value.is_nan()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let undefined = num_values - sorted.len();
        Self { observed, sorted, undefined, acceleration: acceleration(leave_one_out) }
    }

    /// Whether the draws differ by more than rounding; draws that all agree say nothing about how sure a value is.
    pub fn has_spread(&self) -> bool {
        match (self.sorted.first(), self.sorted.last()) {
            (Some(first), Some(last)) => last - first >= 1e-12,
            _ => false,
        }
    }

    /// The standard deviation of the draws; none without a spread or with an undefined draw.
    pub fn standard_error(&self) -> Option<f64> {
        if self.undefined > 0 || !self.has_spread() {
            return None;
        }
        let n = self.sorted.len() as f64;
        let mean = self.sorted.iter().sum::<f64>() / n;
        Some((self.sorted.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt())
    }

    /// The one-sided lower percentile bound: the floor(`alpha`·B)-th smallest draw, at least the first.
    pub fn lower(&self, alpha: f64) -> f64 {
        let at = self.rank(alpha).checked_sub(self.undefined + 1);
        at.and_then(|at| self.sorted.get(at)).copied().unwrap_or(f64::NEG_INFINITY)
    }

    /// The one-sided upper percentile bound: the floor(`alpha`·B)-th largest draw, at least the last.
    pub fn upper(&self, alpha: f64) -> f64 {
        let at = self.rank(alpha).checked_sub(self.undefined + 1);
        at.and_then(|at| self.sorted.iter().rev().nth(at)).copied().unwrap_or(f64::INFINITY)
    }

    /// The two-sided percentile interval.
    pub fn percentile(&self, level: f64) -> (f64, f64) {
        let tail = (1.0 - level) / 2.0;
        (self.lower(tail), self.upper(tail))
    }

    /// Both one-sided BCa bounds (Efron 1987), each with error rate `alpha`.
    ///
    /// None where the method has no answer: no spread, an undefined draw, or the observed value outside all draws.
    pub fn bca_bounds(&self, alpha: f64) -> Option<(f64, f64)> {
        if self.undefined > 0 || !self.has_spread() {
            return None;
        }
        let acceleration = self.acceleration?;
        // Ties count half, so that a statistic with few values is not shifted; rounding does not break them.
        let slack = 1e-12 * self.observed.abs().max(1.0);
        let below = self.sorted.partition_point(|&value| value < self.observed - slack);
        let not_above = self.sorted.partition_point(|&value| value <= self.observed + slack);
        let share = (below + not_above) as f64 / (2 * self.sorted.len()) as f64;
        if share <= 0.0 || share >= 1.0 {
            return None;
        }
        let bias = quantile::normal(share);
        let adjusted = |z: f64| {
            let scale = 1.0 - acceleration * (bias + z);
            // Beyond the pole of the formula the bound is the end of the draws.
            if scale > 0.0 { bias + (bias + z) / scale } else { z.signum() * f64::INFINITY }
        };
        let z = quantile::normal(alpha);
        let (low, high) = (quantile::normal_cdf(adjusted(z)), quantile::normal_cdf(-adjusted(-z)));
        Some((self.lower(low), self.upper(high)))
    }

    /// The two-sided BCa interval.
    pub fn bca(&self, level: f64) -> Option<(f64, f64)> {
        self.bca_bounds((1.0 - level) / 2.0)
    }

    fn rank(&self, alpha: f64) -> usize {
        let num_draws = self.sorted.len() + self.undefined;
        // A product such as 10 000 · 0.05 may end just below the whole number that it is.
        ((num_draws as f64 * alpha + 1e-9).floor() as usize).max(1)
    }
}

/// Skewness of the jackknife values over six; each value comes with the number of clusters that share it.
fn acceleration(leave_one_out: &[(f64, u32)]) -> Option<f64> {
    let n: f64 = leave_one_out.iter().map(|&(_, count)| f64::from(count)).sum();
    let mean = leave_one_out.iter().map(|&(value, count)| value * f64::from(count)).sum::<f64>() / n;
    let moment = |power: i32| leave_one_out.iter().map(|&(v, count)| f64::from(count) * (mean - v).powi(power)).sum();
    let (squares, cubes): (f64, f64) = (moment(2), moment(3));
    let found = cubes / (6.0 * squares.powf(1.5));
    found.is_finite().then_some(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn hundred(undefined: usize) -> Draws {
        let mut values: Vec<f64> = (1..=100 - undefined as i32).rev().map(f64::from).collect();
        values.extend(vec![f64::NAN; undefined]);
        Draws::new(50.0, values, &[(1.0, 1), (2.0, 1), (3.0, 1)])
    }

    #[test]
    fn bounds_are_the_draws_of_their_rank() {
        let draws = hundred(0);
        assert_eq!((draws.lower(0.05), draws.upper(0.05)), (5.0, 96.0));
        assert_eq!((draws.lower(0.001), draws.upper(0.001)), (1.0, 100.0));
        assert_eq!(draws.percentile(0.9), (5.0, 96.0));
        assert!((draws.standard_error().unwrap() - 29.011_491_975_882_016).abs() < 1e-12);
    }

    #[test]
    fn draws_without_a_value_are_the_worst_case_of_every_bound() {
        let draws = hundred(3);
        assert_eq!((draws.undefined, draws.sorted.len()), (3, 97));
        assert_eq!((draws.lower(0.05), draws.upper(0.05)), (2.0, 96.0));
        assert_eq!((draws.lower(0.03), draws.upper(0.03)), (f64::NEG_INFINITY, f64::INFINITY));
        assert_eq!((draws.bca(0.9), draws.standard_error()), (None, None));
    }

    #[test]
    fn without_bias_and_skew_bca_is_the_percentile_interval() {
        let mut draws = hundred(0);
        draws.observed = 50.5;
        assert_eq!(draws.acceleration, Some(0.0));
        assert_eq!(draws.bca(0.9), Some((5.0, 96.0)));
        draws.observed = 0.0;
        assert_eq!(draws.bca(0.9), None);
    }

    #[test]
    fn no_spread_is_not_an_interval() {
        let draws = Draws::new(1.0, vec![1.0; 10], &[(1.0, 10)]);
        assert!(!draws.has_spread());
        assert_eq!((draws.bca(0.9), draws.standard_error(), draws.acceleration), (None, None, None));
    }
}

//! The asymptotic confidence sequence of a mean, for display and large samples (Waudby-Smith et al. 2024, arXiv 2103.06476).
//! Knows nothing about ranges: it trusts the variance, so it is not to be read early; the betting process is the one that decides.

use serde::{Deserialize, Serialize};

/// No look before this many observations: the variance would not be known well enough.
pub const FIRST_LOOK: u64 = 100;

/// The mixture width that makes the two-sided sequence tightest at `best_at` observations; for a one-sided one pass 2·alpha.
pub fn tuning_rho(alpha: f64, best_at: f64) -> f64 {
    let log = -2.0 * alpha.ln();
    ((log + (log + 1.0).ln()) / best_at).sqrt()
}

/// Half the width of the two-sided sequence after `n` observations with this variance.
pub fn half_width(n: f64, variance: f64, alpha: f64, rho: f64) -> f64 {
    let k = n * rho * rho;
    (variance * 2.0 * (k + 1.0) / (k * n) * ((k + 1.0).sqrt() / alpha).ln()).sqrt()
}

/// The distance of the one-sided bound from the mean; `rho` is that of 2·alpha.
pub fn half_width_one_sided(n: f64, variance: f64, alpha: f64, rho: f64) -> f64 {
    let k = n * rho * rho;
    (variance * 2.0 * (k + 1.0) / (k * n) * (1.0 + (k + 1.0).sqrt() / (2.0 * alpha)).ln()).sqrt()
}

/// A running mean with its anytime-valid bounds, whose state can be stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunningMean {
    n: u64,
    mean: f64,
    /// Sum of squared distances from the mean, kept up to date without cancellation (Welford 1962).
    squares: f64,
}

impl RunningMean {
    /// Takes one observation.
    pub fn observe(&mut self, value: f64) {
        self.n += 1;
        let before = value - self.mean;
        self.mean += before / self.n as f64;
        self.squares += before * (value - self.mean);
    }

    /// The mean so far.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Observations so far.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// The variance so far, with n in the denominator.
    pub fn variance(&self) -> f64 {
        self.squares / self.n.max(1) as f64
    }

    /// Both one-sided bounds, each with error rate `alpha`, tightest at `best_at` observations.
    ///
    /// None before [`FIRST_LOOK`], and while all observations agree: no spread is no certainty.
    pub fn one_sided_bounds(&self, alpha: f64, best_at: f64) -> Option<(f64, f64)> {
        self.around(|n, variance| half_width_one_sided(n, variance, alpha, tuning_rho(2.0 * alpha, best_at)))
    }

    /// The two-sided interval, under the same conditions.
    pub fn interval(&self, alpha: f64, best_at: f64) -> Option<(f64, f64)> {
        self.around(|n, variance| half_width(n, variance, alpha, tuning_rho(alpha, best_at)))
    }

    fn around(&self, half_width: impl Fn(f64, f64) -> f64) -> Option<(f64, f64)> {
        if self.n < FIRST_LOOK || self.variance() < 1e-12 {
            return None;
        }
        let half = half_width(self.n as f64, self.variance());
        Some((self.mean - half, self.mean + half))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::stats::quantile;

    fn close(found: f64, expect: f64) {
        assert!((found - expect).abs() < 1e-12, "{found} is not {expect}");
    }

    // `asympCS` in oracles/statistics.json; `rho .05 500` and `asymptotic …` in oracles/reference_values.json.
    #[test]
    fn widths_equal_the_oracles() {
        let rho = tuning_rho(0.05, 500.0);
        close(rho, 0.125_985_353_130_731_56);
        close(half_width(100.0, 0.25, 0.05, rho), 0.168_194_386_289_139_05);
        close(half_width(500.0, 0.25, 0.05, rho), 0.067_869_336_283_998_06);
        close(half_width(5000.0, 0.25, 0.05, rho), 0.022_922_444_188_455_692);
        close(half_width_one_sided(500.0, 0.25, 0.05, tuning_rho(0.1, 500.0)), 0.062_142_436_260_388_31);
    }

    // `fixedn CLT 500` of `asympCS` in oracles/statistics.json: what one look at 500 would give.
    #[test]
    fn looking_always_costs_width() {
        let once = quantile::normal(0.975) * (0.25_f64 / 500.0).sqrt();
        // The oracle took 1.959964 for the quantile.
        assert!((once - 0.043_826_127_374_523_974).abs() < 1e-9);
        assert!(half_width(500.0, 0.25, 0.05, tuning_rho(0.05, 500.0)) > 1.5 * once);
    }

    #[test]
    fn the_running_mean_is_not_read_early_or_without_a_spread() {
        let mut running = RunningMean::default();
        for step in 0..100 {
            assert_eq!(running.interval(0.05, 500.0), None, "{step}");
            running.observe(1e6 + f64::from(step % 2));
        }
        let (low, high) = running.interval(0.05, 500.0).unwrap();
        close(running.variance(), 0.25);
        assert!((0.5 * (high - low) - 0.168_194_386_289_139_05).abs() < 1e-9 && running.mean() == 1e6 + 0.5);
        assert!(running.one_sided_bounds(0.05, 500.0).unwrap().0 > low);
        let mut constant = RunningMean::default();
        (0..500).for_each(|_| constant.observe(0.0));
        assert_eq!((constant.interval(0.05, 500.0), constant.n()), (None, 500));
    }
}

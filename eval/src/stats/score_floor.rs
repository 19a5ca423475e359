//! How few independent rows a clustered sample is worth, and Tango's score bound on that many.
//! Knows nothing about t tests or verdicts.
//!
//! Rao and Scott (1992): divide counts and rows by the design effect 1 + ρ·Σn_g(n_g − 1)/n and use the method for independent rows.
//! Their ρ is an estimate, and with rare flips a bad one: it is seen only where a group flipped.
//! So it is shrunk towards 1 with the weight of one flipped group: ρ = (G·ρ̂ + 1)/(G + 1), where G is the participation ratio
//! (Σq)²/Σq² of the groups' squared differences q, the number of groups that the evidence really comes from.
//! No flip at all gives ρ = 1: the groups are the only evidence. The weight 1 is measured, not derived: simulated false approvals
//! at a loss equal to the margin stay at 5 % where weight 0 lets up to 26 % through (`tests/oracles/clustered_bounds.py`).

use super::non_inferiority::normal_upper_tail;
use super::{Clusters, tango};

/// Counts as if rows were independent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ScoreFloor {
    losses: f64,
    gains: f64,
    /// Effective rows.
    pub(crate) rows: f64,
    /// The size of one step of the difference: 1 for right-or-wrong rows.
    unit: f64,
    /// The shrunk correlation of two rows of one group.
    pub(crate) correlation: f64,
}

impl ScoreFloor {
    /// `differences` lie in [−1, 1], are in the order of the rows of `clusters`, and not empty.
    pub(crate) fn new(differences: &[f64], clusters: &Clusters) -> Self {
        let n = differences.len() as f64;
        let mean = differences.iter().sum::<f64>() / n;
        let sizes = clusters.sums(differences.iter().map(|_| 1.0));
        let pairs: f64 = sizes.iter().map(|size| size * (size - 1.0)).sum();
        let residual: f64 = differences.iter().map(|d| (d - mean) * (d - mean)).sum();
        let between: f64 = clusters.sums(differences.iter().map(|d| d - mean)).iter().map(|sum| sum * sum).sum();
        let energy = clusters.sums(differences.iter().map(|d| d * d));
        let (sum, squares) = energy.iter().fold((0.0, 0.0), |(sum, squares), q| (sum + q, squares + q * q));
        let sources = if squares > 0.0 { sum * sum / squares } else { 0.0 };
        let estimate =
            if residual > 1e-12 && pairs > 0.0 { (between - residual) * n / (residual * pairs) } else { 1.0 };
        let correlation = (sources * estimate.clamp(0.0, 1.0) + 1.0) / (sources + 1.0);
        let effect = 1.0 + correlation * pairs / n;
        // Graded differences become steps of one size with the same mean, the same mean square and about the same skewness: the size is
        // the ratio of the third to the second moment, so that a few large falls among many small moves count as large.
        // One group of mean size with full steps is added to both moments, for the falls that were not seen yet.
        let prior = n / sizes.len() as f64;
        let cubes: f64 = differences.iter().map(|d| d.abs().powi(3)).sum();
        let unit = (cubes + prior) / (sum + prior);
        let (steps, drift) = (sum / (unit * unit), differences.iter().sum::<f64>() / unit);
        // Differences that all point one way need more steps than their mean square has.
        let steps = steps.max(drift.abs());
        let (losses, gains) = (0.5 * (steps - drift) / effect, 0.5 * (steps + drift) / effect);
        Self { losses, gains, rows: n / effect, unit, correlation }
    }

    /// Both one-sided bounds at 1 − `alpha`.
    pub(crate) fn bounds(&self, alpha: f64) -> (f64, f64) {
        let (low, high) = tango::interval(self.losses, self.gains, self.rows, 1.0 - 2.0 * alpha);
        (self.unit * low, self.unit * high)
    }

    /// The one-sided p-value of "the true difference is at most −`margin`".
    pub(crate) fn p_not_worse(&self, margin: f64) -> f64 {
        let hypothesis = -margin / self.unit;
        if hypothesis <= -1.0 {
            return 0.0;
        }
        normal_upper_tail(tango::statistic(self.losses, self.gains, self.rows, hypothesis.min(1.0 - 1e-12)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn groups(num_rows: usize, num_groups: usize) -> Clusters {
        let names: Vec<String> = (0..num_rows).map(|row| format!("g{}", row % num_groups)).collect();
        Clusters::new(names.iter().map(|name| Some(name.as_str())))
    }

    #[test]
    fn without_a_flip_only_the_groups_count() {
        let floor = ScoreFloor::new(&[0.0; 300], &groups(300, 100));
        assert!((floor.rows - 100.0).abs() < 1e-9 && floor.correlation == 1.0);
        // Tango with no flips in 100 at 95 % two-sided, `tango 0,0,100` in oracles/reference_values.json.
        assert!((floor.bounds(0.025).0 + 0.036_993_498_207_021_9).abs() < 1e-9);
    }

    #[test]
    fn independent_right_or_wrong_rows_are_plain_tango() {
        let mut differences = vec![0.0; 200];
        differences[..22].fill(-1.0);
        differences[22..31].fill(1.0);
        let floor = ScoreFloor::new(&differences, &Clusters::new([None; 200]));
        assert!((floor.rows - 200.0).abs() < 1e-9);
        assert!((floor.bounds(0.025).0 + 0.122_664_758_611_601_41).abs() < 1e-9);
        assert!((floor.p_not_worse(0.1) - 0.109_948).abs() < 1e-6);
    }

    #[test]
    fn many_spread_flips_leave_most_rows_and_one_bad_group_does_not() {
        let spread: Vec<f64> = (0..1000).map(|row| if row % 7 == 0 { -1.0 } else { 0.0 }).collect();
        assert!(ScoreFloor::new(&spread, &groups(1000, 100)).rows > 800.0);
        let one: Vec<f64> = (0..1000).map(|row| if row % 100 == 5 { -1.0 } else { 0.0 }).collect();
        assert!(ScoreFloor::new(&one, &groups(1000, 100)).rows < 101.0);
    }

    #[test]
    fn small_graded_differences_are_small_steps() {
        let graded: Vec<f64> = (0..1000).map(|row| if row % 2 == 0 { -0.1 } else { 0.1 }).collect();
        let floor = ScoreFloor::new(&graded, &Clusters::new([None; 1000]));
        assert!(floor.unit < 0.2, "{floor:?}");
        // The t bound of these is −1.645·0.1/√1000.
        assert!((floor.bounds(0.05).0 + 0.0052).abs() < 5e-4, "{:?}", floor.bounds(0.05));
    }
}

//! One-sided bounds and p-values of a paired difference: the numbers that a verdict is made of.
//! Knows nothing about verdicts, gates or slices; two-sided intervals for display are in `paired`.
//!
//! Three tests, chosen by [`choose`] from the shape of the scores and never from their values:
//!
//! - `tango`: independent right-or-wrong rows, Tango's score test (Tango 1998). Without a single gain the loss is a plain proportion,
//!   and the exact bound of Clopper and Pearson (1934) holds where it is lower: the score test alone then approves up to 6 % at 5 %.
//! - `clustered_t`: everything else that is a mean. The bound is the **lower** of two:
//!   a t bound with the bias-reduced cluster-robust error CR2 and the degrees of freedom of Bell and McCaffrey (2002),
//!   with the working correlation of Imbens and Kolesár (2016);
//!   and Tango's bound on counts divided by a design effect (Rao and Scott 1992), in `score_floor`.
//!   The t bound alone approves up to 34 % of candidates whose loss is exactly the margin when flips are rare and groups few,
//!   because a sample without the rare bad group shows both a good mean and a small error; the plain C − 1 version up to 50 %,
//!   both bounds together 5 % (`tests/oracles/clustered_bounds.py`).
//! - `cluster_bootstrap`: metrics that are not means; percentiles widened for few groups (Hesterberg 2015).

use serde::{Deserialize, Serialize};
use statrs::function::erf::erfc;

use super::paired::Flips;
use super::score_floor::ScoreFloor;
use super::{Clusters, quantile, tail_share, tango};

/// How the bounds of a paired difference are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// Tango's score test of independent right-or-wrong rows.
    Tango,
    /// The clustered paired t test with its score floor; also graded scores of independent rows.
    ClusteredT,
    /// The paired cluster bootstrap of a metric that is not a mean.
    ClusterBootstrap,
}

/// The test that fits: a property of the metric, the scorer and the rows, known before any answer.
pub fn choose(metric_is_mean: bool, scores_are_binary: bool, rows_are_independent: bool) -> Test {
    match (metric_is_mean, scores_are_binary && rows_are_independent) {
        (false, _) => Test::ClusterBootstrap,
        (true, true) => Test::Tango,
        (true, false) => Test::ClusteredT,
    }
}

/// A paired difference, candidate minus baseline, from which bounds at any level can be read.
#[derive(Clone, Debug, PartialEq)]
pub struct PairedDifference {
    /// The difference on all rows.
    pub value: f64,
    /// Rows.
    pub n: usize,
    /// Groups they belong to.
    pub clusters: usize,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Tango {
        regressions: f64,
        gains: f64,
    },
    Clustered {
        error: f64,
        freedom: f64,
        floor: ScoreFloor,
    },
    Bootstrap {
        sorted: Vec<f64>,
    },
    /// One group, or replicates that all agree, say nothing about other groups.
    Undetermined,
}

impl PairedDifference {
    /// The mean of candidate minus baseline by Tango's score test; none when a score is neither 0 nor 1, or rows share a group.
    pub fn tango(candidate: &[f64], baseline: &[f64], clusters: &Clusters) -> Option<Self> {
        let flips = Flips::count(candidate, baseline).filter(|_| clusters.independent() && !candidate.is_empty())?;
        let (regressions, gains) = (flips.regressions as f64, flips.gains as f64);
        let n = candidate.len();
        let value = (gains - regressions) / n as f64;
        Some(Self { value, n, clusters: n, kind: Kind::Tango { regressions, gains } })
    }

    /// The mean of candidate minus baseline by the clustered t test; both are in the order of the rows of `clusters` and not empty.
    pub fn clustered_t(candidate: &[f64], baseline: &[f64], clusters: &Clusters) -> Self {
        let differences: Vec<f64> = candidate.iter().zip(baseline).map(|(new, old)| new - old).collect();
        let n = differences.len();
        let value = differences.iter().sum::<f64>() / n as f64;
        let num_clusters = clusters.num_clusters();
        let kind = if num_clusters < 2 {
            Kind::Undetermined
        } else {
            let floor = ScoreFloor::new(&differences, clusters);
            let (error, freedom) = bias_reduced(&differences, value, clusters, floor.correlation);
            Kind::Clustered { error, freedom, floor }
        };
        Self { value, n, clusters: num_clusters, kind }
    }

    /// A difference of a metric that is not a mean: its value on all rows and its sorted values on draws of whole groups.
    pub fn bootstrap(value: f64, sorted: &[f64], n: usize, clusters: usize) -> Self {
        let spread = sorted.first().zip(sorted.last()).map_or(0.0, |(low, high)| high - low);
        let kind = if clusters < 2 || spread.is_nan() || spread <= 1e-12 {
            Kind::Undetermined
        } else {
            Kind::Bootstrap { sorted: sorted.to_vec() }
        };
        Self { value, n, clusters, kind }
    }

    /// Tango's test where it fits, the clustered t test elsewhere.
    pub fn of_means(candidate: &[f64], baseline: &[f64], clusters: &Clusters) -> Self {
        Self::tango(candidate, baseline, clusters).unwrap_or_else(|| Self::clustered_t(candidate, baseline, clusters))
    }

    /// Whether there is any spread to judge by.
    pub fn determined(&self) -> bool {
        self.kind != Kind::Undetermined
    }

    /// Degrees of freedom of the t bound, if there is one.
    pub fn freedom(&self) -> Option<f64> {
        match self.kind {
            Kind::Clustered { freedom, .. } => Some(freedom),
            _ => None,
        }
    }

    /// The lower one-sided bound at 1 − `alpha`.
    pub fn low(&self, alpha: f64) -> f64 {
        self.bounds(alpha).0
    }

    /// The upper one-sided bound at 1 − `alpha`.
    pub fn high(&self, alpha: f64) -> f64 {
        self.bounds(alpha).1
    }

    fn bounds(&self, alpha: f64) -> (f64, f64) {
        match &self.kind {
            Kind::Tango { regressions, gains } => {
                let (low, high) = tango::interval(*regressions, *gains, self.n as f64, 1.0 - 2.0 * alpha);
                (low.min(self.exact(|losses, n| -tail_share::upper(losses, n, alpha)).unwrap_or(1.0)), high)
            }
            Kind::Clustered { error, freedom, floor } => {
                let half = if *error > 0.0 { quantile::student(1.0 - alpha, *freedom) * error } else { 0.0 };
                let (low, high) = floor.bounds(alpha);
                ((self.value - half).min(low).max(-1.0), (self.value + half).max(high).min(1.0))
            }
            Kind::Bootstrap { sorted } => {
                let tail = normal_upper_tail(widening(self.clusters) * student_quantile(alpha, self.clusters));
                let rank = ((tail * sorted.len() as f64 + 1e-9).floor() as usize).clamp(1, sorted.len());
                let at = |rank: usize| sorted.get(rank).copied();
                (at(rank - 1).unwrap_or(-1.0), at(sorted.len() - rank).unwrap_or(1.0))
            }
            Kind::Undetermined => (-1.0, 1.0),
        }
    }

    /// The one-sided p-value of "the true difference is at most −`margin`"; small is good for the candidate.
    pub fn p_not_worse(&self, margin: f64) -> f64 {
        match &self.kind {
            Kind::Tango { regressions, gains } => {
                let score = normal_upper_tail(tango::statistic(*regressions, *gains, self.n as f64, -margin));
                score.max(self.exact(|losses, n| tail_share::at_most(losses, n, margin)).unwrap_or(0.0))
            }
            Kind::Clustered { error, freedom, floor } => {
                student_upper_tail(self.value + margin, *error, *freedom).max(floor.p_not_worse(margin))
            }
            Kind::Bootstrap { sorted } => {
                let below = sorted.partition_point(|&value| value <= -margin);
                let share = (1.0 + below as f64) / (1.0 + sorted.len() as f64);
                let t = quantile::normal((1.0 - share).clamp(1e-12, 1.0 - 1e-12)) / widening(self.clusters);
                student_upper_tail(t, 1.0, self.clusters as f64 - 1.0)
            }
            Kind::Undetermined => 1.0,
        }
    }

    /// What an exact method of one proportion says of the regressions, when there are no gains.
    fn exact(&self, method: impl FnOnce(f64, f64) -> f64) -> Option<f64> {
        match self.kind {
            Kind::Tango { regressions, gains: 0.0 } => Some(method(regressions, self.n as f64)),
            _ => None,
        }
    }

    /// The standard error in use: that of the t test, or the one that the lower bound implies where that is larger.
    ///
    /// The second is what is left where no row flips and the first is zero. None where nothing is determined.
    pub fn standard_error(&self, alpha: f64) -> Option<f64> {
        let implied = (self.value - self.low(alpha)) / quantile::normal(1.0 - alpha);
        match &self.kind {
            Kind::Clustered { error, .. } => Some(error.max(implied)),
            Kind::Tango { .. } | Kind::Bootstrap { .. } => Some(implied.max(0.0)),
            Kind::Undetermined => None,
        }
    }
}

/// The error CR2 of a mean and its Bell–McCaffrey degrees of freedom under an exchangeable correlation within groups.
///
/// For an intercept alone the adjustment is 1/√(1 − n_g/n), and the moments need one pass over the groups:
/// with a_g² = 1/(1 − n_g/n), p = n_g/n and ω_g = n_g·(1 + (n_g − 1)·ρ), the residual sums have covariance
/// diag(ω) − pω′ − ωp′ + pp′·Σω, and the degrees of freedom are trace² over the trace of the square.
fn bias_reduced(differences: &[f64], mean: f64, clusters: &Clusters, correlation: f64) -> (f64, f64) {
    let n = differences.len() as f64;
    let sums = clusters.sums(differences.iter().map(|d| d - mean));
    let sizes = clusters.sums(differences.iter().map(|_| 1.0));
    let omega = |size: f64| size * (1.0 + (size - 1.0) * correlation);
    let total: f64 = sizes.iter().map(|&size| omega(size)).sum();
    let (mut squares, mut trace, mut trace_of_square) = (0.0, 0.0, 0.0);
    let (mut pp, mut ww, mut pw) = (0.0, 0.0, 0.0);
    for (&sum, &size) in sums.iter().zip(&sizes) {
        let (p, w) = (size / n, omega(size));
        let adjust = 1.0 / (1.0 - p);
        squares += adjust * sum * sum;
        let shared = 2.0 * p * w - total * p * p;
        let diagonal = adjust * (w - shared);
        trace += diagonal;
        trace_of_square += diagonal * diagonal - (adjust * shared).powi(2);
        pp += adjust * p * p;
        ww += adjust * w * w;
        pw += adjust * p * w;
    }
    trace_of_square += 2.0 * pp * ww + 2.0 * pw * pw + (total * pp).powi(2) - 4.0 * total * pp * pw;
    let error = squares.sqrt() / n;
    let freedom = (trace * trace / trace_of_square).clamp(0.5, sums.len() as f64 - 1.0);
    // A spread of rounding errors is no spread.
    (if error < 1e-12 { 0.0 } else { error }, freedom)
}

/// √(C/(C − 1)): what a percentile interval of few groups is too narrow by.
fn widening(clusters: usize) -> f64 {
    let clusters = clusters as f64;
    (clusters / (clusters - 1.0)).sqrt()
}

fn student_quantile(alpha: f64, clusters: usize) -> f64 {
    quantile::student(1.0 - alpha, clusters as f64 - 1.0)
}

/// P(Z >= z) of the standard normal distribution.
pub(crate) fn normal_upper_tail(z: f64) -> f64 {
    0.5 * erfc(z / std::f64::consts::SQRT_2)
}

/// P(T >= gap/error); with no error at all, the side on which the gap lies.
fn student_upper_tail(gap: f64, error: f64, freedom: f64) -> f64 {
    if error <= 0.0 {
        return if gap > 0.0 { 0.0 } else { 1.0 };
    }
    let half = 0.5 * quantile::student_two_sided(gap / error, freedom);
    if gap >= 0.0 { half } else { 1.0 - half }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::stats::{bootstrap, interval};

    fn close(found: f64, expect: f64, tolerance: f64) {
        assert!((found - expect).abs() < tolerance, "{found} is not {expect}");
    }

    fn flips() -> (Vec<f64>, Vec<f64>) {
        let runs = [(1.0, 1.0, 150), (0.0, 1.0, 22), (1.0, 0.0, 9), (0.0, 0.0, 19)];
        runs.iter().flat_map(|&(new, old, count)| vec![(new, old); count]).unzip()
    }

    // `tango 22,9,200 level .90` and the p-values at three margins in oracles/reference_values.json.
    #[test]
    fn independent_right_or_wrong_rows_give_the_bounds_and_p_values_of_tango() {
        let (candidate, baseline) = flips();
        let found = PairedDifference::of_means(&candidate, &baseline, &Clusters::new([None; 200]));
        close(found.low(0.05), -0.112_736_274_995_813_44, 1e-9);
        close(found.high(0.05), -0.020_032_666_022_666_696, 1e-9);
        for (margin, p) in [(0.05, 0.709_195), (0.10, 0.109_948), (0.15, 0.002_692)] {
            close(found.p_not_worse(margin), p, 1e-6);
        }
    }

    #[test]
    fn without_a_gain_the_exact_bound_of_a_proportion_holds() {
        let candidate: Vec<f64> = (0..200).map(|row| f64::from(u8::from(row >= 2))).collect();
        let found = PairedDifference::of_means(&candidate, &[1.0; 200], &Clusters::new([None; 200]));
        // Two losses in 200 against 3 %: .97²⁰⁰ + 200·.03·.97¹⁹⁹ + 19900·.03²·.97¹⁹⁸ = .0593, where the score test says .049.
        close(found.p_not_worse(0.03), 0.0593, 1e-4);
        close(found.p_not_worse(-found.low(0.05)), 0.05, 1e-9);
        assert!(found.low(0.05) < -0.03);
    }

    #[test]
    fn equal_groups_give_the_ordinary_clustered_error_and_c_minus_one() {
        let (scores, clusters) = interval::tests::oracle();
        let found = PairedDifference::clustered_t(&scores, &[0.0; 200], &clusters);
        let Kind::Clustered { error, freedom, .. } = found.kind else { panic!("{found:?}") };
        close(error, interval::clustered_standard_error(&scores, &clusters).unwrap(), 1e-12);
        close(freedom, 39.0, 1e-9);
        assert!(found.low(0.05) <= 0.508_707_562_771_982_4 + 1e-12);
    }

    // The twin writes the covariance of the residual sums out and squares it.
    #[test]
    fn degrees_of_freedom_equal_those_of_the_written_out_matrix() {
        let sizes = [1_usize, 2, 3, 5, 8, 13, 40];
        let names: Vec<String> = sizes.iter().enumerate().flat_map(|(g, &n)| vec![g.to_string(); n]).collect();
        let clusters = Clusters::new(names.iter().map(|name| Some(name.as_str())));
        let n: f64 = names.len() as f64;
        for correlation in [0.0, 0.2, 1.0] {
            let omega: Vec<f64> = sizes.iter().map(|&s| s as f64 * (1.0 + (s as f64 - 1.0) * correlation)).collect();
            let total: f64 = omega.iter().sum();
            let (mut trace, mut square) = (0.0, 0.0);
            for (g, &a) in sizes.iter().enumerate() {
                for (h, &b) in sizes.iter().enumerate() {
                    let (p, q) = (a as f64 / n, b as f64 / n);
                    let own = if g == h { omega[g] } else { 0.0 };
                    let entry = own - p * omega[h] - q * omega[g] + p * q * total;
                    let entry = entry / ((1.0 - p) * (1.0 - q)).sqrt();
                    square += entry * entry;
                    trace += if g == h { entry } else { 0.0 };
                }
            }
            let differences: Vec<f64> = (0..names.len()).map(|row| (row % 3) as f64 - 1.0).collect();
            let mean = differences.iter().sum::<f64>() / n;
            close(bias_reduced(&differences, mean, &clusters, correlation).1, trace * trace / square, 1e-9);
        }
    }

    #[test]
    fn a_bound_above_the_margin_and_a_small_p_value_are_the_same_thing() {
        let names: Vec<String> = (0..300).map(|row| format!("g{}", row % 37)).collect();
        let clusters = Clusters::new(names.iter().map(|name| Some(name.as_str())));
        let candidate: Vec<f64> = (0..300).map(|row| f64::from(u8::from(row % 11 != 0))).collect();
        let baseline: Vec<f64> = (0..300).map(|row| f64::from(u8::from(row % 13 != 0))).collect();
        let found = PairedDifference::of_means(&candidate, &baseline, &clusters);
        for alpha in [0.01, 0.05, 0.2] {
            let low = found.low(alpha);
            close(found.p_not_worse(-low), alpha, 1e-6);
        }
    }

    #[test]
    fn no_spread_and_one_group_are_never_certainty() {
        let names: Vec<String> = (0..300).map(|row| format!("g{}", row % 36)).collect();
        let clusters = Clusters::new(names.iter().map(|name| Some(name.as_str())));
        let same = PairedDifference::of_means(&[1.0; 300], &[1.0; 300], &clusters);
        // Nothing flipped in 36 groups: as much as 36 rows say, z²/(36 + z²).
        close(same.low(0.05), -0.0699, 1e-3);
        assert!(same.standard_error(0.05).unwrap() > 0.0);
        let one = PairedDifference::of_means(&[1.0; 3], &[0.0; 3], &Clusters::new([Some("a"); 3]));
        assert_eq!((one.low(0.05), one.high(0.05), one.p_not_worse(0.03)), (-1.0, 1.0, 1.0));
        assert!(!PairedDifference::bootstrap(0.0, &[0.0; 100], 100, 50).determined());
    }

    #[test]
    fn bootstrap_bounds_of_a_mean_meet_the_t_bounds() {
        let (scores, clusters) = interval::tests::oracle();
        let sums = clusters.sums(scores.iter().copied());
        let sorted = bootstrap::replicates(40, 10_000, 3, |drawn| drawn.iter().map(|&g| sums[g]).sum::<f64>() / 200.0);
        let found = PairedDifference::bootstrap(0.575, &sorted, 200, 40);
        close(found.low(0.05), 0.508_7, 0.004);
        close(found.high(0.05), 0.641_3, 0.004);
        close(found.p_not_worse(-found.low(0.05)), 0.05, 0.003);
    }

    #[test]
    fn the_test_follows_from_the_shape() {
        assert_eq!(choose(true, true, true), Test::Tango);
        assert_eq!(choose(true, true, false), Test::ClusteredT);
        assert_eq!(choose(true, false, true), Test::ClusteredT);
        assert_eq!(choose(false, true, true), Test::ClusterBootstrap);
    }
}

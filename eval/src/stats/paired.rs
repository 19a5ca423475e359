//! The difference of two arms on the same rows: candidate minus baseline, with interval, p-value and the smallest difference that could have been seen.
//! Knows nothing about what was scored; never compares arms on different rows.

use serde::{Deserialize, Serialize};

use super::{Clusters, Estimate, LEVEL, Method, interval, quantile, tango};

pub use super::power::POWER;

/// How right and wrong rows moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flips {
    /// Both arms are right.
    pub both_right: usize,
    /// Only the baseline is right.
    pub regressions: usize,
    /// Only the candidate is right.
    pub gains: usize,
    /// Both arms are wrong.
    pub both_wrong: usize,
}

impl Flips {
    /// Counts right-or-wrong scores; none when a score is neither 0 nor 1.
    pub fn count(candidate: &[f64], baseline: &[f64]) -> Option<Self> {
        let mut flips = Self::default();
        for (&new, &old) in candidate.iter().zip(baseline) {
            *match (right(new)?, right(old)?) {
                (true, true) => &mut flips.both_right,
                (false, true) => &mut flips.regressions,
                (true, false) => &mut flips.gains,
                (false, false) => &mut flips.both_wrong,
            } += 1;
        }
        Some(flips)
    }
}

/// A paired difference of means.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// Candidate minus baseline.
    pub estimate: Estimate,
    /// Two-sided p-value of "no difference", not corrected for other comparisons.
    pub p_value: Option<f64>,
    /// The smallest true difference that such a comparison finds four times out of five.
    pub detectable: Option<f64>,
    /// The flip table of right-or-wrong scores.
    pub flips: Option<Flips>,
}

/// The mean of candidate minus baseline; both are in the order of the rows of `clusters` and not empty.
///
/// Independent right-or-wrong rows: Tango's interval and McNemar's exact test. Otherwise the cluster-robust standard error of the differences with Student t.
pub fn difference(candidate: &[f64], baseline: &[f64], clusters: &Clusters) -> Difference {
    let differences: Vec<f64> = candidate.iter().zip(baseline).map(|(new, old)| new - old).collect();
    let flips = Flips::count(candidate, baseline);
    let (n, groups) = (differences.len(), clusters.num_clusters());
    let value = differences.iter().sum::<f64>() / n as f64;
    let error = interval::clustered_standard_error(&differences, clusters).filter(|&e| e > 1e-12);
    let (low, high, method, p_value) = match (flips, error) {
        (Some(flips), _) if clusters.independent() => {
            let (regressions, gains) = (flips.regressions as f64, flips.gains as f64);
            let (low, high) = tango::interval(regressions, gains, n as f64, LEVEL);
            let p_value = tango::mcnemar_exact(flips.regressions, flips.gains);
            (low, high, Method::Tango, Some(p_value))
        }
        (_, Some(error)) => {
            let freedom = groups as f64 - 1.0;
            let half = quantile::student(0.5 + LEVEL / 2.0, freedom) * error;
            let method = if clusters.independent() { Method::StudentT } else { Method::ClusteredT };
            let p_value = quantile::student_two_sided(value / error, freedom);
            ((value - half).max(-1.0), (value + half).min(1.0), method, Some(p_value))
        }
        _ if groups < 2 => (-1.0, 1.0, Method::Undetermined, None),
        _ => {
            // All differences agree: each group is one piece of evidence, whatever its size.
            let moved = value * groups as f64;
            let (regressions, gains) = ((-moved).max(0.0), moved.max(0.0));
            let (low, high) = tango::interval(regressions, gains, groups as f64, LEVEL);
            let whole = |count: f64| count.round() as usize;
            let p_value = tango::mcnemar_exact(whole(regressions), whole(gains));
            (low, high, Method::TangoOverGroups, Some(p_value))
        }
    };
    let detectable = error.map(|error| (quantile::normal(0.5 + LEVEL / 2.0) + quantile::normal(POWER)) * error);
    Difference { estimate: Estimate { value, n, groups, low, high, method }, p_value, detectable, flips }
}

fn right(score: f64) -> Option<bool> {
    if score == 1.0 {
        Some(true)
    } else if score == 0.0 {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn close(found: f64, expect: f64) {
        assert!((found - expect).abs() < 1e-9, "{found} is not {expect}");
    }

    // `paired` in oracles/statistics.json: 150 both right, 22 only the baseline, 9 only the candidate, 19 neither.
    fn oracle() -> (Vec<f64>, Vec<f64>) {
        let runs = [(1.0, 1.0, 150), (0.0, 1.0, 22), (1.0, 0.0, 9), (0.0, 0.0, 19)];
        let rows = runs.iter().flat_map(|&(new, old, count)| vec![(new, old); count]);
        rows.unzip()
    }

    #[test]
    fn independent_rows_give_tango_and_mcnemar() {
        let (candidate, baseline) = oracle();
        let found = difference(&candidate, &baseline, &Clusters::new([None; 200]));
        close(found.estimate.value, -0.065);
        close(found.estimate.low, -0.122_664_758_611_601_41);
        close(found.estimate.high, -0.011_049_195_754_652_78);
        close(found.p_value.unwrap(), 0.029_449_373_483_657_837);
        close(found.detectable.unwrap(), 2.801_585_218_112_968 * 0.027_525_684_670_556_598);
        let flips = Flips { both_right: 150, regressions: 22, gains: 9, both_wrong: 19 };
        assert_eq!(found.flips, Some(flips));
    }

    // The t test of the same differences, `paired` in oracles/statistics.json; scores that are not 0 or 1 take this road.
    #[test]
    fn graded_scores_give_the_paired_t_test() {
        let (candidate, baseline) = oracle();
        let shrink = |scores: Vec<f64>| scores.iter().map(|s| 0.25 + 0.5 * s).collect::<Vec<f64>>();
        let found = difference(&shrink(candidate), &shrink(baseline), &Clusters::new([None; 200]));
        close(found.estimate.value, -0.0325);
        close(found.p_value.unwrap(), 0.019_170_601_052_777_795);
        assert_eq!(found.estimate.method, Method::StudentT);
    }

    // `se_unpaired`, `t` and `corr` of `paired` in oracles/statistics.json: pairing is worth what the arms have in common.
    #[test]
    fn the_paired_error_is_the_unpaired_one_less_what_the_arms_share() {
        let (candidate, baseline) = oracle();
        let alone = Clusters::new([None; 200]);
        let error = |scores: &[f64]| interval::clustered_standard_error(scores, &alone).unwrap();
        let differences: Vec<f64> = candidate.iter().zip(&baseline).map(|(new, old)| new - old).collect();
        let (new, old, paired) = (error(&candidate), error(&baseline), error(&differences));
        close(paired, 0.027_525_684_670_556_598);
        close(new.hypot(old), 0.037_735_857_945_386_27);
        close(-0.065 / paired, -2.361_430_815_544_020_2);
        close((new * new + old * old - paired * paired) / (2.0 * new * old), 0.473_303_580_726_400_5);
    }

    // The bits of the clustered oracle against all zeros: the difference is the bits themselves.
    #[test]
    fn clustered_rows_give_the_clustered_standard_error_of_the_difference() {
        let (scores, clusters) = interval::tests::oracle();
        let found = difference(&scores, &[0.0; 200], &clusters);
        assert_eq!(found.estimate.method, Method::ClusteredT);
        let half = quantile::student(0.975, 39.0) * 0.039_345_608_688_606_18;
        close(found.estimate.low, 0.575 - half);
        close(found.estimate.high, 0.575 + half);
    }

    #[test]
    fn no_flips_in_groups_are_not_certainty() {
        let names: Vec<String> = (0..300).map(|row| format!("g{}", row % 100)).collect();
        let clusters = Clusters::new(names.iter().map(|name| Some(name.as_str())));
        let found = difference(&[1.0; 300], &[1.0; 300], &clusters);
        // Tango with no flips in 100, `tango 0,0,100` in oracles/reference_values.json.
        close(found.estimate.high, 0.036_993_498_207_021_906);
        assert_eq!((found.estimate.method, found.p_value), (Method::TangoOverGroups, Some(1.0)));
        assert_eq!(found.detectable, None);
    }

    #[test]
    fn one_group_says_nothing() {
        let clusters = Clusters::new([Some("a"); 3]);
        let found = difference(&[1.0, 1.0, 0.0], &[0.0; 3], &clusters);
        assert_eq!((found.estimate.low, found.estimate.high), (-1.0, 1.0));
        assert_eq!(found.p_value, None);
    }
}

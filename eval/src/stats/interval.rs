//! Intervals of one mean of scores between 0 and 1: Wilson for independent right-or-wrong rows, cluster-robust where groups exist.
//! Knows nothing about what the scores mean; comparisons of two arms are in `paired`.

use super::{Clusters, Estimate, LEVEL, Method, quantile};

/// Wilson's score interval of `successes` out of `n` (Wilson 1927).
pub fn wilson(successes: f64, n: f64, level: f64) -> (f64, f64) {
    let z = quantile::normal(0.5 + level / 2.0);
    let (p, square) = (successes / n, z * z);
    let centre = (p + square / (2.0 * n)) / (1.0 + square / n);
    let half = z * (p * (1.0 - p) / n + square / (4.0 * n * n)).sqrt() / (1.0 + square / n);
    // At the ends of the scale the bound is the end itself, which rounding would miss.
    let low = if successes <= 0.0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if successes >= n { 1.0 } else { (centre + half).min(1.0) };
    (low, high)
}

/// The cluster-robust standard error of a mean, with the factor C/(C − 1); none with fewer than two clusters.
///
/// With every row its own cluster it is the ordinary standard error with n − 1.
pub fn clustered_standard_error(scores: &[f64], clusters: &Clusters) -> Option<f64> {
    let (n, c) = (scores.len() as f64, clusters.num_clusters() as f64);
    if c < 2.0 {
        return None;
    }
    let mean = scores.iter().sum::<f64>() / n;
    let squares: f64 = clusters.sums(scores.iter().map(|s| s - mean)).iter().map(|s| s * s).sum();
    Some((c / (c - 1.0) * squares).sqrt() / n)
}

/// The mean of `scores` with its 95 % interval; `scores` are in the order of the rows of `clusters` and not empty.
pub fn mean(scores: &[f64], clusters: &Clusters) -> Estimate {
    let n = scores.len();
    let groups = clusters.num_clusters();
    let value = scores.iter().sum::<f64>() / n as f64;
    let (low, high, method) = bounds(scores, clusters, value);
    Estimate { value, n, groups, low, high, method }
}

/// The interval of a share of which all rows agree: only the number of groups is evidence.
pub fn no_spread(value: f64, clusters: &Clusters) -> (f64, f64, Method) {
    let groups = clusters.num_clusters() as f64;
    let (low, high) = wilson(value * groups, groups, LEVEL);
    (low, high, if clusters.independent() { Method::Wilson } else { Method::WilsonOverGroups })
}

fn bounds(scores: &[f64], clusters: &Clusters, value: f64) -> (f64, f64, Method) {
    let right_or_wrong = scores.iter().all(|&score| score == 0.0 || score == 1.0);
    if clusters.independent() && right_or_wrong {
        let (low, high) = wilson(scores.iter().sum(), scores.len() as f64, LEVEL);
        return (low, high, Method::Wilson);
    }
    let Some(error) = clustered_standard_error(scores, clusters) else {
        return (0.0, 1.0, Method::Undetermined);
    };
    // A spread of rounding errors is no spread.
    if error < 1e-12 {
        return no_spread(value, clusters);
    }
    let half = quantile::student(0.5 + LEVEL / 2.0, clusters.num_clusters() as f64 - 1.0) * error;
    let method = if clusters.independent() { Method::StudentT } else { Method::ClusteredT };
    ((value - half).max(0.0), (value + half).min(1.0), method)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
pub(crate) mod tests {
    use super::*;

    // `clustered` in oracles/statistics.json: 200 bits in 40 clusters of 5.
    const BITS: &str = "01110000001101110011110110000000100110011111101110010111101111111110111010111001010011101110110010001110111010010100010111011101111101110101000110101011101101011110111001101100100001100110001111001000";

    pub(crate) fn oracle() -> (Vec<f64>, Clusters) {
        let names: Vec<String> = (0..200).map(|row| format!("g{}", row / 5)).collect();
        let scores = BITS.bytes().map(|bit| f64::from(bit - b'0')).collect();
        (scores, Clusters::new(names.iter().map(|name| Some(name.as_str()))))
    }

    fn close(found: f64, expect: f64) {
        assert!((found - expect).abs() < 1e-9, "{found} is not {expect}");
    }

    // statsmodels 0.15.0, `wilson` in oracles/statistics.json.
    #[test]
    fn wilson_equals_statsmodels() {
        for (k, n, low, high) in [
            (159.0, 200.0, 0.733_743_019_475_774_8, 0.845_138_237_961_637_9),
            (172.0, 200.0, 0.805_101_191_342_924_3, 0.901_330_173_665_443_7),
            (0.0, 30.0, 0.0, 0.113_513_393_173_968_8),
            (30.0, 30.0, 0.886_486_606_826_031_1, 1.0),
            (1.0, 1.0, 0.206_549_314_377_237_4, 1.0),
        ] {
            let found = wilson(k, n, 0.95);
            close(found.0, low);
            close(found.1, high);
        }
    }

    // statsmodels 0.15.0, `clustered` in oracles/statistics.json.
    #[test]
    fn standard_errors_equal_statsmodels_plain_and_clustered() {
        let (scores, clusters) = oracle();
        close(clustered_standard_error(&scores, &clusters).unwrap(), 0.039_345_608_688_606_18);
        // Miller's formula has no factor C/(C - 1): `se_miller_uncorrected`.
        let corrected = clustered_standard_error(&scores, &clusters).unwrap();
        close(corrected * (39.0_f64 / 40.0).sqrt(), 0.038_850_675_669_800_13);
        let alone = Clusters::new(scores.iter().map(|_| None));
        close(clustered_standard_error(&scores, &alone).unwrap(), 0.035_043_046_034_511_39);
    }

    // `clustered mean and bounds` in oracles/reference_values.json are one-sided 95 % bounds.
    #[test]
    fn clustered_bounds_equal_the_reference() {
        let (scores, clusters) = oracle();
        let error = clustered_standard_error(&scores, &clusters).unwrap();
        let half = quantile::student(0.95, 39.0) * error;
        close(0.575 - half, 0.508_707_562_771_982_4);
        close(0.575 + half, 0.641_292_437_228_017_5);
        let estimate = mean(&scores, &clusters);
        assert_eq!((estimate.n, estimate.groups, estimate.method), (200, 40, Method::ClusteredT));
        close(estimate.high - 0.575, quantile::student(0.975, 39.0) * error);
    }

    #[test]
    fn independent_rows_get_wilson_or_student() {
        let alone = Clusters::new([None; 30]);
        let estimate = mean(&[0.0; 30], &alone);
        assert_eq!(estimate.method, Method::Wilson);
        close(estimate.high, 0.113_513_393_173_968_8);
        let mut graded = [0.25; 30];
        graded[0] = 0.75;
        assert_eq!(mean(&graded, &alone).method, Method::StudentT);
    }

    #[test]
    fn perfect_scores_in_groups_are_not_certain() {
        let clusters = Clusters::new((0..60).map(|row| Some(if row < 30 { "a" } else { "b" })));
        let estimate = mean(&[1.0; 60], &clusters);
        assert_eq!(estimate.method, Method::WilsonOverGroups);
        assert!(estimate.low < 0.4 && estimate.high == 1.0);
    }

    #[test]
    fn one_group_says_nothing() {
        let estimate = mean(&[1.0, 0.0], &Clusters::new([Some("a"), Some("a")]));
        assert_eq!((estimate.low, estimate.high, estimate.method), (0.0, 1.0, Method::Undetermined));
    }
}

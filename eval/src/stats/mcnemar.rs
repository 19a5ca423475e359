//! McNemar's test on the rows that only one arm got right (McNemar 1947): exact, mid-p, and the chi-square forms that are here to be compared with.
//! Knows nothing about margins; a test that is not significant is no evidence of equality.

use super::{binomial, quantile};

/// The exact two-sided p-value: are regressions and gains equally likely.
pub fn exact(regressions: usize, gains: usize) -> f64 {
    let flips = regressions + gains;
    (2.0 * binomial::at_most(regressions.min(gains) as u64, flips as u64, 0.5)).min(1.0)
}

/// The mid-p value, which counts the observed table half (Fagerland, Lydersen and Laake 2013).
pub fn mid_p(regressions: usize, gains: usize) -> f64 {
    let (fewer, flips) = (regressions.min(gains) as u64, (regressions + gains) as u64);
    (2.0 * binomial::at_most(fewer, flips, 0.5) - binomial::probability(fewer, flips, 0.5)).min(1.0)
}

/// The chi-square statistic with its p-value, for comparison with other programs; none without a flip.
///
/// With `continuity_correction` it is Edwards' form, which is too careful to be used.
pub fn chi_square(regressions: usize, gains: usize, continuity_correction: bool) -> Option<(f64, f64)> {
    let flips = (regressions + gains) as f64;
    if flips == 0.0 {
        return None;
    }
    let gap = regressions.abs_diff(gains) as f64;
    let gap = if continuity_correction { (gap - 1.0).max(0.0) } else { gap };
    let statistic = gap * gap / flips;
    Some((statistic, quantile::chi_square_upper_tail(statistic)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn close(found: f64, expect: f64) {
        assert!((found - expect).abs() < 1e-12, "{found} is not {expect}");
    }

    // statsmodels 0.15.0 and scipy, `mcnemar` in oracles/statistics.json; `mcnemar 22,9` in oracles/reference_values.json.
    #[test]
    fn every_form_equals_statsmodels() {
        close(exact(22, 9), 0.029_449_373_483_657_837);
        close(mid_p(22, 9), 0.020_061_607_006_937_245);
        let (statistic, p_value) = chi_square(22, 9, false).unwrap();
        close(statistic, 5.451_612_903_225_806);
        close(p_value, 0.019_550_269_092_885_555);
        let (statistic, p_value) = chi_square(22, 9, true).unwrap();
        close(statistic, 4.645_161_290_322_581);
        close(p_value, 0.031_141_210_595_796_717);
    }

    #[test]
    fn no_flips_and_equal_flips_have_p_one_and_many_flips_keep_their_digits() {
        assert_eq!((exact(0, 0), mid_p(0, 0), chi_square(0, 0, false)), (1.0, 1.0, None));
        assert_eq!(exact(4, 4), 1.0);
        assert!((exact(3000, 2000) / 1.300_231_000_520_532_6e-45 - 1.0).abs() < 1e-9);
        assert_eq!(chi_square(4, 4, true).unwrap().0, 0.0);
    }
}

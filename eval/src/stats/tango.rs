//! Tango's score test and interval for the difference of two paired proportions of independent rows (Tango 1998), and McNemar's exact test.
//! Knows nothing about clusters; unlike the plain interval it stays honest when no row flips.

use super::quantile;

/// Tango's statistic for the hypothesis that candidate minus baseline is `difference`:
/// `regressions` rows only the baseline got right, `gains` rows only the candidate, of `n`.
pub fn statistic(regressions: f64, gains: f64, n: f64, difference: f64) -> f64 {
    let a = 2.0 * n;
    let b = -regressions - gains + (2.0 * n - gains + regressions) * difference;
    let d = -regressions * difference * (1.0 - difference);
    let q = ((b * b - 4.0 * a * d).max(0.0).sqrt() - b) / (2.0 * a);
    let variance = n * (2.0 * q + difference * (1.0 - difference));
    let gap = gains - regressions - n * difference;
    if variance > 0.0 {
        gap / variance.sqrt()
    } else if gap.abs() < 1e-12 {
        0.0
    } else {
        gap.signum() * f64::INFINITY
    }
}

/// All differences that the score test does not reject.
pub fn interval(regressions: f64, gains: f64, n: f64, level: f64) -> (f64, f64) {
    // The statistic has no value exactly at the ends of the scale.
    const EDGE: f64 = 1.0 - 1e-12;
    let z = quantile::normal(0.5 + level / 2.0);
    let difference = (gains - regressions) / n;
    let at = |value: f64| statistic(regressions, gains, n, value);
    let low = if at(-EDGE) > z { quantile::root(|value| z - at(value), -EDGE, difference) } else { -1.0 };
    let high = if at(EDGE) < -z { quantile::root(|value| -z - at(value), difference, EDGE) } else { 1.0 };
    (low, high)
}

/// McNemar's exact two-sided p-value: are regressions and gains equally likely.
pub fn mcnemar_exact(regressions: usize, gains: usize) -> f64 {
    let flips = regressions + gains;
    let fewer = regressions.min(gains);
    // Terms of the binomial distribution in logarithms, so that many flips do not underflow.
    let mut log_term = -(flips as f64) * std::f64::consts::LN_2;
    let mut tail = log_term.exp();
    for k in 0..fewer {
        log_term += ((flips - k) as f64 / (k + 1) as f64).ln();
        tail += log_term.exp();
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn check(flips: (f64, f64), n: f64, level: f64, expect: (f64, f64)) {
        let (low, high) = interval(flips.0, flips.1, n, level);
        assert!((low - expect.0).abs() < 1e-9 && (high - expect.1).abs() < 1e-9, "{low} {high}");
    }

    // Values of oracles/reference_values.json, made by reference_statistics.py.
    #[test]
    fn intervals_equal_the_reference() {
        check((22.0, 9.0), 200.0, 0.95, (-0.122_664_758_611_601_41, -0.011_049_195_754_652_78));
        check((22.0, 9.0), 200.0, 0.90, (-0.112_736_274_995_813_44, -0.020_032_666_022_666_696));
        check((0.0, 0.0), 100.0, 0.95, (-0.036_993_498_207_021_9, 0.036_993_498_207_021_906));
        check((1.0, 0.0), 50.0, 0.95, (-0.104_954_435_896_384_9, 0.052_774_551_116_026_844));
        check((7.0, 1.0), 21.0, 0.95, (-0.517_232_276_421_265, -0.026_003_032_480_949_213));
    }

    #[test]
    fn the_statistic_equals_the_reference_at_three_margins() {
        for (margin, expect) in
            [(0.05, -0.551_035_067_539_681_9), (0.10, 1.226_803_401_271_517_9), (0.15, 2.783_101_304_490_759_5)]
        {
            assert!((statistic(22.0, 9.0, 200.0, -margin) - expect).abs() < 1e-9);
        }
    }

    // statsmodels 0.15.0, `mcnemar` in oracles/statistics.json.
    #[test]
    fn mcnemar_equals_statsmodels_and_no_flips_give_one() {
        assert!((mcnemar_exact(22, 9) - 0.029_449_373_483_657_837).abs() < 1e-12);
        assert_eq!(mcnemar_exact(0, 0), 1.0);
        assert!(mcnemar_exact(3000, 2000) < 1e-40);
    }
}

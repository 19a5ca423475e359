//! Tango's score test and interval for the difference of two paired proportions of independent rows (Tango 1998).
//! Knows nothing about clusters; unlike the plain interval it stays honest when no row flips.

pub use super::mcnemar::exact as mcnemar_exact;
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
    within(regressions, gains, n, quantile::normal(0.5 + level / 2.0))
}

/// All differences whose statistic lies within ±`z`.
pub(crate) fn within(regressions: f64, gains: f64, n: f64, z: f64) -> (f64, f64) {
    // The statistic has no value exactly at the ends of the scale.
    const EDGE: f64 = 1.0 - 1e-12;
    let difference = (gains - regressions) / n;
    let at = |value: f64| statistic(regressions, gains, n, value);
    let low = if at(-EDGE) > z { quantile::root(|value| z - at(value), -EDGE, difference) } else { -1.0 };
    let high = if at(EDGE) < -z { quantile::root(|value| -z - at(value), difference, EDGE) } else { 1.0 };
    (low, high)
}

/// The z and the one-sided p-value of the hypothesis that candidate minus baseline is at most −`margin`.
pub fn non_inferiority(regressions: f64, gains: f64, n: f64, margin: f64) -> (f64, f64) {
    let z = statistic(regressions, gains, n, -margin);
    (z, quantile::normal_upper_tail(z))
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
        for (margin, z, p) in [
            (0.05, -0.551_035_067_539_681_9, 0.709_195_182_179_787_6),
            (0.10, 1.226_803_401_271_517_9, 0.109_948_246_075_154_58),
            (0.15, 2.783_101_304_490_759_5, 0.002_692_099_584_182_272_3),
        ] {
            let found = non_inferiority(22.0, 9.0, 200.0, margin);
            assert!((found.0 - z).abs() < 1e-9 && (found.1 - p).abs() < 1e-9, "{found:?}");
        }
    }
}

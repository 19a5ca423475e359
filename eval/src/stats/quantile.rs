//! Quantiles and tails of the normal and the Student distribution.
//! Knows nothing about what they are used for; the special functions come from a crate, the last digits from a root search here.

use statrs::function::beta::beta_reg;

// Above this many degrees of freedom the expansion around the normal quantile is exact to 1e-12
// and the continued fraction of the incomplete beta function is not.
const LARGE: f64 = 2000.0;

/// The z with P(Z <= z) = `p` of the standard normal distribution, for `p` strictly between 0 and 1.
pub fn normal(p: f64) -> f64 {
    root(|z| normal_cdf(z) - p, -40.0, 40.0)
}

/// The t with P(T <= t) = `p` of the Student distribution with `freedom` degrees of freedom.
pub fn student(p: f64, freedom: f64) -> f64 {
    if freedom > LARGE {
        return expansion(normal(p), freedom);
    }
    // The tail is searched, because 1 - tail has lost its digits far out.
    let tail = p.min(1.0 - p);
    let t = if tail >= 0.5 {
        0.0
    } else {
        let mut high = 2.0;
        while student_upper_tail(high, freedom) > tail {
            high *= 2.0;
        }
        root(|t| tail - student_upper_tail(t, freedom), 0.0, high)
    };
    if p < 0.5 { -t } else { t }
}

/// P(|T| >= |t|) of the Student distribution: the two-sided p-value.
pub fn student_two_sided(t: f64, freedom: f64) -> f64 {
    2.0 * student_upper_tail(t.abs(), freedom)
}

/// P(T > t) of the Student distribution: the one-sided p-value.
pub fn student_tail(t: f64, freedom: f64) -> f64 {
    let tail = student_upper_tail(t.abs(), freedom);
    if t < 0.0 { 1.0 - tail } else { tail }
}

/// P(Z <= z) of the standard normal distribution.
pub fn normal_cdf(z: f64) -> f64 {
    0.5 * erfc(-z * std::f64::consts::FRAC_1_SQRT_2)
}

/// The complementary error function to the last digits; the one of the crate has eleven.
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    let density = (-x * x).exp() / std::f64::consts::PI.sqrt();
    if x < 1.0 {
        // The series of Abramowitz and Stegun 7.1.6; all its terms are positive.
        let (mut term, mut sum, mut k) = (2.0 * x, 2.0 * x, 0.0);
        while term > sum * 1e-17 {
            k += 1.0;
            term *= 2.0 * x * x / (2.0 * k + 1.0);
            sum += term;
        }
        return 1.0 - density * sum;
    }
    // The continued fraction 7.1.14, from the inside out; this depth is enough from x = 1 on.
    let depth = (20.0 + 180.0 / (x * x)) as u32;
    let inner = (1..=depth).rev().fold(x, |below, k| x + 0.5 * f64::from(k) / below);
    density / inner
}

/// P(Z > z) of the standard normal distribution, with all its digits far out.
pub fn normal_upper_tail(z: f64) -> f64 {
    normal_cdf(-z)
}

/// P(X > x) of the chi-square distribution with one degree of freedom.
pub fn chi_square_upper_tail(x: f64) -> f64 {
    2.0 * normal_upper_tail(x.max(0.0).sqrt())
}

/// P(T > t) for a `t` that is not negative.
fn student_upper_tail(t: f64, freedom: f64) -> f64 {
    if freedom > LARGE {
        // The expansion of the quantile, turned round; it grows with z.
        return normal_upper_tail(root(|z| expansion(z, freedom) - t, 0.0, t.max(1.0)));
    }
    let square = t * t;
    if square < 1.0 {
        // Near the middle the argument of the other form would round to 1.
        return 0.5 - 0.5 * beta_reg(0.5, 0.5 * freedom, square / (freedom + square));
    }
    0.5 * beta_reg(0.5 * freedom, 0.5, freedom / (freedom + square))
}

/// Fisher and Cornish's expansion of the Student quantile.
fn expansion(z: f64, freedom: f64) -> f64 {
    let square = z * z;
    let first = z * (square + 1.0) / 4.0;
    let second = z * (5.0 * square * square + 16.0 * square + 3.0) / 96.0;
    let third = z * (3.0 * square.powi(3) + 19.0 * square * square + 17.0 * square - 15.0) / 384.0;
    z + first / freedom + second / freedom.powi(2) + third / freedom.powi(3)
}

/// The zero of a growing function between `low` and `high`, to the last bit.
pub(crate) fn root(function: impl Fn(f64) -> f64, mut low: f64, mut high: f64) -> f64 {
    loop {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            return middle;
        }
        if function(middle) < 0.0 { low = middle } else { high = middle }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn check(found: f64, expect: f64) {
        assert!((found - expect).abs() < 1e-9 * expect.abs().max(1.0), "{found} is not {expect}");
    }

    // Values of scipy.stats.norm.ppf and scipy.stats.t.ppf.
    #[test]
    fn quantiles_equal_those_of_scipy() {
        check(normal(0.975), 1.959_963_984_540_054);
        check(normal(0.8), 0.841_621_233_572_914_3);
        check(normal(0.05), -1.644_853_626_951_472_2);
        check(student(0.975, 1.0), 12.706_204_736_432_095);
        check(student(0.975, 36.0), 2.028_094_000_980_452);
        check(student(0.95, 39.0), 1.684_875_121_711_225);
        check(student(0.025, 1e6), -1.959_966_356_806_6);
        check(student(0.5, 7.0), 0.0);
    }

    // The p-value is that of `paired` in oracles/statistics.json (t test of 200 differences).
    #[test]
    fn the_two_sided_tail_is_that_of_a_t_test() {
        check(student_two_sided(-2.361_430_815_544_020_2, 199.0), 0.019_170_601_052_777_795);
    }

    // scipy.stats.t.sf doubled, norm.sf and chi2.sf.
    #[test]
    fn tails_keep_their_digits_far_out_and_at_many_degrees_of_freedom() {
        let check = |found: f64, expect: f64| assert!((found / expect - 1.0).abs() < 1e-8, "{found} is not {expect}");
        check(normal_upper_tail(8.0), 6.220_960_574_271_785e-16);
        check(chi_square_upper_tail(5.451_612_903_225_806), 0.019_550_269_092_885_555);
        check(student_two_sided(3.0, 5000.0), 0.002_713_109_024_285_791);
        check(student_two_sided(-6.0, 3000.0), 2.209_318_231_484_017_6e-9);
        check(student_two_sided(0.3, 1e5), 0.764_177_779_190_337_6);
    }

    #[test]
    fn the_expansion_meets_the_root_search() {
        check(student(0.975, LARGE + 1.0), root(|t| 0.025 - student_upper_tail(t, LARGE + 1.0), 0.0, 4.0));
    }
}

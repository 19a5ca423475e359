//! Quantiles and tails of the normal and the Student distribution.
//! Knows nothing about what they are used for; the special functions come from a crate, the last digits from a root search here.

use statrs::function::{beta::beta_reg, erf::erfc};

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
    if freedom > LARGE {
        return 2.0 * (1.0 - normal_cdf(t.abs()));
    }
    2.0 * student_upper_tail(t.abs(), freedom)
}

fn normal_cdf(z: f64) -> f64 {
    0.5 * erfc(-z / std::f64::consts::SQRT_2)
}

fn student_upper_tail(t: f64, freedom: f64) -> f64 {
    0.5 * beta_reg(0.5 * freedom, 0.5, freedom / (freedom + t * t))
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

    #[test]
    fn the_expansion_meets_the_root_search() {
        check(student(0.975, LARGE + 1.0), root(|t| 0.025 - student_upper_tail(t, LARGE + 1.0), 0.0, 4.0));
    }
}

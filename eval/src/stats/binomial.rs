//! The binomial distribution with all digits in the tails and for many trials.
//! Knows nothing about what a success is.

use super::quantile;

/// P(X = k) of `n` trials with probability `p`, by the saddle-point expansion (Loader 2000), which keeps its digits for millions of trials.
pub fn probability(k: u64, n: u64, p: f64) -> f64 {
    ln_probability(k, n, p).exp()
}

/// P(X <= k).
pub fn at_most(k: u64, n: u64, p: f64) -> f64 {
    if k >= n {
        return 1.0;
    }
    // Terms are summed away from the middle, where they fall fast.
    if k as f64 <= n as f64 * p { lower_sum(k, n, p) } else { (1.0 - upper_sum(k + 1, n, p)).max(0.0) }
}

/// P(X >= k).
pub fn at_least(k: u64, n: u64, p: f64) -> f64 {
    if k == 0 {
        return 1.0;
    }
    if k > n {
        return 0.0;
    }
    if k as f64 > n as f64 * p { upper_sum(k, n, p) } else { (1.0 - lower_sum(k - 1, n, p)).max(0.0) }
}

/// The smallest k with P(X <= k) >= `share`.
pub fn quantile(share: f64, n: u64, p: f64) -> u64 {
    let (mut low, mut high) = (0, n);
    while low < high {
        let middle = low + (high - low) / 2;
        // Sums of terms may end a rounding error below the share that they are.
        if at_most(middle, n, p) >= share * (1.0 - 1e-13) { high = middle } else { low = middle + 1 }
    }
    low
}

/// The probability p for which P(X <= k) is `tail`; `k` below `n`.
pub(crate) fn where_at_most_is(tail: f64, k: u64, n: u64) -> f64 {
    quantile::root(|p| tail - at_most(k, n, p), 0.0, 1.0)
}

/// The probability p for which P(X >= k) is `tail`; `k` above 0.
pub(crate) fn where_at_least_is(tail: f64, k: u64, n: u64) -> f64 {
    quantile::root(|p| at_least(k, n, p) - tail, 0.0, 1.0)
}

fn lower_sum(k: u64, n: u64, p: f64) -> f64 {
    let odds = (1.0 - p) / p;
    let mut term = probability(k, n, p);
    let mut sum = term;
    for j in (0..k).rev() {
        term *= (j + 1) as f64 / (n - j) as f64 * odds;
        sum += term;
        if term <= sum * 1e-18 {
            break;
        }
    }
    sum.min(1.0)
}

fn upper_sum(k: u64, n: u64, p: f64) -> f64 {
    let odds = p / (1.0 - p);
    let mut term = probability(k, n, p);
    let mut sum = term;
    for j in k + 1..=n {
        term *= (n - j + 1) as f64 / j as f64 * odds;
        sum += term;
        if term <= sum * 1e-18 {
            break;
        }
    }
    sum.min(1.0)
}

fn ln_probability(k: u64, n: u64, p: f64) -> f64 {
    let (successes, trials) = (k as f64, n as f64);
    if p <= 0.0 || p >= 1.0 {
        let certain = if p <= 0.0 { k == 0 } else { k == n };
        return if certain { 0.0 } else { f64::NEG_INFINITY };
    }
    if k == 0 {
        return trials * (-p).ln_1p();
    }
    if k == n {
        return trials * p.ln();
    }
    let failures = trials - successes;
    let correction = stirling_error(trials) - stirling_error(successes) - stirling_error(failures);
    let deviance = deviance(successes, trials * p) + deviance(failures, trials * (1.0 - p));
    let scale = 0.5 * (trials / (std::f64::consts::TAU * successes * failures)).ln();
    correction - deviance + scale
}

/// ln n! minus Stirling's formula.
fn stirling_error(n: f64) -> f64 {
    if n < 16.0 {
        let factorial: f64 = (1..=n as u32).map(f64::from).product();
        return factorial.ln() - (0.5 * (std::f64::consts::TAU * n).ln() + n * n.ln() - n);
    }
    let square = n * n;
    (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / 1188.0 / square) / square) / square) / square)
        / n
}

/// x·ln(x / mean) + mean − x, without the cancellation near x = mean.
fn deviance(x: f64, mean: f64) -> f64 {
    if (x - mean).abs() >= 0.1 * (x + mean) {
        return x * (x / mean).ln() + mean - x;
    }
    let ratio = (x - mean) / (x + mean);
    let mut sum = (x - mean) * ratio;
    let mut power = 2.0 * x * ratio;
    for j in 1..1000 {
        power *= ratio * ratio;
        let next = sum + power / f64::from(2 * j + 1);
        if next == sum {
            break;
        }
        sum = next;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(found: f64, expect: f64) {
        assert!((found / expect - 1.0).abs() < 1e-10, "{found} is not {expect}");
    }

    // Values of scipy.stats.binom: pmf, cdf, sf and ppf.
    #[test]
    fn probabilities_equal_scipy_in_the_tails_and_for_many_trials() {
        check(probability(3, 10, 0.3), 0.2668279319999998);
        check(probability(50000, 100000, 0.5), 0.0025231262141967386);
        check(probability(1, 1000000, 1e-06), 0.3678796251112704);
        check(probability(7, 40, 0.9), 8.917156952963943e-27);
        check(at_most(9, 31, 0.5), 0.014724686741828918);
        check(at_most(380, 400, 0.95), 0.5320300507088136);
        check(at_most(49000, 100000, 0.5), 1.2943580191734472e-10);
        check(at_most(51000, 100000, 0.5), 0.9999999998757588);
        check(at_most(2, 1000000, 1e-05), 0.0027693049166141992);
        check(at_least(22, 31, 0.5), 0.014724686741828918);
        check(at_least(51000, 100000, 0.5), 1.2943580191734472e-10);
        check(at_least(30, 100, 0.1), 2.445112239390972e-08);
        assert_eq!(quantile(0.025, 400, 0.95), 371);
        assert_eq!(quantile(0.975, 400, 0.95), 388);
        assert_eq!(quantile(0.5, 10, 0.5), 5);
        assert_eq!(quantile(0.05, 100000, 0.02), 1927);
    }

    #[test]
    fn the_ends_are_exact() {
        assert_eq!((at_most(5, 5, 0.3), at_least(0, 5, 0.3), at_least(6, 5, 0.3)), (1.0, 1.0, 0.0));
        assert_eq!((probability(0, 4, 0.0), probability(1, 4, 0.0), probability(4, 4, 1.0)), (1.0, 0.0, 1.0));
        assert_eq!((at_most(3, 4, 0.0), at_most(3, 4, 1.0), at_least(1, 4, 0.0)), (1.0, 0.0, 0.0));
        assert_eq!((quantile(1.0, 4, 0.5), quantile(0.0, 4, 0.5)), (4, 0));
        assert_eq!(probability(0, 0, 0.5), 1.0);
    }
}

//! Exact bounds of one proportion of independent rows (Clopper and Pearson 1934), for guarantees; Wilson's interval for display is in `interval`.
//! Knows nothing about clusters.

use super::binomial;

/// The two-sided exact interval of `successes` out of `n`.
pub fn clopper_pearson(successes: u64, n: u64, level: f64) -> (f64, f64) {
    let tail = (1.0 - level) / 2.0;
    (clopper_pearson_lower(successes, n, tail), clopper_pearson_upper(successes, n, tail))
}

/// The one-sided exact lower bound with error rate `alpha`; 0 without a row.
pub fn clopper_pearson_lower(successes: u64, n: u64, alpha: f64) -> f64 {
    if successes == 0 || n == 0 { 0.0 } else { binomial::where_at_least_is(alpha, successes.min(n), n) }
}

/// The one-sided exact upper bound with error rate `alpha`; 1 without a row.
///
/// Without a success it is 1 − alpha^(1/n), about 3/n (Hanley and Lippman-Hand 1983).
pub fn clopper_pearson_upper(successes: u64, n: u64, alpha: f64) -> f64 {
    if successes >= n { 1.0 } else { binomial::where_at_most_is(alpha, successes, n) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expect: f64) {
        assert!((found - expect).abs() < 1e-12, "{found} is not {expect}");
    }

    // statsmodels 0.15.0, `clopper_pearson` in oracles/statistics.json.
    #[test]
    fn clopper_pearson_equals_statsmodels() {
        let (low, high) = clopper_pearson(159, 200, 0.95);
        close(low, 0.732_346_079_214_714_7);
        close(high, 0.848_689_428_004_480_6);
        let (low, high) = clopper_pearson(0, 30, 0.95);
        assert_eq!(low, 0.0);
        close(high, 0.115_703_308_222_027_8);
        close(clopper_pearson(30, 30, 0.95).0, 1.0 - 0.115_703_308_222_027_8);
    }

    // `clopper pearson upper 0/300` in oracles/reference_values.json.
    #[test]
    fn no_failure_in_three_hundred_still_allows_one_in_a_hundred() {
        close(clopper_pearson_upper(0, 300, 0.05), 0.009_936_081_944_457_708);
        close(clopper_pearson_upper(0, 300, 0.05), 1.0 - 0.05_f64.powf(1.0 / 300.0));
    }

    #[test]
    fn no_rows_say_nothing() {
        assert_eq!(clopper_pearson(0, 0, 0.95), (0.0, 1.0));
    }
}

//! What the rows at hand could have shown; how many more are needed is in `stats::power`.
//! Knows nothing about clusters: a standard error already holds their design effect.

use crate::stats::non_inferiority::normal_upper_tail;
use crate::stats::quantile;

/// The chance that a test with this standard error proves a candidate whose true difference is zero: P(Z ≤ margin/SE − z(1−alpha)).
pub fn power_if_equal(standard_error: f64, margin: f64, alpha: f64) -> f64 {
    if standard_error <= 0.0 {
        return 1.0;
    }
    normal_upper_tail(quantile::normal(1.0 - alpha) - margin / standard_error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::stats::power::{Sides, items_needed};

    // Miller 2024 (arXiv 2411.00640): a variance of 1/9, a margin of .03, two-sided .05 and a power of .8 need 969 rows.
    #[test]
    fn with_the_rows_needed_an_equal_candidate_is_proven_as_often_as_asked_for() {
        for (variance, alpha, rows) in [(1.0 / 9.0, 0.025, 969.0), (0.16, 0.05, 1100.0)] {
            let n = items_needed(variance, 0.03, 0.0, alpha, 0.8, Sides::One);
            assert_eq!(n.ceil(), rows);
            assert!((power_if_equal((variance / n).sqrt(), 0.03, alpha) - 0.8).abs() < 1e-9);
        }
        assert_eq!(power_if_equal(0.0, 0.03, 0.05), 1.0);
    }
}

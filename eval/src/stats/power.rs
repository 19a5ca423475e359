//! How many items a comparison needs, and how small a difference it can see (Card et al. 2020, arXiv 2010.06595).
//! Knows nothing about clusters by itself: a variance of n·SE² already holds their design effect.

use super::quantile;

/// How often a test that should find something does find it, unless said otherwise.
pub const POWER: f64 = 0.8;

/// Whether the error rate is spent on one side or on both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sides {
    /// A verdict: only one direction counts.
    One,
    /// A display.
    Two,
}

/// Items for a test of "candidate minus baseline is at most −`margin`" when the true difference is `true_difference`; not rounded.
///
/// `variance` is n·SE² of a pilot; without one, the expected share of rows that flip. Infinite when the true difference is at or below −`margin`.
pub fn items_needed(variance: f64, margin: f64, true_difference: f64, alpha: f64, power: f64, sides: Sides) -> f64 {
    let distance = margin + true_difference;
    if distance <= 0.0 { f64::INFINITY } else { (reach(alpha, power, sides) / distance).powi(2) * variance }
}

/// The smallest true difference that a comparison with this standard error finds with probability `power`.
pub fn detectable(standard_error: f64, alpha: f64, power: f64, sides: Sides) -> f64 {
    reach(alpha, power, sides) * standard_error
}

/// Items still needed for a replacement to be proven, if the observed difference is the true one but not better than equal; 0 when there are enough.
///
/// None when the observed difference is at or below −`margin`: then more data will not turn the verdict into a replacement.
pub fn items_still_needed(
    n: usize,
    standard_error: f64,
    difference: f64,
    margin: f64,
    alpha: f64,
    power: f64,
) -> Option<u64> {
    if difference <= -margin {
        return None;
    }
    let variance = n as f64 * standard_error * standard_error;
    let total = items_needed(variance, margin, difference.min(0.0), alpha, power, Sides::One);
    Some((total.ceil() as u64).saturating_sub(n as u64))
}

fn reach(alpha: f64, power: f64, sides: Sides) -> f64 {
    let tail = match sides {
        Sides::One => alpha,
        Sides::Two => alpha / 2.0,
    };
    quantile::normal(1.0 - tail) + quantile::normal(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expect: f64) {
        assert!((found / expect - 1.0).abs() < 1e-9, "{found} is not {expect}");
    }

    // `power` in oracles/statistics.json, `items needed …` in oracles/reference_values.json.
    #[test]
    fn items_needed_equal_the_oracles() {
        close(items_needed(0.16, 0.03, 0.0, 0.05, 0.8, Sides::Two), 1_395.356_397_217_616_2);
        close(items_needed(0.16, 0.03, 0.0, 0.05, 0.8, Sides::One), 1_099.121_285_692_402_8);
        close(items_needed(1.0 / 9.0, 0.03, 0.0, 0.05, 0.8, Sides::Two), 968.997_498_067_788_6);
    }

    #[test]
    fn the_detectable_difference_is_the_margin_that_the_items_are_enough_for() {
        let standard_error = (0.16 / 1_099.121_285_692_402_8_f64).sqrt();
        close(detectable(standard_error, 0.05, 0.8, Sides::One), 0.03);
        let standard_error = (0.16 / 1_395.356_397_217_616_2_f64).sqrt();
        close(detectable(standard_error, 0.05, 0.8, Sides::Two), 0.03);
    }

    #[test]
    fn a_better_candidate_is_planned_as_an_equal_one_and_a_lost_cause_is_said() {
        let error = (0.16_f64 / 400.0).sqrt();
        assert_eq!(items_still_needed(400, error, 0.0, 0.03, 0.05, 0.8), Some(700));
        assert_eq!(items_still_needed(400, error, 0.02, 0.03, 0.05, 0.8), Some(700));
        assert_eq!(items_still_needed(400, error, -0.01, 0.03, 0.05, 0.8), Some(2474 - 400));
        assert_eq!(items_still_needed(4000, (0.16_f64 / 4000.0).sqrt(), 0.0, 0.03, 0.05, 0.8), Some(0));
        assert_eq!(items_still_needed(400, error, -0.03, 0.03, 0.05, 0.8), None);
        assert_eq!(items_needed(0.16, 0.03, -0.03, 0.05, 0.8, Sides::One), f64::INFINITY);
    }
}

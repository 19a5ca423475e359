//! Newcombe's intervals of a difference of two proportions, from the Wilson intervals of each (Newcombe 1998, Stat Med 17:873 and 17:2635).
//! Knows nothing about verdicts: the paired one is a cross-check of Tango's interval, the independent one is for arms that saw different rows.

use super::interval::wilson;
use super::paired::Flips;

/// Method 10 for proportions of independent rows: candidate minus baseline, each `(successes, n)`.
pub fn independent(candidate: (u64, u64), baseline: (u64, u64), level: f64) -> (f64, f64) {
    let [(p1, low1, high1), (p2, low2, high2)] = [candidate, baseline].map(|(successes, n)| {
        let (successes, n) = (successes as f64, n as f64);
        let (low, high) = wilson(successes, n, level);
        (successes / n, low, high)
    });
    let difference = p1 - p2;
    (difference - (p1 - low1).hypot(high2 - p2), difference + (p2 - low2).hypot(high1 - p1))
}

/// Method 10 for paired proportions: candidate minus baseline on the same rows.
pub fn paired(flips: &Flips, level: f64) -> (f64, f64) {
    let [both, lost, won, neither] =
        [flips.both_right, flips.regressions, flips.gains, flips.both_wrong].map(|count| count as f64);
    let n = both + lost + won + neither;
    let (p1, p2) = ((both + won) / n, (both + lost) / n);
    let ((low1, high1), (low2, high2)) = (wilson(both + won, n, level), wilson(both + lost, n, level));
    let correlation = correlation(both, lost, won, neither);
    let reach = |a: f64, b: f64| (a * a - 2.0 * correlation * a * b + b * b).max(0.0).sqrt();
    let difference = p1 - p2;
    (difference - reach(p1 - low1, high2 - p2), difference + reach(p2 - low2, high1 - p1))
}

/// Newcombe's phi, with his continuity correction where it is positive.
fn correlation(both: f64, lost: f64, won: f64, neither: f64) -> f64 {
    let product = (both + lost) * (won + neither) * (both + won) * (lost + neither);
    if product <= 0.0 {
        return 0.0;
    }
    let determinant = both * neither - lost * won;
    let n = both + lost + won + neither;
    let corrected = if determinant > 0.0 { (determinant - n / 2.0).max(0.0) } else { determinant };
    corrected / product.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: (f64, f64), expect: (f64, f64)) {
        assert!((found.0 - expect.0).abs() < 1e-12 && (found.1 - expect.1).abs() < 1e-12, "{found:?}");
    }

    // statsmodels 0.15.0, `newcombe_indep_159v172_200` in oracles/statistics.json.
    #[test]
    fn independent_proportions_equal_statsmodels() {
        close(independent((159, 200), (172, 200), 0.95), (-0.138_895_878_898_359_64, 0.009_348_652_293_528_728));
    }

    // `newcombe 150,22,9,19` and `newcombe airway 1,7,1,12` in oracles/reference_values.json; the second is a published example.
    #[test]
    fn paired_proportions_equal_the_reference_and_the_published_example() {
        let flips = Flips { both_right: 150, regressions: 22, gains: 9, both_wrong: 19 };
        close(paired(&flips, 0.95), (-0.121_163_921_991_177_43, -0.010_041_770_803_313_775));
        let airway = Flips { both_right: 1, regressions: 7, gains: 1, both_wrong: 12 };
        close(paired(&airway, 0.95), (-0.506_920_226_686_141, -0.025_559_124_164_859_78));
    }

    // The cross-check that the method is here for.
    #[test]
    fn the_paired_interval_is_near_that_of_tango() {
        for (lost, won) in [(22, 9), (3, 8), (0, 0), (40, 40)] {
            let flips = Flips { both_right: 300, regressions: lost, gains: won, both_wrong: 100 };
            let n = (400 + lost + won) as f64;
            let tango = crate::stats::tango::interval(lost as f64, won as f64, n, 0.95);
            let found = paired(&flips, 0.95);
            assert!((found.0 - tango.0).abs() < 0.01 && (found.1 - tango.1).abs() < 0.01, "{found:?} {tango:?}");
        }
    }
}

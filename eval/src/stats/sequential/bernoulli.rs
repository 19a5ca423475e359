//! The confidence sequence of a rate with a uniform mixture: errors, schema failures, slow calls (Robbins 1970; Howard et al. 2021, arXiv 1810.08240).
//! Knows nothing about what is counted; "p95 at most L" is "at most 5 % of calls slower than L".

use serde::{Deserialize, Serialize};
use statrs::function::gamma::ln_gamma;

use crate::stats::quantile;

/// All rates that the mixture has not rejected with error rate `alpha`, without the intersection over earlier looks.
pub fn interval(successes: u64, failures: u64, alpha: f64) -> (f64, f64) {
    let (s, f) = (successes as f64, failures as f64);
    let threshold = ln_gamma(s + 1.0) + ln_gamma(f + 1.0) - ln_gamma(s + f + 2.0) + alpha.ln();
    let term = |count: f64, log: f64| if count == 0.0 { 0.0 } else { count * log };
    let gap = |p: f64| term(s, p.ln()) + term(f, (-p).ln_1p()) - threshold;
    let peak = if successes + failures == 0 { 0.5 } else { s / (s + f) };
    let low = if successes == 0 { 0.0 } else { quantile::root(gap, 0.0, peak) };
    let high = if failures == 0 { 1.0 } else { quantile::root(|p| -gap(p), peak, 1.0) };
    (low, high)
}

/// A rate watched over time; its interval is the intersection over all looks, so it never widens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    alpha: f64,
    successes: u64,
    failures: u64,
    low: f64,
    high: f64,
}

impl Rate {
    /// Nothing seen yet.
    pub fn new(alpha: f64) -> Self {
        Self { alpha, successes: 0, failures: 0, low: 0.0, high: 1.0 }
    }

    /// Counts one event.
    pub fn observe(&mut self, success: bool) {
        if success {
            self.successes += 1
        } else {
            self.failures += 1
        }
        let (low, high) = interval(self.successes, self.failures, self.alpha);
        (self.low, self.high) = (self.low.max(low), self.high.min(high));
    }

    /// Events counted.
    pub fn n(&self) -> u64 {
        self.successes + self.failures
    }

    /// The interval now; with low above high the rate has changed while it was watched.
    pub fn interval(&self) -> (f64, f64) {
        (self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: (f64, f64), expect: (f64, f64)) {
        assert!((found.0 - expect.0).abs() < 1e-10 && (found.1 - expect.1).abs() < 1e-10, "{found:?}");
    }

    // `bernoulli sequence 140,60` and `bernoulli sequence 0,50` in oracles/reference_values.json; the first upper end agrees with ville 0.1.0.
    #[test]
    fn the_interval_equals_the_reference() {
        close(interval(140, 60, 0.05), (0.586_552_089_183_445, 0.799_002_659_550_422_8));
        close(interval(0, 50, 0.05), (0.0, 0.129_381_289_091_507_73));
        close(interval(50, 0, 0.05), (1.0 - 0.129_381_289_091_507_73, 1.0));
        assert_eq!(interval(0, 0, 0.05), (0.0, 1.0));
    }

    #[test]
    fn the_running_interval_never_widens() {
        let mut rate = Rate::new(0.05);
        let mut before = rate.interval();
        for step in 0..400 {
            rate.observe(step % 10 < 7);
            let now = rate.interval();
            assert!(now.0 >= before.0 && now.1 <= before.1);
            before = now;
        }
        let last = interval(280, 120, 0.05);
        assert!(before.0 >= last.0 && before.1 <= last.1 && before.0 < 0.7 && before.1 > 0.7);
        assert_eq!(rate.n(), 400);
    }
}

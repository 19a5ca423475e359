//! The confidence from which a local answer may be given, with a bound on the harm it does (learn then test, Angelopoulos et al. 2021, arXiv 2110.01052).
//! Knows nothing about where confidence comes from; calibration items are in neither the training nor the verdict set, and count as independent.

use super::binomial;
use super::sequential::Betting;
use crate::Error;

/// One calibration item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Item {
    /// How sure the local model is; higher is surer.
    pub confidence: f64,
    /// Whether the local answer is wrong and the frontier answer right.
    pub loss: bool,
}

/// A certified threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// Answer locally from this confidence on.
    pub confidence: f64,
    /// Items that would be answered locally.
    pub num_local: usize,
    /// Losses among them.
    pub num_losses: usize,
}

/// The lowest threshold at which the harm per **request**, local or not, is certified to be at most `epsilon` with probability 1 − `alpha`.
///
/// Exact binomial tests from the strictest threshold down; the first failure ends them. None means: route nothing.
///
/// # Errors
/// Without an item, with a confidence or threshold that is not a number, or when `epsilon` is not between 0 and 1.
pub fn per_request(items: &[Item], thresholds: &[f64], epsilon: f64, alpha: f64) -> Result<Option<Threshold>, Error> {
    let n = items.len() as u64;
    lowest(items, thresholds, epsilon, |at, _| Ok(binomial::at_most(at.num_losses as u64, n, epsilon) <= alpha))
}

/// The lowest threshold at which the harm per **local answer** is certified to be at most `epsilon` with probability 1 − `alpha`.
///
/// The strictest threshold must leave enough local answers to prove anything: without a loss about 4·ln(1/α)/(3·ε).
/// Tests E[(loss − ε)·1{local}] ≥ 0 by the betting process over the items in their order, which must not depend on the outcome.
///
/// # Errors
/// As [`per_request`].
pub fn per_local_answer(
    items: &[Item],
    thresholds: &[f64],
    epsilon: f64,
    alpha: f64,
) -> Result<Option<Threshold>, Error> {
    lowest(items, thresholds, epsilon, |_, threshold| {
        let mut process = Betting::new(epsilon - 1.0, epsilon, 0.0)?;
        for item in items {
            let local = f64::from(item.confidence >= threshold);
            process.observe((epsilon - f64::from(item.loss)) * local)?;
        }
        Ok(process.rejected(alpha))
    })
}

fn lowest(
    items: &[Item],
    thresholds: &[f64],
    epsilon: f64,
    passes: impl Fn(Threshold, f64) -> Result<bool, Error>,
) -> Result<Option<Threshold>, Error> {
    let mut numbers = items.iter().map(|item| item.confidence).chain(thresholds.iter().copied());
    if items.is_empty() || numbers.any(|number| number.is_nan()) || !(epsilon > 0.0 && epsilon < 1.0) {
        let problem = "needs items and thresholds that are numbers, and a harm between 0 and 1";
        return Err(Error::BadStatistic { statistic: "routing threshold", problem });
    }
    let mut strictest_first = thresholds.to_vec();
    strictest_first.sort_by(|a, b| b.total_cmp(a));
    let mut best = None;
    for confidence in strictest_first {
        let local = || items.iter().filter(|item| item.confidence >= confidence);
        let num_losses = local().filter(|item| item.loss).count();
        let at = Threshold { confidence, num_local: local().count(), num_losses };
        if !passes(at, confidence)? {
            break;
        }
        best = Some(at);
    }
    Ok(best)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::stats::random::Stream;

    // The items of `routing threshold` in oracles/reference_values.json.
    fn items() -> Vec<Item> {
        let item = |at: usize| {
            let confidence = (at as f64 + 0.5) / 500.0;
            Item { confidence, loss: at.is_multiple_of(20) && confidence < 0.6 }
        };
        (0..500).map(item).collect()
    }

    fn grid() -> Vec<f64> {
        (0..20).map(|at| f64::from(at) / 20.0).collect()
    }

    #[test]
    fn the_threshold_equals_the_reference() {
        let found = per_request(&items(), &grid(), 0.03, 0.05).unwrap().unwrap();
        assert_eq!(found.confidence, 0.25);
        assert_eq!(found.num_local, 375);
    }

    #[test]
    fn nothing_passes_where_every_local_answer_hurts() {
        let items: Vec<Item> = (0..500).map(|_| Item { confidence: 1.0, loss: true }).collect();
        assert_eq!(per_request(&items, &grid(), 0.03, 0.05).unwrap(), None);
        assert_eq!(per_local_answer(&items, &grid(), 0.03, 0.05).unwrap(), None);
    }

    #[test]
    fn harm_per_local_answer_is_the_stricter_promise() {
        let mut shuffled = items();
        shuffled.sort_by_key(|item| Stream::new(1, 0).bits(item.confidence.to_bits()));
        // Above 0.6 too few answers are left: 25 without a loss prove nothing.
        assert_eq!(per_local_answer(&shuffled, &grid(), 0.05, 0.05).unwrap(), None);
        let local = per_local_answer(&shuffled, &grid()[..13], 0.05, 0.05).unwrap().unwrap();
        let request = per_request(&shuffled, &grid()[..13], 0.05, 0.05).unwrap().unwrap();
        assert!(local.confidence >= request.confidence, "{local:?} {request:?}");
    }

    // The true harm is known: losses fall with confidence as (1 − c)/5, so that E[loss·1{c >= t}] = (1 − t)²/10.
    #[test]
    fn a_threshold_that_does_harm_is_certified_at_most_as_often_as_promised() {
        let (epsilon, runs) = (0.03, 400);
        let mut broken = 0;
        for run in 0..runs {
            let stream = Stream::new(3, run);
            let item = |at: u64| {
                let confidence = stream.uniform(2 * at);
                Item { confidence, loss: stream.uniform(2 * at + 1) < (1.0 - confidence) / 5.0 }
            };
            let items: Vec<Item> = (0..400).map(item).collect();
            let found = per_request(&items, &grid(), epsilon, 0.05).unwrap();
            broken += usize::from(found.is_some_and(|found| (1.0 - found.confidence).powi(2) / 10.0 > epsilon));
        }
        // 5 % of 400, and three standard errors.
        assert!(broken <= 33, "{broken}");
    }

    #[test]
    fn no_items_and_no_numbers_are_refused() {
        assert!(per_request(&[], &grid(), 0.03, 0.05).is_err());
        assert!(per_request(&[Item { confidence: f64::NAN, loss: false }], &grid(), 0.03, 0.05).is_err());
        assert!(per_request(&items(), &grid(), 0.0, 0.05).is_err());
    }
}

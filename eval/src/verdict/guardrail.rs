//! Guardrails: what a candidate must not make worse while its scores are as good.
//! Knows nothing about the metric; each guardrail is tested on its own at full alpha, and a thing not measured is undecided, never passed.

use serde::{Deserialize, Serialize};

use super::evidence::{Cost, Evidence, Score, Side};
use crate::decision::Guardrail;
use crate::stats::bootstrap::{self, REPLICATES, Sums};
use crate::stats::non_inferiority::PairedDifference;
use crate::stats::tail_share;

/// The share of answers that may be slower than the limit of a 95th percentile.
const SLOW_SHARE: f64 = 0.05;

/// What a guardrail says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Proven to hold.
    Pass,
    /// Proven broken.
    Broken,
    /// Neither.
    Undecided,
}

/// One guardrail, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardrailResult {
    /// Its name.
    pub name: String,
    /// Pairs that it was measured on.
    pub n: usize,
    /// What was measured, candidate minus baseline where both matter; none when it could not be.
    pub figure: Option<f64>,
    /// The one-sided bound of the figure on the side that could break the limit.
    pub bound: Option<f64>,
    /// The limit that the bound is held against.
    pub limit: f64,
    /// What it says.
    pub state: State,
    /// The same in words.
    pub words: String,
}

/// Measures one guardrail on all rows that both arms answered.
pub(crate) fn measure(guardrail: &Guardrail, evidence: &Evidence<'_>, alpha: f64, seed: u64) -> GuardrailResult {
    let answered: Vec<usize> = (0..evidence.new.len().min(evidence.old.len()))
        .filter(|&row| evidence.new[row].answered() && evidence.old[row].answered())
        .collect();
    let name = guardrail.name();
    match *guardrail {
        Guardrail::SchemaValidity { margin } => {
            share(name, "valid answers", margin, false, evidence, &answered, alpha, |side| side.schema_valid)
        }
        Guardrail::RefusalRate { margin } => {
            share(name, "refusals", margin, true, evidence, &answered, alpha, |side| Some(side.refused))
        }
        Guardrail::TimeoutRate { margin } => {
            share(name, "timeouts", margin, true, evidence, &answered, alpha, |side| Some(side.timed_out))
        }
        Guardrail::LatencyP95 { limit_secs } => latency(name, limit_secs, evidence, alpha),
        Guardrail::CostPerCorrect { margin } => cost(name, margin, evidence, &answered, alpha, seed),
    }
}

/// Rounded to a tenth, where nothing has no sign.
fn tenths(value: f64) -> f64 {
    (10.0 * value).round() / 10.0 + 0.0
}

/// A share of answers that must not fall, or with `harm` must not rise, by `margin` or more.
#[allow(
    clippy::too_many_arguments,
    reason = "one call for three guardrails that differ in these words and numbers alone"
)]
fn share(
    name: &str,
    what: &str,
    margin: f64,
    harm: bool,
    evidence: &Evidence<'_>,
    answered: &[usize],
    alpha: f64,
    read: impl Fn(&Side) -> Option<bool>,
) -> GuardrailResult {
    let known: Vec<(usize, bool, bool)> =
        answered.iter().filter_map(|&row| Some((row, read(&evidence.new[row])?, read(&evidence.old[row])?))).collect();
    if known.is_empty() || known.len() < answered.len() {
        return undecided(
            name,
            known.len(),
            margin,
            format!("{what} were not measured on {} rows", answered.len() - known.len()),
        );
    }
    let good = |value: bool| f64::from(u8::from(value != harm));
    let candidate: Vec<f64> = known.iter().map(|&(_, new, _)| good(new)).collect();
    let baseline: Vec<f64> = known.iter().map(|&(_, _, old)| good(old)).collect();
    let rows: Vec<usize> = known.iter().map(|&(row, ..)| row).collect();
    let difference = PairedDifference::of_means(&candidate, &baseline, &evidence.clusters.subset(&rows));
    // In the direction of harm, so that figure and bound read as the change of the share that is named.
    let sign = if harm { -1.0 } else { 1.0 };
    let (low, high) = (difference.low(alpha), difference.high(alpha));
    let state = if low > -margin {
        State::Pass
    } else if high < -margin {
        State::Broken
    } else {
        State::Undecided
    };
    let (figure, bound) = (sign * difference.value, sign * low);
    let words = format!(
        "{what} {:+.1} points (bound {:+.1}, limit {:+.1})",
        tenths(100.0 * figure),
        tenths(100.0 * bound),
        -sign * 100.0 * margin
    );
    let (figure, bound) = (Some(figure), Some(bound));
    GuardrailResult { name: name.to_owned(), n: known.len(), figure, bound, limit: -sign * margin, state, words }
}

/// "p95 ≤ limit" is "at most 5 % of answers are slower"; a timeout is slower than any limit.
fn latency(name: &str, limit_secs: f64, evidence: &Evidence<'_>, alpha: f64) -> GuardrailResult {
    let timed: Vec<(usize, f64)> = evidence
        .new
        .iter()
        .enumerate()
        .filter(|(_, side)| side.answered())
        .filter_map(|(row, side)| {
            let latency = if side.timed_out { Some(f64::INFINITY) } else { side.latency_secs };
            latency.map(|latency| (row, latency))
        })
        .collect();
    if timed.is_empty() {
        return undecided(name, 0, limit_secs, "no answer of the candidate was timed".to_owned());
    }
    let slow: Vec<bool> = timed.iter().map(|&(_, latency)| latency.is_nan() || latency > limit_secs).collect();
    let rows: Vec<usize> = timed.iter().map(|&(row, _)| row).collect();
    let (low, high) = tail_share::bounds(&slow, &evidence.clusters.subset(&rows), alpha);
    let count = slow.iter().filter(|&&slow| slow).count();
    let state = if high <= SLOW_SHARE {
        State::Pass
    } else if low > SLOW_SHARE {
        State::Broken
    } else {
        State::Undecided
    };
    let n = timed.len();
    let figure = count as f64 / n as f64;
    let words = format!(
        "{count} of {n} answers took longer than {limit_secs} s (share {:.1} %, bound {:.1} %, limit 5 %)",
        100.0 * figure,
        100.0 * high
    );
    let (figure, bound) = (Some(figure), Some(high));
    GuardrailResult { name: name.to_owned(), n, figure, bound, limit: SLOW_SHARE, state, words }
}

/// Cost per correct answer, as the cluster bootstrap of cost·correct′ − (1 + margin)·cost′·correct, which needs no division by a small count.
fn cost(
    name: &str,
    margin: f64,
    evidence: &Evidence<'_>,
    answered: &[usize],
    alpha: f64,
    seed: u64,
) -> GuardrailResult {
    let mut rows = Vec::new();
    // Of each row: the candidate's cost and score, the baseline's cost and score.
    let mut values = Vec::new();
    for &row in answered {
        let (new, old) = (&evidence.new[row], &evidence.old[row]);
        match (new.cost, old.cost, new.score, old.score) {
            (Cost::Unknown, ..) | (_, Cost::Unknown, ..) => {
                return undecided(name, 0, margin, "a price is unknown, so the cost is".to_owned());
            }
            (Cost::Usd(new_cost), Cost::Usd(old_cost), Score::Given(new_score), Score::Given(old_score)) => {
                rows.push(row);
                values.extend([new_cost, new_score, old_cost, old_score]);
            }
            _ => {}
        }
    }
    if rows.is_empty() {
        return undecided(name, 0, margin, "every answer came from the cache".to_owned());
    }
    let clusters = evidence.clusters.subset(&rows);
    let over = |totals: &[f64]| totals[0] * totals[3] - (1.0 + margin) * totals[2] * totals[1];
    let sums = Sums::new(4, values.chunks_exact(4), &clusters);
    let drawn = sums.and_then(|sums| Ok((sums.total(), bootstrap::single(&sums, over, REPLICATES, seed)?)));
    let Ok((totals, draws)) = drawn else {
        return undecided(name, 0, margin, "a cost is not a number".to_owned());
    };
    let difference = PairedDifference::bootstrap(draws.observed, &draws.sorted, rows.len(), clusters.num_clusters());
    let state = if !difference.determined() {
        State::Undecided
    } else if difference.high(alpha) <= 0.0 {
        State::Pass
    } else if difference.low(alpha) > 0.0 {
        State::Broken
    } else {
        State::Undecided
    };
    let per_correct = |cost: f64, correct: f64| (correct > 0.0).then(|| cost / correct);
    let (new, old) = (per_correct(totals[0], totals[1]), per_correct(totals[2], totals[3]));
    let figure = new.zip(old).filter(|&(_, old)| old > 0.0).map(|(new, old)| new / old - 1.0);
    let dollars = |cost: Option<f64>| cost.map_or("never right".to_owned(), |cost| format!("{cost:.6} USD"));
    let words = format!(
        "a correct answer costs {} from the candidate and {} from the baseline (limit {:+.0} %)",
        dollars(new),
        dollars(old),
        100.0 * margin
    );
    // The bound is of a product that has no unit a reader knows; the state says on which side of the limit it lies.
    GuardrailResult { name: name.to_owned(), n: rows.len(), figure, bound: None, limit: margin, state, words }
}

fn undecided(name: &str, n: usize, limit: f64, words: String) -> GuardrailResult {
    GuardrailResult { name: name.to_owned(), n, figure: None, bound: None, limit, state: State::Undecided, words }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::stats::Clusters;
    use crate::verdict::evidence::Judge;

    fn judge(guardrail: Guardrail, change: impl Fn(usize, &mut Side, &mut Side)) -> GuardrailResult {
        let clusters = Clusters::new(vec![None; 600]);
        let (mut new, mut old) = (vec![Side::scored(1.0); 600], vec![Side::scored(1.0); 600]);
        for row in 0..600 {
            change(row, &mut new[row], &mut old[row]);
        }
        let evidence = Evidence {
            candidate: "tuned",
            clusters: &clusters,
            new: &new,
            old: &old,
            replicates: None,
            worst_case: None,
            slices: Vec::new(),
            leaked_rows: Some(0),
            judge: Judge::NotUsed,
            reads: 1,
        };
        measure(&guardrail, &evidence, 0.05, 1)
    }

    #[test]
    fn schema_validity_passes_breaks_and_stays_open() {
        let guardrail = Guardrail::SchemaValidity { margin: 0.02 };
        let with = |invalid: usize| {
            judge(guardrail, move |row, new, old| {
                new.schema_valid = Some(row >= invalid);
                old.schema_valid = Some(true);
            })
        };
        assert_eq!(with(0).state, State::Pass);
        assert_eq!(with(12).state, State::Undecided);
        assert_eq!(with(60).state, State::Broken);
        assert_eq!(with(60).words, "valid answers -10.0 points (bound -12.2, limit -2.0)");
        assert_eq!(judge(guardrail, |_, _, _| {}).state, State::Undecided);
    }

    #[test]
    fn refusals_and_timeouts_are_rises() {
        let refused = judge(Guardrail::RefusalRate { margin: 0.02 }, |row, new, _| new.refused = row < 60);
        assert_eq!((refused.state, refused.limit), (State::Broken, 0.02));
        assert!((refused.figure.unwrap() - 0.1).abs() < 1e-12 && refused.bound.unwrap() > 0.1);
        let timeouts = judge(Guardrail::TimeoutRate { margin: 0.02 }, |row, _, old| old.timed_out = row < 5);
        assert_eq!(timeouts.state, State::Pass);
    }

    #[test]
    fn a_timeout_is_slower_than_any_limit_and_cached_rows_are_not_timed() {
        let guardrail = Guardrail::LatencyP95 { limit_secs: 2.0 };
        let with = |slow: usize| {
            judge(guardrail, move |row, new, _| {
                new.latency_secs = (row < 400).then_some(1.0);
                new.timed_out = row < slow;
            })
        };
        assert_eq!((with(5).state, with(5).n), (State::Pass, 400));
        assert_eq!(with(18).state, State::Undecided);
        assert_eq!(with(40).state, State::Broken);
        assert_eq!(judge(guardrail, |_, _, _| {}).state, State::Undecided);
    }

    #[test]
    fn cost_per_correct_answer_counts_wrong_answers_and_unknown_prices_decide_nothing() {
        let guardrail = Guardrail::CostPerCorrect { margin: 0.0 };
        let with = |new_cost: f64, wrong: usize| {
            judge(guardrail, move |row, new, old| {
                new.cost = Cost::Usd(new_cost * (1.0 + (row % 3) as f64));
                old.cost = Cost::Usd(0.004);
                new.score = Score::Given(f64::from(u8::from(row >= wrong)));
            })
        };
        assert_eq!(with(0.0001, 100).state, State::Pass);
        assert_eq!(with(0.002, 0).state, State::Undecided);
        assert_eq!(with(0.0015, 400).state, State::Broken);
        assert_eq!(judge(guardrail, |_, _, _| {}).state, State::Undecided);
        let cached = judge(guardrail, |_, new, old| (new.cost, old.cost) = (Cost::Cached, Cost::Usd(1.0)));
        assert_eq!(cached.state, State::Undecided);
    }
}

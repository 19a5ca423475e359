//! What answers took of time and money, over the rows of one arm.
//! Knows nothing about prices or providers: it reads what each call left. Cached answers are left out.

use serde::{Deserialize, Serialize};

use crate::metric::Setting;
use crate::stats::bootstrap::{self, Sums};
use crate::stats::{Estimate, LEVEL, Method, order_statistics};
use crate::{Finish, Outcome};

/// How long answers took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// Calls that were measured.
    pub n: usize,
    /// Calls that ended without an answer in time: they are slower than every other, and never dropped.
    pub timed_out: usize,
    /// Half of the calls took at most this many seconds.
    pub p50: Quantile,
    /// 95 of 100 calls took at most this many seconds.
    pub p95: Quantile,
}

/// A quantile with the 95 % interval of its order statistics; an end that falls on a timeout is none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantile {
    /// Seconds; none when it is a timeout.
    pub seconds: Option<f64>,
    /// Lower end.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

impl Latency {
    /// Quantiles of the seconds of calls, none for a timeout; none without a call.
    pub fn of(calls: impl Iterator<Item = Option<f64>>) -> Option<Self> {
        let seconds: Vec<f64> = calls.map(|secs| secs.unwrap_or(f64::INFINITY)).collect();
        let n = seconds.len();
        let timed_out = seconds.iter().filter(|secs| secs.is_infinite()).count();
        (n > timed_out).then_some(())?;
        Some(Self { n, timed_out, p50: quantile(&seconds, 0.5)?, p95: quantile(&seconds, 0.95)? })
    }
}

/// An end that is a timeout, or beyond the sample, bounds nothing.
fn quantile(seconds: &[f64], share: f64) -> Option<Quantile> {
    let found = order_statistics::quantile(seconds, share, LEVEL).ok()?;
    let finite = |secs: f64| Some(secs).filter(|secs| secs.is_finite());
    Some(Quantile { seconds: finite(found.value), low: finite(found.low), high: finite(found.high) })
}

/// What answers cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Calls whose cost is known.
    pub known: usize,
    /// Calls whose cost is not known: they are in no figure below, and unknown is not zero.
    pub unknown: usize,
    /// Dollars in all.
    pub total_usd: f64,
    /// Dollars of a thousand calls; none without a call of known cost.
    pub per_thousand_calls_usd: Option<Estimate>,
    /// Dollars of a right answer, by the score that decides; none when too few answers are right to bound it.
    pub per_correct_usd: Option<Estimate>,
}

impl Cost {
    /// Sums what calls cost; none when no call could have cost anything.
    pub(crate) fn of(outcomes: &[Outcome], primary_scorer: &str, setting: Setting<'_>) -> Option<Self> {
        let (mut known, mut unknown) = (0, 0);
        // Of each row: calls, dollars, score of the calls that are priced.
        let mut rows = Vec::with_capacity(3 * outcomes.len());
        for outcome in outcomes {
            let (mut calls, mut usd, mut score) = (0.0, 0.0, 0.0);
            for sample in &outcome.samples {
                let Some(call) = sample.call.as_ref().filter(|call| !call.cached) else { continue };
                let Some(cost) = call.cost_usd else {
                    // A call that gave no answer has no price of an answer; what it may have cost is told apart.
                    unknown += usize::from(!matches!(sample.finish, Finish::Failed { .. }));
                    continue;
                };
                known += 1;
                calls += 1.0;
                usd += cost;
                score += sample.scored.get(primary_scorer).and_then(|scored| scored.score).unwrap_or(0.0);
            }
            rows.extend([calls, usd, score]);
        }
        if known + unknown == 0 {
            return None;
        }
        let total_usd = rows.chunks_exact(3).map(|row| row[1]).sum();
        let sums = Sums::new(3, rows.chunks_exact(3), setting.clusters).ok()?;
        let ratios = |sums: &[f64]| [1000.0 * sums[1] / sums[0], sums[1] / sums[2]];
        let fill = |sums: &[f64], values: &mut [f64]| values.copy_from_slice(&ratios(sums));
        let num_replicates = if known == 0 { 0 } else { bootstrap::REPLICATES };
        let draws = bootstrap::several(&sums, 2, fill, num_replicates, setting.seed).ok()?;
        let estimate = |at: usize| {
            let (value, (low, high)) = (draws[at].observed, draws[at].percentile(LEVEL));
            // A draw without a right answer has no end, and such an interval no upper one: then the rows do not say.
            let (n, groups) = (known, setting.clusters.num_clusters());
            let known = [value, low, high].iter().all(|usd| usd.is_finite());
            known.then_some(Estimate { value, n, groups, low, high, method: Method::ClusterBootstrap })
        };
        let (per_thousand_calls_usd, per_correct_usd) = (estimate(0), estimate(1));
        Some(Self { known, unknown, total_usd, per_thousand_calls_usd, per_correct_usd })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::metric::tests::outcomes;
    use crate::outcome::Call;
    use crate::stats::Clusters;

    fn cost(num_right: usize, cost_usd: Option<f64>) -> Option<Cost> {
        let rows: Vec<_> = (0..40).map(|row| ("a", Some(if row < num_right { "a" } else { "b" }))).collect();
        let (mut outcomes, targets) = outcomes(&rows);
        for sample in outcomes.iter_mut().flat_map(|outcome| &mut outcome.samples) {
            sample.call = Some(Call { cost_usd, ..Call::default() });
        }
        let (names, clusters) = (BTreeMap::new(), Clusters::new([None; 40]));
        let setting = Setting { targets: &targets, labels: None, names: &names, clusters: &clusters, seed: 1 };
        Cost::of(&outcomes, "label", setting)
    }

    #[test]
    fn too_few_right_answers_do_not_bound_what_a_right_answer_costs() {
        let many = cost(30, Some(0.003)).unwrap();
        let per_correct = many.per_correct_usd.unwrap();
        assert!((per_correct.value - 0.004).abs() < 1e-12 && per_correct.low < 0.004 && per_correct.high > 0.004);
        assert!((many.per_thousand_calls_usd.unwrap().value - 3.0).abs() < 1e-12);
        // One draw in three holds no right answer at all.
        let one = cost(1, Some(0.003)).unwrap();
        assert!(one.per_correct_usd.is_none() && one.per_thousand_calls_usd.is_some());
        assert_eq!(cost(0, Some(0.003)).unwrap().per_correct_usd, None);
    }

    #[test]
    fn an_unknown_cost_is_counted_and_never_zero() {
        let found = cost(30, None).unwrap();
        assert_eq!((found.known, found.unknown, found.total_usd), (0, 40, 0.0));
        assert_eq!((found.per_thousand_calls_usd, found.per_correct_usd), (None, None));
    }
}

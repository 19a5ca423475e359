//! What answers took of time and money, over the rows of one arm.
//! Knows nothing about prices or providers: it reads what each call left. Cached answers are left out.

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::metric::Setting;
use crate::stats::bootstrap::{self, Sums};
use crate::stats::{Estimate, LEVEL, Method};

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
        let mut seconds: Vec<f64> = calls.map(|secs| secs.unwrap_or(f64::INFINITY)).collect();
        seconds.sort_by(f64::total_cmp);
        let n = seconds.len();
        let timed_out = seconds.iter().filter(|secs| secs.is_infinite()).count();
        (n > timed_out).then(|| Self { n, timed_out, p50: quantile(&seconds, 0.5), p95: quantile(&seconds, 0.95) })
    }
}

fn quantile(sorted: &[f64], q: f64) -> Quantile {
    let n = sorted.len();
    let at = |rank: usize| sorted.get(rank.clamp(1, n) - 1).copied().filter(|secs| secs.is_finite());
    let rank = (q * n as f64).ceil() as usize;
    let (low, high) = crate::stats::order_statistic::ranks(n, q, LEVEL);
    // A rank outside the sample bounds nothing.
    let end = |rank: usize| (1..=n).contains(&rank).then(|| at(rank)).flatten();
    Quantile { seconds: at(rank), low: end(low), high: end(high) }
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
    /// Dollars of a thousand calls.
    pub per_thousand_calls_usd: Option<Estimate>,
    /// Dollars of a right answer, by the score that decides.
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
                    unknown += 1;
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
        let sums = Sums::new(3, &rows, setting.clusters);
        let ratio = |of: fn(&[f64]) -> f64| {
            let value = of(&sums.total());
            if known == 0 || !value.is_finite() {
                return None;
            }
            let draws = bootstrap::single(&sums, of, bootstrap::REPLICATES, setting.seed);
            let (low, high) = bootstrap::percentile_bounds(&draws, LEVEL)?;
            let (n, groups) = (known, setting.clusters.num_clusters());
            Some(Estimate { value, n, groups, low, high, method: Method::ClusterBootstrap })
        };
        let per_thousand_calls_usd = ratio(|sums| 1000.0 * sums[1] / sums[0]);
        let per_correct_usd = ratio(|sums| sums[1] / sums[2]);
        Some(Self { known, unknown, total_usd, per_thousand_calls_usd, per_correct_usd })
    }
}

//! From how many calls a month on the local model is cheaper, from what was measured.
//! Knows nothing about prices of providers: it reads what each call cost.

use serde::{Deserialize, Serialize};

use crate::Results;
use crate::break_even::{self, BreakEven, Deployment, Request};
use crate::report::words;
use crate::stats::Clusters;
use crate::{ArmResult, Error};

/// What the local model costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalCosts {
    /// What its machine costs an hour while it answers.
    pub hardware_usd_per_hour: f64,
    /// What it costs a month whether it is asked or not.
    pub fixed_usd_per_month: f64,
    /// Share of the calls that it would answer.
    pub local_share: f64,
}

/// The volume at which both bills are the same, in words and numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakEvenFound {
    /// One sentence.
    pub sentence: String,
    /// The numbers.
    pub found: BreakEven,
    /// What they rest on.
    pub notes: Vec<String>,
}

impl BreakEvenFound {
    /// Price level, dollars a call, calls a month.
    pub fn lines(&self) -> Vec<Vec<String>> {
        let volume = |volume: Option<f64>| volume.map_or("never".to_owned(), |volume| format!("{:.0}", volume.ceil()));
        let line = |at: &break_even::AtPrice| {
            let price = self.found.frontier_usd.map_or(words::NONE.to_owned(), |usd| words::usd(at.price_factor * usd));
            let months = format!("{} [{}, {}]", volume(at.requests_per_month), volume(at.low), volume(at.high));
            vec![format!("{:.0} %", 100.0 * at.price_factor), price, months]
        };
        self.found.at_prices.iter().map(line).collect()
    }
}

/// None when the baseline has no known cost, or the candidate counts no tokens.
pub(super) fn break_even(
    results: &Results,
    candidate: &ArmResult,
    baseline: &ArmResult,
    costs: &LocalCosts,
) -> Result<Option<BreakEvenFound>, Error> {
    let Some(rate) = candidate.tokens_per_second.filter(|rate| *rate > 0.0) else { return Ok(None) };
    let rows = results.rows.iter().zip(candidate.outcomes.iter().zip(&baseline.outcomes));
    let (mut requests, mut groups) = (Vec::new(), Vec::new());
    for (at, (row, (new, old))) in rows.enumerate() {
        let priced: Vec<f64> = old
            .samples
            .iter()
            .filter_map(|sample| sample.call.as_ref().filter(|call| !call.cached)?.cost_usd)
            .collect();
        let Some(call) = new.first().and_then(|sample| sample.call.as_ref()) else { continue };
        if priced.is_empty() {
            continue;
        }
        let tokens = call.prompt_tokens as f64 + call.completion_tokens as f64;
        // The share is spread over the rows so that each tenth has its part.
        let local = ((at as f64 + 0.5) * costs.local_share).floor() > ((at as f64 - 0.5) * costs.local_share).floor();
        requests.push(Request {
            frontier_usd: priced.iter().sum::<f64>() / priced.len() as f64,
            local_usd: break_even::local_usd(tokens, rate, costs.hardware_usd_per_hour),
            local: local || costs.local_share >= 1.0,
        });
        groups.push(row.group.as_deref());
    }
    if requests.is_empty() || requests.iter().all(|request| request.frontier_usd == 0.0) {
        return Ok(None);
    }
    let clusters = Clusters::new(groups);
    let fixed = costs.fixed_usd_per_month;
    let found = break_even::break_even(&requests, &clusters, fixed, Deployment::Router, results.seed)?;
    let (new, old) = (&candidate.name, &baseline.name);
    let sentence = format!("{new} in place of {old} is {}", found.words());
    let notes = vec![
        format!("{} requests were measured under both arms; retries are part of their cost.", found.n),
        format!(
            "A local answer costs its tokens at {rate:.0} tokens/s on a machine of {} an hour; {} a month are paid whether it is asked or not.",
            words::usd(costs.hardware_usd_per_hour),
            words::usd(fixed)
        ),
        format!(
            "{:.0} % of the calls are answered locally; a router decides before the call.",
            100.0 * costs.local_share
        ),
    ];
    Ok(Some(BreakEvenFound { sentence, found, notes }))
}

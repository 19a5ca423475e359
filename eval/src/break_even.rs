//! From how many requests a month on the local model is cheaper, with an interval.
//! Knows nothing about price tables or providers: costs come per request, in dollars.
//!
//! | deployment | requests per month |
//! |---|---|
//! | router decides before the call | F / (r·(c_f − c_m)) |
//! | cascade: local first, the rest escalated | F / (r·c_f − c_m) |
//!
//! r is the share of requests answered locally, c_f what **those** would have cost at the frontier, c_m a local answer, F what a month costs
//! whatever is asked. A router sends the easy and therefore cheap prompts to the local model, so that the mean price of all requests would
//! promise too much. Hardware is counted once: in F where it is reserved, in c_m where it is paid by use.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::break_point::grouped;
use crate::stats::Clusters;
use crate::stats::bootstrap::{self, REPLICATES, Sums};
use crate::wire::Usage;

/// The prices that the table of a report shows: half, as listed, and half more.
const PRICE_FACTORS: [f64; 3] = [0.5, 1.0, 1.5];
/// The two-sided level of the interval.
const LEVEL: f64 = 0.95;
const TOKENS_PER_PRICE: f64 = 1e6;
const SECS_PER_HOUR: f64 = 3600.0;

/// Prices of the disjoint buckets of [`Usage`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketPrices {
    /// Input that no cache had.
    pub input_uncached_usd_per_million: f64,
    /// Input from the cache.
    pub cache_read_usd_per_million: f64,
    /// Input written to a cache of five minutes.
    pub cache_write_5m_usd_per_million: f64,
    /// Input written to a cache of one hour.
    pub cache_write_1h_usd_per_million: f64,
    /// Output, thought or shown.
    pub output_usd_per_million: f64,
}

/// What a request costs at the frontier: Σ tokens × price over disjoint buckets, times 1 + the share of calls that had to be paid twice.
pub fn frontier_usd(usage: &Usage, prices: &BucketPrices, retry_rate: f64) -> f64 {
    let buckets = [
        (usage.input_uncached, prices.input_uncached_usd_per_million),
        (usage.cache_read, prices.cache_read_usd_per_million),
        (usage.cache_write_5m, prices.cache_write_5m_usd_per_million),
        (usage.cache_write_1h, prices.cache_write_1h_usd_per_million),
        (usage.output(), prices.output_usd_per_million),
    ];
    let once: f64 = buckets.iter().map(|&(tokens, price)| tokens as f64 * price).sum();
    once / TOKENS_PER_PRICE * (1.0 + retry_rate)
}

/// What a local answer of `tokens` tokens costs on hardware paid by use, at the throughput that was measured on it.
pub fn local_usd(tokens: f64, tokens_per_second: f64, usd_per_hour: f64) -> f64 {
    tokens / tokens_per_second / SECS_PER_HOUR * usd_per_hour
}

/// The same for 1,000 calls.
pub fn local_usd_per_thousand_calls(tokens_per_call: f64, tokens_per_second: f64, usd_per_hour: f64) -> f64 {
    1000.0 * local_usd(tokens_per_call, tokens_per_second, usd_per_hour)
}

/// Replicas that carry the peak: ceil(peak requests per second × seconds of one / the share of time a replica may be busy), at least one.
pub fn replicas(peak_requests_per_second: f64, mean_secs: f64, target_utilisation: f64) -> u64 {
    // A product that is a whole number but for rounding needs no further replica.
    ((peak_requests_per_second * mean_secs / target_utilisation - 1e-9).ceil().max(1.0)) as u64
}

/// What a month costs whatever is asked, in dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MonthlyFixed {
    /// Replicas that are reserved; 0 where hardware is paid by use.
    pub replicas: u64,
    /// Hours a month.
    pub hours: f64,
    /// Price of one replica.
    pub usd_per_hour: f64,
    /// Training, spread over the months it serves.
    pub training_usd: f64,
    /// Evaluation.
    pub evaluation_usd: f64,
    /// Labelling.
    pub labelling_usd: f64,
    /// Operation.
    pub operation_usd: f64,
}

impl MonthlyFixed {
    /// F.
    pub fn total_usd(&self) -> f64 {
        self.replicas as f64 * self.hours * self.usd_per_hour
            + self.training_usd
            + self.evaluation_usd
            + self.labelling_usd
            + self.operation_usd
    }
}

/// Who answers first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deployment {
    /// A router decides before the call.
    Router,
    /// The local model answers first; what it is not sure of goes to the frontier as well.
    Cascade,
}

/// One request as both sides would bill it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    /// What the frontier costs for it, retries included.
    pub frontier_usd: f64,
    /// What a local answer costs for it.
    pub local_usd: f64,
    /// Whether the local answer is the one that is used.
    pub local: bool,
}

/// Where the two bills meet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakEven {
    /// Who answers first.
    pub deployment: Deployment,
    /// F.
    pub fixed_usd_per_month: f64,
    /// c_f: the mean frontier cost of the requests answered locally; none when there are none.
    pub frontier_usd: Option<f64>,
    /// c_m: the mean cost of a local answer; none when none is asked for.
    pub local_usd: Option<f64>,
    /// r.
    pub local_share: f64,
    /// Requests of the sample.
    pub n: usize,
    /// Groups they belong to.
    pub clusters: usize,
    /// The volume at today's and other prices; the one with factor 1 is the answer.
    pub at_prices: Vec<AtPrice>,
}

/// The volume at one level of frontier prices.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtPrice {
    /// The listed price times this.
    pub price_factor: f64,
    /// Requests per month at which both cost the same; none means never.
    pub requests_per_month: Option<f64>,
    /// Lower end of the 95 % interval; none means never.
    pub low: Option<f64>,
    /// Upper end of the 95 % interval; none means never.
    pub high: Option<f64>,
}

/// The volume from which on local answers are cheaper, by the formulas of this module; its interval draws whole groups of requests.
///
/// # Errors
/// When there is no request, an amount is negative or not a number, or there are not as many requests as rows of `clusters`.
pub fn break_even(
    requests: &[Request],
    clusters: &Clusters,
    fixed_usd_per_month: f64,
    deployment: Deployment,
    seed: u64,
) -> Result<BreakEven, Error> {
    let amount = |usd: f64| usd.is_finite() && usd >= 0.0;
    let usable = requests.iter().all(|request| amount(request.frontier_usd) && amount(request.local_usd));
    if requests.is_empty() || requests.len() != clusters.num_rows() || !usable || !amount(fixed_usd_per_month) {
        let problem = "break-even needs one request for each row, and amounts of 0 or more dollars".to_owned();
        return Err(Error::BadEvidence { problem });
    }
    let asked = |request: &Request| deployment == Deployment::Cascade || request.local;
    let when = |yes: bool, value: f64| if yes { value } else { 0.0 };
    // Of each request: itself, what it saves, what it spends.
    let rows: Vec<f64> = requests
        .iter()
        .flat_map(|request| [1.0, when(request.local, request.frontier_usd), when(asked(request), request.local_usd)])
        .collect();
    let sums = Sums::new(3, rows.chunks_exact(3), clusters)?;
    let num_clusters = clusters.num_clusters();
    let volumes = |sums: &[f64]| PRICE_FACTORS.map(|factor| volume(sums, fixed_usd_per_month, factor));
    let fill = |sums: &[f64], values: &mut [f64]| values.copy_from_slice(&volumes(sums));
    let draws = bootstrap::several(&sums, PRICE_FACTORS.len(), fill, REPLICATES, seed)?;
    let at_prices = PRICE_FACTORS.iter().zip(&draws).map(|(&price_factor, draws)| {
        // One group says nothing about other requests.
        let (low, high) = if num_clusters < 2 { (0.0, f64::INFINITY) } else { draws.percentile(LEVEL) };
        let ever = |volume: f64| Some(volume).filter(|volume| volume.is_finite());
        AtPrice { price_factor, requests_per_month: ever(draws.observed), low: ever(low), high: ever(high) }
    });
    let at_prices = at_prices.collect();
    let total = sums.total();
    let count = |counts: &dyn Fn(&Request) -> bool| requests.iter().filter(|request| counts(request)).count() as f64;
    let (local, asked) = (count(&|request| request.local), count(&asked));
    let mean = |sum: f64, count: f64| (count > 0.0).then(|| sum / count);
    Ok(BreakEven {
        deployment,
        fixed_usd_per_month,
        frontier_usd: mean(total[1], local),
        local_usd: mean(total[2], asked),
        local_share: local / requests.len() as f64,
        n: requests.len(),
        clusters: num_clusters,
        at_prices,
    })
}

/// F over the mean saving of a request; infinite when a request saves nothing.
fn volume(sums: &[f64], fixed_usd: f64, price_factor: f64) -> f64 {
    let saved = price_factor * sums[1] - sums[2];
    if saved > 0.0 { fixed_usd * sums[0] / saved } else { f64::INFINITY }
}

impl BreakEven {
    /// The answer in words: "cheaper from 493 421 requests a month on (95 % interval 450 000 to 560 000)", or "never cheaper".
    pub fn words(&self) -> String {
        let Some(now) = self.at_prices.iter().find(|at| at.price_factor == 1.0) else { return String::new() };
        let volume = |volume: Option<f64>| volume.map_or("never".to_owned(), |volume| grouped(volume.ceil()));
        match now.requests_per_month {
            None => match now.low {
                None => "never cheaper".to_owned(),
                low => format!("never cheaper (95 % interval {} to never)", volume(low)),
            },
            found => format!(
                "cheaper from {} requests a month on (95 % interval {} to {})",
                volume(found),
                volume(now.low),
                volume(now.high)
            ),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    /// Ten requests, eight of them answered locally, at .004 and .0002 dollars.
    fn requests() -> (Vec<Request>, Clusters) {
        let requests = (0..200).map(|row| Request { frontier_usd: 0.004, local_usd: 0.0002, local: row % 10 < 8 });
        (requests.collect(), Clusters::new(vec![None; 200]))
    }

    // `break even route` and `break even cascade` in oracles/reference_values.json.
    #[test]
    fn both_formulas_equal_the_reference() {
        let (requests, clusters) = requests();
        for (deployment, expect) in [(Deployment::Router, 493_421.052_631_578_95), (Deployment::Cascade, 500_000.0)] {
            let found = break_even(&requests, &clusters, 1500.0, deployment, 1).unwrap();
            let now = found.at_prices[1];
            assert!((now.requests_per_month.unwrap() / expect - 1.0).abs() < 1e-9, "{found:?}");
            assert!(now.low.unwrap() < expect && now.high.unwrap() > expect);
            assert!((found.frontier_usd.unwrap() - 0.004).abs() < 1e-12 && (found.local_share - 0.8).abs() < 1e-12);
            assert!(found.at_prices[0].requests_per_month > found.at_prices[2].requests_per_month);
        }
        let found = break_even(&requests, &clusters, 1500.0, Deployment::Router, 1).unwrap();
        assert!(
            found.words().starts_with("cheaper from 493 422 requests a month on (95 % interval 4"),
            "{}",
            found.words()
        );
    }

    #[test]
    fn a_local_answer_that_costs_as_much_never_pays() {
        let (mut requests, clusters) = requests();
        requests.iter_mut().for_each(|request| request.local_usd = 0.004);
        let found = break_even(&requests, &clusters, 1500.0, Deployment::Router, 1).unwrap();
        assert_eq!((found.at_prices[1].requests_per_month, found.words().as_str()), (None, "never cheaper"));
        assert!(found.at_prices[2].requests_per_month.is_some());
        requests.iter_mut().for_each(|request| request.local = false);
        let found = break_even(&requests, &clusters, 1500.0, Deployment::Router, 1).unwrap();
        assert_eq!((found.frontier_usd, found.local_usd, found.words().as_str()), (None, None, "never cheaper"));
    }

    #[test]
    fn cheap_prompts_that_stay_local_save_only_what_they_cost() {
        let request = |row: usize| Request {
            frontier_usd: if row.is_multiple_of(2) { 0.001 } else { 0.009 },
            local_usd: 0.0,
            local: row.is_multiple_of(2),
        };
        let requests: Vec<Request> = (0..100).map(request).collect();
        let found = break_even(&requests, &Clusters::new(vec![None; 100]), 100.0, Deployment::Router, 1).unwrap();
        assert!((found.at_prices[1].requests_per_month.unwrap() - 200_000.0).abs() < 1e-6);
    }

    #[test]
    fn buckets_throughput_and_replicas() {
        let usage = Usage {
            input_uncached: 1_000,
            cache_read: 10_000,
            output_visible: 200,
            output_reasoning: 300,
            ..Usage::default()
        };
        let prices = BucketPrices {
            input_uncached_usd_per_million: 3.0,
            cache_read_usd_per_million: 0.3,
            cache_write_5m_usd_per_million: 3.75,
            cache_write_1h_usd_per_million: 6.0,
            output_usd_per_million: 15.0,
        };
        assert!((frontier_usd(&usage, &prices, 0.1) - 0.0135 * 1.1).abs() < 1e-12);
        // 500 tokens at 2 500 a second are .2 s; 1 000 calls at 3.60 dollars an hour are .2 dollars.
        assert!((local_usd_per_thousand_calls(500.0, 2500.0, 3.6) - 0.2).abs() < 1e-12);
        assert_eq!((replicas(10.0, 0.3, 0.6), replicas(10.0, 0.31, 0.6), replicas(0.0, 1.0, 0.5)), (5, 6, 1));
        let fixed = MonthlyFixed {
            replicas: 2,
            hours: 730.0,
            usd_per_hour: 1.0,
            operation_usd: 40.0,
            ..MonthlyFixed::default()
        };
        assert_eq!(fixed.total_usd(), 1500.0);
    }

    #[test]
    fn impossible_amounts_are_refused() {
        let (mut requests, clusters) = requests();
        assert!(break_even(&requests[1..], &clusters, 1.0, Deployment::Router, 1).is_err());
        assert!(break_even(&requests, &clusters, f64::NAN, Deployment::Router, 1).is_err());
        requests[3].frontier_usd = -1.0;
        assert!(break_even(&requests, &clusters, 1.0, Deployment::Router, 1).is_err());
        assert!(break_even(&[], &Clusters::new([]), 1.0, Deployment::Router, 1).is_err());
    }
}

//! The verdict: may the candidate replace the baseline, decided from numbers by the table below and by nothing else.
//! Knows nothing about files, arms, prompts or reports; what was decided beforehand comes as a [`Decision`].
//!
//! | order | condition | verdict |
//! |---|---|---|
//! | 1 | a validity gate fails | `INSUFFICIENT`, with the gate as the reason |
//! | 2 | U < −δ, or a guardrail is proven broken | `KEEP_FRONTIER` |
//! | 3 | L > 0 and all guardrails pass | `REPLACE_BETTER` |
//! | 4 | L > −δ and all guardrails pass | `REPLACE` |
//! | 5 | anything else | `INSUFFICIENT`, with the items still needed |
//!
//! `REPLACE` and then `REPLACE_BETTER` is a fixed sequence, and quality with every guardrail an intersection–union test, so neither costs alpha.

pub mod candidates;
pub mod evidence;
pub mod gates;
pub mod guardrail;
pub mod planning;
mod sentence;
pub mod slices;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod simulation;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::decision::{Decision, Standing, Test};
use crate::stats::non_inferiority::PairedDifference;
use crate::stats::paired::Flips;
use crate::stats::power::{self, Sides};
pub use candidates::decide_candidates;
pub use evidence::{Cost, Evidence, Judge, Pairs, Replicates, Score, Side, SliceRows};
pub use gates::{Gate, GateName};
pub use guardrail::{GuardrailResult, State};
pub use slices::SliceVerdict;

/// The version of the format of a verdict.
pub const VERSION: u32 = 1;

/// The four answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Answer {
    /// The candidate is better than the baseline.
    ReplaceBetter,
    /// The candidate is not worse than the baseline by the margin.
    Replace,
    /// The candidate is worse by more than the margin, or breaks a guardrail.
    KeepFrontier,
    /// The rows do not say.
    Insufficient,
}

impl Answer {
    /// All four, the best for the candidate first. Nothing proven is better for it than a loss that is proven.
    pub const ALL: [Self; 4] = [Self::ReplaceBetter, Self::Replace, Self::Insufficient, Self::KeepFrontier];

    /// Its name, in files and for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ReplaceBetter => "REPLACE_BETTER",
            Self::Replace => "REPLACE",
            Self::KeepFrontier => "KEEP_FRONTIER",
            Self::Insufficient => "INSUFFICIENT",
        }
    }

    /// Whether it is at least as good for the candidate as another one.
    #[must_use]
    pub fn reaches(self, bar: Self) -> bool {
        Self::ALL.into_iter().take_while(|answer| *answer != bar).chain([bar]).any(|answer| answer == self)
    }
}

/// A verdict about one candidate, with every number it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// The version of this format.
    pub version: u32,
    /// The answer.
    pub answer: Answer,
    /// Why, in words.
    pub reason: String,
    /// The arm that was judged.
    pub candidate: String,
    /// The arm it would replace.
    pub baseline: String,
    /// The metric.
    pub metric: String,
    /// δ.
    pub margin: f64,
    /// The one-sided error rate at which this candidate was tested; with several candidates Holm's share of the registered one.
    pub alpha: f64,
    /// The power that `needed` and `detectable` promise.
    pub power: f64,
    /// Candidate minus baseline; none without a complete pair.
    pub estimate: Option<f64>,
    /// L, the lower one-sided bound.
    pub low: Option<f64>,
    /// U, the upper one-sided bound.
    pub high: Option<f64>,
    /// The one-sided p-value of "the loss is the margin or more".
    pub p_not_worse: f64,
    /// How the bounds were made.
    pub method: Test,
    /// Degrees of freedom of the t bound, which few or unequal groups make few.
    pub freedom: Option<f64>,
    /// Complete pairs.
    pub n: usize,
    /// Groups they belong to.
    pub clusters: usize,
    /// What the groups are called.
    pub groups: String,
    /// Pairs without a score.
    pub missing: usize,
    /// The smallest true difference found with this power.
    pub detectable: Option<f64>,
    /// The chance that such rows prove a candidate that is exactly as good.
    pub power_if_equal: Option<f64>,
    /// Rows still needed for `REPLACE`; none when quality is proven, or more data will not turn this.
    pub needed: Option<u64>,
    /// Whether more rows of the same kind can turn this into `REPLACE`.
    pub more_data_can_help: bool,
    /// L when every pair with an unreadable judge goes to the baseline; none without such pairs.
    pub worst_case_low: Option<f64>,
    /// The flip table of right-or-wrong scores.
    pub flips: Option<Flips>,
    /// The validity gates.
    pub gates: Vec<Gate>,
    /// The guardrails.
    pub guardrails: Vec<GuardrailResult>,
    /// The registered slices.
    pub slices: Vec<SliceVerdict>,
    /// How often results were read against these rows, this time included.
    pub reads: usize,
    /// Whether the error rate is kept.
    pub standing: Standing,
}

impl Verdict {
    /// Whether the answer is `REPLACE` or `REPLACE_BETTER`, and one to rely on.
    pub fn replaces(&self) -> bool {
        self.reaches(Answer::Replace)
    }

    /// Whether the answer is at least as good for the candidate as `bar`. What was decided after the answers were seen is
    /// no verdict and reaches nothing.
    pub fn reaches(&self, bar: Answer) -> bool {
        !self.standing.is_exploratory() && self.answer.reaches(bar)
    }

    /// The verdict in one sentence that needs no other page.
    pub fn sentence(&self) -> String {
        sentence::of(self)
    }
}

/// The verdict about the only candidate of a decision; for several see [`decide_candidates`].
///
/// # Errors
/// When the evidence does not fit the decision: other candidates or slices, a test that the rows do not allow, more rows than n_max.
pub fn decide(decision: &Decision, standing: &Standing, evidence: &Evidence<'_>) -> Result<Verdict, Error> {
    let [only] = decision.candidates.as_slice() else {
        let problem = format!("{} candidates are registered, judge them together", decision.candidates.len());
        return Err(Error::BadEvidence { problem });
    };
    if only != evidence.candidate {
        let problem = format!("the registered candidate is \"{only}\", not \"{}\"", evidence.candidate);
        return Err(Error::BadEvidence { problem });
    }
    decide_at(decision, standing, evidence, decision.alpha)
}

/// The verdict about one of the registered candidates at an error rate of its own.
pub(crate) fn decide_at(
    decision: &Decision,
    standing: &Standing,
    evidence: &Evidence<'_>,
    alpha: f64,
) -> Result<Verdict, Error> {
    let num_rows = evidence.clusters.num_rows();
    if num_rows > decision.n_max {
        let problem = format!("{num_rows} rows, but the decision allows at most n_max = {}", decision.n_max);
        return Err(Error::BadEvidence { problem });
    }
    let rows: Vec<usize> = (0..num_rows).collect();
    let pairs = Pairs::new(evidence.new, evidence.old, evidence.clusters, &rows)?;
    let baseline = match evidence.replicates {
        _ if pairs.kept.is_empty() => None,
        Some(replicates) => Some(replicates.baseline),
        None => Some(pairs.baseline.iter().sum::<f64>() / pairs.baseline.len() as f64),
    };
    let gates = gates::of_evaluation(&decision.gates, evidence, &pairs, baseline);
    let difference = difference(decision.test, &pairs, evidence.replicates)?;
    let guardrails: Vec<_> = decision
        .guardrails
        .iter()
        .map(|guardrail| guardrail::measure(guardrail, evidence, alpha, decision.seed))
        .collect();
    let slices = slices::judge(decision, evidence, &guardrails, alpha)?;
    let worst = worst_case(decision, evidence, &rows)?;
    let figures = Figures::new(decision, alpha, difference.as_ref(), pairs.kept.len());
    let (answer, reason) = answer(decision, alpha, difference.as_ref(), &gates, &guardrails, &worst, &figures);
    let at = |read: fn(&PairedDifference, f64) -> f64| difference.as_ref().map(|found| read(found, alpha));
    Ok(Verdict {
        version: VERSION,
        answer,
        reason,
        candidate: evidence.candidate.to_owned(),
        baseline: decision.baseline.clone(),
        metric: decision.metric.clone(),
        margin: decision.margin,
        alpha,
        power: decision.power,
        estimate: difference.as_ref().map(|found| found.value),
        low: at(PairedDifference::low),
        high: at(PairedDifference::high),
        p_not_worse: difference.as_ref().map_or(1.0, |found| found.p_not_worse(decision.margin)),
        method: decision.test,
        freedom: difference.as_ref().and_then(PairedDifference::freedom),
        n: pairs.kept.len(),
        clusters: pairs.clusters.num_clusters(),
        groups: decision.groups.clone(),
        missing: num_rows - pairs.kept.len(),
        detectable: figures.detectable,
        power_if_equal: figures.power_if_equal,
        needed: figures.needed,
        more_data_can_help: figures.more_data_can_help,
        worst_case_low: match &worst {
            WorstCase::Known(difference) => Some(difference.low(alpha)),
            WorstCase::NotNeeded | WorstCase::Unknown => None,
        },
        flips: decision.test.is_of_means().then(|| Flips::count(&pairs.candidate, &pairs.baseline)).flatten(),
        gates,
        guardrails,
        slices,
        reads: evidence.reads,
        standing: standing.clone(),
    })
}

/// The difference by the registered test; none without a complete pair.
pub(crate) fn difference(
    test: Test,
    pairs: &Pairs,
    replicates: Option<Replicates<'_>>,
) -> Result<Option<PairedDifference>, Error> {
    let bad = |problem: &str| Err(Error::BadEvidence { problem: problem.to_owned() });
    if pairs.kept.is_empty() {
        return Ok(None);
    }
    match (test, replicates) {
        (Test::ClusterBootstrap, Some(found)) => {
            if !found.value.is_finite() || found.sorted.is_empty() || !found.sorted.is_sorted() {
                return bad("replicates must be finite and sorted");
            }
            let (n, clusters) = (pairs.kept.len(), pairs.clusters.num_clusters());
            Ok(Some(PairedDifference::bootstrap(found.value, found.sorted, n, clusters)))
        }
        (Test::ClusterBootstrap, None) => bad("the registered test is cluster_bootstrap, which needs replicates"),
        (_, Some(_)) => bad("there are replicates, but the registered test is of a mean"),
        (Test::Tango, None) => match PairedDifference::tango(&pairs.candidate, &pairs.baseline, &pairs.clusters) {
            Some(found) => Ok(Some(found)),
            None => bad(
                "the registered test is tango, which needs right-or-wrong scores and rows without groups\nhint: register clustered_t",
            ),
        },
        (Test::ClusteredT, None) => {
            Ok(Some(PairedDifference::clustered_t(&pairs.candidate, &pairs.baseline, &pairs.clusters)))
        }
    }
}

/// What remains of the claim when every unreadable judgement went to the baseline.
enum WorstCase {
    NotNeeded,
    /// There are such rows, and nobody computed what they would do to a metric that is not a mean.
    Unknown,
    Known(PairedDifference),
}

fn worst_case(decision: &Decision, evidence: &Evidence<'_>, rows: &[usize]) -> Result<WorstCase, Error> {
    let unreadable = |side: &Side| side.score == Score::JudgeUnreadable;
    if !evidence.new.iter().chain(evidence.old).any(unreadable) {
        return Ok(WorstCase::NotNeeded);
    }
    if decision.test == Test::ClusterBootstrap && evidence.worst_case.is_none() {
        return Ok(WorstCase::Unknown);
    }
    let pairs = Pairs::worst_case(evidence.new, evidence.old, evidence.clusters, rows)?;
    let replicates = evidence.worst_case.filter(|_| decision.test == Test::ClusterBootstrap);
    Ok(difference(decision.test, &pairs, replicates)?.map_or(WorstCase::Unknown, WorstCase::Known))
}

/// The table of this module, in its order.
fn answer(
    decision: &Decision,
    alpha: f64,
    difference: Option<&PairedDifference>,
    gates: &[Gate],
    guardrails: &[GuardrailResult],
    worst: &WorstCase,
    figures: &Figures,
) -> (Answer, String) {
    let failed: Vec<&str> = gates.iter().filter(|gate| !gate.pass).map(|gate| gate.words.as_str()).collect();
    let Some(difference) = difference.filter(|_| failed.is_empty()) else {
        return (Answer::Insufficient, format!("a validity gate fails: {}", failed.join("; ")));
    };
    let (low, high, margin) = (difference.low(alpha), difference.high(alpha), decision.margin);
    let of_state = |state: State| guardrails.iter().filter(move |result| result.state == state);
    let words = |state: State| of_state(state).map(|result| result.words.as_str()).collect::<Vec<_>>().join("; ");
    if high < -margin {
        return (Answer::KeepFrontier, "the candidate is worse by more than the margin".to_owned());
    }
    if of_state(State::Broken).next().is_some() {
        return (Answer::KeepFrontier, format!("a guardrail is broken: {}", words(State::Broken)));
    }
    let worst_low = match worst {
        WorstCase::NotNeeded => low,
        WorstCase::Known(found) => found.low(alpha).min(low),
        WorstCase::Unknown => -1.0,
    };
    if low <= -margin {
        return (Answer::Insufficient, figures.words());
    }
    if worst_low <= -margin {
        let reason = "the claim does not hold if every unreadable judgement goes to the baseline";
        return (Answer::Insufficient, reason.to_owned());
    }
    if of_state(State::Undecided).next().is_some() {
        return (Answer::Insufficient, format!("a guardrail is not proven: {}", words(State::Undecided)));
    }
    if worst_low > 0.0 {
        return (Answer::ReplaceBetter, "the candidate is better, and every guardrail passes".to_owned());
    }
    (Answer::Replace, "the candidate is not worse by the margin, and every guardrail passes".to_owned())
}

/// What the rows at hand could have shown, and how many more are needed.
struct Figures {
    detectable: Option<f64>,
    power_if_equal: Option<f64>,
    needed: Option<u64>,
    more_data_can_help: bool,
}

impl Figures {
    fn new(decision: &Decision, alpha: f64, difference: Option<&PairedDifference>, n: usize) -> Self {
        let error = difference.and_then(|found| found.standard_error(alpha));
        let value = difference.map(|found| found.value);
        let proven = difference.is_some_and(|found| found.low(alpha) > -decision.margin);
        let needed = value.zip(error).filter(|_| !proven).and_then(|(value, error)| {
            power::items_still_needed(n, error, value, decision.margin, alpha, decision.power)
        });
        // Rows that all differ alike have no spread, and that says nothing about the next ones.
        let spread = error.filter(|error| *error > 0.0);
        Self {
            detectable: spread.map(|error| power::detectable(error, alpha, decision.power, Sides::One)),
            power_if_equal: spread.map(|error| planning::power_if_equal(error, decision.margin, alpha)),
            needed,
            more_data_can_help: value.is_none_or(|value| value > -decision.margin),
        }
    }

    fn words(&self) -> String {
        match self.needed {
            _ if !self.more_data_can_help => {
                "the observed loss is the margin or more: more data will not turn this into REPLACE".to_owned()
            }
            Some(needed) => format!(
                "about {needed} more rows like these are needed; judge them as fresh sealed rows, reading the same rows again is no test"
            ),
            None => "there is no spread between groups to judge by".to_owned(),
        }
    }
}

impl Test {
    /// Whether this test is of a mean of row scores.
    fn is_of_means(self) -> bool {
        self != Self::ClusterBootstrap
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;

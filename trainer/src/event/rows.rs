//! Owns what events say of an evaluation: rows with what was written to them, and how arms stand. Plain values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A held-out row and what a model wrote to it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Steps done when it was written.
    #[serde(default)]
    pub step: Option<u64>,
    /// Who wrote it.
    pub arm: String,
    /// The row.
    pub id: String,
    /// What was asked; the middle of a long text is left out.
    pub prompt: String,
    /// What should have been written.
    pub target: String,
    /// What was written.
    pub output: String,
    /// The score of the row, from 0 to 1; none if it could not be judged.
    #[serde(default)]
    pub score: Option<f64>,
    /// How the answer was read, in a few words.
    #[serde(default)]
    pub verdict: String,
}

/// How one arm of an evaluation stands. A later one replaces an earlier one of the same arm.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmStanding {
    /// The arm.
    pub arm: String,
    /// Rows answered.
    pub done: u64,
    /// Rows in all.
    pub rows: u64,
    /// The metric of the score, such as `exact match`.
    #[serde(default)]
    pub metric: String,
    /// Rows that have a score.
    #[serde(default)]
    pub scored: u64,
    /// The score of the rows so far.
    #[serde(default)]
    pub score: Option<f64>,
    /// Lower end of its interval.
    #[serde(default)]
    pub low: Option<f64>,
    /// Upper end of its interval.
    #[serde(default)]
    pub high: Option<f64>,
    /// The median seconds of an answer.
    #[serde(default)]
    pub p50_secs: Option<f64>,
    /// Seconds that one answer in twenty exceeds.
    #[serde(default)]
    pub p95_secs: Option<f64>,
    /// Dollars spent so far.
    #[serde(default)]
    pub spent_usd: Option<f64>,
    /// Dollars that may be spent.
    #[serde(default)]
    pub budget_usd: Option<f64>,
    /// Requests that are asked and not answered.
    #[serde(default)]
    pub in_flight: u64,
    /// Answers that went wrong, by what became of them.
    #[serde(default)]
    pub errors: BTreeMap<String, u64>,
    /// Whether the arm is done; then the score and its interval are final.
    #[serde(default)]
    pub finished: bool,
    /// Why the arm is not measured.
    #[serde(default)]
    pub skipped: Option<String>,
}

/// On how many rows two arms agree and disagree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flips {
    /// The arm that may replace the other.
    pub candidate: String,
    /// The other.
    pub baseline: String,
    /// Rows that both have right.
    pub both_right: u64,
    /// Rows that only the candidate has right.
    pub gains: u64,
    /// Rows that only the baseline has right.
    pub regressions: u64,
    /// Rows that neither has right.
    pub both_wrong: u64,
}

/// A row on which two arms disagree.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disagreement {
    /// The row.
    pub id: String,
    /// What was asked.
    pub prompt: String,
    /// What should have been written.
    pub target: String,
    /// The arm that may replace the other.
    pub candidate: String,
    /// What it wrote.
    pub candidate_output: String,
    /// Its score.
    #[serde(default)]
    pub candidate_score: Option<f64>,
    /// The other arm.
    pub baseline: String,
    /// What it wrote.
    pub baseline_output: String,
    /// Its score.
    #[serde(default)]
    pub baseline_score: Option<f64>,
}

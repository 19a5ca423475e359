//! What became of one row under one arm: the answer, how it was read and what it scored.
//! Knows nothing about means or intervals; a row that could not be scored is kept here and never dropped.

use serde::{Deserialize, Serialize};

/// Why an answer scored nothing although it was an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nothing but white space.
    Empty,
    /// The answer reached the token limit before it ended.
    Truncated,
    /// The text is none of the closed labels.
    NotALabel,
    /// The model refused to answer.
    Refused,
    /// A filter of the provider held the answer back.
    Filtered,
    /// No whole answer came within the time allowed.
    TimedOut,
    /// The text is not exactly one JSON value.
    InvalidJson,
    /// The text is JSON that the schema does not allow.
    SchemaViolation,
    /// There is no number in the text.
    NotANumber,
    /// The tags in the text do not fit the tokens of the row.
    BadTags,
}

/// How an answer was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Parse {
    /// The answer could be read; it may still be wrong.
    Parsed,
    /// There is an answer that cannot be read: it scores 0.
    Unparsed {
        /// What is wrong with it.
        reason: Reason,
    },
    /// There is no answer to judge: no score, never a pass, and the row stays in the denominator.
    Unscored {
        /// Why there is none.
        reason: String,
    },
}

/// What the label likelihoods of one row say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ranked {
    /// The label with the highest total log-likelihood, the primary figure; none when the row is unscored.
    pub label: Option<String>,
    /// 1 when that label is the target; none when the row is unscored.
    pub score: Option<f64>,
    /// The label with the highest log-likelihood per byte of its text, a second figure.
    pub label_per_byte: Option<String>,
    /// 1 when that label is the target.
    pub score_per_byte: Option<f64>,
    /// Whether the likelihoods could be used.
    pub parse: Parse,
}

/// One row under one arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The row.
    pub id: String,
    /// The document or owner that clustered errors use; none means that the row stands alone.
    pub group: Option<String>,
    /// What the arm wrote.
    pub text: String,
    /// What it should have written.
    pub target: String,
    /// The exact-match score; none when the row is unscored.
    pub score: Option<f64>,
    /// How the answer was read; with closed labels, whether it is one of them.
    pub parse: Parse,
    /// The closed label that the text names, if there are labels and it names one.
    pub label: Option<String>,
    /// The likelihood figures, if the arm can rank.
    pub ranked: Option<Ranked>,
}

impl Outcome {
    /// The exact-match score in the fixed denominator: an unscored row counts 0.
    pub fn exact(&self) -> f64 {
        self.score.unwrap_or(0.0)
    }

    /// Whether there was no answer to judge.
    pub fn is_unscored(&self) -> bool {
        matches!(self.parse, Parse::Unscored { .. })
    }
}

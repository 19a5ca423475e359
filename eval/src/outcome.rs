//! What became of one row under one arm: the answer, how each scorer read it and what the call took.
//! Knows nothing about means or intervals; a row that could not be scored is kept here and never dropped.

use serde::{Deserialize, Serialize};

use crate::Finish;
pub use crate::scorer::Judgements;
use crate::scorer::Scored;

/// Why an answer scored nothing although it was an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// The pattern that should find the answer in the text does not match.
    NoMatch,
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

/// What the call behind an answer took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Call {
    /// Seconds from asking to the whole answer; of a batch, until the batch was done.
    pub latency_secs: Option<f64>,
    /// Seconds to the first token of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_secs: Option<f64>,
    /// Tokens of the prompt as the model saw it.
    pub prompt_tokens: u64,
    /// Tokens of the answer, thoughts included.
    pub completion_tokens: u64,
    /// Whether the tokens were counted by us because the provider did not say.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tokens_estimated: bool,
    /// What it cost in dollars; none is unknown, which is not zero.
    pub cost_usd: Option<f64>,
    /// Whether the answer came from our own cache: then it feeds neither latency nor cost.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cached: bool,
    /// How often the call was tried again.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: u32,
    /// The model that answered, by its own word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served_model: Option<String>,
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// One answer to one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// What the arm said: what it wrote, without the reasoning of a thinking model.
    pub text: String,
    /// All that it wrote, where that is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<String>,
    /// Why it ended.
    pub finish: Finish,
    /// What each scorer said of it, by the scorer's name.
    pub scored: Judgements,
    /// What the call took; none for arms that are not asked over anything.
    pub call: Option<Call>,
}

/// One row under one arm; a row that was asked several times has several answers and the mean of their scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The row.
    pub id: String,
    /// The answers, at least one.
    pub samples: Vec<Sample>,
    /// The log-likelihood of each closed label as the whole answer, if the arm can rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likelihoods: Option<Vec<f64>>,
}

impl Outcome {
    /// The first answer, which is the one that is shown.
    pub fn first(&self) -> Option<&Sample> {
        self.samples.first()
    }

    /// What the first answer says.
    pub fn text(&self) -> &str {
        self.first().map_or("", |sample| &sample.text)
    }

    /// What a scorer said of the first answer.
    pub fn scored(&self, scorer: &str) -> Option<&Scored> {
        self.first()?.scored.get(scorer)
    }

    /// The mean score of the answers that could be judged; none when none could.
    pub fn score(&self, scorer: &str) -> Option<f64> {
        let scores: Vec<f64> = self.samples.iter().filter_map(|sample| sample.scored.get(scorer)?.score).collect();
        (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
    }

    /// Whether no answer of this row could be judged by anyone: the row is missing.
    pub fn is_missing(&self) -> bool {
        self.samples.iter().all(|sample| matches!(sample.finish, Finish::Failed { .. }))
    }

    /// Whether the texts of all answers agree; none when there is only one.
    pub fn agrees(&self) -> Option<bool> {
        let (first, rest) = self.samples.split_first()?;
        (!rest.is_empty()).then(|| rest.iter().all(|sample| sample.text.trim() == first.text.trim()))
    }
}

/// What became of an answer before anyone judged it, as reports count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// An answer that ended by itself.
    Ok,
    /// Nothing but white space.
    Empty,
    /// The answer reached the token limit.
    Truncated,
    /// The model refused.
    Refusal,
    /// A filter of the provider held it back.
    ContentFilter,
    /// No whole answer in time.
    Timeout,
    /// No answer could be had: the row is missing, for both arms of a pair.
    Missing,
}

impl Class {
    /// The class of an answer.
    pub fn of(finish: &Finish, text: &str) -> Self {
        match finish {
            Finish::Stop if text.trim().is_empty() => Self::Empty,
            Finish::Stop => Self::Ok,
            Finish::Length => Self::Truncated,
            Finish::Refusal { .. } => Self::Refusal,
            Finish::ContentFilter { .. } => Self::ContentFilter,
            Finish::Timeout => Self::Timeout,
            Finish::Failed { .. } => Self::Missing,
        }
    }

    /// The words in tables.
    pub fn title(self) -> &'static str {
        match self {
            Self::Ok => "answered",
            Self::Empty => "empty",
            Self::Truncated => "cut at the token limit",
            Self::Refusal => "refused",
            Self::ContentFilter => "held back by a filter",
            Self::Timeout => "timed out",
            Self::Missing => "no answer",
        }
    }
}

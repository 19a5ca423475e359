//! The list of scorers: each judges one answer to one row.
//! Knows nothing about other rows; what is computed over many rows is a metric.

#![expect(
    clippy::result_large_err,
    reason = "a judgement without a text is made once per row, and a box would be in every caller's way"
)]

pub mod bleu;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
mod bounds;
pub mod chrf;
pub mod exact_match;
pub mod first_line_accept;
pub mod includes;
pub mod json_fields;
pub mod json_valid;
mod judgements;
pub mod label;
pub mod label_likelihood;
pub mod numeric;
mod options;
pub mod prefix_accept;
pub mod regex;
pub mod rouge;
pub mod spans;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod structure_oracle;
mod tally;
pub mod ter;
mod text_overlap;

pub use bleu::Bleu;
pub use chrf::Chrf;
pub use exact_match::ExactMatch;
pub use first_line_accept::FirstLineAccept;
pub use includes::Includes;
pub use json_fields::JsonFields;
pub use json_valid::JsonValid;
pub use judgements::Judgements;
pub use label::Label;
pub use label_likelihood::LabelLikelihood;
pub use numeric::Numeric;
pub use options::{Plain, ScorerOptions, ScorerSpec};
pub use prefix_accept::PrefixAccept;
pub use regex::Regex;
pub use rouge::Rouge;
pub use spans::Spans;
pub(crate) use tally::Tally;
pub use ter::Ter;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::task::Figures;
use crate::text::rouge::Variant;
use crate::{Completion, Finish, Parse, Reason};

/// Every scorer that works without options, by the name a task writes; `regex` is not here because it needs a pattern.
pub const ALL: [&dyn Scorer; 18] = [
    &ExactMatch,
    &Includes::plain(),
    &Numeric::plain(),
    &Label::plain(),
    &LabelLikelihood { per_byte: false },
    &Spans::plain(),
    &JsonValid::plain(),
    &JsonFields::plain(),
    &Bleu,
    &Chrf { words: false },
    &Chrf { words: true },
    &Ter,
    &Rouge(Variant::One),
    &Rouge(Variant::Two),
    &Rouge(Variant::L),
    &Rouge(Variant::Lsum),
    &PrefixAccept,
    &FirstLineAccept,
];

/// What a scorer is given.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// A text that the model wrote.
    Written(&'a Completion),
    /// The log-likelihood of each label, in the order of the labels.
    Ranked(&'a [f64]),
}

/// What a scorer compares with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Target<'a> {
    /// The right answer.
    pub text: &'a str,
    /// Further answers that are as right.
    pub others: &'a [String],
    /// The closed labels, or nothing for free text.
    pub labels: &'a [String],
    /// The bare input, for answers that point into it.
    pub source: &'a str,
}

/// What a scorer says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scored {
    /// Between 0 and 1; none when there was nothing to judge.
    pub score: Option<f64>,
    /// How the answer was read.
    pub parse: Parse,
    /// The closed label it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Counts by field or type, for F1 over many rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<Count>,
    /// Sufficient statistics of a metric over the whole corpus, such as matched n-grams and lengths; their meaning is the scorer's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sums: Vec<f64>,
    /// What a reader of this row may want to know, such as the first place where a schema was not met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What precision, recall and F1 of one field or type are summed from; a partial match gives part of a credit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// The field or the type.
    pub name: String,
    /// What was right.
    pub credit: f64,
    /// What the answer holds.
    pub predicted: f64,
    /// What the target holds.
    pub wanted: f64,
}

/// What a scorer says of a target that is given as the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfTarget {
    /// 1, whatever the target is: texts are compared and none is read.
    Right,
    /// 1, if the scorer can read the target.
    RightIfRead,
    /// What its formula gives, if the scorer can read the target: less than 1 for some, by definition.
    GradedIfRead,
    /// Nothing: it does not judge what is written.
    Unasked,
}

/// Judges one answer to one row.
pub trait Scorer: Send + Sync {
    /// The name in tasks and reports.
    fn name(&self) -> &'static str;
    /// What it compares and which differences it forgives, in one sentence.
    fn policy(&self) -> String;
    /// Whether every row scores 0 or 1, which allows sharper tests; a scorer that does not say so is taken as graded.
    fn is_right_or_wrong(&self) -> bool {
        false
    }
    /// Whether it judges likelihoods of labels and not a written answer.
    fn ranks(&self) -> bool {
        false
    }
    /// What can be computed over many rows from what it leaves, beside the mean of its scores.
    fn figures(&self) -> Vec<Figures> {
        Vec::new()
    }
    /// What it says of a target that is given as the answer; unless a scorer declares otherwise each target is tried.
    fn of_target(&self) -> OfTarget {
        OfTarget::RightIfRead
    }
    /// The judgement.
    fn score(&self, answer: Answer<'_>, target: Target<'_>) -> Scored;
}

impl Scored {
    /// A judgement that says nothing yet, to be filled.
    pub(crate) fn nothing() -> Self {
        Self { score: None, parse: Parse::Parsed, label: None, counts: Vec::new(), sums: Vec::new(), note: None }
    }

    /// A judgement between 0 and 1.
    pub(crate) fn graded(score: f64) -> Self {
        Self { score: Some(score), ..Self::nothing() }
    }

    pub(crate) fn right_or_wrong(right: bool) -> Self {
        Self { score: Some(if right { 1.0 } else { 0.0 }), parse: Parse::Parsed, ..Self::nothing() }
    }

    pub(crate) fn unparsed(reason: Reason) -> Self {
        Self { score: Some(0.0), parse: Parse::Unparsed { reason }, ..Self::nothing() }
    }

    #[must_use]
    pub(crate) fn with_note(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }

    pub(crate) fn unscored(reason: impl Into<String>) -> Self {
        Self { parse: Parse::Unscored { reason: reason.into() }, ..Self::nothing() }
    }
}

/// The text of an answer that can be judged: trimmed and in Unicode normal form C, or the reason why there is none.
pub(crate) fn readable(answer: Answer<'_>) -> Result<String, Scored> {
    written(answer).map(normal_form)
}

/// The text of an answer that can be judged, trimmed and otherwise as it was written, or the reason why there is none.
pub(crate) fn written(answer: Answer<'_>) -> Result<&str, Scored> {
    let Answer::Written(completion) = answer else {
        return Err(Scored::unscored("a written answer is needed, likelihoods were given"));
    };
    match &completion.finish {
        Finish::Failed { reason } => return Err(Scored::unscored(reason.clone())),
        // What a cut answer would have become is not known, so it cannot be right.
        Finish::Length => return Err(Scored::unparsed(Reason::Truncated)),
        Finish::Refusal { .. } => return Err(Scored::unparsed(Reason::Refused)),
        Finish::ContentFilter { .. } => return Err(Scored::unparsed(Reason::Filtered)),
        Finish::Timeout => return Err(Scored::unparsed(Reason::TimedOut)),
        Finish::Stop => {}
    }
    let text = completion.text.trim();
    if text.is_empty() { Err(Scored::unparsed(Reason::Empty)) } else { Ok(text) }
}

/// The judgement against the reference that suits the answer best, because each reference is as right as the others.
///
/// A reference that cannot be used makes the row unscored: a fault of the data must not hide behind a good answer.
pub(crate) fn best(target: Target<'_>, mut judge: impl FnMut(&str) -> Scored) -> Scored {
    let mut best = judge(target.text);
    for other in target.others {
        let scored = judge(other);
        let Some(highest) = best.score else { break };
        if scored.score.is_none_or(|score| score > highest) {
            best = scored;
        }
    }
    best
}

/// Trimmed and in Unicode normal form C.
pub(crate) fn normal_form(text: &str) -> String {
    text.trim().nfc().collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn every_scorer_has_its_own_name_and_a_policy() {
        let mut names: Vec<_> = ALL.iter().map(|scorer| scorer.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        assert!(ALL.iter().all(|scorer| !scorer.policy().is_empty()));
    }

    #[test]
    fn a_failed_row_is_never_a_pass_for_any_scorer_of_text() {
        let labels = vec![String::new(), "a".to_owned()];
        let failed = Completion::of("a", Finish::Failed { reason: "connection lost".to_owned() });
        for scorer in ALL {
            let target = Target { text: "a", labels: &labels, ..Target::default() };
            let scored = scorer.score(Answer::Written(&failed), target);
            assert_eq!(scored.score, None, "{}", scorer.name());
            assert!(matches!(scored.parse, Parse::Unscored { .. }), "{}", scorer.name());
        }
    }
}

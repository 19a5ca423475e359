//! The list of scorers: each judges one answer to one row.
//! Knows nothing about other rows; what is computed over many rows is a metric.

pub mod exact_match;
pub mod label;
pub mod label_likelihood;

pub use exact_match::ExactMatch;
pub use label::Label;
pub use label_likelihood::LabelLikelihood;

use unicode_normalization::UnicodeNormalization;

use crate::{Completion, Finish, Parse, Reason};

/// Every scorer, by the name a task writes.
pub const ALL: [&dyn Scorer; 3] = [&ExactMatch, &Label, &LabelLikelihood { per_byte: false }];

/// What a scorer is given.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// A text that the model wrote.
    Written(&'a Completion),
    /// The log-likelihood of each label, in the order of the labels.
    Ranked(&'a [f64]),
}

/// What a scorer compares with.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The right answer.
    pub text: &'a str,
    /// The closed labels, or nothing for free text.
    pub labels: &'a [String],
}

/// What a scorer says.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Between 0 and 1; none when there was nothing to judge.
    pub score: Option<f64>,
    /// How the answer was read.
    pub parse: Parse,
    /// The closed label it names.
    pub label: Option<String>,
}

/// Judges one answer to one row.
pub trait Scorer: Sync {
    /// The name in tasks and reports.
    fn name(&self) -> &'static str;
    /// What it compares and which differences it forgives, in one sentence.
    fn policy(&self) -> &'static str;
    /// The judgement.
    fn score(&self, answer: Answer<'_>, target: Target<'_>) -> Scored;
}

impl Scored {
    fn right_or_wrong(right: bool) -> Self {
        Self { score: Some(if right { 1.0 } else { 0.0 }), parse: Parse::Parsed, label: None }
    }

    fn unparsed(reason: Reason) -> Self {
        Self { score: Some(0.0), parse: Parse::Unparsed { reason }, label: None }
    }

    fn unscored(reason: impl Into<String>) -> Self {
        Self { score: None, parse: Parse::Unscored { reason: reason.into() }, label: None }
    }
}

/// The text of an answer that can be judged: trimmed and in Unicode normal form C, or the reason why there is none.
fn readable(answer: Answer<'_>) -> Result<String, Scored> {
    let Answer::Written(completion) = answer else {
        return Err(Scored::unscored("a written answer is needed, likelihoods were given"));
    };
    match &completion.finish {
        Finish::Failed { reason } => return Err(Scored::unscored(reason.clone())),
        // What a cut answer would have become is not known, so it cannot be right.
        Finish::Length => return Err(Scored::unparsed(Reason::Truncated)),
        Finish::Stop => {}
    }
    let text = normal_form(&completion.text);
    if text.is_empty() { Err(Scored::unparsed(Reason::Empty)) } else { Ok(text) }
}

/// Trimmed and in Unicode normal form C.
fn normal_form(text: &str) -> String {
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
        let failed = Completion {
            text: "a".to_owned(),
            finish: Finish::Failed { reason: "connection lost".to_owned() },
            prompt_tokens: 0,
            completion_tokens: 0,
        };
        for scorer in ALL {
            let target = Target { text: "a", labels: &labels };
            let scored = scorer.score(Answer::Written(&failed), target);
            assert_eq!(scored.score, None, "{}", scorer.name());
            assert!(matches!(scored.parse, Parse::Unscored { .. }), "{}", scorer.name());
        }
    }
}

//! The mean of what one scorer gave each row, such as the share of exact matches.
//! Knows nothing about how an answer was judged.

use super::{Metric, PerRow, Setting, Unit};
use crate::Outcome;

/// The mean score; a row that could not be scored is in the denominator and counts 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeanScore {
    scorer: String,
    title: String,
    policy: String,
}

impl MeanScore {
    /// The mean of the scores of this scorer.
    pub fn new(scorer: impl Into<String>, title: impl Into<String>, policy: impl Into<String>) -> Self {
        Self { scorer: scorer.into(), title: title.into(), policy: policy.into() }
    }
}

impl Metric for MeanScore {
    fn name(&self) -> String {
        self.scorer.clone()
    }

    fn title(&self) -> String {
        self.title.clone()
    }

    fn policy(&self) -> String {
        self.policy.clone()
    }

    fn unit(&self) -> Unit {
        Unit::Share
    }

    fn per_row(&self, outcomes: &[Outcome], _: Setting<'_>) -> Option<PerRow> {
        // An arm that this scorer judged nowhere does not have the figure; one row without a score counts 0.
        outcomes.iter().any(|outcome| outcome.scored(&self.scorer).is_some()).then_some(())?;
        Some(PerRow::Scores(outcomes.iter().map(|outcome| outcome.score(&self.scorer).unwrap_or(0.0)).collect()))
    }
}

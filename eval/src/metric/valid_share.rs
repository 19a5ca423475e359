//! The share of rows whose answer a scorer could read at all: a label that exists, a JSON value, a number.
//! Knows nothing about whether it was right.

use super::{Metric, PerRow, Setting, Unit};
use crate::{Outcome, Parse};

/// The share of readable answers; an unscored row is in the denominator and not readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidShare {
    /// Whose reading it is.
    pub scorer: String,
}

impl Metric for ValidShare {
    fn name(&self) -> String {
        format!("{}_valid", self.scorer)
    }

    fn title(&self) -> String {
        format!("valid {}", self.scorer.replace('_', " "))
    }

    fn policy(&self) -> String {
        format!("share of rows whose answer the scorer {} could read", self.scorer)
    }

    fn unit(&self) -> Unit {
        Unit::Share
    }

    fn per_row(&self, outcomes: &[Outcome], _: Setting<'_>) -> Option<PerRow> {
        outcomes.iter().any(|outcome| outcome.scored(&self.scorer).is_some()).then_some(())?;
        let share = |outcome: &Outcome| {
            let read = outcome
                .samples
                .iter()
                .filter(|sample| sample.scored.get(&self.scorer).is_some_and(|scored| scored.parse == Parse::Parsed));
            read.count() as f64 / outcome.samples.len().max(1) as f64
        };
        Some(PerRow::Scores(outcomes.iter().map(share).collect()))
    }
}

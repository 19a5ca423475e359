//! Metrics over a whole corpus, such as BLEU: a function of sums that a scorer left in each row.
//! Knows nothing about n-grams.

use super::{Metric, PerRow, Setting, Unit};
use crate::Outcome;
use crate::stats::bootstrap::SparseRows;

/// One corpus metric.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// Whose sums.
    pub scorer: String,
    /// The name in tables.
    pub title: String,
    /// What it counts.
    pub policy: String,
    /// How its value is written.
    pub unit: Unit,
    /// The value of the sums.
    pub of: fn(&[f64]) -> f64,
}

impl Metric for Corpus {
    fn name(&self) -> String {
        format!("corpus_{}", self.scorer)
    }

    fn title(&self) -> String {
        self.title.clone()
    }

    fn policy(&self) -> String {
        self.policy.clone()
    }

    fn unit(&self) -> Unit {
        self.unit
    }

    fn per_row(&self, outcomes: &[Outcome], _: Setting<'_>) -> Option<PerRow> {
        let sums = |outcome: &Outcome| Some(outcome.scored(&self.scorer)?.sums.len());
        let width = outcomes.iter().filter_map(sums).max().filter(|&width| width > 0)?;
        let mut rows = SparseRows::new(width);
        for outcome in outcomes {
            let share = 1.0 / outcome.samples.len().max(1) as f64;
            let scored = outcome.samples.iter().filter_map(|sample| sample.scored.get(&self.scorer));
            rows.push(scored.flat_map(|scored| {
                scored.sums.iter().take(width).enumerate().map(move |(at, value)| (at, share * value))
            }));
        }
        Some(PerRow::Sums(rows))
    }

    fn of_sums(&self, sums: &[f64]) -> f64 {
        (self.of)(sums)
    }
}

//! Precision, recall and F1 over the fields of records or the types of spans, summed over all rows.
//! Knows nothing about JSON or offsets: it reads the counts that a scorer left.

use std::collections::HashMap;

use super::{Metric, PerRow, Setting, Unit};
use crate::Outcome;
use crate::stats::bootstrap::SparseRows;

/// Numbers of one field.
const PART: usize = 3;

/// How the counts of many rows become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Average {
    /// F1 of the sums over all fields.
    Micro,
    /// The mean of the F1 of each field that the targets hold.
    Macro,
    /// What was right of what the answers hold.
    Precision,
    /// What was right of what the targets hold.
    Recall,
}

/// Every average, in the order of reports.
pub const ALL: [Average; 4] = [Average::Micro, Average::Macro, Average::Precision, Average::Recall];

/// One figure of the counts of a scorer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldFigure {
    /// Whose counts.
    pub scorer: String,
    /// How they are summed up.
    pub average: Average,
}

impl Metric for FieldFigure {
    fn name(&self) -> String {
        let what = match self.average {
            Average::Micro => "micro_f1",
            Average::Macro => "macro_f1",
            Average::Precision => "precision",
            Average::Recall => "recall",
        };
        format!("{}_{what}", self.scorer)
    }

    fn title(&self) -> String {
        let what = match self.average {
            Average::Micro => "F1",
            Average::Macro => "macro-F1",
            Average::Precision => "precision",
            Average::Recall => "recall",
        };
        format!("{} {what}", self.scorer.replace('_', " "))
    }

    fn policy(&self) -> String {
        let what = match self.average {
            Average::Micro => "F1 of the sums over all rows and fields",
            Average::Macro => "mean over the fields that the targets hold of each field's F1 over all rows",
            Average::Precision => "what was right of all that the answers hold",
            Average::Recall => "what was right of all that the targets hold",
        };
        format!("{what}, as counted by {}", self.scorer)
    }

    fn unit(&self) -> Unit {
        Unit::Fraction
    }

    fn shares(&self) -> Option<String> {
        Some(self.scorer.clone())
    }

    fn part(&self) -> usize {
        PART
    }

    /// Of each field that a target holds: credit, predicted, wanted; all others are one field more, which nobody wanted.
    fn per_row(&self, outcomes: &[Outcome], setting: Setting<'_>) -> Option<PerRow> {
        let names = setting.names.get(&self.scorer)?;
        let index: HashMap<&str, usize> = names.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
        let mut rows = SparseRows::new(PART * (names.len() + 1));
        for outcome in outcomes {
            let share = 1.0 / outcome.samples.len().max(1) as f64;
            outcome.scored(&self.scorer)?;
            let counts = outcome.samples.iter().filter_map(|s| s.scored.get(&self.scorer)).flat_map(|s| &s.counts);
            rows.push(counts.flat_map(|count| {
                let at = PART * index.get(count.name.as_str()).copied().unwrap_or(names.len());
                [(at, share * count.credit), (at + 1, share * count.predicted), (at + 2, share * count.wanted)]
            }));
        }
        (!outcomes.is_empty()).then_some(PerRow::Sums(rows))
    }

    fn of_sums(&self, sums: &[f64]) -> f64 {
        let total = |at: usize| sums.chunks_exact(PART).map(|field| field[at]).sum::<f64>();
        match self.average {
            Average::Micro => f1(total(0), total(1), total(2)),
            Average::Precision => share(total(0), total(1)),
            Average::Recall => share(total(0), total(2)),
            Average::Macro => {
                let held: Vec<f64> = sums
                    .chunks_exact(3)
                    .filter(|field| field[2] > 0.0)
                    .map(|field| f1(field[0], field[1], field[2]))
                    .collect();
                share(held.iter().sum(), held.len() as f64)
            }
        }
    }
}

fn f1(credit: f64, predicted: f64, wanted: f64) -> f64 {
    // Nothing wanted and nothing said is right.
    if predicted + wanted > 0.0 { 2.0 * credit / (predicted + wanted) } else { 1.0 }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn micro_sums_before_it_divides_and_macro_after() {
        let sums = [9.0, 10.0, 10.0, 0.0, 1.0, 2.0, 0.0, 3.0, 0.0];
        let of = |average| FieldFigure { scorer: "json_fields".to_owned(), average }.of_sums(&sums);
        assert!((of(Average::Micro) - 18.0 / 26.0).abs() < 1e-12);
        assert!((of(Average::Macro) - 0.45).abs() < 1e-12);
        assert!((of(Average::Precision) - 9.0 / 14.0).abs() < 1e-12);
        assert!((of(Average::Recall) - 0.75).abs() < 1e-12);
    }
}

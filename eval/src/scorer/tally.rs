//! Adds up credit, predictions and wants by name, and gives the F1 of the sums.
//! Knows nothing about what the names are: fields of a record or types of a span.

use std::collections::BTreeMap;

use super::Count;
use crate::work::{MOST_NAME_BYTES, TooMuch};

/// Counts by name, in the order of the names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    counts: BTreeMap<String, [f64; 3]>,
    name_bytes: usize,
}

impl Tally {
    pub(crate) fn credit(&mut self, name: &str, credit: f64) {
        self.entry(name)[0] += credit;
    }

    pub(crate) fn predicted(&mut self, name: &str) {
        self.entry(name)[1] += 1.0;
    }

    pub(crate) fn wanted(&mut self, name: &str) {
        self.entry(name)[2] += 1.0;
    }

    /// F1 of the sums over all names, `2·credit / (predicted + wanted)`; 1 when nothing was wanted and nothing predicted.
    pub(crate) fn f1(&self) -> f64 {
        let [credit, predicted, wanted] =
            self.counts.values().fold([0.0; 3], |sum, one| [0, 1, 2].map(|at| sum[at] + one[at]));
        if predicted + wanted == 0.0 { 1.0 } else { 2.0 * credit / (predicted + wanted) }
    }

    pub(crate) fn into_counts(self) -> Vec<Count> {
        self.counts
            .into_iter()
            .map(|(name, [credit, predicted, wanted])| Count { name, credit, predicted, wanted })
            .collect()
    }

    /// The counts, unless there were more names than one judgement may count.
    pub(crate) fn checked(self) -> Result<Self, TooMuch> {
        if self.name_bytes > MOST_NAME_BYTES { Err(TooMuch::Names) } else { Ok(self) }
    }

    fn entry(&mut self, name: &str) -> &mut [f64; 3] {
        if !self.counts.contains_key(name) {
            self.name_bytes = self.name_bytes.saturating_add(name.len());
        }
        // Beyond the limit nothing is counted any more: `checked` refuses it.
        let name = if self.name_bytes > MOST_NAME_BYTES { "" } else { name };
        self.counts.entry(name.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_wanted_and_nothing_predicted_is_right_and_a_lone_prediction_is_wrong() {
        let mut tally = Tally::default();
        assert_eq!(tally.f1(), 1.0);
        tally.predicted("date");
        assert_eq!(tally.f1(), 0.0);
    }

    #[test]
    fn more_names_than_a_judgement_may_count_are_refused_and_not_kept() {
        let mut tally = Tally::default();
        for at in 0..300 {
            tally.wanted(&format!("{at}{}", "x".repeat(10_000)));
        }
        assert!(tally.counts.len() < 110);
        assert_eq!(tally.checked(), Err(TooMuch::Names));
        let mut few = Tally::default();
        few.wanted("a");
        assert!(few.checked().is_ok());
    }

    #[test]
    fn the_sums_over_all_names_make_the_score_and_names_come_in_order() {
        let mut tally = Tally::default();
        for name in ["b", "a"] {
            tally.predicted(name);
            tally.wanted(name);
        }
        tally.credit("a", 1.0);
        assert_eq!(tally.f1(), 0.5);
        let names: Vec<_> = tally.into_counts().into_iter().map(|count| count.name).collect();
        assert_eq!(names, ["a", "b"]);
    }
}

//! Adds up credit, predictions and wants by name, and gives the F1 of the sums.
//! Knows nothing about what the names are: fields of a record or types of a span.

use std::collections::BTreeMap;

use super::Count;

/// Counts by name, in the order of the names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tally(BTreeMap<String, [f64; 3]>);

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
            self.0.values().fold([0.0; 3], |sum, one| [0, 1, 2].map(|at| sum[at] + one[at]));
        if predicted + wanted == 0.0 { 1.0 } else { 2.0 * credit / (predicted + wanted) }
    }

    pub(crate) fn into_counts(self) -> Vec<Count> {
        self.0
            .into_iter()
            .map(|(name, [credit, predicted, wanted])| Count { name, credit, predicted, wanted })
            .collect()
    }

    fn entry(&mut self, name: &str) -> &mut [f64; 3] {
        self.0.entry(name.to_owned()).or_default()
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

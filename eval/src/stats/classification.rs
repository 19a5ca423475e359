//! Figures of a confusion table with a column for answers that are no label: accuracy, F1, balanced accuracy, Matthews' correlation, kappa.
//! Knows nothing about texts or intervals; labels are numbers below the number of declared labels.

use super::agreement;
use crate::Error;

/// How often each true label was answered with each label, and with none of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// `counts[truth][answer]`.
    pub counts: Vec<Vec<u64>>,
    /// For each true label, the answers that are no label: wrong, a false negative of the true label and a false positive of none.
    pub invalid: Vec<u64>,
}

impl Table {
    /// Counts pairs of truth and answer; an answer of none is no label.
    ///
    /// # Errors
    /// Without a pair, or when a label is not below `num_labels`.
    pub fn count(num_labels: usize, pairs: impl IntoIterator<Item = (usize, Option<usize>)>) -> Result<Self, Error> {
        let (mut counts, mut invalid) = (vec![vec![0; num_labels]; num_labels], vec![0; num_labels]);
        let mut num_pairs = 0;
        for (truth, answer) in pairs {
            if truth >= num_labels || answer.is_some_and(|answer| answer >= num_labels) {
                return Err(bad("a label is not one of the declared ones"));
            }
            *answer.map_or(&mut invalid[truth], |answer| &mut counts[truth][answer]) += 1;
            num_pairs += 1;
        }
        if num_pairs == 0 { Err(bad("there is no answer to count")) } else { Ok(Self { counts, invalid }) }
    }

    /// Share of right answers.
    pub fn accuracy(&self) -> f64 {
        self.diagonal() / self.total()
    }

    /// F1 of one label; 0 where it is undefined.
    pub fn f1(&self, label: usize) -> f64 {
        let (true_positives, occurrences) = (self.counts[label][label], self.gold(label) + self.answered(label));
        if occurrences == 0 { 0.0 } else { 2.0 * true_positives as f64 / occurrences as f64 }
    }

    /// Mean F1 over the declared labels that occur in the gold set (Opitz and Burst 2019, arXiv 1911.03347).
    pub fn macro_f1(&self) -> f64 {
        mean(self.in_gold().map(|label| self.f1(label)))
    }

    /// Mean F1 over the labels that occur as truth or answer, no label being a class of its own: what scikit-learn gives without a list of labels. Not for reports.
    pub fn macro_f1_with_invalid_class(&self) -> f64 {
        let occurs = |&label: &usize| self.gold(label) + self.answered(label) > 0;
        let f1 = (0..self.counts.len()).filter(occurs).map(|label| self.f1(label));
        let invalid = self.invalid.iter().any(|&count| count > 0).then_some(0.0);
        mean(f1.chain(invalid))
    }

    /// Mean F1 weighted by how often a label occurs in the gold set.
    pub fn weighted_f1(&self) -> f64 {
        self.in_gold().map(|label| self.gold(label) as f64 * self.f1(label)).sum::<f64>() / self.total()
    }

    /// Mean recall over the labels that occur in the gold set.
    pub fn balanced_accuracy(&self) -> f64 {
        mean(self.in_gold().map(|label| self.counts[label][label] as f64 / self.gold(label) as f64))
    }

    /// Matthews' correlation for several labels (Gorodkin 2004), no label being one more answer; 0 where it is undefined.
    pub fn matthews_correlation(&self) -> f64 {
        let n = self.total();
        let labels = 0..self.counts.len();
        let (gold, answered): (Vec<f64>, Vec<f64>) =
            labels.map(|label| (self.gold(label) as f64, self.answered(label) as f64)).unzip();
        let invalid = self.invalid.iter().sum::<u64>() as f64;
        let products: f64 = gold.iter().zip(&answered).map(|(g, a)| g * a).sum();
        let squares = |sums: &[f64]| sums.iter().map(|sum| sum * sum).sum::<f64>();
        let spread = (n * n - squares(&gold)) * (n * n - squares(&answered) - invalid * invalid);
        if spread > 0.0 { (n * self.diagonal() - products) / spread.sqrt() } else { 0.0 }
    }

    /// Cohen's kappa between truth and answer, no label being one more answer; none where it is undefined.
    pub fn kappa(&self) -> Option<f64> {
        let mut square: Vec<Vec<u64>> = self.counts.clone();
        square.iter_mut().zip(&self.invalid).for_each(|(row, &invalid)| row.push(invalid));
        square.push(vec![0; self.counts.len() + 1]);
        agreement::cohen_kappa(&square).ok().flatten()
    }

    fn in_gold(&self) -> impl Iterator<Item = usize> {
        (0..self.counts.len()).filter(|&label| self.gold(label) > 0)
    }

    fn gold(&self, label: usize) -> u64 {
        self.counts[label].iter().sum::<u64>() + self.invalid[label]
    }

    fn answered(&self, label: usize) -> u64 {
        self.counts.iter().map(|row| row[label]).sum()
    }

    fn diagonal(&self) -> f64 {
        (0..self.counts.len()).map(|label| self.counts[label][label]).sum::<u64>() as f64
    }

    fn total(&self) -> f64 {
        (self.counts.iter().flatten().sum::<u64>() + self.invalid.iter().sum::<u64>()) as f64
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

fn bad(problem: &'static str) -> Error {
    Error::BadStatistic { statistic: "confusion table", problem }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    // scikit-learn 1.9.1, `classif` in oracles/statistics.json: neg is 0, neu 1, pos 2.
    fn oracle() -> Table {
        let truth = [2, 0, 1, 2, 0, 0, 1, 2, 2, 0];
        let answers = [Some(2), Some(0), Some(0), Some(2), Some(1), Some(0), Some(1), Some(0), Some(2), None];
        Table::count(3, truth.into_iter().zip(answers)).unwrap()
    }

    fn close(found: f64, expect: f64) {
        assert!((found - expect).abs() < 1e-12, "{found} is not {expect}");
    }

    #[test]
    fn every_figure_equals_scikit_learn() {
        let table = oracle();
        assert_eq!(table.counts, [[2, 1, 0], [1, 1, 0], [1, 0, 3]]);
        assert_eq!(table.invalid, [1, 0, 0]);
        close(table.accuracy(), 0.6);
        close(table.macro_f1(), 0.619_047_619_047_619_1);
        close(table.macro_f1_with_invalid_class(), 0.464_285_714_285_714_3);
        close(table.weighted_f1(), 0.642_857_142_857_142_9);
        close(table.balanced_accuracy(), 0.583_333_333_333_333_4);
        close(table.kappa().unwrap(), 0.411_764_705_882_353_03);
        close(table.matthews_correlation(), 0.418_330_013_267_037_8);
    }

    #[test]
    fn a_label_that_is_only_answered_is_not_averaged() {
        let table = Table::count(3, [(0, Some(0)), (0, Some(2)), (1, Some(1))]).unwrap();
        close(table.macro_f1(), (2.0 / 3.0 + 1.0) / 2.0);
        close(table.f1(2), 0.0);
    }

    #[test]
    fn one_label_throughout_has_no_correlation() {
        let table = Table::count(2, [(0, Some(0)), (0, Some(0))]).unwrap();
        assert_eq!((table.matthews_correlation(), table.kappa(), table.accuracy()), (0.0, None, 1.0));
    }

    #[test]
    fn unknown_labels_and_no_answers_are_refused() {
        assert!(Table::count(2, [(2, None)]).is_err());
        assert!(Table::count(2, [(0, Some(2))]).is_err());
        assert!(Table::count(2, []).is_err());
    }
}

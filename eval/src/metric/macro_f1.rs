//! Macro-F1 and the confusion counts behind it.
//! Knows nothing about texts: it reads the label that each outcome names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Metric, Setting};
use crate::Outcome;
use crate::stats::{Clusters, Estimate, LEVEL, Method, bootstrap, interval, paired::Difference};

/// The mean of the F1 of each label, so that rare labels count as much as frequent ones.
///
/// Labels are those that occur as a target or as a prediction, as scikit-learn counts them by default.
/// An answer that is no label is a false negative of the target and a false positive of none: it is not a class of its own.
#[derive(Clone, Copy, Debug)]
pub struct MacroF1;

/// How often each target was answered with each label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confusion {
    /// Labels of the rows and columns.
    pub labels: Vec<String>,
    /// `counts[target][answer]`.
    pub counts: Vec<Vec<usize>>,
    /// For each target, the rows whose answer is none of the labels, unscored rows included.
    pub unparsed: Vec<usize>,
}

impl Confusion {
    /// Counts outcomes whose targets are all in `labels`; none when one is not.
    pub fn count(outcomes: &[Outcome], labels: &[String]) -> Option<Self> {
        let index = |name: &str| labels.iter().position(|label| label == name);
        let mut counts = vec![vec![0; labels.len()]; labels.len()];
        let mut unparsed = vec![0; labels.len()];
        for outcome in outcomes {
            let target = index(&outcome.target)?;
            match outcome.label.as_deref().and_then(index) {
                Some(answer) => counts[target][answer] += 1,
                None => unparsed[target] += 1,
            }
        }
        Some(Self { labels: labels.to_vec(), counts, unparsed })
    }
}

impl Metric for MacroF1 {
    fn name(&self) -> &'static str {
        "macro_f1"
    }

    fn title(&self) -> &'static str {
        "macro-F1"
    }

    fn policy(&self) -> &'static str {
        "mean F1 over the labels that occur as target or answer; an answer that is no label is wrong and not a class"
    }

    fn estimate(&self, outcomes: &[Outcome], setting: Setting<'_>) -> Option<Estimate> {
        setting.labels?;
        let counts = Counts::new(outcomes, setting.clusters)?;
        let clusters = setting.clusters;
        let value = counts.of_all().macro_f1();
        let mut totals = counts.of_none();
        let draws = bootstrap::replicates(clusters.num_clusters(), bootstrap::REPLICATES, setting.seed, |drawn| {
            counts.fill(&mut totals, drawn);
            totals.macro_f1()
        });
        let (low, high, method) = match spread(&draws) {
            Some((low, high)) => (low, high, Method::ClusterBootstrap),
            None if clusters.num_clusters() < 2 => (0.0, 1.0, Method::Undetermined),
            None => interval::no_spread(value, clusters),
        };
        let (n, groups) = (outcomes.len(), clusters.num_clusters());
        Some(Estimate { value, n, groups, low, high, method })
    }

    fn difference(&self, candidate: &[Outcome], baseline: &[Outcome], setting: Setting<'_>) -> Option<Difference> {
        setting.labels?;
        let clusters = setting.clusters;
        let (new, old) = (Counts::new(candidate, clusters)?, Counts::new(baseline, clusters)?);
        let value = new.of_all().macro_f1() - old.of_all().macro_f1();
        let (mut new_totals, mut old_totals) = (new.of_none(), old.of_none());
        // Both arms are recomputed on the same draw, which is what makes the comparison paired.
        let draws = bootstrap::replicates(clusters.num_clusters(), bootstrap::REPLICATES, setting.seed, |drawn| {
            new.fill(&mut new_totals, drawn);
            old.fill(&mut old_totals, drawn);
            new_totals.macro_f1() - old_totals.macro_f1()
        });
        // Draws that all agree, as those of equal answers do, say nothing about how sure the difference is.
        let (low, high, method) = match spread(&draws) {
            Some((low, high)) => (low, high, Method::ClusterBootstrap),
            None => (-1.0, 1.0, Method::Undetermined),
        };
        let (n, groups) = (candidate.len(), clusters.num_clusters());
        let estimate = Estimate { value, n, groups, low, high, method };
        Some(Difference { estimate, p_value: None, detectable: None, flips: None })
    }
}

/// The bounds of sorted draws, unless all draws agree.
fn spread(sorted: &[f64]) -> Option<(f64, f64)> {
    let (first, last) = (sorted.first()?, sorted.last()?);
    if last - first < 1e-12 { None } else { bootstrap::percentile_bounds(sorted, LEVEL) }
}

/// True positives, false positives and false negatives of one label.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    true_positives: u64,
    false_positives: u64,
    false_negatives: u64,
}

/// The tallies of all labels.
struct Totals(Vec<Tally>);

impl Totals {
    fn macro_f1(&self) -> f64 {
        let mut sum = 0.0;
        let mut num_labels = 0;
        for tally in &self.0 {
            let doubled = 2 * tally.true_positives;
            let occurrences = doubled + tally.false_positives + tally.false_negatives;
            // A label that is neither target nor answer here has no F1.
            if occurrences > 0 {
                sum += doubled as f64 / occurrences as f64;
                num_labels += 1;
            }
        }
        if num_labels == 0 { 0.0 } else { sum / f64::from(num_labels) }
    }
}

/// The tallies of each cluster, sparse, so that a draw costs as much as the labels it holds.
struct Counts {
    num_labels: usize,
    per_cluster: Vec<Vec<(usize, Tally)>>,
}

impl Counts {
    fn new(outcomes: &[Outcome], clusters: &Clusters) -> Option<Self> {
        if outcomes.is_empty() {
            return None;
        }
        let mut index: BTreeMap<&str, usize> = BTreeMap::new();
        let mut per_cluster: Vec<BTreeMap<usize, Tally>> = vec![BTreeMap::new(); clusters.num_clusters()];
        for (outcome, &cluster) in outcomes.iter().zip(clusters.of_row()) {
            let fresh = index.len();
            let target = *index.entry(outcome.target.as_str()).or_insert(fresh);
            let fresh = index.len();
            let answer = outcome.label.as_deref().map(|label| *index.entry(label).or_insert(fresh));
            let tallies = &mut per_cluster[cluster];
            if answer == Some(target) {
                tallies.entry(target).or_default().true_positives += 1;
            } else {
                tallies.entry(target).or_default().false_negatives += 1;
                if let Some(answer) = answer {
                    tallies.entry(answer).or_default().false_positives += 1;
                }
            }
        }
        let per_cluster = per_cluster.into_iter().map(|tallies| tallies.into_iter().collect()).collect();
        Some(Self { num_labels: index.len(), per_cluster })
    }

    fn of_none(&self) -> Totals {
        Totals(vec![Tally::default(); self.num_labels])
    }

    fn of_all(&self) -> Totals {
        let mut totals = self.of_none();
        let all: Vec<usize> = (0..self.per_cluster.len()).collect();
        self.fill(&mut totals, &all);
        totals
    }

    fn fill(&self, totals: &mut Totals, drawn: &[usize]) {
        totals.0.fill(Tally::default());
        for &cluster in drawn {
            for &(label, tally) in &self.per_cluster[cluster] {
                let total = &mut totals.0[label];
                total.true_positives += tally.true_positives;
                total.false_positives += tally.false_positives;
                total.false_negatives += tally.false_negatives;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::metric::tests::{oracle, outcomes};

    fn labels() -> Vec<String> {
        ["neg", "neu", "pos"].map(str::to_owned).to_vec()
    }

    fn estimate(rows: &[Outcome], clusters: &Clusters) -> Estimate {
        let labels = labels();
        MacroF1.estimate(rows, Setting { labels: Some(&labels), clusters, seed: 3 }).unwrap()
    }

    // scikit-learn 1.9.1, `classif` in oracles/statistics.json: `macro_f1_labels`, not `macro_f1_nolabels`.
    #[test]
    fn an_answer_that_is_no_label_is_wrong_but_not_a_class() {
        let found = estimate(&oracle(), &Clusters::new([None; 10]));
        assert!((found.value - 0.619_047_619_047_619_1).abs() < 1e-12);
        assert_eq!(found.method, Method::ClusterBootstrap);
        assert!(found.low < found.value && found.value < found.high);
    }

    // f1_score(["a", "a", "b"], ["a", "c", "b"], average="macro") of scikit-learn is (2/3 + 1 + 0) / 3.
    #[test]
    fn a_label_that_is_only_answered_counts_with_zero() {
        let rows = outcomes(&[("a", Some("a")), ("a", Some("c")), ("b", Some("b"))]);
        let found = estimate(&rows, &Clusters::new([None; 3]));
        assert!((found.value - 5.0 / 9.0).abs() < 1e-12);
    }

    // The matrix `cm` of `classif` in oracles/statistics.json; its last column is the answers that are no label.
    #[test]
    fn confusion_counts_equal_scikit_learn() {
        let found = Confusion::count(&oracle(), &labels()).unwrap();
        assert_eq!(found.counts, [[2, 1, 0], [1, 1, 0], [1, 0, 3]]);
        assert_eq!(found.unparsed, [1, 0, 0]);
        assert_eq!(Confusion::count(&oracle(), &[]), None);
    }

    #[test]
    fn the_interval_is_the_same_on_every_run() {
        let clusters = Clusters::new((0..10).map(|row| Some(["a", "b", "c", "d"][row % 4])));
        assert_eq!(estimate(&oracle(), &clusters), estimate(&oracle(), &clusters));
    }

    #[test]
    fn perfect_answers_are_not_certain() {
        let rows = outcomes(&[("a", Some("a")); 8]);
        let found = estimate(&rows, &Clusters::new([None; 8]));
        assert_eq!((found.value, found.high, found.method), (1.0, 1.0, Method::Wilson));
        assert!(found.low < 0.7);
    }

    #[test]
    fn a_difference_is_taken_on_the_same_draws() {
        let labels = labels();
        let clusters = Clusters::new([None; 10]);
        let setting = Setting { labels: Some(&labels), clusters: &clusters, seed: 1 };
        let mut better = oracle();
        better[9].label = Some("neg".to_owned());
        let found = MacroF1.difference(&better, &oracle(), setting).unwrap().estimate;
        assert!(found.value > 0.0 && found.low >= 0.0 && found.high < 0.4, "{found:?}");
        let equal = MacroF1.difference(&oracle(), &oracle(), setting).unwrap().estimate;
        assert_eq!((equal.value, equal.method), (0.0, Method::Undetermined));
    }
}

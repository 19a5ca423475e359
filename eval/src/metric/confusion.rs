//! Targets against answers of a closed set of labels.
//! Knows nothing about texts: it reads the label that the label scorer found in each answer.

use serde::{Deserialize, Serialize};

use crate::Outcome;

/// How often each target was answered with each label, in the first answer of each row.
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
    /// Counts outcomes whose targets are all in `labels`; none when one is not, or when nothing read labels.
    pub fn count(outcomes: &[Outcome], targets: &[String], labels: &[String]) -> Option<Self> {
        let index = |name: &str| labels.iter().position(|label| label == name);
        let mut counts = vec![vec![0; labels.len()]; labels.len()];
        let mut unparsed = vec![0; labels.len()];
        for (outcome, target) in outcomes.iter().zip(targets) {
            let target = index(target)?;
            match outcome.scored("label")?.label.as_deref().and_then(index) {
                Some(answer) => counts[target][answer] += 1,
                None => unparsed[target] += 1,
            }
        }
        Some(Self { labels: labels.to_vec(), counts, unparsed })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::metric::tests::oracle;

    // The matrix `cm` of `classif` in oracles/statistics.json; its last column is the answers that are no label.
    #[test]
    fn confusion_counts_equal_scikit_learn() {
        let labels = ["neg", "neu", "pos"].map(str::to_owned);
        let (outcomes, targets) = oracle();
        let found = Confusion::count(&outcomes, &targets, &labels).unwrap();
        assert_eq!(found.counts, [[2, 1, 0], [1, 1, 0], [1, 0, 3]]);
        assert_eq!(found.unparsed, [1, 0, 0]);
        assert_eq!(Confusion::count(&outcomes, &targets, &[]), None);
    }
}

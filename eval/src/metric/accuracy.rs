//! Accuracy: the share of rows that are right, by one of the scorers.
//! Knows nothing about how an answer was judged; it reads the scores that the outcomes carry.

use super::{Metric, Setting, difference_of, mean_of};
use crate::stats::{Estimate, paired::Difference};
use crate::{Outcome, Ranked};

/// The share of right rows; an unscored row is in the denominator and not a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accuracy {
    /// Of the written answers, character for character.
    ExactMatch,
    /// Of the label with the highest total log-likelihood: the primary likelihood figure.
    LabelLikelihood,
    /// Of the label with the highest log-likelihood per byte.
    LabelLikelihoodPerByte,
}

impl Accuracy {
    fn score(self, outcome: &Outcome) -> Option<f64> {
        let of_rank =
            |pick: fn(&Ranked) -> Option<f64>| outcome.ranked.as_ref().map(|ranked| pick(ranked).unwrap_or(0.0));
        match self {
            Self::ExactMatch => Some(outcome.exact()),
            Self::LabelLikelihood => of_rank(|ranked| ranked.score),
            Self::LabelLikelihoodPerByte => of_rank(|ranked| ranked.score_per_byte),
        }
    }
}

impl Metric for Accuracy {
    fn name(&self) -> &'static str {
        match self {
            Self::ExactMatch => "exact_match",
            Self::LabelLikelihood => "label_likelihood",
            Self::LabelLikelihoodPerByte => "label_likelihood_per_byte",
        }
    }

    fn title(&self) -> &'static str {
        match self {
            Self::ExactMatch => "exact match",
            Self::LabelLikelihood => "label likelihood",
            Self::LabelLikelihoodPerByte => "label likelihood per byte",
        }
    }

    fn policy(&self) -> &'static str {
        match self {
            Self::ExactMatch => "share of rows whose written answer equals the target",
            Self::LabelLikelihood => "share of rows whose most likely label is the target",
            Self::LabelLikelihoodPerByte => {
                "share of rows whose label with the highest log-likelihood per byte is the target"
            }
        }
    }

    fn estimate(&self, outcomes: &[Outcome], setting: Setting<'_>) -> Option<Estimate> {
        mean_of(outcomes, setting.clusters, |outcome| self.score(outcome))
    }

    fn difference(&self, candidate: &[Outcome], baseline: &[Outcome], setting: Setting<'_>) -> Option<Difference> {
        difference_of(candidate, baseline, setting.clusters, |outcome| self.score(outcome))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::metric::tests::oracle;
    use crate::stats::Clusters;

    // scikit-learn 1.9.1, `classif` in oracles/statistics.json.
    #[test]
    fn accuracy_equals_scikit_learn_and_needs_ranks_for_likelihood() {
        let rows = oracle();
        let clusters = Clusters::new([None; 10]);
        let setting = Setting { labels: None, clusters: &clusters, seed: 0 };
        assert_eq!(Accuracy::ExactMatch.estimate(&rows, setting).unwrap().value, 0.6);
        assert!(Accuracy::LabelLikelihood.estimate(&rows, setting).is_none());
    }
}

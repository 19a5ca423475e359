//! Valid-label share: how often the written answer is one of the closed labels at all, right or wrong.
//! Knows nothing about which label would have been right.

use super::{Metric, Setting, difference_of, mean_of};
use crate::Outcome;
use crate::stats::{Estimate, paired::Difference};

/// The share of rows whose answer names a closed label; none without labels.
#[derive(Clone, Copy, Debug)]
pub struct ValidLabelShare;

impl Metric for ValidLabelShare {
    fn name(&self) -> &'static str {
        "valid_label_share"
    }

    fn title(&self) -> &'static str {
        "valid label"
    }

    fn policy(&self) -> &'static str {
        "share of rows whose written answer is one of the labels, right or wrong"
    }

    fn estimate(&self, outcomes: &[Outcome], setting: Setting<'_>) -> Option<Estimate> {
        setting.labels?;
        mean_of(outcomes, setting.clusters, valid)
    }

    fn difference(&self, candidate: &[Outcome], baseline: &[Outcome], setting: Setting<'_>) -> Option<Difference> {
        setting.labels?;
        difference_of(candidate, baseline, setting.clusters, valid)
    }
}

fn valid(outcome: &Outcome) -> Option<f64> {
    Some(if outcome.label.is_some() { 1.0 } else { 0.0 })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::metric::tests::oracle;
    use crate::stats::Clusters;

    #[test]
    fn a_wrong_label_is_valid_and_free_text_has_no_share() {
        let clusters = Clusters::new([None; 10]);
        let labels = ["neg", "neu", "pos"].map(str::to_owned);
        let setting = Setting { labels: Some(&labels), clusters: &clusters, seed: 0 };
        assert_eq!(ValidLabelShare.estimate(&oracle(), setting).unwrap().value, 0.9);
        let free = Setting { labels: None, ..setting };
        assert!(ValidLabelShare.estimate(&oracle(), free).is_none());
    }
}

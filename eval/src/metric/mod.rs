//! The list of metrics: each turns the outcomes of many rows into one number with an interval, and two arms into one difference.
//! Knows nothing about single answers; those are judged by scorers.

pub mod accuracy;
pub mod macro_f1;
pub mod valid_label_share;

pub use accuracy::Accuracy;
pub use macro_f1::{Confusion, MacroF1};
pub use valid_label_share::ValidLabelShare;

use crate::stats::{Clusters, Estimate, interval, paired, paired::Difference};
use crate::{Error, Outcome};

/// Every metric, in the order of the report.
pub const ALL: [&dyn Metric; 5] =
    [&Accuracy::ExactMatch, &Accuracy::LabelLikelihood, &Accuracy::LabelLikelihoodPerByte, &ValidLabelShare, &MacroF1];

/// What a metric needs beside the outcomes.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The closed labels, or nothing for free text.
    pub labels: Option<&'a [String]>,
    /// Which rows belong together, in the order of the outcomes.
    pub clusters: &'a Clusters,
    /// What the draws of a bootstrap start from.
    pub seed: u64,
}

/// One number over many rows.
pub trait Metric: Sync {
    /// The name in tasks and files.
    fn name(&self) -> &'static str;
    /// The name in tables.
    fn title(&self) -> &'static str;
    /// What it counts, in one sentence.
    fn policy(&self) -> &'static str;
    /// The value on these outcomes; none when they do not carry what it needs.
    fn estimate(&self, outcomes: &[Outcome], setting: Setting<'_>) -> Option<Estimate>;
    /// Candidate minus baseline on the same rows; none when either does not carry what it needs.
    fn difference(&self, candidate: &[Outcome], baseline: &[Outcome], setting: Setting<'_>) -> Option<Difference>;
}

/// The metric of this name.
///
/// # Errors
/// When there is none.
pub fn by_name(name: &str) -> Result<&'static dyn Metric, Error> {
    ALL.into_iter().find(|metric| metric.name() == name).ok_or_else(|| Error::UnknownMetric {
        name: name.to_owned(),
        known: ALL.iter().map(|metric| metric.name()).collect(),
    })
}

/// The estimate of a mean of per-row scores; none without rows or when a row has no score to give.
fn mean_of(outcomes: &[Outcome], clusters: &Clusters, score: impl Fn(&Outcome) -> Option<f64>) -> Option<Estimate> {
    let scores = scores_of(outcomes, score)?;
    Some(interval::mean(&scores, clusters))
}

/// The paired difference of a mean of per-row scores.
fn difference_of(
    candidate: &[Outcome],
    baseline: &[Outcome],
    clusters: &Clusters,
    score: impl Fn(&Outcome) -> Option<f64>,
) -> Option<Difference> {
    let (new, old) = (scores_of(candidate, &score)?, scores_of(baseline, &score)?);
    Some(paired::difference(&new, &old, clusters))
}

fn scores_of(outcomes: &[Outcome], score: impl Fn(&Outcome) -> Option<f64>) -> Option<Vec<f64>> {
    if outcomes.is_empty() {
        return None;
    }
    outcomes.iter().map(score).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
pub(crate) mod tests {
    use super::*;
    use crate::{Parse, Reason};

    /// Outcomes of a closed set of labels; a prediction of none is unparsed.
    pub(crate) fn outcomes(rows: &[(&str, Option<&str>)]) -> Vec<Outcome> {
        let parse = |label: Option<&str>| match label {
            Some(_) => Parse::Parsed,
            None => Parse::Unparsed { reason: Reason::NotALabel },
        };
        rows.iter()
            .enumerate()
            .map(|(index, &(target, label))| Outcome {
                id: format!("r{index}"),
                group: None,
                text: label.unwrap_or("INVALID").to_owned(),
                target: target.to_owned(),
                score: Some(if label == Some(target) { 1.0 } else { 0.0 }),
                parse: parse(label),
                label: label.map(str::to_owned),
                ranked: None,
            })
            .collect()
    }

    // `classif` in oracles/statistics.json.
    pub(crate) fn oracle() -> Vec<Outcome> {
        let truth = ["pos", "neg", "neu", "pos", "neg", "neg", "neu", "pos", "pos", "neg"];
        let said = ["pos", "neg", "neg", "pos", "neu", "neg", "neu", "neg", "pos", "INVALID"];
        let rows: Vec<_> = truth.into_iter().zip(said.map(|label| (label != "INVALID").then_some(label))).collect();
        outcomes(&rows)
    }

    #[test]
    fn every_metric_is_found_by_its_name_and_an_unknown_one_is_refused() {
        for metric in ALL {
            assert_eq!(by_name(metric.name()).unwrap().title(), metric.title());
        }
        assert!(by_name("f1").err().unwrap().to_string().contains("macro_f1"));
    }

    #[test]
    fn an_unscored_row_is_never_a_pass_and_stays_in_the_denominator_of_every_metric() {
        let mut rows = outcomes(&[("a", Some("a")), ("b", Some("b")), ("a", Some("a"))]);
        rows[2].score = None;
        rows[2].label = None;
        rows[2].parse = Parse::Unscored { reason: "connection lost".to_owned() };
        let labels = vec!["a".to_owned(), "b".to_owned()];
        let clusters = Clusters::new([None; 3]);
        let setting = Setting { labels: Some(&labels), clusters: &clusters, seed: 0 };
        for (name, expect) in [("exact_match", 2.0 / 3.0), ("valid_label_share", 2.0 / 3.0), ("macro_f1", 5.0 / 6.0)] {
            let estimate = by_name(name).unwrap().estimate(&rows, setting).unwrap();
            assert_eq!(estimate.n, 3, "{name}");
            assert!((estimate.value - expect).abs() < 1e-12, "{name}: {}", estimate.value);
        }
    }
}

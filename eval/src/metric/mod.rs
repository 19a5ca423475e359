//! The list of metrics: each turns the outcomes of many rows into one number with an interval, and two arms into one difference.
//! Knows nothing about single answers; those are judged by scorers.

pub mod confusion;
pub mod corpus;
pub mod field_f1;
pub mod label_f1;
pub mod mean_score;
pub mod valid_share;

pub use confusion::Confusion;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stats::bootstrap::{self, Draws, SparseRows, Sums};
use crate::stats::paired::{self, Difference};
use crate::stats::{Clusters, Estimate, LEVEL, Method, interval};
use crate::{Error, Outcome};

/// What a metric needs beside the outcomes.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The right answers, in the order of the outcomes.
    pub targets: &'a [String],
    /// The closed labels, or nothing for free text.
    pub labels: Option<&'a [String]>,
    /// The fields or types each scorer counts, over all arms, so that two arms are summed in the same places.
    pub names: &'a BTreeMap<String, Vec<String>>,
    /// Which rows belong together, in the order of the outcomes.
    pub clusters: &'a Clusters,
    /// What the draws of a bootstrap start from.
    pub seed: u64,
}

/// What a metric reads from the outcomes of an arm.
#[derive(Clone, Debug, PartialEq)]
pub enum PerRow {
    /// The metric is the mean of these scores.
    Scores(Vec<f64>),
    /// The metric is a function of the sum of these rows.
    Sums(SparseRows),
}

/// How a value of a metric is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A share between 0 and 1, shown in per cent; differences in points.
    Share,
    /// A score that is not a share, such as F1 or a correlation, shown as a fraction.
    Fraction,
    /// A score between 0 and 100, as BLEU is written.
    Hundred,
}

/// One number over many rows; more is better.
pub trait Metric: Send + Sync {
    /// The name in tasks and files.
    fn name(&self) -> String;
    /// The name in tables.
    fn title(&self) -> String;
    /// What it counts, in one sentence.
    fn policy(&self) -> String;
    /// How its value is written.
    fn unit(&self) -> Unit;
    /// A name for what it reads from each row: metrics of the same name read the same, so that they can be drawn together.
    fn shares(&self) -> Option<String> {
        None
    }
    /// Neighbouring numbers of a row that belong together, such as those of one label. Where all numbers of such a part are
    /// zero in every row it may be left out, so that the value must not depend on it; 0 says that no part may be.
    fn part(&self) -> usize {
        0
    }
    /// What it reads from each row; none when the outcomes do not carry what it needs.
    fn per_row(&self, outcomes: &[Outcome], setting: Setting<'_>) -> Option<PerRow>;
    /// The value of summed rows; a mean needs none.
    fn of_sums(&self, _sums: &[f64]) -> f64 {
        f64::NAN
    }
}

/// The metric of this name.
///
/// # Errors
/// When there is none.
pub fn by_name<'a>(metrics: &'a [Box<dyn Metric>], name: &str) -> Result<&'a dyn Metric, Error> {
    metrics.iter().find(|metric| metric.name() == name).map(AsRef::as_ref).ok_or_else(|| Error::UnknownMetric {
        name: name.to_owned(),
        known: metrics.iter().map(|metric| metric.name()).collect(),
    })
}

/// The value on these outcomes; none when they do not carry what the metric needs.
pub fn estimate(metric: &dyn Metric, outcomes: &[Outcome], setting: Setting<'_>) -> Option<Estimate> {
    together(&[metric], outcomes, setting)?.pop().flatten()
}

/// The value of every metric that the outcomes carry, by name; those that read the same are drawn together.
pub fn estimates(
    metrics: &[Box<dyn Metric>],
    outcomes: &[Outcome],
    setting: Setting<'_>,
) -> BTreeMap<String, Estimate> {
    let mut found = BTreeMap::new();
    let mut open: Vec<&dyn Metric> = metrics.iter().map(AsRef::as_ref).collect();
    while let Some(&first) = open.first() {
        let shared = first.shares();
        let mut at = 0;
        let alike = |metric: &mut &dyn Metric| {
            at += 1;
            at == 1 || shared.is_some() && metric.shares() == shared
        };
        let group: Vec<&dyn Metric> = open.extract_if(.., alike).collect();
        let values = together(&group, outcomes, setting).unwrap_or_default();
        found.extend(group.iter().zip(values).filter_map(|(metric, value)| Some((metric.name(), value?))));
    }
    found
}

/// The values of metrics that read the same from each row, in their order; none for one that has no value on these rows.
fn together(metrics: &[&dyn Metric], outcomes: &[Outcome], setting: Setting<'_>) -> Option<Vec<Option<Estimate>>> {
    let clusters = setting.clusters;
    match metrics.first()?.per_row(outcomes, setting)? {
        PerRow::Scores(scores) if scores.is_empty() => None,
        PerRow::Scores(scores) => Some(metrics.iter().map(|_| Some(interval::mean(&scores, clusters))).collect()),
        PerRow::Sums(rows) => {
            let part = metrics.first()?.part();
            let sums = sums(&rows, clusters)?;
            drop(rows);
            let [sums] = if part > 0 { Sums::without_zeros([&sums], part) } else { [sums] };
            let fill = |sums: &[f64], values: &mut [f64]| {
                values.iter_mut().zip(metrics).for_each(|(value, metric)| *value = metric.of_sums(sums));
            };
            let draws = bootstrap::several(&sums, metrics.len(), fill, bootstrap::REPLICATES, setting.seed);
            let of = |(metric, draws): (&&dyn Metric, &Draws)| drawn(metric.unit(), draws, outcomes.len(), clusters);
            Some(metrics.iter().zip(&draws.ok()?).map(of).collect())
        }
    }
}

/// What draws say of a metric of this unit; none when they bound nothing.
fn drawn(unit: Unit, draws: &Draws, n: usize, clusters: &Clusters) -> Option<Estimate> {
    let (value, groups) = (draws.observed, clusters.num_clusters());
    let (low, high, method) = match spread(draws) {
        Some((low, high)) => (low, high, Method::ClusterBootstrap),
        None if groups < 2 => (0.0, top(unit), Method::Undetermined),
        None => {
            let scale = top(unit);
            let (low, high, method) = interval::no_spread((value / scale).clamp(0.0, 1.0), clusters);
            (low * scale, high * scale, method)
        }
    };
    let bounded = [value, low, high].iter().all(|end| end.is_finite());
    bounded.then_some(Estimate { value, n, groups, low, high, method })
}

/// Candidate minus baseline on the rows that both answered: one that an arm gave no answer to says nothing about either.
/// None where there is no such row, or an arm does not carry what the metric needs.
pub fn difference(
    metric: &dyn Metric,
    candidate: &[Outcome],
    baseline: &[Outcome],
    setting: Setting<'_>,
) -> Option<Difference> {
    let pairs = candidate.iter().zip(baseline).enumerate();
    let kept = pairs.filter(|(_, (new, old))| !new.is_missing() && !old.is_missing()).map(|(row, _)| row);
    let kept: Vec<usize> = kept.collect();
    let some = (kept.len() < candidate.len()).then(|| setting.clusters.subset(&kept));
    let clusters = some.as_ref().unwrap_or(setting.clusters);
    let (n, groups) = (kept.len(), clusters.num_clusters());
    match (metric.per_row(candidate, setting)?, metric.per_row(baseline, setting)?) {
        (PerRow::Scores(new), PerRow::Scores(old)) if n > 0 => {
            let of = |scores: &[f64]| -> Vec<f64> { kept.iter().map(|&row| scores[row]).collect() };
            Some(paired::difference(&of(&new), &of(&old), clusters))
        }
        (PerRow::Sums(new), PerRow::Sums(old)) if n > 0 && new.width() == old.width() => {
            // A row is read on its own, so that what was read of all rows can be cut to some of them.
            let sums =
                |rows: &SparseRows| Sums::sparse(rows.width(), kept.iter().map(|&row| rows.row(row)), clusters).ok();
            let [new, old] = both(metric, sums(&new)?, sums(&old)?);
            let of = |sums: &[f64]| metric.of_sums(sums);
            let value = of(&new.total()) - of(&old.total());
            // Both arms are recomputed on the same draw, which is what makes the comparison paired.
            let draws = bootstrap::paired(&new, &old, of, bootstrap::REPLICATES, setting.seed).ok()?;
            let whole = top(metric.unit());
            // Draws that all agree, as those of equal answers do, say nothing about how sure the difference is.
            let (low, high, method) = match spread(&draws) {
                Some((low, high)) => (low, high, Method::ClusterBootstrap),
                None => (-whole, whole, Method::Undetermined),
            };
            let estimate = Estimate { value, n, groups, low, high, method };
            Some(Difference { estimate, p_value: None, detectable: None, flips: None })
        }
        _ => None,
    }
}

/// The largest value a metric of this unit has.
pub(crate) fn top(unit: Unit) -> f64 {
    if unit == Unit::Hundred { 100.0 } else { 1.0 }
}

/// Rows summed over their clusters; none without a row or with a number that is not finite.
fn sums(rows: &SparseRows, clusters: &Clusters) -> Option<Sums> {
    Sums::sparse(rows.width(), rows.rows(), clusters).ok()
}

/// The sums of two arms without the parts that are zero in both.
pub(crate) fn both(metric: &dyn Metric, new: Sums, old: Sums) -> [Sums; 2] {
    match metric.part() {
        0 => [new, old],
        part => Sums::without_zeros([&new, &old], part),
    }
}

/// The bounds of draws, unless all draws agree.
fn spread(draws: &Draws) -> Option<(f64, f64)> {
    draws.has_spread().then(|| draws.percentile(LEVEL))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
pub(crate) mod tests {
    use super::*;
    use crate::scorer::{Judgements, Scored};
    use crate::{Finish, Parse, Reason, outcome::Sample};

    /// Outcomes of a closed set of labels and their targets; a prediction of none is unparsed.
    pub(crate) fn outcomes(rows: &[(&str, Option<&str>)]) -> (Vec<Outcome>, Vec<String>) {
        let judged = |target: &str, label: Option<&str>| match label {
            Some(label) => Scored { label: Some(label.to_owned()), ..Scored::right_or_wrong(label == target) },
            None => Scored::unparsed(Reason::NotALabel),
        };
        let outcome = |(index, &(target, label)): (usize, &(&str, Option<&str>))| Outcome {
            id: format!("r{index}"),
            samples: vec![Sample {
                text: label.unwrap_or("INVALID").to_owned(),
                written: None,
                finish: Finish::Stop,
                scored: Judgements::from([("label".to_owned(), judged(target, label))]),
                call: None,
            }],
            likelihoods: None,
        };
        let targets = rows.iter().map(|row| row.0.to_owned()).collect();
        (rows.iter().enumerate().map(outcome).collect(), targets)
    }

    /// A setting without fields.
    pub(crate) fn check_estimate(
        metric: &dyn Metric,
        (outcomes, targets): &(Vec<Outcome>, Vec<String>),
        labels: &[&str],
        clusters: &Clusters,
    ) -> Option<Estimate> {
        let labels: Vec<String> = labels.iter().map(|&label| label.to_owned()).collect();
        let names = BTreeMap::new();
        let setting = Setting { targets, labels: Some(&labels), names: &names, clusters, seed: 3 };
        estimate(metric, outcomes, setting)
    }

    // `classif` in oracles/statistics.json.
    pub(crate) fn oracle() -> (Vec<Outcome>, Vec<String>) {
        let truth = ["pos", "neg", "neu", "pos", "neg", "neg", "neu", "pos", "pos", "neg"];
        let said = ["pos", "neg", "neg", "pos", "neu", "neg", "neu", "neg", "pos", "INVALID"];
        let rows: Vec<_> = truth.into_iter().zip(said.map(|label| (label != "INVALID").then_some(label))).collect();
        outcomes(&rows)
    }

    #[test]
    fn an_unscored_row_is_never_a_pass_and_stays_in_the_denominator_of_every_metric() {
        let mut rows = outcomes(&[("a", Some("a")), ("b", Some("b")), ("a", Some("a"))]);
        let sample = &mut rows.0[2].samples[0];
        let lost = Scored { parse: Parse::Unscored { reason: "connection lost".to_owned() }, ..Scored::nothing() };
        sample.scored.insert("label".to_owned(), lost);
        let metrics: [(&dyn Metric, f64); 3] = [
            (&mean_score::MeanScore::new("label", "label", "share"), 2.0 / 3.0),
            (&valid_share::ValidShare { scorer: "label".to_owned() }, 2.0 / 3.0),
            (&label_f1::LabelFigure::MacroF1, 5.0 / 6.0),
        ];
        for (metric, expect) in metrics {
            let found = check_estimate(metric, &rows, &["a", "b"], &Clusters::new([None; 3])).unwrap();
            assert_eq!(found.n, 3, "{}", metric.name());
            assert!((found.value - expect).abs() < 1e-12, "{}: {}", metric.name(), found.value);
        }
    }
}

//! Figures over a closed set of labels that are not means of rows: F1 in three averages, balanced accuracy, MCC and kappa.
//! Knows nothing about texts: it reads the label that the label scorer found in each answer.

use std::collections::HashMap;

use super::{Metric, PerRow, Setting, Unit};
use crate::Outcome;
use crate::outcome::Sample;
use crate::stats::bootstrap::SparseRows;

/// Numbers of one label.
const PART: usize = 3;

/// One figure of the table of targets against answers.
///
/// An answer that is no label is a false negative of the target and a false positive of none: it is not a class of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelFigure {
    /// The mean of the F1 of each label that occurs as a target, so that rare labels count as much as frequent ones (Opitz and Burst 2019).
    MacroF1,
    /// The F1 of each label, weighted by how often it is the target.
    WeightedF1,
    /// The mean recall of the labels that occur as a target.
    BalancedAccuracy,
    /// Matthews' correlation in its form for several classes (Gorodkin 2004); an answer that is no label is a class there.
    Mcc,
    /// Cohen's kappa between targets and answers; an answer that is no label is a class there.
    Kappa,
}

/// Every figure, in the order of reports.
pub const ALL: [LabelFigure; 5] = [
    LabelFigure::MacroF1,
    LabelFigure::WeightedF1,
    LabelFigure::BalancedAccuracy,
    LabelFigure::Mcc,
    LabelFigure::Kappa,
];

impl Metric for LabelFigure {
    fn name(&self) -> String {
        match self {
            Self::MacroF1 => "macro_f1",
            Self::WeightedF1 => "weighted_f1",
            Self::BalancedAccuracy => "balanced_accuracy",
            Self::Mcc => "mcc",
            Self::Kappa => "kappa",
        }
        .to_owned()
    }

    fn title(&self) -> String {
        match self {
            Self::MacroF1 => "macro-F1",
            Self::WeightedF1 => "weighted F1",
            Self::BalancedAccuracy => "balanced accuracy",
            Self::Mcc => "MCC",
            Self::Kappa => "kappa",
        }
        .to_owned()
    }

    fn policy(&self) -> String {
        match self {
            Self::MacroF1 => "mean F1 over the labels that occur as a target; an answer that is no label is wrong and not a class",
            Self::WeightedF1 => "F1 of each label weighted by how often it is the target; an answer that is no label is wrong and not a class",
            Self::BalancedAccuracy => "mean recall over the labels that occur as a target",
            Self::Mcc => "Matthews' correlation for several classes; an answer that is no label is one class more",
            Self::Kappa => "Cohen's kappa of targets and answers; an answer that is no label is one class more",
        }
        .to_owned()
    }

    fn unit(&self) -> Unit {
        Unit::Fraction
    }

    fn shares(&self) -> Option<String> {
        Some("label".to_owned())
    }

    fn part(&self) -> usize {
        PART
    }

    /// Of each label: rows it is the target of, rows it is the answer of, rows it is both of.
    fn per_row(&self, outcomes: &[Outcome], setting: Setting<'_>) -> Option<PerRow> {
        let labels = setting.labels?;
        let index: HashMap<&str, usize> = labels.iter().enumerate().map(|(at, label)| (label.as_str(), at)).collect();
        let mut rows = SparseRows::new(PART * labels.len());
        for (outcome, target) in outcomes.iter().zip(setting.targets) {
            let target = *index.get(target.as_str())?;
            let share = 1.0 / outcome.samples.len().max(1) as f64;
            outcome.scored("label")?;
            let label = |sample: &Sample| {
                sample.scored.get("label")?.label.as_deref().and_then(|label| index.get(label).copied())
            };
            let answered = outcome.samples.iter().filter_map(label).flat_map(|answer| {
                let both = (answer == target).then_some((PART * target + 2, share));
                [Some((PART * answer + 1, share)), both].into_iter().flatten()
            });
            rows.push(std::iter::once((PART * target, 1.0)).chain(answered));
        }
        (!outcomes.is_empty()).then_some(PerRow::Sums(rows))
    }

    fn of_sums(&self, sums: &[f64]) -> f64 {
        let classes =
            || sums.chunks_exact(PART).map(|class| Class { wanted: class[0], said: class[1], both: class[2] });
        match self {
            Self::MacroF1 => mean(classes().filter(Class::occurs).map(|class| class.f1())),
            Self::BalancedAccuracy => mean(classes().filter(Class::occurs).map(|class| class.both / class.wanted)),
            Self::WeightedF1 => {
                let total: f64 = classes().map(|class| class.wanted).sum();
                classes().map(|class| class.wanted * class.f1()).sum::<f64>() / total
            }
            Self::Mcc => {
                let (n, invalid, right) = totals(classes());
                let covariance = n * right - classes().map(|class| class.said * class.wanted).sum::<f64>();
                let said = n * n - classes().map(|class| class.said * class.said).sum::<f64>() - invalid * invalid;
                let wanted = n * n - classes().map(|class| class.wanted * class.wanted).sum::<f64>();
                let scale = (said * wanted).sqrt();
                if scale > 0.0 { covariance / scale } else { 0.0 }
            }
            Self::Kappa => {
                let (n, _, right) = totals(classes());
                let chance = classes().map(|class| class.said * class.wanted).sum::<f64>() / (n * n);
                let agreed = right / n;
                if chance < 1.0 { (agreed - chance) / (1.0 - chance) } else { 0.0 }
            }
        }
    }
}

struct Class {
    wanted: f64,
    said: f64,
    both: f64,
}

impl Class {
    fn occurs(&self) -> bool {
        self.wanted > 0.0
    }

    fn f1(&self) -> f64 {
        let sum = self.wanted + self.said;
        if sum > 0.0 { 2.0 * self.both / sum } else { 0.0 }
    }
}

/// Rows, answers that are no label, right answers.
fn totals(classes: impl Iterator<Item = Class>) -> (f64, f64, f64) {
    let (n, said, right) = classes
        .fold((0.0, 0.0, 0.0), |(n, said, right), class| (n + class.wanted, said + class.said, right + class.both));
    (n, n - said, right)
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::metric::tests::{check_estimate, oracle, outcomes};
    use crate::metric::{Setting, difference};
    use crate::stats::{Clusters, Estimate, Method};

    fn estimate(figure: LabelFigure, rows: &(Vec<Outcome>, Vec<String>), clusters: &Clusters) -> Estimate {
        check_estimate(&figure, rows, &["neg", "neu", "pos", "a", "b", "c"], clusters).unwrap()
    }

    // scikit-learn 1.9.1, `classif` in oracles/statistics.json: `macro_f1_labels`, not `macro_f1_nolabels`.
    #[test]
    fn figures_equal_scikit_learn_with_an_answer_that_is_no_label() {
        let expect = [
            (LabelFigure::MacroF1, 0.619_047_619_047_619_1),
            (LabelFigure::WeightedF1, 0.642_857_142_857_142_9),
            (LabelFigure::BalancedAccuracy, 0.583_333_333_333_333_4),
            (LabelFigure::Mcc, 0.418_330_013_267_037_8),
            (LabelFigure::Kappa, 0.411_764_705_882_353_03),
        ];
        for (figure, expect) in expect {
            let found = estimate(figure, &oracle(), &Clusters::new([None; 10]));
            assert!((found.value - expect).abs() < 1e-12, "{figure:?}: {}", found.value);
            assert_eq!(found.method, Method::ClusterBootstrap);
            assert!(found.low < found.value && found.value < found.high);
        }
    }

    #[test]
    fn a_label_that_is_only_answered_has_no_f1_of_its_own() {
        let rows = outcomes(&[("a", Some("a")), ("a", Some("c")), ("b", Some("b"))]);
        let found = estimate(LabelFigure::MacroF1, &rows, &Clusters::new([None; 3]));
        assert!((found.value - 5.0 / 6.0).abs() < 1e-12);
    }

    #[test]
    fn the_interval_is_the_same_on_every_run() {
        let clusters = Clusters::new((0..10).map(|row| Some(["a", "b", "c", "d"][row % 4])));
        let run = || estimate(LabelFigure::MacroF1, &oracle(), &clusters);
        assert_eq!(run(), run());
    }

    #[test]
    fn figures_drawn_together_equal_figures_drawn_one_by_one() {
        let labels = ["neg", "neu", "pos"].map(str::to_owned);
        let clusters = Clusters::new((0..10).map(|row| Some(["a", "b", "c", "d"][row % 4])));
        let (outcomes, targets) = oracle();
        let names = std::collections::BTreeMap::new();
        let setting = Setting { targets: &targets, labels: Some(&labels), names: &names, clusters: &clusters, seed: 3 };
        let mut metrics: Vec<Box<dyn Metric>> =
            ALL.into_iter().map(|figure| Box::new(figure) as Box<dyn Metric>).collect();
        metrics.push(Box::new(crate::metric::mean_score::MeanScore::new("label", "label", "share")));
        let together = crate::metric::estimates(&metrics, &outcomes, setting);
        assert_eq!(together.len(), 6);
        for metric in &metrics {
            let alone = crate::metric::estimate(metric.as_ref(), &outcomes, setting);
            assert_eq!(together.get(&metric.name()).copied(), alone, "{}", metric.name());
        }
    }

    #[test]
    fn perfect_answers_are_not_certain() {
        let rows = outcomes(&[("a", Some("a")); 8]);
        let found = estimate(LabelFigure::MacroF1, &rows, &Clusters::new([None; 8]));
        assert_eq!((found.value, found.high, found.method), (1.0, 1.0, Method::Wilson));
        assert!(found.low < 0.7);
    }

    #[test]
    fn a_difference_is_taken_on_the_same_draws() {
        let labels = ["neg", "neu", "pos"].map(str::to_owned);
        let clusters = Clusters::new([None; 10]);
        let (base, targets) = oracle();
        let names = std::collections::BTreeMap::new();
        let setting = Setting { targets: &targets, labels: Some(&labels), names: &names, clusters: &clusters, seed: 1 };
        let mut better = base.clone();
        let judged = better[9].samples[0].scored.get_mut("label").unwrap();
        judged.label = Some("neg".to_owned());
        let found = difference(&LabelFigure::MacroF1, &better, &base, setting).unwrap().estimate;
        assert!(found.value > 0.0 && found.low >= 0.0 && found.high < 0.4, "{found:?}");
        let equal = difference(&LabelFigure::MacroF1, &base, &base, setting).unwrap().estimate;
        assert_eq!((equal.value, equal.method), (0.0, Method::Undetermined));
    }
}

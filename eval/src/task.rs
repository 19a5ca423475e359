//! What an evaluation measures: which scorers judge each row, which metrics are computed, and which one decides.
//! Knows nothing about the rows or about who answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::metric::{self, Metric, field_f1, label_f1};
use crate::scorer::{Plain, Scorer, ScorerOptions, ScorerSpec};
use crate::{Error, Outcome};

/// What an evaluation measures.
pub struct Task {
    specs: Vec<ScorerSpec>,
    scorers: Vec<Box<dyn Scorer>>,
    primary: Option<String>,
}

/// One scorer or metric as reports name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// The name in files.
    pub name: String,
    /// The name in tables.
    pub title: String,
    /// What it compares or counts, in one sentence.
    pub policy: String,
}

impl Task {
    /// Scorers, and the metric that decides; without one it is the mean score of the first scorer.
    ///
    /// # Errors
    /// When there is no scorer, two share a name, an option cannot work, or the metric is not among them.
    pub fn new(specs: Vec<ScorerSpec>, labels: Option<&[String]>, primary: Option<String>) -> Result<Self, Error> {
        let scorers: Vec<Box<dyn Scorer>> =
            specs.iter().map(|spec| spec.build(labels.unwrap_or_default())).collect::<Result<_, _>>()?;
        if scorers.is_empty() {
            return Err(Error::BadOption { option: "scorers", expected: "at least one" });
        }
        for (index, scorer) in scorers.iter().enumerate() {
            if scorers[..index].iter().any(|earlier| earlier.name() == scorer.name()) {
                return Err(Error::DuplicateScorer { name: scorer.name().to_owned() });
            }
            if labels.is_none() && matches!(scorer.name(), "label" | "label_likelihood" | "label_likelihood_per_byte") {
                return Err(Error::NeedsLabels { scorer: scorer.name().to_owned() });
            }
        }
        let task = Self { specs, scorers, primary };
        task.metrics()?;
        Ok(task)
    }

    /// What a closed set of labels is scored by, or free text without labels.
    ///
    /// # Errors
    /// When the metric is not among them.
    pub fn standard(labels: Option<&[String]>, primary: Option<String>) -> Result<Self, Error> {
        let mut options = vec![ScorerOptions::ExactMatch(Plain {})];
        if labels.is_some() {
            options.push(ScorerOptions::Label(Default::default()));
            options.push(ScorerOptions::LabelLikelihood(Plain {}));
            options.push(ScorerOptions::LabelLikelihoodPerByte(Plain {}));
        }
        let specs = options.into_iter().map(|options| ScorerSpec { options, schema: None }).collect();
        Self::new(specs, labels, primary)
    }

    /// What the scorers were made from.
    pub fn specs(&self) -> &[ScorerSpec] {
        &self.specs
    }

    /// SHA-256 of what the scorers were made from, as JSON: the name by which decisions and results cite them.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn sha256(&self) -> Result<String, Error> {
        Ok(datasets::digest::sha256_hex(&serde_json::to_vec(&self.specs)?))
    }

    /// The scorers, in the order of reports.
    pub fn scorers(&self) -> &[Box<dyn Scorer>] {
        &self.scorers
    }

    /// Whether labels are ranked by likelihood.
    pub fn ranks(&self) -> bool {
        self.scorers.iter().any(|scorer| scorer.ranks())
    }

    /// The name of the metric that decides.
    pub fn primary(&self) -> &str {
        self.primary.as_deref().unwrap_or_else(|| self.scorers[0].name())
    }

    /// The metrics, in the order of reports.
    ///
    /// # Errors
    /// When the metric that decides is not among them.
    pub fn metrics(&self) -> Result<Vec<Box<dyn Metric>>, Error> {
        let metrics = of_scorers(&self.scorers);
        metric::by_name(&metrics, self.primary())?;
        Ok(metrics)
    }

    /// The metrics that arms are compared by: the one that decides, what a model knows without the format, and those
    /// in which rare labels or the whole corpus count.
    pub fn compared(&self, metrics: &[Box<dyn Metric>]) -> Vec<String> {
        let also = |name: &str| {
            matches!(name, "label_likelihood" | "macro_f1")
                || name.ends_with("_micro_f1")
                || name.starts_with("corpus_")
        };
        let rest = metrics.iter().map(|metric| metric.name()).filter(|name| name != self.primary() && also(name));
        std::iter::once(self.primary().to_owned()).chain(rest).collect()
    }

    /// Whether a metric is a mean over rows.
    pub fn is_mean(&self, metric: &str) -> bool {
        self.scorers.iter().any(|scorer| scorer.name() == metric || metric == format!("{}_valid", scorer.name()))
    }

    /// Whether every row scores 0 or 1 under a metric.
    pub fn is_right_or_wrong(&self, metric: &str) -> bool {
        let readable = |scorer: &dyn Scorer| metric == format!("{}_valid", scorer.name());
        self.scorers
            .iter()
            .any(|scorer| (scorer.name() == metric && scorer.is_right_or_wrong()) || readable(scorer.as_ref()))
    }

    /// The scorer behind the metric that decides, for the score of a single row.
    pub fn primary_scorer(&self) -> &str {
        let named = self.scorers.iter().find(|scorer| scorer.name() == self.primary());
        named.unwrap_or(&self.scorers[0]).name()
    }

    /// The scorers as reports name them.
    pub fn described(&self) -> Vec<Named> {
        let named = |scorer: &dyn Scorer| Named {
            name: scorer.name().to_owned(),
            title: scorer.name().replace('_', " "),
            policy: scorer.policy(),
        };
        self.scorers.iter().map(|scorer| named(scorer.as_ref())).collect()
    }
}

fn of_scorers(scorers: &[Box<dyn Scorer>]) -> Vec<Box<dyn Metric>> {
    let mut metrics: Vec<Box<dyn Metric>> = Vec::new();
    for scorer in scorers {
        let name = scorer.name();
        metrics.push(Box::new(metric::mean_score::MeanScore::new(name, name.replace('_', " "), scorer.policy())));
        for kind in scorer.figures() {
            match kind {
                Figures::Valid => {
                    metrics.push(Box::new(metric::valid_share::ValidShare { scorer: name.to_owned() }));
                }
                Figures::Labels => metrics.extend(label_f1::ALL.map(|figure| Box::new(figure) as Box<dyn Metric>)),
                Figures::Fields => metrics.extend(field_f1::ALL.map(|average| {
                    Box::new(field_f1::FieldFigure { scorer: name.to_owned(), average }) as Box<dyn Metric>
                })),
                Figures::Corpus(corpus) => metrics.push(Box::new(corpus)),
            }
        }
    }
    metrics
}

/// What can be computed over many rows from what a scorer leaves, beside the mean of its scores.
pub enum Figures {
    /// The share of answers that could be read.
    Valid,
    /// The figures of a closed set of labels.
    Labels,
    /// Precision, recall and F1 of counts by field or type.
    Fields,
    /// A function of summed rows.
    Corpus(metric::corpus::Corpus),
}

/// The fields or types of each scorer that a target holds, over all arms, in the order of their names. A name that only
/// answers have is not among them: a model can make up any number of those.
pub(crate) fn count_names<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> BTreeMap<String, Vec<String>> {
    let mut names: BTreeMap<String, std::collections::BTreeSet<&str>> = BTreeMap::new();
    for sample in outcomes.flat_map(|outcome| &outcome.samples) {
        for (scorer, scored) in sample.scored.iter().filter(|(_, scored)| !scored.counts.is_empty()) {
            let wanted = scored.counts.iter().filter(|count| count.wanted > 0.0).map(|count| count.name.as_str());
            names.entry(scorer.to_owned()).or_default().extend(wanted);
        }
    }
    names.into_iter().map(|(scorer, set)| (scorer, set.into_iter().map(str::to_owned).collect())).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn labels() -> Vec<String> {
        ["a", "b"].map(str::to_owned).to_vec()
    }

    #[test]
    fn every_metric_of_a_task_has_its_own_name_and_an_unknown_one_is_refused() {
        let task = Task::standard(Some(&labels()), None).unwrap();
        let metrics = task.metrics().unwrap();
        let mut names: Vec<_> = metrics.iter().map(|metric| metric.name()).collect();
        assert_eq!(names[..3], ["exact_match", "label", "label_valid"]);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), metrics.len());
        assert!(metrics.iter().all(|metric| !metric.policy().is_empty()));
        let wrong = Task::standard(Some(&labels()), Some("f1".to_owned())).err().unwrap();
        assert!(wrong.to_string().contains("macro_f1"));
    }

    #[test]
    fn only_scorers_that_say_so_are_right_or_wrong() {
        let spec = |text: &str| ScorerSpec { options: serde_json::from_str(text).unwrap(), schema: None };
        let names = ["exact_match", "json_fields", "bleu", "spans", "json_valid"];
        let specs = names.map(|name| spec(&format!("{{\"kind\": \"{name}\"}}"))).to_vec();
        let task = Task::new(specs, None, None).unwrap();
        let told: Vec<bool> = task.scorers().iter().map(|scorer| task.is_right_or_wrong(scorer.name())).collect();
        assert_eq!(told, [true, false, false, false, true]);
        assert!(task.is_right_or_wrong("spans_valid") && !task.is_right_or_wrong("corpus_bleu"));
        let record = spec("{\"kind\": \"json_fields\", \"row_score\": \"exact_record\"}");
        assert!(Task::new(vec![record], None, None).unwrap().is_right_or_wrong("json_record"));
    }

    #[test]
    fn a_task_without_a_scorer_with_one_twice_or_without_the_labels_it_needs_is_refused() {
        let exact = || ScorerSpec { options: ScorerOptions::ExactMatch(Plain {}), schema: None };
        let label = ScorerSpec { options: ScorerOptions::Label(Default::default()), schema: None };
        assert!(Task::new(Vec::new(), None, None).is_err());
        assert!(Task::new(vec![exact(), exact()], None, None).is_err());
        assert!(Task::new(vec![label], None, None).err().unwrap().to_string().contains("labels"));
    }
}

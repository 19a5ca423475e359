//! The TF-IDF baseline: words and word pairs, weighted by rarity, into logistic regression.
//! Knows nothing about the model it stands beside; on many tasks it is hard to beat and costs nothing to serve.

use datasets::TfIdf;

use super::logistic::{LogisticRegression, Settings};
use super::{Baseline, Example};
use crate::Error;

/// The name in tables.
pub const NAME: &str = "tfidf";

/// A term must be in this many training rows.
const MIN_DF: usize = 2;

/// Weights of a baseline; the solver keeps some 25 numbers for each.
const MOST_WEIGHTS: usize = 1 << 23;

/// Products of all steps of the solver together: a minute or two.
const MOST_PRODUCTS: u64 = 1 << 37;

/// As `LogisticRegression(C=10, max_iter=500)`.
const SETTINGS: Settings = Settings { c: 10.0, max_iter: 500 };

/// Learns the vocabulary and the weights.
///
/// # Errors
/// Without training rows, without features, or when the solver refuses.
pub fn fit(examples: &[Example<'_>]) -> Result<Box<dyn Baseline>, Error> {
    let mut labels: Vec<String> = examples.iter().map(|example| example.label.to_owned()).collect();
    labels.sort_unstable();
    labels.dedup();
    if labels.is_empty() {
        return Err(Error::NoTrainingRows { baseline: NAME });
    }
    let texts: Vec<&str> = examples.iter().map(|example| example.text).collect();
    let (min_df, terms) = vocabulary(&texts, labels.len());
    let rows: Vec<_> = texts.iter().map(|text| terms.transform(text)).collect();
    if terms.num_features() == 0 {
        return Err(Error::NoFeatures { rows: rows.len(), min_df });
    }
    // What one step of the solver multiplies.
    let products = rows.iter().map(Vec::len).sum::<usize>().saturating_mul(labels.len()).max(1);
    let max_iter = SETTINGS.max_iter.min((MOST_PRODUCTS / products as u64).max(1));
    let class = |label: &str| labels.binary_search_by(|known| known.as_str().cmp(label)).unwrap_or(0);
    let classes: Vec<usize> = examples.iter().map(|example| class(example.label)).collect();
    let settings = Settings { max_iter, ..SETTINGS };
    let model = LogisticRegression::fit(&rows, &classes, terms.num_features(), labels.len(), settings)
        .map_err(|message| Error::Solver { baseline: NAME, message })?;
    Ok(Box::new(Linear { terms, min_df, labels, model }))
}

/// The terms that have a weight, and in how many rows each of them is: there is a weight for each label and term, so that
/// with many labels only the terms of many rows have one.
fn vocabulary(texts: &[&str], num_labels: usize) -> (usize, TfIdf) {
    let (mut min_df, mut terms) = (MIN_DF, TfIdf::fit(texts, MIN_DF));
    while terms.num_features().saturating_mul(num_labels) > MOST_WEIGHTS {
        min_df *= 2;
        terms = TfIdf::fit(texts, min_df);
    }
    (min_df, terms)
}

struct Linear {
    terms: TfIdf,
    min_df: usize,
    labels: Vec<String>,
    model: LogisticRegression,
}

impl Baseline for Linear {
    fn name(&self) -> &'static str {
        NAME
    }

    fn predict(&self, text: &str) -> String {
        self.labels[self.model.predict(&self.terms.transform(text))].clone()
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.min_df > MIN_DF {
            notes.push(format!(
                "with {} labels only terms of at least {} training rows are read: the baseline may be weaker than it could be",
                self.labels.len(),
                self.min_df
            ));
        }
        if !self.model.converged() {
            notes.push(format!(
                "the solver stopped after {} steps with a slope of {:.1e} left: the baseline may be a little weaker than it could be",
                self.model.iterations, self.model.largest_slope
            ));
        }
        notes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn separable_texts_are_learned_without_a_mistake() {
        let topics = [("tax", "invoice due date"), ("court", "judge hears case"), ("farm", "cow eats grass")];
        let texts: Vec<(String, &str)> =
            (0..60).map(|row| (format!("item {row} {} extra words", topics[row % 3].1), topics[row % 3].0)).collect();
        let examples: Vec<_> = texts.iter().map(|(text, label)| Example { text, label }).collect();
        let learned = fit(&examples).unwrap();
        for (text, label) in &texts {
            assert_eq!(learned.predict(text), *label);
        }
        assert_eq!(learned.predict("the grass that the cow eats"), "farm");
        assert!(learned.notes().is_empty());
    }

    #[test]
    fn texts_that_share_no_word_are_refused_with_the_reason() {
        let examples = [Example { text: "one", label: "a" }, Example { text: "two", label: "b" }];
        let message = fit(&examples).err().unwrap().to_string();
        assert!(message.contains("at least 2 of the 2 training rows"), "{message}");
    }

    #[test]
    fn with_thousands_of_labels_rare_terms_are_left_out() {
        let text = |row: usize| format!("common {} w{} x{}", ["left", "right"][row % 2], row / 2, row / 2);
        let texts: Vec<String> = (0..6_000).map(text).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        assert_eq!(vocabulary(&texts, 20).0, MIN_DF);
        let (min_df, terms) = vocabulary(&texts, 6_000);
        assert!(min_df == 4 && terms.num_features() > 0, "{min_df} {}", terms.num_features());
        let examples = [Example { text: "a word", label: "x" }, Example { text: "a word", label: "y" }];
        assert!(fit(&examples).unwrap().notes().is_empty());
    }

    #[test]
    fn one_label_in_training_is_always_answered() {
        let examples = [Example { text: "same words", label: "a" }; 3];
        assert_eq!(fit(&examples).unwrap().predict("same words"), "a");
    }
}

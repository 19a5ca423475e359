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
    let terms = TfIdf::fit(&texts, MIN_DF);
    let rows: Vec<_> = texts.iter().map(|text| terms.transform(text)).collect();
    if terms.num_features() == 0 {
        return Err(Error::NoFeatures { rows: rows.len(), min_df: MIN_DF });
    }
    let class = |label: &str| labels.binary_search_by(|known| known.as_str().cmp(label)).unwrap_or(0);
    let classes: Vec<usize> = examples.iter().map(|example| class(example.label)).collect();
    let model = LogisticRegression::fit(&rows, &classes, terms.num_features(), labels.len(), SETTINGS)
        .map_err(|message| Error::Solver { baseline: NAME, message })?;
    Ok(Box::new(Linear { terms, labels, model }))
}

struct Linear {
    terms: TfIdf,
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
        if self.model.converged() {
            return Vec::new();
        }
        vec![format!(
            "the solver stopped after {} steps with a slope of {:.1e} left: the baseline may be a little weaker than it could be",
            self.model.iterations, self.model.largest_slope
        )]
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
    fn one_label_in_training_is_always_answered() {
        let examples = [Example { text: "same words", label: "a" }; 3];
        assert_eq!(fit(&examples).unwrap().predict("same words"), "a");
    }
}

//! The list of cheap baselines that stand beside every model: they learn from the training rows in seconds.
//! Knows nothing about language models; if one of these wins, no language model is needed.

pub mod logistic;
pub mod majority;
pub mod nearest;
pub mod tfidf;

use crate::Error;
use crate::clock::Stopwatch;

/// Every baseline, in the order of the report.
pub const ALL: [Recipe; 3] = [
    Recipe { name: majority::NAME, fit: majority::fit },
    Recipe { name: tfidf::NAME, fit: tfidf::fit },
    Recipe { name: nearest::NAME, fit: nearest::fit },
];

/// A training row as the baselines see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example<'a> {
    /// The bare input, without the instructions that all rows share.
    pub text: &'a str,
    /// The right answer.
    pub label: &'a str,
}

/// What turns training rows into a baseline.
pub type Fit = fn(&[Example<'_>]) -> Result<Box<dyn Baseline>, Error>;

/// How one baseline is made.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// The name in tables.
    pub name: &'static str,
    /// Learns it.
    pub fit: Fit,
}

/// Something that answers a text with a label.
pub trait Baseline {
    /// The name in tables.
    fn name(&self) -> &'static str;
    /// The label for this text.
    fn predict(&self, text: &str) -> String;
    /// What a reader of its score must know, such as a solver that did not converge.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A baseline that has learned, and how long that took.
pub struct Learned {
    /// The baseline.
    pub baseline: Box<dyn Baseline>,
    /// Seconds of learning: they count as seconds of its arm, because they are its whole training.
    pub seconds: f64,
}

/// The baseline of this name, learned from the training rows.
///
/// # Errors
/// When there is none of this name, there are no training rows, or a solver refuses.
pub fn fit(name: &str, examples: &[Example<'_>]) -> Result<Learned, Error> {
    let recipe = ALL.iter().find(|recipe| recipe.name == name).ok_or_else(|| Error::UnknownBaseline {
        name: name.to_owned(),
        known: ALL.iter().map(|recipe| recipe.name).collect(),
    })?;
    let mut watch = Stopwatch::default();
    let baseline = watch.time(|| (recipe.fit)(examples))?;
    Ok(Learned { baseline, seconds: watch.seconds() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn every_baseline_learns_and_answers_with_a_label_of_the_training_rows() {
        let examples = [
            Example { text: "red red apple", label: "fruit" },
            Example { text: "red sweet apple", label: "fruit" },
            Example { text: "steel iron nail", label: "metal" },
            Example { text: "steel hard nail", label: "metal" },
        ];
        for recipe in ALL {
            let learned = fit(recipe.name, &examples).unwrap();
            let baseline = &learned.baseline;
            assert!(learned.seconds > 0.0);
            assert_eq!(baseline.name(), recipe.name);
            assert!(["fruit", "metal"].contains(&baseline.predict("unknown words").as_str()));
            assert!(baseline.notes().is_empty());
            assert!(fit(recipe.name, &[]).err().unwrap().to_string().contains(recipe.name));
        }
        assert!(fit("bert", &examples).err().unwrap().to_string().contains("majority, tfidf, nearest"));
    }
}

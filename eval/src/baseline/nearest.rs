//! The nearest-row baseline: the answer of the training row whose words are most like those of the input.
//! Knows nothing about labels, so it stands where answers are free text or JSON; whoever does not beat it only looks things up.

use datasets::TfIdf;

use super::{Baseline, Example};
use crate::Error;

/// The name in tables.
pub const NAME: &str = "nearest";

/// Learns the vocabulary and keeps every row.
///
/// # Errors
/// Without training rows.
pub fn fit(examples: &[Example<'_>]) -> Result<Box<dyn Baseline>, Error> {
    if examples.is_empty() {
        return Err(Error::NoTrainingRows { baseline: NAME });
    }
    let texts: Vec<&str> = examples.iter().map(|example| example.text).collect();
    let terms = TfIdf::fit(&texts, 1);
    // For each feature the rows that hold it: a query touches only rows that share a word with it.
    let mut rows_of = vec![Vec::new(); terms.num_features()];
    for (row, text) in texts.iter().enumerate() {
        for (feature, weight) in terms.transform(text) {
            rows_of[feature as usize].push((row, weight));
        }
    }
    let answers = examples.iter().map(|example| example.label.to_owned()).collect();
    Ok(Box::new(Nearest { terms, rows_of, answers }))
}

struct Nearest {
    terms: TfIdf,
    rows_of: Vec<Vec<(usize, f32)>>,
    answers: Vec<String>,
}

impl Baseline for Nearest {
    fn name(&self) -> &'static str {
        NAME
    }

    /// The answer of the row with the highest cosine; of equally near rows the first, and the first of all when no word is shared.
    fn predict(&self, text: &str) -> String {
        let mut cosines = vec![0.0_f32; self.answers.len()];
        for (feature, weight) in self.terms.transform(text) {
            for &(row, other) in &self.rows_of[feature as usize] {
                cosines[row] += weight * other;
            }
        }
        let mut best = 0;
        for (row, &cosine) in cosines.iter().enumerate() {
            if cosine > cosines[best] {
                best = row;
            }
        }
        self.answers[best].clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_the_most_alike_row_is_copied() {
        let examples = [
            Example { text: "the software is provided as is", label: "{\"a\": 1}" },
            Example { text: "you may not sell this work", label: "{\"a\": 2}" },
        ];
        let nearest = fit(&examples).unwrap();
        assert_eq!(nearest.predict("you may sell your work"), "{\"a\": 2}");
        assert_eq!(nearest.predict("provided as is"), "{\"a\": 1}");
        assert_eq!(nearest.predict("zebra"), "{\"a\": 1}");
    }
}

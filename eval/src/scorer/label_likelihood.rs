//! Label likelihood: which closed label the model finds most likely as the whole answer.
//! Knows nothing about generation; it shows what a model knows when it does not know the format.

use super::{Answer, OfTarget, Scored, Scorer, Target};

/// 1 when the target is the label with the highest log-likelihood.
///
/// The primary figure uses the total log-likelihood, end of turn included: that is the probability of the whole answer.
/// Per byte is a second figure, for labels of very different length.
/// Of labels with exactly the same likelihood the first in the list is taken.
#[derive(Clone, Copy, Debug)]
pub struct LabelLikelihood {
    /// Divide each log-likelihood by the bytes of its label.
    pub per_byte: bool,
}

impl Scorer for LabelLikelihood {
    fn name(&self) -> &'static str {
        if self.per_byte { "label_likelihood_per_byte" } else { "label_likelihood" }
    }

    fn policy(&self) -> String {
        if self.per_byte {
            "the label with the highest log-likelihood per byte of its text; of equal labels the first in the list"
        } else {
            "the label with the highest total log-likelihood, end of turn included; of equal labels the first in the list"
        }
        .to_owned()
    }

    fn ranks(&self) -> bool {
        true
    }

    fn is_right_or_wrong(&self) -> bool {
        true
    }

    fn of_target(&self) -> OfTarget {
        OfTarget::Unasked
    }

    fn score(&self, answer: Answer<'_>, target: Target<'_>) -> Scored {
        let Answer::Ranked(likelihoods) = answer else {
            return Scored::unscored("likelihoods are needed, a written answer was given");
        };
        if let Some(reason) = unusable(likelihoods, target.labels) {
            return Scored::unscored(reason);
        }
        let mut best: Option<(f64, &String)> = None;
        for (&likelihood, label) in likelihoods.iter().zip(target.labels) {
            let value = if self.per_byte { likelihood / label.len().max(1) as f64 } else { likelihood };
            if best.is_none_or(|(highest, _)| value > highest) {
                best = Some((value, label));
            }
        }
        match best {
            Some((_, label)) => Scored { label: Some(label.clone()), ..Scored::right_or_wrong(label == target.text) },
            None => Scored::unscored("there are no labels"),
        }
    }
}

/// Why these likelihoods say nothing: better no score than a score by chance.
fn unusable(likelihoods: &[f64], labels: &[String]) -> Option<&'static str> {
    // A probability a little above 1 is rounding of the sum, far above is not a probability.
    const ROUNDING: f64 = 1e-3;
    if likelihoods.len() != labels.len() {
        Some("the number of likelihoods is not the number of labels")
    } else if likelihoods.iter().any(|value| value.is_nan()) {
        Some("a likelihood is not a number")
    } else if likelihoods.iter().any(|&value| value > ROUNDING) {
        Some("a log-likelihood is above 0")
    } else if likelihoods.iter().all(|&value| value == f64::NEG_INFINITY) {
        Some("every label is impossible")
    } else if labels.len() > 1 && likelihoods.windows(2).all(|pair| pair[0] == pair[1]) {
        Some("every label has the same likelihood")
    } else {
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::Parse;

    fn check(per_byte: bool, likelihoods: &[f64], expect: Option<&str>) {
        let labels = vec!["term".to_owned(), "limitation of liability".to_owned(), "export".to_owned()];
        let target = Target { text: "term", labels: &labels, ..Target::default() };
        let scored = LabelLikelihood { per_byte }.score(Answer::Ranked(likelihoods), target);
        assert_eq!(scored.label.as_deref(), expect, "{likelihoods:?}");
        assert_eq!(scored.score, expect.map(|label| if label == "term" { 1.0 } else { 0.0 }));
        assert_eq!(matches!(scored.parse, Parse::Unscored { .. }), expect.is_none());
    }

    #[test]
    fn the_total_is_primary_and_per_byte_may_choose_another_label() {
        check(false, &[-4.0, -8.0, -9.0], Some("term"));
        check(true, &[-4.0, -8.0, -9.0], Some("limitation of liability"));
    }

    #[test]
    fn of_equal_labels_the_first_is_taken_and_an_impossible_label_may_lose() {
        check(false, &[-9.0, -2.0, -2.0], Some("limitation of liability"));
        check(false, &[-3.0, f64::NEG_INFINITY, -5.0], Some("term"));
    }

    #[test]
    fn likelihoods_that_say_nothing_are_unscored_and_never_a_pass() {
        check(false, &[-1.0, -1.0, -1.0], None);
        check(false, &[-1.0, f64::NAN, -2.0], None);
        check(false, &[f64::NEG_INFINITY; 3], None);
        check(false, &[0.5, -1.0, -2.0], None);
        check(false, &[-1.0, -2.0], None);
    }
}

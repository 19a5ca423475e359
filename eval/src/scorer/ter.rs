//! TER: how many edits turn an answer into the target, for translations.
//! Knows nothing about finding them; `text::ter` does, and `text::ter::corpus` turns the sums of many rows into the figure.

use super::{Answer, Scored, Scorer, Target, text_overlap::from_statistics};
use crate::metric::{Unit, corpus::Corpus};
use crate::task::Figures;
use crate::text::ter;
use crate::work::Work;

/// 1 − TER, at least 0, so that higher is better as everywhere; the sums are edits and reference words.
///
/// `text::ter::corpus` of summed statistics is TER itself, where lower is better and more than 1 is possible.
#[derive(Clone, Copy, Debug)]
pub struct Ter;

impl Scorer for Ter {
    fn name(&self) -> &'static str {
        "ter"
    }

    fn policy(&self) -> String {
        format!(
            "translation edit rate as sacrebleu 2.6.0 computes it ({}), over the whole corpus: words between white space, lower case, \
             punctuation counts, insertion, deletion, substitution and shift cost 1, edits to the closest reference by the mean length \
             of the references; a row shows 1 minus its rate, at least 0; Unicode normal form C; an answer that cannot be read counts as empty",
            ter::SETTINGS
        )
    }

    fn figures(&self) -> Vec<Figures> {
        vec![Figures::Corpus(Corpus {
            scorer: self.name().to_owned(),
            title: "1 − corpus TER".to_owned(),
            policy: self.policy(),
            unit: Unit::Fraction,
            of: |sums| 1.0 - crate::text::ter::corpus(sums),
        })]
    }

    fn score(&self, answer: Answer<'_>, target: Target<'_>) -> Scored {
        let statistics = |text: &str, references: &[String]| {
            ter::statistics(text, references, &mut Work::of_a_judgement()).map(|sums| sums.to_vec())
        };
        from_statistics(answer, target, statistics, |sums| 1.0 - ter::corpus(sums))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::Finish;
    use crate::scorer::text_overlap::tests::judged;

    #[test]
    fn the_score_is_one_minus_the_rate_and_never_below_zero() {
        let of = |text: &str| judged(&Ter, text, Finish::Stop, &["the parties met on Monday"]);
        assert_eq!((of("On Monday the parties met").score, of("nothing").score), (Some(0.8), Some(0.0)));
        let wordy = of("many words that are all wrong and too many");
        assert_eq!((wordy.score, wordy.sums), (Some(0.0), vec![9.0, 5.0]));
        assert!(Ter.policy().contains("case:lc|tok:tercom"));
    }
}

//! BLEU: shared n-grams of words, for translations.
//! Knows nothing about counting them; `text::bleu` does, and `text::bleu::corpus` turns the sums of many rows into the figure.

use super::{Answer, Scored, Scorer, Target, text_overlap::from_statistics};
use crate::metric::{Unit, corpus::Corpus};
use crate::task::Figures;
use crate::text::bleu;

/// Sentence BLEU with effective order, for display; the sums are `text::bleu::NUM_SUMS` statistics of corpus BLEU.
#[derive(Clone, Copy, Debug)]
pub struct Bleu;

impl Scorer for Bleu {
    fn name(&self) -> &'static str {
        "bleu"
    }

    fn policy(&self) -> String {
        format!(
            "BLEU as sacrebleu 2.6.0 computes it ({}), over the whole corpus: 13a tokens, up to 4-grams, exponential smoothing, case counts, \
             any reference may match; a row shows its sentence BLEU with effective order, which decides nothing; Unicode normal form C; \
             an answer that cannot be read counts as empty; languages written without spaces need chrF",
            bleu::SETTINGS
        )
    }

    fn figures(&self) -> Vec<Figures> {
        vec![Figures::Corpus(Corpus {
            scorer: self.name().to_owned(),
            title: "corpus BLEU".to_owned(),
            policy: self.policy(),
            unit: Unit::Hundred,
            of: |sums| 100.0 * crate::text::bleu::corpus(sums),
        })]
    }

    fn score(&self, answer: Answer<'_>, target: Target<'_>) -> Scored {
        let statistics = |text: &str, references: &[String]| Ok(bleu::statistics(text, references).to_vec());
        from_statistics(answer, target, statistics, bleu::sentence)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::Finish;
    use crate::scorer::text_overlap::tests::judged;

    #[test]
    fn a_row_shows_sentence_bleu_and_carries_the_sums_of_corpus_bleu() {
        let scored = judged(&Bleu, "The cat is on the mat.", Finish::Stop, &["The cat sat on the mat."]);
        assert!((scored.score.unwrap() - 0.488_923_022_434_900_9).abs() < 1e-12);
        assert_eq!(scored.sums, [7.0, 7.0, 6.0, 4.0, 2.0, 1.0, 7.0, 6.0, 5.0, 4.0]);
        assert!(Bleu.policy().contains("case:mixed|eff:no|tok:13a|smooth:exp"));
    }
}

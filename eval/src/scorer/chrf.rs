//! chrF and chrF++: shared n-grams of characters, for translations and summaries in any script.
//! Knows nothing about counting them; `text::chrf` does, and `text::chrf::corpus` turns the sums of many rows into the figure.

use super::{Answer, Scored, Scorer, Target, text_overlap::from_statistics};
use crate::metric::{Unit, corpus::Corpus};
use crate::task::Figures;
use crate::text::chrf::{self, Variant};

/// chrF of the row; the sums are the statistics of the best reference.
#[derive(Clone, Copy, Debug)]
pub struct Chrf {
    /// Count single words and pairs of words too: chrF++.
    pub words: bool,
}

impl Chrf {
    fn variant(self) -> Variant {
        if self.words { Variant::ChrfPlusPlus } else { Variant::Chrf }
    }
}

impl Scorer for Chrf {
    fn name(&self) -> &'static str {
        if self.words { "chrf_plus_plus" } else { "chrf" }
    }

    fn policy(&self) -> String {
        format!(
            "{} as sacrebleu 2.6.0 computes it ({}), over the whole corpus: character 1- to 6-grams without white space{}, recall counts \
             four times precision, no smoothing, case counts, best of several references; Unicode normal form C; \
             an answer that cannot be read counts as empty",
            if self.words { "chrF++" } else { "chrF" },
            self.variant().settings(),
            if self.words { ", single words and pairs of words with punctuation cut off" } else { "" },
        )
    }

    fn figures(&self) -> Vec<Figures> {
        vec![Figures::Corpus(Corpus {
            scorer: self.name().to_owned(),
            title: if self.words { "corpus chrF++" } else { "corpus chrF" }.to_owned(),
            policy: self.policy(),
            unit: Unit::Hundred,
            of: |sums| 100.0 * crate::text::chrf::corpus(sums),
        })]
    }

    fn score(&self, answer: Answer<'_>, target: Target<'_>) -> Scored {
        from_statistics(
            answer,
            target,
            |text, references| Ok(self.variant().statistics(text, references)),
            chrf::corpus,
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::Finish;
    use crate::scorer::text_overlap::tests::judged;

    #[test]
    fn each_variant_carries_its_own_sums_and_the_row_score_follows_from_them() {
        for (scorer, settings) in [(Chrf { words: false }, "nc:6|nw:0"), (Chrf { words: true }, "nc:6|nw:2")] {
            let scored =
                judged(&scorer, "Договор действует", Finish::Stop, &["Договор утратил силу", "Договор в силе"]);
            assert_eq!(scored.sums.len(), scorer.variant().num_sums());
            assert_eq!(scored.score, Some(chrf::corpus(&scored.sums)));
            assert!(scored.score > Some(0.0) && scored.score < Some(1.0));
            assert!(scorer.policy().contains(settings));
        }
    }
}

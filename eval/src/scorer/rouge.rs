//! ROUGE: shared words and word orders, for summaries written in Latin letters.
//! Knows nothing about counting them; `text::rouge` does. A target in another script is refused here, because ROUGE would lose it.

use super::{Answer, OfTarget, Scored, Scorer, Target, readable, text_overlap::references};
use crate::text::rouge::{Variant, lost_letters, rouge};
use crate::work::Work;

/// F1 with the best of several references; the figure of a corpus is the mean over rows.
#[derive(Clone, Copy, Debug)]
pub struct Rouge(
    /// Which overlap is counted.
    pub Variant,
);

impl Scorer for Rouge {
    fn name(&self) -> &'static str {
        match self.0 {
            Variant::One => "rouge_1",
            Variant::Two => "rouge_2",
            Variant::L => "rouge_l",
            Variant::Lsum => "rouge_lsum",
        }
    }

    fn policy(&self) -> String {
        let what = match self.0 {
            Variant::One => "ROUGE-1, single words",
            Variant::Two => "ROUGE-2, pairs of words; a target of one word scores 0",
            Variant::L => "ROUGE-L, the longest common subsequence",
            Variant::Lsum => {
                "ROUGE-Lsum, the union of longest common subsequences line by line; one sentence on a line"
            }
        };
        format!(
            "{what}: F1 as rouge-score 0.1.2 computes it, lower case, tokens of a to z and digits, Porter stemmer of NLTK on words of more than \
             3 letters, best of several references, mean over rows, no smoothing; Unicode normal form C; a row with a target that loses most of \
             its letters to these tokens is unscored, use chrF there"
        )
    }

    fn of_target(&self) -> OfTarget {
        // A target of one word has no pair of words, so that nothing can share one with it.
        if self.0 == Variant::Two { OfTarget::GradedIfRead } else { OfTarget::RightIfRead }
    }

    fn score(&self, answer: Answer<'_>, target: Target<'_>) -> Scored {
        let references = references(target);
        // The target comes first, so that a row is unscored for every arm or for none.
        if let Some(reason) = references.iter().find_map(|reference| refusal(reference)) {
            return Scored::unscored(reason);
        }
        match readable(answer) {
            Ok(text) => match rouge(self.0, &text, &references, &mut Work::of_a_judgement()) {
                Ok(overlap) => Scored::graded(overlap.f1.clamp(0.0, 1.0)),
                Err(much) => Scored::unscored(much.to_string()),
            },
            Err(scored) => scored,
        }
    }
}

/// Why ROUGE says nothing about this target.
fn refusal(reference: &str) -> Option<String> {
    let (kept, lost) = lost_letters(reference);
    if kept == 0 || lost > kept {
        Some(format!(
            "ROUGE reads only the letters a to z and digits: it would lose {lost} of the {} letters and digits of the target; use chrF",
            kept + lost
        ))
    } else {
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::scorer::text_overlap::tests::judged;
    use crate::{Finish, Parse};

    const ALL: [Rouge; 4] = [Rouge(Variant::One), Rouge(Variant::Two), Rouge(Variant::L), Rouge(Variant::Lsum)];

    #[test]
    fn the_best_reference_counts_and_endings_of_words_do_not() {
        for scorer in ALL {
            let scored =
                judged(&scorer, "The parties terminated it.", Finish::Stop, &["no", "the party terminates it"]);
            assert_eq!(scored.score, Some(1.0), "{}", scorer.name());
        }
    }

    #[test]
    fn a_target_that_rouge_cannot_read_is_unscored_however_the_answer_ended() {
        for scorer in ALL {
            for target in ["Договор расторгнут 1 мая", "契約は終了した", "العقد", "👍", ""]
            {
                for finish in [Finish::Stop, Finish::Length, Finish::Timeout] {
                    let scored = judged(&scorer, target, finish, &["the contract", target]);
                    assert_eq!(scored.score, None, "{target}");
                    let Parse::Unscored { reason } = scored.parse else { panic!("{:?}", scored.parse) };
                    assert!(reason.ends_with("use chrF"), "{reason}");
                }
            }
        }
    }

    #[test]
    fn a_few_accented_letters_are_no_reason_to_refuse() {
        let scored = judged(&Rouge(Variant::One), "le café fermé", Finish::Stop, &["le café fermé"]);
        assert_eq!(scored.score, Some(1.0));
    }
}

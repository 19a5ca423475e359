//! What the scorers of overlapping text share: the references in normal form, and what an answer that cannot be read counts for.
//! Knows nothing about any one metric.

use super::{Answer, Scored, Target, normal_form, readable};
use crate::work::TooMuch;

/// The target and the other right answers, trimmed and in Unicode normal form C.
pub(super) fn references(target: Target<'_>) -> Vec<String> {
    std::iter::once(target.text).chain(target.others.iter().map(String::as_str)).map(normal_form).collect()
}

/// Judges by statistics that are added over rows.
///
/// An answer that cannot be read scores 0 and counts as an empty text, because without its row the figure of the corpus would rise.
/// The same holds for one that takes too much work, which is unscored. Where there was no answer at all there are no sums, and the
/// row is unscored.
pub(super) fn from_statistics(
    answer: Answer<'_>,
    target: Target<'_>,
    statistics: impl Fn(&str, &[String]) -> Result<Vec<f64>, TooMuch>,
    score: impl Fn(&[f64]) -> f64,
) -> Scored {
    let references = references(target);
    let of_nothing = |scored: Scored| match statistics("", &references) {
        Ok(sums) => Scored { sums, ..scored },
        Err(much) => Scored::unscored(much.to_string()),
    };
    match readable(answer) {
        Ok(text) => match statistics(&text, &references) {
            Ok(sums) => Scored { score: Some(score(&sums).clamp(0.0, 1.0)), sums, ..Scored::nothing() },
            Err(much) => of_nothing(Scored::unscored(much.to_string())),
        },
        Err(scored) if scored.score.is_some() => of_nothing(scored),
        Err(scored) => scored,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
pub(super) mod tests {
    use super::*;
    use crate::scorer::{Bleu, Chrf, Scorer, Ter};
    use crate::{Completion, Finish, Parse, Reason};

    /// What a scorer says about a text that ended as given, against a target and others that are as right.
    pub(in crate::scorer) fn judged(scorer: &dyn Scorer, text: &str, finish: Finish, wanted: &[&str]) -> Scored {
        let completion = Completion::of(text, finish);
        let others: Vec<String> = wanted[1..].iter().map(|&other| other.to_owned()).collect();
        scorer.score(Answer::Written(&completion), Target { text: wanted[0], others: &others, ..Target::default() })
    }

    const OVERLAP: [&dyn Scorer; 4] = [&Bleu, &Chrf { words: false }, &Chrf { words: true }, &Ter];

    #[test]
    fn a_right_answer_in_another_normal_form_scores_one() {
        let wanted = ["la cafe\u{301} est ferme\u{301} ce soir", "le bar est clos"];
        for scorer in OVERLAP {
            let scored = judged(scorer, " la caf\u{e9} est ferm\u{e9} ce soir\n", Finish::Stop, &wanted);
            assert_eq!((scored.score, &scored.parse), (Some(1.0), &Parse::Parsed), "{}", scorer.name());
        }
    }

    #[test]
    fn an_answer_that_cannot_be_read_counts_as_an_empty_text_and_an_outage_counts_for_nothing() {
        let wanted = ["the parties may terminate"];
        for scorer in OVERLAP {
            let of_empty = judged(scorer, "", Finish::Stop, &wanted);
            assert_eq!(of_empty.parse, Parse::Unparsed { reason: Reason::Empty });
            assert!(of_empty.sums.iter().sum::<f64>() > 0.0, "{}", scorer.name());
            let ends = [
                (Finish::Length, Reason::Truncated),
                (Finish::Refusal { category: None }, Reason::Refused),
                (Finish::ContentFilter { category: None }, Reason::Filtered),
                (Finish::Timeout, Reason::TimedOut),
            ];
            for (finish, reason) in ends {
                let scored = judged(scorer, wanted[0], finish, &wanted);
                assert_eq!((scored.score, &scored.sums), (Some(0.0), &of_empty.sums), "{}", scorer.name());
                assert_eq!(scored.parse, Parse::Unparsed { reason });
            }
            let failed = judged(scorer, wanted[0], Finish::Failed { reason: "down".to_owned() }, &wanted);
            assert_eq!((failed.score, failed.sums), (None, Vec::new()));
            assert_eq!(scorer.score(Answer::Ranked(&[0.0]), Target::default()).score, None);
        }
    }
}

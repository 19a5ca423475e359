//! Prefix acceptance: how much of an autocomplete suggestion a user could keep.
//! Knows nothing about the line that was being written; the target is what the user wrote next.

use crate::metric::{Unit, corpus::Corpus};
use crate::task::Figures;
use unicode_normalization::UnicodeNormalization;

use super::{Answer, OfTarget, Scored, Scorer, Target, readable};
use crate::text::prefix::num_accepted_chars;
use crate::{Parse, Reason};

/// The characters up to the first wrong one, as a share of the target.
///
/// The sums are accepted characters, reference characters, rows without a suggestion, rows:
/// `text::prefix::accepted_share` turns them into the share over many rows, and the last two give the rate of silence.
#[derive(Clone, Copy, Debug)]
pub struct PrefixAccept;

impl Scorer for PrefixAccept {
    fn name(&self) -> &'static str {
        "prefix_accept"
    }

    fn policy(&self) -> String {
        "characters (Unicode scalar values) in common from the start, by those of the target, summed over rows; white space at both ends counts, \
         Unicode normal form C, the reference with the largest share counts; no suggestion accepts 0 and has its own rate; a truncated answer accepts 0"
            .to_owned()
    }

    fn figures(&self) -> Vec<Figures> {
        vec![Figures::Corpus(Corpus {
            scorer: self.name().to_owned(),
            title: "accepted share of characters".to_owned(),
            policy: self.policy(),
            unit: Unit::Share,
            of: crate::text::prefix::accepted_share,
        })]
    }

    fn of_target(&self) -> OfTarget {
        OfTarget::Right
    }

    fn score(&self, answer: Answer<'_>, target: Target<'_>) -> Scored {
        let references = untrimmed_references(target);
        if references.iter().any(String::is_empty) {
            return Scored::unscored("the target is empty, so that no character of it can be accepted");
        }
        let (text, scored) = match suggestion(answer) {
            Ok(text) => (text, None),
            Err(scored) if scored.score.is_some() => (String::new(), Some(scored)),
            Err(scored) => return scored,
        };
        let shares = references.iter().map(|reference| {
            let (accepted, length) = (num_accepted_chars(&text, reference) as f64, reference.chars().count() as f64);
            (accepted / length, accepted, length)
        });
        let best = shares.reduce(|best, other| if other.0 > best.0 { other } else { best });
        let Some((share, accepted, length)) = best else { return Scored::unscored("there is no target") };
        let scored = scored.unwrap_or_else(|| Scored::graded(share));
        let silent = num_silent(&scored);
        Scored { sums: vec![accepted, length, silent, 1.0], ..scored }
    }
}

/// 1 for a row without a suggestion. A refusal or a timeout is not that: it has its own class.
pub(super) fn num_silent(scored: &Scored) -> f64 {
    f64::from(u8::from(scored.parse == Parse::Unparsed { reason: Reason::Empty }))
}

/// The suggestion with the white space at both ends, because indentation is part of what is suggested.
pub(super) fn suggestion(answer: Answer<'_>) -> Result<String, Scored> {
    let trimmed = readable(answer)?;
    match answer {
        Answer::Written(completion) => Ok(completion.text.nfc().collect()),
        Answer::Ranked(_) => Ok(trimmed),
    }
}

/// The target and the other right answers in normal form C, with the white space at both ends.
pub(super) fn untrimmed_references(target: Target<'_>) -> Vec<String> {
    std::iter::once(target.text)
        .chain(target.others.iter().map(String::as_str))
        .map(|text| text.nfc().collect())
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::Finish;
    use crate::scorer::text_overlap::tests::judged;
    use crate::text::prefix::accepted_share;

    #[test]
    fn the_common_prefix_is_accepted_and_the_best_reference_counts() {
        let scored = judged(&PrefixAccept, "the party shall pay", Finish::Stop, &["the party must pay", "the part"]);
        assert_eq!((scored.score, scored.sums), (Some(1.0), vec![8.0, 8.0, 0.0, 1.0]));
        let scored = judged(&PrefixAccept, " x", Finish::Stop, &["x"]);
        assert_eq!(scored.score, Some(0.0), "a space too many is a wrong character");
        let scored = judged(&PrefixAccept, "cafe\u{301}", Finish::Stop, &["caf\u{e9}!"]);
        assert_eq!(scored.score, Some(0.8));
    }

    #[test]
    fn no_suggestion_accepts_nothing_and_is_counted_apart() {
        let rows = [
            judged(&PrefixAccept, "abcd", Finish::Stop, &["abcd"]),
            judged(&PrefixAccept, " ", Finish::Stop, &["abcd"]),
            judged(&PrefixAccept, "abcd", Finish::Timeout, &["abcd"]),
        ];
        assert_eq!(rows.each_ref().map(|row| row.score), [Some(1.0), Some(0.0), Some(0.0)]);
        let sums: Vec<f64> = (0..4).map(|at| rows.iter().map(|row| row.sums[at]).sum()).collect();
        assert_eq!(sums, [4.0, 12.0, 1.0, 3.0]);
        assert!((accepted_share(&sums) - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn an_empty_target_is_unscored() {
        assert_eq!(judged(&PrefixAccept, "a", Finish::Stop, &[""]).score, None);
        assert_eq!(judged(&PrefixAccept, "a", Finish::Stop, &["a", ""]).score, None);
    }
}

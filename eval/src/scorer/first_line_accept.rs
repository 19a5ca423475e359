//! First-line acceptance: whether a user of an autocomplete could take the first line as it stands.
//! Knows nothing about later lines; they are most often cut before they are shown.

use super::prefix_accept::{num_silent, suggestion, untrimmed_references};
use super::{Answer, Scored, Scorer, Target};
use crate::text::prefix::first_line;

/// 1 when the first line is that of the target. The sums are rows accepted, rows, rows without a suggestion.
#[derive(Clone, Copy, Debug)]
pub struct FirstLineAccept;

impl Scorer for FirstLineAccept {
    fn name(&self) -> &'static str {
        "first_line_accept"
    }

    fn policy(&self) -> String {
        "the first line equals that of the target or of another reference; only white space at its right end is removed, Unicode normal form C, \
         case counts; no suggestion scores 0 and has its own rate; a truncated answer scores 0"
            .to_owned()
    }

    fn is_right_or_wrong(&self) -> bool {
        true
    }

    fn score(&self, answer: Answer<'_>, target: Target<'_>) -> Scored {
        let references = untrimmed_references(target);
        if references.iter().any(|reference| first_line(reference).is_empty()) {
            return Scored::unscored("the first line of the target is empty, so that there is nothing to accept");
        }
        let scored = match suggestion(answer) {
            Ok(text) => {
                let said = first_line(&text);
                Scored::right_or_wrong(references.iter().any(|reference| first_line(reference) == said))
            }
            Err(scored) => scored,
        };
        match scored.score {
            Some(accepted) => Scored { sums: vec![accepted, 1.0, num_silent(&scored)], ..scored },
            None => scored,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::Finish;
    use crate::scorer::text_overlap::tests::judged;

    fn check(text: &str, wanted: &[&str], expect: Option<f64>) {
        assert_eq!(judged(&FirstLineAccept, text, Finish::Stop, wanted).score, expect, "{text:?}");
    }

    #[test]
    fn only_the_first_line_counts_and_only_its_right_end_is_forgiven() {
        check("  return x;  \nother", &["  return x;\r\nnext"], Some(1.0));
        check("return x;", &["  return x;"], Some(0.0));
        check("Return x;", &["return x;", "Return x; "], Some(1.0));
        check("\nreturn x;", &["return x;"], Some(0.0));
        check("return x;", &["\nreturn x;"], None);
    }

    #[test]
    fn the_rate_of_silence_is_kept_beside_the_acceptance() {
        let of = |text: &str, finish| judged(&FirstLineAccept, text, finish, &["a"]).sums;
        assert_eq!(of("a", Finish::Stop), [1.0, 1.0, 0.0]);
        assert_eq!(of("b", Finish::Stop), [0.0, 1.0, 0.0]);
        assert_eq!(of("", Finish::Stop), [0.0, 1.0, 1.0]);
        assert_eq!(of("a", Finish::Length), [0.0, 1.0, 0.0]);
        assert!(of("a", Finish::Failed { reason: "down".to_owned() }).is_empty());
    }
}

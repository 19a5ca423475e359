//! Exact match: the strictest reading of a written answer.
//! Knows nothing about labels; the forgiving reading is the label scorer.

use super::{Answer, OfTarget, Scored, Scorer, Target, normal_form, readable};

/// 1 when the answer is the target, character for character, after white space at both ends is removed.
#[derive(Clone, Copy, Debug)]
pub struct ExactMatch;

impl Scorer for ExactMatch {
    fn name(&self) -> &'static str {
        "exact_match"
    }

    fn policy(&self) -> String {
        "white space at both ends is removed, Unicode normal form C, case and punctuation count, a truncated or empty answer scores 0".to_owned()
    }

    fn is_right_or_wrong(&self) -> bool {
        true
    }

    fn of_target(&self) -> OfTarget {
        OfTarget::Right
    }

    fn score(&self, answer: Answer<'_>, target: Target<'_>) -> Scored {
        match readable(answer) {
            Ok(text) => Scored::right_or_wrong(text == normal_form(target.text)),
            Err(scored) => scored,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::{Completion, Finish, Parse, Reason};

    fn check(text: &str, finish: Finish, target: &str, expect: (Option<f64>, Parse)) {
        let completion = Completion::of(text, finish);
        let target = Target { text: target, labels: &[], ..Target::default() };
        let scored = ExactMatch.score(Answer::Written(&completion), target);
        assert_eq!((scored.score, scored.parse), expect, "{text:?}");
    }

    #[test]
    fn only_white_space_at_the_ends_is_forgiven() {
        check(" termination\n", Finish::Stop, "termination", (Some(1.0), Parse::Parsed));
        check("Termination", Finish::Stop, "termination", (Some(0.0), Parse::Parsed));
        check("termination.", Finish::Stop, "termination", (Some(0.0), Parse::Parsed));
        check("cafe\u{301}", Finish::Stop, "caf\u{e9}", (Some(1.0), Parse::Parsed));
    }

    #[test]
    fn a_truncated_or_empty_answer_scores_nothing_even_if_it_begins_well() {
        let truncated = Parse::Unparsed { reason: Reason::Truncated };
        check("termination", Finish::Length, "termination", (Some(0.0), truncated));
        let empty = Parse::Unparsed { reason: Reason::Empty };
        check(" \n", Finish::Stop, "", (Some(0.0), empty));
    }
}

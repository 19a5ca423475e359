//! Includes: whether the right answer occurs anywhere in a written answer.
//! Knows nothing about words: a target inside a longer word occurs too.

use serde::{Deserialize, Serialize};

use super::{Answer, OfTarget, Scored, Scorer, Target, best, normal_form, readable};
use crate::Error;

/// What a task may say about this scorer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Compare without case.
    pub fold_case: bool,
}

/// 1 when the target, or another answer that is as right, occurs in the answer.
#[derive(Clone, Copy, Debug)]
pub struct Includes {
    options: Options,
}

impl Includes {
    /// With the default options.
    pub const fn plain() -> Self {
        Self { options: Options { fold_case: false } }
    }

    /// The scorer of these options.
    ///
    /// # Errors
    /// None at present: every combination works.
    pub fn build(options: Options) -> Result<Self, Error> {
        Ok(Self { options })
    }

    fn form(self, text: &str) -> String {
        let text = normal_form(text);
        if self.options.fold_case { text.to_lowercase() } else { text }
    }
}

impl Scorer for Includes {
    fn name(&self) -> &'static str {
        "includes"
    }

    fn policy(&self) -> String {
        let case = if self.options.fold_case { "case is folded" } else { "case counts" };
        format!("the target occurs in the answer, Unicode normal form C, {case}, white space inside counts")
    }

    fn is_right_or_wrong(&self) -> bool {
        true
    }

    fn of_target(&self) -> OfTarget {
        OfTarget::Right
    }

    fn score(&self, answer: Answer<'_>, target: Target<'_>) -> Scored {
        let text = match readable(answer) {
            Ok(text) => self.form(&text),
            Err(scored) => return scored,
        };
        best(target, |wanted| match self.form(wanted).as_str() {
            // Everything contains an empty text, which would be a pass for any answer.
            "" => Scored::unscored("the target is empty"),
            wanted => Scored::right_or_wrong(text.contains(wanted)),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::{Completion, Finish};

    fn check(fold_case: bool, text: &str, target: &str, others: &[&str], expect: Option<f64>) {
        let others: Vec<String> = others.iter().map(|&other| other.to_owned()).collect();
        let completion = Completion::of(text, Finish::Stop);
        let target = Target { text: target, others: &others, ..Target::default() };
        let scorer = Includes::build(Options { fold_case }).unwrap();
        assert_eq!(scorer.score(Answer::Written(&completion), target).score, expect, "{text:?}");
    }

    #[test]
    fn the_target_may_stand_anywhere_and_case_counts_unless_folded() {
        check(false, "The notice period is thirty days.", "thirty days", &[], Some(1.0));
        check(false, "Thirty Days", "thirty days", &[], Some(0.0));
        check(true, "Thirty Days", "thirty days", &[], Some(1.0));
        check(false, "a cafe\u{301} here", "caf\u{e9}", &[], Some(1.0));
    }

    #[test]
    fn any_of_several_right_answers_will_do() {
        check(false, "a month", "thirty days", &["a month"], Some(1.0));
        check(false, "a year", "thirty days", &["a month"], Some(0.0));
    }

    #[test]
    fn an_empty_target_is_a_fault_of_the_data_and_never_a_pass() {
        check(false, "anything", " ", &[], None);
        check(false, "thirty days", "thirty days", &[""], None);
    }

    #[test]
    fn misspelt_options_are_refused() {
        assert!(serde_json::from_str::<Options>(r#"{"fold_cases":true}"#).is_err());
        assert_eq!(serde_json::from_str::<Options>("{}").unwrap(), Options::default());
    }
}

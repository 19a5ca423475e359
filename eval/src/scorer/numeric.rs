//! Numeric: whether a written answer ends in the right number, within a tolerance.
//! Knows nothing about units; how numbers are written is known to `json::written_number`.

use crate::task::Figures;
use serde::{Deserialize, Serialize};

use super::{Answer, Scored, Scorer, Target, best, readable};
use crate::json::written_number::{self, NumberFormat};
use crate::{Error, Reason};

/// What a task may say about this scorer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Which number of the answer counts.
    pub which: Which,
    /// Largest difference that is forgiven.
    #[schemars(range(min = 0, max = 1e15))]
    pub absolute_tolerance: f64,
    /// The same as a share of the target; the larger of both tolerances counts.
    #[schemars(range(min = 0, max = 1e6))]
    pub relative_tolerance: f64,
    /// `1.234,5` instead of `1,234.5`, in answers and targets.
    pub decimal_comma: bool,
    /// Read `5%` as 0.05 instead of 5, in answers and targets.
    pub percent_is_fraction: bool,
}

/// Which number of an answer counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// The last one: reasoning may come before the result.
    #[default]
    Last,
    /// The only one: an answer with two numbers cannot be read.
    Only,
}

/// 1 when the number is the target within the tolerance; unparsed when there is no number.
#[derive(Clone, Copy, Debug)]
pub struct Numeric {
    options: Options,
}

impl Numeric {
    /// With the default options.
    pub const fn plain() -> Self {
        Self {
            options: Options {
                which: Which::Last,
                absolute_tolerance: 0.0,
                relative_tolerance: 0.0,
                decimal_comma: false,
                percent_is_fraction: false,
            },
        }
    }

    /// The scorer of these options.
    ///
    /// # Errors
    /// When a tolerance is negative or not finite.
    pub fn build(options: Options) -> Result<Self, Error> {
        let expected = "a finite number of at least 0";
        for (option, value) in
            [("absolute_tolerance", options.absolute_tolerance), ("relative_tolerance", options.relative_tolerance)]
        {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::BadOption { option, expected });
            }
        }
        Ok(Self { options })
    }

    fn format(&self) -> NumberFormat {
        NumberFormat {
            decimal_comma: self.options.decimal_comma,
            percent_is_fraction: self.options.percent_is_fraction,
        }
    }
}

impl Scorer for Numeric {
    fn name(&self) -> &'static str {
        "numeric"
    }

    fn policy(&self) -> String {
        let Options { which, absolute_tolerance, relative_tolerance, decimal_comma, percent_is_fraction } =
            self.options;
        let which = match which {
            Which::Last => "the last number",
            Which::Only => "the only number",
        };
        let comma = if decimal_comma { "decimal comma" } else { "decimal point" };
        let percent = if percent_is_fraction { "5% is 0.05" } else { "5% is 5" };
        format!(
            "{which} of the answer must be the target within the larger of {absolute_tolerance} and {relative_tolerance} of the target; {comma}, {percent}, thousands separators and currency signs are removed, dates, fractions and digits in words are no numbers"
        )
    }

    fn figures(&self) -> Vec<Figures> {
        vec![Figures::Valid]
    }

    fn is_right_or_wrong(&self) -> bool {
        true
    }

    fn score(&self, answer: Answer<'_>, target: Target<'_>) -> Scored {
        let text = match readable(answer) {
            Ok(text) => text,
            Err(scored) => return scored,
        };
        let numbers = written_number::numbers(&text, self.format());
        best(target, |wanted| {
            let Some(wanted) = written_number::whole(wanted, self.format()) else {
                return Scored::unscored("the target is not a number");
            };
            match (numbers.as_slice(), self.options.which) {
                (&[.., found], Which::Last) | (&[found], Which::Only) => {
                    let Options { absolute_tolerance, relative_tolerance, .. } = self.options;
                    Scored::right_or_wrong(is_close(found, wanted, absolute_tolerance, relative_tolerance))
                }
                (found, _) => {
                    Scored::unparsed(Reason::NotANumber).with_note(format!("{} numbers in the answer", found.len()))
                }
            }
        })
    }
}

/// Whether a number is as near to the wanted one as the larger of both tolerances allows.
pub fn is_close(found: f64, wanted: f64, absolute: f64, relative: f64) -> bool {
    (found - wanted).abs() <= absolute.max(relative * wanted.abs())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::{Completion, Finish, Parse};

    fn score(options: Options, text: &str, target: &str) -> Scored {
        let completion = Completion::of(text, Finish::Stop);
        let target = Target { text: target, ..Target::default() };
        Numeric::build(options).unwrap().score(Answer::Written(&completion), target)
    }

    #[test]
    fn the_last_number_counts_and_reasoning_may_come_before_it() {
        assert_eq!(score(Options::default(), "3 boxes of 4: $1,200.", "1200").score, Some(1.0));
        assert_eq!(score(Options::default(), "1200, or perhaps 7", "1200").score, Some(0.0));
    }

    #[test]
    fn the_larger_of_both_tolerances_counts() {
        let options = Options { absolute_tolerance: 0.5, relative_tolerance: 0.01, ..Options::default() };
        assert_eq!(score(options, "101", "100").score, Some(1.0));
        assert_eq!(score(options, "101.1", "100").score, Some(0.0));
        assert_eq!(score(options, "-0.5", "0").score, Some(1.0));
        assert_eq!(score(options, "-101", "-100").score, Some(1.0));
    }

    #[test]
    fn an_answer_without_a_number_cannot_be_read_and_a_target_without_one_is_a_fault_of_the_data() {
        let unparsed = Parse::Unparsed { reason: Reason::NotANumber };
        let none = score(Options::default(), "none", "3");
        assert_eq!((none.score, none.parse), (Some(0.0), unparsed.clone()));
        let only = Options { which: Which::Only, ..Options::default() };
        let two = score(only, "3 or 4", "3");
        assert_eq!((two.parse, two.note.as_deref()), (unparsed, Some("2 numbers in the answer")));
        assert_eq!(score(only, "it is 3", "3").score, Some(1.0));
        assert_eq!(score(Options::default(), "3", "three").score, None);
    }

    #[test]
    fn options_that_cannot_work_are_refused() {
        let options = Options { relative_tolerance: f64::NAN, ..Options::default() };
        let message = Numeric::build(options).unwrap_err().to_string();
        assert_eq!(message, "relative_tolerance must be a finite number of at least 0");
        assert!(serde_json::from_str::<Options>(r#"{"tolerance":1}"#).is_err());
    }
}

//! When two leaves of a record are the same: letter by letter, folded, as numbers, dates, money, or nearly.
//! Knows nothing about paths or lists.

use serde_json::{Number, Value};
use unicode_normalization::UnicodeNormalization;

use super::money;
use super::written_number::{self, NumberFormat};
use crate::text::edit_distance::is_similar;
use crate::work::{TooMuch, Work};

/// How two leaves are compared. Text is compared in Unicode normal form C.
///
/// A comparator that cannot read one of the two leaves falls back to `Exact`, so that "unknown" equals "unknown" in a field of dates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Comparator {
    /// The same type and the same value; `1` and `1.0` are the same number.
    #[default]
    Exact,
    /// Text without case, with each run of white space as one space and none at the ends.
    Folded,
    /// Numbers, also those written as text, within the larger of both tolerances.
    Number {
        /// Largest difference.
        absolute: f64,
        /// Largest difference as a share of the wanted number.
        relative: f64,
        /// How numbers in text are written.
        format: NumberFormat,
    },
    /// Days of ISO 8601: `2024-05-01`, or a date and time of which only the day as written counts. Other written dates are not read.
    Date,
    /// The same currency, or none on both sides, and the same amount within a tolerance.
    Money {
        /// Largest difference of the amounts.
        absolute: f64,
        /// How amounts are written.
        format: NumberFormat,
    },
    /// Folded text with a similarity of at least the threshold: 1 − Levenshtein distance / length of the longer text.
    Fuzzy {
        /// Between 0 and 1.
        threshold: f64,
    },
}

/// What stands for a leaf where equal leaves have equal keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Truth(bool),
    Text(String),
    Number(u64),
    Day(jiff::civil::Date),
    Money(Option<String>, u64),
}

/// Whole numbers below this are exact in floating point, so that equality of numbers is no matter of how they are written.
const EXACT: f64 = (1_u64 << 53) as f64;

impl Comparator {
    /// Whether a predicted leaf is the wanted one.
    ///
    /// # Errors
    /// When the work is more than is left.
    pub fn same(self, predicted: &Value, wanted: &Value, work: &mut Work) -> Result<bool, TooMuch> {
        let letters = |value: &Value| value.as_str().map_or(0, str::len);
        work.spend(8 + letters(predicted) + letters(wanted))?;
        if exact(predicted, wanted) {
            return Ok(true);
        }
        if let (Self::Fuzzy { threshold }, Some(predicted), Some(wanted)) = (self, predicted.as_str(), wanted.as_str())
        {
            return is_similar(&fold(predicted), &fold(wanted), threshold, work);
        }
        Ok(self.alike(predicted, wanted).unwrap_or(false))
    }

    /// Whether what is the same as a third leaf is the same among itself, as it is not where differences are forgiven.
    pub(super) fn is_equivalence(self) -> bool {
        match self {
            Self::Exact | Self::Folded | Self::Date => true,
            Self::Number { absolute, relative, .. } => absolute == 0.0 && relative == 0.0,
            Self::Money { absolute, .. } => absolute == 0.0,
            Self::Fuzzy { .. } => false,
        }
    }

    /// The key of a leaf: two leaves are the same just when their keys are; none where that cannot be said by a key.
    pub(super) fn key(self, leaf: &Value) -> Option<Key> {
        if !self.is_equivalence() {
            return None;
        }
        let of_number = |value: f64| (if value == 0.0 { 0.0 } else { value }).to_bits();
        let as_it_stands = || match leaf {
            Value::Bool(value) => Some(Key::Truth(*value)),
            Value::String(text) => Some(Key::Text(text.nfc().collect())),
            Value::Number(number) => {
                let value = number.as_f64()?;
                (value.abs() < EXACT).then(|| Key::Number(of_number(value)))
            }
            _ => None,
        };
        match self {
            Self::Folded => leaf.as_str().map(|text| Key::Text(fold(text))).or_else(as_it_stands),
            Self::Date => leaf.as_str().and_then(day).map(Key::Day).or_else(as_it_stands),
            Self::Number { format, .. } => {
                number(leaf, format).map(|value| Key::Number(of_number(value))).or_else(as_it_stands)
            }
            Self::Money { format, .. } => {
                sum(leaf, format).map(|sum| Key::Money(sum.currency, of_number(sum.amount))).or_else(as_it_stands)
            }
            _ => as_it_stands(),
        }
    }

    /// None when one of the two cannot be read this way.
    fn alike(self, predicted: &Value, wanted: &Value) -> Option<bool> {
        match self {
            Self::Exact | Self::Fuzzy { .. } => None,
            Self::Folded => Some(fold(predicted.as_str()?) == fold(wanted.as_str()?)),
            Self::Number { absolute, relative, format } => {
                let wanted = number(wanted, format)?;
                Some((number(predicted, format)? - wanted).abs() <= absolute.max(relative * wanted.abs()))
            }
            Self::Date => Some(day(predicted.as_str()?)? == day(wanted.as_str()?)?),
            Self::Money { absolute, format } => {
                let (predicted, wanted) = (sum(predicted, format)?, sum(wanted, format)?);
                let is_close = (predicted.amount - wanted.amount).abs() <= absolute;
                Some(predicted.currency == wanted.currency && is_close)
            }
        }
    }
}

pub(super) fn exact(predicted: &Value, wanted: &Value) -> bool {
    match (predicted, wanted) {
        (Value::String(predicted), Value::String(wanted)) => predicted.nfc().eq(wanted.nfc()),
        (Value::Number(predicted), Value::Number(wanted)) => same_number(predicted, wanted),
        _ => predicted == wanted,
    }
}

/// Whole numbers are compared as such, because large ones are not the same as floating point.
fn same_number(one: &Number, other: &Number) -> bool {
    match (one.as_i128(), other.as_i128()) {
        (Some(one), Some(other)) => one == other,
        _ => one.as_f64() == other.as_f64(),
    }
}

fn fold(text: &str) -> String {
    let text = text.nfc().collect::<String>().to_lowercase();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn number(value: &Value, format: NumberFormat) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => written_number::whole(text, format),
        _ => None,
    }
}

fn sum(value: &Value, format: NumberFormat) -> Option<money::Money> {
    match value {
        Value::Number(number) => Some(money::Money { amount: number.as_f64()?, currency: None }),
        Value::String(text) => money::read(text, format),
        _ => None,
    }
}

/// The day as it is written: an offset from universal time does not move it.
fn day(text: &str) -> Option<jiff::civil::Date> {
    let text = text.trim();
    let (day, time) = (text.get(..10)?, text.get(10..)?);
    let bytes = day.as_bytes();
    let is_extended = bytes.iter().enumerate().all(|(at, byte)| match at {
        4 | 7 => *byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    let is_time = time.is_empty()
        || time.starts_with(['T', 't', ' '])
            && (text.parse::<jiff::civil::DateTime>().is_ok() || text.parse::<jiff::Timestamp>().is_ok());
    if is_extended && is_time { day.parse().ok() } else { None }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NUMBER: Comparator = Comparator::Number {
        absolute: 0.01,
        relative: 0.0,
        format: NumberFormat { decimal_comma: false, percent_is_fraction: false },
    };
    const MONEY: Comparator =
        Comparator::Money { absolute: 0.0, format: NumberFormat { decimal_comma: false, percent_is_fraction: false } };

    /// Also holds that keys say the same, where there are keys.
    fn same(comparator: Comparator, predicted: &Value, wanted: &Value) -> bool {
        let same = comparator.same(predicted, wanted, &mut Work::of_a_judgement()).unwrap();
        if let (Some(one), Some(other)) = (comparator.key(predicted), comparator.key(wanted)) {
            assert_eq!(one == other, same, "{predicted} {wanted}");
        }
        same
    }

    fn check(comparator: Comparator, alike: &[(Value, Value)], different: &[(Value, Value)]) {
        for (predicted, wanted) in alike {
            assert!(same(comparator, predicted, wanted), "{predicted} is {wanted}");
        }
        for (predicted, wanted) in different {
            assert!(!same(comparator, predicted, wanted), "{predicted} is not {wanted}");
        }
    }

    #[test]
    fn exact_knows_types_and_values_and_forgives_only_spellings_of_the_same_letter() {
        check(
            Comparator::Exact,
            &[(json!(1), json!(1.0)), (json!("caf\u{e9}"), json!("cafe\u{301}")), (json!(true), json!(true))],
            &[
                (json!("1"), json!(1)),
                (json!("A"), json!("a")),
                (json!("a "), json!("a")),
                (json!(9_007_199_254_740_993_u64), json!(9_007_199_254_740_992_u64)),
            ],
        );
    }

    #[test]
    fn folded_text_forgives_case_and_white_space() {
        check(
            Comparator::Folded,
            &[(json!(" New  York\n"), json!("new york")), (json!(2), json!(2))],
            &[(json!("newyork"), json!("new york")), (json!("2"), json!(2))],
        );
    }

    #[test]
    fn numbers_in_text_are_numbers() {
        check(
            NUMBER,
            &[(json!("1,200.50"), json!(1200.505)), (json!(3), json!("3")), (json!("none"), json!("none"))],
            &[(json!(1200.52), json!(1200.5)), (json!("about 3"), json!(3)), (json!("none"), json!(3))],
        );
    }

    #[test]
    fn dates_are_days_of_iso_8601_as_they_are_written() {
        check(
            Comparator::Date,
            &[
                (json!("2024-05-01T23:30:00-08:00"), json!("2024-05-01")),
                (json!("2024-05-01T00:00:00Z"), json!("2024-05-01 12:30")),
                (json!("May 2024"), json!("May 2024")),
            ],
            &[
                (json!("2024-05-02"), json!("2024-05-01")),
                (json!("01.05.2024"), json!("2024-05-01")),
                (json!("2024-05-01Tmorning"), json!("2024-05-01")),
                (json!("2024-02-30T00:00:00Z"), json!("2024-03-01")),
                (json!(20_240_501), json!("2024-05-01")),
            ],
        );
    }

    #[test]
    fn money_is_an_amount_with_its_currency() {
        check(
            MONEY,
            &[(json!("$1,200"), json!("USD 1200.00")), (json!(5), json!("5.00"))],
            &[(json!("€5"), json!("$5")), (json!(5), json!("$5")), (json!("$5.01"), json!("$5"))],
        );
    }

    #[test]
    fn fuzzy_text_is_near_enough_or_not() {
        let comparator = Comparator::Fuzzy { threshold: 0.75 };
        check(
            comparator,
            &[(json!("ACME Ltd"), json!("acme ltd.")), (json!("abcd"), json!("abcx"))],
            &[(json!("abc"), json!("xyz"))],
        );
    }

    proptest! {
        #[test]
        fn every_leaf_is_itself_under_every_comparator(text in ".{0,20}", number in -1e9f64..1e9) {
            for comparator in [Comparator::Exact, Comparator::Folded, NUMBER, Comparator::Date, MONEY, Comparator::Fuzzy { threshold: 1.0 }] {
                prop_assert!(same(comparator, &json!(text), &json!(text)));
                prop_assert!(same(comparator, &json!(number), &json!(number)));
            }
        }

        #[test]
        fn no_two_texts_make_it_panic(one in "[-0-9T:Z .$€+]{0,24}|.{0,20}", other in ".{0,20}") {
            for comparator in [Comparator::Folded, NUMBER, Comparator::Date, MONEY, Comparator::Fuzzy { threshold: 0.5 }] {
                same(comparator, &json!(one), &json!(other));
            }
        }
    }
}

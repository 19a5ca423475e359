//! Numbers as people write them: thousands separators, currency signs, per cent, signs and exponents.
//! Knows nothing about what a number means; a form that could be read in two ways is no number rather than a guess.

use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

/// Digits with all that may stand between digits, so that dates, times, fractions and versions are seen whole and refused.
static DIGITS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new("(?:[0-9][0-9.,'’_\u{a0}\u{202f}\u{2009}/:\\-–−]*)?[0-9]").ok());
/// `e-5`, `× 10^-5` or `\times 10^{-5}`.
static EXPONENT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"^(?:[eE]([+\-−]?[0-9]{1,4})|\s*(?:×|x|\*|·|\\times|\\cdot)\s*10\s*\^\s*\{?\s*([+\-−]?[0-9]{1,4})\s*\}?)",
    )
    .ok()
});
/// Signs of money that may stand between the sign and the digits.
const CURRENCY_SIGNS: &str = "$€£¥₹₽₩₺₫₴₪฿₦₱";
/// What may stand between groups of three digits beside the comma or the point.
const GROUP_SIGNS: [char; 6] = ['\'', '’', '_', '\u{a0}', '\u{202f}', '\u{2009}'];

/// How numbers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NumberFormat {
    /// `1.234,5` instead of `1,234.5`; default false.
    pub decimal_comma: bool,
    /// Read `5%` as 0.05 instead of 5; default false.
    pub percent_is_fraction: bool,
}

/// Every number in a text, from left to right.
///
/// Left out, because they could be read in two ways: digits glued to a word (`COVID-19`, `A4`), dates, times, ranges,
/// fractions and versions (`2024-05-01`, `10:30`, `3/4`, `1.2.3`), and groups that do not fit the format (`1,23`).
/// A unit may follow at once (`5kg`). A number too large for 64 bits is no number.
pub fn numbers(text: &str, format: NumberFormat) -> Vec<f64> {
    let Some(digits) = &*DIGITS else { return Vec::new() };
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(run) = digits.find_at(text, from) {
        let (value, end) = read_run(text, run.start(), run.end(), format);
        found.extend(value);
        from = end;
    }
    found
}

/// The number that a whole text is, with nothing beside it but white space, a currency sign and a per cent sign.
pub fn whole(text: &str, format: NumberFormat) -> Option<f64> {
    let digits = DIGITS.as_ref()?;
    let text = text.trim();
    let run = digits.find(text)?;
    let before = text[..run.start()].trim_end_matches(point(format));
    let (value, end) = read_run(text, run.start(), run.end(), format);
    let ornament = |c: char| c.is_whitespace() || CURRENCY_SIGNS.contains(c);
    let sign: String = before.chars().filter(|&c| !ornament(c)).collect();
    let rest = text[end..].trim_start();
    let rest = rest.strip_prefix('%').unwrap_or(rest);
    if !rest.chars().all(ornament) {
        return None;
    }
    // Alone in a text a sign belongs to its number even with a space between.
    match sign.as_str() {
        "" | "+" => value.map(f64::abs),
        "-" | "−" => value.map(|value| -value.abs()),
        _ => None,
    }
}

/// The number that begins with these digits, and where reading goes on.
fn read_run(text: &str, start: usize, digits_end: usize, format: NumberFormat) -> (Option<f64>, usize) {
    let before = &text[..start];
    // The point of ".5" stands before the first digit.
    let (before, leading_point) = match before.strip_suffix(point(format)) {
        Some(shorter) if !shorter.ends_with(|c: char| c.is_alphanumeric() || c == '.') => (shorter, true),
        _ => (before, false),
    };
    let exponent = EXPONENT.as_ref().and_then(|exponent| exponent.captures(&text[digits_end..])).filter(|captures| {
        // "5examples" and "1e5a" have no exponent.
        let whole = captures.get(0).map_or(0, |found| found.end());
        !text[digits_end + whole..].starts_with(char::is_alphanumeric)
    });
    let (power, end) = match &exponent {
        Some(captures) => {
            let power = captures.get(1).or_else(|| captures.get(2)).map_or("", |power| power.as_str());
            (ascii_sign(power), digits_end + captures.get(0).map_or(0, |found| found.end()))
        }
        None => (String::new(), digits_end),
    };
    if is_glued_to_a_word(before) {
        return (None, end);
    }
    let value = || -> Option<f64> {
        let mantissa = plain(&text[start..digits_end], leading_point, format)?;
        let power = if power.is_empty() { String::new() } else { format!("e{power}") };
        let value: f64 = format!("{mantissa}{power}").parse().ok()?;
        let percent = format.percent_is_fraction && text[end..].trim_start().starts_with('%');
        let value = if percent { value / 100.0 } else { value };
        value.is_finite().then_some(if is_negative(before) { -value } else { value })
    };
    (value(), end)
}

fn is_glued_to_a_word(before: &str) -> bool {
    let bare = before.strip_suffix(['-', '–', '_', '.']).unwrap_or(before);
    bare.ends_with(char::is_alphabetic)
}

fn is_negative(before: &str) -> bool {
    let signs = |text: &str| {
        text.strip_suffix(['-', '−']).is_some_and(|rest| !rest.ends_with(|c: char| c.is_alphanumeric() || c == ')'))
    };
    let bare = before.trim_end_matches(|c| CURRENCY_SIGNS.contains(c));
    signs(before) || signs(bare)
}

fn ascii_sign(power: &str) -> String {
    power.replace('−', "-").trim_start_matches('+').to_owned()
}

fn point(format: NumberFormat) -> char {
    if format.decimal_comma { ',' } else { '.' }
}

/// The digits as Rust reads them, or none when the separators do not fit.
fn plain(run: &str, leading_point: bool, format: NumberFormat) -> Option<String> {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if leading_point {
        return is_digits(run).then(|| format!("0.{run}"));
    }
    let (integer, fraction) = match run.split_once(point(format)) {
        Some((integer, fraction)) => (integer, Some(fraction)),
        None => (run, None),
    };
    if fraction.is_some_and(|fraction| !is_digits(fraction)) {
        return None;
    }
    let fraction = fraction.unwrap_or("0");
    if is_digits(integer) {
        return Some(format!("{integer}.{fraction}"));
    }
    let separator = integer.chars().find(|c| !c.is_ascii_digit())?;
    let fits = separator == if format.decimal_comma { '.' } else { ',' } || GROUP_SIGNS.contains(&separator);
    let groups: Vec<&str> = integer.split(separator).collect();
    let (first, rest) = groups.split_first()?;
    let (last, middle) = rest.split_last()?;
    // Groups of three, or of two before the last three as in India.
    let is_grouped = |length: usize| middle.iter().all(|group| group.len() == length) && first.len() <= length;
    let is_number = fits
        && groups.iter().all(|group| is_digits(group))
        && last.len() == 3
        && !first.starts_with('0')
        && (is_grouped(3) || !middle.is_empty() && is_grouped(2));
    is_number.then(|| format!("{}.{fraction}", groups.concat()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POINT: NumberFormat = NumberFormat { decimal_comma: false, percent_is_fraction: false };
    const COMMA: NumberFormat = NumberFormat { decimal_comma: true, percent_is_fraction: false };

    fn check(format: NumberFormat, text: &str, expect: &[f64]) {
        assert_eq!(numbers(text, format), expect, "{text:?}");
    }

    #[test]
    fn the_written_forms_of_a_number_are_read() {
        check(POINT, "1,234,567.5 and 12,34,567", &[1_234_567.5, 1_234_567.0]);
        check(POINT, "1'234 1’234 1_234 1\u{a0}234 1\u{202f}234", &[1_234.0; 5]);
        check(POINT, "-$5.20, $-5.20, −5.20, (+5.20)", &[-5.2, -5.2, -5.2, 5.2]);
        check(POINT, "45%, .5, 7. The end: 1.5e-3 2E3", &[45.0, 0.5, 7.0, 0.0015, 2000.0]);
        check(POINT, "1.5 × 10^3; 2 \\times 10^{-2}", &[1500.0, 0.02]);
        check(POINT, "5kg of 3 apples, x=4, 007", &[5.0, 3.0, 4.0, 7.0]);
        check(POINT, "[1, 2, -3]", &[1.0, 2.0, -3.0]);
        check(COMMA, "1.234,5 und 0,25 € und -3,5%", &[1234.5, 0.25, -3.5]);
        check(NumberFormat { percent_is_fraction: true, ..POINT }, "5 % of 5", &[0.05, 5.0]);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_number() {
        let text = "2024-05-01 10:30 3/4 1.2.3 1,23 0,123 3-5 555-1234 COVID-19 A4 1,234'567 1.234.567";
        check(POINT, text, &[]);
        check(COMMA, "1,234,567", &[]);
        check(POINT, "1e9999 none", &[]);
    }

    #[test]
    fn a_whole_number_has_nothing_beside_it() {
        for (text, expect) in [
            (" $1,200.50 ", Some(1200.5)),
            ("-5 %", Some(-5.0)),
            ("5 €", Some(5.0)),
            (".5", Some(0.5)),
            ("1e3", Some(1000.0)),
            ("5 kg", None),
            ("about 5", None),
            ("5 6", None),
            ("- 5", Some(-5.0)),
            ("--5", None),
            ("", None),
        ] {
            assert_eq!(whole(text, POINT), expect, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_plainly_written_number_is_read_back(value in -1e12f64..1e12) {
            prop_assert_eq!(numbers(&format!("so {value} it is"), POINT), vec![value]);
            prop_assert_eq!(whole(&value.to_string(), POINT), Some(value));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[-+−0-9.,'’eE%$€×^{}/: a\u{a0}]{0,40}|.{0,40}") {
            for format in [POINT, COMMA] {
                let found = numbers(&text, format);
                prop_assert!(found.iter().all(|value| value.is_finite()));
                prop_assert!(whole(&text, format).is_none_or(|value| found.first().map(|found| found.abs()) == Some(value.abs())));
            }
        }
    }
}

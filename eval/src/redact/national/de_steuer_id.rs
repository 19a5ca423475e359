//! The identification number of German taxpayers (steuerliche Identifikationsnummer).
//! Knows nothing about the tax numbers of the federal states.

use std::ops::Range;

use crate::redact::Kind;
use crate::redact::digits::{numbers, one_separator, values};

/// Finds German tax identification numbers.
pub struct DeSteuerId;

impl Kind for DeSteuerId {
    fn name(&self) -> &str {
        "de_steuer_id"
    }

    fn policy(&self) -> &str {
        "eleven digits, one of the first ten two or three times and no other twice, with the check digit of ISO 7064 MOD 11,10"
    }

    fn find(&self, text: &str) -> Vec<Range<usize>> {
        numbers(text, 11, one_separator, |number| {
            number.digits.len() == 11
                && (number.grouped_as(&[2, 3, 3, 3]) || number.sizes == [3, 3, 3, 2])
                && number.is_a_token()
                && !number.digits.starts_with('0')
                && repeats(&number.digits[..10])
                && check_digit(&number.digits[..10]) == values(number.digits).last()
        })
    }

    fn canonical(&self, value: &str) -> String {
        crate::redact::letters_and_digits(value)
    }
}

/// One digit occurs twice or three times, all others at most once.
fn repeats(digits: &str) -> bool {
    let mut counts = [0; 10];
    values(digits).for_each(|digit| counts[digit as usize] += 1);
    let repeated: Vec<_> = counts.into_iter().filter(|&count| count > 1).collect();
    matches!(repeated[..], [2 | 3])
}

/// ISO 7064 MOD 11,10.
fn check_digit(digits: &str) -> Option<u32> {
    let product = values(digits).fold(10, |product, digit| {
        let sum = (digit + product) % 10;
        2 * if sum == 0 { 10 } else { sum } % 11
    });
    Some((11 - product) % 10)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::redact::national::tests::check;

    // python-stdnum 2.2 takes these three for valid as well.
    #[test]
    fn tax_identification_numbers_are_found_and_other_digits_are_not() {
        check(
            &DeSteuerId,
            &["86095742719", "86 095 742 719", "47036892816", "65929970489"],
            &["86095742718", "12345678901", "11223456789", "86.0957.42719", "0-86095742719"],
        );
    }
}

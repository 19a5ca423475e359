//! The Brazilian taxpayer number (CPF), with its two check digits.
//! Knows nothing about the numbers of companies.

use std::ops::Range;

use crate::redact::Kind;
use crate::redact::digits::{numbers, one_separator, values};

/// Finds Brazilian taxpayer numbers.
pub struct BrCpf;

impl Kind for BrCpf {
    fn name(&self) -> &str {
        "br_cpf"
    }

    fn policy(&self) -> &str {
        "eleven digits, not all the same, with both check digits, in one piece or as 3.3.3-2"
    }

    fn find(&self, text: &str) -> Vec<Range<usize>> {
        numbers(text, 11, one_separator, |number| {
            number.digits.len() == 11
                && (number.grouped_as(&[3, 3, 3, 2]) || number.sizes == [9, 2])
                && number.is_a_token()
                && values(number.digits).any(|digit| !number.digits.starts_with(char::from(b'0' + digit as u8)))
                && [9, 10]
                    .into_iter()
                    .all(|place| check_digit(number.digits, place) == values(number.digits).nth(place))
        })
    }

    fn canonical(&self, value: &str) -> String {
        crate::redact::letters_and_digits(value)
    }
}

/// The digit at `place` from those before it: weights from `place` + 1 down to 2, modulo 11, 10 read as 0.
fn check_digit(digits: &str, place: usize) -> Option<u32> {
    let weights = (2..=place as u32 + 1).rev();
    let sum: u32 = values(&digits[..place]).zip(weights).map(|(digit, weight)| digit * weight).sum();
    Some(sum * 10 % 11 % 10)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::redact::national::tests::check;

    #[test]
    fn taxpayer_numbers_are_found_and_other_digits_are_not() {
        check(
            &BrCpf,
            &["39053344705", "390.533.447-05", "390533447-05"],
            &["39053344706", "231.002.999-00", "11111111111", "390.533.447", "3905.3344.705"],
        );
    }
}

//! The Dutch citizen service number (burgerservicenummer), with the eleven test.
//! Knows nothing about old numbers of eight digits without their leading zero.

use std::ops::Range;

use crate::redact::Kind;
use crate::redact::digits::{numbers, values};

/// Finds Dutch citizen service numbers.
pub struct NlBsn;

impl Kind for NlBsn {
    fn name(&self) -> &str {
        "nl_bsn"
    }

    fn policy(&self) -> &str {
        "nine digits that pass the eleven test, in one piece or as 4.2.3 or 3-3-3"
    }

    fn find(&self, text: &str) -> Vec<Range<usize>> {
        numbers(
            text,
            9,
            |between| matches!(between, " " | "-" | "."),
            |number| {
                // Three groups of three with dots are an amount.
                let grouped =
                    number.grouped_as(&[4, 2, 3]) || number.sizes == [3, 3, 3] && !number.separators.contains(&".");
                number.digits.len() == 9
                    && grouped
                    && number.is_a_token()
                    && number.stands_alone()
                    && eleven_test(number.digits)
            },
        )
    }

    fn canonical(&self, value: &str) -> String {
        crate::redact::letters_and_digits(value)
    }
}

/// Weights 9 to 2 and -1; the sum is a multiple of eleven, and not all digits are zero.
fn eleven_test(digits: &str) -> bool {
    let weights = [9, 8, 7, 6, 5, 4, 3, 2, 10];
    // -1 and 10 are the same modulo 11.
    let sum: u32 = values(digits).zip(weights).map(|(digit, weight)| digit * weight).sum();
    sum > 0 && sum.is_multiple_of(11)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::redact::national::tests::check;

    #[test]
    fn citizen_service_numbers_are_found_and_other_digits_are_not() {
        check(
            &NlBsn,
            &["111222333", "1112.22.333", "1112 22 333", "111 222 333"],
            &["111222334", "000000000", "111.222.333", "1112223330", "0.111222333"],
        );
    }
}

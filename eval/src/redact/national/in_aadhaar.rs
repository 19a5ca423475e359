//! The Indian Aadhaar number, with its check digit of Verhoeff.
//! Knows nothing about virtual ids of sixteen digits.

use std::ops::Range;

use crate::redact::Kind;
use crate::redact::digits::{numbers, one_separator, values};

/// Finds Aadhaar numbers.
pub struct InAadhaar;

impl Kind for InAadhaar {
    fn name(&self) -> &str {
        "in_aadhaar"
    }

    fn policy(&self) -> &str {
        "twelve digits that do not begin with 0 or 1 and pass the check of Verhoeff, in one piece or as 4-4-4"
    }

    fn find(&self, text: &str) -> Vec<Range<usize>> {
        numbers(text, 12, one_separator, |number| {
            number.digits.len() == 12
                && number.grouped_as(&[4, 4, 4])
                && number.is_a_token()
                && number.digits.as_bytes()[0] >= b'2'
                && verhoeff(number.digits)
        })
    }

    fn canonical(&self, value: &str) -> String {
        crate::redact::letters_and_digits(value)
    }
}

/// The check of Verhoeff (1969): products in the dihedral group of order ten, with a permutation by place.
fn verhoeff(digits: &str) -> bool {
    const PERMUTATION: [u32; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let permuted = |place: usize, digit: u32| (0..place % 8).fold(digit, |digit, _| PERMUTATION[digit as usize]);
    values(digits).rev().enumerate().fold(0, |product, (place, digit)| dihedral(product, permuted(place, digit))) == 0
}

/// Rotations are 0 to 4, reflections 5 to 9.
fn dihedral(a: u32, b: u32) -> u32 {
    match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => (a + b - 5) % 5 + 5,
        (false, true) => (a - 5 + 5 - b) % 5 + 5,
        (false, false) => (a + 5 - b) % 5,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::redact::national::tests::check;

    #[test]
    fn aadhaar_numbers_are_found_and_other_digits_are_not() {
        assert!(verhoeff("2363"));
        check(
            &InAadhaar,
            &["234123412346", "2341 2341 2346", "2341-2341-2346"],
            &["234123412347", "123412341234", "23412341234", "a456-234123412346"],
        );
    }
}

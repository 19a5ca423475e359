//! The Spanish identity number (DNI) and that of foreigners (NIE), with their check letter.
//! Knows nothing about numbers of companies.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::tokens;
use crate::redact::Kind;

/// Finds Spanish identity numbers.
pub struct EsDni;

/// By the remainder modulo 23.
const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";

impl Kind for EsDni {
    fn name(&self) -> &str {
        "es_dni"
    }

    fn policy(&self) -> &str {
        "eight digits, or X, Y or Z and seven digits, with the check letter modulo 23"
    }

    fn find(&self, text: &str) -> Vec<Range<usize>> {
        static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| {
            let pattern = "(?i-u:(?:[0-9]{2}|[xyz][ .-]?[0-9])[ .-]?[0-9]{3}[ .-]?[0-9]{3}[ .-]?[a-z])";
            Regex::new(pattern).ok()
        });
        PATTERN.as_ref().map_or_else(Vec::new, |pattern| tokens(text, pattern, letter_fits))
    }

    fn canonical(&self, value: &str) -> String {
        crate::redact::letters_and_digits(value)
    }
}

fn letter_fits(number: &str) -> bool {
    let digits = number[..8].replace('X', "0").replace('Y', "1").replace('Z', "2");
    digits.parse::<usize>().is_ok_and(|value| number.as_bytes()[8] == LETTERS[value % 23])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::redact::national::tests::check;

    #[test]
    fn identity_numbers_are_found_and_other_codes_are_not() {
        check(
            &EsDni,
            &["54362315K", "54362315-k", "54.362.315-K", "X2482300W", "X-2482300-W", "12345678Z"],
            &["54362315Z", "X2482300A", "5436231K", "A54362315K", "54362315KK"],
        );
    }
}

//! The National Insurance number of the United Kingdom.
//! Knows nothing about issued numbers; there is no check digit.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::tokens;
use crate::redact::Kind;

/// Finds National Insurance numbers.
pub struct UkNino;

/// Prefixes that are never given (HMRC, National Insurance Manual NIM39110).
const NEVER: [&str; 7] = ["BG", "GB", "KN", "NK", "NT", "TN", "ZZ"];

impl Kind for UkNino {
    fn name(&self) -> &str {
        "uk_nino"
    }

    fn policy(&self) -> &str {
        "two letters that are given, six digits and a letter from A to D"
    }

    fn find(&self, text: &str) -> Vec<Range<usize>> {
        static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| {
            Regex::new(r"(?i-u:[a-ceghj-pr-tw-z][ -]?[a-ceghj-npr-tw-z](?:[ .-]?[0-9]{2}){3}[ .-]?[a-d])").ok()
        });
        PATTERN.as_ref().map_or_else(Vec::new, |pattern| tokens(text, pattern, |number| !NEVER.contains(&&number[..2])))
    }

    fn canonical(&self, value: &str) -> String {
        crate::redact::letters_and_digits(value)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::redact::national::tests::check;

    #[test]
    fn national_insurance_numbers_are_found_and_other_codes_are_not() {
        check(
            &UkNino,
            &["AB123456C", "AB 12 34 56 C", "jg 10 37 59 a", "AB-12-34-56-D"],
            &["QQ123456C", "GB123456A", "AO123456A", "AB123456E", "AB12345C", "XAB123456C", "AB123456C1"],
        );
    }
}

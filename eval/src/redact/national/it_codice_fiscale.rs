//! The Italian tax code (codice fiscale), with its check letter.
//! Knows nothing about the codes of companies, which are plain digits.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::tokens;
use crate::redact::Kind;

/// Finds Italian tax codes.
pub struct ItCodiceFiscale;

/// What a sign at an odd place (counted from one) is worth, by its letter or its digit (decree of 23 December 1976).
const ODD: [u32; 26] = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];

impl Kind for ItCodiceFiscale {
    fn name(&self) -> &str {
        "it_codice_fiscale"
    }

    fn policy(&self) -> &str {
        "six letters, year, month, day, place and check letter; digits may be the letters that stand for them"
    }

    fn find(&self, text: &str) -> Vec<Range<usize>> {
        static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| {
            let digit = "[0-9lmnp-v]";
            let pattern = format!(
                "(?i-u:[a-z]{{3}}[ -]?[a-z]{{3}}[ -]?{digit}{{2}}[a-ehlmprst]{digit}{{2}}[ -]?[a-z]{digit}{{3}}[ -]?[a-z])"
            );
            Regex::new(&pattern).ok()
        });
        PATTERN.as_ref().map_or_else(Vec::new, |pattern| tokens(text, pattern, letter_fits))
    }

    fn canonical(&self, value: &str) -> String {
        crate::redact::letters_and_digits(value)
    }
}

fn letter_fits(code: &str) -> bool {
    let worth = |(place, sign): (usize, u8)| {
        let value = u32::from(if sign.is_ascii_digit() { sign - b'0' } else { sign - b'A' });
        if place % 2 == 0 { ODD[value as usize] } else { value }
    };
    let sum: u32 = code.bytes().take(15).enumerate().map(worth).sum();
    code.as_bytes().get(15).is_some_and(|letter| u32::from(letter - b'A') == sum % 26)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::redact::national::tests::check;

    #[test]
    fn tax_codes_are_found_and_other_words_are_not() {
        check(
            &ItCodiceFiscale,
            &["RCCMNL83S18D969H", "rccmnl83s18d969h", "RCC MNL 83S18 D969 H", "MRTMTT25D09F205Z"],
            &["RCCMNL83S18D969G", "RCCMNL83S18D969HX", "RCCMNL83X18D969H"],
        );
    }
}

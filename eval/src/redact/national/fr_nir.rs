//! The French number of registration (NIR, on the carte Vitale), with its key.
//! Knows nothing about numbers written without their key.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::tokens;
use crate::redact::Kind;

/// Finds French registration numbers.
pub struct FrNir;

impl Kind for FrNir {
    fn name(&self) -> &str {
        "fr_nir"
    }

    fn policy(&self) -> &str {
        "sex, year, month, department, commune and order, with the key modulo 97; Corsica with 2A and 2B"
    }

    fn find(&self, text: &str) -> Vec<Range<usize>> {
        static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| {
            let pattern = "[1-478][ .-]?[0-9]{2}[ .-]?(?:0[1-9]|1[0-2]|[2-9][0-9])[ .-]?[0-9][0-9ABab][ .-]?[0-9]{3}[ .-]?[0-9]{3}[ .-]?[0-9]{2}";
            Regex::new(pattern).ok()
        });
        PATTERN.as_ref().map_or_else(Vec::new, |pattern| tokens(text, pattern, key_fits))
    }

    fn canonical(&self, value: &str) -> String {
        crate::redact::letters_and_digits(value)
    }
}

/// 97 minus the first 13 signs modulo 97, with 2A read as 19 and 2B as 18 (INSEE).
fn key_fits(number: &str) -> bool {
    let body = number[..13].replace("2A", "19").replace("2B", "18");
    match (body.parse::<u64>(), number[13..].parse::<u64>()) {
        (Ok(body), Ok(key)) => key == 97 - body % 97,
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::redact::national::tests::check;

    #[test]
    fn registration_numbers_are_found_and_other_digits_are_not() {
        check(
            &FrNir,
            &["295109912611193", "2 95 10 99 126 111 93", "253072B07300470", "253072A07300443"],
            &["295109912611194", "253072C07300443", "29510991261119", "1295109912611193"],
        );
    }
}

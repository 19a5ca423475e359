//! The Social Security number of the United States, and the taxpayer number of the same form (ITIN).
//! Knows nothing about issued numbers; there is no check digit.

use std::ops::Range;

use crate::redact::Kind;
use crate::redact::digits::{announced, numbers, one_separator};

/// Finds Social Security numbers.
pub struct UsSsn;

impl Kind for UsSsn {
    fn name(&self) -> &str {
        "us_ssn"
    }

    fn policy(&self) -> &str {
        "3-2-4 digits with an area, group and serial that can be issued; nine digits in one piece behind SSN, ITIN, TIN or social security"
    }

    fn find(&self, text: &str) -> Vec<Range<usize>> {
        numbers(text, 9, one_separator, |number| {
            let grouped = number.sizes == [3, 2, 4] && number.separators[0] == number.separators[1];
            let bare = number.sizes == [9] && announced(number.head, &["ssn", "itin", "tin", "social security"]);
            let form = grouped && number.is_a_token() || bare && number.stands_alone();
            form && issuable(number.digits)
        })
    }

    fn canonical(&self, value: &str) -> String {
        crate::redact::letters_and_digits(value)
    }
}

/// The rules of the Social Security Administration since 2011, and the groups of the Internal Revenue Service behind a 9.
fn issuable(digits: &str) -> bool {
    if digits.len() != 9 {
        return false;
    }
    let (area, group, serial) = (&digits[..3], &digits[3..5], &digits[5..]);
    let taxpayer = matches!(group.parse::<u32>(), Ok(50..=65 | 70..=88 | 90..=92 | 94..=99));
    match area.as_bytes()[0] {
        b'9' => taxpayer,
        _ => area != "000" && area != "666" && group != "00" && serial != "0000",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::redact::national::tests::check;

    #[test]
    fn social_security_numbers_are_found_and_other_digits_are_not() {
        check(
            &UsSsn,
            &["536-90-4399", "078 05 1120", "912-70-1234"],
            &[
                "000-12-3456",
                "666-12-3456",
                "123-00-4567",
                "123-45-0000",
                "900-12-3456",
                "123456789",
                "1-536-90-4399",
                "123-45 6789",
            ],
        );
        assert_eq!(UsSsn.find("SSN: 536904399").first(), Some(&(5..14)));
    }
}

//! Payment card numbers (ISO/IEC 7812): 13 to 19 digits with the check digit of Luhn.
//! Knows nothing about issuers; a number that passes the check is taken for a card.

use std::ops::Range;

use super::Kind;
use super::digits::{Number, numbers, values};

/// Finds payment card numbers.
pub struct Card;

impl Kind for Card {
    fn name(&self) -> &str {
        "card"
    }

    fn policy(&self) -> &str {
        "13 to 19 digits with a valid Luhn digit that do not begin with 0, in one piece or in groups of four or more"
    }

    fn find(&self, text: &str) -> Vec<Range<usize>> {
        numbers(text, 19, separates, |number| {
            number.digits.len() >= 13 && !number.digits.starts_with('0') && in_groups(number) && luhn(number.digits)
        })
    }

    fn canonical(&self, value: &str) -> String {
        super::letters_and_digits(value)
    }
}

/// The check digit of Luhn (ISO/IEC 7812-1, annex B).
fn luhn(digits: &str) -> bool {
    let sum: u32 = values(digits)
        .rev()
        .enumerate()
        .map(|(place, digit)| if place % 2 == 0 { digit } else { 2 * digit - if digit > 4 { 9 } else { 0 } })
        .sum();
    sum.is_multiple_of(10)
}

/// Groups as on cards; a row of years is none, since no issuer begins with 19 or 20.
fn in_groups(number: &Number<'_>) -> bool {
    let Some((_, front)) = number.sizes.split_last() else { return false };
    let year = number.digits.starts_with("19") || number.digits.starts_with("20");
    front.iter().all(|&size| size >= 4) && (front.is_empty() || !year)
}

/// Up to three separators, one of them visible at most.
fn separates(between: &str) -> bool {
    between.len() <= 3
        && between.chars().all(|c| " -.\t\n\r".contains(c))
        && between.chars().filter(|c| "-.".contains(*c)).count() <= 1
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        Card.find(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn cards_are_found_in_every_usual_grouping() {
        for number in [
            "4111111111111111",
            "4111 1111 1111 1111",
            "5555-5555-5555-4444",
            "3782 822463 10005",
            "3056 9309 0259 04",
            "4222222222222",
            "6304 0000 0000 0000 00",
            "4111 - 1111 - 1111 - 1111",
        ] {
            assert_eq!(found(&format!("card {number}, 12/27")), [number]);
            assert_eq!(found(&format!("PAN{number}x")), [number]);
        }
    }

    #[test]
    fn a_card_behind_another_number_is_found() {
        assert_eq!(found("in 2024 4111 1111 1111 1111"), ["4111 1111 1111 1111"]);
    }

    #[test]
    fn numbers_without_the_check_digit_and_rows_of_numbers_are_left() {
        for text in
            ["4111111111111112", "0000000000000000", "2019 2020 2021 2027", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15"]
        {
            assert!(found(text).is_empty(), "{text}");
        }
    }
}

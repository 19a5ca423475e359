//! Telephone numbers: international ones behind + or 00, and national ones whose shape or announcement tells them from plain numbers.
//! Knows nothing about which numbers are in use; dates, section numbers and amounts are left.

use std::ops::Range;

use super::Kind;
use super::digits::{Number, announced, numbers};

/// Words that make the number behind them a telephone number.
const WORDS: [&str; 18] = [
    "tel",
    "phone",
    "fon",
    "fax",
    "mobil",
    "móvil",
    "cell",
    "handy",
    "whatsapp",
    "gsm",
    "sms",
    "teléf",
    "télé",
    "portable",
    "cellulare",
    "celular",
    "hotline",
    "电话",
];

/// Finds telephone numbers.
pub struct Phone;

impl Kind for Phone {
    fn name(&self) -> &str {
        "phone"
    }

    fn policy(&self) -> &str {
        "+ or 00 and 8 to 15 digits with the country; a trunk 0 and 9 to 12 digits in groups; 3-3-4 digits as in North America; an area code in \
         brackets; 6 to 15 digits behind a word such as tel, fax or mobile"
    }

    fn find(&self, text: &str) -> Vec<Range<usize>> {
        let found =
            numbers(text, 17, separates, |number| number_is_free(number) && !is_date(number) && has_shape(number));
        found.into_iter().map(|range| with_prefix(text, range)).collect()
    }

    /// The digits; the 0 in brackets that is only dialled inside a country is left out.
    fn canonical(&self, value: &str) -> String {
        let digits = super::letters_and_digits(&value.replace("(0)", ""));
        match digits.strip_prefix("00") {
            Some(rest) => format!("+{rest}"),
            None if value.trim_start_matches('(').starts_with('+') => format!("+{digits}"),
            None => digits,
        }
    }
}

/// At most four signs, brackets in pairs or half of a pair.
fn separates(between: &str) -> bool {
    between.len() <= 4
        && between.chars().all(|c| " \t.-/()".contains(c))
        && between.chars().filter(|c| ".-/".contains(*c)).count() <= 1
        && !between.contains("  ")
}

/// Whether no digit, letter or decimal point ties the number to something longer.
fn number_is_free(number: &Number<'_>) -> bool {
    let open = number.before == Some('(') || plus(number.head).is_some();
    open || number.stands_alone() && !number.head.ends_with(['-', '/', '#', '$', '€', '£'])
}

fn has_shape(number: &Number<'_>) -> bool {
    let tail = number.tail.chars().next();
    if tail.is_some_and(super::digits::word) {
        return false;
    }
    if plus(number.head).is_some() {
        return international(number.digits);
    }
    if let Some(rest) = number.digits.strip_prefix("00") {
        return number.sizes[0] >= 2 && international(rest);
    }
    let len = number.digits.len();
    (6..=15).contains(&len) && announced_here(number)
        || trunk(number)
        || north_american(number)
        || bracketed(number)
        || number.sizes == [3, 4, 4] && number.digits.starts_with('1') && one_sign(number)
}

/// E.164: at most 15 digits with the country, and a 0 in brackets; the two countries with a fixed length must have it.
fn international(digits: &str) -> bool {
    match digits.as_bytes().first() {
        Some(b'1') => digits.len() == 11 && digits.as_bytes()[1] >= b'2',
        Some(b'7') => digits.len() == 11,
        // Saint Helena, Niue and Tokelau have the shortest numbers.
        _ if digits.len() == 7 => ["290", "683", "690"].iter().any(|country| digits.starts_with(country)),
        Some(b'2'..) => (8..=16).contains(&digits.len()),
        _ => false,
    }
}

/// An area code behind one 0, as in most of Europe, Asia, Africa and Oceania.
fn trunk(number: &Number<'_>) -> bool {
    let bytes = number.digits.as_bytes();
    if bytes.len() < 8 || bytes[0] != b'0' || bytes[1] == b'0' || number.sizes[0] < 2 {
        return false;
    }
    let slash = number.separators.first().is_some_and(|separator| separator.contains('/'));
    let least = if slash || number.before == Some('(') { 8 } else { 9 };
    (least..=12).contains(&bytes.len()) && number.sizes.iter().all(|&size| size >= 2)
}

/// Three, three and four digits with a country 1 in front perhaps; neither area nor exchange begins with 0 or 1.
fn north_american(number: &Number<'_>) -> bool {
    let digits = match number.sizes {
        [3, 3, 4] => number.digits,
        [1, 3, 3, 4] if number.digits.starts_with('1') => &number.digits[1..],
        _ => return false,
    };
    digits.as_bytes()[0] >= b'2' && digits.as_bytes()[3] >= b'2'
}

/// `(11) 91234-5678`: an area code of two to five digits that is no year, then at least six digits.
fn bracketed(number: &Number<'_>) -> bool {
    let inside =
        number.before == Some('(') && number.separators.first().is_some_and(|separator| separator.starts_with(')'));
    let tied = number.head[..number.head.len() - usize::from(inside)].ends_with(super::digits::word);
    let year = number.sizes[0] == 4 && (number.digits.starts_with("19") || number.digits.starts_with("20"));
    let rest = number.digits.len() - number.sizes[0];
    inside
        && !tied
        && !year
        && (2..=5).contains(&number.sizes[0])
        && (6..=10).contains(&rest)
        && number.sizes[1..].iter().all(|&size| size >= 2)
}

/// Whether the word stands right in front: only signs and short words such as "no." lie between.
fn announced_here(number: &Number<'_>) -> bool {
    let close = number.head.trim_end_matches(|c: char| " \t.:;#(=\"'".contains(c));
    let close = close
        .strip_suffix("number")
        .or_else(|| close.strip_suffix("no"))
        .or_else(|| close.strip_suffix("nr"))
        .unwrap_or(close);
    let close = close.trim_end_matches([' ', '.']);
    let last = close.rsplit(|c: char| c.is_whitespace() || c.is_ascii_digit()).next().unwrap_or(close);
    announced(last, &WORDS)
}

/// Whether day, month and year stand in the number, in either order; a telephone number has no such beginning.
fn is_date(number: &Number<'_>) -> bool {
    let mut at = 0;
    let mut groups = Vec::with_capacity(number.sizes.len());
    for &size in number.sizes {
        groups.push(&number.digits[at..at + size]);
        at += size;
    }
    plus(number.head).is_none()
        && groups.windows(3).zip(number.separators.windows(2)).any(|(part, between)| {
            between[0] == between[1]
                && between[0].len() == 1
                && (date(part[0], part[1], part[2]) || date(part[2], part[1], part[0]))
        })
}

fn date(day: &str, month: &str, year: &str) -> bool {
    let value = |part: &str| part.parse::<u32>().unwrap_or(0);
    let in_year = |day: u32, month: u32| (1..=31).contains(&day) && (1..=12).contains(&month);
    let short = day.len() <= 2 && month.len() <= 2;
    let (day, month) = (value(day), value(month));
    short && year.len() == 4 && (1900..2100).contains(&value(year)) && (in_year(day, month) || in_year(month, day))
}

fn one_sign(number: &Number<'_>) -> bool {
    number.separators.iter().all(|separator| matches!(*separator, " " | "-"))
}

/// Where the + of an international number begins, before the first digit.
fn plus(head: &str) -> Option<usize> {
    let before = head.trim_end_matches([' ', '(']);
    (head.len() - before.len() <= 2 && before.ends_with('+')).then(|| before.len() - 1)
}

/// With the + or the bracket in front of the first digit.
fn with_prefix(text: &str, range: Range<usize>) -> Range<usize> {
    let head = &text[..range.start];
    let start = plus(head).unwrap_or_else(|| range.start - usize::from(head.ends_with('(')));
    start..range.end
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        Phone.find(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn numbers_are_found_as_people_write_them() {
        for number in [
            "+49 30 1234567",
            "+49 (0) 30 / 1234-567",
            "+49(0)30 1234567",
            "+1 (212) 555-0123",
            "+44 20 7946 0958",
            "+33 1 23 45 67 89",
            "+919876543210",
            "+7 495 123-45-67",
            "+ 41 44 668 18 00",
            "0049 30 1234567",
            "00441632960961",
            "030 1234567",
            "0171/1234567",
            "0711/12345",
            "089 / 123 456",
            "(030) 1234567",
            "020 7946 0958",
            "07700 900123",
            "01 23 45 67 89",
            "01.23.45.67.89",
            "06-12345678",
            "09876543210",
            "03-1234-5678",
            "(212) 555-0123",
            "212-555-0123",
            "212.555.0123",
            "212 555 0123",
            "1-800-555-0199",
            "(11) 91234-5678",
            "(02) 9876 5432",
            "138 1234 5678",
        ] {
            let text = format!("reach me at {number}, or later");
            assert_eq!(found(&text), [number]);
        }
        for (text, number) in [
            ("Tel.: 912345678", "912345678"),
            ("Mobile no. 98765 43210", "98765 43210"),
            ("Fax 5551234", "5551234"),
            ("phone number: 2125550123", "2125550123"),
        ] {
            assert_eq!(found(text), [number], "{text}");
        }
    }

    #[test]
    fn plain_numbers_dates_and_section_numbers_are_left() {
        for text in [
            "on 01.02.2024 and 2024-02-01",
            "01.02.2024 10.30",
            "from 01/02/2024 1000 units",
            "section 1.2.3.4.5 and 10.11.12.13.14",
            "2 125 550 123 people",
            "1234567890",
            "EUR 1,234,567.89",
            "+5 % and +1500000",
            "a change of +12",
            "0.0123456789",
            "pp. 123-456, vol. 45(12) 1234-1245",
            "(2019) 123-4567",
            "60601 73301 94105",
            "ISBN 978-3-16-148410-0",
            "12:30-14:45",
            "x0123456789",
            "10 000 000",
            "in 1999 2000 2001",
            "$ 212-555",
        ] {
            assert!(found(text).is_empty(), "{text}: {:?}", found(text));
        }
    }

    #[test]
    fn one_number_in_two_spellings_is_one_value() {
        assert_eq!(Phone.canonical("+49 (0)30 123"), Phone.canonical("0049-30-123"));
        assert_ne!(Phone.canonical("030 123"), Phone.canonical("030 124"));
    }
}

//! Bank account numbers of ISO 13616 (IBAN): country, length of that country and the remainder modulo 97.
//! Knows nothing about banks or the checksums inside national account numbers.

use std::ops::Range;

use super::Kind;

/// Finds bank account numbers.
pub struct Iban;

impl Kind for Iban {
    fn name(&self) -> &str {
        "iban"
    }

    fn policy(&self) -> &str {
        "a country of the IBAN registry, the length of that country and the checksum modulo 97; spaces, hyphens and dots between groups"
    }

    fn find(&self, text: &str) -> Vec<Range<usize>> {
        let bytes = text.as_bytes();
        let starts = (0..bytes.len().saturating_sub(3)).filter(|&at| {
            let begins = bytes[at..at + 2].iter().all(u8::is_ascii_alphabetic);
            begins && digit_soon(&bytes[at + 2..])
        });
        starts.filter_map(|at| whole(bytes, at)).collect()
    }

    fn canonical(&self, value: &str) -> String {
        super::letters_and_digits(value)
    }
}

/// Whether two digits follow, perhaps after a separator.
fn digit_soon(bytes: &[u8]) -> bool {
    let skip = usize::from(bytes.first().is_some_and(|&byte| separates(byte)));
    bytes.iter().skip(skip).take(2).filter(|byte| byte.is_ascii_digit()).count() == 2
}

/// The account number that begins at `start`, if there is a valid one.
fn whole(bytes: &[u8], start: usize) -> Option<Range<usize>> {
    let country = [bytes[start].to_ascii_uppercase(), bytes[start + 1].to_ascii_uppercase()];
    let length = length_of(country)?;
    let (mut signs, mut end) = (Vec::with_capacity(length), start);
    let (mut separated, mut in_fours) = (false, true);
    while signs.len() < length {
        let gap = bytes[end..].iter().take(3).take_while(|&&byte| separates(byte)).count();
        let sign = *bytes.get(end + gap)?;
        if gap > 2 || !sign.is_ascii_alphanumeric() {
            return None;
        }
        separated |= gap > 0;
        in_fours &= (gap > 0) == (!signs.is_empty() && signs.len() % 4 == 0) && !sign.is_ascii_lowercase();
        signs.push(sign.to_ascii_uppercase());
        end += gap + 1;
    }
    let num_digits = signs.iter().filter(|sign| sign.is_ascii_digit()).count();
    // With gaps anywhere, ordinary words after "in SE12" would pass once in 97 times: such a number must be mostly digits.
    let plausible = !separated || in_fours || 5 * num_digits >= 2 * length;
    (plausible && remainder(&signs) == 1).then_some(start..end)
}

/// ISO 7064 MOD 97-10 with the first four signs moved to the end.
fn remainder(signs: &[u8]) -> u32 {
    signs[4..].iter().chain(&signs[..4]).fold(0, |rest, &sign| match sign {
        b'0'..=b'9' => (rest * 10 + u32::from(sign - b'0')) % 97,
        _ => (rest * 100 + u32::from(sign - b'A') + 10) % 97,
    })
}

fn separates(byte: u8) -> bool {
    matches!(byte, b' ' | b'-' | b'.' | b'\t' | b'\n' | b'\r')
}

fn length_of(country: [u8; 2]) -> Option<usize> {
    let entry = LENGTHS.binary_search_by_key(&country, |entry| [entry.0.as_bytes()[0], entry.0.as_bytes()[1]]);
    entry.ok().map(|at| LENGTHS[at].1)
}

/// Signs of the whole number by country, as in the copy of the IBAN registry in python-stdnum 2.2.
#[rustfmt::skip]
pub(super) const LENGTHS: [(&str, usize); 89] = [
    ("AD", 24), ("AE", 23), ("AL", 28), ("AT", 20), ("AZ", 28), ("BA", 20), ("BE", 16), ("BG", 22), ("BH", 22),
    ("BI", 27), ("BR", 29), ("BY", 28), ("CH", 21), ("CR", 22), ("CY", 28), ("CZ", 24), ("DE", 22), ("DJ", 27),
    ("DK", 18), ("DO", 28), ("EE", 20), ("EG", 29), ("ES", 24), ("FI", 18), ("FK", 18), ("FO", 18), ("FR", 27),
    ("GB", 22), ("GE", 22), ("GI", 23), ("GL", 18), ("GR", 27), ("GT", 28), ("HN", 28), ("HR", 21), ("HU", 28),
    ("IE", 22), ("IL", 23), ("IQ", 23), ("IS", 26), ("IT", 27), ("JO", 30), ("KW", 30), ("KZ", 20), ("LB", 28),
    ("LC", 32), ("LI", 21), ("LT", 20), ("LU", 20), ("LV", 21), ("LY", 25), ("MC", 27), ("MD", 24), ("ME", 22),
    ("MK", 19), ("MN", 20), ("MR", 27), ("MT", 31), ("MU", 30), ("NI", 28), ("NL", 18), ("NO", 15), ("OM", 23),
    ("PK", 24), ("PL", 28), ("PS", 29), ("PT", 25), ("QA", 29), ("RO", 24), ("RS", 22), ("RU", 33), ("SA", 24),
    ("SC", 31), ("SD", 18), ("SE", 24), ("SI", 19), ("SK", 24), ("SM", 27), ("SO", 23), ("ST", 25), ("SV", 28),
    ("TL", 23), ("TN", 24), ("TR", 26), ("UA", 29), ("VA", 22), ("VG", 24), ("XK", 20), ("YE", 30),
];

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        Iban.find(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn valid_numbers_are_found_in_every_usual_spelling() {
        for number in [
            "DE89370400440532013000",
            "DE89 3704 0044 0532 0130 00",
            "de89-3704-0044-0532-0130-00",
            "GB29 NWBK 6016 1331 9268 19",
            "FR14 2004 1010 0505 0001 3M02 606",
            "NO93 8601 1117 947",
            "MT84 MALT 0110 0001 2345 MTLC AST0 01S",
            "DE89 3704 0044\n0532 0130 00",
        ] {
            assert_eq!(found(&format!("pay to {number} today")), [number]);
            assert_eq!(found(&format!("IBAN:{number}")), [number]);
        }
    }

    #[test]
    fn a_wrong_checksum_length_or_country_is_no_account() {
        for text in [
            "DE88370400440532013000",
            "DE8937040044053201300",
            "ZZ89370400440532013000",
            "DE89 3704   0044 0532 0130 00",
        ] {
            assert!(found(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn the_countries_are_sorted_so_that_they_can_be_searched() {
        assert!(LENGTHS.is_sorted());
    }
}

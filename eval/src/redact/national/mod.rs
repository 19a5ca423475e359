//! The list of national identification numbers, one file each.
//! Knows nothing about persons; a number counts when its form and, where the country has one, its check digit are right.

mod br_cpf;
mod de_steuer_id;
mod es_dni;
mod fr_nir;
mod in_aadhaar;
mod it_codice_fiscale;
mod nl_bsn;
mod uk_nino;
mod us_ssn;

pub use br_cpf::BrCpf;
pub use de_steuer_id::DeSteuerId;
pub use es_dni::EsDni;
pub use fr_nir::FrNir;
pub use in_aadhaar::InAadhaar;
pub use it_codice_fiscale::ItCodiceFiscale;
pub use nl_bsn::NlBsn;
pub use uk_nino::UkNino;
pub use us_ssn::UsSsn;

use std::ops::Range;

use regex::Regex;

use super::Kind;

/// Every national number, by the name a config writes.
pub const ALL: [&dyn Kind; 9] =
    [&UsSsn, &UkNino, &DeSteuerId, &FrNir, &EsDni, &ItCodiceFiscale, &NlBsn, &InAadhaar, &BrCpf];

/// The matches of a bounded `pattern` that no Latin letter or digit touches and that `accepts` takes, without spaces, hyphens
/// and dots and in capitals.
///
/// The search goes on one character behind the beginning of each match, so that no match hides another one.
fn tokens(text: &str, pattern: &Regex, accepts: impl Fn(&str) -> bool) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let tied = |place: Option<&u8>| place.is_some_and(u8::is_ascii_alphanumeric);
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(part) = pattern.find_at(text, at) {
        let before = part.start().checked_sub(1).and_then(|before| bytes.get(before));
        if !tied(before) && !tied(bytes.get(part.end())) && accepts(&super::letters_and_digits(part.as_str())) {
            found.push(part.range());
        }
        // Every pattern here begins with an ASCII sign.
        at = part.start() + 1;
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
pub(super) mod tests {
    use super::*;

    /// Checks that each of `right` is found among other words and that nothing is found in each of `wrong`.
    pub(in crate::redact) fn check(kind: &dyn Kind, right: &[&str], wrong: &[&str]) {
        for number in right {
            for text in [format!("it is {number}, they say"), format!("({number})"), (*number).to_owned()] {
                let found: Vec<&str> = kind.find(&text).into_iter().map(|range| &text[range]).collect();
                assert_eq!(found, [*number], "{}: {text}", kind.name());
            }
        }
        for text in wrong {
            assert!(kind.find(text).is_empty(), "{}: {text}", kind.name());
        }
    }

    #[test]
    fn every_national_number_has_its_own_name_and_a_policy() {
        let mut names: Vec<_> = ALL.iter().map(|kind| kind.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        assert!(ALL.iter().all(|kind| !kind.policy().is_empty()));
    }
}

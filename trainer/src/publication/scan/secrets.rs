//! Keys of vendors and private keys, by their form, and the secrets of this machine, by their value, in files that would
//! be published. Knows nothing about where a key would be used. A finding shows the first letters of a key and never more.

use super::super::fault::Fault;
use super::text::Views;
use super::{Scanned, place};
use crate::secret::{self, READ};

/// A value shorter than this stands in too many texts by chance.
const LEAST_KNOWN: usize = 12;

/// Secrets of this machine: what its environment and login files hold.
#[derive(Debug, Clone, Default)]
pub struct Known(Vec<(String, String)>);

impl Known {
    /// From variables whose name says that they hold a secret, and the token of the hub.
    pub fn of(variables: impl Iterator<Item = (String, String)>, token: Option<&str>) -> Self {
        let named = |name: &str| {
            let name = name.to_ascii_uppercase();
            ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "API_KEY", "APIKEY", "ACCESS_KEY", "CREDENTIAL"]
                .iter()
                .any(|word| name.contains(word))
        };
        let mut known: Vec<(String, String)> = variables.filter(|(name, _)| named(name)).collect();
        known.extend(token.map(|token| ("the token of the hub".to_owned(), token.to_owned())));
        known.retain(|(_, value)| value.trim().len() >= LEAST_KNOWN && !value.starts_with(['/', '.']));
        Self(known)
    }
}

/// What a file must not hold.
pub(super) fn find(file: &Scanned<'_>, views: &Views, known: &Known) -> Vec<Fault> {
    let mut faults: Vec<Fault> = Vec::new();
    let mut add = |fault: Option<Fault>| {
        if let Some(fault) = fault.filter(|fault| !faults.iter().any(|known| known.what == fault.what)) {
            faults.push(fault);
        }
    };
    let raw = std::iter::once((file.bytes, true));
    let texts = raw.chain(views.all().map(|text| (text.as_bytes(), false)));
    for (bytes, raw) in texts {
        match READ.as_ref() {
            Ok(set) => {
                for form in set.matches(bytes) {
                    let Some(each) = secret::each(form) else {
                        add(Some(unsearched(file, secret::FORMS[form].0)));
                        continue;
                    };
                    add(each.find(bytes).map(|found| {
                        let value = String::from_utf8_lossy(found.as_bytes());
                        fault(file, bytes, raw, found.start(), secret::FORMS[form].0, &value)
                    }));
                }
            }
            Err(error) => add(Some(unsearched(file, error))),
        }
        for (name, value) in &known.0 {
            let at = find_bytes(bytes, value.trim().as_bytes());
            add(at.map(|at| fault(file, bytes, raw, at, &format!("the value of {name}"), value)));
        }
    }
    faults
}

/// Nothing is published that was not looked through.
fn unsearched(file: &Scanned<'_>, why: impl std::fmt::Display) -> Fault {
    Fault::new(
        file.path,
        format!("cannot be searched for secrets: {why}"),
        "this is a fault of the program, and nothing can be published with it",
    )
}

fn fault(file: &Scanned<'_>, bytes: &[u8], raw: bool, at: usize, kind: &str, value: &str) -> Fault {
    let shown: String = value.chars().take(4).collect();
    Fault::new(
        place(file.path, bytes, at, raw),
        format!("holds {kind} ({shown}…)"),
        "take it out where it comes from, and make it invalid: whoever could read this folder could read it",
    )
}

fn find_bytes(bytes: &[u8], value: &[u8]) -> Option<usize> {
    let first = *value.first()?;
    bytes.windows(value.len()).position(|window| window[0] == first && window == value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::secret::tests::samples;

    #[test]
    fn every_form_is_a_pattern_and_every_sample_is_found_and_not_shown() {
        for secret in samples() {
            let text = format!("{{\"note\": \"{}\"}}", secret.replace('"', "\\\""));
            let file = Scanned { path: "a.json", bytes: text.as_bytes(), of_the_base: true };
            let found = find(&file, &Views::of("a.json", text.as_bytes()), &Known::default());
            assert!(!found.is_empty(), "{secret}");
            assert!(found.iter().all(|fault| !fault.what.contains(&secret)), "{secret}");
        }
    }

    #[test]
    fn a_secret_of_this_machine_is_found_by_its_value() {
        let environment = [("FIRM_API_KEY", "plain-words-as-key"), ("HOME_TOKEN_PATH", "/x/y/z/token-file")];
        let known = Known::of(environment.map(|(a, b)| (a.to_owned(), b.to_owned())).into_iter(), None);
        let text = "see plain-words-as-key and /x/y/z/token-file";
        let file = Scanned { path: "a.md", bytes: text.as_bytes(), of_the_base: false };
        let found = find(&file, &Views::of("a.md", text.as_bytes()), &known);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].place.as_str(), found[0].what.as_str()),
            ("a.md:1", "holds the value of FIRM_API_KEY (plai…)")
        );
    }

    #[test]
    fn hashes_tokens_of_a_vocabulary_and_settings_are_no_secrets() {
        let text = format!(
            "{{\"sha256\": \"{}\", \"eos_token\": \"<|im_end|>\", \"pad_token\": \"<pad>\", \"max_new_tokens\": 16}}",
            "0a".repeat(32)
        );
        let file = Scanned { path: "a.json", bytes: text.as_bytes(), of_the_base: false };
        assert_eq!(find(&file, &Views::of("a.json", text.as_bytes()), &Known::default()), []);
    }
}

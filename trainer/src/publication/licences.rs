//! Which licences allow to publish what was made from a model or a set, and which ask a person first.
//! Owns the list, by the names of SPDX and of the hub. It is no legal advice: an unknown name asks, and nothing is guessed.

use serde::Serialize;

use super::fault::Fault;

/// What stands where no licence is stated.
pub const UNKNOWN: &str = "unknown";

/// Licences under which what is made from a work may be published, with the name the hub has for each.
const FREE: [(&str, &str); 40] = [
    ("0BSD", "0bsd"),
    ("AFL-3.0", "afl-3.0"),
    ("AGPL-3.0", "agpl-3.0"),
    ("AGPL-3.0-only", "agpl-3.0"),
    ("AGPL-3.0-or-later", "agpl-3.0"),
    ("Apache-2.0", "apache-2.0"),
    ("Artistic-2.0", "artistic-2.0"),
    ("BSD-2-Clause", "bsd-2-clause"),
    ("BSD-3-Clause", "bsd-3-clause"),
    ("BSD-3-Clause-Clear", "bsd-3-clause-clear"),
    ("BSL-1.0", "bsl-1.0"),
    ("CC-BY-2.0", "cc-by-2.0"),
    ("CC-BY-2.5", "cc-by-2.5"),
    ("CC-BY-3.0", "cc-by-3.0"),
    ("CC-BY-4.0", "cc-by-4.0"),
    ("CC-BY-SA-3.0", "cc-by-sa-3.0"),
    ("CC-BY-SA-4.0", "cc-by-sa-4.0"),
    ("CC0-1.0", "cc0-1.0"),
    ("CDLA-Permissive-1.0", "cdla-permissive-1.0"),
    ("CDLA-Permissive-2.0", "cdla-permissive-2.0"),
    ("CDLA-Sharing-1.0", "cdla-sharing-1.0"),
    ("ECL-2.0", "ecl-2.0"),
    ("EPL-2.0", "epl-2.0"),
    ("EUPL-1.1", "eupl-1.1"),
    ("EUPL-1.2", "eupl-1.2"),
    ("GPL-2.0", "gpl-2.0"),
    ("GPL-3.0", "gpl-3.0"),
    ("GPL-3.0-only", "gpl-3.0"),
    ("GPL-3.0-or-later", "gpl-3.0"),
    ("ISC", "isc"),
    ("LGPL-3.0", "lgpl-3.0"),
    ("MIT", "mit"),
    ("MPL-2.0", "mpl-2.0"),
    ("ODbL-1.0", "odbl"),
    ("ODC-By-1.0", "odc-by"),
    ("PDDL-1.0", "pddl"),
    ("PostgreSQL", "postgresql"),
    ("Unlicense", "unlicense"),
    ("WTFPL", "wtfpl"),
    ("Zlib", "zlib"),
];

/// What a licence is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// The base model.
    Base,
    /// The rows.
    Data,
}

/// A licence of something the adapter was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Licence {
    /// Of what.
    pub of: Work,
    /// The name of the model or set.
    pub name: String,
    /// The licence as it is stated.
    pub licence: String,
    /// Whether a person took it on with `--accept-licence`.
    pub accepted: bool,
}

/// The name the hub has for a licence; none when it has none, and `other` is to be written.
pub fn hub_name(licence: &str) -> Option<&'static str> {
    let found = FREE.iter().find(|(name, hub)| name.eq_ignore_ascii_case(licence) || hub.eq_ignore_ascii_case(licence));
    found.map(|(_, hub)| *hub).or_else(|| (licence == UNKNOWN).then_some(UNKNOWN))
}

impl Licence {
    /// A licence, accepted if its name is among those that a person typed.
    pub fn new(of: Work, name: &str, licence: Option<&str>, accepted: &[String]) -> Self {
        let licence = licence.map(str::trim).filter(|licence| !licence.is_empty()).unwrap_or(UNKNOWN).to_owned();
        let accepted = accepted.iter().any(|name| name.eq_ignore_ascii_case(&licence));
        Self { of, name: name.to_owned(), licence, accepted }
    }

    /// Why this does not allow to publish without a person's word.
    pub fn fault(&self) -> Option<Fault> {
        if self.accepted || self.allows() {
            return None;
        }
        let what = match self.of {
            Work::Base => "the base model",
            Work::Data => "the data set",
        };
        let why = self.why();
        let Licence { name, licence, .. } = self;
        Some(Fault::new(
            format!("licence of {what} {name}"),
            format!("\"{licence}\" {why}"),
            format!(
                "read it; if it allows what you do, add  --accept-licence \"{licence}\"  and the card says that you did"
            ),
        ))
    }

    /// Every part of an expression such as `MIT OR Apache-2.0` is free.
    fn allows(&self) -> bool {
        let parts = self.licence.split([' ', '(', ')']).filter(|part| !part.is_empty());
        let names: Vec<&str> = parts.filter(|part| !matches!(*part, "AND" | "OR" | "and" | "or")).collect();
        !names.is_empty() && names.iter().all(|name| *name != UNKNOWN && hub_name(name).is_some())
    }

    fn why(&self) -> &'static str {
        let licence = self.licence.to_ascii_lowercase();
        let has = |word: &str| licence.split(|c: char| !c.is_alphanumeric()).any(|part| part == word);
        if self.licence == UNKNOWN {
            "is all that is known, so nothing says that what was made from it may be published"
        } else if has("nd") {
            "forbids to share what was made from it"
        } else if has("nc") || licence.contains("noncommercial") || licence.contains("non-commercial") {
            "forbids commercial use"
        } else {
            "has terms of its own for what was made from it"
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn fault(licence: Option<&str>, accepted: &[&str]) -> Option<String> {
        let accepted: Vec<String> = accepted.iter().map(|name| (*name).to_owned()).collect();
        Licence::new(Work::Base, "tiny", licence, &accepted).fault().map(|fault| fault.what)
    }

    #[test]
    fn free_licences_pass_and_others_ask() {
        for free in ["Apache-2.0", "apache-2.0", "MIT OR Apache-2.0", "(CC0-1.0)", "CC-BY-4.0"] {
            assert_eq!(fault(Some(free), &[]), None, "{free}");
        }
        for (licence, why) in [
            (Some("CC-BY-NC-4.0"), "forbids commercial use"),
            (Some("CC-BY-NC-ND-4.0"), "forbids to share"),
            (Some("Llama 3.1 Community License"), "terms of its own"),
            (Some("MIT AND LicenseRef-Firm"), "terms of its own"),
            (None, "is all that is known"),
        ] {
            assert!(fault(licence, &[]).unwrap().contains(why), "{licence:?}");
        }
    }

    #[test]
    fn a_person_accepts_by_the_exact_name() {
        assert_eq!(fault(Some("CC-BY-NC-4.0"), &["cc-by-nc-4.0"]), None);
        assert_eq!(fault(None, &["unknown"]), None);
        assert!(fault(Some("CC-BY-NC-4.0"), &["CC-BY-NC-3.0"]).is_some());
    }
}

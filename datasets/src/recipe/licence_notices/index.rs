//! Owns the licence index: what is known of each licence by its key, and which versions of a licence there are. Knows
//! nothing about notices.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use super::super::front_matter::FrontMatter;

/// What the index says of a licence or an exception.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Licence {
    /// Its SPDX identifier. `None` where the SPDX list does not have it.
    pub(super) spdx_id: Option<String>,
    /// What it asks of those who pass the work on.
    pub(super) category: String,
    /// Whether it only adds to another licence.
    pub(super) is_exception: bool,
    /// Whether its text is in English.
    pub(super) is_english: bool,
}

/// All licences.
pub(super) struct Index {
    licences: BTreeMap<String, Licence>,
    versions: BTreeMap<(String, String), BTreeSet<String>>,
    version: Regex,
}

/// An SPDX identifier taken apart: `LGPL-2.1-only` is `LGPL`, version `2.1`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Version<'i> {
    /// What stands before the version.
    pub(super) name: &'i str,
    /// The version itself.
    pub(super) number: &'i str,
    /// What stands behind it, without `-only` and `-or-later`.
    rest: String,
}

impl Index {
    /// An index without licences.
    pub(super) fn new() -> Result<Index, regex::Error> {
        // At least one dot, so that the clauses of `BSD-3-Clause` are no version.
        let version = Regex::new(r"^(.*?)-(\d+(?:\.\d+)+)(.*)$")?;
        Ok(Index { licences: BTreeMap::new(), versions: BTreeMap::new(), version })
    }

    /// Adds the licence of one file.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), String> {
        let read = FrontMatter::parse(bytes)?;
        let key = read.needed("key")?.to_string();
        // The index makes up an identifier for what is not on the SPDX list.
        let spdx_id = read.value("spdx_license_key")?.filter(|id| !id.starts_with("LicenseRef-"));
        let licence = Licence {
            spdx_id: spdx_id.map(str::to_string),
            category: read.needed("category")?.to_string(),
            is_exception: read.flag("is_exception")?,
            is_english: read.value("language")?.is_none_or(|language| language == "en"),
        };
        if let Some(Version { name, number, rest }) = spdx_id.and_then(|id| self.version_of(id)) {
            let (family, number) = ((name.to_string(), rest), number.to_string());
            self.versions.entry(family).or_default().insert(number);
        }
        match self.licences.insert(key.clone(), licence) {
            None => Ok(()),
            Some(_) => Err(format!("key `{key}` stands in two files")),
        }
    }

    /// Looks a key up.
    pub(super) fn licence(&self, key: &str) -> Result<&Licence, String> {
        self.licences.get(key).ok_or_else(|| format!("licence `{key}` is not in the index"))
    }

    /// Takes an identifier apart, if it has a version.
    pub(super) fn version_of<'i>(&self, spdx_id: &'i str) -> Option<Version<'i>> {
        let parts = self.version.captures(spdx_id)?;
        let part = |at: usize| parts.get(at).map(|part| part.as_str());
        let rest = part(3)?.replace("-only", "").replace("-or-later", "");
        Some(Version { name: part(1)?, number: part(2)?, rest })
    }

    /// All versions of the same licence, this one included.
    pub(super) fn versions_like(&self, version: &Version<'_>) -> Vec<&str> {
        let family = (version.name.to_string(), version.rest.clone());
        self.versions.get(&family).into_iter().flatten().map(String::as_str).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn index(licences: &[(&str, &str)]) -> Index {
        let mut index = Index::new().unwrap();
        for (key, spdx_id) in licences {
            index.add(format!("---\nkey: {key}\ncategory: X\nspdx_license_key: {spdx_id}\n---\n").as_bytes()).unwrap();
        }
        index
    }

    #[test]
    fn versions_of_one_licence_are_gathered_whatever_comes_behind_them() {
        let index = index(&[
            ("lgpl-2.1", "LGPL-2.1-only"),
            ("lgpl-2.1-plus", "LGPL-2.1-or-later"),
            ("lgpl-3.0", "LGPL-3.0-only"),
            ("mine", "LicenseRef-scancode-mine-1.0"),
            ("bsd", "BSD-3-Clause"),
        ]);
        let version = index.version_of("LGPL-3.0-or-later").unwrap();
        assert_eq!((version.name, version.number), ("LGPL", "3.0"));
        assert_eq!(index.versions_like(&version), ["2.1", "3.0"]);
        assert_eq!(index.version_of("BSD-3-Clause"), None);
        assert_eq!(index.licence("mine").unwrap().spdx_id, None);
    }

    #[test]
    fn an_unknown_key_and_a_key_in_two_files_are_refused() {
        let mut index = index(&[("mit", "MIT")]);
        assert_eq!(index.licence("mti").unwrap_err(), "licence `mti` is not in the index");
        let again = index.add(b"---\nkey: mit\ncategory: X\n---\n");
        assert_eq!(again.unwrap_err(), "key `mit` stands in two files");
    }
}

//! Owns THE list of recipes: how the files of a source become records. Knows nothing about archives, the network or
//! where the records go.

mod front_matter;
mod legal_provisions;
mod licence_notices;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::record::Record;

/// A way to build a set. The name in `dataset.toml` is the name of its file with `-` for `_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recipe {
    /// Contract provisions and their headings.
    LegalProvisions,
    /// Licence notices and their facts as JSON.
    LicenceNotices,
}

/// Records, and what became of everything else.
#[derive(Debug, Clone, PartialEq)]
pub struct Built {
    /// The rows of the set.
    pub records: Vec<Record>,
    /// Files read.
    pub num_files: usize,
    /// What was left out and how often, so that a count that moves is seen.
    pub skipped: Vec<(&'static str, usize)>,
}

impl Recipe {
    /// All of them.
    pub const ALL: [Recipe; 2] = [Recipe::LegalProvisions, Recipe::LicenceNotices];

    /// The name in `dataset.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Recipe::LegalProvisions => "legal-provisions",
            Recipe::LicenceNotices => "licence-notices",
        }
    }

    /// Builds the set. The files may come in any order.
    pub fn build(self, files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<Built, Error> {
        let mut files: Vec<(String, Vec<u8>)> = files.into_iter().collect();
        files.sort_unstable();
        match self {
            Recipe::LegalProvisions => legal_provisions::build(&files),
            Recipe::LicenceNotices => licence_notices::build(&files),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn broken_bytes_are_rows_or_an_error_and_nothing_else() {
        let licence = "---\nkey: k\nowner: o\ncategory: Permissive\nspdx_license_key: K\nname: K\n---\n1. Export. one two \
                       three four five six seven eight nine ten eleven twelve.\n2. Term. a b c d e f g h i j k l m n.\n";
        let rule = "---\nlicense_expression: k\nis_license_notice: yes\nrelevance: 100\nignorable_urls:\n  - a\n---\nThis file \
                    is licensed under the K licence and a b c d e f g h i j k l m n\n";
        let words: [&[u8]; 6] = [b"---\n", b"{{", b": ", b"\n  - ", b"\xc3", b"owner: |"];
        ground::mutate::rounds(|round| {
            let broken = |text: &str, salt: u64| ground::mutate::mutated(text.as_bytes(), &words, round * 2 + salt);
            for recipe in Recipe::ALL {
                let files =
                    [("a/k.LICENSE".to_string(), broken(licence, 0)), ("a/r.RULE".to_string(), broken(rule, 1))];
                if let Ok(built) = recipe.build(files) {
                    assert!(built.records.iter().all(|record| record.check().is_ok()));
                }
            }
        });
    }

    #[test]
    fn the_name_is_the_one_in_the_manifest() {
        for recipe in Recipe::ALL {
            assert_eq!(serde_json::to_value(recipe).unwrap(), recipe.name());
        }
    }
}

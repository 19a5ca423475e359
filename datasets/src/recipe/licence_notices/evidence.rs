//! Owns what a notice says in its own words: addresses, files, version, "or later". A label that the words do not bear
//! out is not certain. Knows nothing about how the labels are stored.

use std::collections::BTreeSet;

use regex::Regex;

use super::index::{Index, Version};

/// Licences of the FSF, told apart by their names.
const GNU_NAMES: [(&str, &str); 4] = [
    ("GPL", r"(?i)\bGPL|General Public Licen[cs]e"),
    ("LGPL", r"(?i)LGPL|Lesser|Library General|Library GPL"),
    ("AGPL", r"(?i)AGPL|Affero"),
    ("GFDL", r"(?i)FDL|Free Documentation"),
];
/// Names that make a GPL notice one of something else, or of two licences.
const NOT_GPL: &str = r"(?i)LGPL|Lesser G|Library General|AGPL|Affero|FDL|Free Documentation";
/// Given by the index where a notice names the licence without a version: any version ever published.
const ANY_VERSION: [&str; 2] = ["GPL-1.0-or-later", "LGPL-2.0-or-later"];

/// The compiled expressions.
pub(super) struct Evidence {
    url: Regex,
    between_words: Regex,
    file: Regex,
    number: Regex,
    later: Regex,
    gnu_names: Vec<(&'static str, Regex)>,
    not_gpl: Regex,
}

impl Evidence {
    pub(super) fn new() -> Result<Evidence, regex::Error> {
        // A name that only licence files have, an absolute path, or the ending of a text file.
        let file = concat!(
            r"(?:^|/)(?:COPYING|COPYLEFT|(?:LICEN[CS]ES?|COPYRIGHT|NOTICE|README)[._-][A-Za-z0-9])",
            r"|^/[A-Za-z].*/",
            r"|(?i:\.(?:txt|md|html?|rst|pdf|doc|licen[cs]e|[al]?gpl|gfdl|bsd|mit|terms)$)",
        );
        let named = |(name, pattern): (&'static str, &str)| Ok((name, Regex::new(pattern)?));
        Ok(Evidence {
            url: Regex::new(r#"(?:https?|ftp)://[^\s<>"'`|{}\[\]()\\^]+"#)?,
            between_words: Regex::new(r#"[\s"'`<>()\[\],;:|{}]+"#)?,
            file: Regex::new(file)?,
            number: Regex::new(r"\d+(?:\.\d+)*")?,
            later: Regex::new(r"(?i)\b(?:later|newer|higher|greater|subsequent)\b|\d\+")?,
            gnu_names: GNU_NAMES.into_iter().map(named).collect::<Result<_, regex::Error>>()?,
            not_gpl: Regex::new(NOT_GPL)?,
        })
    }

    /// The addresses in a text, each once, without the signs that end a sentence.
    pub(super) fn urls(&self, text: &str) -> Vec<String> {
        let found =
            self.url.find_iter(text).map(|url| url.as_str().trim_end_matches(['.', ',', ';', ':', '!', '?', '*']));
        each_once(found)
    }

    /// The names of licence files in a text, each once.
    pub(super) fn files(&self, text: &str) -> Vec<String> {
        let text = self.url.replace_all(text, " ");
        let words = self.between_words.split(&text).map(|word| word.trim_end_matches(['.', '*']));
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        let is_loud = |at: Option<usize>| at.and_then(|at| words.get(at)).is_some_and(|word| is_loud(word));
        let is_file = |at: usize, word: &str| {
            let name = word.rsplit('/').next().unwrap_or(word);
            // Between words in capitals it is most often just a word.
            let alone = !is_loud(at.checked_sub(1)) && !is_loud(at.checked_add(1));
            (matches!(name, "LICENSE" | "LICENCE") && alone) || self.file.is_match(word)
        };
        each_once(words.iter().enumerate().filter(|(at, word)| is_file(*at, word)).map(|(_, word)| *word))
    }

    /// Whether the text says the name, the version and the "or later" of the licence it is said to be under.
    pub(super) fn bears_out(&self, spdx_id: &str, text: &str, index: &Index) -> bool {
        let Some(version) = index.version_of(spdx_id) else { return true };
        if let Some((name, pattern)) = self.gnu_names.iter().find(|(name, _)| *name == version.name)
            && (!pattern.is_match(text) || (*name == "GPL" && self.not_gpl.is_match(text)))
        {
            return false;
        }
        let said: BTreeSet<&str> = self.number.find_iter(text).map(|number| number.as_str()).collect();
        let says =
            |number: &str| said.contains(number) || number.strip_suffix(".0").is_some_and(|whole| said.contains(whole));
        let later = self.later.is_match(text);
        let known = index.versions_like(&version);
        if ANY_VERSION.contains(&spdx_id) && !later && !known.iter().any(|number| says(number)) {
            return true;
        }
        let Version { number, .. } = version;
        if known.len() > 1 && !says(number) {
            return false;
        }
        (!spdx_id.ends_with("-only") || !later) && (!spdx_id.ends_with("-or-later") || later)
    }
}

fn is_loud(word: &str) -> bool {
    word.chars().nth(1).is_some() && word.chars().any(char::is_alphabetic) && word.to_uppercase() == word
}

fn each_once<'t>(found: impl Iterator<Item = &'t str>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for one in found {
        if !kept.iter().any(|known| known == one) {
            kept.push(one.to_string());
        }
    }
    kept
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_end_before_the_sentence_does_and_stand_once() {
        let text = "See <https://a.example/x>, http://b.example/y. and (https://a.example/x) or www.c.example";
        assert_eq!(Evidence::new().unwrap().urls(text), ["https://a.example/x", "http://b.example/y"]);
    }

    #[test]
    fn files_are_told_from_words_and_addresses() {
        let files = |text: &str| Evidence::new().unwrap().files(text).join(" ");
        assert_eq!(files("see the file COPYING, or doc/license.txt."), "COPYING doc/license.txt");
        assert_eq!(files("see `/usr/share/common-licenses/GPL-2'."), "/usr/share/common-licenses/GPL-2");
        assert_eq!(files("See LICENSE for details; LICENSE.md, LICENSE.md"), "LICENSE LICENSE.md");
        assert_eq!(files("THIS LICENSE IS GIVEN under the License at http://a.example/LICENSE.txt"), "");
        assert_eq!(files("the NOTICE file and and/or"), "");
    }

    #[test]
    fn name_version_and_later_must_be_said() {
        let mut index = Index::new().unwrap();
        for (key, id) in [
            ("a", "GPL-1.0-or-later"),
            ("b", "GPL-2.0-only"),
            ("c", "LGPL-2.1-only"),
            ("d", "LGPL-2.0-only"),
            ("e", "OFL-1.1"),
        ] {
            index.add(format!("---\nkey: {key}\ncategory: X\nspdx_license_key: {id}\n---\n").as_bytes()).unwrap();
        }
        let evidence = Evidence::new().unwrap();
        let cases = [
            ("GPL-2.0-only", "under the GNU General Public License version 2.", true),
            ("GPL-2.0-only", "under the GNU General Public License version 2 or later", false),
            ("GPL-2.0-only", "under the GNU General Public License", false),
            ("GPL-2.0-only", "under the GNU Lesser General Public License version 2", false),
            ("GPL-2.0-or-later", "GPLv2+", true),
            ("GPL-2.0-or-later", "GPLv2", false),
            ("GPL-1.0-or-later", "under the GPL, Suite 330", true),
            ("GPL-1.0-or-later", "under the GPL 2", false),
            ("LGPL-2.1-only", "under the LGPL 2.1", true),
            ("LGPL-2.1-only", "under the LGPL 2.1.3", false),
            ("LGPL-2.0-or-later", "under the Lesser GPL", true),
            ("OFL-1.1", "under the Open Font License", true),
            ("MIT", "whatever it says", true),
        ];
        for (spdx_id, text, expected) in cases {
            assert_eq!(evidence.bears_out(spdx_id, text, &index), expected, "{spdx_id}: {text}");
        }
    }
}

//! Owns the recipe of `legal-provisions`: clauses cut out of agreements at their headings, the heading being the label
//! that is taken out of the text, as LEDGAR does it. Knows nothing about splits.

use std::collections::HashSet;

use regex::Regex;
use serde_json::{Map, Value};

use super::Built;
use super::front_matter::FrontMatter;
use crate::error::{self, Error};
use crate::record::{Message, Record, Role};

const NAME: &str = "legal-provisions";

/// A numbered heading at the start of a line. It ends with a dot or colon before space, or with an empty line. The
/// space after the dot is group 2 and not part of the heading: this engine has no look-ahead.
const HEADING: &str = concat!(
    r"(?m)^[ \t]*(?:(?:ARTICLE|Article|Section|SECTION)\s+)?(?:\d+(?:\.\d+)*|[IVX]{1,4}|[A-Za-z])[\.\):]?\s+",
    r#"["']?([A-Z][A-Za-z ,/&\-']{2,60}?)["']?(?:[\.:]["']?(\s)|[ \t]*\n[ \t]*\n)"#,
);

/// Each label and the headings that mean it.
const LABELS: [(&str, &str); 16] = [
    (
        "disclaimer of warranty",
        r"disclaimer of (all )?warrant|^no warrant|warranty disclaimer|^disclaimers?$|^warranty$|^limited warranty",
    ),
    ("definitions", r"^definitions?$"),
    (
        "limitation of liability",
        r"^(limitation|limitations|limit|exclusion)s? (of|on|and exclusion of)? ?(liability|remedies|damages|liabilities)|^liability$|no liability for",
    ),
    ("termination", r"^(term and )?termination$|^term$|^term of (license|agreement)"),
    (
        "license grant",
        r"^(license grant|grant of (copyright )?license|grant$|license to use|source code license|grant of license)",
    ),
    ("governing law", r"governing law|^applicable law|choice of law|^jurisdiction"),
    ("export control", r"^export"),
    ("intellectual property ownership", r"^(ownership|title|intellectual property( rights)?|proprietary rights)$"),
    ("restrictions", r"^(license )?restrictions$|^restrictions on use"),
    ("entire agreement", r"entire agreement|^integration$|^complete agreement"),
    ("indemnification", r"^indemni"),
    ("assignment", r"^(no )?assignment|^transfer(ability)?$"),
    ("severability", r"^severability$|^severable"),
    ("confidentiality", r"^confidential"),
    ("contributions", r"submission of contributions|^contributor grant|^contributions?$"),
    ("government rights", r"government (end )?(users?|rights|restricted)"),
];

/// Characters taken of the last section of an agreement, whose end is not marked.
const LAST_SECTION_CHARS: usize = 1500;
/// Shorter bodies say too little to be told apart.
const MIN_WORDS: usize = 12;
/// Words that make two provisions the same.
const KEY_WORDS: usize = 40;
/// Words that are kept.
const MAX_WORDS: usize = 160;

/// Bytes of a name that goes into every row of an agreement.
const LONGEST_NAME: usize = 500;

/// Builds the rows from agreements in the order of their names.
pub(super) fn build(files: &[(String, Vec<u8>)]) -> Result<Built, Error> {
    let finder = Finder::new()?;
    let mut seen: HashSet<String> = HashSet::new();
    let mut records = Vec::new();
    let (mut foreign, mut unlabelled, mut short, mut repeated) = (0, 0, 0, 0);
    for (file, bytes) in files {
        let agreement = Agreement::parse(file, bytes)?;
        if agreement.language.as_deref().is_some_and(|language| language != "en") {
            foreign += 1;
            continue;
        }
        let mut kept = 0;
        for (heading, body) in finder.sections(agreement.text) {
            let Some(label) = finder.label(heading) else {
                unlabelled += 1;
                continue;
            };
            let body = body.split_whitespace().collect::<Vec<_>>().join(" ");
            let body = body.trim_matches([' ', '.', ':', '-']);
            let words: Vec<&str> = body.split(' ').collect();
            if words.len() < MIN_WORDS {
                short += 1;
                continue;
            }
            if !seen.insert(key(&words)) {
                repeated += 1;
                continue;
            }
            kept += 1;
            let text = words[..words.len().min(MAX_WORDS)].join(" ");
            records.push(agreement.record(file, kept, text, label)?);
        }
    }
    if records.is_empty() {
        return Err(refuse("the source", format!("no provision found in {} files", files.len())));
    }
    let skipped = vec![
        ("agreements in another language", foreign),
        ("sections without exactly one label", unlabelled),
        ("provisions under 12 words", short),
        ("repeated provisions", repeated),
    ];
    Ok(Built { records, num_files: files.len(), skipped })
}

/// The compiled expressions.
struct Finder {
    heading: Regex,
    labels: Vec<(&'static str, Regex)>,
}

impl Finder {
    fn new() -> Result<Finder, Error> {
        let compile =
            |pattern: &str| Regex::new(pattern).map_err(|error| refuse("its own expressions", error.to_string()));
        let labels = LABELS.iter().map(|(label, pattern)| Ok((*label, compile(pattern)?)));
        Ok(Finder { heading: compile(HEADING)?, labels: labels.collect::<Result<_, Error>>()? })
    }

    /// Heading and body of each section.
    fn sections<'t>(&self, text: &'t str) -> Vec<(&'t str, &'t str)> {
        let mut found = Vec::new();
        let mut from = 0;
        while let Some(captures) = self.heading.captures_at(text, from) {
            let (Some(whole), Some(heading)) = (captures.get(0), captures.get(1)) else {
                break;
            };
            // The next search starts before the space that only had to be there.
            from = captures.get(2).map_or(whole.end(), |space| space.start());
            found.push((heading.as_str(), whole.start(), from));
        }
        let end_of = |index: usize, start: usize| match found.get(index + 1) {
            Some((_, next, _)) => *next,
            None => text[start..].char_indices().nth(LAST_SECTION_CHARS).map_or(text.len(), |(at, _)| start + at),
        };
        let section = |(index, (heading, _, start)): (usize, &(&'t str, usize, usize))| {
            (*heading, &text[*start..end_of(index, *start)])
        };
        found.iter().enumerate().map(section).collect()
    }

    /// The label of a heading, if it is exactly one.
    fn label(&self, heading: &str) -> Option<&'static str> {
        let heading = heading.trim().to_lowercase();
        let mut fitting = self.labels.iter().filter(|(_, pattern)| pattern.is_match(&heading));
        match (fitting.next(), fitting.next()) {
            (Some((label, _)), None) => Some(label),
            _ => None,
        }
    }
}

/// An agreement and what its front matter says.
struct Agreement<'f> {
    key: String,
    owner: Option<String>,
    category: String,
    language: Option<String>,
    text: &'f str,
}

impl<'f> Agreement<'f> {
    fn parse(file: &str, bytes: &'f [u8]) -> Result<Agreement<'f>, Error> {
        let parse = || -> Result<Agreement<'f>, String> {
            let read = FrontMatter::parse(bytes)?;
            for name in ["key", "owner", "category"] {
                if read.value(name)?.is_some_and(|value| value.len() > LONGEST_NAME) {
                    return Err(format!("`{name}` has more than {LONGEST_NAME} bytes"));
                }
            }
            Ok(Agreement {
                key: read.needed("key")?.to_string(),
                owner: read.value("owner")?.map(str::to_string),
                category: read.needed("category")?.to_string(),
                language: read.value("language")?.map(str::to_string),
                text: read.text,
            })
        };
        parse().map_err(|what| refuse(file, what))
    }

    fn record(&self, file: &str, number: usize, text: String, label: &str) -> Result<Record, Error> {
        let mut meta = Map::new();
        meta.insert("doc".to_string(), Value::from(self.key.as_str()));
        if let Some(owner) = &self.owner {
            meta.insert("owner".to_string(), Value::from(owner.as_str()));
        }
        meta.insert("category".to_string(), Value::from(self.category.as_str()));
        let messages = vec![Message::new(Role::User, text), Message::new(Role::Assistant, label)];
        let group = self.owner.as_ref().unwrap_or(&self.key).clone();
        Record::new(format!("{}:{number}", self.key), messages, group, meta).map_err(|fault| refuse(file, fault.what))
    }
}

fn key(words: &[&str]) -> String {
    let text = words[..words.len().min(KEY_WORDS)].join(" ").to_lowercase();
    text.chars().filter(|c| c.is_ascii_lowercase() || *c == ' ').collect()
}

fn refuse(file: &str, what: String) -> Error {
    Error::Recipe { recipe: NAME, file: file.to_string(), what: error::short(&what) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LONG: &str = "The parties agree on a good many things that take more than twelve words to say in full.";

    fn agreement(key: &str, front: &str, text: &str) -> (String, Vec<u8>) {
        let file = format!("---\nkey: {key}\ncategory: Commercial\n{front}---\n{text}");
        (format!("{key}.LICENSE"), file.into_bytes())
    }

    fn rows(files: &[(String, Vec<u8>)]) -> Vec<(String, String, String, String)> {
        let rows = build(files).unwrap().records.into_iter();
        rows.map(|row| (row.id.clone(), row.group.clone(), row.target().to_string(), row.prompt_text())).collect()
    }

    #[test]
    fn sections_are_cut_at_headings_and_the_heading_is_the_label() {
        let text = format!(
            "Preamble\n\n1. Definitions. {LONG}\n  2) \"Governing Law\": Second.  {LONG}\n\nSection 3. TERM\n\nThird. {LONG} -\n4. Miscellaneous. {LONG}"
        );
        let found = rows(&[agreement("acme-1.0", "owner: \"Acme, Inc.\"\n", &text)]);
        let row =
            |id: &str, label: &str, text: String| (id.to_string(), "Acme, Inc.".to_string(), label.to_string(), text);
        let trimmed = LONG.trim_end_matches('.');
        assert_eq!(
            found,
            [
                row("acme-1.0:1", "definitions", trimmed.to_string()),
                row("acme-1.0:2", "governing law", format!("Second. {trimmed}")),
                row("acme-1.0:3", "termination", format!("Third. {trimmed}")),
            ]
        );
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let clause = format!("1. Termination. {LONG}");
        let files = [
            agreement("a", "owner: A\n", &clause),
            agreement("b", "owner: B\n", &format!("{clause}\n2. Export. Too short.\n3. Oddities. {LONG}")),
            agreement("c", "owner: C\nlanguage: de\n", &clause),
            agreement("d", "owner: D\n", ""),
        ];
        let built = build(&files).unwrap();
        assert_eq!((built.records.len(), built.num_files), (1, 4));
        assert_eq!(built.skipped.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [1, 1, 1, 1]);
    }

    #[test]
    fn an_agreement_without_owner_is_its_own_group() {
        let found = rows(&[agreement("orphan", "", &format!("1. Assignment. {LONG}"))]);
        assert_eq!(found[0].1, "orphan");
    }

    #[test]
    fn long_bodies_are_cut_and_the_last_section_has_an_end() {
        let text =
            format!("1. Confidentiality. {}\n2. Severability. {}", "word ".repeat(200), "x".repeat(9).repeat(300));
        let found = rows(&[agreement("a", "", &text)]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].3.split(' ').count(), MAX_WORDS);
        let text = format!("1. Severability. {}", "longer ".repeat(1000));
        // 1,500 characters from the space after the heading.
        assert_eq!(rows(&[agreement("a", "", &text)])[0].3.split(' ').count(), 160);
    }

    #[test]
    fn a_heading_with_two_labels_or_none_is_no_row() {
        let finder = Finder::new().unwrap();
        assert_eq!(finder.label(" Limitation of Liability "), Some("limitation of liability"));
        assert_eq!(finder.label("No Warranty and No Liability for Damages"), None);
        assert_eq!(finder.label("Miscellaneous"), None);
    }

    #[test]
    fn a_file_without_front_matter_is_refused_by_name() {
        let error = build(&[("x.LICENSE".to_string(), b"text".to_vec())]).unwrap_err();
        assert_eq!(error.to_string(), "recipe legal-provisions cannot use x.LICENSE: no front matter");
        assert!(build(&[]).unwrap_err().to_string().contains("no provision found in 0 files"));
    }
}

//! Names from a list: whole words, the longest name first.
//! Knows nothing about which words are names in general; only the list counts.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::{Kind, fold};
use crate::Error;

/// Finds the names of a list.
///
/// A name of several words is found in any case. A name of one word is found as it is written in the list and in capitals,
/// so that "Rose" does not hide a rose; one that is written small in the list is found in any case.
/// White space inside a name may be any white space. Where a script has no spaces between words, a name needs no bounds.
#[derive(Debug, Default)]
pub struct Names {
    /// By the first part of a name, in lower case.
    by_first: HashMap<String, Entry>,
    num_names: usize,
}

#[derive(Debug, Default)]
struct Entry {
    /// Numbers of parts that names with this beginning have, the largest first.
    lengths: Vec<usize>,
    /// The names in lower case, parts joined, with the spellings of those whose case counts.
    names: HashMap<String, Option<HashSet<String>>>,
}

impl Names {
    /// The names of a list: one on each line, blank lines and lines that begin with # left out.
    ///
    /// # Errors
    /// When a name has fewer than two letters, or there is none.
    pub fn from_lines(lines: &str) -> Result<Self, Error> {
        let mut names = Self::default();
        let lines = lines.lines().map(str::trim).enumerate();
        for (at, name) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            if name.chars().filter(|c| c.is_alphanumeric()).count() < 2 {
                return Err(Error::ShortName { name: name.to_owned(), line: at + 1 });
            }
            names.insert(&fold::fold(name));
        }
        if names.num_names == 0 { Err(Error::NoNames) } else { Ok(names) }
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.num_names
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.num_names == 0
    }

    fn insert(&mut self, name: &str) {
        let parts: Vec<Part<'_>> = parts(name);
        let Some(first) = parts.first() else { return };
        let entry = self.by_first.entry(first.lower.clone()).or_default();
        if let Err(place) = entry.lengths.binary_search_by(|length| parts.len().cmp(length)) {
            entry.lengths.insert(place, parts.len());
        }
        let any_case = name.contains(' ') || name.to_lowercase() == name;
        let spellings = [parts.iter().map(|part| part.text).collect::<String>(), name.to_uppercase()];
        self.num_names += 1;
        entry
            .names
            .entry(joined(&parts))
            .and_modify(|known| match known {
                Some(known) if !any_case => known.extend(spellings.clone()),
                _ => *known = None,
            })
            .or_insert_with(|| (!any_case).then(|| HashSet::from(spellings.clone())));
    }
}

impl Kind for Names {
    fn name(&self) -> &str {
        "name"
    }

    fn policy(&self) -> &str {
        "the names of the list as whole words, the longest first"
    }

    /// Reads the text once; at each word it asks for the few lengths that names beginning with it have.
    fn find(&self, text: &str) -> Vec<Range<usize>> {
        let parts = parts(text);
        let mut found = Vec::new();
        for (at, first) in parts.iter().enumerate() {
            let Some(entry) = self.by_first.get(&first.lower) else { continue };
            let longest = entry
                .lengths
                .iter()
                .find(|&&length| parts.get(at..at + length).is_some_and(|candidate| entry.holds(candidate)));
            found.extend(longest.map(|length| first.start..parts[at + length - 1].end));
        }
        found
    }

    fn canonical(&self, value: &str) -> String {
        joined(&parts(value))
    }
}

impl Entry {
    fn holds(&self, candidate: &[Part<'_>]) -> bool {
        match self.names.get(&joined(candidate)) {
            Some(Some(spellings)) => spellings.contains(&candidate.iter().map(|part| part.text).collect::<String>()),
            Some(None) => true,
            None => false,
        }
    }
}

/// A word, one character of a script without spaces, a run of white space, or one other character.
struct Part<'a> {
    start: usize,
    end: usize,
    text: &'a str,
    lower: String,
}

#[derive(PartialEq, Clone, Copy)]
enum Class {
    Word,
    Space,
    Alone,
}

fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    let mut last = Class::Alone;
    for (start, c) in text.char_indices() {
        let (class, end) = (class(c), start + c.len_utf8());
        match parts.last_mut() {
            Some(part) if class == last && class != Class::Alone => {
                part.end = end;
                part.text = &text[part.start..end];
            }
            _ => parts.push(Part { start, end, text: &text[start..end], lower: String::new() }),
        }
        last = class;
    }
    for part in &mut parts {
        part.lower = if part.text.starts_with(char::is_whitespace) { " ".to_owned() } else { part.text.to_lowercase() };
    }
    parts
}

fn joined(parts: &[Part<'_>]) -> String {
    parts.iter().map(|part| part.lower.as_str()).collect()
}

fn class(c: char) -> Class {
    let unspaced = matches!(u32::from(c),
        0x0E00..=0x0EFF | 0x1000..=0x109F | 0x1780..=0x17FF | 0x3040..=0x30FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF
        | 0xAC00..=0xD7AF | 0xF900..=0xFAFF | 0x20000..=0x3FFFF);
    if c.is_whitespace() {
        Class::Space
    } else if !unspaced && (c.is_alphanumeric() || c == '_' || unicode_normalization::char::is_combining_mark(c)) {
        Class::Word
    } else {
        Class::Alone
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    const LIST: &str = "# staff\nRose\nJohn Smith\nJohn Smith-O'Hara\nJürgen\n\nacme\n김철수\nSmith\n";

    fn found<'a>(names: &Names, text: &'a str) -> Vec<&'a str> {
        names.find(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn whole_words_are_found_and_the_longest_name_first() {
        let names = Names::from_lines(LIST).unwrap();
        assert_eq!(names.len(), 7);
        for (text, expect) in [
            ("Rose's rose, ROSE; Roses", vec!["Rose", "ROSE"]),
            ("john  smith called", vec!["john  smith"]),
            ("JOHN\nSMITH", vec!["JOHN\nSMITH", "SMITH"]),
            ("John Smith-O'Hara", vec!["John Smith-O'Hara", "Smith"]),
            ("Acme ACME acme acmeology", vec!["Acme", "ACME", "acme"]),
            ("김철수는", vec!["김철수"]),
            ("Jürgen, JÜRGEN and jürgen", vec!["Jürgen", "JÜRGEN"]),
            ("Johnsmith John smithy", vec![]),
        ] {
            assert_eq!(found(&names, text), expect, "{text}");
        }
    }

    #[test]
    fn a_list_that_would_hide_everything_or_nothing_is_refused() {
        let short = Names::from_lines("Ann\nX\n").unwrap_err().to_string();
        assert!(short.starts_with("name \"X\" on line 2"), "{short}");
        assert!(Names::from_lines("# nobody\n\n").unwrap_err().to_string().starts_with("the list of names is empty"));
    }

    #[test]
    fn a_long_list_is_searched_in_one_reading() {
        let list: String = (0..50_000).map(|at| format!("First{at} Last{at}\nFirst {at} B\n")).collect();
        let names = Names::from_lines(&list).unwrap();
        let text = "First 49999 B met First7 Last7. ".repeat(10_000);
        assert_eq!(names.find(&text).len(), 20_000);
    }
}

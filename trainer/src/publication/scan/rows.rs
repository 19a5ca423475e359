//! Rows of the data and answers of models, found by their words wherever a file repeats eight of them in order.
//!
//! Owns the texts that must not appear and the search. Knows nothing about files but their words. The files are small
//! and the rows may be a million, so the files are indexed and the rows pass by.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::super::fault::Fault;
use super::text::Views;

/// So many words in a row are no chance.
const RUN: usize = 8;
/// Texts with fewer words are too short to tell whose they are.
const LEAST: usize = 4;
/// What more rows than this share of them say is an instruction and no row.
const SHARED: f64 = 0.5;
/// Findings that are told; whoever has more has the same trouble.
const TOLD: usize = 5;

/// Texts that must not appear.
#[derive(Debug, Clone, Default)]
pub struct Texts {
    /// What it is and what it says.
    texts: Vec<(String, String)>,
    /// What may stand anywhere: the closed labels, and words that the publication itself must give.
    free: Vec<String>,
}

impl Texts {
    /// Adds a text; `what` names it in a finding without repeating it.
    pub fn add(&mut self, what: impl Into<String>, text: &str) {
        if text.split_whitespace().nth(LEAST - 1).is_some() {
            self.texts.push((what.into(), text.to_owned()));
        }
    }

    /// Words that are published on purpose, such as the prompt that the model must be asked with.
    pub fn allow(&mut self, text: &str) {
        self.free.push(text.to_owned());
    }
}

/// The first finding of each file and kind of text.
pub(super) fn find(files: &[(&str, &Views)], texts: &Texts) -> Vec<Fault> {
    let index = Index::of(files);
    let free: Vec<String> = texts.free.iter().map(|text| joined(&words(text))).collect();
    let shared = shared(texts);
    let mut faults: Vec<Fault> = Vec::new();
    let mut seen = HashSet::new();
    for (what, text) in &texts.texts {
        let words = words(text);
        let length = words.len().min(RUN);
        if length < LEAST {
            continue;
        }
        let found = words.windows(length).find_map(|window| {
            // Cheap and mostly the answer, so it comes first.
            if !index.may_hold(window) || shared.contains(&hash(window)) {
                return None;
            }
            let run = joined(window);
            if free.iter().any(|free| free.contains(&run)) { None } else { index.file_with(&run) }
        });
        if let Some(path) = found
            && seen.insert((path, what.split(' ').next().unwrap_or_default().to_owned()))
            && faults.len() < TOLD
        {
            let hint = "take it out where it comes from; a publication holds no words of rows or answers";
            faults.push(Fault::new(path, format!("repeats {length} words of {what}"), hint));
        }
    }
    faults
}

/// Runs of words that many texts share.
fn shared(texts: &Texts) -> HashSet<u64> {
    let mut counts: HashMap<u64, u32> = HashMap::new();
    let most = ((texts.texts.len() as f64 * SHARED) as u32).max(2);
    // A sample is enough: what half of all texts say is in half of a sample too.
    let step = (texts.texts.len() / 2000).max(1);
    let sample: Vec<_> = texts.texts.iter().step_by(step).collect();
    for (_, text) in &sample {
        let words = words(text);
        let length = words.len().clamp(1, RUN);
        let runs: HashSet<u64> = words.windows(length).map(hash).collect();
        runs.into_iter().for_each(|run| *counts.entry(run).or_default() += 1);
    }
    let most = (most as usize / step).max(2) as u32;
    counts.into_iter().filter(|(_, count)| *count > most).map(|(run, _)| run).collect()
}

/// The words of all files, to be looked up.
struct Index<'a> {
    /// Hashes of every `LEAST` words in order.
    runs: HashSet<u64>,
    /// The words of each reading of each file, joined.
    texts: BTreeMap<&'a str, Vec<String>>,
}

impl<'a> Index<'a> {
    fn of(files: &[(&'a str, &Views)]) -> Self {
        let mut index = Self { runs: HashSet::new(), texts: BTreeMap::new() };
        for (path, views) in files {
            for text in views.all() {
                let words = words(text);
                index.runs.extend(words.windows(LEAST).map(hash));
                index.texts.entry(path).or_default().push(joined(&words));
            }
        }
        index
    }

    fn may_hold(&self, window: &[String]) -> bool {
        window.windows(LEAST).all(|run| self.runs.contains(&hash(run)))
    }

    fn file_with(&self, run: &str) -> Option<&'a str> {
        self.texts.iter().find(|(_, texts)| texts.iter().any(|text| text.contains(run))).map(|(path, _)| *path)
    }
}

/// Letters and digits, in lower case.
fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

/// Words with a space on either side, so that a run is found at the borders of words only.
fn joined(words: &[String]) -> String {
    format!(" {} ", words.join(" "))
}

fn hash(run: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    run.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, rows: &[&str]) -> Vec<String> {
        let views = Views::of("a.json", file.as_bytes());
        let mut texts = Texts::default();
        rows.iter().enumerate().for_each(|(at, row)| texts.add(format!("row {at}"), row));
        texts.allow("Name the type of this contract provision in one word please.");
        find(&[("a.json", &views)], &texts).into_iter().map(|fault| fault.what).collect()
    }

    const ROW: &str = "The seller shall not be liable for any loss of profit, howsoever caused, under this agreement.";

    #[test]
    fn a_row_is_found_in_whole_in_part_and_behind_escapes() {
        let escaped = "{\"x\": \"he said\\nSHALL NOT BE LIABLE\\u0020for any loss of profit\"}";
        for file in [ROW, "x the seller shall not be liable for any loss y", escaped] {
            assert_eq!(check(file, &[ROW]), ["repeats 8 words of row 0"], "{file}");
        }
        assert_eq!(check("Where is my parcel?", &["where is my parcel"]), ["repeats 4 words of row 0"]);
    }

    #[test]
    fn other_words_short_answers_and_the_prompt_are_no_findings() {
        let rows = [ROW, "termination", "Name the type of this contract provision in one word please."];
        let card =
            "Not good for loss of profit. Name the type of this contract provision in one word please. termination";
        assert_eq!(check(card, &rows), Vec::<String>::new());
    }

    #[test]
    fn an_instruction_that_most_rows_share_is_no_row() {
        let row = |number: usize| {
            format!("Answer with one word and nothing else for ticket {number} {}", "x".repeat(number + 1))
        };
        let rows: Vec<String> = (0..20).map(row).collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        assert_eq!(check("Answer with one word and nothing else for", &rows), Vec::<String>::new());
        let found = check("nothing else for ticket 7 xxxxxxxx", &["a b c d", "nothing else for ticket 7 xxxxxxxx"]);
        assert_eq!(found, ["repeats 6 words of row 1"]);
    }
}

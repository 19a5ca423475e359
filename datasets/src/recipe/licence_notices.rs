//! Owns the recipe of `licence-notices`: the notices that a licence index was built from, and as targets the facts of
//! each as a JSON object. Keeps a row only where the words of the notice bear the facts out. Knows nothing about splits.

mod evidence;
mod index;

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use serde_json::{Map, Value};

use self::evidence::Evidence;
use self::index::Index;
use super::Built;
use super::front_matter::FrontMatter;
use crate::digest::sha256_u64_le;
use crate::error::{Error, short};
use crate::minhash::{jaccard, shingles};
use crate::overlap::normalised;
use crate::record::{Message, Record, Role};

const NAME: &str = "licence-notices";

/// Shorter notices are titles, longer ones are licences.
const WORDS: std::ops::RangeInclusive<usize> = 15..=200;
/// Two notices with the same licence and this Jaccard similarity of word five-grams are one family.
const FAMILY_JACCARD: f64 = 0.5;
/// Families of one licence, so that the common ones do not outweigh all others.
const MAX_FAMILIES: usize = 80;

/// Why a notice is left out, in the order in which it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum LeftOut {
    NoNotice,
    Relevance,
    Several,
    Language,
    NotSpdx,
    Length,
    NotBorneOut,
    Urls,
    Files,
    TwoAnswers,
    Repeated,
    Family,
    Full,
}

/// What a person reads.
const WORDS_FOR: [(LeftOut, &str); 13] = [
    (LeftOut::NoNotice, "texts that are no licence notice or no longer in use"),
    (LeftOut::Relevance, "notices with a relevance below 100"),
    (LeftOut::Several, "notices of several licences"),
    (LeftOut::Language, "notices in another language"),
    (LeftOut::NotSpdx, "notices of a licence that SPDX does not list"),
    (LeftOut::Length, "notices under 15 or over 200 words"),
    (LeftOut::NotBorneOut, "notices whose words do not bear out their licence"),
    (LeftOut::Urls, "notices with addresses that the index lists otherwise"),
    (LeftOut::Files, "notices with files that the index lists otherwise"),
    (LeftOut::TwoAnswers, "notices whose words stand under two licences"),
    (LeftOut::Repeated, "repeated notices"),
    (LeftOut::Family, "near twins of a notice with the same licence"),
    (LeftOut::Full, "notices of a licence that has 80 already"),
];

/// The target. The fields are written in this order.
#[derive(Debug, Serialize)]
struct Facts<'f> {
    spdx_id: &'f str,
    exception: Option<&'f str>,
    category: &'f str,
    urls: &'f [String],
    files: &'f [String],
}

/// A notice that may become a row.
struct Notice {
    id: String,
    expression: String,
    text: String,
    spdx_id: String,
    exception: Option<String>,
    category: String,
    urls: Vec<String>,
    files: Vec<String>,
}

/// Builds the rows from the files of the index, `.LICENSE` and `.RULE`.
pub(super) fn build(files: &[(String, Vec<u8>)]) -> Result<Built, Error> {
    let own = |error: regex::Error| refuse("its own expressions", error.to_string());
    let evidence = Evidence::new().map_err(own)?;
    let mut index = Index::new().map_err(own)?;
    let mut rules = Vec::new();
    for (file, bytes) in files {
        match file.rsplit_once('.') {
            Some((_, "LICENSE")) => index.add(bytes).map_err(|what| refuse(file, what))?,
            Some((path, "RULE")) => rules.push((file, path.rsplit('/').next().unwrap_or(path), bytes)),
            _ => return Err(refuse(file, "neither a .LICENSE nor a .RULE".to_string())),
        }
    }
    let mut counts: BTreeMap<LeftOut, usize> = BTreeMap::new();
    let mut notices = Vec::new();
    for (file, id, bytes) in rules {
        match judge(id, bytes, &index, &evidence).map_err(|what| refuse(file, what))? {
            Ok(notice) => notices.push(notice),
            Err(reason) => *counts.entry(reason).or_default() += 1,
        }
    }
    let mut kept = one_of_each_family(notices, &mut counts);
    if kept.is_empty() {
        return Err(refuse("the source", format!("no notice found in {} files", files.len())));
    }
    kept.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    let records = kept.into_iter().map(Notice::record).collect::<Result<_, _>>()?;
    let skipped = WORDS_FOR.map(|(reason, words)| (words, counts.get(&reason).copied().unwrap_or(0)));
    Ok(Built { records, num_files: files.len(), skipped: skipped.to_vec() })
}

/// The notice of a rule, or why it is none. The outer error is a file that cannot be read.
fn judge(id: &str, bytes: &[u8], index: &Index, evidence: &Evidence) -> Result<Result<Notice, LeftOut>, String> {
    let read = FrontMatter::parse(bytes)?;
    if !read.flag("is_license_notice")? || read.flag("is_deprecated")? {
        return Ok(Err(LeftOut::NoNotice));
    }
    let relevance = read.value("relevance")?.unwrap_or("100");
    if relevance.parse::<f64>().map_err(|_| format!("relevance is `{relevance}`"))? < 100.0 {
        return Ok(Err(LeftOut::Relevance));
    }
    let expression = read.needed("license_expression")?;
    let keys: Vec<&str> = expression.split_whitespace().collect();
    let (licence, exception) = match keys.as_slice() {
        _ if expression.contains(['(', ')']) => return Ok(Err(LeftOut::Several)),
        [licence] => (index.licence(licence)?, None),
        [licence, with, exception] if with.eq_ignore_ascii_case("with") => {
            (index.licence(licence)?, Some(index.licence(exception)?))
        }
        _ => return Ok(Err(LeftOut::Several)),
    };
    if !licence.is_english || read.value("language")?.is_some_and(|language| language != "en") {
        return Ok(Err(LeftOut::Language));
    }
    let spdx_id = licence.spdx_id.as_ref().filter(|_| !licence.is_exception);
    let exception_id = exception.map(|exception| exception.spdx_id.as_ref().filter(|_| exception.is_exception));
    let (Some(spdx_id), None | Some(Some(_))) = (spdx_id, exception_id) else {
        return Ok(Err(LeftOut::NotSpdx));
    };
    // Braces mark the words by which the index knows a licence: they would give the answer away.
    let text = read.text.replace("{{", "").replace("}}", "");
    let words: Vec<&str> = text.split_whitespace().collect();
    if !WORDS.contains(&words.len()) {
        return Ok(Err(LeftOut::Length));
    }
    let text = words.join(" ");
    if !evidence.bears_out(spdx_id, &text, index) {
        return Ok(Err(LeftOut::NotBorneOut));
    }
    let urls = evidence.urls(&text);
    // The index writes some addresses with a slash at the end that the notice does not have.
    let unslashed = |url: &str| url.trim_end_matches('/').to_string();
    if !same(urls.iter().map(|url| unslashed(url)), read.list("ignorable_urls")?.into_iter().map(unslashed)) {
        return Ok(Err(LeftOut::Urls));
    }
    let files = evidence.files(&text);
    if !same(files.iter().map(String::as_str), read.list("referenced_filenames")?.into_iter()) {
        return Ok(Err(LeftOut::Files));
    }
    Ok(Ok(Notice {
        id: id.to_string(),
        expression: expression.to_string(),
        text,
        spdx_id: spdx_id.clone(),
        exception: exception_id.flatten().cloned(),
        // An exception takes back a part of what its licence asks.
        category: exception.unwrap_or(licence).category.clone(),
        urls,
        files,
    }))
}

/// Whether two lists have the same members.
fn same<T: Eq + std::hash::Hash>(one: impl Iterator<Item = T>, other: impl Iterator<Item = T>) -> bool {
    one.collect::<HashSet<T>>() == other.collect::<HashSet<T>>()
}

/// The first of each family in the order of hashed ids, so that no part of the index is preferred.
fn one_of_each_family(mut notices: Vec<Notice>, counts: &mut BTreeMap<LeftOut, usize>) -> Vec<Notice> {
    notices.sort_by_cached_key(|notice| (sha256_u64_le(notice.id.as_bytes()), notice.id.clone()));
    let words: Vec<String> = notices.iter().map(|notice| normalised(&notice.text)).collect();
    let mut answers: HashMap<&str, HashSet<(&str, Option<&str>)>> = HashMap::new();
    for (notice, words) in notices.iter().zip(&words) {
        answers.entry(words).or_default().insert(notice.answer());
    }
    let mut seen: HashSet<&str> = HashSet::new();
    let mut families: HashMap<(&str, Option<&str>), Vec<Vec<u64>>> = HashMap::new();
    let mut sizes: HashMap<&str, usize> = HashMap::new();
    let reasons: Vec<Option<LeftOut>> = notices
        .iter()
        .zip(&words)
        .map(|(notice, words)| {
            if answers.get(words.as_str()).is_some_and(|answers| answers.len() > 1) {
                return Some(LeftOut::TwoAnswers);
            }
            if !seen.insert(words) {
                return Some(LeftOut::Repeated);
            }
            let shingles = shingles(words);
            let families = families.entry(notice.answer()).or_default();
            if families.iter().any(|known| jaccard(known, &shingles) >= FAMILY_JACCARD) {
                return Some(LeftOut::Family);
            }
            let size = sizes.entry(&notice.spdx_id).or_default();
            if *size == MAX_FAMILIES {
                return Some(LeftOut::Full);
            }
            *size += 1;
            families.push(shingles);
            None
        })
        .collect();
    let mut kept = Vec::new();
    for (notice, reason) in notices.into_iter().zip(reasons) {
        match reason {
            None => kept.push(notice),
            Some(reason) => *counts.entry(reason).or_default() += 1,
        }
    }
    kept
}

impl Notice {
    fn answer(&self) -> (&str, Option<&str>) {
        (&self.spdx_id, self.exception.as_deref())
    }

    /// A family has one row, so the row is its own group.
    fn record(self) -> Result<Record, Error> {
        let facts = Facts {
            spdx_id: &self.spdx_id,
            exception: self.exception.as_deref(),
            category: &self.category,
            urls: &self.urls,
            files: &self.files,
        };
        let target = serde_json::to_string(&facts).map_err(|error| refuse(&self.id, error.to_string()))?;
        let mut meta = Map::new();
        meta.insert("expression".to_string(), Value::from(self.expression));
        meta.insert("spdx_id".to_string(), Value::from(self.spdx_id));
        meta.insert("category".to_string(), Value::from(self.category));
        meta.insert("words".to_string(), Value::from(self.text.split(' ').count()));
        let messages = vec![Message::new(Role::User, self.text), Message::new(Role::Assistant, target)];
        Record::new(self.id.clone(), messages, self.id.clone(), meta).map_err(|fault| refuse(&self.id, fault.what))
    }
}

fn refuse(file: &str, what: String) -> Error {
    Error::Recipe { recipe: NAME, file: file.to_string(), what: short(&what) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const BODY: &str = "you may copy it, change it and pass it on to others as long as they may do the same";

    fn licence(key: &str, spdx_id: &str, more: &str) -> (String, Vec<u8>) {
        let text = format!("---\nkey: {key}\ncategory: Cat {key}\nspdx_license_key: {spdx_id}\n{more}---\n");
        (format!("d/licenses/{key}.LICENSE"), text.into_bytes())
    }

    fn rule(id: &str, front: &str, text: &str) -> (String, Vec<u8>) {
        (format!("d/rules/{id}.RULE"), format!("---\n{front}---\n\n{text}\n").into_bytes())
    }

    fn notice(id: &str, key: &str, text: &str) -> (String, Vec<u8>) {
        rule(id, &format!("license_expression: {key}\nis_license_notice: yes\n"), text)
    }

    /// A small index, and then the rules.
    fn built(rules: Vec<(String, Vec<u8>)>) -> Built {
        let mut files = vec![
            licence("mit", "MIT", ""),
            licence("gpl-2.0", "GPL-2.0-only", ""),
            licence("gpl-3.0", "GPL-3.0-only", ""),
            licence("cecill", "CECILL-2.0", "language: fr\n"),
            licence("odd", "LicenseRef-scancode-odd", ""),
            licence("classpath", "Classpath-exception-2.0", "is_exception: yes\n"),
        ];
        files.extend(rules);
        build(&files).unwrap()
    }

    fn left_out(built: &Built) -> Vec<usize> {
        built.skipped.iter().map(|(_, count)| *count).collect()
    }

    #[test]
    fn the_target_holds_the_facts_in_their_order_and_the_marks_are_gone() {
        let front = "license_expression: gpl-2.0 WITH classpath\nis_license_notice: yes\nrelevance: 100\nignorable_urls:\n    - http://a.example/\nreferenced_filenames:\n    - COPYING\n";
        let text =
            format!("# This is under the {{{{GPL version 2}}}},\n# {BODY}.\n# See COPYING or <http://a.example>.");
        let built = built(vec![rule("r_1", front, &text)]);
        let row = &built.records[0];
        assert_eq!(
            row.target(),
            r#"{"spdx_id":"GPL-2.0-only","exception":"Classpath-exception-2.0","category":"Cat classpath","urls":["http://a.example"],"files":["COPYING"]}"#
        );
        assert!(row.prompt_text().starts_with("# This is under the GPL version 2, # you may copy"));
        assert_eq!((row.id.as_str(), row.group.as_str()), ("r_1", "r_1"));
        assert_eq!(row.meta["expression"], "gpl-2.0 WITH classpath");
        assert_eq!(row.meta["spdx_id"], "GPL-2.0-only");
        assert_eq!(row.meta["words"], row.prompt_text().split(' ').count());
    }

    #[test]
    fn a_notice_without_exception_address_or_file_says_so() {
        let built = built(vec![notice("a", "mit", &format!("Under MIT {BODY}"))]);
        let target = r#"{"spdx_id":"MIT","exception":null,"category":"Cat mit","urls":[],"files":[]}"#;
        assert_eq!(built.records[0].target(), target);
    }

    #[test]
    fn what_is_left_out_is_counted_by_its_reason() {
        let mit = "license_expression: mit\nis_license_notice: yes\n";
        let built = built(vec![
            rule("no", "license_expression: mit\nis_license_text: yes\n", BODY),
            rule("old", &format!("{mit}is_deprecated: yes\n"), BODY),
            rule("low", &format!("{mit}relevance: 90\n"), BODY),
            notice("and", "mit AND gpl-2.0", BODY),
            notice("or", "(mit OR gpl-2.0)", BODY),
            notice("fr", "cecill", BODY),
            rule("de", &format!("{mit}language: de\n"), BODY),
            notice("odd", "odd", BODY),
            notice("bare", "classpath", BODY),
            notice("with", "mit with mit", BODY),
            notice("short", "mit", "Under the MIT licence"),
            notice("long", "mit", &"word ".repeat(201)),
            notice("which", "gpl-2.0", &format!("Under the GPL {BODY}")),
            notice("url", "mit", &format!("{BODY}, see http://a.example")),
            notice("file", "mit", &format!("{BODY}, see the file COPYING")),
            notice("both-1", "mit", &format!("under the GPL v2 {BODY}")),
            notice("both-2", "gpl-2.0", &format!("Under the GPL, v2: {BODY}")),
            notice("same-1", "mit", BODY),
            notice("same-2", "mit", &BODY.to_uppercase()),
            notice("near", "mit", &format!("{BODY} again")),
            notice("near-but-other", "gpl-3.0", &format!("{BODY} under GPL 3")),
        ]);
        assert_eq!(left_out(&built), [2, 1, 2, 2, 3, 2, 1, 1, 1, 2, 1, 1, 0]);
        assert_eq!(built.records.len(), 2);
        assert_eq!(built.num_files, 27);
    }

    #[test]
    fn a_licence_has_at_most_80_families_and_the_first_hashes_are_kept() {
        let own_words = |n: usize| (0..15).map(|word| format!("w{n}x{word}")).collect::<Vec<_>>().join(" ");
        let rules: Vec<_> = (0..90).map(|n| notice(&format!("r{n:02}"), "mit", &own_words(n))).collect();
        let built = built(rules);
        assert_eq!((built.records.len(), left_out(&built)[12]), (80, 10));
        let mut by_hash: Vec<String> = (0..90).map(|n| format!("r{n:02}")).collect();
        by_hash.sort_by_key(|id| sha256_u64_le(id.as_bytes()));
        by_hash.truncate(80);
        by_hash.sort();
        assert_eq!(built.records.iter().map(|row| row.id.clone()).collect::<Vec<_>>(), by_hash);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_refused_by_name() {
        let refused = |file: (String, Vec<u8>)| build(&[licence("mit", "MIT", ""), file]).unwrap_err().to_string();
        let name = "recipe licence-notices cannot use ";
        assert_eq!(
            refused(notice("a", "mti", BODY)),
            format!("{name}d/rules/a.RULE: licence `mti` is not in the index")
        );
        let front = "license_expression: mit\nis_license_notice: yes\nrelevance: high\n";
        assert_eq!(refused(rule("b", front, BODY)), format!("{name}d/rules/b.RULE: relevance is `high`"));
        assert_eq!(refused(("x.txt".into(), vec![])), format!("{name}x.txt: neither a .LICENSE nor a .RULE"));
        let nothing = refused(notice("c", "mit", "short"));
        assert_eq!(nothing, format!("{name}the source: no notice found in 2 files"));
    }
}

//! Owns leakage: which test rows ask what a train row asks, word for word or nearly. Compares prompts only, without
//! system turns and without words that most rows share. Knows nothing about files, and drops nothing itself except
//! through [`drop_leaks`], which returns what it dropped.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::minhash::{self, Wanted};
use crate::record::Record;
use crate::split::Splits;
use crate::tfidf::TfIdf;

/// How near duplicates are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Near {
    /// Only exact duplicates.
    None,
    /// Share of common word five-grams. Time grows with the rows, not with the pairs.
    Minhash,
    /// Cosine of TF-IDF vectors fitted on train. Sharper on short texts; time grows with the pairs.
    TfidfCosine,
    /// First one, then the other.
    Both,
}

/// What counts as a leak. Exact duplicates always do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How near duplicates are found.
    pub near: Near,
    /// Near by MinHash: at least this Jaccard similarity of word five-grams.
    pub jaccard: f64,
    /// Near by TF-IDF: a cosine above this.
    pub cosine: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { near: Near::Minhash, jaccard: 0.8, cosine: 0.9 }
    }
}

impl Settings {
    /// Everything wrong with the numbers, each with its hint.
    pub fn faults(&self) -> Vec<String> {
        let bad = |(_, value): &(&str, f64)| !(*value > 0.0 && *value <= 1.0);
        let say = |(key, value)| format!("overlap.{key} is {value}\nhint: a similarity above 0, at most 1");
        [("jaccard", self.jaccard), ("cosine", self.cosine)].into_iter().filter(bad).map(say).collect()
    }
}

/// How a row leaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The same words.
    Exact,
    /// Nearly the same, by word five-grams.
    NearMinhash,
    /// Nearly the same, by TF-IDF.
    NearTfidf,
}

impl Kind {
    /// What a person reads.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Exact => "exact",
            Kind::NearMinhash => "near (minhash)",
            Kind::NearTfidf => "near (tf-idf)",
        }
    }
}

/// One row of the held-out side and the train row it repeats. A row has one leak, of the first kind that finds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leak {
    /// The held-out row.
    pub test_id: String,
    /// The row most like it on the other side.
    pub train_id: String,
    /// How it was found.
    pub kind: Kind,
    /// 1 for exact, else the measure of the kind.
    pub similarity: f64,
}

/// Rows taken out of the splits, with the reason for each. Kept so that scores can be given with and without them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dropped {
    /// One leak per row of `test`, in the same order.
    pub test_leaks: Vec<Leak>,
    /// Test rows that repeat a train or valid row.
    pub test: Vec<Record>,
    /// One leak per row of `valid`, in the same order.
    pub valid_leaks: Vec<Leak>,
    /// Valid rows that repeat a train row.
    pub valid: Vec<Record>,
}

/// Leaks of `test` into `train`, in the order of `test`.
pub fn find_leaks(train: &[Record], test: &[Record], settings: &Settings) -> Vec<Leak> {
    leaks(&train.iter().collect::<Vec<_>>(), test, settings)
}

/// Takes out valid rows that repeat train, then test rows that repeat train or valid. Which test rows go does not
/// depend on how the other rows are divided, so scores stay comparable.
pub fn drop_leaks(splits: &mut Splits, settings: &Settings) -> Dropped {
    let rest: Vec<&Record> = splits.train.iter().chain(&splits.valid).collect();
    let test_leaks = leaks(&rest, &splits.test, settings);
    let valid_leaks = find_leaks(&splits.train, &splits.valid, settings);
    Dropped {
        test: take(&mut splits.test, &test_leaks),
        test_leaks,
        valid: take(&mut splits.valid, &valid_leaks),
        valid_leaks,
    }
}

fn take(rows: &mut Vec<Record>, leaks: &[Leak]) -> Vec<Record> {
    let mut leaks = leaks.iter().map(|leak| leak.test_id.as_str()).peekable();
    // Leaks are in the order of the rows.
    rows.extract_if(.., |row| leaks.next_if_eq(&row.id.as_str()).is_some()).collect()
}

/// The best match of each held-out row.
type Best = Vec<Option<(usize, f64)>>;

fn leaks(train: &[&Record], test: &[Record], settings: &Settings) -> Vec<Leak> {
    let texts = |rows: &[&Record]| rows.iter().map(|row| row.prompt_text()).collect::<Vec<_>>();
    let train_texts = texts(train);
    let test_texts = texts(&test.iter().collect::<Vec<_>>());
    let train_words: Vec<String> = train_texts.iter().map(|text| normalised(text)).collect();
    let test_words: Vec<String> = test_texts.iter().map(|text| normalised(text)).collect();

    let mut found = vec![(Kind::Exact, exact(&train_words, &test_words))];
    if matches!(settings.near, Near::Minhash | Near::Both) {
        found.push((Kind::NearMinhash, near_minhash(&train_words, &test_words, settings.jaccard)));
    }
    if matches!(settings.near, Near::TfidfCosine | Near::Both) {
        found.push((Kind::NearTfidf, near_tfidf(&train_texts, &test_texts, settings.cosine)));
    }
    let first = |index: usize| found.iter().find_map(|(kind, best)| best[index].map(|hit| (*kind, hit)));
    let leak = |(index, row): (usize, &Record)| {
        first(index).map(|(kind, (train_index, similarity))| Leak {
            test_id: row.id.clone(),
            train_id: train[train_index].id.clone(),
            kind,
            similarity,
        })
    };
    test.iter().enumerate().filter_map(leak).collect()
}

/// Lower-case letters and digits with single spaces between words. An ideograph is a word of its own.
pub(crate) fn normalised(text: &str) -> String {
    let mut words = String::with_capacity(text.len());
    let mut space = false;
    for c in text.chars().flat_map(char::to_lowercase) {
        let ideograph = matches!(u32::from(c), 0x3040..=0x30ff | 0x3400..=0x9fff | 0xac00..=0xd7af | 0x20000..=0x3ffff);
        if !c.is_alphanumeric() {
            space = true;
            continue;
        }
        if (space || ideograph) && !words.is_empty() {
            words.push(' ');
        }
        words.push(c);
        space = ideograph;
    }
    words
}

fn exact(train: &[String], test: &[String]) -> Best {
    let mut first: HashMap<&str, usize> = HashMap::new();
    for (index, text) in train.iter().enumerate() {
        first.entry(text).or_insert(index);
    }
    // Texts of signs only are all empty here, which does not make them equal.
    let hit = |text: &String| {
        if text.is_empty() { None } else { first.get(text.as_str()).map(|index| (*index, 1.0)) }
    };
    test.iter().map(hit).collect()
}

fn near_minhash(train: &[String], test: &[String], threshold: f64) -> Best {
    let template = minhash::template(train.iter().map(String::as_str));
    let wanted = Wanted::new(test.iter().map(String::as_str), threshold, template);
    let mut best = vec![None; test.len()];
    for (train_index, text) in train.iter().enumerate() {
        for (test_index, similarity) in wanted.like(text) {
            keep(&mut best[test_index], train_index, similarity);
        }
    }
    best
}

fn near_tfidf(train: &[String], test: &[String], threshold: f64) -> Best {
    let fitted = TfIdf::fit(&train.iter().map(String::as_str).collect::<Vec<_>>(), 2);
    let mut postings: Vec<Vec<(u32, f32)>> = vec![Vec::new(); fitted.num_features()];
    for (index, text) in test.iter().enumerate() {
        for (feature, weight) in fitted.transform(text) {
            postings[feature as usize].push((index as u32, weight));
        }
    }
    let mut best = vec![None; test.len()];
    let mut cosine = vec![0.0f64; test.len()];
    for (train_index, text) in train.iter().enumerate() {
        cosine.fill(0.0);
        for (feature, weight) in fitted.transform(text) {
            for (test_index, other) in &postings[feature as usize] {
                cosine[*test_index as usize] += f64::from(weight) * f64::from(*other);
            }
        }
        for (test_index, cosine) in cosine.iter().enumerate().filter(|(_, cosine)| **cosine > threshold) {
            keep(&mut best[test_index], train_index, cosine.min(1.0));
        }
    }
    best
}

/// The first of equally good ones stays.
fn keep(best: &mut Option<(usize, f64)>, index: usize, similarity: f64) {
    if best.is_none_or(|(_, known)| similarity > known) {
        *best = Some((index, similarity));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::record::{Message, Role};

    const CLAUSE: &str = "This agreement is governed by the laws of the State of Oregon, and the courts of Portland \
                          shall have exclusive jurisdiction over any dispute that arises out of it or in connection \
                          with it, save where a mandatory rule of consumer law says otherwise in the place of the buyer.";

    fn row(id: &str, prompt: &str) -> Record {
        let messages = vec![
            Message::new(Role::System, "Name the clause."),
            Message::new(Role::User, prompt),
            Message::new(Role::Assistant, "governing law"),
        ];
        Record::new(id.into(), messages, id.into(), Map::new()).unwrap()
    }

    fn found(train: &[&str], test: &str, near: Near) -> Option<(Kind, String)> {
        let train: Vec<_> = train.iter().enumerate().map(|(n, text)| row(&format!("train{n}"), text)).collect();
        let leaks = find_leaks(&train, &[row("t", test)], &Settings { near, ..Settings::default() });
        leaks.into_iter().next().map(|leak| (leak.kind, leak.train_id))
    }

    #[test]
    fn an_exact_duplicate_is_found_whatever_its_case_and_signs() {
        let shouted = CLAUSE.to_uppercase().replace(',', " ;");
        let hit = Some((Kind::Exact, "train1".to_string()));
        assert_eq!(found(&["something else", CLAUSE], &shouted, Near::None), hit);
    }

    #[test]
    fn a_near_duplicate_is_found_by_each_method_and_not_without() {
        let changed = CLAUSE.replace("Oregon", "Nevada");
        let other = "The software is provided as is, without warranty of any kind and at the risk of the buyer alone.";
        let train = [other, CLAUSE, other];
        assert_eq!(found(&train, &changed, Near::None), None);
        assert_eq!(found(&train, &changed, Near::Minhash), Some((Kind::NearMinhash, "train1".into())));
        let hit = Some((Kind::NearTfidf, "train0".to_string()));
        assert_eq!(found(&[CLAUSE, CLAUSE, other], &changed, Near::TfidfCosine), hit);
        assert_eq!(found(&train, "An unrelated question about the weather in June", Near::Both), None);
    }

    #[test]
    fn texts_of_signs_only_are_not_equal_and_ideographs_are_words() {
        assert_eq!(found(&["?!"], "...", Near::Both), None);
        assert_eq!(normalised("  Ab-C 東京x "), "ab c 東 京 x");
    }

    #[test]
    fn leaking_rows_leave_the_split_and_are_kept_apart() {
        let mut splits = Splits {
            train: vec![row("a", CLAUSE)],
            valid: vec![row("b", CLAUSE), row("c", "a question of its own")],
            test: vec![row("d", "another question"), row("e", CLAUSE), row("f", "A question, of its own!")],
        };
        let dropped = drop_leaks(&mut splits, &Settings::default());
        let ids = |rows: &[Record]| rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>().join(",");
        assert_eq!((ids(&splits.valid), ids(&splits.test)), ("c".into(), "d".into()));
        assert_eq!((ids(&dropped.valid), ids(&dropped.test)), ("b".into(), "e,f".into()));
        assert_eq!(dropped.test_leaks[1].train_id, "c");
    }

    #[test]
    fn similarities_outside_their_range_are_named() {
        assert_eq!(Settings::default().faults(), Vec::<String>::new());
        assert_eq!(Settings { jaccard: 0.0, cosine: 1.5, ..Settings::default() }.faults().len(), 2);
    }
}

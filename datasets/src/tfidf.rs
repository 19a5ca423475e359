//! Owns TF-IDF vectors of texts: words and pairs of words, as scikit-learn's `TfidfVectorizer` counts them with
//! `ngram_range=(1, 2)` and `sublinear_tf=True`. Knows nothing about records, splits or classifiers.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::BuildHasherDefault;

/// Fixed keys: two runs walk their tables in the same order.
type FixedMap<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// A fitted vectoriser. Features are numbered in alphabetical order, so the numbers are scikit-learn's.
///
/// A word is a run of two or more letters, digits and underscores of the lower-cased text, scikit-learn's
/// `(?u)\b\w\w+\b`; a pair is two neighbouring words. The weight of a feature is `(1 + ln tf) * idf` with
/// `idf = 1 + ln((1 + n) / (1 + df))`, then the vector is scaled to length 1.
#[derive(Debug, Clone)]
pub struct TfIdf {
    words: FixedMap<String, u32>,
    /// Keyed by the features of both words: a pair that is frequent enough has words that are.
    pairs: FixedMap<(u32, u32), u32>,
    idf: Vec<f64>,
}

impl TfIdf {
    /// Learns the features that stand in at least `min_df` texts, and how rare each is.
    pub fn fit(texts: &[&str], min_df: usize) -> TfIdf {
        let counts = Counts::of(texts);
        let min_df = u32::try_from(min_df).unwrap_or(u32::MAX);
        let mut terms: Vec<(String, Term)> = Vec::new();
        for (word, id) in &counts.ids {
            let df = counts.word_df[*id as usize];
            if df >= min_df {
                terms.push((word.clone(), Term { df, key: Key::Word(*id) }));
            }
        }
        let mut spelling = vec![""; counts.ids.len()];
        for (word, id) in &counts.ids {
            spelling[*id as usize] = word;
        }
        for ((left, right), (df, _)) in &counts.pairs {
            if *df >= min_df {
                let text = format!("{} {}", spelling[*left as usize], spelling[*right as usize]);
                terms.push((text, Term { df: *df, key: Key::Pair(*left, *right) }));
            }
        }
        terms.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        number(terms, counts.ids.len(), texts.len())
    }

    /// Features in all.
    pub fn num_features(&self) -> usize {
        self.idf.len()
    }

    /// The vector of a text: features in rising order, length 1, or empty when no feature stands in the text.
    pub fn transform(&self, text: &str) -> Vec<(u32, f32)> {
        let mut found: Vec<u32> = Vec::new();
        let mut last: Option<u32> = None;
        let lower = text.to_lowercase();
        for word in words(&lower) {
            let feature = self.words.get(word).copied();
            found.extend(feature);
            if let (Some(left), Some(right)) = (last, feature) {
                found.extend(self.pairs.get(&(left, right)).copied());
            }
            last = feature;
        }
        found.sort_unstable();
        let mut weights: Vec<(u32, f64)> = found
            .chunk_by(|a, b| a == b)
            .map(|run| (run[0], (1.0 + (run.len() as f64).ln()) * self.idf[run[0] as usize]))
            .collect();
        let length = weights.iter().map(|(_, weight)| weight * weight).sum::<f64>().sqrt();
        weights.iter_mut().for_each(|(_, weight)| *weight /= length);
        weights.into_iter().map(|(feature, weight)| (feature, weight as f32)).collect()
    }
}

struct Term {
    df: u32,
    key: Key,
}

enum Key {
    Word(u32),
    Pair(u32, u32),
}

/// In how many texts each word and each pair stands.
struct Counts {
    ids: FixedMap<String, u32>,
    word_df: Vec<u32>,
    /// Texts with the pair, and the last text it was seen in.
    pairs: FixedMap<(u32, u32), (u32, usize)>,
}

impl Counts {
    fn of(texts: &[&str]) -> Counts {
        let mut counts = Counts { ids: FixedMap::default(), word_df: Vec::new(), pairs: FixedMap::default() };
        let mut last_text: Vec<usize> = Vec::new();
        for (number, text) in texts.iter().enumerate() {
            let lower = text.to_lowercase();
            let mut last = None;
            for word in words(&lower) {
                let id = match counts.ids.get(word) {
                    Some(id) => *id,
                    None => {
                        // More than 2^32 different words do not fit in memory.
                        let id = counts.word_df.len() as u32;
                        counts.ids.insert(word.to_string(), id);
                        counts.word_df.push(0);
                        last_text.push(usize::MAX);
                        id
                    }
                };
                if last_text[id as usize] != number {
                    last_text[id as usize] = number;
                    counts.word_df[id as usize] += 1;
                }
                if let Some(left) = last {
                    let (df, seen) = counts.pairs.entry((left, id)).or_insert((0, usize::MAX));
                    if *seen != number {
                        *seen = number;
                        *df += 1;
                    }
                }
                last = Some(id);
            }
        }
        counts
    }
}

fn number(terms: Vec<(String, Term)>, num_words: usize, num_texts: usize) -> TfIdf {
    let idf =
        terms.iter().map(|(_, term)| 1.0 + ((1.0 + num_texts as f64) / (1.0 + f64::from(term.df))).ln()).collect();
    let mut feature_of = vec![None; num_words];
    for (feature, (_, term)) in terms.iter().enumerate() {
        if let Key::Word(id) = term.key {
            feature_of[id as usize] = Some(feature as u32);
        }
    }
    let mut fitted = TfIdf { words: FixedMap::default(), pairs: FixedMap::default(), idf };
    for (feature, (text, term)) in terms.into_iter().enumerate() {
        match term.key {
            Key::Word(_) => {
                fitted.words.insert(text, feature as u32);
            }
            Key::Pair(left, right) => {
                if let (Some(left), Some(right)) = (feature_of[left as usize], feature_of[right as usize]) {
                    fitted.pairs.insert((left, right), feature as u32);
                }
            }
        }
    }
    fitted
}

/// Runs of word characters, at least two long.
fn words(lower: &str) -> impl Iterator<Item = &str> {
    lower.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| word.chars().nth(1).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 4] = [
        "The licence is granted, a licence to use.",
        "The licence ends.",
        "Licence to use THE software: the licence ends",
        "Ünter_strich 42 x",
    ];

    fn check(text: &str, expected: &[(u32, f32)]) {
        let found = TfIdf::fit(&TEXTS, 2).transform(text);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found.0, expected.0);
            assert!((found.1 - expected.1).abs() < 1e-6, "{found:?} {expected:?}");
        }
    }

    #[test]
    fn vectors_are_those_of_scikit_learn() {
        // scikit-learn 1.9: TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True).fit(TEXTS)
        assert_eq!(TfIdf::fit(&TEXTS, 2).num_features(), 9);
        let (once, twice) = (0.293_144_8, 0.401_827_8);
        check(
            "the licence ends, the licence to use",
            &[(0, once), (1, twice), (2, once), (3, once), (4, twice), (5, twice), (6, once), (7, once), (8, once)],
        );
        check(TEXTS[3], &[]);
    }

    #[test]
    fn single_letters_and_punctuation_are_no_words() {
        let found: Vec<_> = words("a b-cd e_f, 42! ünter_strich x").collect();
        assert_eq!(found, ["cd", "e_f", "42", "ünter_strich"]);
    }
}

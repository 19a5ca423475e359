//! Owns MinHash: which texts share most of their word five-grams, without comparing every pair. Finds candidates by
//! banded signatures and keeps those whose exact Jaccard similarity is high enough. Knows nothing about records.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;

use ground::random::{FNV_START, STEP, fnv, mix};

/// Hash functions per signature.
const NUM_PERMUTATIONS: usize = 128;
/// Words per shingle.
const SHINGLE_WORDS: usize = 5;
/// A pair exactly at the threshold may be missed this often.
const MAX_MISS: f64 = 0.001;
/// Texts looked at to find what all of them share.
const TEMPLATE_SAMPLE: usize = 256;
/// Below this many texts, nothing counts as shared by all.
const TEMPLATE_MIN_TEXTS: usize = 20;

/// Fixed keys, so that a run can be repeated.
type FixedHasher = BuildHasherDefault<DefaultHasher>;

/// The texts that are looked for. Only these are kept in memory: the other side streams past.
pub(crate) struct Wanted {
    threshold: f64,
    rows_per_band: usize,
    seeds: Vec<(u64, u64)>,
    template: HashSet<u64, FixedHasher>,
    shingles: Vec<Vec<u64>>,
    buckets: HashMap<(usize, u64), Vec<u32>, FixedHasher>,
}

impl Wanted {
    /// `template` are shingles to overlook, see [`template`]; texts come normalised.
    pub(crate) fn new<'a>(
        texts: impl Iterator<Item = &'a str>,
        threshold: f64,
        template: HashSet<u64, FixedHasher>,
    ) -> Wanted {
        let mut wanted = Wanted {
            threshold,
            rows_per_band: rows_per_band(threshold),
            seeds: seeds(),
            template,
            shingles: Vec::new(),
            buckets: HashMap::default(),
        };
        for (index, text) in texts.enumerate() {
            let shingles = wanted.shingle(text);
            if !shingles.is_empty() {
                for key in wanted.band_keys(&shingles) {
                    wanted.buckets.entry(key).or_default().push(index as u32);
                }
            }
            wanted.shingles.push(shingles);
        }
        wanted
    }

    /// Wanted texts that are like this one, in rising order, with the exact similarity.
    pub(crate) fn like(&self, text: &str) -> Vec<(usize, f64)> {
        let shingles = self.shingle(text);
        if shingles.is_empty() {
            return Vec::new();
        }
        let keys = self.band_keys(&shingles);
        let mut candidates: Vec<u32> = keys.iter().filter_map(|key| self.buckets.get(key)).flatten().copied().collect();
        candidates.sort_unstable();
        candidates.dedup();
        candidates
            .into_iter()
            .map(|index| (index as usize, jaccard(&shingles, &self.shingles[index as usize])))
            .filter(|(_, similarity)| *similarity >= self.threshold)
            .collect()
    }

    /// Without the template, unless nothing else is left.
    fn shingle(&self, text: &str) -> Vec<u64> {
        let all = shingles(text);
        let own: Vec<u64> = all.iter().copied().filter(|shingle| !self.template.contains(shingle)).collect();
        if own.is_empty() { all } else { own }
    }

    fn band_keys(&self, shingles: &[u64]) -> Vec<(usize, u64)> {
        let mut signature = [u32::MAX; NUM_PERMUTATIONS];
        for shingle in shingles {
            for (least, (factor, offset)) in signature.iter_mut().zip(&self.seeds) {
                let value = (shingle.wrapping_mul(*factor).wrapping_add(*offset) >> 32) as u32;
                *least = (*least).min(value);
            }
        }
        let band = |values: &[u32]| values.iter().fold(FNV_START, |hash, value| fnv(hash, &value.to_le_bytes()));
        signature.chunks(self.rows_per_band).map(band).enumerate().collect()
    }
}

/// Shingles that stand in more than half of the texts: the words around the question, not the question. Two rows that
/// share only these are not alike.
pub(crate) fn template<'a>(texts: impl ExactSizeIterator<Item = &'a str>) -> HashSet<u64, FixedHasher> {
    let num_texts = texts.len();
    if num_texts < TEMPLATE_MIN_TEXTS {
        return HashSet::default();
    }
    let mut counts: HashMap<u64, usize, FixedHasher> = HashMap::default();
    let mut sampled = 0;
    for text in texts.step_by(num_texts.div_ceil(TEMPLATE_SAMPLE)) {
        sampled += 1;
        for shingle in shingles(text) {
            *counts.entry(shingle).or_default() += 1;
        }
    }
    counts.into_iter().filter(|(_, count)| 2 * count > sampled).map(|(shingle, _)| shingle).collect()
}

/// Sorted hashes of the word five-grams; a shorter text is one shingle.
pub(crate) fn shingles(text: &str) -> Vec<u64> {
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        return Vec::new();
    }
    let one = |words: &[&str]| words.iter().fold(FNV_START, |hash, word| fnv(fnv(hash, word.as_bytes()), b" "));
    let mut hashes: Vec<u64> =
        if words.len() < SHINGLE_WORDS { vec![one(&words)] } else { words.windows(SHINGLE_WORDS).map(one).collect() };
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

/// Of two sorted sets.
pub(crate) fn jaccard(a: &[u64], b: &[u64]) -> f64 {
    let (mut i, mut j, mut both) = (0, 0, 0usize);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                both += 1;
                i += 1;
                j += 1;
            }
        }
    }
    let either = a.len() + b.len() - both;
    if either == 0 { 0.0 } else { both as f64 / either as f64 }
}

/// Longer bands mean fewer candidates to check. The longest is taken that misses a pair at the threshold rarely enough.
fn rows_per_band(threshold: f64) -> usize {
    let miss = |rows: usize| (1.0 - threshold.powi(rows as i32)).powi((NUM_PERMUTATIONS / rows) as i32);
    [32, 16, 8, 4, 2].into_iter().find(|rows| miss(*rows) <= MAX_MISS).unwrap_or(1)
}

/// Odd factors and offsets from SplitMix64, the same in every run.
fn seeds() -> Vec<(u64, u64)> {
    let number = |at: usize| mix(0x5eed_u64.wrapping_add(STEP.wrapping_mul(at as u64)));
    (0..NUM_PERMUTATIONS).map(|at| (number(2 * at) | 1, number(2 * at + 1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(from: usize, to: usize) -> String {
        (from..to).map(|n| format!("word{n}")).collect::<Vec<_>>().join(" ")
    }

    fn like(wanted: &str, text: &str) -> Vec<(usize, f64)> {
        Wanted::new([wanted].into_iter(), 0.8, HashSet::default()).like(text)
    }

    #[test]
    fn pairs_above_the_threshold_are_found_with_their_exact_similarity() {
        // 96 and 100 shingles, 96 of them shared.
        assert_eq!(like(&words(0, 100), &words(0, 104)), [(0, 0.96)]);
        // 96 and 96 shingles, 46 shared: 46 / 146.
        assert_eq!(like(&words(0, 100), &words(50, 150)), []);
    }

    #[test]
    fn pairs_just_above_the_threshold_are_not_missed() {
        let texts: Vec<String> = (0..200).map(|n| words(1000 * n, 1000 * n + 104)).collect();
        let wanted = Wanted::new(texts.iter().map(String::as_str), 0.8, HashSet::default());
        // 100 shingles against 82, all shared: 0.82.
        let found = (0..200).filter(|n| !wanted.like(&words(1000 * n, 1000 * n + 86)).is_empty()).count();
        assert_eq!(found, 200);
    }

    #[test]
    fn what_every_text_shares_does_not_make_two_alike() {
        let question = words(0, 60);
        let texts: Vec<String> =
            (0..40).map(|n| format!("{question} {}", words(100 * n + 100, 100 * n + 105))).collect();
        let all = || texts.iter().map(String::as_str);
        let plain = Wanted::new(all().take(1), 0.8, HashSet::default());
        assert_eq!(plain.like(&texts[1]).len(), 1);
        let aware = Wanted::new(all().take(1), 0.8, template(all()));
        assert_eq!(aware.like(&texts[1]).len(), 0);
        assert_eq!(aware.like(&texts[0]).len(), 1);
    }

    /// SplitMix64 from the state 0x5eed, as its reference code computes it.
    #[test]
    fn the_numbers_of_the_signatures_stay_what_they_were() {
        let seeds = seeds();
        assert_eq!(seeds[0], (0x09f1_fd9d_03f0_a9b5, 0x5532_7416_1bbf_8475));
        assert_eq!(seeds[127], (0xf8db_9a50_1f8f_d6dd, 0x32d0_4093_0a47_01db));
    }

    #[test]
    fn bands_grow_with_the_threshold() {
        assert_eq!([0.5, 0.8, 0.9, 0.99].map(rows_per_band), [2, 4, 8, 16]);
    }
}

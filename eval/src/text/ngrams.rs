//! N-grams as sorted numbers: equal n-grams are equal numbers, so that counting matches is a merge of two sorted lists.
//! Knows nothing about what a symbol is; a word or a character is a number from here on.

use std::collections::HashMap;

/// Bits of a symbol that is a Unicode scalar value; six of them fit one number.
pub(super) const CHAR_BITS: u32 = 21;
/// Bits of a symbol that is the number of a word; four of them fit one number.
pub(super) const WORD_BITS: u32 = 32;

/// How much longer the longer of two lists is when it is looked up and not walked through.
const LOPSIDED: usize = 32;

/// Gives equal words equal numbers, counted from 0.
#[derive(Default)]
pub(super) struct Vocabulary<'a> {
    numbers: HashMap<&'a str, u32>,
}

impl<'a> Vocabulary<'a> {
    pub(super) fn numbers(&mut self, words: impl IntoIterator<Item = &'a str>) -> Vec<u32> {
        words
            .into_iter()
            .map(|word| {
                let next = self.numbers.len() as u32;
                *self.numbers.entry(word).or_insert(next)
            })
            .collect()
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }
}

/// All n-grams of `order` symbols, sorted, repetitions kept.
///
/// The symbols of an n-gram stand side by side in one number, so `order` times `bits` is at most 128.
pub(super) fn sorted(symbols: &[u32], order: usize, bits: u32) -> Vec<u128> {
    let Some(num_grams) = (symbols.len() + 1).checked_sub(order).filter(|&number| number > 0) else {
        return Vec::new();
    };
    let mask = u128::MAX >> (128 - bits * order as u32);
    let mut grams = Vec::with_capacity(num_grams);
    let mut gram = 0_u128;
    for (at, &symbol) in symbols.iter().enumerate() {
        gram = ((gram << bits) | u128::from(symbol)) & mask;
        if at + 1 >= order {
            grams.push(gram);
        }
    }
    grams.sort_unstable();
    grams
}

/// How many n-grams the two sorted lists share, each counted as often as in the list that has it less often.
pub(super) fn num_shared(left: &[u128], right: &[u128]) -> usize {
    let (few, many) = if left.len() <= right.len() { (left, right) } else { (right, left) };
    // One long text beside many short ones: the long list is looked up and not walked through each time.
    if few.len().saturating_mul(LOPSIDED) < many.len() {
        return num_found(few, many);
    }
    let (mut at_left, mut at_right, mut shared) = (0, 0, 0);
    while let (Some(one), Some(other)) = (left.get(at_left), right.get(at_right)) {
        // Without branches, because which side is smaller cannot be predicted.
        shared += usize::from(one == other);
        at_left += usize::from(one <= other);
        at_right += usize::from(other <= one);
    }
    shared
}

fn num_found(few: &[u128], many: &[u128]) -> usize {
    let mut rest = many;
    let mut shared = 0;
    for run in few.chunk_by(|a, b| a == b) {
        rest = &rest[rest.partition_point(|gram| *gram < run[0])..];
        shared += rest.partition_point(|gram| *gram == run[0]).min(run.len());
    }
    shared
}

/// How many n-grams of the first sorted list stand in any of the others, an n-gram counted at most as often
/// as in the one that has it most often.
pub(super) fn num_shared_with_any(grams: &[u128], others: &[Vec<u128>]) -> usize {
    if let [other] = others {
        return num_shared(grams, other);
    }
    let runs: Vec<(u128, usize)> = grams.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect();
    let mut most = vec![0; runs.len()];
    for other in others {
        let mut rest = other.as_slice();
        for ((gram, _), most) in runs.iter().zip(&mut most) {
            rest = &rest[rest.partition_point(|found| found < gram)..];
            *most = (*most).max(rest.partition_point(|found| found == gram));
        }
    }
    runs.iter().zip(most).map(|(&(_, count), most)| count.min(most)).sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// The plain twin: counts by the symbols themselves.
    fn counts(symbols: &[u32], order: usize) -> HashMap<&[u32], usize> {
        let mut counts = HashMap::new();
        for gram in symbols.windows(order) {
            *counts.entry(gram).or_insert(0) += 1;
        }
        counts
    }

    proptest::proptest! {
        #[test]
        fn merged_lists_count_what_maps_count(
            left in proptest::collection::vec(0_u32..4, 0..30),
            others in proptest::collection::vec(proptest::collection::vec(0_u32..4, 0..30), 1..4),
            order in 1_usize..5,
        ) {
            let mine = counts(&left, order);
            let theirs: Vec<_> = others.iter().map(|other| counts(other, order)).collect();
            let most = |gram: &[u32]| theirs.iter().filter_map(|other| other.get(gram)).max().copied().unwrap_or(0);
            let wanted: usize = mine.iter().map(|(gram, &count)| count.min(most(gram))).sum();
            let packed: Vec<_> = others.iter().map(|other| sorted(other, order, WORD_BITS)).collect();
            proptest::prop_assert_eq!(num_shared_with_any(&sorted(&left, order, WORD_BITS), &packed), wanted);
        }
    }

    proptest::proptest! {
        #[test]
        fn looking_up_counts_what_walking_through_counts(
            few in proptest::collection::vec(0_u32..4, 0..6),
            many in proptest::collection::vec(0_u32..4, 200..300),
        ) {
            let (few, many) = (sorted(&few, 2, WORD_BITS), sorted(&many, 2, WORD_BITS));
            let counts = |list: &[u128], gram: u128| list.iter().filter(|&&found| found == gram).count();
            let runs = few.chunk_by(|a, b| a == b);
            let expect: usize = runs.map(|run| run.len().min(counts(&many, run[0]))).sum();
            proptest::prop_assert_eq!(num_shared(&few, &many), expect);
            proptest::prop_assert_eq!(num_shared(&many, &few), expect);
        }
    }

    #[test]
    fn six_characters_and_four_words_fit_and_the_largest_symbols_stay_apart() {
        let characters = [0x10_ffff, 1, 2, 3, 4, 0x10_ffff, 5];
        assert_eq!(sorted(&characters, 6, CHAR_BITS).len(), 2);
        let words = [u32::MAX, 0, 7, u32::MAX, 1];
        let grams = sorted(&words, 4, WORD_BITS);
        assert_eq!(grams.len(), 2);
        assert_eq!(num_shared(&grams, &sorted(&words[..4], 4, WORD_BITS)), 1);
        assert!(sorted(&words, 6, CHAR_BITS).is_empty());
    }
}

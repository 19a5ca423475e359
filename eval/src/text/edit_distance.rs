//! Whether two texts are similar enough by their Levenshtein distance: 64 rows of the table in one machine word (Myers 1999;
//! Hyyrö 2003, "A bit-vector algorithm for computing Levenshtein and Damerau edit distances"), and only the cells that a
//! distance within the bound can pass (Ukkonen 1985).
//! Knows nothing about what a text means; letters are Unicode scalar values.

use std::collections::HashMap;

use crate::work::{TooMuch, Work};

/// Whether 1 − distance / letters of the longer text is at least the threshold; two empty texts have the similarity 1.
///
/// # Errors
/// When the work is more than is left.
pub fn is_similar(one: &str, other: &str, threshold: f64, work: &mut Work) -> Result<bool, TooMuch> {
    work.spend(one.len() + other.len())?;
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let longest = one.len().max(other.len());
    let similar = |distance: usize| {
        let similarity = if longest == 0 { 1.0 } else { 1.0 - distance as f64 / longest as f64 };
        similarity >= threshold
    };
    // The similarity falls with the distance, so that the largest distance that is similar enough can be looked up.
    let (mut within, mut beyond) = (0, longest + 1);
    if !similar(within) {
        return Ok(false);
    }
    while beyond - within > 1 {
        let middle = within + (beyond - within) / 2;
        if similar(middle) { within = middle } else { beyond = middle }
    }
    is_within(&one, &other, within, work)
}

/// Whether the distance is at most `most`.
fn is_within(one: &[char], other: &[char], most: usize, work: &mut Work) -> Result<bool, TooMuch> {
    let same = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let (one, other) = (&one[same..], &other[same..]);
    let same = one.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b).count();
    let (one, other) = (&one[..one.len() - same], &other[..other.len() - same]);
    let (rows, columns) = if one.len() >= other.len() { (one, other) } else { (other, one) };
    if rows.len() - columns.len() > most {
        return Ok(false);
    }
    if rows.len() <= most || columns.is_empty() {
        return Ok(true);
    }
    let distance = Band::new(rows, columns.len(), most).distance(columns, work)?;
    Ok(distance <= most)
}

/// The letters of the longer text, and how far from the diagonal its cells are looked at.
struct Band {
    num_rows: usize,
    num_blocks: usize,
    /// Rows below and above the diagonal that a path within the bound can reach: what it strays it must come back.
    below: usize,
    above: usize,
    /// For each letter its part of `masks`.
    places: HashMap<char, (usize, usize)>,
    /// Where each letter stands: a block of 64 rows and the bits in it. Blocks without it are left out, because of texts
    /// with many different letters.
    masks: Vec<(usize, u64)>,
}

/// The differences between a row and the one above it, for 64 rows.
#[derive(Clone, Copy)]
struct Block {
    plus: u64,
    minus: u64,
}

impl Band {
    /// `num_columns` is at most the number of letters, and `most` at least the difference.
    fn new(letters: &[char], num_columns: usize, most: usize) -> Self {
        let mut sorted: Vec<(char, usize)> = letters.iter().enumerate().map(|(row, &letter)| (letter, row)).collect();
        sorted.sort_unstable();
        let (mut places, mut masks) = (HashMap::new(), Vec::<(usize, u64)>::new());
        for of_letter in sorted.chunk_by(|a, b| a.0 == b.0) {
            let start = masks.len();
            for &(_, row) in of_letter {
                let bit = 1_u64 << (row % 64);
                match masks[start..].last_mut() {
                    Some((block, bits)) if *block == row / 64 => *bits |= bit,
                    _ => masks.push((row / 64, bit)),
                }
            }
            places.insert(of_letter[0].0, (start, masks.len()));
        }
        let difference = letters.len() - num_columns;
        Self {
            num_rows: letters.len(),
            num_blocks: letters.len().div_ceil(64),
            below: (most + difference) / 2,
            above: (most - difference) / 2,
            places,
            masks,
        }
    }

    /// The distance if it is within the bound, else a number beyond it.
    fn distance(&self, columns: &[char], work: &mut Work) -> Result<usize, TooMuch> {
        let mut blocks = vec![Block { plus: u64::MAX, minus: 0 }; self.num_blocks];
        let mut equal = vec![0_u64; self.num_blocks];
        let mut last = self.block_of(1 + self.below);
        // The value at the lowest row of the last block; in the column before the first it is the number of rows.
        let mut value = self.end_of(last) as i64;
        for (at, letter) in columns.iter().enumerate() {
            let column = at + 1;
            // A block that is new is reached from above, by leaving letters out.
            while last < self.block_of(column + self.below) {
                value += (self.end_of(last + 1) - self.end_of(last)) as i64;
                last += 1;
            }
            let first = self.block_of(column.saturating_sub(self.above).max(1));
            work.spend(1 + last - first)?;
            let (start, end) = self.places.get(letter).copied().unwrap_or_default();
            let masks = &self.masks[start..end];
            let masks = &masks[masks.partition_point(|(block, _)| *block < first)..];
            let masks = &masks[..masks.partition_point(|(block, _)| *block <= last)];
            masks.iter().for_each(|&(block, bits)| equal[block] = bits);
            // Above the first block a value grows from column to column: in the first row it does, elsewhere the cells
            // are out of reach.
            let mut carry = 1;
            for block in first..=last {
                let lowest = 1 << ((self.end_of(block) - 1) % 64);
                carry = advance(&mut blocks[block], equal[block], carry, lowest);
            }
            value += carry;
            masks.iter().for_each(|&(block, _)| equal[block] = 0);
        }
        Ok(usize::try_from(value).unwrap_or_default())
    }

    /// The block of a row, counted from 1.
    fn block_of(&self, row: usize) -> usize {
        (row.min(self.num_rows) - 1) / 64
    }

    /// The number of rows up to the end of a block.
    fn end_of(&self, block: usize) -> usize {
        ((block + 1) * 64).min(self.num_rows)
    }
}

/// One column further in a block; takes how much the value above it grew and returns how much the one in its lowest row did.
fn advance(block: &mut Block, equal: u64, carry: i64, lowest: u64) -> i64 {
    let Block { plus, minus } = *block;
    let falls = u64::from(carry < 0);
    let vertical = equal | minus;
    let equal = equal | falls;
    let horizontal = ((equal & plus).wrapping_add(plus) ^ plus) | equal;
    let (grows, shrinks) = (minus | !(horizontal | plus), plus & horizontal);
    let carried = i64::from(grows & lowest != 0) - i64::from(shrinks & lowest != 0);
    let grows = (grows << 1) | u64::from(carry > 0);
    let shrinks = (shrinks << 1) | falls;
    *block = Block { plus: shrinks | !(vertical | grows), minus: grows & vertical };
    carried
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn similar(one: &str, other: &str, threshold: f64) -> bool {
        is_similar(one, other, threshold, &mut Work::of_a_judgement()).unwrap()
    }

    #[test]
    fn the_threshold_itself_is_similar_enough() {
        assert!(similar("kitten", "sitting", 1.0 - 3.0 / 7.0) && !similar("kitten", "sitting", 0.58));
        assert!(similar("", "", 1.0) && similar("", "ab", 0.0) && !similar("", "ab", 0.1));
        assert!(!similar("a", "a", f64::NAN) && !similar("a", "a", 1.1));
    }

    #[test]
    fn long_texts_take_the_width_of_the_band_and_not_their_square() {
        let (one, other) = ("ab".repeat(100_000), "ba".repeat(100_000));
        assert_eq!(is_similar(&one, &other, 0.9, &mut Work::of(70_000_000)), Ok(true));
        let digits: String = (0..200_000_u64).map(|at| char::from(b'a' + (at * at % 26) as u8)).collect();
        let others: String = (0..200_000_u64).map(|at| char::from(b'a' + (at * at * at % 25) as u8)).collect();
        assert_eq!(is_similar(&digits, &others, 0.9, &mut Work::of(70_000_000)), Ok(false));
        assert_eq!(is_similar(&digits, &others, 0.5, &mut Work::of(70_000_000)), Err(TooMuch::Steps));
        assert_eq!(is_similar(&digits, &"a".repeat(1_000_000), 0.9, &mut Work::of(1_300_000)), Ok(false));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { cases: 400, ..Default::default() })]

        #[test]
        fn the_answer_is_that_of_the_whole_table(
            one in "[abcé]{0,40}|[ab]{60,200}",
            edits in proptest::collection::vec((0_usize..200, 0_u8..3, "[abcd]"), 0..60),
            other in "[abcé]{0,40}|[ab]{60,200}",
            related: bool,
            threshold in 0.0_f64..1.0,
        ) {
            let mut letters: Vec<char> = one.chars().collect();
            for (at, kind, letter) in edits {
                let at = at % (letters.len() + 1);
                let letter = letter.chars().next().unwrap();
                match kind {
                    0 => letters.insert(at, letter),
                    1 if at < letters.len() => letters[at] = letter,
                    _ if at < letters.len() => {
                        letters.remove(at);
                    }
                    _ => {}
                }
            }
            let other = if related { letters.into_iter().collect() } else { other };
            let whole = strsim::normalized_levenshtein(&one, &other);
            proptest::prop_assert_eq!(similar(&one, &other, threshold), whole >= threshold);
            proptest::prop_assert!(similar(&one, &other, whole));
        }
    }
}

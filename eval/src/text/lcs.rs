//! Longest common subsequence, 64 columns of the table in one machine word (Hyyrö 2004, "Bit-parallel LCS-length computation revisited").
//! Knows nothing about words; it compares numbers.

use crate::work::{TooMuch, Work};

/// Words of 64 columns that are kept at once to read a subsequence back: 8 MiB.
const FEW_WORDS: usize = 1 << 20;

/// The columns of the table: one sequence, prepared for comparison with many others.
///
/// A row of the table is kept as bits: bit j is 0 when column j + 1 is one longer than column j. Of the mask of a symbol
/// only the words are kept that are not zero: for a sequence of different symbols whole masks would be its square.
#[derive(Debug, Default)]
pub struct Columns {
    length: usize,
    /// Words of 64 bits in a row.
    width: usize,
    /// For each symbol its part of `masks`; empty when the sequence lacks it.
    places: Vec<(u32, u32)>,
    /// Where each symbol stands: a word of the row and the bits in it.
    masks: Vec<(u32, u64)>,
    symbols: Vec<u32>,
}

impl Columns {
    /// Takes another sequence of symbols counted from 0; costs its length, not the number of symbols.
    pub fn set(&mut self, sequence: &[u32]) {
        for &symbol in &self.symbols {
            if let Some(place) = self.places.get_mut(symbol as usize) {
                *place = (0, 0);
            }
        }
        let num_symbols = sequence.iter().max().map_or(0, |&highest| highest as usize + 1);
        self.places.resize(self.places.len().max(num_symbols), (0, 0));
        self.symbols = sequence.to_vec();
        self.length = sequence.len();
        self.width = sequence.len().div_ceil(64);
        self.masks.clear();
        let mut sorted: Vec<(u32, u32)> =
            sequence.iter().enumerate().map(|(at, &symbol)| (symbol, at as u32)).collect();
        sorted.sort_unstable();
        for of_symbol in sorted.chunk_by(|a, b| a.0 == b.0) {
            let start = self.masks.len();
            for &(_, column) in of_symbol {
                let (word, bit) = (column / 64, 1 << (column % 64));
                match self.masks[start..].last_mut() {
                    Some((last, bits)) if *last == word => *bits |= bit,
                    _ => self.masks.push((word, bit)),
                }
            }
            self.places[of_symbol[0].0 as usize] = (start as u32, self.masks.len() as u32);
        }
    }

    /// The length of the longest common subsequence.
    ///
    /// # Errors
    /// When the work is more than is left.
    pub fn lcs_length(&self, sequence: &[u32], work: &mut Work) -> Result<usize, TooMuch> {
        work.spend(self.width)?;
        let mut row = vec![u64::MAX; self.width];
        for &symbol in sequence {
            work.spend(1 + step(&mut row, self.mask(symbol)))?;
        }
        Ok(num_zeros(&row, self.length))
    }

    /// Marks the positions in `sequence` of one longest common subsequence; marks that are there stay.
    ///
    /// Of several the one that rouge-score 0.1.2 reads back: from the end, and where two cells are equal the row above is taken.
    ///
    /// # Errors
    /// When the work is more than is left.
    pub fn mark_lcs(&self, sequence: &[u32], marks: &mut [bool], work: &mut Work) -> Result<(), TooMuch> {
        work.spend(1 + sequence.len())?;
        // Most pairs of short lines share no word.
        if sequence.iter().all(|&symbol| self.mask(symbol).is_empty()) {
            return Ok(());
        }
        let (width, length) = (self.width, sequence.len());
        // Rows are read back block by block; of the others only the first row is kept, and the rest is computed again.
        let block = if (length + 1).saturating_mul(width) <= FEW_WORDS { length } else { length.isqrt() + 1 };
        let mut starts = vec![u64::MAX; width];
        if block < length {
            let mut row = vec![u64::MAX; width];
            for (at, &symbol) in sequence.iter().enumerate() {
                work.spend(1 + step(&mut row, self.mask(symbol)))?;
                if (at + 1) % block == 0 {
                    work.spend(width)?;
                    starts.extend_from_slice(&row);
                }
            }
        }
        let mut rows = Vec::new();
        let (mut row, mut column) = (length, self.length);
        while row > 0 && column > 0 {
            let first = (row - 1) / block * block;
            rows.clear();
            rows.extend_from_slice(&starts[first / block * width..][..width]);
            for &symbol in &sequence[first..row] {
                let above = rows.len() - width;
                rows.extend_from_within(above..);
                work.spend(1 + width + step(&mut rows[above + width..], self.mask(symbol)))?;
            }
            while row > first && column > 0 {
                work.spend(2 + column / 32)?;
                let (above, here) = rows[(row - 1 - first) * width..][..2 * width].split_at(width);
                let (mut length_above, mut length_here) = (num_zeros(above, column), num_zeros(here, column));
                let start = column;
                while column > 0 {
                    if sequence[row - 1] == self.symbols[column - 1] {
                        if let Some(mark) = marks.get_mut(row - 1) {
                            *mark = true;
                        }
                        column -= 1;
                        break;
                    }
                    let left = length_here - is_zero(here, column - 1);
                    if left <= length_above {
                        break;
                    }
                    length_above -= is_zero(above, column - 1);
                    length_here = left;
                    column -= 1;
                }
                work.spend(start - column)?;
                row -= 1;
            }
        }
        Ok(())
    }

    fn mask(&self, symbol: u32) -> &[(u32, u64)] {
        let (start, end) = self.places.get(symbol as usize).copied().unwrap_or_default();
        &self.masks[start as usize..end as usize]
    }
}

/// One row further: `row = (row + (row & mask)) | (row & !mask)` over all words. Returns how many words it touched.
fn step(row: &mut [u64], mask: &[(u32, u64)]) -> usize {
    let (mut carry, mut next, mut touched) = (false, 0, mask.len());
    for &(word, mask) in mask {
        let word = word as usize;
        touched += carry_on(&mut row[..word], &mut next, &mut carry);
        let bits = &mut row[word];
        let (sum, first) = bits.overflowing_add(*bits & mask);
        let (sum, second) = sum.overflowing_add(u64::from(carry));
        carry = first || second;
        *bits = sum | (*bits & !mask);
        next = word + 1;
    }
    touched + carry_on(row, &mut next, &mut carry)
}

/// Words without a bit of the mask: a carry fills the lowest zero, or goes through a word that has none.
fn carry_on(row: &mut [u64], next: &mut usize, carry: &mut bool) -> usize {
    let start = *next;
    while *carry && let Some(bits) = row.get_mut(*next) {
        *carry = *bits == u64::MAX;
        *bits |= bits.wrapping_add(1);
        *next += 1;
    }
    *next - start
}

/// Zeros among the first `length` bits.
fn num_zeros(row: &[u64], length: usize) -> usize {
    let (whole, rest) = (length / 64, length % 64);
    let zeros: u32 = row[..whole].iter().map(|bits| bits.count_zeros()).sum();
    let last = if rest == 0 { 0 } else { (!row[whole] & ((1 << rest) - 1)).count_ones() };
    (zeros + last) as usize
}

fn is_zero(row: &[u64], column: usize) -> usize {
    usize::from(row[column / 64] & (1 << (column % 64)) == 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    /// The plain twin: the whole table, read back as rouge-score does.
    fn plain(sequence: &[u32], columns: &[u32]) -> (usize, Vec<bool>) {
        let mut table = vec![vec![0; columns.len() + 1]; sequence.len() + 1];
        for row in 1..=sequence.len() {
            for column in 1..=columns.len() {
                table[row][column] = if sequence[row - 1] == columns[column - 1] {
                    table[row - 1][column - 1] + 1
                } else {
                    table[row - 1][column].max(table[row][column - 1])
                };
            }
        }
        let mut marks = vec![false; sequence.len()];
        let (mut row, mut column) = (sequence.len(), columns.len());
        while row > 0 && column > 0 {
            if sequence[row - 1] == columns[column - 1] {
                marks[row - 1] = true;
                (row, column) = (row - 1, column - 1);
            } else if table[row][column - 1] > table[row - 1][column] {
                column -= 1;
            } else {
                row -= 1;
            }
        }
        (table[sequence.len()][columns.len()], marks)
    }

    proptest::proptest! {
        #[test]
        fn bits_find_what_the_whole_table_finds(
            sequence in proptest::collection::vec(0_u32..12, 0..150),
            first in proptest::collection::vec(0_u32..12, 0..200),
            second in proptest::collection::vec(0_u32..12, 0..70),
        ) {
            let mut columns = Columns::default();
            for other in [&first, &second] {
                columns.set(other);
                let (length, marks) = plain(&sequence, other);
                let work = &mut Work::of_a_judgement();
                proptest::prop_assert_eq!(columns.lcs_length(&sequence, work), Ok(length));
                let mut found = vec![false; sequence.len()];
                columns.mark_lcs(&sequence, &mut found, work).unwrap();
                proptest::prop_assert_eq!(found, marks);
            }
        }
    }

    /// Numbers without a pattern.
    fn drawn(length: usize, bound: u32, seed: u64) -> Vec<u32> {
        let stream = crate::stats::random::Stream::new(seed, 0);
        (0..length as u64).map(|at| stream.below(at, bound)).collect()
    }

    #[test]
    fn sequences_too_long_to_keep_every_row_are_read_back_the_same() {
        let (sequence, other) = (drawn(9_000, 3_000, 1), drawn(9_000, 3_000, 2));
        let mut columns = Columns::default();
        columns.set(&other);
        assert!((sequence.len() + 1) * columns.width > FEW_WORDS);
        let work = &mut Work::of_a_judgement();
        let mut found = vec![false; sequence.len()];
        columns.mark_lcs(&sequence, &mut found, work).unwrap();
        let (length, marks) = plain_bits(&sequence, &other);
        assert_eq!(columns.lcs_length(&sequence, work), Ok(length));
        assert!(found == marks);
    }

    /// The plain twin with one byte for each cell: whether the row above is as long, and whether the column before is.
    fn plain_bits(sequence: &[u32], columns: &[u32]) -> (usize, Vec<bool>) {
        let mut left_is_longer = vec![vec![false; columns.len() + 1]; sequence.len() + 1];
        let mut above = vec![0_u32; columns.len() + 1];
        for row in 1..=sequence.len() {
            let mut here = vec![0_u32; columns.len() + 1];
            for column in 1..=columns.len() {
                here[column] = if sequence[row - 1] == columns[column - 1] {
                    above[column - 1] + 1
                } else {
                    above[column].max(here[column - 1])
                };
                left_is_longer[row][column] = here[column - 1] > above[column];
            }
            above = here;
        }
        let mut marks = vec![false; sequence.len()];
        let (mut row, mut column) = (sequence.len(), columns.len());
        while row > 0 && column > 0 {
            if sequence[row - 1] == columns[column - 1] {
                marks[row - 1] = true;
                (row, column) = (row - 1, column - 1);
            } else if left_is_longer[row][column] {
                column -= 1;
            } else {
                row -= 1;
            }
        }
        (above[columns.len()] as usize, marks)
    }

    #[test]
    fn different_symbols_cost_their_number_and_what_costs_more_is_refused() {
        let words: Vec<u32> = (0..400_000).collect();
        let mut columns = Columns::default();
        columns.set(&words);
        assert_eq!(columns.masks.len(), words.len());
        let turned: Vec<u32> = words.iter().rev().copied().collect();
        assert_eq!(columns.lcs_length(&turned, &mut Work::of(10_000_000)), Ok(1));
        assert_eq!(columns.lcs_length(&words, &mut Work::of(100_000)), Err(TooMuch::Steps));
        let same = vec![0; 50_000];
        columns.set(&same);
        assert_eq!(columns.mark_lcs(&same, &mut vec![false; 50_000], &mut Work::of(1_000_000)), Err(TooMuch::Steps));
    }
}

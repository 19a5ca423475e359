//! Longest common subsequence, 64 columns of the table in one machine word (Hyyrö 2004, "Bit-parallel LCS-length computation revisited").
//! Knows nothing about words; it compares numbers.

/// The columns of the table: one sequence, prepared for comparison with many others.
///
/// A row of the table is kept as bits: bit j is 0 when column j + 1 is one longer than column j.
#[derive(Debug, Default)]
pub struct Columns {
    length: usize,
    /// Words of 64 bits in a row.
    width: usize,
    /// For each symbol the place of its mask in `masks`, counted from 1; 0 when the sequence lacks it.
    places: Vec<u32>,
    /// Where each symbol stands, as bits.
    masks: Vec<u64>,
    symbols: Vec<u32>,
}

impl Columns {
    /// Takes another sequence of symbols counted from 0; costs its length, not the number of symbols.
    pub fn set(&mut self, sequence: &[u32]) {
        for &symbol in &self.symbols {
            if let Some(place) = self.places.get_mut(symbol as usize) {
                *place = 0;
            }
        }
        let num_symbols = sequence.iter().max().map_or(0, |&highest| highest as usize + 1);
        self.places.resize(self.places.len().max(num_symbols), 0);
        self.symbols = sequence.to_vec();
        self.length = sequence.len();
        self.width = sequence.len().div_ceil(64);
        self.masks.clear();
        for (column, &symbol) in sequence.iter().enumerate() {
            let Some(place) = self.places.get_mut(symbol as usize) else { continue };
            if *place == 0 {
                self.masks.resize(self.masks.len() + self.width, 0);
                *place = (self.masks.len() / self.width) as u32;
            }
            self.masks[(*place as usize - 1) * self.width + column / 64] |= 1 << (column % 64);
        }
    }

    /// The length of the longest common subsequence.
    pub fn lcs_length(&self, sequence: &[u32]) -> usize {
        let mut row = vec![u64::MAX; self.width];
        for &symbol in sequence {
            if let Some(mask) = self.mask(symbol) {
                step(&mut row, mask);
            }
        }
        num_zeros(&row, self.length)
    }

    /// Marks the positions in `sequence` of one longest common subsequence; marks that are there stay.
    ///
    /// Of several the one that rouge-score 0.1.2 reads back: from the end, and where two cells are equal the row above is taken.
    pub fn mark_lcs(&self, sequence: &[u32], marks: &mut [bool]) {
        // Most pairs of short lines share no word.
        if sequence.iter().all(|&symbol| self.mask(symbol).is_none()) {
            return;
        }
        let width = self.width;
        let mut rows = vec![u64::MAX; width * (sequence.len() + 1)];
        for (at, &symbol) in sequence.iter().enumerate() {
            rows.copy_within(at * width..(at + 1) * width, (at + 1) * width);
            if let Some(mask) = self.mask(symbol) {
                step(&mut rows[(at + 1) * width..(at + 2) * width], mask);
            }
        }
        let length = |row: usize, column: usize| num_zeros(&rows[row * width..(row + 1) * width], column);
        let (mut row, mut column) = (sequence.len(), self.length);
        while row > 0 && column > 0 {
            if sequence[row - 1] == self.symbols[column - 1] {
                if let Some(mark) = marks.get_mut(row - 1) {
                    *mark = true;
                }
                (row, column) = (row - 1, column - 1);
            } else if length(row, column - 1) > length(row - 1, column) {
                column -= 1;
            } else {
                row -= 1;
            }
        }
    }

    fn mask(&self, symbol: u32) -> Option<&[u64]> {
        let place = self.places.get(symbol as usize)?.checked_sub(1)? as usize;
        self.masks.get(place * self.width..(place + 1) * self.width)
    }
}

/// One row further: `row = (row + (row & mask)) | (row & !mask)` over all words.
fn step(row: &mut [u64], mask: &[u64]) {
    let mut carry = false;
    for (bits, &mask) in row.iter_mut().zip(mask) {
        let (sum, first) = bits.overflowing_add(*bits & mask);
        let (sum, second) = sum.overflowing_add(u64::from(carry));
        carry = first || second;
        *bits = sum | (*bits & !mask);
    }
}

/// Zeros among the first `length` bits.
fn num_zeros(row: &[u64], length: usize) -> usize {
    let (whole, rest) = (length / 64, length % 64);
    let zeros: u32 = row[..whole].iter().map(|bits| bits.count_zeros()).sum();
    let last = if rest == 0 { 0 } else { (!row[whole] & ((1 << rest) - 1)).count_ones() };
    (zeros + last) as usize
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
                proptest::prop_assert_eq!(columns.lcs_length(&sequence), length);
                let mut found = vec![false; sequence.len()];
                columns.mark_lcs(&sequence, &mut found);
                proptest::prop_assert_eq!(found, marks);
            }
        }
    }
}

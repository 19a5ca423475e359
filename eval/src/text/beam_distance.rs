//! Edit distance between word sequences, computed only near the diagonal, as sacrebleu's TER does it.
//! Knows nothing about shifts. Outside the beam a cell has no value, so that a distance can be larger than the true one:
//! that is part of the definition of TER and must not be mended.

use std::ops::Range;

/// Cells on each side of the diagonal.
const BEAM_WIDTH: usize = 25;
/// The value of a cell outside the beam; far from overflow when costs are added.
const NO_VALUE: u32 = u32::MAX / 2;

/// One step of rewriting the text into the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    Keep,
    Substitute,
    /// A word of the reference that the text lacks.
    Insert,
    /// A word of the text that the reference lacks.
    Delete,
}

/// Distances of texts with the same number of words to one reference.
pub(super) struct BeamDistance<'a> {
    reference: &'a [u32],
    /// The columns with values, for each row; row i stands for the first i words of the text.
    bands: Vec<Range<usize>>,
    /// Where each row begins in the list of all rows.
    starts: Vec<usize>,
}

/// All rows of one text.
pub(super) struct Rows {
    costs: Vec<u32>,
}

impl<'a> BeamDistance<'a> {
    pub(super) fn new(reference: &'a [u32], num_words: usize) -> Self {
        let num_columns = reference.len() + 1;
        let length_ratio = if num_words == 0 { 1.0 } else { reference.len() as f64 / num_words as f64 };
        // When the lengths differ a lot, neighbouring rows would not touch.
        let width = if (BEAM_WIDTH as f64) < length_ratio / 2.0 {
            (length_ratio / 2.0 + BEAM_WIDTH as f64).ceil() as usize
        } else {
            BEAM_WIDTH
        };
        let band = |row: usize| {
            let diagonal = (row as f64 * length_ratio).floor() as usize;
            let end = if row == num_words { num_columns } else { num_columns.min(diagonal + width) };
            if row == 0 { 0..num_columns } else { diagonal.saturating_sub(width)..end }
        };
        let bands: Vec<_> = (0..=num_words).map(band).collect();
        let mut starts = vec![0];
        let mut end = 0;
        for band in &bands {
            end += band.len();
            starts.push(end);
        }
        Self { reference, bands, starts }
    }

    /// Cells of the rows behind the first `num_same` words.
    pub(super) fn num_cells(&self, num_same: usize) -> usize {
        self.starts[self.bands.len()] - self.starts[num_same]
    }

    /// Rows of a text, for [`Self::trace`] and as the start of [`Self::distance_from`].
    pub(super) fn rows(&self, words: &[u32]) -> Rows {
        let mut costs = vec![NO_VALUE; self.starts[self.bands.len()]];
        for (column, cost) in costs[..self.starts[1]].iter_mut().enumerate() {
            *cost = column as u32;
        }
        for (at, &word) in words.iter().enumerate() {
            let (above, below) = costs.split_at_mut(self.starts[at + 1]);
            let row = &mut below[..self.bands[at + 1].len()];
            self.fill(word, at + 1, &above[self.starts[at]..], row);
        }
        Rows { costs }
    }

    /// The distance of the text whose rows these are.
    pub(super) fn distance(&self, rows: &Rows) -> u32 {
        rows.costs.last().copied().unwrap_or(0)
    }

    /// The distance of a text whose first `num_same` words are those of the text of `rows`.
    pub(super) fn distance_from(
        &self,
        rows: &Rows,
        words: &[u32],
        num_same: usize,
        buffers: &mut [Vec<u32>; 2],
    ) -> u32 {
        let [above, row] = buffers;
        above.clear();
        above.extend_from_slice(&rows.costs[self.starts[num_same]..self.starts[num_same + 1]]);
        for (at, &word) in words.iter().enumerate().skip(num_same) {
            row.resize(self.bands[at + 1].len(), NO_VALUE);
            self.fill(word, at + 1, above, row);
            std::mem::swap(above, row);
        }
        above.last().copied().unwrap_or(0)
    }

    /// The edits from the first word to the last, read back from the end; of equal costs keep or substitute first, then delete, then insert.
    pub(super) fn trace(&self, rows: &Rows, words: &[u32]) -> Vec<Edit> {
        let (mut row, mut column) = (words.len(), self.reference.len());
        let mut edits = Vec::with_capacity(row.max(column));
        while row > 0 || column > 0 {
            let edit = if row == 0 {
                Edit::Insert
            } else if column == 0 {
                Edit::Delete
            } else {
                let same = words[row - 1] == self.reference[column - 1];
                let cost = self.cost(rows, row, column);
                if self.cost(rows, row - 1, column - 1) + u32::from(!same) == cost {
                    if same { Edit::Keep } else { Edit::Substitute }
                } else if self.cost(rows, row - 1, column) + 1 == cost {
                    Edit::Delete
                } else {
                    Edit::Insert
                }
            };
            edits.push(edit);
            row -= usize::from(edit != Edit::Insert);
            column -= usize::from(edit != Edit::Delete);
        }
        edits.reverse();
        edits
    }

    fn cost(&self, rows: &Rows, row: usize, column: usize) -> u32 {
        if self.bands[row].contains(&column) {
            rows.costs[self.starts[row] + column - self.bands[row].start]
        } else {
            NO_VALUE
        }
    }

    /// Fills one row from the row above it.
    fn fill(&self, word: u32, row_number: usize, above: &[u32], row: &mut [u32]) {
        let (first_above, first) = (self.bands[row_number - 1].start, self.bands[row_number].start);
        let value_above = |column: usize| above.get(column.wrapping_sub(first_above)).copied().unwrap_or(NO_VALUE);
        let mut cells = row.iter_mut();
        let (mut left, mut diagonal) = (NO_VALUE, NO_VALUE);
        let mut next = first;
        if first > 0 {
            diagonal = value_above(first - 1);
        } else if let Some(cell) = cells.next() {
            diagonal = value_above(0);
            left = diagonal + 1;
            *cell = left;
            next = 1;
        }
        for (column, cell) in (next..).zip(cells) {
            let up = value_above(column);
            let substitute = diagonal + u32::from(word != self.reference[column - 1]);
            left = substitute.min(up + 1).min(left + 1);
            diagonal = up;
            *cell = left;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    /// The plain twin: the whole matrix, without a beam.
    fn levenshtein(words: &[u32], reference: &[u32]) -> u32 {
        let mut row: Vec<u32> = (0..=reference.len() as u32).collect();
        for (at, word) in words.iter().enumerate() {
            let mut diagonal = row[0];
            row[0] = at as u32 + 1;
            for column in 1..row.len() {
                let substitute = diagonal + u32::from(*word != reference[column - 1]);
                diagonal = row[column];
                row[column] = substitute.min(row[column] + 1).min(row[column - 1] + 1);
            }
        }
        row[reference.len()]
    }

    proptest::proptest! {
        #[test]
        fn within_the_beam_the_distance_is_that_of_levenshtein(
            words in proptest::collection::vec(0_u32..5, 0..24),
            reference in proptest::collection::vec(0_u32..5, 1..24),
            changed in proptest::collection::vec(0_u32..5, 24),
            num_same in 0_usize..24,
        ) {
            let distance = BeamDistance::new(&reference, words.len());
            let rows = distance.rows(&words);
            proptest::prop_assert_eq!(distance.distance(&rows), levenshtein(&words, &reference));

            let num_same = num_same.min(words.len());
            let other: Vec<u32> = words[..num_same].iter().chain(&changed[num_same..words.len()]).copied().collect();
            let found = distance.distance_from(&rows, &other, num_same, &mut [Vec::new(), Vec::new()]);
            proptest::prop_assert_eq!(found, levenshtein(&other, &reference));
        }

        #[test]
        fn a_trace_rewrites_the_text_into_the_reference_at_the_cost_of_the_distance(
            words in proptest::collection::vec(0_u32..5, 0..80),
            reference in proptest::collection::vec(0_u32..5, 1..80),
        ) {
            let distance = BeamDistance::new(&reference, words.len());
            let rows = distance.rows(&words);
            let (mut from, mut built, mut cost) = (words.iter(), Vec::new(), 0);
            for edit in distance.trace(&rows, &words) {
                cost += u32::from(edit != Edit::Keep);
                let word = if edit == Edit::Insert { None } else { from.next() };
                match edit {
                    Edit::Keep => built.push(*word.unwrap()),
                    Edit::Delete => {}
                    Edit::Substitute | Edit::Insert => built.push(reference[built.len()]),
                }
            }
            proptest::prop_assert_eq!(built, reference.clone());
            proptest::prop_assert_eq!(cost, distance.distance(&rows));
        }
    }

    #[test]
    fn a_block_further_than_the_beam_is_not_found() {
        let reference: Vec<u32> = (0..200).collect();
        let words: Vec<u32> = (60..200).chain(0..60).collect();
        let distance = BeamDistance::new(&reference, words.len());
        let rows = distance.rows(&words);
        assert!(distance.distance(&rows) > levenshtein(&words, &reference));
    }
}

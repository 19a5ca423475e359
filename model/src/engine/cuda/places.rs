//! Owns where buffers lie in one block of memory, and which lie over each other because they are never needed together.
//! Pure arithmetic: a plan and a run use the same, so what is planned is what is taken.

use cuda::{Block, Element, Matrix, Span};

/// Buffers start at such multiples of bytes.
const ALIGNMENT: usize = 512;

/// Hands out places in a block that is as large as it turns out to be.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    next: usize,
    size: usize,
}

impl Places {
    /// Bytes that the block must have.
    pub(super) fn bytes(&self) -> usize {
        self.size
    }

    /// A place for `bytes`.
    pub(super) fn take(&mut self, bytes: usize) -> usize {
        let start = self.next.next_multiple_of(ALIGNMENT);
        self.next = start + bytes;
        self.size = self.size.max(self.next);
        start
    }

    /// Rows of values.
    pub(super) fn rows(&mut self, rows: usize, columns: usize, pitch: usize, element_bytes: usize) -> Spot {
        Spot { offset: self.take(rows * pitch * element_bytes), rows, columns, pitch }
    }

    /// Rows of bfloat16 without a gap.
    pub(super) fn narrow(&mut self, rows: usize, columns: usize) -> Spot {
        self.rows(rows, columns, columns, 2)
    }

    /// Where the next place begins; [`Places::back_to`] goes back to it.
    pub(super) fn here(&self) -> usize {
        self.next
    }

    /// What is taken from now on lies over what was taken since `here`.
    pub(super) fn back_to(&mut self, here: usize) {
        self.next = here;
    }
}

/// A matrix in a block that need not exist yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spot {
    offset: usize,
    rows: usize,
    columns: usize,
    pitch: usize,
}

impl Spot {
    /// Its rows.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The same place for rows of `columns` values without a gap, at most as many as it has.
    pub(super) fn narrowed(&self, columns: usize) -> Self {
        debug_assert!(columns <= self.pitch, "{columns} columns in {}", self.pitch);
        Spot { columns, pitch: columns, ..*self }
    }

    /// Its first `rows` rows in a block.
    pub(super) fn of<T: Element>(&self, block: &Block, rows: usize) -> Matrix<T> {
        block.span(self.offset, self.rows * self.pitch).matrix(self.rows, self.columns, self.pitch).top(rows)
    }

    /// Its rows with another width, for a buffer that serves several.
    pub(super) fn reshaped<T: Element>(&self, block: &Block, rows: usize, columns: usize) -> Matrix<T> {
        block.span::<T>(self.offset, self.rows * self.pitch).part(0, rows * columns).matrix(rows, columns, columns)
    }

    /// All of it as one run of values.
    pub(super) fn span<T: Element>(&self, block: &Block) -> Span<T> {
        block.span(self.offset, self.rows * self.pitch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_overlay_and_never_overlap_otherwise() {
        let mut places = Places::default();
        assert_eq!((places.take(100), places.take(8)), (0, 512));
        let here = places.here();
        let wide = places.narrow(10, 64);
        places.back_to(here);
        let over = places.narrow(2, 64);
        assert_eq!(wide.offset, over.offset);
        assert_eq!(places.bytes(), 1024 + 10 * 64 * 2);
    }
}

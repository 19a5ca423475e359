//! Owns how a step of a factor gets from memory into shared memory, and from there into matrices. Knows no product.

use cubecl::cmma::{Matrix, MatrixIdent, MatrixLayout};
use cubecl::prelude::*;

use crate::planes::{WIDTH, fragment};

/// Values between rows in shared memory that keep rows out of each other's banks.
const PAD: usize = 8;

/// How one factor lies in shared memory, and how units share its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stage {
    /// Whether rows of memory run along the output instead of the inner dimension.
    pub(super) across: bool,
    /// Rows in shared memory.
    pub(super) height: usize,
    /// Values of a row.
    pub(super) width: usize,
    /// Units that share it.
    pub(super) units: usize,
    /// Whether a tile may reach over the edge of the output. What it reads there is never written.
    pub(super) over: bool,
    /// Whether the last step may reach over the end of the inner dimension, where it must read zeros.
    pub(super) partial: bool,
}

impl Stage {
    /// Reads of one unit.
    const fn parts(self) -> usize {
        self.height * self.width / WIDTH / self.units
    }

    /// Quadruples of words between rows.
    pub(super) const fn pitch(self) -> usize {
        (self.width + PAD) / WIDTH
    }

    /// Quadruples of words that it takes.
    pub(super) const fn size(self) -> usize {
        self.height * self.pitch()
    }
}

/// Reads a unit's share of one step of a factor. `start` is where the tile starts along the output, which has `length`.
#[cube]
pub(super) fn fetch<N: Size>(
    array: &[Vector<u32, N>],
    start: u32,
    inner: u32,
    length: u32,
    k: u32,
    #[comptime] stage: Stage,
) -> Sequence<Vector<u32, N>> {
    let mut held = Sequence::<Vector<u32, N>>::new();
    let across = comptime!(stage.width / WIDTH);
    let (top, left) = if comptime!(stage.across) { (inner, start) } else { (start, inner) };
    let (rows, columns) = if comptime!(stage.across) { (k, length) } else { (length, k) };
    let columns = columns / comptime!(WIDTH as u32);
    let unit = UNIT_POS;
    let i = top + unit / comptime!(across as u32);
    let j = left / comptime!(WIDTH as u32) + unit % comptime!(across as u32);
    #[unroll]
    for part in 0..comptime!(stage.parts()) {
        // Units take whole rows at a time, so that the next share is some rows below.
        let below = comptime!((part * stage.units / across) as u32);
        if comptime!(stage.over || stage.partial) {
            let at = u32::min(i + below, rows - 1) * columns + u32::min(j, columns - 1);
            let value = array[at as usize];
            let inside = i + below < rows && j < columns;
            held.push(if comptime!(stage.partial) { select(inside, value, Vector::new(0u32)) } else { value });
        } else {
            held.push(array[(i * columns + j + below * columns) as usize]);
        }
    }
    held
}

/// Writes what was read into shared memory.
#[cube]
pub(super) fn put<N: Size>(held: &Sequence<Vector<u32, N>>, shared: &mut [Vector<u32, N>], #[comptime] stage: Stage) {
    let across = comptime!(stage.width / WIDTH);
    let unit = UNIT_POS as usize;
    let base = unit / across * comptime!(stage.pitch()) + unit % across;
    #[unroll]
    for part in 0..comptime!(stage.parts()) {
        shared[base + comptime!(part * stage.units / across * stage.pitch())] = *held.index(part);
    }
}

/// The matrix at a place along the output and along the inner dimension.
#[cube]
pub(super) fn matrix<I: Float, N: Size>(
    shared: &[Vector<u32, N>],
    outer: usize,
    #[comptime] inner: usize,
    #[comptime] ident: MatrixIdent,
    #[comptime] stage: Stage,
) -> Matrix<I> {
    let left = comptime!(matches!(ident, MatrixIdent::A));
    let layout = comptime!(if left == stage.across { MatrixLayout::ColMajor } else { MatrixLayout::RowMajor });
    let from = if comptime!(stage.across) {
        comptime!(inner * stage.pitch()) + outer / WIDTH
    } else {
        outer * comptime!(stage.pitch()) + comptime!(inner / WIDTH)
    };
    fragment::<I, Vector<u32, N>>(shared, from, comptime!(stage.pitch()), ident, layout)
}

//! Owns how rows of a head get into shared memory, and from there into matrices. Knows no direction.
//!
//! The rows of the next step are read while the present one is computed, and held in registers until their place is free.

use cubecl::cmma::{self, Matrix, MatrixIdent, MatrixLayout};
use cubecl::prelude::*;

use super::{Form, PLANE, PLANES, SIDE, WIDTH};
use crate::planes::WORDS;

/// Rows of one head: where the head begins in a row of `width` values, and how many rows there are.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Rows {
    /// Values before the head.
    pub(super) left: u32,
    /// Rows beyond the last are the last again.
    pub(super) tokens: u32,
    /// Values of a row.
    #[cube(comptime)]
    pub(super) width: usize,
}

impl Form {
    /// Quadruples of words in `columns` rows.
    fn quads(self) -> usize {
        self.columns * self.shape.heads.head_dim / WIDTH
    }

    /// Quadruples that a unit copies.
    fn parts(self) -> usize {
        self.quads().div_ceil(PLANE * PLANES)
    }
}

/// What a unit reads of `columns` rows from `start`.
#[cube]
pub(super) fn hold<N: Size>(
    array: &[Vector<u32, N>],
    start: u32,
    rows: &Rows,
    #[comptime] form: Form,
) -> Sequence<RuntimeCell<Vector<u32, N>>> {
    let mut held = Sequence::<RuntimeCell<Vector<u32, N>>>::new();
    #[unroll]
    for part in 0..comptime!(form.parts()) {
        held.push(RuntimeCell::new(array[place(start, rows, part, form)]));
    }
    held
}

/// Reads other rows instead.
#[cube]
pub(super) fn renew<N: Size>(
    held: &Sequence<RuntimeCell<Vector<u32, N>>>,
    array: &[Vector<u32, N>],
    start: u32,
    rows: &Rows,
    #[comptime] form: Form,
) {
    #[unroll]
    for part in 0..comptime!(form.parts()) {
        held.index(part).store(array[place(start, rows, part, form)]);
    }
}

/// Writes what was read into shared memory.
#[cube]
pub(super) fn put<N: Size>(
    held: &Sequence<RuntimeCell<Vector<u32, N>>>,
    shared: &mut [Vector<u32, N>],
    #[comptime] form: Form,
) {
    let quads = comptime!((form.shape.heads.head_dim / WIDTH) as u32);
    #[unroll]
    for part in 0..comptime!(form.parts()) {
        let at = UNIT_POS + comptime!((part * PLANE * PLANES) as u32);
        if comptime!(form.quads().is_multiple_of(PLANE * PLANES)) || at < comptime!(form.quads() as u32) {
            shared[(at / quads * comptime!(form.pitch() as u32) + at % quads) as usize] = held.index(part).read();
        }
    }
}

/// Where a unit reads its part of `columns` rows from `start`.
#[cube]
fn place(start: u32, rows: &Rows, #[comptime] part: usize, #[comptime] form: Form) -> usize {
    let quads = comptime!((form.shape.heads.head_dim / WIDTH) as u32);
    let at = UNIT_POS + comptime!((part * PLANE * PLANES) as u32);
    let row = u32::min(start + at / quads, rows.tokens - 1);
    (row * comptime!((rows.width / WIDTH) as u32) + rows.left / comptime!(WIDTH as u32) + at % quads) as usize
}

/// A plane's own rows as left factors, through shared memory, which is free again when this returns.
#[cube]
pub(super) fn own_rows<F: Float, N: Size>(
    array: &[Vector<u32, N>],
    shared: &mut [Vector<u32, N>],
    start: u32,
    rows: &Rows,
    #[comptime] form: Form,
) -> Sequence<Matrix<F>> {
    let mut own = Sequence::<Matrix<F>>::new();
    #[unroll]
    for _ in 0..comptime!(form.depth()) {
        own.push(Matrix::<F>::from_value(MatrixIdent::A, SIDE, SIDE, SIDE, MatrixLayout::RowMajor, F::new(0.0)));
    }
    // The place holds the rows of some planes at a time.
    let planes = comptime!((form.columns / SIDE) as u32);
    #[unroll]
    for pass in 0..comptime!((PLANES * SIDE / form.columns) as u32) {
        put::<N>(&hold::<N>(array, start + pass * comptime!(form.columns as u32), rows, form), shared, form);
        sync_cube();
        if UNIT_POS_Y / planes == pass {
            #[unroll]
            for part in 0..comptime!(form.depth()) {
                let from =
                    (UNIT_POS_Y % planes) as usize * comptime!(SIDE * form.pitch()) + comptime!(part * SIDE / WIDTH);
                let to = from + comptime!(SIDE * form.pitch());
                cmma::load(own.index_mut(part), &shared[from..to], comptime!((form.pitch() * WORDS) as u32));
            }
        }
        sync_cube();
    }
    own
}

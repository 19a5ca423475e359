//! Owns what the kernels of attention share once rows are staged: products of a plane's rows with them, and scores between two
//! products. Knows no direction.
//!
//! A plane's scores are `[16, columns]`: unit u holds half `u / 16` of row `u % 16`, quadruple by quadruple.

use cubecl::cmma::{self, Matrix, MatrixIdent, MatrixLayout};
use cubecl::prelude::*;

use super::stage::Rows;
use super::{Form, QUAD, SIDE, WIDTH};
use crate::planes::fragment;

/// Products of a plane's rows with staged rows, `own * staged^T`, into the plane's scores.
#[cube]
pub(super) fn score<F: Float, N: Size>(
    own: &Sequence<Matrix<F>>,
    staged: &[Vector<u32, N>],
    scores: &mut [Vector<u32, N>],
    #[comptime] form: Form,
) {
    let place = UNIT_POS_Y as usize * comptime!(form.scores());
    #[unroll]
    for j in 0..comptime!(form.columns / SIDE) {
        let sum = Matrix::<f32>::from_value(MatrixIdent::Accumulator, SIDE, SIDE, SIDE, MatrixLayout::Undefined, 0.0);
        #[unroll]
        for part in 0..comptime!(form.depth()) {
            let from = comptime!(j * SIDE * form.pitch() + part * SIDE / WIDTH);
            let right = fragment::<F, Vector<u32, N>>(
                staged,
                from,
                comptime!(form.pitch()),
                MatrixIdent::B,
                MatrixLayout::ColMajor,
            );
            cmma::execute(own.index(part), &right, &sum, &sum);
        }
        let from = place + comptime!(j * SIDE / QUAD);
        let to = from + comptime!(SIDE * form.score_pitch());
        let pitch = comptime!((form.score_pitch() * QUAD) as u32);
        cmma::store(&mut scores[from..to], &sum, pitch, MatrixLayout::RowMajor);
    }
    sync_plane();
}

/// Adds `shares * staged` to a plane's sums, `[16, head_dim]`.
#[cube]
pub(super) fn accumulate<F: Float, N: Size>(
    shares: &[Vector<F, N>],
    staged: &[Vector<u32, N>],
    sums: &Sequence<Matrix<f32>>,
    #[comptime] form: Form,
) {
    let place = UNIT_POS_Y as usize * comptime!(form.shares());
    #[unroll]
    for i in 0..comptime!(form.columns / SIDE) {
        let from = place + comptime!(i * SIDE / QUAD);
        let pitch = comptime!(form.share_pitch());
        let left = fragment::<F, Vector<F, N>>(shares, from, pitch, MatrixIdent::A, MatrixLayout::RowMajor);
        #[unroll]
        for part in 0..comptime!(form.depth()) {
            let from = comptime!(i * SIDE * form.pitch() + part * SIDE / WIDTH);
            let right = fragment::<F, Vector<u32, N>>(
                staged,
                from,
                comptime!(form.pitch()),
                MatrixIdent::B,
                MatrixLayout::RowMajor,
            );
            let sum = sums.index(part);
            cmma::execute(&left, &right, sum, sum);
        }
    }
}

/// Row of a plane's tile that this unit has a half of.
#[cube]
pub(super) fn own_row() -> u32 {
    UNIT_POS_Y * comptime!(SIDE as u32) + UNIT_POS_X % comptime!(SIDE as u32)
}

/// Quadruples of a half row.
pub(super) fn half(form: Form) -> usize {
    form.columns / QUAD / 2
}

/// Column where a quadruple of this unit's half row begins.
#[cube]
pub(super) fn own_column(#[comptime] at: usize, #[comptime] form: Form) -> u32 {
    UNIT_POS_X / comptime!(SIDE as u32) * comptime!((form.columns / 2) as u32) + comptime!((at * QUAD) as u32)
}

/// A quadruple of this unit's half row of scores.
#[cube]
pub(super) fn read<N: Size>(
    scores: &[Vector<u32, N>],
    #[comptime] at: usize,
    #[comptime] form: Form,
) -> Vector<f32, N> {
    let row = own_row() as usize / SIDE * comptime!(form.scores())
        + own_row() as usize % SIDE * comptime!(form.score_pitch());
    let place = row + own_column(at, form) as usize / QUAD;
    Vector::<f32, N>::reinterpret(scores[place])
}

/// Writes a quadruple of this unit's half row of probabilities.
#[cube]
pub(super) fn write<F: Float, N: Size>(
    shares: &mut [Vector<F, N>],
    value: Vector<f32, N>,
    #[comptime] at: usize,
    #[comptime] form: Form,
) {
    let row = own_row() as usize / SIDE * comptime!(form.shares())
        + own_row() as usize % SIDE * comptime!(form.share_pitch());
    shares[row + own_column(at, form) as usize / QUAD] = Vector::cast_from(value);
}

/// Writes a plane's sums, `[16, head_dim]`, times a factor of each row, to rows from `start`.
#[cube]
#[allow(clippy::too_many_arguments)]
pub(super) fn leave<F: Float, N: Size>(
    sums: &Sequence<Matrix<f32>>,
    scores: &mut [Vector<u32, N>],
    out: &mut [Vector<F, N>],
    factor: f32,
    start: u32,
    rows: &Rows,
    #[comptime] form: Form,
) {
    let row = start + own_row();
    let most = comptime!(form.columns / SIDE);
    #[unroll]
    for pass in 0..comptime!(form.depth().div_ceil(most)) {
        let count = comptime!(usize::min(most, form.depth() - pass * most));
        store_sums::<N>(sums, scores, comptime!(pass * most), count, form);
        #[unroll]
        for at in 0..comptime!(count * SIDE / QUAD / 2) {
            // A pass with fewer columns has shorter halves.
            let column = UNIT_POS_X / comptime!(SIDE as u32) * comptime!((count * SIDE / 2) as u32)
                + comptime!((at * QUAD) as u32);
            let from = UNIT_POS_Y as usize * comptime!(form.scores())
                + (UNIT_POS_X as usize % SIDE) * comptime!(form.score_pitch());
            let value = Vector::<f32, N>::reinterpret(scores[from + column as usize / QUAD]) * Vector::new(factor);
            if row < rows.tokens {
                let place =
                    row * comptime!(rows.width as u32) + rows.left + comptime!((pass * most * SIDE) as u32) + column;
                out[place as usize / QUAD] = Vector::cast_from(value);
            }
        }
        sync_plane();
    }
}

/// Sums from `first` on into the plane's scores.
#[cube]
fn store_sums<N: Size>(
    sums: &Sequence<Matrix<f32>>,
    scores: &mut [Vector<u32, N>],
    #[comptime] first: usize,
    #[comptime] count: usize,
    #[comptime] form: Form,
) {
    #[unroll]
    for j in 0..count {
        let from = UNIT_POS_Y as usize * comptime!(form.scores()) + comptime!(j * SIDE / QUAD);
        let to = from + comptime!(SIDE * form.score_pitch());
        let pitch = comptime!((form.score_pitch() * QUAD) as u32);
        cmma::store(&mut scores[from..to], sums.index(comptime!(first + j)), pitch, MatrixLayout::RowMajor);
    }
    sync_plane();
}

/// Multiplies each row of a plane's sums by a factor, through the plane's scores.
#[cube]
pub(super) fn rescale<N: Size>(
    sums: &mut Sequence<Matrix<f32>>,
    scores: &mut [Vector<u32, N>],
    factor: f32,
    #[comptime] form: Form,
) {
    let most = comptime!(form.columns / SIDE);
    #[unroll]
    for pass in 0..comptime!(form.depth().div_ceil(most)) {
        let count = comptime!(usize::min(most, form.depth() - pass * most));
        store_sums::<N>(&*sums, scores, comptime!(pass * most), count, form);
        #[unroll]
        for at in 0..comptime!(count * SIDE / QUAD / 2) {
            let column = UNIT_POS_X / comptime!(SIDE as u32) * comptime!((count * SIDE / 2) as u32)
                + comptime!((at * QUAD) as u32);
            let place = UNIT_POS_Y as usize * comptime!(form.scores())
                + (UNIT_POS_X as usize % SIDE) * comptime!(form.score_pitch())
                + column as usize / QUAD;
            let value = Vector::<f32, N>::reinterpret(scores[place]) * Vector::new(factor);
            scores[place] = Vector::<u32, N>::reinterpret(value);
        }
        sync_plane();
        #[unroll]
        for j in 0..count {
            let from = UNIT_POS_Y as usize * comptime!(form.scores()) + comptime!(j * SIDE / QUAD);
            let to = from + comptime!(SIDE * form.score_pitch());
            let pitch = comptime!((form.score_pitch() * QUAD) as u32);
            let sum = sums.index_mut(comptime!(pass * most + j));
            cmma::load_with_layout(sum, &scores[from..to], pitch, MatrixLayout::RowMajor);
        }
        sync_plane();
    }
}

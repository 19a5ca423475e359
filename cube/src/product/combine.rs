//! Owns what is added to products after they are made: parts of a split sum, a bias, a residual. Knows no layer.

use std::ops::Range;

use cubecl::ir::ElemType;
use cubecl::prelude::*;

use crate::Array;
use crate::launch::spread;

/// `first + second + bias + residual`.
#[must_use]
pub(super) fn sum(
    first: &Array,
    second: Option<&Array>,
    bias: Option<&Array>,
    residual: Option<&Array>,
    dtype: ElemType,
) -> Array {
    let out = Array::empty(&first.client, first.shape, dtype);
    let (count, dim) = spread(&first.client, out.length());
    sum_kernel::launch(
        &first.client,
        count,
        dim,
        first.arg(),
        second.unwrap_or(first).arg(),
        bias.unwrap_or(first).arg(),
        residual.unwrap_or(first).arg(),
        out.arg(),
        first.shape[1] as u32,
        [second.is_some(), bias.is_some(), residual.is_some()],
        bias.map_or(first.dtype, |bias| bias.dtype),
        dtype,
    );
    out
}

#[cube(launch)]
fn sum_kernel<B: Float, O: Float>(
    first: &[f32],
    second: &[f32],
    bias: &[B],
    residual: &[f32],
    out: &mut [O],
    columns: u32,
    #[comptime] given: [bool; 3],
    #[define(B)] _bias: ElemType,
    #[define(O)] _output: ElemType,
) {
    if ABSOLUTE_POS < out.len() {
        let mut value = first[ABSOLUTE_POS];
        if comptime!(given[0]) {
            value += second[ABSOLUTE_POS];
        }
        if comptime!(given[1]) {
            value += f32::cast_from(bias[ABSOLUTE_POS % columns as usize]);
        }
        if comptime!(given[2]) {
            value += residual[ABSOLUTE_POS];
        }
        out[ABSOLUTE_POS] = O::cast_from(value);
    }
}

/// Rows and columns of `[splits * m, n]` parts, summed over the parts and times a factor, or their transpose.
#[must_use]
pub(super) fn block(
    parts: &Array,
    splits: usize,
    [rows, columns]: [Range<usize>; 2],
    factor: f32,
    transposed: bool,
    dtype: ElemType,
) -> Array {
    let shape = if transposed { [columns.len(), rows.len()] } else { [rows.len(), columns.len()] };
    let out = Array::empty(&parts.client, shape, dtype);
    let (count, dim) = spread(&parts.client, out.length());
    block_kernel::launch(
        &parts.client,
        count,
        dim,
        parts.arg(),
        out.arg(),
        splits as u32,
        (parts.shape[0] / splits) as u32,
        parts.shape[1] as u32,
        rows.start as u32,
        columns.start as u32,
        shape[1] as u32,
        factor,
        transposed,
        dtype,
    );
    out
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn block_kernel<O: Float>(
    parts: &[f32],
    out: &mut [O],
    splits: u32,
    m: u32,
    n: u32,
    first_row: u32,
    first_column: u32,
    width: u32,
    factor: f32,
    #[comptime] transposed: bool,
    #[define(O)] _output: ElemType,
) {
    if ABSOLUTE_POS < out.len() {
        let (i, j) = (ABSOLUTE_POS as u32 / width, ABSOLUTE_POS as u32 % width);
        let mut at = (first_row + i) * n + first_column + j;
        if comptime!(transposed) {
            at = (first_row + j) * n + first_column + i;
        }
        let mut value = 0.0f32;
        for split in 0..splits {
            value += parts[(split * m * n + at) as usize];
        }
        out[ABSOLUTE_POS] = O::cast_from(value * factor);
    }
}

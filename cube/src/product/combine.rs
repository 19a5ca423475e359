//! Owns what is added to products after they are made: parts of a split sum, a bias, a residual. Knows no layer.

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

/// `[splits * m, n]` parts, summed.
#[must_use]
pub(super) fn parts(parts: &Array, splits: usize, dtype: ElemType) -> Array {
    let out = Array::empty(&parts.client, [parts.shape[0] / splits, parts.shape[1]], dtype);
    let (count, dim) = spread(&parts.client, out.length());
    parts_kernel::launch(&parts.client, count, dim, parts.arg(), out.arg(), splits as u32, dtype);
    out
}

#[cube(launch)]
fn parts_kernel<O: Float>(parts: &[f32], out: &mut [O], splits: u32, #[define(O)] _output: ElemType) {
    if ABSOLUTE_POS < out.len() {
        let mut sum = 0.0f32;
        for split in 0..splits {
            sum += parts[split as usize * out.len() + ABSOLUTE_POS];
        }
        out[ABSOLUTE_POS] = O::cast_from(sum);
    }
}

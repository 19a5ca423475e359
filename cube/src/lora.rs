//! Owns a frozen linear with low-rank adapters beside it, forward and backward. Knows neither names of modules nor where the
//! adapter's numbers are stored.
//!
//! `y = residual + x * W^T + bias + u * (s * B)^T` with `u = x * A^T`; several adapters stand side by side in one `A`, and their
//! B, transposed, in one block-diagonal matrix, so that a packed linear is one product with a short one beside it.
//! Backward: `p = dy * (s * B)`, `dx = dy * W + p * A`, `dA = p^T * x`, `dB = s * dy^T * u`.

use std::ops::Range;

use cubecl::ir::ElemType;
use cubecl::prelude::*;

use crate::Array;
use crate::launch::spread;
use crate::product::{Narrow, Product};

/// Rows of an adapter are filled up to a multiple of this.
const RANKS: usize = crate::planes::WIDTH;

/// The adapters beside a packed linear, ready for products.
#[derive(Clone)]
pub struct Adapter {
    /// `[ranks, in]`, the A of each part stacked, in the format of the weight. Rows of zeros follow, up to a multiple of
    /// [`RANKS`], so that rows of `u` and `p` are as long as kernels on matrix units ask for.
    pub a: Array,
    /// `[ranks, out]`, the transposed B of each part in its own rows and columns, times the scale, in the format of the weight;
    /// as many rows as `a`.
    pub b: Array,
    /// All ranks, without the rows of zeros.
    pub ranks: usize,
    /// What the product of an adapter is multiplied by.
    pub scale: f32,
    /// Outputs and ranks of each part.
    pub parts: Vec<[Range<usize>; 2]>,
}

impl Adapter {
    /// From A and the B of each part in f32, with the outputs and ranks of each.
    #[must_use]
    pub fn new(a: &Array, b: &[(Array, [Range<usize>; 2])], outputs: usize, scale: f32, dtype: ElemType) -> Self {
        let ranks = a.shape[0];
        let all = Array::empty(&a.client, [ranks.next_multiple_of(RANKS), outputs], dtype);
        let (count, dim) = spread(&a.client, all.length());
        let part = |at: usize| &b[at.min(b.len() - 1)];
        let parts: Vec<_> = b.iter().map(|(_, place)| place.clone()).collect();
        diagonal_kernel::launch(
            &a.client,
            count,
            dim,
            part(0).0.arg(),
            part(1).0.arg(),
            part(2).0.arg(),
            all.arg(),
            outputs as u32,
            scale,
            b.len(),
            places(&parts),
            dtype,
        );
        Adapter { a: filled(a, dtype), b: all, ranks, scale, parts }
    }
}

/// `y` in `dtype` and, where there is an adapter, `u`, with a column for each row of [`Adapter::a`]. `dropped` is x with
/// dropout, where there is any.
#[must_use]
pub fn forward(
    x: &Array,
    dropped: Option<&Array>,
    weight: &Array,
    bias: Option<&Array>,
    adapter: Option<&Adapter>,
    residual: Option<&Array>,
    dtype: ElemType,
) -> (Array, Option<Array>) {
    let u = adapter.map(|adapter| Narrow::of(dropped.unwrap_or(x).plain(), adapter.a.transposed()).whole(x.dtype));
    let beside = adapter.zip(u.as_ref()).map(|(adapter, u)| [u.plain(), adapter.b.plain()]);
    let y = Product { main: [x.plain(), weight.transposed()], beside, bias, residual }.run(dtype);
    (y, u)
}

/// What goes back through a linear.
pub struct Backward<'a> {
    /// `[T, out]` in the format of the weight.
    pub dy: &'a Array,
    /// `[T, in]`, with dropout where there was any.
    pub x: &'a Array,
    /// `[out, in]`.
    pub weight: &'a Array,
    /// The adapter and its `u`.
    pub adapter: Option<(&'a Adapter, &'a Array)>,
}

impl Backward<'_> {
    /// `p = dy * (s * B)`, where there is an adapter.
    #[must_use]
    pub fn p(&self) -> Option<Array> {
        self.adapter.map(|(adapter, _)| Narrow::of(self.dy.plain(), adapter.b.transposed()).whole(self.dy.dtype))
    }

    /// The gradient of the input, without the adapter's part where `p` is not given.
    #[must_use]
    pub fn dx(&self, p: Option<&Array>) -> Array {
        let beside = self.adapter.zip(p).map(|((adapter, _), p)| [p.plain(), adapter.a.plain()]);
        let main = [self.dy.plain(), self.weight.plain()];
        Product { main, beside, bias: None, residual: None }.run(self.dy.dtype)
    }

    /// The gradients of the adapter in f32: that of A, and then that of the B of each part, row by row.
    #[must_use]
    pub fn gradients(&self, p: &Array) -> Option<Array> {
        let (adapter, u) = self.adapter?;
        let a = Narrow::of(p.transposed(), self.x.plain());
        let b = Narrow::of(self.dy.transposed(), u.plain());
        let a_kept = adapter.ranks * adapter.a.shape[1];
        let length = a_kept + adapter.parts.iter().map(|[rows, ranks]| rows.len() * ranks.len()).sum::<usize>();
        let out = Array::empty(&p.client, [1, length], f32::elem_type_native());
        let (count, dim) = spread(&p.client, length);
        gradients_kernel::launch(
            &p.client,
            count,
            dim,
            a.parts().arg(),
            b.parts().arg(),
            out.arg(),
            a.splits() as u32,
            b.splits() as u32,
            a_kept as u32,
            adapter.a.length() as u32,
            self.dy.shape[1] as u32 * adapter.a.shape[0] as u32,
            adapter.a.shape[0] as u32,
            adapter.scale,
            adapter.parts.len(),
            places(&adapter.parts),
        );
        Some(out)
    }
}

/// Outputs and ranks of up to three parts, from and to; the last again where there are fewer.
fn places(parts: &[[Range<usize>; 2]]) -> [[u32; 4]; 3] {
    [0, 1, 2].map(|at| {
        let [outputs, ranks] = &parts[at.min(parts.len() - 1)];
        [outputs.start as u32, outputs.end as u32, ranks.start as u32, ranks.end as u32]
    })
}

/// Values of the parts before one.
fn before(places: [[u32; 4]; 3], part: usize) -> u32 {
    places[..part].iter().map(|[top, bottom, left, right]| (bottom - top) * (right - left)).sum()
}

/// Sums the parts of both products into one piece: `a` as it is, of `b` the blocks on its diagonal times a factor.
#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn gradients_kernel(
    a: &[f32],
    b: &[f32],
    out: &mut [f32],
    a_splits: u32,
    b_splits: u32,
    a_kept: u32,
    a_length: u32,
    b_length: u32,
    ranks: u32,
    scale: f32,
    #[comptime] parts: usize,
    #[comptime] places: [[u32; 4]; 3],
) {
    if ABSOLUTE_POS < out.len() {
        let place = ABSOLUTE_POS as u32;
        let mut sum = 0.0f32;
        if place < a_kept {
            for split in 0..a_splits {
                sum += a[(split * a_length + place) as usize];
            }
        } else {
            let place = place - a_kept;
            let mut at = 0u32;
            #[unroll]
            for part in 0..parts {
                let (top, left, width) =
                    comptime!((places[part][0], places[part][2], places[part][3] - places[part][2]));
                let first = comptime!(before(places, part));
                if place >= first {
                    at = (top + (place - first) / width) * ranks + left + (place - first) % width;
                }
            }
            for split in 0..b_splits {
                sum += b[(split * b_length + at) as usize];
            }
            sum *= scale;
        }
        out[ABSOLUTE_POS] = sum;
    }
}

/// An array in a format, with rows of zeros up to a multiple of [`RANKS`].
fn filled(array: &Array, dtype: ElemType) -> Array {
    let [rows, columns] = array.shape;
    let out = Array::empty(&array.client, [rows.next_multiple_of(RANKS), columns], dtype);
    let (count, dim) = spread(&array.client, out.length());
    fill_kernel::launch(&array.client, count, dim, array.arg(), out.arg(), array.length() as u32, dtype);
    out
}

#[cube(launch)]
fn fill_kernel<O: Float>(array: &[f32], out: &mut [O], length: u32, #[define(O)] _output: ElemType) {
    if ABSOLUTE_POS < out.len() {
        let inside = ABSOLUTE_POS < length as usize;
        let value = array[select(inside, ABSOLUTE_POS, 0usize)];
        out[ABSOLUTE_POS] = O::cast_from(select(inside, value, 0.0f32));
    }
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn diagonal_kernel<O: Float>(
    first: &[f32],
    second: &[f32],
    third: &[f32],
    out: &mut [O],
    outputs: u32,
    scale: f32,
    #[comptime] parts: usize,
    #[comptime] places: [[u32; 4]; 3],
    #[define(O)] _output: ElemType,
) {
    if ABSOLUTE_POS < out.len() {
        let (column, row) = (ABSOLUTE_POS as u32 / outputs, ABSOLUTE_POS as u32 % outputs);
        let mut value = 0.0f32;
        #[unroll]
        for part in 0..parts {
            let (top, bottom) = comptime!((places[part][0], places[part][1]));
            let (left, right) = comptime!((places[part][2], places[part][3]));
            if row >= top && row < bottom && column >= left && column < right {
                let at = ((row - top) * (right - left) + column - left) as usize;
                if comptime!(part == 0) {
                    value = first[at];
                } else if comptime!(part == 1) {
                    value = second[at];
                } else {
                    value = third[at];
                }
            }
        }
        out[ABSOLUTE_POS] = O::cast_from(value * scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elementwise;
    use crate::testing::{array, close, formats, numbers, read, stored, tolerance};

    /// An array in a format, and the numbers it holds after rounding.
    fn rounded(shape: [usize; 2], seed: u64, dtype: ElemType) -> (Array, Vec<f64>) {
        let small: Vec<f32> = numbers(shape[0] * shape[1], seed).into_iter().map(|value| value * 0.5).collect();
        let (array, values) = stored(shape, &small, dtype);
        (array, values.into_iter().map(f64::from).collect())
    }

    fn wide(array: &Array) -> Vec<f32> {
        read(&elementwise::cast(array, f32::elem_type_native(), 1.0))
    }

    /// The first columns of an array; the others must be zero.
    fn cut(array: &Array, columns: usize) -> Vec<f32> {
        let values = wide(array);
        let rows = values.chunks(array.shape[1]);
        assert!(rows.clone().all(|row| row[columns..].iter().all(|value| *value == 0.0)));
        rows.flat_map(|row| row[..columns].to_vec()).collect()
    }

    /// `a * b` of row-major matrices, one of them possibly transposed.
    fn times(a: &[f64], b: &[f64], [m, k, n]: [usize; 3], [a_t, b_t]: [bool; 2]) -> Vec<f64> {
        let left = |i: usize, l: usize| if a_t { a[l * m + i] } else { a[i * k + l] };
        let right = |l: usize, j: usize| if b_t { b[j * k + l] } else { b[l * n + j] };
        (0..m * n).map(|at| (0..k).map(|l| left(at / n, l) * right(l, at % n)).sum()).collect()
    }

    #[test]
    fn linears_with_adapters_equal_their_naive_form() {
        if !crate::testing::asked() {
            return;
        }
        for dtype in formats() {
            let tolerance = tolerance(dtype, 2e-5);
            for (t, inner, widths, rank) in [
                (5, 8, vec![8, 8, 16], 8),
                (200, 96, vec![100, 52], 16),
                (128, 256, vec![128], 16),
                (70, 33, vec![41], 4),
                (150, 64, vec![64, 24, 24], 1),
                (90, 64, vec![14], 2),
            ] {
                let out: usize = widths.iter().sum();
                let ranks = rank * widths.len();
                let (x, hx) = rounded([t, inner], 1, dtype);
                let (w, hw) = rounded([out, inner], 2, dtype);
                let (bias, hbias) = rounded([1, out], 3, dtype);
                let (dy, hdy) = rounded([t, out], 4, dtype);
                let residual = array([t, out], &numbers(t * out, 5));
                let (a, ha) = rounded([ranks, inner], 6, dtype);
                let a = elementwise::cast(&a, f32::elem_type_native(), 1.0);
                let mut hb = vec![0.0; out * ranks];
                let mut parts = Vec::new();
                let mut column = 0;
                for (index, &width) in widths.iter().enumerate() {
                    let (b, values) = rounded([width, rank], 7 + index as u64, dtype);
                    for (at, value) in values.iter().enumerate() {
                        hb[(column + at / rank) * ranks + index * rank + at % rank] = 2.0 * value;
                    }
                    let place = [column..column + width, index * rank..(index + 1) * rank];
                    parts.push((elementwise::cast(&b, f32::elem_type_native(), 1.0), place));
                    column += width;
                }
                let adapter = Adapter::new(&a, &parts, out, 2.0, dtype);
                let (y, u) =
                    forward(&x, None, &w, Some(&bias), Some(&adapter), Some(&residual), f32::elem_type_native());
                let u = u.unwrap();
                let u_kept = cut(&u, ranks);
                let hu: Vec<f64> = u_kept.iter().copied().map(f64::from).collect();
                close(&u_kept, &times(&hx, &ha, [t, inner, ranks], [false, true]), tolerance);
                let mut want = times(&hx, &hw, [t, inner, out], [false, true]);
                let side = times(&hu, &hb, [t, ranks, out], [false, true]);
                let residual = read(&residual);
                for at in 0..t * out {
                    want[at] += side[at] + hbias[at % out] + f64::from(residual[at]);
                }
                close(&read(&y), &want, tolerance);

                let backward = Backward { dy: &dy, x: &x, weight: &w, adapter: Some((&adapter, &u)) };
                let p = backward.p().unwrap();
                let p_kept = cut(&p, ranks);
                let hp: Vec<f64> = p_kept.iter().copied().map(f64::from).collect();
                close(&p_kept, &times(&hdy, &hb, [t, out, ranks], [false, false]), tolerance);
                let mut want = times(&hdy, &hw, [t, out, inner], [false, false]);
                let side = times(&hp, &ha, [t, ranks, inner], [false, false]);
                want.iter_mut().zip(side).for_each(|(want, side)| *want += side);
                close(&wide(&backward.dx(Some(&p))), &want, tolerance);
                let gradients = backward.gradients(&p).unwrap();
                let gradients = read(&gradients);
                let (da, db) = gradients.split_at(ranks * inner);
                close(da, &times(&hp, &hx, [ranks, t, inner], [true, false]), tolerance);
                let all = times(&hdy, &hu, [out, t, ranks], [true, false]);
                let blocks = parts.iter().flat_map(|(_, [rows, columns])| {
                    rows.clone().flat_map(|row| columns.clone().map(move |column| row * ranks + column))
                });
                let want: Vec<f64> = blocks.map(|at| 2.0 * all[at]).collect();
                close(db, &want, tolerance);
            }
        }
    }
}

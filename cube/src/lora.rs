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

/// The adapters beside a packed linear, ready for products.
#[derive(Clone)]
pub struct Adapter {
    /// `[ranks, in]`, the A of each part stacked, in the format of the weight.
    pub a: Array,
    /// `[ranks, out]`, the transposed B of each part in its own rows and columns, times the scale, in the format of the weight.
    pub b: Array,
    /// What the product of an adapter is multiplied by.
    pub scale: f32,
    /// Outputs and ranks of each part.
    pub parts: Vec<[Range<usize>; 2]>,
}

/// Gradients of an adapter in f32.
pub struct Gradients {
    /// Like [`Adapter::a`].
    pub a: Array,
    /// The block of each part.
    pub b: Vec<Array>,
}

impl Adapter {
    /// From A and the B of each part in f32, with the outputs and ranks of each.
    #[must_use]
    pub fn new(a: &Array, b: &[(Array, [Range<usize>; 2])], outputs: usize, scale: f32, dtype: ElemType) -> Self {
        let ranks = a.shape[0];
        let all = Array::empty(&a.client, [ranks, outputs], dtype);
        let (count, dim) = spread(&a.client, all.length());
        let part = |at: usize| &b[at.min(b.len() - 1)];
        let places = [0, 1, 2].map(|at| {
            let [outputs, ranks] = &part(at).1;
            [outputs.start as u32, outputs.end as u32, ranks.start as u32, ranks.end as u32]
        });
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
            places,
            dtype,
        );
        Adapter { a: cast(a, dtype), b: all, scale, parts: b.iter().map(|(_, place)| place.clone()).collect() }
    }
}

/// `y` in `dtype` and, where there is an adapter, `u`. `dropped` is x with dropout, where there is any.
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

    /// The gradients of the adapter.
    #[must_use]
    pub fn gradients(&self, p: &Array) -> Option<Gradients> {
        let (adapter, u) = self.adapter?;
        let wide = f32::elem_type_native();
        let a = Narrow::of(p.transposed(), self.x.plain()).whole(wide);
        let all = Narrow::of(self.dy.transposed(), u.plain());
        let block = |place: [Range<usize>; 2]| all.block(place, adapter.scale, false, wide);
        let b = adapter.parts.iter().cloned().map(block).collect();
        Some(Gradients { a, b })
    }
}

fn cast(array: &Array, dtype: ElemType) -> Array {
    let out = Array::empty(&array.client, array.shape, dtype);
    let (count, dim) = spread(&array.client, out.length());
    cast_kernel::launch(&array.client, count, dim, array.arg(), out.arg(), dtype);
    out
}

#[cube(launch)]
fn cast_kernel<O: Float>(array: &[f32], out: &mut [O], #[define(O)] _output: ElemType) {
    if ABSOLUTE_POS < out.len() {
        out[ABSOLUTE_POS] = O::cast_from(array[ABSOLUTE_POS]);
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
    use crate::testing::{array, close, numbers, on_gpu, read};

    /// An array in a format, and the numbers it holds after rounding.
    fn rounded(shape: [usize; 2], seed: u64, dtype: ElemType) -> (Array, Vec<f64>) {
        let small = elementwise::cast(&array(shape, &numbers(shape[0] * shape[1], seed)), dtype, 0.5);
        let values = read(&elementwise::cast(&small, f32::elem_type_native(), 1.0));
        (small, values.into_iter().map(f64::from).collect())
    }

    fn wide(array: &Array) -> Vec<f32> {
        read(&elementwise::cast(array, f32::elem_type_native(), 1.0))
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
        let mut formats = vec![f32::elem_type_native()];
        if on_gpu() {
            formats.extend([half::f16::elem_type_native(), half::bf16::elem_type_native()]);
        }
        for dtype in formats {
            let tolerance = [2e-5, 4e-3, 3e-2][match dtype.size() {
                4 => 0,
                _ if dtype == half::f16::elem_type_native() => 1,
                _ => 2,
            }];
            for (t, inner, widths, rank) in [
                (5, 8, vec![8, 8, 16], 8),
                (200, 96, vec![100, 52], 16),
                (128, 256, vec![128], 16),
                (70, 33, vec![41], 4),
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
                let hu: Vec<f64> = wide(&u).into_iter().map(f64::from).collect();
                close(&wide(&u), &times(&hx, &ha, [t, inner, ranks], [false, true]), tolerance);
                let mut want = times(&hx, &hw, [t, inner, out], [false, true]);
                let side = times(&hu, &hb, [t, ranks, out], [false, true]);
                let residual = read(&residual);
                for at in 0..t * out {
                    want[at] += side[at] + hbias[at % out] + f64::from(residual[at]);
                }
                close(&read(&y), &want, tolerance);

                let backward = Backward { dy: &dy, x: &x, weight: &w, adapter: Some((&adapter, &u)) };
                let p = backward.p().unwrap();
                let hp: Vec<f64> = wide(&p).into_iter().map(f64::from).collect();
                close(&wide(&p), &times(&hdy, &hb, [t, out, ranks], [false, false]), tolerance);
                let mut want = times(&hdy, &hw, [t, out, inner], [false, false]);
                let side = times(&hp, &ha, [t, ranks, inner], [false, false]);
                want.iter_mut().zip(side).for_each(|(want, side)| *want += side);
                close(&wide(&backward.dx(Some(&p))), &want, tolerance);
                let gradients = backward.gradients(&p).unwrap();
                close(&read(&gradients.a), &times(&hp, &hx, [ranks, t, inner], [true, false]), tolerance);
                let all = times(&hdy, &hu, [out, t, ranks], [true, false]);
                for (b, (_, [rows, columns])) in gradients.b.iter().zip(&parts) {
                    let block = |row: usize| columns.clone().map(move |column| (row, column));
                    let want: Vec<f64> =
                        rows.clone().flat_map(block).map(|(row, column)| 2.0 * all[row * ranks + column]).collect();
                    close(&read(b), &want, tolerance);
                }
            }
        }
    }
}

//! Owns root-mean-square normalisation of the heads of packed rows, forward and backward. Knows no layer.

use cubecl::prelude::*;

use crate::Array;
use crate::norm::{backward_factors, inverse_rms, normed};
use crate::packed::Packed;
use crate::vector::{Sharing, lane_of, row_of, vector_size};

/// [`crate::norm::rms_norm`] of every query head and every key head of packed rows; values are copied. The result has the format of qkv.
///
/// # Shapes
/// - qkv `[T, (query + 2 * key_value) * head_dim]`; q, k `[1, head_dim]`
#[must_use]
pub fn head_norm(qkv: &Array, q: &Array, k: &Array, heads: Packed, epsilon: f32) -> Array {
    let y = qkv.like();
    if y.length() == 0 {
        return y;
    }
    let size = vector_size(&qkv.client, &[qkv.dtype, q.dtype], &[heads.head_dim]);
    let sharing = Sharing::new(&qkv.client, heads.head_dim / size);
    let rows = qkv.length() / heads.head_dim;
    head_norm_kernel::launch(
        &qkv.client,
        sharing.grid(&qkv.client, rows),
        sharing.dim(),
        size,
        qkv.vectors(size),
        q.vectors(size),
        k.vectors(size),
        y.vectors(size),
        rows,
        epsilon,
        heads,
        sharing,
        qkv.dtype,
        q.dtype,
    );
    y
}

/// Gradient of [`head_norm`] with respect to `qkv`, the values before the norm. The result has the format of qkv, as has dy.
///
/// # Shapes
/// - dy, qkv `[T, (query + 2 * key_value) * head_dim]`; q, k `[1, head_dim]`
#[must_use]
pub fn head_norm_backward(dy: &Array, qkv: &Array, q: &Array, k: &Array, heads: Packed, epsilon: f32) -> Array {
    let dx = qkv.like();
    debug_assert!(dy.dtype == qkv.dtype);
    if dx.length() == 0 {
        return dx;
    }
    let size = vector_size(&qkv.client, &[qkv.dtype, q.dtype], &[heads.head_dim]);
    let sharing = Sharing::new(&qkv.client, heads.head_dim / size);
    let rows = qkv.length() / heads.head_dim;
    head_norm_backward_kernel::launch(
        &qkv.client,
        sharing.grid(&qkv.client, rows),
        sharing.dim(),
        size,
        dy.vectors(size),
        qkv.vectors(size),
        q.vectors(size),
        k.vectors(size),
        dx.vectors(size),
        rows,
        epsilon,
        heads,
        sharing,
        qkv.dtype,
        q.dtype,
    );
    dx
}

#[cube(launch)]
fn head_norm_kernel<X: Float, W: Float, N: Size>(
    x: &[Vector<X, N>],
    q: &[Vector<W, N>],
    k: &[Vector<W, N>],
    y: &mut [Vector<X, N>],
    rows: usize,
    epsilon: f32,
    #[comptime] heads: Packed,
    #[comptime] sharing: Sharing,
    #[define(X)] _x_format: ElemType,
    #[define(W)] _weight_format: ElemType,
) {
    let (vectors, lanes) = comptime!((sharing.vectors, sharing.lanes));
    let (row, lane) = (row_of(sharing), lane_of(sharing));
    let start = min(row, rows - 1) * vectors;
    let rstd = inverse_rms(x, start, epsilon, sharing);
    let head = row % comptime!(heads.all());
    if row < rows {
        for at in range_stepped(lane, vectors, lanes) {
            let value = x[start + at];
            if head < comptime!(heads.query) {
                y[start + at] = Vector::cast_from(normed(value, q[at], rstd));
            } else if head < comptime!(heads.rotated()) {
                y[start + at] = Vector::cast_from(normed(value, k[at], rstd));
            } else {
                y[start + at] = value;
            }
        }
    }
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn head_norm_backward_kernel<X: Float, W: Float, N: Size>(
    dy: &[Vector<X, N>],
    x: &[Vector<X, N>],
    q: &[Vector<W, N>],
    k: &[Vector<W, N>],
    dx: &mut [Vector<X, N>],
    rows: usize,
    epsilon: f32,
    #[comptime] heads: Packed,
    #[comptime] sharing: Sharing,
    #[define(X)] _x_format: ElemType,
    #[define(W)] _weight_format: ElemType,
) {
    let (vectors, lanes) = comptime!((sharing.vectors, sharing.lanes));
    let (row, lane) = (row_of(sharing), lane_of(sharing));
    let start = min(row, rows - 1) * vectors;
    let head = row % comptime!(heads.all());
    let mut squares = Vector::<f32, N>::new(0.0);
    let mut products = Vector::<f32, N>::new(0.0);
    for at in range_stepped(lane, vectors, lanes) {
        let value = Vector::<f32, N>::cast_from(x[start + at]);
        let slope = Vector::<f32, N>::cast_from(dy[start + at]) * head_weight(q, k, at, head, heads);
        squares += value * value;
        products += value * slope;
    }
    let (rstd, pull) = backward_factors(squares.vector_sum(), products.vector_sum(), epsilon, N::value(), sharing);
    if row < rows {
        for at in range_stepped(lane, vectors, lanes) {
            if head < comptime!(heads.rotated()) {
                let value = Vector::<f32, N>::cast_from(x[start + at]);
                let slope = Vector::<f32, N>::cast_from(dy[start + at]) * head_weight(q, k, at, head, heads);
                dx[start + at] = Vector::cast_from(slope * Vector::new(rstd) - value * Vector::new(pull));
            } else {
                dx[start + at] = dy[start + at];
            }
        }
    }
}

#[cube]
fn head_weight<W: Float, N: Size>(
    q: &[Vector<W, N>],
    k: &[Vector<W, N>],
    at: usize,
    head: usize,
    #[comptime] heads: Packed,
) -> Vector<f32, N> {
    let mut weight = q[at];
    if head >= comptime!(heads.query) {
        weight = k[at];
    }
    Vector::cast_from(weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::norm::tests::{one, one_backward};
    use crate::testing::{close, formats, numbers, read, stored, tolerance};

    #[test]
    fn heads_are_normed_and_values_are_copied() {
        if !crate::testing::asked() {
            return;
        }
        let shapes = [(1, 2, 1, 7), (33, 4, 2, 64), (70, 3, 1, 130), (0, 4, 2, 64)];
        for (dtype, shape) in formats().into_iter().flat_map(|dtype| shapes.map(|shape| (dtype, shape))) {
            let (within, (tokens, query, key_value, head_dim)) = (tolerance(dtype, 1e-5), shape);
            let heads = Packed { query, key_value, head_dim };
            let shape = [tokens, heads.all() * head_dim];
            let (x_array, x) = stored(shape, &numbers(shape[0] * shape[1], 1), dtype);
            let (dy_array, dy) = stored(shape, &numbers(shape[0] * shape[1], 2), dtype);
            let (q_array, q) = stored([1, head_dim], &numbers(head_dim, 3), dtype);
            let (k_array, k) = stored([1, head_dim], &numbers(head_dim, 4), dtype);
            let weight = |row: usize| if row % heads.all() < query { &q } else { &k };
            let is_value = |row: usize| row % heads.all() >= query + key_value;
            let wide = |row: &[f32]| row.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
            let rows = || x.chunks(head_dim).zip(dy.chunks(head_dim)).enumerate();
            let y: Vec<f64> =
                rows().flat_map(|(i, (x, _))| if is_value(i) { wide(x) } else { one(x, weight(i), 1e-6) }).collect();
            let dx: Vec<f64> = rows()
                .flat_map(|(i, (x, dy))| if is_value(i) { wide(dy) } else { one_backward(dy, x, weight(i), 1e-6) })
                .collect();
            close(&read(&head_norm(&x_array, &q_array, &k_array, heads, 1e-6)), &y, within);
            close(&read(&head_norm_backward(&dy_array, &x_array, &q_array, &k_array, heads, 1e-6)), &dx, within);
        }
    }
}

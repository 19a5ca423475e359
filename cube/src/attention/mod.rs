//! Owns causal grouped-query attention over packed rows, forward and backward: which implementation a device gets, and which
//! keys each query sees. Knows no layer.
//!
//! `qkv` holds queries, keys and values of a token side by side; documents lie one after the other, and `Sight` says where
//! each begins and ends, so that no list of documents is needed on the device.

mod cached;
mod planes;
mod units;

#[cfg(test)]
mod tests;

use cubecl::client::Client;
use cubecl::prelude::*;

use crate::vector::{Sharing, lane_of, row_of, row_sum, vector_size};
use crate::{Array, Packed};

pub use cached::{Cache, append, cached};

/// What each token of a batch sees and is seen by, as rows of the batch: u32 `[1, T]` each, ascending.
#[derive(Clone)]
pub struct Sight {
    /// The first key that a query sees; the last is its own.
    pub first: Array,
    /// The last query that sees a key.
    pub last: Array,
}

impl Sight {
    /// First keys and last queries of documents with ascending bounds that start at zero, where a query sees `window` tokens,
    /// itself included, or all before it.
    #[must_use]
    pub fn rows(bounds: &[usize], window: Option<usize>) -> [Vec<u32>; 2] {
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for pair in bounds.windows(2) {
            for row in pair[0]..pair[1] {
                let back = window.map_or(pair[0], |window| pair[0].max((row + 1).saturating_sub(window)));
                let ahead = window.map_or(pair[1] - 1, |window| (pair[1] - 1).min(row + window - 1));
                first.push(back as u32);
                last.push(ahead as u32);
            }
        }
        [first, last]
    }

    /// On a device.
    #[must_use]
    pub fn new(client: &Client, bounds: &[usize], window: Option<usize>) -> Self {
        let [first, last] = Sight::rows(bounds, window);
        Sight { first: Array::from_u32(client, &first), last: Array::from_u32(client, &last) }
    }
}

/// What attention kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Shape {
    heads: Packed,
}

impl Shape {
    /// Values of a packed row.
    fn width(self) -> usize {
        self.heads.all() * self.heads.head_dim
    }

    /// What scores are multiplied by.
    fn scale(self) -> f32 {
        1.0 / (self.heads.head_dim as f32).sqrt()
    }

    fn on_matrices(self, qkv: &Array) -> bool {
        planes::are_offered_for(&qkv.client, qkv.dtype, self)
    }
}

/// The output, in the format of qkv, and the log-sum-exp of the scores in f32.
///
/// # Shapes
/// - qkv `[T, (query + 2 * key_value) * head_dim]`, output `[T, query * head_dim]`, log-sum-exp `[T, query]`
#[must_use]
pub fn forward(qkv: &Array, heads: Packed, sight: &Sight) -> (Array, Array) {
    let shape = Shape { heads };
    let output = Array::empty(&qkv.client, [qkv.shape[0], heads.query * heads.head_dim], qkv.dtype);
    let sums = Array::empty(&qkv.client, [qkv.shape[0], heads.query], f32::elem_type_native());
    let run = if shape.on_matrices(qkv) { planes::forward } else { units::forward };
    run(qkv, &output, &sums, shape, sight);
    (output, sums)
}

/// The gradient of qkv: with P the probabilities, `dV = P^T dO`, `dS = P (dO V^T - D)`, `D = rowsum(dO O)`, `dQ = s dS K`,
/// `dK = s dS^T Q`, where keys and values sum over the query heads of their group.
///
/// # Shapes
/// - d_output, output `[T, query * head_dim]`, log_sum_exp `[T, query]`, qkv and the result
///   `[T, (query + 2 * key_value) * head_dim]`
#[must_use]
pub fn backward(
    d_output: &Array,
    qkv: &Array,
    output: &Array,
    log_sum_exp: &Array,
    heads: Packed,
    sight: &Sight,
) -> Array {
    let shape = Shape { heads };
    let deltas = Array::empty(&qkv.client, log_sum_exp.shape, f32::elem_type_native());
    let size = heads.head_dim;
    let width = vector_size(&qkv.client, &[d_output.dtype, output.dtype], &[size]);
    let sharing = Sharing::new(&qkv.client, size / width);
    deltas_kernel::launch(
        &qkv.client,
        sharing.grid(&qkv.client, deltas.length()),
        sharing.dim(),
        width,
        d_output.vectors(width),
        output.vectors(width),
        deltas.arg(),
        sharing,
        d_output.dtype,
        output.dtype,
    );
    let d_qkv = qkv.like();
    if shape.on_matrices(qkv) && d_output.dtype == qkv.dtype {
        planes::backward(d_output, qkv, log_sum_exp, &deltas, &d_qkv, shape, sight);
    } else {
        units::backward(d_output, qkv, log_sum_exp, &deltas, &d_qkv, shape, sight);
    }
    d_qkv
}

#[cube(launch)]
fn deltas_kernel<D: Float, F: Float, N: Size>(
    d_output: &[Vector<D, N>],
    output: &[Vector<F, N>],
    deltas: &mut [f32],
    #[comptime] sharing: Sharing,
    #[define(D)] _gradient: ElemType,
    #[define(F)] _format: ElemType,
) {
    let row = row_of(sharing);
    let inside = row < deltas.len();
    let known = select(inside, row, 0usize);
    let mut sums = Vector::<f32, N>::new(0.0);
    for at in range_stepped(lane_of(sharing), comptime!(sharing.vectors), comptime!(sharing.lanes)) {
        let place = known * comptime!(sharing.vectors) + at;
        sums += Vector::cast_from(d_output[place]) * Vector::cast_from(output[place]);
    }
    let sum = row_sum(sums.vector_sum(), sharing);
    if inside && lane_of(sharing) == 0 {
        deltas[row] = sum;
    }
}

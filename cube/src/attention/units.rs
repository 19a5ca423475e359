//! Owns attention on plain units, for devices and formats without matrix units: right everywhere, one workgroup a row and head.
//! Knows no layer and no document.
//!
//! A workgroup takes keys (or queries, for the gradient of keys) a stretch at a time: first each unit makes the score of one, then
//! each unit adds the whole stretch to its columns.

use cubecl::prelude::Array as Local;
use cubecl::prelude::*;

use super::{Shape, Sight};
use crate::Array;
use crate::launch::grid;

/// Units of a workgroup, and rows of a stretch.
const UNITS: usize = 64;

/// See [`super::forward`].
pub(super) fn forward(qkv: &Array, output: &Array, sums: &Array, shape: Shape, sight: &Sight) {
    let (tokens, query) = (qkv.shape[0], shape.heads.query);
    forward_kernel::launch(
        &qkv.client,
        grid(&qkv.client, tokens * query),
        CubeDim::new_1d(UNITS as u32),
        qkv.arg(),
        sight.first.arg(),
        output.arg(),
        sums.arg(),
        tokens,
        shape,
        qkv.dtype,
    );
}

/// See [`super::backward`].
pub(super) fn backward(
    d_output: &Array,
    qkv: &Array,
    sums: &Array,
    deltas: &Array,
    d_qkv: &Array,
    shape: Shape,
    sight: &Sight,
) {
    let tokens = qkv.shape[0];
    queries_kernel::launch(
        &qkv.client,
        grid(&qkv.client, tokens * shape.heads.query),
        CubeDim::new_1d(UNITS as u32),
        d_output.arg(),
        qkv.arg(),
        sums.arg(),
        deltas.arg(),
        sight.first.arg(),
        d_qkv.arg(),
        tokens,
        shape,
        d_output.dtype,
        qkv.dtype,
    );
    keys_kernel::launch(
        &qkv.client,
        grid(&qkv.client, tokens * shape.heads.key_value),
        CubeDim::new_1d(UNITS as u32),
        d_output.arg(),
        qkv.arg(),
        sums.arg(),
        deltas.arg(),
        sight.first.arg(),
        sight.last.arg(),
        d_qkv.arg(),
        tokens,
        shape,
        d_output.dtype,
        qkv.dtype,
    );
}

#[cube(launch)]
fn forward_kernel<F: Float>(
    qkv: &[F],
    first: &[u32],
    output: &mut [F],
    sums: &mut [f32],
    tokens: usize,
    #[comptime] shape: Shape,
    #[define(F)] _format: ElemType,
) {
    let heads = comptime!(shape.heads);
    let (row, head) = (CUBE_POS / heads.query, CUBE_POS % heads.query);
    if row < tokens {
        let unit = UNIT_POS as usize;
        let key_head = heads.query + head / comptime!(heads.query / heads.key_value);
        let value_head = key_head + heads.key_value;
        let query = row * comptime!(shape.width()) + head * heads.head_dim;
        let seen = first[row] as usize;
        let mut shared = Shared::<[f32]>::new_slice(UNITS);

        let mut peak = f32::new(-3.0e38);
        let mut sum = 0.0f32;
        for key in range_stepped(seen + unit, row + 1, UNITS) {
            let score = dot::<F, F>(
                qkv,
                query,
                qkv,
                key * comptime!(shape.width()) + key_head * heads.head_dim,
                heads.head_dim,
            );
            let score = score * comptime!(shape.scale());
            let largest = f32::max(peak, score);
            sum = sum * f32::exp(peak - largest) + f32::exp(score - largest);
            peak = largest;
        }
        let largest = of_all(peak, &mut shared, true);
        let log_sum = largest + f32::ln(of_all(sum * f32::exp(peak - largest), &mut shared, false));
        if unit == 0 {
            sums[row * heads.query + head] = log_sum;
        }

        let columns = comptime!(heads.head_dim.div_ceil(UNITS));
        let mut total = Local::<f32>::new(columns);
        #[unroll]
        for part in 0..columns {
            total[part] = 0.0;
        }
        for keys in range_stepped(seen, row + 1, UNITS) {
            let key = keys + unit;
            let mut share = 0.0f32;
            if key <= row {
                let at = key * comptime!(shape.width()) + key_head * heads.head_dim;
                let score = dot::<F, F>(qkv, query, qkv, at, heads.head_dim);
                share = f32::exp(score * comptime!(shape.scale()) - log_sum);
            }
            shared[unit] = share;
            sync_cube();
            let count = usize::min(UNITS, row + 1 - keys);
            #[unroll]
            for part in 0..columns {
                let column = unit + comptime!(part * UNITS);
                if column < heads.head_dim {
                    for at in 0..count {
                        let place = (keys + at) * comptime!(shape.width()) + value_head * heads.head_dim + column;
                        total[part] += shared[at] * f32::cast_from(qkv[place]);
                    }
                }
            }
            sync_cube();
        }
        #[unroll]
        for part in 0..columns {
            let column = unit + comptime!(part * UNITS);
            if column < heads.head_dim {
                output[(row * heads.query + head) * heads.head_dim + column] = F::cast_from(total[part]);
            }
        }
    }
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn queries_kernel<D: Float, F: Float>(
    d_output: &[D],
    qkv: &[F],
    sums: &[f32],
    deltas: &[f32],
    first: &[u32],
    d_qkv: &mut [F],
    tokens: usize,
    #[comptime] shape: Shape,
    #[define(D)] _gradient: ElemType,
    #[define(F)] _format: ElemType,
) {
    let heads = comptime!(shape.heads);
    let (row, head) = (CUBE_POS / heads.query, CUBE_POS % heads.query);
    if row < tokens {
        let unit = UNIT_POS as usize;
        let key_head = heads.query + head / comptime!(heads.query / heads.key_value);
        let value_head = key_head + heads.key_value;
        let query = row * comptime!(shape.width()) + head * heads.head_dim;
        let out = (row * heads.query + head) * heads.head_dim;
        let (log_sum, delta) = (sums[row * heads.query + head], deltas[row * heads.query + head]);
        let seen = first[row] as usize;
        let mut shared = Shared::<[f32]>::new_slice(UNITS);
        let columns = comptime!(heads.head_dim.div_ceil(UNITS));
        let mut total = Local::<f32>::new(columns);
        #[unroll]
        for part in 0..columns {
            total[part] = 0.0;
        }
        for keys in range_stepped(seen, row + 1, UNITS) {
            let key = keys + unit;
            let mut change = 0.0f32;
            if key <= row {
                let at = key * comptime!(shape.width());
                let score = dot::<F, F>(qkv, query, qkv, at + key_head * heads.head_dim, heads.head_dim);
                let share = f32::exp(score * comptime!(shape.scale()) - log_sum);
                let through = dot::<D, F>(d_output, out, qkv, at + value_head * heads.head_dim, heads.head_dim);
                change = share * (through - delta) * comptime!(shape.scale());
            }
            shared[unit] = change;
            sync_cube();
            let count = usize::min(UNITS, row + 1 - keys);
            #[unroll]
            for part in 0..columns {
                let column = unit + comptime!(part * UNITS);
                if column < heads.head_dim {
                    for at in 0..count {
                        let place = (keys + at) * comptime!(shape.width()) + key_head * heads.head_dim + column;
                        total[part] += shared[at] * f32::cast_from(qkv[place]);
                    }
                }
            }
            sync_cube();
        }
        #[unroll]
        for part in 0..columns {
            let column = unit + comptime!(part * UNITS);
            if column < heads.head_dim {
                d_qkv[query + column] = F::cast_from(total[part]);
            }
        }
    }
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn keys_kernel<D: Float, F: Float>(
    d_output: &[D],
    qkv: &[F],
    sums: &[f32],
    deltas: &[f32],
    first: &[u32],
    last: &[u32],
    d_qkv: &mut [F],
    tokens: usize,
    #[comptime] shape: Shape,
    #[define(D)] _gradient: ElemType,
    #[define(F)] _format: ElemType,
) {
    let heads = comptime!(shape.heads);
    let (key, group) = (CUBE_POS / heads.key_value, CUBE_POS % heads.key_value);
    if key < tokens {
        let unit = UNIT_POS as usize;
        let members = comptime!(heads.query / heads.key_value);
        let key_place = key * comptime!(shape.width()) + (heads.query + group) * heads.head_dim;
        let value_place = key_place + heads.key_value * heads.head_dim;
        let end = last[key] as usize + 1;
        let mut shares = Shared::<[f32]>::new_slice(UNITS);
        let mut changes = Shared::<[f32]>::new_slice(UNITS);
        let columns = comptime!(heads.head_dim.div_ceil(UNITS));
        let mut d_key = Local::<f32>::new(columns);
        let mut d_value = Local::<f32>::new(columns);
        #[unroll]
        for part in 0..columns {
            d_key[part] = 0.0;
            d_value[part] = 0.0;
        }
        for member in 0..members {
            let head = group * members + member;
            for rows in range_stepped(key, end, UNITS) {
                let row = rows + unit;
                let mut share = 0.0f32;
                let mut change = 0.0f32;
                if row < end {
                    if first[row] as usize <= key {
                        let query = row * comptime!(shape.width()) + head * heads.head_dim;
                        let place = row * heads.query + head;
                        let score = dot::<F, F>(qkv, query, qkv, key_place, heads.head_dim);
                        share = f32::exp(score * comptime!(shape.scale()) - sums[place]);
                        let through = dot::<D, F>(d_output, place * heads.head_dim, qkv, value_place, heads.head_dim);
                        change = share * (through - deltas[place]) * comptime!(shape.scale());
                    }
                }
                shares[unit] = share;
                changes[unit] = change;
                sync_cube();
                let count = usize::min(UNITS, end - rows);
                #[unroll]
                for part in 0..columns {
                    let column = unit + comptime!(part * UNITS);
                    if column < heads.head_dim {
                        for at in 0..count {
                            let row = rows + at;
                            let query = row * comptime!(shape.width()) + head * heads.head_dim + column;
                            let out = (row * heads.query + head) * heads.head_dim + column;
                            d_key[part] += changes[at] * f32::cast_from(qkv[query]);
                            d_value[part] += shares[at] * f32::cast_from(d_output[out]);
                        }
                    }
                }
                sync_cube();
            }
        }
        #[unroll]
        for part in 0..columns {
            let column = unit + comptime!(part * UNITS);
            if column < heads.head_dim {
                d_qkv[key_place + column] = F::cast_from(d_key[part]);
                d_qkv[value_place + column] = F::cast_from(d_value[part]);
            }
        }
    }
}

/// Product of two stretches of values.
#[cube]
pub(super) fn dot<A: Float, B: Float>(
    a: &[A],
    a_start: usize,
    b: &[B],
    b_start: usize,
    #[comptime] length: usize,
) -> f32 {
    let mut sum = 0.0f32;
    for at in 0..length {
        sum += f32::cast_from(a[a_start + at]) * f32::cast_from(b[b_start + at]);
    }
    sum
}

/// The largest value, or the sum, over all units, for each of them. In the order of the units.
#[cube]
pub(super) fn of_all(value: f32, shared: &mut [f32], #[comptime] largest: bool) -> f32 {
    shared[UNIT_POS as usize] = value;
    sync_cube();
    let mut result = shared[0];
    for at in 1..UNITS {
        if comptime!(largest) {
            result = f32::max(result, shared[at]);
        } else {
            result += shared[at];
        }
    }
    sync_cube();
    result
}

//! Owns attention of new tokens over cached keys and values followed by their own, for generation and scoring, and the growth of
//! the cache. Knows no layer and no sampling. One workgroup a token and head, on plain units.

use cubecl::prelude::Array as Local;
use cubecl::prelude::*;

use super::Shape;
use super::units::{dot, of_all};
use crate::launch::{grid, spread};
use crate::{Array, Packed};

/// Units of a workgroup, and rows of a stretch.
const UNITS: usize = 64;

/// Cached keys and values, and which rows the new tokens continue.
pub struct Cache<'a> {
    /// `[rows * capacity, key_value * head_dim]`.
    pub keys: &'a Array,
    /// Like the keys.
    pub values: &'a Array,
    /// Tokens a row can hold.
    pub capacity: usize,
    /// For each new token four numbers: its row of the cache, how many tokens of that row are valid, the first new token of its
    /// document, and how many tokens the query sees, itself included.
    pub places: &'a Array,
}

/// Attention of new tokens.
///
/// # Shapes
/// - qkv `[T, (query + 2 * key_value) * head_dim]`, output `[T, query * head_dim]`
#[must_use]
pub fn cached(qkv: &Array, cache: &Cache<'_>, heads: Packed) -> Array {
    let tokens = qkv.shape[0];
    let output = Array::empty(&qkv.client, [tokens, heads.query * heads.head_dim], qkv.dtype);
    cached_kernel::launch(
        &qkv.client,
        grid(&qkv.client, tokens * heads.query),
        CubeDim::new_1d(UNITS as u32),
        qkv.arg(),
        cache.keys.arg(),
        cache.values.arg(),
        cache.places.arg(),
        output.arg(),
        tokens,
        cache.capacity,
        Shape { heads },
        qkv.dtype,
    );
    output
}

/// Writes the keys and values of new tokens into the cache, in place.
pub fn append(qkv: &Array, cache: &Cache<'_>, heads: Packed) {
    let width = heads.key_value * heads.head_dim;
    let (count, dim) = spread(&qkv.client, qkv.shape[0] * width);
    append_kernel::launch(
        &qkv.client,
        count,
        dim,
        qkv.arg(),
        cache.places.arg(),
        cache.keys.arg(),
        cache.values.arg(),
        qkv.shape[0],
        cache.capacity,
        Shape { heads },
        qkv.dtype,
    );
}

#[cube(launch)]
fn append_kernel<F: Float>(
    qkv: &[F],
    places: &[u32],
    keys: &mut [F],
    values: &mut [F],
    tokens: usize,
    capacity: usize,
    #[comptime] shape: Shape,
    #[define(F)] _format: ElemType,
) {
    let heads = comptime!(shape.heads);
    let width = comptime!(heads.key_value * heads.head_dim);
    let (token, column) = (ABSOLUTE_POS / width, ABSOLUTE_POS % width);
    if token < tokens {
        let (row, past, start) =
            (places[4 * token] as usize, places[4 * token + 1] as usize, places[4 * token + 2] as usize);
        let to = (row * capacity + past + token - start) * width + column;
        let from = token * comptime!(shape.width()) + heads.query * heads.head_dim + column;
        keys[to] = qkv[from];
        values[to] = qkv[from + width];
    }
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn cached_kernel<F: Float>(
    qkv: &[F],
    keys: &[F],
    values: &[F],
    places: &[u32],
    output: &mut [F],
    tokens: usize,
    capacity: usize,
    #[comptime] shape: Shape,
    #[define(F)] _format: ElemType,
) {
    let heads = comptime!(shape.heads);
    let (token, head) = (CUBE_POS / heads.query, CUBE_POS % heads.query);
    if token < tokens {
        let unit = UNIT_POS as usize;
        let group = head / comptime!(heads.query / heads.key_value);
        let width = comptime!(heads.key_value * heads.head_dim);
        let query = token * comptime!(shape.width()) + head * heads.head_dim;
        let (row, past, start) =
            (places[4 * token] as usize, places[4 * token + 1] as usize, places[4 * token + 2] as usize);
        // Positions count from the beginning of the row of the cache.
        let end = past + token - start + 1;
        let seen = end - usize::min(end, places[4 * token + 3] as usize);
        let cache_place = row * capacity * width + group * heads.head_dim;
        let own_place = start * comptime!(shape.width()) + (heads.query + group) * heads.head_dim;
        let mut shared = Shared::<[f32]>::new_slice(UNITS);

        let mut peak = f32::new(-3.0e38);
        let mut sum = 0.0f32;
        for key in range_stepped(seen + unit, end, UNITS) {
            let score = score::<F>(qkv, keys, query, key, past, cache_place, own_place, shape);
            let largest = f32::max(peak, score);
            sum = sum * f32::exp(peak - largest) + f32::exp(score - largest);
            peak = largest;
        }
        let largest = of_all(peak, &mut shared, true);
        let log_sum = largest + f32::ln(of_all(sum * f32::exp(peak - largest), &mut shared, false));

        let columns = comptime!(heads.head_dim.div_ceil(UNITS));
        let mut total = Local::<f32>::new(columns);
        #[unroll]
        for part in 0..columns {
            total[part] = 0.0;
        }
        for stretch in range_stepped(seen, end, UNITS) {
            let key = stretch + unit;
            let mut share = 0.0f32;
            if key < end {
                share = f32::exp(score::<F>(qkv, keys, query, key, past, cache_place, own_place, shape) - log_sum);
            }
            shared[unit] = share;
            sync_cube();
            let count = usize::min(UNITS, end - stretch);
            #[unroll]
            for part in 0..columns {
                let column = unit + comptime!(part * UNITS);
                if column < heads.head_dim {
                    for at in 0..count {
                        let key = stretch + at;
                        let value = if key < past {
                            f32::cast_from(values[cache_place + key * width + column])
                        } else {
                            let place = own_place + (key - past) * comptime!(shape.width()) + width + column;
                            f32::cast_from(qkv[place])
                        };
                        total[part] += shared[at] * value;
                    }
                }
            }
            sync_cube();
        }
        #[unroll]
        for part in 0..columns {
            let column = unit + comptime!(part * UNITS);
            if column < heads.head_dim {
                output[(token * heads.query + head) * heads.head_dim + column] = F::cast_from(total[part]);
            }
        }
    }
}

/// Scaled product of a query with a key of the cache or of a new token.
#[cube]
#[allow(clippy::too_many_arguments)]
fn score<F: Float>(
    qkv: &[F],
    keys: &[F],
    query: usize,
    key: usize,
    past: usize,
    cache_place: usize,
    own_place: usize,
    #[comptime] shape: Shape,
) -> f32 {
    let size = comptime!(shape.heads.head_dim);
    let score = if key < past {
        let width = comptime!(shape.heads.key_value * shape.heads.head_dim);
        dot::<F, F>(qkv, query, keys, cache_place + key * width, size)
    } else {
        dot::<F, F>(qkv, query, qkv, own_place + (key - past) * comptime!(shape.width()), size)
    };
    score * comptime!(shape.scale())
}

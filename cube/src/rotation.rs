//! Owns rotary positions of packed rows, half-rotation form (Hugging Face order), forward and backward. Knows positions as
//! numbers and the table as given.

use cubecl::prelude::*;

use crate::Array;
use crate::launch::spread;
use crate::packed::Packed;
use crate::vector::vector_size;

/// Cosines and sines for every position up to a length, f32 `[positions, head_dim / 2]` each.
#[derive(Clone)]
pub struct Table {
    /// Cosines.
    pub cos: Array,
    /// Sines.
    pub sin: Array,
}

/// Whether values are rotated forward or, as the gradient needs, back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// By `+angle`.
    Forward,
    /// By `-angle`.
    Backward,
}

/// Queries and keys of qkv rotated by the positions of their tokens; values are copied.
/// `[a, b] -> [a * cos - b * sin, b * cos + a * sin]` with a and b the halves of a head, and cos and sin rounded to the format of
/// qkv, as the reference implementations round them.
///
/// # Shapes
/// - qkv `[T, (query + 2 * key_value) * head_dim]`, positions u32 `[1, T]`
#[must_use]
pub fn rotate(qkv: &Array, heads: Packed, table: &Table, positions: &Array, direction: Direction) -> Array {
    let out = qkv.like();
    start(qkv, out.clone(), heads, table, positions, direction, false);
    out
}

/// [`rotate`] in the place of qkv.
pub fn rotate_in_place(qkv: &Array, heads: Packed, table: &Table, positions: &Array, direction: Direction) {
    start(qkv, qkv.clone(), heads, table, positions, direction, true);
}

fn start(
    qkv: &Array,
    out: Array,
    heads: Packed,
    table: &Table,
    positions: &Array,
    direction: Direction,
    in_place: bool,
) {
    if qkv.length() == 0 {
        return;
    }
    let client = &qkv.client;
    let half = heads.head_dim / 2;
    let size = vector_size(client, &[qkv.dtype], &[half]);
    let turned = if in_place { heads.rotated() } else { heads.all() };
    let units = qkv.shape[0] * turned * (half / size);
    let (count, dim) = spread(client, units);
    let y = if in_place { BufferArg::Alias { input_pos: 0, length: [qkv.length() / size] } } else { out.vectors(size) };
    rotate_kernel::launch(
        client,
        count,
        dim,
        size,
        qkv.vectors(size),
        table.cos.vectors(size),
        table.sin.vectors(size),
        positions.arg(),
        y,
        units,
        if direction == Direction::Forward { 1.0 } else { -1.0 },
        heads,
        turned,
        half / size,
        qkv.dtype,
    );
}

/// One unit for each pair of vectors of the first `turned` heads of a row.
#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn rotate_kernel<F: Float, N: Size>(
    x: &[Vector<F, N>],
    cos: &[Vector<f32, N>],
    sin: &[Vector<f32, N>],
    positions: &[u32],
    y: &mut [Vector<F, N>],
    units: usize,
    sign: f32,
    #[comptime] heads: Packed,
    #[comptime] turned: usize,
    #[comptime] half: usize,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS < units {
        let column = ABSOLUTE_POS % half;
        let head = ABSOLUTE_POS / half % turned;
        let token = ABSOLUTE_POS / comptime!(half * turned);
        let at = (token * comptime!(heads.all()) + head) * comptime!(2 * half) + column;
        let (first, second) = (x[at], x[at + half]);
        if head < comptime!(heads.rotated()) {
            let angle = positions[token] as usize * half + column;
            let c = Vector::<f32, N>::cast_from(Vector::<F, N>::cast_from(cos[angle]));
            let s = Vector::<f32, N>::cast_from(Vector::<F, N>::cast_from(sin[angle])) * Vector::new(sign);
            let (a, b) = (Vector::<f32, N>::cast_from(first), Vector::<f32, N>::cast_from(second));
            y[at] = Vector::cast_from(a * c - b * s);
            y[at + half] = Vector::cast_from(b * c + a * s);
        } else {
            y[at] = first;
            y[at + half] = second;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::{array, client, close, formats, numbers, read, stored, tolerance};

    #[test]
    fn heads_turn_by_the_angle_of_their_token_and_back() {
        if !crate::testing::asked() {
            return;
        }
        let shapes = [(1, 1, 1, 14), (33, 4, 2, 64), (70, 3, 1, 130), (0, 1, 1, 8)];
        for (dtype, shape) in formats().into_iter().flat_map(|dtype| shapes.map(|shape| (dtype, shape))) {
            let (within, (tokens, query, key_value, head_dim)) = (tolerance(dtype, 1e-5), shape);
            let heads = Packed { query, key_value, head_dim };
            let (half, shape) = (head_dim / 2, [tokens, heads.all() * head_dim]);
            let (_, x) = stored(shape, &numbers(shape[0] * shape[1], 1), dtype);
            let angles: Vec<f32> = numbers(97 * half, 2);
            let of = |f: fn(f32) -> f32| angles.iter().map(|&angle| f(angle)).collect::<Vec<_>>();
            let (cos, sin) = (of(f32::cos), of(f32::sin));
            let table = Table { cos: array([97, half], &cos), sin: array([97, half], &sin) };
            let positions: Vec<u32> = (0..tokens as u32).map(|token| token * 31 % 97).collect();
            if tokens == 0 {
                let none = Array::empty(&client(), [1, 0], u32::elem_type_native());
                let x = stored(shape, &x, dtype).0;
                assert_eq!(rotate(&x, heads, &table, &none, Direction::Forward).shape, shape);
                continue;
            }
            let place = Array::from_u32(&client(), &positions);
            for (direction, sign) in [(Direction::Forward, 1.0), (Direction::Backward, -1.0)] {
                let mut want: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
                for (row, head) in want.chunks_mut(head_dim).enumerate() {
                    if row % heads.all() >= heads.rotated() {
                        continue;
                    }
                    let angle = positions[row / heads.all()] as usize * half;
                    for j in 0..half {
                        let (c, s) = (f64::from(cos[angle + j]), sign * f64::from(sin[angle + j]));
                        let (a, b) = (head[j], head[j + half]);
                        (head[j], head[j + half]) = (a * c - b * s, b * c + a * s);
                    }
                }
                let x = stored(shape, &x, dtype).0;
                close(&read(&rotate(&x, heads, &table, &place, direction)), &want, within);
                rotate_in_place(&x, heads, &table, &place, direction);
                close(&read(&x), &want, within);
            }
        }
    }
}

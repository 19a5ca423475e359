//! Owns the forward pass: one walk over the keys with a running largest score of each query. Knows no layer.
//!
//! The sums on the matrix units are rescaled only where a largest score grew by more than [`SLACK`], since what they are
//! relative to is arbitrary as long as nothing overflows; f16 holds `e^8` with room.

use cubecl::prelude::*;

use super::stage::{Rows, hold, own_rows, put, renew};
use super::tile::{accumulate, half, leave, own_column, own_row, read, rescale, score, write};
use super::{Form, PLANES, QUAD, ROWS};
use crate::planes::zeros;

/// By how much a score may exceed what exponentials are relative to.
const SLACK: f32 = 8.0;
/// Less than any score.
const NONE: f32 = -3.0e38;

#[cube(launch)]
pub(super) fn forward_kernel<F: Float, N: Size>(
    qkv: &[Vector<u32, N>],
    first: &[u32],
    output: &mut [Vector<F, N>],
    sums: &mut [f32],
    tokens: u32,
    #[comptime] form: Form,
    #[define(F)] _format: ElemType,
) {
    let heads = comptime!(form.shape.heads);
    let (size, width) = comptime!((heads.head_dim, form.shape.width()));
    let (head, start) = (CUBE_POS_Y, CUBE_POS_X * comptime!(ROWS as u32));
    let key_head = comptime!(heads.query as u32) + head / comptime!((heads.query / heads.key_value) as u32);
    let key_rows = Rows { left: key_head * comptime!(size as u32), tokens, width };
    let value_rows = Rows { left: key_rows.left + comptime!((heads.key_value * size) as u32), tokens, width };
    let row = start + own_row();
    let seen = first[u32::min(row, tokens - 1) as usize];

    let mut keys = Shared::<[Vector<u32, N>]>::new_slice(comptime!(form.staged()));
    let mut values = Shared::<[Vector<u32, N>]>::new_slice(comptime!(form.staged()));
    let mut scores = Shared::<[Vector<u32, N>]>::new_slice(comptime!(PLANES * form.scores()));
    let mut shares = Shared::<[Vector<F, N>]>::new_slice(comptime!(PLANES * form.shares()));

    let left = head * comptime!(size as u32);
    let q = own_rows::<F, N>(qkv, &mut keys, start, &Rows { left, tokens, width }, form);
    let mut total = zeros(comptime!(form.depth()));
    let mut peak = f32::new(NONE);
    let mut sum = 0.0f32;
    let end = u32::min(start + comptime!(ROWS as u32), tokens);
    let begin = first[start as usize];
    let next_keys = hold::<N>(qkv, begin, &key_rows, form);
    let next_values = hold::<N>(qkv, begin, &value_rows, form);
    for from in range_stepped(begin, end, comptime!(form.columns as u32)) {
        sync_cube();
        put::<N>(&next_keys, &mut keys, form);
        put::<N>(&next_values, &mut values, form);
        sync_cube();
        renew::<N>(&next_keys, qkv, from + comptime!(form.columns as u32), &key_rows, form);
        renew::<N>(&next_values, qkv, from + comptime!(form.columns as u32), &value_rows, form);
        score::<F, N>(&q, &keys, &mut scores, form);

        let mut held = Sequence::<Vector<f32, N>>::new();
        let mut largest = f32::new(NONE);
        #[unroll]
        for at in 0..comptime!(half(form)) {
            let mut value = read::<N>(&scores, at, form) * Vector::new(comptime!(form.shape.scale()));
            #[unroll]
            for lane in 0..QUAD {
                let key = from + own_column(at, form) + comptime!(lane as u32);
                let visible = key >= seen && key <= row;
                let one = select(visible, value.extract(lane), f32::new(NONE));
                largest = f32::max(largest, one);
                value.insert(lane, one);
            }
            held.push(value);
        }
        largest = f32::max(largest, plane_shuffle_xor(largest, 16u32));
        sync_plane();
        if plane_any(largest > peak + f32::new(SLACK)) {
            let next = f32::max(peak, largest);
            let factor = f32::exp(peak - next);
            rescale::<N>(&mut total, &mut scores, factor, form);
            sum *= factor;
            peak = next;
        }
        #[unroll]
        for at in 0..comptime!(half(form)) {
            let score = *held.index(at);
            let mut value = Vector::<f32, N>::new(0.0);
            #[unroll]
            for lane in 0..QUAD {
                let one = score.extract(lane);
                // Where a query has seen nothing yet, what is hidden is as large as the largest. What is no number stays none.
                let share = select(one <= f32::new(NONE), 0.0f32, f32::exp(one - peak));
                sum += share;
                value.insert(lane, share);
            }
            write::<F, N>(&mut shares, value, at, form);
        }
        sync_plane();
        accumulate::<F, N>(&shares, &values, &total, form);
    }
    sum += plane_shuffle_xor(sum, 16u32);
    if UNIT_POS_X < 16 && row < tokens {
        sums[(row * comptime!(heads.query as u32) + head) as usize] = peak + f32::ln(sum);
    }
    sync_plane();
    let rows = Rows { left, tokens, width: comptime!(heads.query * size) };
    leave::<F, N>(&total, &mut scores, output, 1.0 / sum, start, &rows, form);
}

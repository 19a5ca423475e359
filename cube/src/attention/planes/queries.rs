//! Owns the gradient of queries: a workgroup owns queries and walks over the keys they see. Knows no layer.

use cubecl::prelude::*;

use super::stage::{Rows, hold, own_rows, put, renew};
use super::tile::{accumulate, half, leave, own_column, own_row, read, score, write};
use super::{Form, PLANES, QUAD, ROWS};
use crate::planes::zeros;

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
pub(super) fn queries_kernel<F: Float, N: Size>(
    d_output: &[Vector<u32, N>],
    qkv: &[Vector<u32, N>],
    sums: &[f32],
    deltas: &[f32],
    first: &[u32],
    d_qkv: &mut [Vector<F, N>],
    tokens: u32,
    #[comptime] form: Form,
    #[define(F)] _format: ElemType,
) {
    let heads = comptime!(form.shape.heads);
    let (size, width) = comptime!((heads.head_dim, form.shape.width()));
    let (head, start) = (CUBE_POS_Y, CUBE_POS_X * comptime!(ROWS as u32));
    let left = head * comptime!(size as u32);
    let key_head = comptime!(heads.query as u32) + head / comptime!((heads.query / heads.key_value) as u32);
    let own = Rows { left, tokens, width };
    let key_rows = Rows { left: key_head * comptime!(size as u32), tokens, width };
    let value_rows = Rows { left: key_rows.left + comptime!((heads.key_value * size) as u32), tokens, width };
    let row = start + own_row();
    let known = u32::min(row, tokens - 1);
    let seen = first[known as usize];
    let log_sum = sums[(known * comptime!(heads.query as u32) + head) as usize];
    let delta = deltas[(known * comptime!(heads.query as u32) + head) as usize];
    let scale = comptime!(form.shape.scale());

    let mut keys = Shared::<[Vector<u32, N>]>::new_slice(comptime!(form.staged()));
    let mut values = Shared::<[Vector<u32, N>]>::new_slice(comptime!(form.staged()));
    let mut scores = Shared::<[Vector<u32, N>]>::new_slice(comptime!(PLANES * form.scores()));
    let mut shares = Shared::<[Vector<F, N>]>::new_slice(comptime!(PLANES * form.shares()));

    let q = own_rows::<F, N>(qkv, &mut keys, start, &own, form);
    let outputs = Rows { left, tokens, width: comptime!(heads.query * size) };
    let d_o = own_rows::<F, N>(d_output, &mut keys, start, &outputs, form);
    let total = zeros(comptime!(form.depth()));
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
        #[unroll]
        for at in 0..comptime!(half(form)) {
            let mut value = read::<N>(&scores, at, form);
            #[unroll]
            for lane in 0..QUAD {
                let key = from + own_column(at, form) + comptime!(lane as u32);
                let share = f32::exp(value.extract(lane) * scale - log_sum);
                value.insert(lane, select(key >= seen && key <= row, share * scale, 0.0f32));
            }
            held.push(value);
        }
        sync_plane();
        score::<F, N>(&d_o, &values, &mut scores, form);
        #[unroll]
        for at in 0..comptime!(half(form)) {
            let change = read::<N>(&scores, at, form) - Vector::new(delta);
            write::<F, N>(&mut shares, *held.index(at) * change, at, form);
        }
        sync_plane();
        accumulate::<F, N>(&shares, &keys, &total, form);
    }
    sync_plane();
    leave::<F, N>(&total, &mut scores, d_qkv, 1.0, start, &own, form);
}

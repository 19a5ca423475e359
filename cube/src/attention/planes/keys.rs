//! Owns the gradients of keys and values: a workgroup owns keys and walks over the queries that see them, of every head of
//! the group. Knows no layer.

use cubecl::prelude::*;

use super::stage::{Rows, hold, own_rows, put, renew};
use super::tile::{accumulate, half, leave, own_column, own_row, read, score, write};
use super::{Form, PLANES, QUAD, ROWS};
use crate::planes::zeros;

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
pub(super) fn keys_kernel<F: Float, N: Size>(
    d_output: &[Vector<u32, N>],
    qkv: &[Vector<u32, N>],
    sums: &[f32],
    deltas: &[f32],
    first: &[u32],
    last: &[u32],
    d_qkv: &mut [Vector<F, N>],
    tokens: u32,
    #[comptime] form: Form,
    #[define(F)] _format: ElemType,
) {
    let heads = comptime!(form.shape.heads);
    let (size, width) = comptime!((heads.head_dim, form.shape.width()));
    let group = comptime!((heads.query / heads.key_value) as u32);
    let (key_head, start) = (CUBE_POS_Y, CUBE_POS_X * comptime!(ROWS as u32));
    let left = (comptime!(heads.query as u32) + key_head) * comptime!(size as u32);
    let key_rows = Rows { left, tokens, width };
    let value_rows = Rows { left: left + comptime!((heads.key_value * size) as u32), tokens, width };
    let key = start + own_row();
    let scale = comptime!(form.shape.scale());

    let mut queries = Shared::<[Vector<u32, N>]>::new_slice(comptime!(form.staged()));
    let mut changes = Shared::<[Vector<u32, N>]>::new_slice(comptime!(form.staged()));
    let mut scores = Shared::<[Vector<u32, N>]>::new_slice(comptime!(PLANES * form.scores()));
    let mut shares = Shared::<[Vector<F, N>]>::new_slice(comptime!(PLANES * form.shares()));
    // Of each staged query the log-sum-exp, the delta and the first key it sees.
    let mut log_sums = Shared::<[f32]>::new_slice(comptime!(form.columns));
    let mut pulls = Shared::<[f32]>::new_slice(comptime!(form.columns));
    let mut seen = Shared::<[u32]>::new_slice(comptime!(form.columns));

    let k = own_rows::<F, N>(qkv, &mut queries, start, &key_rows, form);
    let v = own_rows::<F, N>(qkv, &mut queries, start, &value_rows, form);
    let d_k = zeros(comptime!(form.depth()));
    let d_v = zeros(comptime!(form.depth()));
    let end = last[u32::min(start + comptime!(ROWS as u32 - 1), tokens - 1) as usize] + 1;
    let first_left = key_head * group * comptime!(size as u32);
    let query_rows = Rows { left: first_left, tokens, width };
    let change_rows = Rows { left: first_left, tokens, width: comptime!(heads.query * size) };
    let next_queries = hold::<N>(qkv, start, &query_rows, form);
    let next_changes = hold::<N>(d_output, start, &change_rows, form);
    for member in 0..group {
        let head = key_head * group + member;
        for from in range_stepped(start, end, comptime!(form.columns as u32)) {
            sync_cube();
            put::<N>(&next_queries, &mut queries, form);
            put::<N>(&next_changes, &mut changes, form);
            if UNIT_POS < comptime!(form.columns as u32) {
                let query = u32::min(from + UNIT_POS, tokens - 1);
                let place = (query * comptime!(heads.query as u32) + head) as usize;
                log_sums[UNIT_POS as usize] = sums[place];
                pulls[UNIT_POS as usize] = deltas[place];
                seen[UNIT_POS as usize] = first[query as usize];
            }
            sync_cube();
            // After the last queries of a head come the first of the next; after all of them some are read again.
            let after = from + comptime!(form.columns as u32);
            let next = select(after < end, after, start);
            let other = select(after < end, member, u32::min(member + 1, group - 1));
            let left = (key_head * group + other) * comptime!(size as u32);
            renew::<N>(&next_queries, qkv, next, &Rows { left, tokens, width }, form);
            let width = comptime!(heads.query * size);
            renew::<N>(&next_changes, d_output, next, &Rows { left, tokens, width }, form);
            score::<F, N>(&k, &queries, &mut scores, form);
            let mut held = Sequence::<Vector<f32, N>>::new();
            #[unroll]
            for at in 0..comptime!(half(form)) {
                let mut value = read::<N>(&scores, at, form);
                #[unroll]
                for lane in 0..QUAD {
                    let column = own_column(at, form) + comptime!(lane as u32);
                    let query = from + column;
                    let share = f32::exp(value.extract(lane) * scale - log_sums[column as usize]);
                    let visible = key >= seen[column as usize] && key <= query && query < tokens;
                    value.insert(lane, select(visible, share, 0.0f32));
                }
                write::<F, N>(&mut shares, value, at, form);
                held.push(value);
            }
            sync_plane();
            accumulate::<F, N>(&shares, &changes, &d_v, form);
            score::<F, N>(&v, &changes, &mut scores, form);
            #[unroll]
            for at in 0..comptime!(half(form)) {
                let mut value = read::<N>(&scores, at, form);
                #[unroll]
                for lane in 0..QUAD {
                    let column = own_column(at, form) + comptime!(lane as u32);
                    value.insert(lane, (value.extract(lane) - pulls[column as usize]) * scale);
                }
                write::<F, N>(&mut shares, *held.index(at) * value, at, form);
            }
            sync_plane();
            accumulate::<F, N>(&shares, &queries, &d_k, form);
        }
    }
    sync_plane();
    leave::<F, N>(&d_k, &mut scores, d_qkv, 1.0, start, &key_rows, form);
    leave::<F, N>(&d_v, &mut scores, d_qkv, 1.0, start, &value_rows, form);
}

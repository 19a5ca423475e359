//! Owns causal attention on the CPU, tiled over queries: forward, backward and over a cache.
//! Knows slices; every (document, key head) pair is one task that owns its gradients, so results never depend on the
//! order of threads.

use std::ops::Range;

use rayon::prelude::*;

use super::product::{Cores, Into, Matrix, multiply};
use super::simd;
use crate::kernels::attention::{CachedDocuments, Documents, Heads};

/// Queries per tile: small enough to waste little above the diagonal.
const TILE: usize = 64;

/// What the forward pass left for the backward pass.
#[derive(Clone, Copy)]
pub(super) struct Saved<'a> {
    pub(super) qkv: &'a [f32],
    pub(super) output: &'a [f32],
    pub(super) lse: &'a [f32],
}

/// Keys and values of earlier tokens.
#[derive(Clone, Copy)]
pub(super) struct Cache<'a> {
    pub(super) keys: &'a [f32],
    pub(super) values: &'a [f32],
    pub(super) capacity: usize,
}

/// One document and one key head.
struct Task {
    document: Range<usize>,
    key_head: usize,
}

/// Output `[T, heads * head_dim]` and log-sum-exp `[T, heads]`.
pub(super) fn forward(qkv: &[f32], heads: Heads, documents: &Documents) -> (Vec<f32>, Vec<f32>) {
    let tokens = documents.tokens();
    let tasks = tasks(documents, heads);
    let parts: Vec<(Vec<f32>, Vec<f32>)> = tasks.par_iter().map(|task| forward_task(qkv, heads, task)).collect();
    let mut output = vec![0.0; tokens * heads.query_width()];
    let mut lse = vec![0.0; tokens * heads.query];
    let group = heads.group();
    for (task, (part, part_lse)) in tasks.iter().zip(&parts) {
        place(&mut output, heads.query_width(), task, task.key_head * group * heads.head_dim, part);
        place(&mut lse, heads.query, task, task.key_head * group, part_lse);
    }
    (output, lse)
}

/// Gradient of `qkv`.
pub(super) fn backward(d_output: &[f32], saved: Saved<'_>, heads: Heads, documents: &Documents) -> Vec<f32> {
    let width = heads.packed_width();
    let tasks = tasks(documents, heads);
    let parts: Vec<[Vec<f32>; 3]> = tasks.par_iter().map(|task| backward_task(d_output, saved, heads, task)).collect();
    let mut gradient = vec![0.0; documents.tokens() * width];
    let head = heads.head_dim;
    for (task, [dq, dk, dv]) in tasks.iter().zip(&parts) {
        place(&mut gradient, width, task, task.key_head * heads.group() * head, dq);
        place(&mut gradient, width, task, heads.query_width() + task.key_head * head, dk);
        place(&mut gradient, width, task, heads.query_width() + heads.key_width() + task.key_head * head, dv);
    }
    gradient
}

/// Output of new tokens over cached and own keys.
pub(super) fn cached(qkv: &[f32], cache: Cache<'_>, heads: Heads, documents: &CachedDocuments) -> Vec<f32> {
    let (head, group, packed) = (heads.head_dim, heads.group(), heads.packed_width());
    let entries: Vec<_> = documents.entries().collect();
    let tasks: Vec<_> = entries.iter().flat_map(|entry| (0..heads.key_value).map(move |k| (entry, k))).collect();
    let parts: Vec<Vec<f32>> = tasks
        .par_iter()
        .map(|((range, row, past), key_head)| {
            let (new, past) = (range.len(), *past);
            let cached_at = row * cache.capacity * heads.key_width() + key_head * head;
            let gather = |cached: &[f32], column: usize| {
                let mut rows = Vec::with_capacity((past + new) * head);
                for token in 0..past {
                    rows.extend_from_slice(&cached[cached_at + token * heads.key_width()..][..head]);
                }
                for token in range.clone() {
                    rows.extend_from_slice(&qkv[token * packed + column..][..head]);
                }
                rows
            };
            let k = gather(cache.keys, heads.query_width() + key_head * head);
            let v = gather(cache.values, heads.query_width() + heads.key_width() + key_head * head);
            let keys = past + new;
            let mut out = vec![0.0; new * group * head];
            for member in 0..group {
                let column = (key_head * group + member) * head;
                for tile in (0..new).step_by(TILE) {
                    let queries = TILE.min(new - tile);
                    let q = Matrix::new(&qkv[(range.start + tile) * packed + column..], queries, head, packed);
                    let seen = past + tile + queries;
                    let mut scores = vec![0.0; queries * seen];
                    let k = Matrix::new(&k, keys.min(seen), head, head);
                    multiply(&mut scores, seen, Into::Overwrite, heads.scale(), q, k.t(), Cores::Here);
                    simd::vectorised(|| softmax(&mut scores, seen, past + tile, heads, None));
                    let scores = Matrix::new(&scores, queries, seen, seen);
                    let at = tile * group * head + member * head;
                    let v = Matrix::new(&v, seen, head, head);
                    multiply(&mut out[at..], group * head, Into::Overwrite, 1.0, scores, v, Cores::Here);
                }
            }
            out
        })
        .collect();
    let tokens = documents.bounds.last().copied().unwrap_or(0);
    let mut output = vec![0.0; tokens * heads.query_width()];
    for (((range, _, _), key_head), part) in tasks.iter().zip(&parts) {
        let task = Task { document: range.clone(), key_head: *key_head };
        place(&mut output, heads.query_width(), &task, key_head * group * head, part);
    }
    output
}

fn forward_task(qkv: &[f32], heads: Heads, task: &Task) -> (Vec<f32>, Vec<f32>) {
    let (head, group, packed) = (heads.head_dim, heads.group(), heads.packed_width());
    let tokens = task.document.len();
    let (k, v) = key_value(qkv, heads, task);
    let mut output = vec![0.0; tokens * group * head];
    let mut lse = vec![0.0; tokens * group];
    let mut scores = vec![0.0; TILE * tokens];
    let mut tile_lse = [0.0; TILE];
    for member in 0..group {
        for tile in tiles(tokens, heads) {
            let (queries, seen) = (tile.queries.len(), tile.keys.len());
            let scores = &mut scores[..queries * seen];
            let q = query(qkv, packed, heads, task, member, &tile);
            multiply(scores, seen, Into::Overwrite, heads.scale(), q, tile.of(k).t(), Cores::Here);
            simd::vectorised(|| softmax(scores, seen, tile.offset(), heads, Some(&mut tile_lse)));
            for (row, value) in tile.queries.clone().zip(&tile_lse) {
                lse[row * group + member] = *value;
            }
            let scores = Matrix::new(scores, queries, seen, seen);
            let out = &mut output[tile.queries.start * group * head + member * head..];
            multiply(out, group * head, Into::Overwrite, 1.0, scores, tile.of(v), Cores::Here);
        }
    }
    (output, lse)
}

fn backward_task(d_output: &[f32], saved: Saved<'_>, heads: Heads, task: &Task) -> [Vec<f32>; 3] {
    let (head, group, packed, width) = (heads.head_dim, heads.group(), heads.packed_width(), heads.query_width());
    let tokens = task.document.len();
    let (k, v) = key_value(saved.qkv, heads, task);
    let mut dq = vec![0.0; tokens * group * head];
    let (mut dk, mut dv) = (vec![0.0; tokens * head], vec![0.0; tokens * head]);
    let (mut p, mut ds) = (vec![0.0; TILE * tokens], vec![0.0; TILE * tokens]);
    for member in 0..group {
        let column = (task.key_head * group + member) * head;
        for tile in tiles(tokens, heads) {
            let (queries, seen) = (tile.queries.len(), tile.keys.len());
            let (p, ds) = (&mut p[..queries * seen], &mut ds[..queries * seen]);
            let first = task.document.start + tile.queries.start;
            let q = query(saved.qkv, packed, heads, task, member, &tile);
            let d_o = Matrix::new(&d_output[first * width + column..], queries, head, width);
            multiply(p, seen, Into::Overwrite, heads.scale(), q, tile.of(k).t(), Cores::Here);
            multiply(ds, seen, Into::Overwrite, 1.0, d_o, tile.of(v).t(), Cores::Here);
            simd::vectorised(|| {
                for row in 0..queries {
                    let at = (first + row) * width + column;
                    let delta = simd::dot(&d_output[at..at + head], &saved.output[at..at + head]);
                    let lse = saved.lse[(first + row) * heads.query + task.key_head * group + member];
                    let visible = tile.visible(row, heads);
                    let (p, ds) = (&mut p[row * seen..][..seen], &mut ds[row * seen..][..seen]);
                    probabilities(p, ds, visible, lse, delta, heads.scale());
                }
            });
            let (p, ds) = (Matrix::new(p, queries, seen, seen), Matrix::new(ds, queries, seen, seen));
            let out = &mut dq[tile.queries.start * group * head + member * head..];
            multiply(out, group * head, Into::Overwrite, 1.0, ds, tile.of(k), Cores::Here);
            let keys = tile.keys.start * head..tile.keys.end * head;
            multiply(&mut dk[keys.clone()], head, Into::Add, 1.0, ds.t(), q, Cores::Here);
            multiply(&mut dv[keys], head, Into::Add, 1.0, p.t(), d_o, Cores::Here);
        }
    }
    [dq, dk, dv]
}

/// Turns scores into probabilities and `dP` into `dS`, zero where the query may not look.
#[inline(always)]
fn probabilities(p: &mut [f32], ds: &mut [f32], visible: Range<usize>, lse: f32, delta: f32, scale: f32) {
    let (start, end) = (visible.start, visible.end);
    for part in [&mut *p, &mut *ds] {
        part[..start].fill(0.0);
        part[end..].fill(0.0);
    }
    for (p, ds) in p[start..end].iter_mut().zip(&mut ds[start..end]) {
        *p = simd::exp(*p - lse);
        *ds = *p * (*ds - delta) * scale;
    }
}

/// Softmax of each row over the keys its query may see; zero elsewhere. `offset` is the position of the first query
/// relative to the first key.
#[inline(always)]
fn softmax(scores: &mut [f32], keys: usize, offset: usize, heads: Heads, mut lse: Option<&mut [f32; TILE]>) {
    for (row, scores) in scores.chunks_exact_mut(keys).enumerate() {
        let (start, end) = (heads.first_key(offset + row), (offset + row + 1).min(keys));
        scores[..start].fill(0.0);
        scores[end..].fill(0.0);
        let seen = &mut scores[start..end];
        let peak = simd::maximum(seen);
        let sum = simd::exp_in_place(seen, peak);
        let factor = 1.0 / sum;
        seen.iter_mut().for_each(|score| *score *= factor);
        if let Some(lse) = &mut lse {
            lse[row] = peak + sum.ln();
        }
    }
}

/// A tile of queries and the keys any of them sees, both in document positions.
struct Tile {
    queries: Range<usize>,
    keys: Range<usize>,
}

impl Tile {
    fn offset(&self) -> usize {
        self.queries.start - self.keys.start
    }

    fn of<'a>(&self, (values, stride, head): (&'a [f32], usize, usize)) -> Matrix<'a> {
        Matrix::new(&values[self.keys.start * stride..], self.keys.len(), head, stride)
    }

    /// Keys that query `row` of the tile sees, relative to the first key of the tile.
    fn visible(&self, row: usize, heads: Heads) -> Range<usize> {
        let position = self.queries.start + row;
        heads.first_key(position) - self.keys.start..position + 1 - self.keys.start
    }
}

fn tiles(tokens: usize, heads: Heads) -> impl Iterator<Item = Tile> {
    (0..tokens).step_by(TILE).map(move |start| {
        let end = (start + TILE).min(tokens);
        Tile { queries: start..end, keys: heads.first_key(start)..end }
    })
}

fn tasks(documents: &Documents, heads: Heads) -> Vec<Task> {
    let tasks = documents
        .ranges()
        .flat_map(|document| (0..heads.key_value).map(move |key_head| Task { document: document.clone(), key_head }));
    tasks.collect()
}

/// Keys and values of a task: slice from its first token on, stride, width.
type Strided<'a> = (&'a [f32], usize, usize);

fn key_value<'a>(qkv: &'a [f32], heads: Heads, task: &Task) -> (Strided<'a>, Strided<'a>) {
    let (packed, head) = (heads.packed_width(), heads.head_dim);
    let at = task.document.start * packed + heads.query_width() + task.key_head * head;
    ((&qkv[at..], packed, head), (&qkv[at + heads.key_width()..], packed, head))
}

fn query<'a>(qkv: &'a [f32], packed: usize, heads: Heads, task: &Task, member: usize, tile: &Tile) -> Matrix<'a> {
    let column = (task.key_head * heads.group() + member) * heads.head_dim;
    let first = task.document.start + tile.queries.start;
    Matrix::new(&qkv[first * packed + column..], tile.queries.len(), heads.head_dim, packed)
}

/// Copies a task's rows into columns of the whole.
fn place(whole: &mut [f32], width: usize, task: &Task, column: usize, part: &[f32]) {
    let part_width = part.len() / task.document.len();
    for (token, row) in task.document.clone().zip(part.chunks_exact(part_width)) {
        whole[token * width + column..][..part_width].copy_from_slice(row);
    }
}

//! Owns attention of new tokens over a cache: of the next token of many texts, and of several continuations of one text that
//! are not in the cache. Knows cache rows and places; knows no document bounds.

use half::bf16;

use super::attention::HeadShape;
use super::attention_portable::defines;
use super::kv_cache::Cache;
use crate::device::Device;
use crate::error::Result;
use crate::kernels::{assert_aligned, steps};
use crate::launch;
use crate::launch::{Function, Grid};
use crate::memory::{Matrix, Span};
use crate::source::Source;

static SOURCE: Source =
    Source { name: "cached_attention", text: include_str!("../../kernels/cached_attention.cu"), hopper: false };

/// Most query heads of a block: what a lane holds of each takes registers.
const GROUP: usize = 8;
/// Keys of a block. One text of some thousand tokens fills a device with these, and to join the parts costs little.
const SPLIT_KEYS: usize = 256;
/// Threads of a block.
const THREADS: usize = 128;

/// What each new token sees: places `0..past[t]` of cache row `cache_rows[t]`, then rows `first[t]..=t` of the new tokens.
/// Where its own key is in the cache already, `past[t]` counts it and `first[t]` is `t + 1`.
///
/// # Shapes
/// - cache_rows, past, first `[T]`
#[derive(Clone, Copy)]
pub struct CachedRows {
    /// The row of the cache that a token continues.
    pub cache_rows: Span<u32>,
    /// Places of that row that a token sees.
    pub past: Span<u32>,
    /// The first new token that it sees.
    pub first: Span<u32>,
    /// No token sees more keys than this, its own included. A larger number costs scratch and blocks that end at once.
    pub most_keys: usize,
}

/// The kernels for one shape of heads.
pub struct CachedAttention {
    run: Function,
    join: Function,
    shape: HeadShape,
    /// Query heads of a block.
    group: usize,
}

impl CachedAttention {
    /// Compiles them. Fails where there is no kernel for the head size.
    pub fn new(device: &Device, shape: HeadShape) -> Result<Self> {
        let group = shape.heads / shape.kv_heads;
        let group = (1..=GROUP).rev().find(|size| group.is_multiple_of(*size)).unwrap_or(1);
        let [head_dim, _, soft_cap] = defines(&shape)?;
        let defines = [head_dim, soft_cap, ("GROUP", group as i64), ("SPLIT_KEYS", SPLIT_KEYS as i64)];
        let program = device.program(&SOURCE, &defines)?;
        let (run, join) = (program.function("cached_attention")?, program.function("cached_attention_join")?);
        Ok(CachedAttention { run, join, shape, group })
    }

    /// How many f32 values of scratch [`CachedAttention::run`] needs for so many tokens and keys.
    #[must_use]
    pub fn scratch_values(&self, tokens: usize, most_keys: usize) -> usize {
        match steps(most_keys, SPLIT_KEYS) {
            0 | 1 => 0,
            splits => tokens * self.shape.heads * splits * (self.shape.head_dim + 2),
        }
    }

    /// Attention of each new token over what it sees. What a token gets does not depend on the others, bit for bit.
    ///
    /// # Shapes
    /// - qkv `[T, (heads + 2 * kv_heads) * D]`, cache `[rows * capacity, kv_heads * D]`, out `[T, heads * D]`
    /// - scratch: [`CachedAttention::scratch_values`] values
    ///
    /// # Panics
    /// When the shapes do not fit, which is a defect of the caller.
    pub fn run(
        &self,
        qkv: Matrix<bf16>,
        cache: Cache,
        rows: CachedRows,
        out: Matrix<bf16>,
        scratch: Span<f32>,
    ) -> Result<()> {
        let HeadShape { heads, kv_heads, head_dim, window, soft_cap, scale } = self.shape;
        let (tokens, Cache { keys, values, capacity }) = (qkv.rows(), cache);
        assert!(
            qkv.columns() == self.shape.packed_width() && out.columns() == self.shape.width(),
            "widths of attention"
        );
        assert_eq!([keys.columns(), values.columns()], [kv_heads * head_dim; 2], "widths of a cache");
        assert!(values.rows() == keys.rows() && keys.rows().is_multiple_of(capacity), "rows of a cache");
        let lengths = [out.rows(), rows.cache_rows.len(), rows.past.len(), rows.first.len()];
        assert_eq!(lengths, [tokens; 4], "rows of attention");
        assert!(scratch.len() >= self.scratch_values(tokens, rows.most_keys), "scratch of attention");
        assert_aligned(&[qkv, keys, values]);
        let splits = steps(rows.most_keys, SPLIT_KEYS).max(1);
        launch!(
            self.run, Grid::new(tokens * (heads / self.group) * splits, THREADS);
            qkv, qkv.pitch(), keys, keys.pitch(), values, values.pitch(), capacity,
            rows.cache_rows, rows.past, rows.first, heads, kv_heads, window, soft_cap, scale,
            out, out.pitch(), scratch, splits,
        )?;
        if splits == 1 {
            return Ok(());
        }
        launch!(
            self.join, Grid::new(tokens * heads, head_dim.next_multiple_of(32));
            scratch, splits, rows.past, rows.first, heads, window, out, out.pitch(),
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Case, Known, close, device};

    /// New tokens of a text: the cache row they continue, and how many tokens of it are in the cache.
    struct Text {
        cache_row: usize,
        past: usize,
        new: usize,
    }

    /// What attention means for one query: its scores against rows of keys, and the sum of the values they weigh.
    fn plain(shape: HeadShape, query: &[f64], keys: &[Vec<f64>], values: &[Vec<f64>]) -> Vec<f64> {
        let (scale, cap) = (f64::from(shape.scale), f64::from(shape.soft_cap));
        let first = if shape.window == 0 { 0 } else { keys.len().saturating_sub(shape.window) };
        let score = |key: &Vec<f64>| {
            let score = query.iter().zip(key).map(|(a, b)| a * b).sum::<f64>() * scale;
            if cap == 0.0 { score } else { cap * (score / cap).tanh() }
        };
        let weights: Vec<f64> = keys[first..].iter().map(|key| score(key).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let mut out = vec![0.0; shape.head_dim];
        for (weight, value) in weights.iter().zip(&values[first..]) {
            out.iter_mut().zip(value).for_each(|(o, v)| *o += weight / sum * v);
        }
        out
    }

    /// Runs texts with their new tokens beside the cache and in it, and holds both against the twin and each other.
    fn check(shape: HeadShape, capacity: usize, texts: &[Text]) {
        let HeadShape { heads, kv_heads, head_dim, .. } = shape;
        let (device, width) = (device(), kv_heads * head_dim);
        let kernels = CachedAttention::new(&device, shape).unwrap();
        let mut case = Case::new(&device);
        let tokens: usize = texts.iter().map(|text| text.new).sum();
        let places = capacity * (1 + texts.iter().map(|text| text.cache_row).max().unwrap());
        let qkv = case.random("qkv", tokens, shape.packed_width(), shape.packed_width() + 8);
        let (keys, values) =
            (case.random("keys", places, width, width + 8), case.random("values", places, width, width + 16));
        let out = case.empty(tokens, shape.width(), shape.width() + 8);
        let cache = Cache { keys: keys.matrix(), values: values.matrix(), capacity };
        let head_of = |known: &Known, row: usize, head: usize| known.row(row)[head * head_dim..][..head_dim].to_vec();
        let (mut expected, mut lists, mut appended) = (Vec::new(), [const { Vec::new() }; 3], [vec![], vec![], vec![]]);
        let mut first = 0;
        for text in texts {
            for token in first..first + text.new {
                for head in 0..heads {
                    let kv_head = head / (heads / kv_heads);
                    let rows = |cache: &Known, new: usize| -> Vec<Vec<f64>> {
                        let old =
                            (0..text.past).map(|place| head_of(cache, text.cache_row * capacity + place, kv_head));
                        old.chain((first..=token).map(|row| head_of(&qkv, row, new + kv_head))).collect()
                    };
                    let (keys, values) = (rows(&keys, heads), rows(&values, heads + kv_heads));
                    expected.extend(plain(shape, &head_of(&qkv, token, head), &keys, &values));
                }
                let new = token - first;
                let entries = [text.cache_row, text.past, first, text.cache_row, text.past + new + 1, token + 1];
                lists.iter_mut().chain(&mut appended).zip(entries).for_each(|(list, entry)| list.push(entry as u32));
            }
            first += text.new;
        }
        let most_keys = texts.iter().map(|text| text.past + text.new).max().unwrap();
        let run = |lists: &[Vec<u32>; 3], most_keys: usize| {
            let [(_rows, cache_rows), (_past, past), (_first, first)] = lists.each_ref().map(|list| case.upload(list));
            let (_scratch, scratch) = case.upload(&vec![f32::NAN; kernels.scratch_values(tokens, most_keys)]);
            let rows = CachedRows { cache_rows, past, first, most_keys };
            kernels.run(qkv.matrix(), cache, rows, out.matrix(), scratch).unwrap();
            out.read()
        };
        let found = run(&lists, most_keys);
        close(&format!("cached attention {shape:?}"), &found, &expected, 0.005);
        let same = |again: Vec<f64>| found.iter().zip(again).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same(run(&lists, most_keys + 1000)), "{shape:?}: other bits beside a token that sees more");
        // Continuations of one row cannot all be in it.
        let alone = |text: &&Text| texts.iter().filter(|other| other.cache_row == text.cache_row).count() == 1;
        if texts.iter().filter(alone).count() < texts.len() {
            return;
        }
        let mut first = 0;
        for text in texts {
            let place = text.cache_row * capacity + text.past;
            for (to, from) in [(keys.matrix(), heads), (values.matrix(), heads + kv_heads)] {
                let from = qkv.matrix().column_range(from * head_dim, width).row_range(first, text.new);
                device.copy(from, to.row_range(place, text.new)).unwrap();
            }
            first += text.new;
        }
        assert!(same(run(&appended, most_keys)), "{shape:?}: other bits where new tokens are in the cache");
    }

    fn shape(heads: usize, kv_heads: usize, head_dim: usize) -> HeadShape {
        HeadShape { heads, kv_heads, head_dim, window: 0, soft_cap: 0.0, scale: 1.0 / (head_dim as f32).sqrt() }
    }

    fn texts(texts: &[[usize; 3]]) -> Vec<Text> {
        texts.iter().map(|&[cache_row, past, new]| Text { cache_row, past, new }).collect()
    }

    #[test]
    fn attention_over_a_cache_equals_its_twin() {
        check(shape(3, 1, 64), 600, &texts(&[[1, 0, 1], [0, 17, 3], [2, 590, 2], [3, 255, 2]]));
        check(shape(12, 1, 80), 40, &texts(&[[0, 5, 1], [1, 37, 3]]));
        check(shape(8, 2, 128), 70, &texts(&[[0, 66, 1], [1, 0, 4]]));
        check(shape(2, 2, 256), 300, &texts(&[[0, 280, 3]]));
    }

    #[test]
    fn continuations_of_one_cache_row_do_not_see_each_other() {
        check(shape(4, 2, 64), 20, &texts(&[[0, 13, 2], [0, 13, 5], [1, 20, 3], [0, 13, 1]]));
    }

    #[test]
    fn a_window_and_a_soft_cap_hold_over_a_cache() {
        check(HeadShape { window: 6, ..shape(3, 1, 64) }, 600, &texts(&[[0, 0, 3], [1, 3, 9], [2, 510, 5]]));
        check(HeadShape { window: 300, ..shape(3, 1, 64) }, 600, &texts(&[[0, 560, 3]]));
        check(HeadShape { window: 64, soft_cap: 1.5, ..shape(2, 1, 96) }, 100, &texts(&[[0, 90, 2]]));
    }
}

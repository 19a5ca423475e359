//! Owns what a micro-batch is on the device besides its weights: ids, positions, targets, and the tables of attention, as one
//! upload. Knows packs; knows no layer.

use cuda::kernels::attention::{Attention, Tiles};
use cuda::kernels::cross_entropy::NO_TARGET;
use cuda::{Block, Device, Span};

use crate::error::Result;
use crate::train::Batch;

/// Packs of different sizes are padded to few sizes, so that shapes of products repeat.
pub(super) fn padded(count: usize) -> usize {
    let step = if count <= 1024 { 64 } else { 128 };
    count.max(1).next_multiple_of(step)
}

/// Rows are left out after the last attention only where that saves more than moving them costs.
pub(super) fn choosing_pays(rows: usize, tokens: usize) -> bool {
    4 * rows <= 3 * tokens
}

/// A micro-batch as the host prepares it.
pub(super) struct Inputs {
    words: Vec<u32>,
    /// Tokens with padding.
    pub(super) tokens: usize,
    /// Rows of the head with padding.
    pub(super) rows: usize,
    /// Whether only chosen rows go on after the last attention.
    pub(super) chosen: bool,
    /// Of the head's rows, the ones with a target, in order.
    pub(super) targets: Vec<usize>,
    tiles: [usize; 3],
}

/// A micro-batch on the device.
#[derive(Clone, Copy)]
pub(super) struct DeviceInputs {
    pub(super) ids: Span<u32>,
    pub(super) positions: Span<u32>,
    /// Of each row of the head.
    pub(super) targets: Span<u32>,
    /// The token of each row of the head.
    pub(super) indices: Span<u32>,
    /// The row of the head of each token, or -1.
    pub(super) inverse: Span<i32>,
    pub(super) tiles: Tiles,
}

impl DeviceInputs {
    /// Tokens that attend over a cache, and of which all rows go on.
    pub(super) fn without_head(block: &Block, ids: Span<u32>, positions: Span<u32>) -> Self {
        let none = block.span(0, 0);
        let tiles = Tiles { forward: none, keys: none, queries: none };
        DeviceInputs { ids, positions, targets: none, indices: none, inverse: block.span(0, 0), tiles }
    }
}

/// Words that [`Inputs`] of at most this size need.
pub(super) fn most_words(tokens: usize, rows: usize) -> usize {
    // A document has a token at least, and a tile four words; the smallest tile has 64 rows.
    3 * tokens + 2 * rows + 3 * 4 * (tokens + tokens / 64 + 1)
}

impl Inputs {
    /// A pack whose supervised tokens are predicted, padded with a document of its own. With `may_choose`, only their rows go
    /// on after the last attention where that pays.
    pub(super) fn new(batch: &Batch, may_choose: bool, attention: &Attention) -> Self {
        let (rows, targets) = batch.targets();
        let tokens = padded(batch.ids.len());
        let mut bounds = batch.bounds.clone();
        if tokens > batch.ids.len() {
            bounds.push(tokens);
        }
        let chosen = may_choose && choosing_pays(padded(rows.len()), tokens);
        let count = if chosen { padded(rows.len()) } else { tokens };
        Self::with(&batch.ids, &bounds, chosen, count, rows.into_iter().zip(targets), attention)
    }

    /// Whole documents of which only the last token goes on, without padding.
    pub(super) fn last_tokens(ids: &[u32], bounds: &[usize], attention: &Attention) -> Self {
        let last = bounds[1..].iter().map(|end| (end - 1, NO_TARGET));
        Self::with(ids, bounds, true, bounds.len() - 1, last, attention)
    }

    fn with(
        ids: &[u32],
        bounds: &[usize],
        chosen: bool,
        count: usize,
        rows: impl Iterator<Item = (usize, u32)>,
        attention: &Attention,
    ) -> Self {
        let tokens = bounds.last().copied().unwrap_or(0);
        let mut words = Vec::with_capacity(most_words(tokens, count));
        words.extend_from_slice(ids);
        words.resize(tokens, 0);
        bounds.windows(2).for_each(|pair| words.extend(0..(pair[1] - pair[0]) as u32));
        let mut row_targets = vec![NO_TARGET; count];
        let mut indices = vec![0; count];
        let mut inverse = vec![u32::MAX; tokens];
        let mut targets = Vec::new();
        for (order, (token, target)) in rows.enumerate() {
            // Where all rows go on, a row of the head is a token.
            let row = if chosen { order } else { token };
            (row_targets[row], indices[row], inverse[token]) = (target, token as u32, row as u32);
            targets.push(row);
        }
        words.extend(row_targets);
        words.extend(indices);
        words.extend(inverse);
        let tables = attention.tables(bounds);
        let tiles = tables.each_ref().map(Vec::len);
        tables.iter().for_each(|table| words.extend_from_slice(table));
        Inputs { words, tokens, rows: count, chosen, targets, tiles }
    }

    /// Puts it on the device, over the one before.
    pub(super) fn upload(&self, device: &Device, block: &Block) -> Result<DeviceInputs> {
        device.upload(block.span(0, self.words.len()), &self.words)?;
        let mut next = 0;
        let mut take = |length: usize| {
            next += length;
            4 * (next - length)
        };
        let ids = block.span(take(self.tokens), self.tokens);
        let positions = block.span(take(self.tokens), self.tokens);
        let targets = block.span(take(self.rows), self.rows);
        let indices = block.span(take(self.rows), self.rows);
        let inverse = block.span(take(self.tokens), self.tokens);
        let [forward, keys, queries] = self.tiles.map(|length| block.span(take(length), length));
        Ok(DeviceInputs { ids, positions, targets, indices, inverse, tiles: Tiles { forward, keys, queries } })
    }
}

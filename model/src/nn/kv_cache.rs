//! Owns keys and values of earlier tokens, for each layer and row, and how many of them are valid.
//! Knows no token ids.

use burn::tensor::{DType, Device, Tensor};

use crate::config::ModelConfig;

/// A cache of fixed capacity; all rows share one buffer a layer.
pub struct KvCache {
    layers: Vec<Option<(Tensor<3>, Tensor<3>)>>,
    lengths: Vec<usize>,
    capacity: usize,
}

impl KvCache {
    /// An empty cache for `rows` documents of at most `capacity` tokens.
    #[must_use]
    pub fn new(config: &ModelConfig, rows: usize, capacity: usize, device: &Device, dtype: DType) -> Self {
        let shape = [rows, capacity, config.num_key_value_heads * config.head_dim];
        let empty = || Tensor::<3>::zeros(shape, (device, dtype));
        let layers = (0..config.num_hidden_layers).map(|_| Some((empty(), empty()))).collect();
        KvCache { layers, lengths: vec![0; rows], capacity }
    }

    /// Valid tokens of a row.
    #[must_use]
    pub fn length(&self, row: usize) -> usize {
        self.lengths[row]
    }

    /// Tokens a row can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Takes the buffers of a layer, so that they can be changed in place; [`KvCache::put`] gives them back.
    pub(super) fn take(&mut self, layer: usize) -> (Tensor<3>, Tensor<3>) {
        #[expect(clippy::expect_used, reason = "a layer gives its buffers back before it is run again")]
        self.layers[layer].take().expect("the buffers of a layer are taken once")
    }

    /// Gives back what [`KvCache::take`] took.
    pub(super) fn put(&mut self, layer: usize, buffers: (Tensor<3>, Tensor<3>)) {
        self.layers[layer] = Some(buffers);
    }

    /// Counts new tokens of a row.
    pub(super) fn advance(&mut self, row: usize, tokens: usize) {
        self.lengths[row] += tokens;
    }
}

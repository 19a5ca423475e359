//! Owns the stack of layers between token ids and hidden rows, forward, backward and cached.
//! Knows the plan of what is kept between them; knows no loss, no optimiser, no file.

use burn::tensor::{DType, Device, Tensor};

use super::kv_cache::KvCache;
use super::layer::{Layer, LayerGradients, Rows, Saved, Surroundings};
use crate::config::ModelConfig;
use crate::kernels::{CachedDocuments, Documents, Kernels, LoraOperand, RopeTable, Vocabulary};

/// What stays in memory between forward and backward of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// All that costs a matrix product to rebuild: fastest.
    #[default]
    Products,
    /// The layer's input only; its forward pass is run again: smallest.
    Input,
}

/// A frozen decoder on a device.
#[derive(Clone)]
pub struct Decoder {
    /// The architecture's numbers.
    pub config: ModelConfig,
    /// Where the tensors live.
    pub device: Device,
    /// The format of weights and activations.
    pub dtype: DType,
    /// The operations of the device.
    pub kernels: &'static dyn Kernels,
    /// `[vocab_size, hidden_size]`.
    pub embed_tokens: Vocabulary,
    /// All layers.
    pub layers: Vec<Layer>,
    /// The final norm.
    pub norm: Tensor<1>,
    /// `[vocab_size, hidden_size]`; the embedding when tied.
    pub lm_head: Vocabulary,
    /// Positions this decoder can rotate to.
    pub table: RopeTable,
}

/// The adapters of every layer.
pub type Adapters = Vec<[Option<LoraOperand>; 4]>;

/// What [`Decoder::forward`] leaves for [`Decoder::backward`].
pub struct Trace {
    kept: Vec<Kept>,
    hidden: Tensor<2>,
    rows: Rows,
}

enum Kept {
    Products(Box<Saved>),
    Input(Box<Tensor<2>>),
}

impl Decoder {
    /// Normed hidden values of `rows` of a pack, and what the backward pass needs.
    ///
    /// # Shapes
    /// - ids `[T]`, output `[rows, hidden_size]`
    #[must_use]
    pub fn forward(
        &self,
        ids: &[u32],
        documents: &Documents,
        rows: &[usize],
        adapters: &Adapters,
        keep: Option<Keep>,
    ) -> (Tensor<2>, Trace) {
        let rows = Rows::new(rows, ids.len());
        let mut x = self.kernels.embed(&self.embed_tokens, ids);
        let mut kept = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let chosen = self.rows_after(index, &rows);
            let input = (keep == Some(Keep::Input)).then(|| x.clone());
            let (y, saved) = layer.forward(x, self.around(&adapters[index]), documents, chosen);
            match (keep, input) {
                (Some(_), Some(input)) => kept.push(Kept::Input(Box::new(input))),
                (Some(_), None) => kept.push(Kept::Products(Box::new(saved))),
                (None, _) => {}
            }
            x = y;
        }
        let normed = self.kernels.rms_norm(&x, &self.norm, self.config.rms_norm_eps);
        (normed, Trace { kept, hidden: x, rows })
    }

    /// Calls `accept(layer, gradients)` for every layer, last first, from the gradient of the normed hidden rows.
    pub fn backward(
        &self,
        d_normed: Tensor<2>,
        trace: Trace,
        documents: &Documents,
        adapters: &Adapters,
        mut accept: impl FnMut(usize, LayerGradients),
    ) {
        let Trace { mut kept, hidden, rows } = trace;
        let mut dy = self.kernels.rms_norm_backward(d_normed, &hidden, &self.norm, self.config.rms_norm_eps, None);
        drop(hidden);
        while let Some(last) = kept.pop() {
            let index = kept.len();
            let (layer, around) = (&self.layers[index], self.around(&adapters[index]));
            let chosen = self.rows_after(index, &rows);
            let saved = match last {
                Kept::Products(saved) => *saved,
                Kept::Input(x) => layer.forward(*x, around, documents, chosen).1,
            };
            let (dx, gradients) = layer.backward(dy, saved, around, documents, chosen, index > 0);
            accept(index, gradients);
            match dx {
                Some(dx) => dy = dx,
                None => break,
            }
        }
    }

    /// Normed hidden values of all new tokens of cached documents. With `append` false the cache is read only, so
    /// several continuations of one row can be scored side by side.
    #[must_use]
    pub fn forward_cached(
        &self,
        ids: &[u32],
        documents: &CachedDocuments,
        cache: &mut KvCache,
        adapters: &Adapters,
        append: bool,
    ) -> Tensor<2> {
        let mut x = self.kernels.embed(&self.embed_tokens, ids);
        for (index, layer) in self.layers.iter().enumerate() {
            let around = self.around(&adapters[index]);
            let (y, buffers) = layer.forward_cached(x, around, documents, cache.take(index), append);
            cache.put(index, buffers);
            x = y;
        }
        if append {
            documents.entries().for_each(|(range, row, _)| cache.advance(row, range.len()));
        }
        self.kernels.rms_norm(&x, &self.norm, self.config.rms_norm_eps)
    }

    /// Logits of hidden rows, in f32.
    #[must_use]
    pub fn logits(&self, normed: Tensor<2>) -> Tensor<2> {
        self.kernels.logits(&normed, &self.lm_head)
    }

    /// No adapter anywhere.
    #[must_use]
    pub fn without_adapters(&self) -> Adapters {
        self.layers.iter().map(|_| [const { None }; 4]).collect()
    }

    /// Only the last layer's attention output is cut down: every earlier row still feeds later keys.
    fn rows_after<'a>(&self, index: usize, rows: &'a Rows) -> Option<&'a Rows> {
        (index + 1 == self.layers.len()).then_some(rows)
    }

    fn around<'a>(&'a self, adapters: &'a [Option<LoraOperand>; 4]) -> Surroundings<'a> {
        Surroundings { kernels: self.kernels, table: &self.table, epsilon: self.config.rms_norm_eps, adapters }
    }
}

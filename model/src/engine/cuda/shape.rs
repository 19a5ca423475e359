//! Owns the numbers of a model as the CUDA engine lays them out: widths, and the columns beside each linear that adapters
//! write to. Pure arithmetic; knows no device.

use cuda::DeviceInfo;

use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::lora::LoraLayout;
use crate::nn::Group;

/// Values of a row lie at multiples of 128 bytes, which is what the copy engine and the matrix unit like best.
const PITCH: usize = 64;
/// Columns of adapters come in such steps, so that sums over them are whole steps of the matrix unit.
const RANKS: usize = 16;

/// Widths of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) hidden: usize,
    pub(super) qkv: usize,
    pub(super) attention: usize,
    pub(super) intermediate: usize,
    pub(super) vocabulary: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) layers: usize,
    pub(super) qk_norm: bool,
    pub(super) qkv_bias: bool,
    pub(super) tied: bool,
    pub(super) positions: usize,
    /// Columns for adapters beside each packed linear, the most that any layout needs.
    pub(super) ranks: [usize; 4],
    /// What computes it.
    pub(super) device: DeviceInfo,
}

impl Shape {
    /// The shape of a model with room for adapters of these layouts.
    pub(super) fn new(
        config: &ModelConfig,
        positions: usize,
        adapters: &[&LoraLayout],
        device: &DeviceInfo,
    ) -> Result<Self> {
        let most = |group: usize| {
            let ranks = adapters.iter().map(|layout| layout.ranks(group)).max().unwrap_or(0);
            ranks.next_multiple_of(RANKS)
        };
        let shape = Shape {
            hidden: config.hidden_size,
            qkv: Group::Qkv.output_width(config),
            attention: Group::Output.input_width(config),
            intermediate: config.intermediate_size,
            vocabulary: config.vocab_size,
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            layers: config.num_hidden_layers,
            qk_norm: config.qk_norm,
            qkv_bias: config.qkv_bias,
            tied: config.tie_word_embeddings,
            positions,
            ranks: [0, 1, 2, 3].map(most),
            device: device.clone(),
        };
        shape.check()
    }

    /// Refuses what no kernel here computes.
    fn check(self) -> Result<Self> {
        let needs = [
            ("hidden_size", self.hidden, 8),
            ("intermediate_size", self.intermediate, 8),
            ("head_dim", self.head_dim, 16),
        ];
        for (name, value, step) in needs {
            if !value.is_multiple_of(step) {
                return Err(Error::Device {
                    what: format!("cuda: {name} is {value}, and only multiples of {step} are computed there"),
                });
            }
        }
        if self.head_dim > 256 {
            return Err(Error::Device {
                what: format!("cuda: head_dim is {}, and at most 256 is computed", self.head_dim),
            });
        }
        Ok(self)
    }

    /// Input width of a packed linear.
    pub(super) fn inner(&self, group: Group) -> usize {
        match group {
            Group::Qkv | Group::GateUp => self.hidden,
            Group::Output => self.attention,
            Group::Down => self.intermediate,
        }
    }

    /// Output width of a packed linear.
    pub(super) fn outer(&self, group: Group) -> usize {
        match group {
            Group::Qkv => self.qkv,
            Group::Output | Group::Down => self.hidden,
            Group::GateUp => 2 * self.intermediate,
        }
    }

    /// Widths of queries, keys and values.
    pub(super) fn qkv_widths(&self) -> [usize; 3] {
        [self.heads, self.kv_heads, self.kv_heads].map(|heads| heads * self.head_dim)
    }

    /// Columns for adapters beside a packed linear.
    pub(super) fn ranks(&self, group: Group) -> usize {
        self.ranks[group as usize]
    }
}

/// A row of `width` values with `ranks` columns for adapters behind it.
pub(super) fn pitch(width: usize, ranks: usize) -> usize {
    (width + ranks).next_multiple_of(PITCH)
}

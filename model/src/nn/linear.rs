//! Owns the four packed linears of a decoder layer: which modules they stack and how wide each is.
//! Knows module names as Hugging Face writes them; knows neither values nor files.

use std::ops::Range;

use burn::tensor::Tensor;

use crate::config::ModelConfig;

/// The packed linears of a layer, in the order of the forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Queries, keys and values.
    Qkv,
    /// Attention output.
    Output,
    /// Gate and up of the MLP.
    GateUp,
    /// Down of the MLP.
    Down,
}

/// One module inside a packed linear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Path inside a layer, such as `self_attn.q_proj`.
    pub name: &'static str,
    /// The rows of the packed weight, which are the columns of the output.
    pub columns: Range<usize>,
}

impl Group {
    /// All groups of a layer.
    pub const ALL: [Group; 4] = [Group::Qkv, Group::Output, Group::GateUp, Group::Down];

    /// The stacked modules, by their paths inside a layer.
    #[must_use]
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Group::Qkv => &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            Group::Output => &["self_attn.o_proj"],
            Group::GateUp => &["mlp.gate_proj", "mlp.up_proj"],
            Group::Down => &["mlp.down_proj"],
        }
    }

    /// Width of the input.
    #[must_use]
    pub fn input_width(self, config: &ModelConfig) -> usize {
        match self {
            Group::Qkv | Group::GateUp => config.hidden_size,
            Group::Output => config.num_attention_heads * config.head_dim,
            Group::Down => config.intermediate_size,
        }
    }

    /// The stacked modules.
    #[must_use]
    pub fn parts(self, config: &ModelConfig) -> Vec<Part> {
        let keys = config.num_key_value_heads * config.head_dim;
        let widths = match self {
            Group::Qkv => vec![config.num_attention_heads * config.head_dim, keys, keys],
            Group::Output | Group::Down => vec![config.hidden_size],
            Group::GateUp => vec![config.intermediate_size; 2],
        };
        let mut start = 0;
        let mut parts = Vec::with_capacity(widths.len());
        for (name, width) in self.names().iter().zip(widths) {
            parts.push(Part { name, columns: start..start + width });
            start += width;
        }
        parts
    }

    /// Width of the output.
    #[must_use]
    pub fn output_width(self, config: &ModelConfig) -> usize {
        self.parts(config).last().map_or(0, |part| part.columns.end)
    }
}

/// A packed frozen linear.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[out, in]`, the order of Hugging Face files.
    pub weight: Tensor<2>,
    /// `[out]`.
    pub bias: Option<Tensor<1>>,
}

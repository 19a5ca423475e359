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
        let widths: Vec<(&'static str, usize)> = match self {
            Group::Qkv => vec![
                ("self_attn.q_proj", config.num_attention_heads * config.head_dim),
                ("self_attn.k_proj", keys),
                ("self_attn.v_proj", keys),
            ],
            Group::Output => vec![("self_attn.o_proj", config.hidden_size)],
            Group::GateUp => {
                vec![("mlp.gate_proj", config.intermediate_size), ("mlp.up_proj", config.intermediate_size)]
            }
            Group::Down => vec![("mlp.down_proj", config.hidden_size)],
        };
        let mut start = 0;
        let mut parts = Vec::with_capacity(widths.len());
        for (name, width) in widths {
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

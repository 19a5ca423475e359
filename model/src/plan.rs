//! Owns the arithmetic of memory: what a run keeps, token by token, before it runs.
//! Knows shapes and types; measures nothing and touches no device.

use crate::config::ModelConfig;
use crate::kernels::cross_entropy::chunk_rows;
use crate::lora::LoraLayout;
use crate::nn::{Group, Keep};

/// Bytes of a run, by what holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MemoryPlan {
    /// Frozen weights and the rotary table.
    pub weights_bytes: u64,
    /// Adapter, its gradient and both moments.
    pub adapter_bytes: u64,
    /// Kept between forward and backward, for each token of a micro-batch.
    pub kept_bytes_per_token: u64,
    /// Workspace of the layer that is being computed, for each token.
    pub workspace_bytes_per_token: u64,
    /// Logits of one chunk of supervised rows.
    pub logits_bytes: u64,
    /// Tokens of the largest micro-batch.
    pub tokens: u64,
    /// All of it at the largest micro-batch.
    pub peak_bytes: u64,
}

impl MemoryPlan {
    /// The plan of a run whose largest micro-batch has `tokens` tokens, of which `supervised` are predicted.
    #[must_use]
    pub fn new(
        config: &ModelConfig,
        layout: &LoraLayout,
        element_bytes: usize,
        keep: Keep,
        positions: usize,
        tokens: usize,
        supervised: usize,
    ) -> Self {
        let bytes = |values: usize| (values * element_bytes) as u64;
        let hidden = config.hidden_size;
        let qkv = Group::Qkv.output_width(config);
        let gate_up = Group::GateUp.output_width(config);
        let attention = Group::Output.input_width(config);
        let layers = config.num_hidden_layers as u64;
        let ranks = layout.ranks_per_layer();
        let before_norm = if config.qk_norm { qkv } else { 0 };
        let products =
            bytes(2 * hidden + qkv + before_norm + attention + gate_up + ranks) + 4 * config.num_attention_heads as u64;
        let kept_bytes_per_token = match keep {
            Keep::Products => layers * products,
            // The layer that is rebuilt keeps its products while its backward pass runs.
            Keep::Input => layers * bytes(hidden) + products,
        };
        // Backward of the MLP: h, its gradient, the gradient of gate and up, the normed input and three rows of the stream.
        let workspace_bytes_per_token = bytes(2 * config.intermediate_size + gate_up + 4 * hidden);
        let chunk = supervised.min(chunk_rows(config.vocab_size));
        let logits_bytes = (chunk * config.vocab_size * 4) as u64;
        let weights_bytes = bytes(config.num_parameters()) + (positions * config.head_dim * 4) as u64;
        let adapter_bytes = 4 * 4 * layout.length() as u64;
        let tokens = tokens as u64;
        let activations = tokens * (kept_bytes_per_token + workspace_bytes_per_token);
        MemoryPlan {
            weights_bytes,
            adapter_bytes,
            kept_bytes_per_token,
            workspace_bytes_per_token,
            logits_bytes,
            tokens,
            peak_bytes: weights_bytes + adapter_bytes + activations + logits_bytes,
        }
    }
}

/// Floating-point operations of training one token: forward and input gradient of every frozen linear.
#[must_use]
pub fn training_flops_per_token(config: &ModelConfig) -> f64 {
    let linears: usize = Group::ALL.iter().map(|group| group.input_width(config) * group.output_width(config)).sum();
    4.0 * (linears * config.num_hidden_layers) as f64
}

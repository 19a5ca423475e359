//! Owns the arithmetic of memory: what a run keeps, token by token, before it runs.
//! Knows shapes and types; measures nothing and touches no device.

use crate::config::ModelConfig;
use crate::engine::TrainingShape;
use crate::kernels::cross_entropy::chunk_rows;
use crate::lora::LoraLayout;
use crate::nn::Group;
use crate::train::Recompute;

/// Bytes of a run, by what holds them.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MemoryPlan {
    /// What is held, and for what.
    pub parts: Vec<Part>,
    /// All of it when it is most.
    pub peak_bytes: u64,
    /// Tokens of the largest micro-batch.
    pub tokens: u64,
    /// What is computed twice, in words.
    pub recompute: String,
    /// Bytes of the device that could be had now, where it has its own memory.
    pub device_free_bytes: Option<u64>,
}

/// One part of a plan.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Part {
    /// What it is for.
    pub name: &'static str,
    /// Its size.
    pub bytes: u64,
}

/// The plan of a run on framework tensors.
#[must_use]
pub(crate) fn tensors(
    config: &ModelConfig,
    layout: &LoraLayout,
    element_bytes: usize,
    positions: usize,
    shape: TrainingShape,
) -> MemoryPlan {
    let bytes = |values: usize| (values * element_bytes) as u64;
    let tokens = shape.max_tokens as u64;
    let hidden = config.hidden_size;
    let qkv = Group::Qkv.output_width(config);
    let gate_up = Group::GateUp.output_width(config);
    let attention = Group::Output.input_width(config);
    let layers = config.num_hidden_layers as u64;
    let ranks = layout.ranks_per_layer();
    let before_norm = if config.qk_norm { qkv } else { 0 };
    let products =
        bytes(2 * hidden + qkv + before_norm + attention + gate_up + ranks) + 4 * config.num_attention_heads as u64;
    let (kept, recompute) = match shape.recompute {
        Recompute::Auto | Recompute::Never => (layers * products, "nothing"),
        // The layer that is rebuilt keeps its products while its backward pass runs.
        Recompute::Always => (layers * bytes(hidden) + products, "every layer"),
    };
    // Backward of the MLP: h, its gradient, the gradient of gate and up, the normed input and three rows of the stream.
    let workspace = bytes(2 * config.intermediate_size + gate_up + 4 * hidden);
    let chunk = shape.max_supervised.min(chunk_rows(config.vocab_size));
    let parts = vec![
        Part { name: "weights", bytes: bytes(config.num_parameters()) + (positions * config.head_dim * 4) as u64 },
        Part { name: "adapter and optimiser", bytes: 4 * 4 * layout.length() as u64 },
        Part { name: "kept for the backward pass", bytes: tokens * kept },
        Part { name: "workspace of a layer", bytes: tokens * workspace },
        Part { name: "logits of supervised rows", bytes: (chunk * config.vocab_size * 4) as u64 },
    ];
    let peak_bytes = parts.iter().map(|part| part.bytes).sum();
    MemoryPlan { parts, peak_bytes, tokens, recompute: recompute.to_owned(), device_free_bytes: None }
}

/// Floating-point operations of training one token: forward and input gradient of every frozen linear.
#[must_use]
pub fn training_flops_per_token(config: &ModelConfig) -> f64 {
    let linears: usize = Group::ALL.iter().map(|group| group.input_width(config) * group.output_width(config)).sum();
    4.0 * (linears * config.num_hidden_layers) as f64
}

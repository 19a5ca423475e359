//! Owns the arithmetic of memory: what a run keeps, token by token, before it runs.
//! Knows shapes and types; measures nothing and touches no device.

use crate::config::ModelConfig;
use crate::engine::TrainingShape;
use crate::error::{Error, Result};
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

/// Memory of a device that plans leave alone: what the driver, kernels and other programs take.
const RESERVE_BYTES: u64 = 512 << 20;

/// What a device has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Bytes of one weight and of one activation.
    pub(crate) element_bytes: usize,
    /// Memory of the device, where its driver says it.
    pub(crate) memory_bytes: Option<u64>,
    /// Bytes of the largest tensor that a kernel can read.
    pub(crate) largest_binding_bytes: u64,
}

impl Room {
    /// Bytes that a run can have.
    fn free_bytes(&self) -> Option<u64> {
        self.memory_bytes.map(|bytes| bytes.saturating_sub(RESERVE_BYTES))
    }
}

/// The plan of a run on framework tensors, on a device of which the room is known.
#[must_use]
pub(crate) fn within(
    config: &ModelConfig,
    layout: &LoraLayout,
    room: &Room,
    positions: usize,
    shape: TrainingShape,
) -> MemoryPlan {
    let shape = resolved(config, layout, room, positions, shape);
    let plan = tensors(config, layout, room.element_bytes, positions, shape);
    MemoryPlan { device_free_bytes: room.free_bytes(), ..plan }
}

/// The shape with `auto` made a decision: every layer is computed twice only where the run does not fit otherwise.
#[must_use]
pub(crate) fn resolved(
    config: &ModelConfig,
    layout: &LoraLayout,
    room: &Room,
    positions: usize,
    shape: TrainingShape,
) -> TrainingShape {
    let kept = TrainingShape { recompute: Recompute::Never, ..shape };
    let fits = |free| tensors(config, layout, room.element_bytes, positions, kept).peak_bytes <= free;
    match (shape.recompute, room.free_bytes()) {
        (Recompute::Auto, Some(free)) if !fits(free) => TrainingShape { recompute: Recompute::Always, ..shape },
        (Recompute::Auto, _) => kept,
        _ => shape,
    }
}

/// Refuses a run that does not fit: a tensor that no kernel could read, or more memory than there is.
pub(crate) fn check(
    config: &ModelConfig,
    layout: &LoraLayout,
    room: &Room,
    positions: usize,
    shape: TrainingShape,
) -> Result<()> {
    bindable(config, layout, room, shape)?;
    let plan = within(config, layout, room, positions, shape);
    let Some(free_bytes) = room.free_bytes().filter(|free| plan.peak_bytes > *free) else { return Ok(()) };
    let peak = |tokens: usize, recompute: Recompute| {
        let max_supervised = shape.max_supervised.min(tokens);
        let smaller = TrainingShape { max_tokens: tokens, max_supervised, recompute, ..shape };
        tensors(config, layout, room.element_bytes, positions, smaller).peak_bytes
    };
    // No micro-batch is larger than what was asked for, so that many is as good as any more.
    let most = |recompute: Recompute| {
        let (mut fits, mut too_many) = (0, shape.max_tokens + 1);
        while fits + 1 < too_many {
            let middle = fits.midpoint(too_many);
            if peak(middle, recompute) <= free_bytes { fits = middle } else { too_many = middle }
        }
        (fits > 0).then_some(fits)
    };
    let as_asked = if shape.recompute == Recompute::Always { Recompute::Always } else { Recompute::Never };
    Err(Error::DoesNotFit {
        needed_bytes: plan.peak_bytes,
        free_bytes,
        tokens_that_fit: most(as_asked),
        tokens_that_fit_recomputed: most(Recompute::Always),
    })
}

/// Refuses tensors above the largest that the device lets a kernel read. Embedding and head are held in pieces of rows,
/// so they always fit.
fn bindable(config: &ModelConfig, layout: &LoraLayout, room: &Room, shape: TrainingShape) -> Result<()> {
    let limit_bytes = room.largest_binding_bytes;
    let bytes = |values: usize| values as u64 * room.element_bytes as u64;
    let refused = |what: String, bytes: u64, tokens_that_fit: Option<usize>, hint: Option<String>| {
        Err(Error::BufferTooLarge { what, bytes, limit_bytes, tokens_that_fit, hint })
    };
    for group in Group::ALL {
        let weight = bytes(group.output_width(config) * group.input_width(config));
        if weight > limit_bytes {
            let names: Vec<&str> = group.parts(config).iter().map(|part| part.name).collect();
            let smaller =
                if room.element_bytes > 2 { ", or --set device.precision=f16 where the device has it" } else { "" };
            let hint = format!("a smaller model.base, or another --device{smaller}");
            return refused(format!("the weights of {} of a layer", names.join(", ")), weight, None, Some(hint));
        }
    }
    let adapter = 4 * layout.length() as u64;
    if adapter > limit_bytes {
        let hint = "a smaller lora.r, or fewer modules in lora.target_modules".to_owned();
        return refused("the trainable weights".to_owned(), adapter, None, Some(hint));
    }
    let widest = Group::ALL.iter().map(|group| group.output_width(config).max(group.input_width(config))).max();
    let row = bytes(widest.unwrap_or(0)).max(4 * config.hidden_size as u64).max(1);
    let needed = row * shape.max_tokens as u64;
    if needed > limit_bytes {
        let tokens = usize::try_from(limit_bytes / row).unwrap_or(usize::MAX);
        return refused(format!("one activation of {} tokens", shape.max_tokens), needed, Some(tokens), None);
    }
    Ok(())
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
    // A product that no machine has room for is the largest number, and never a small one.
    let bytes = |values: usize| values.saturating_mul(element_bytes) as u64;
    // The residual stream and its gradient are f32 on every device.
    let stream = |rows: usize| config.hidden_size.saturating_mul(4 * rows) as u64;
    let tokens = shape.max_tokens as u64;
    let qkv = Group::Qkv.output_width(config);
    let gate_up = Group::GateUp.output_width(config);
    let attention = Group::Output.input_width(config);
    let layers = config.num_hidden_layers as u64;
    let ranks = layout.ranks_per_layer();
    let before_norm = if config.qk_norm { qkv } else { 0 };
    let products =
        stream(2) + bytes(qkv + before_norm + attention + gate_up + ranks) + 4 * config.num_attention_heads as u64;
    let (kept, recompute) = match shape.recompute {
        Recompute::Auto | Recompute::Never => (layers.saturating_mul(products), "nothing"),
        // The layer that is rebuilt keeps its products while its backward pass runs.
        Recompute::Always => (layers.saturating_mul(stream(1)).saturating_add(products), "every layer"),
    };
    // Backward of the MLP: h, its gradient, the gradient of gate and up, the normed input and three rows of the stream.
    let workspace = stream(3) + bytes(2 * config.intermediate_size + gate_up + config.hidden_size);
    let chunk = shape.max_supervised.min(chunk_rows(config.vocab_size));
    let parts = vec![
        Part { name: "weights", bytes: bytes(config.num_parameters()) + (positions * config.head_dim * 4) as u64 },
        Part { name: "adapter and optimiser", bytes: 4 * 4 * layout.length() as u64 },
        Part { name: "kept for the backward pass", bytes: tokens.saturating_mul(kept) },
        Part { name: "workspace of a layer", bytes: tokens.saturating_mul(workspace) },
        Part {
            name: "logits of supervised rows",
            bytes: chunk.saturating_mul(config.vocab_size).saturating_mul(4) as u64,
        },
    ];
    let peak_bytes = parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.bytes));
    MemoryPlan { parts, peak_bytes, tokens, recompute: recompute.to_owned(), device_free_bytes: None }
}

/// Floating-point operations of training one token: forward and input gradient of every frozen linear.
#[must_use]
pub fn training_flops_per_token(config: &ModelConfig) -> f64 {
    let linears: usize = Group::ALL.iter().map(|group| group.input_width(config) * group.output_width(config)).sum();
    4.0 * (linears * config.num_hidden_layers) as f64
}

#[cfg(test)]
mod tests;

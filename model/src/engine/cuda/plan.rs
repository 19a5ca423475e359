//! Owns what training will take of a device's memory, by the same arithmetic that lays the buffers out.
//! Touches no memory; asks the device only what is free.

use cuda::Device;

use super::keep::{Keep, KeepPlan};
use super::layout::{self, Size};
use super::shape::Shape;
use super::{RESERVE_BYTES, inputs, training, weights};
use crate::config::ModelConfig;
use crate::engine::TrainingShape;
use crate::error::{Error, Result};
use crate::lora::LoraLayout;
use crate::plan::{MemoryPlan, Part};
use crate::train::Recompute;

/// What a run takes whatever is kept.
struct Fixed {
    shape: Shape,
    size: Size,
    weights: usize,
    adapter: usize,
    words: usize,
}

impl Fixed {
    fn new(
        config: &ModelConfig,
        lora: &LoraLayout,
        device: &Device,
        positions: usize,
        wanted: TrainingShape,
    ) -> Result<Self> {
        let shape = Shape::new(config, positions, &[lora], device.info())?;
        let size = training::size(wanted);
        Ok(Fixed {
            weights: weights::bytes(&shape),
            adapter: training::adapter_bytes(lora) + training::bytes(lora.length()),
            words: 4 * inputs::most_words(size.tokens, size.rows),
            shape,
            size,
        })
    }

    fn bytes(&self) -> u64 {
        (self.weights + self.adapter + self.words) as u64 + RESERVE_BYTES
    }

    fn keep(&self, wanted: TrainingShape, free: u64) -> Option<KeepPlan> {
        let available = free.saturating_sub(self.bytes());
        let bytes = |keep| layout::training(&self.shape, self.size, keep).bytes as u64;
        KeepPlan::fit(self.shape.layers, wanted.recompute, available, bytes)
    }
}

/// Refuses a run that does not fit what is free.
pub(crate) fn check(
    config: &ModelConfig,
    lora: &LoraLayout,
    device: &Device,
    positions: usize,
    wanted: TrainingShape,
) -> Result<()> {
    let fixed = Fixed::new(config, lora, device, positions, wanted)?;
    let (free, _) = device.memory()?;
    match fixed.keep(wanted, free) {
        Some(_) => Ok(()),
        None => Err(does_not_fit(&fixed.shape, wanted, fixed.bytes(), free)),
    }
}

/// The plan of a run.
pub(crate) fn plan(
    config: &ModelConfig,
    lora: &LoraLayout,
    device: &Device,
    positions: usize,
    wanted: TrainingShape,
) -> Result<MemoryPlan> {
    let fixed = Fixed::new(config, lora, device, positions, wanted)?;
    let (free, _) = device.memory()?;
    // A plan that does not fit is shown as it is; the run will refuse it.
    let keep = fixed.keep(wanted, free).unwrap_or(KeepPlan::all(fixed.shape.layers, smallest(wanted)));
    let layout = layout::training(&fixed.shape, fixed.size, keep);
    let part = |name, bytes: usize| Part { name, bytes: bytes as u64 };
    let parts = vec![
        part("weights", fixed.weights),
        part("adapter and optimiser", fixed.adapter),
        part("kept for the backward pass", layout.kept_bytes),
        part("workspace of a layer", layout.bytes - layout.kept_bytes - layout.logits_bytes),
        part("more for logits", layout.logits_bytes),
        part("ids and tables", fixed.words),
        part("workspace of products", Device::PRODUCT_WORKSPACE_BYTES),
    ];
    let peak_bytes = parts.iter().map(|part| part.bytes).sum();
    Ok(MemoryPlan {
        parts,
        peak_bytes,
        tokens: wanted.max_tokens as u64,
        recompute: layout.keep.words(),
        device_free_bytes: Some(free),
    })
}

/// The least that may be kept.
fn smallest(wanted: TrainingShape) -> Keep {
    if wanted.recompute == Recompute::Never { Keep::Products } else { Keep::Input }
}

/// What would fit in `free` bytes beside `taken` where something does not: fewer tokens at once, and as many with every
/// layer computed twice.
pub(super) fn does_not_fit(shape: &Shape, wanted: TrainingShape, taken: u64, free: u64) -> Error {
    let bytes = |tokens: usize, keep: Keep| {
        let smaller = TrainingShape { max_tokens: tokens, max_supervised: wanted.max_supervised.min(tokens), ..wanted };
        taken + layout::training(shape, training::size(smaller), KeepPlan::all(shape.layers, keep)).bytes as u64
    };
    let most = |keep: Keep| {
        let steps: Vec<usize> = (1..=wanted.max_tokens / STEP).map(|step| step * STEP).collect();
        let fitting = steps.partition_point(|&tokens| bytes(tokens, keep) <= free);
        fitting.checked_sub(1).map(|last| steps[last])
    };
    Error::DoesNotFit {
        needed_bytes: bytes(wanted.max_tokens, smallest(wanted)),
        free_bytes: free,
        tokens_that_fit: most(smallest(wanted)),
        tokens_that_fit_recomputed: most(Keep::Input),
    }
}

/// Sizes of micro-batches that are proposed are multiples of this.
const STEP: usize = 256;

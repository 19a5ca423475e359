//! Owns the CUDA engine: a frozen base in bfloat16 on one GPU, trained and asked with our own kernels and cuBLASLt.
//!
//! | file | owns |
//! |---|---|
//! | `shape`, `places`, `layout`, `keep`, `plan` | arithmetic: widths, buffers, what is kept, what it will take |
//! | `weights`, `adapters`, `inputs`, `kernels` | what lies on the device |
//! | `pass`, `forward`, `backward`, `gradients`, `head` | the order of work of a micro-batch |
//! | `training`, `answer`, `generate` | what is asked of the engine |
//!
//! All work is one stream. Buffers are laid out once for the largest micro-batch, so memory does not grow, and a kernel's
//! arguments are the same at every step. The tensor engine is the plain twin of all of this.

mod adapters;
mod answer;
mod backward;
mod forward;
mod generate;
mod gradients;
mod head;
mod inputs;
mod keep;
mod kernels;
mod layout;
mod pass;
mod places;
mod plan;
mod shape;
#[cfg(test)]
mod tests;
mod training;
mod weights;

use cuda::{Block, Device};

pub(crate) use plan::{check, plan};

use self::adapters::Held;
use self::kernels::Kernels;
use self::layout::Size;
use self::shape::Shape;
use self::training::Training;
use self::weights::Weights;
use super::{AdapterId, DeviceMemory, Engine, Pass, StepReport, TrainingShape};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::device::LoadOptions;
use crate::error::{Error, Result};
use crate::generate::{Generated, Limits};
use crate::kernels::AdamWStep;
use crate::lora::LoraLayout;
use crate::sampler::Sampler;
use crate::train::Batch;

/// Memory left alone by plans: code of products that the library loads when it needs it, and what other programs take.
const RESERVE_BYTES: u64 = 512 << 20;

/// A base on a GPU.
pub struct CudaEngine {
    device: Device,
    config: ModelConfig,
    shape: Shape,
    kernels: Kernels,
    weights: Weights,
    adapters: Vec<Held>,
    /// Which adapter lies in the weights' free columns and rows.
    installed: Option<usize>,
    /// Memory of one pass; passes come one after the other.
    scratch: Option<Block>,
    words: Option<Block>,
    training: Option<Training>,
}

impl CudaEngine {
    /// From a checkpoint. `progress` gets layers done and in all.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        device: &Device,
        options: LoadOptions<'_>,
        progress: impl FnMut(usize, usize),
    ) -> Result<Self> {
        let config = &checkpoint.config;
        if options.positions > config.max_position_embeddings {
            return Err(Error::TooLong { tokens: options.positions, limit: config.max_position_embeddings });
        }
        let shape = Shape::new(config, options.positions, options.adapters, device.info())?;
        let weights = Weights::load(checkpoint, device, &shape, progress)?;
        Self::with(device, config, shape, weights)
    }

    /// With random weights of the true shape, for timing.
    pub(crate) fn random(config: &ModelConfig, device: &Device, options: LoadOptions<'_>) -> Result<Self> {
        let shape = Shape::new(config, options.positions, options.adapters, device.info())?;
        let weights = Weights::random(device, &shape, config)?;
        Self::with(device, config, shape, weights)
    }

    fn with(device: &Device, config: &ModelConfig, shape: Shape, weights: Weights) -> Result<Self> {
        Ok(CudaEngine {
            kernels: Kernels::new(device, &shape, config)?,
            device: device.clone(),
            config: config.clone(),
            shape,
            weights,
            adapters: Vec::new(),
            installed: None,
            scratch: None,
            words: None,
            training: None,
        })
    }

    /// Memory for a pass, and for its ids and tables.
    fn reserve(&mut self, bytes: usize, size: Size) -> Result<()> {
        let grow = |device: &Device, block: &mut Option<Block>, bytes: usize| -> Result<()> {
            if block.as_ref().is_none_or(|block| block.bytes() < bytes) {
                // The old one goes first, so that both need not fit.
                *block = None;
                *block = Some(device.allocate(bytes)?);
            }
            Ok(())
        };
        grow(&self.device, &mut self.scratch, bytes)?;
        grow(&self.device, &mut self.words, 4 * inputs::most_words(size.tokens, size.rows))
    }

    /// The memory that [`CudaEngine::reserve`] took.
    fn memory_of_a_pass(&self) -> Result<(&Block, &Block)> {
        self.scratch.as_ref().zip(self.words.as_ref()).ok_or(Error::NothingInTraining)
    }

    /// Puts an adapter into the weights' free columns and rows; `None` asks the base, which reads none of them.
    fn install(&mut self, adapter: Option<usize>) -> Result<()> {
        let Some(adapter) = adapter.filter(|adapter| self.installed != Some(*adapter)) else { return Ok(()) };
        let same_places = self.installed.is_some_and(|old| self.adapters[old].layout == self.adapters[adapter].layout);
        if !same_places {
            adapters::clear(&self.device, &self.weights)?;
        }
        self.adapters[adapter].install()?;
        self.installed = Some(adapter);
        Ok(())
    }

    fn hold(&mut self, layout: &LoraLayout, values: &[f32]) -> Result<usize> {
        self.adapters.push(Held::new(&self.device, &self.weights, layout, values)?);
        Ok(self.adapters.len() - 1)
    }
}

impl Engine for CudaEngine {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn positions(&self) -> usize {
        self.shape.positions
    }

    fn add_adapter(&mut self, layout: &LoraLayout, values: &[f32]) -> Result<AdapterId> {
        self.hold(layout, values).map(AdapterId)
    }

    fn log_probabilities(&mut self, adapter: Option<AdapterId>, batch: &Batch) -> Result<Vec<f32>> {
        self.batch_log_probabilities(adapter, batch)
    }

    fn distributions(
        &mut self,
        adapter: Option<AdapterId>,
        batch: &Batch,
        accept: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<()> {
        self.batch_distributions(adapter, batch, accept)
    }

    fn generate(
        &mut self,
        adapter: Option<AdapterId>,
        prompts: &[Vec<u32>],
        limits: &Limits,
        sampler: Sampler,
    ) -> Result<Vec<Generated>> {
        self.continue_prompts(adapter, prompts, limits, sampler)
    }

    fn score(
        &mut self,
        adapter: Option<AdapterId>,
        prompts: &[Vec<u32>],
        continuations: &[Vec<u32>],
    ) -> Result<Vec<Vec<Vec<f32>>>> {
        self.score_continuations(adapter, prompts, continuations)
    }

    fn train(&mut self, layout: &LoraLayout, values: &[f32], shape: TrainingShape) -> Result<AdapterId> {
        let adapter = self.hold(layout, values)?;
        self.start_training(adapter, shape)?;
        Ok(AdapterId(adapter))
    }

    fn accumulate(&mut self, batch: &Batch, pass: Pass) -> Result<()> {
        self.accumulate_batch(batch, pass)
    }

    fn discard(&mut self) -> Result<()> {
        self.discard_batches()
    }

    fn apply(&mut self, step: AdamWStep, max_grad_norm: f32) -> Result<()> {
        self.step(step, max_grad_norm)
    }

    fn report(&mut self, wait: bool) -> Result<Option<StepReport>> {
        self.next_report(wait)
    }

    fn training_state(&self) -> Result<[Vec<f32>; 3]> {
        self.state()
    }

    fn set_training_state(&mut self, state: [&[f32]; 3]) -> Result<()> {
        self.set_state(state)
    }

    fn end_training(&mut self) -> Result<()> {
        self.device.synchronize()?;
        (self.training, self.scratch, self.words) = (None, None, None);
        Ok(())
    }

    fn accumulated(&self) -> Result<(f64, Vec<f32>)> {
        self.accumulated_so_far()
    }

    fn memory(&self) -> Option<DeviceMemory> {
        let total_bytes = self.device.info().memory_bytes;
        Some(DeviceMemory { peak_bytes: self.device.peak_bytes(), held_bytes: self.device.held_bytes(), total_bytes })
    }
}

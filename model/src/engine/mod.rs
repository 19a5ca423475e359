//! Owns the seam between what is asked of a model and what computes it: one trait, and the list of its implementations
//! (`device.rs` chooses by the device). Knows ids, adapters and numbers; knows no tensor and no device.
//!
//! The tensor engine is the plain one: it runs on every device the framework knows. The CUDA engine is the fast one, and is
//! held against the plain one in tests.

pub mod cuda;
mod distribution;
pub mod guarded;
mod loss_scale;
pub mod tensor;

use std::cell::RefCell;
use std::rc::Rc;

use crate::config::ModelConfig;
use crate::dropout::DropoutKey;
use crate::error::{Error, Result};
use crate::generate::{Generated, Limits};
use crate::kernels::AdamWStep;
use crate::lora::LoraLayout;
use crate::sampler::Sampler;
use crate::train::{Batch, Recompute};

/// Which adapter of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdapterId(pub usize);

/// What training asks of an engine before its first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainingShape {
    /// Tokens of the largest micro-batch.
    pub max_tokens: usize,
    /// Supervised tokens of the micro-batch that has most.
    pub max_supervised: usize,
    /// Whether adapters drop some of their input.
    pub dropout: bool,
    /// Whether layers may or must be computed twice to save memory.
    pub recompute: Recompute,
}

/// How one micro-batch is learnt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pass {
    /// What each loss is multiplied by: one over the supervised tokens of the whole step.
    pub scale: f32,
    /// Dropout on the adapters' inputs; the key of a packed linear is `dropout.of(layer, group)`.
    pub dropout: Option<PassDropout>,
}

/// Dropout of one micro-batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PassDropout {
    /// Seed of the run, step and micro-batch.
    pub time: [u64; 3],
    /// Probability that a value is dropped.
    pub probability: f32,
}

impl PassDropout {
    /// The key of one packed linear.
    #[must_use]
    pub fn of(&self, layer: usize, group: usize) -> DropoutKey {
        let [seed, step, micro_batch] = self.time;
        DropoutKey::new(&[seed, step, micro_batch, layer as u64, group as u64], self.probability)
    }
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Sum of the losses of its supervised tokens.
    pub loss: f64,
    /// Global norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Whether loss and gradient were finite. If not, the step changed nothing, and no later one does.
    pub finite: bool,
}

/// Memory of the device that an engine holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DeviceMemory {
    /// The most it has held so far.
    pub peak_bytes: u64,
    /// What it holds now.
    pub held_bytes: u64,
    /// Memory of the device.
    pub total_bytes: u64,
}

/// A frozen base on a device, its adapters, and at most one of them in training.
///
/// Work may be under way when a call returns; what hands out numbers waits for them.
pub trait Engine {
    /// The architecture's numbers.
    fn config(&self) -> &ModelConfig;

    /// Positions that can be rotated to.
    fn positions(&self) -> usize;

    /// Takes an adapter. Its layout is one of those the base was loaded for.
    fn add_adapter(&mut self, layout: &LoraLayout, values: &[f32]) -> Result<AdapterId>;

    /// Log-probability of every supervised token of a batch, in order, without dropout.
    fn log_probabilities(&mut self, adapter: Option<AdapterId>, batch: &Batch) -> Result<Vec<f32>>;

    /// Log-probability of every token of the vocabulary in the place of each supervised token of a batch, without dropout:
    /// `accept` gets the number of the supervised token, from 0 and in any order, and `[vocab_size]` values.
    fn distributions(
        &mut self,
        adapter: Option<AdapterId>,
        batch: &Batch,
        accept: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<()>;

    /// Continues every prompt.
    fn generate(
        &mut self,
        adapter: Option<AdapterId>,
        prompts: &[Vec<u32>],
        limits: &Limits,
        sampler: Sampler,
    ) -> Result<Vec<Generated>>;

    /// Log-probability of every token of each continuation after each prompt: `[prompt][continuation][token]`.
    fn score(
        &mut self,
        adapter: Option<AdapterId>,
        prompts: &[Vec<u32>],
        continuations: &[Vec<u32>],
    ) -> Result<Vec<Vec<Vec<f32>>>>;

    /// Makes an adapter with fresh moments the one in training.
    fn train(&mut self, layout: &LoraLayout, values: &[f32], shape: TrainingShape) -> Result<AdapterId>;

    /// Adds loss and gradient of a micro-batch.
    fn accumulate(&mut self, batch: &Batch, pass: Pass) -> Result<()>;

    /// Drops what was accumulated.
    fn discard(&mut self) -> Result<()>;

    /// Steps with the accumulated gradient, whose global norm is first brought down to `max_grad_norm`.
    fn apply(&mut self, step: AdamWStep, max_grad_norm: f32) -> Result<()>;

    /// The oldest step that was not reported. `None` if there is none, or if it is still under way and `wait` is false.
    fn report(&mut self, wait: bool) -> Result<Option<StepReport>>;

    /// Adapter, first and second moments of the adapter in training.
    fn training_state(&self) -> Result<[Vec<f32>; 3]>;

    /// Goes back to adapter, first and second moments; drops what was accumulated.
    fn set_training_state(&mut self, state: [&[f32]; 3]) -> Result<()>;

    /// Gives back the memory that only training needs. The adapter stays, and can be asked.
    fn end_training(&mut self) -> Result<()>;

    /// Loss and gradient as accumulated so far, for proofs.
    fn accumulated(&self) -> Result<(f64, Vec<f32>)>;

    /// Memory of the device, where it has its own.
    fn memory(&self) -> Option<DeviceMemory>;
}

/// A loaded model: a handle that is shared by whoever asks it. One question is answered at a time.
#[derive(Clone)]
pub struct Model {
    engine: Rc<RefCell<Box<dyn Engine>>>,
    config: Rc<ModelConfig>,
}

impl Model {
    /// Around an engine.
    #[must_use]
    pub fn new(engine: Box<dyn Engine>) -> Self {
        let config = Rc::new(engine.config().clone());
        Model { engine: Rc::new(RefCell::new(engine)), config }
    }

    /// The architecture's numbers.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Positions that can be rotated to.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.engine.borrow().positions()
    }

    /// Takes an adapter.
    pub fn add_adapter(&self, layout: &LoraLayout, values: &[f32]) -> Result<AdapterId> {
        self.engine.borrow_mut().add_adapter(layout, values)
    }

    /// Log-probability of every supervised token of a batch, in order.
    pub fn log_probabilities(&self, adapter: Option<AdapterId>, batch: &Batch) -> Result<Vec<f32>> {
        self.refuse_ids_beyond(&batch.ids)?;
        self.engine.borrow_mut().log_probabilities(adapter, batch)
    }

    /// Log-probability of every token of the vocabulary in the place of each supervised token of a batch: `accept` gets the
    /// number of the supervised token, from 0 and in any order, and `[vocab_size]` values.
    pub fn distributions(
        &self,
        adapter: Option<AdapterId>,
        batch: &Batch,
        accept: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<()> {
        self.refuse_ids_beyond(&batch.ids)?;
        self.engine.borrow_mut().distributions(adapter, batch, accept)
    }

    /// Continues every prompt.
    pub fn generate(
        &self,
        adapter: Option<AdapterId>,
        prompts: &[Vec<u32>],
        limits: &Limits,
        sampler: Sampler,
    ) -> Result<Vec<Generated>> {
        self.refuse_ids_beyond(prompts.iter().flatten())?;
        self.engine.borrow_mut().generate(adapter, prompts, limits, sampler)
    }

    /// Log-probability of every token of each continuation after each prompt: `[prompt][continuation][token]`.
    pub fn score(
        &self,
        adapter: Option<AdapterId>,
        prompts: &[Vec<u32>],
        continuations: &[Vec<u32>],
    ) -> Result<Vec<Vec<Vec<f32>>>> {
        self.refuse_ids_beyond(prompts.iter().chain(continuations).flatten())?;
        self.engine.borrow_mut().score(adapter, prompts, continuations)
    }

    /// Adds loss and gradient of a micro-batch to those of the adapter in training.
    pub(crate) fn accumulate(&self, batch: &Batch, pass: Pass) -> Result<()> {
        self.refuse_ids_beyond(&batch.ids)?;
        self.engine.borrow_mut().accumulate(batch, pass)
    }

    /// The one place that all ids pass on their way to an engine, those that are read and those that are predicted.
    fn refuse_ids_beyond<'a>(&self, ids: impl IntoIterator<Item = &'a u32>) -> Result<()> {
        let rows = self.config.vocab_size;
        match ids.into_iter().find(|id| **id as usize >= rows) {
            Some(&id) => Err(Error::IdBeyond { id, rows }),
            None => Ok(()),
        }
    }

    /// Memory of the device, where it has its own.
    #[must_use]
    pub fn memory(&self) -> Option<DeviceMemory> {
        self.engine.borrow().memory()
    }

    /// The engine, for whoever trains. Ids do not go this way: [`Model::accumulate`] looks at them.
    pub(crate) fn engine(&self) -> std::cell::RefMut<'_, Box<dyn Engine>> {
        self.engine.borrow_mut()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::device::{DeviceChoice, LoadOptions, OpenDevice, Precision};
    use crate::{Checkpoint, adapter};

    #[test]
    fn no_way_to_an_engine_takes_an_id_for_which_there_is_no_row() {
        let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/llama-tied");
        let checkpoint = Checkpoint::open(&case).unwrap();
        let adapter = adapter::load(&case.join("adapter"), &checkpoint.config).unwrap();
        let device = OpenDevice::open(DeviceChoice::Cpu, Precision::Auto, None).unwrap();
        let options = LoadOptions { positions: 32, adapters: &[&adapter.layout] };
        let model = device.load(&checkpoint, options, |_, _| {}).unwrap();
        let rows = checkpoint.config.vocab_size;
        let shape = TrainingShape { max_tokens: 8, max_supervised: 8, dropout: false, recompute: Recompute::Auto };
        model.engine().train(&adapter.layout, &adapter.values, shape).unwrap();
        let limits = Limits { max_tokens: usize::MAX, stop: (0..rows as u32).collect() };
        for id in [rows as u32 - 1, rows as u32, u32::MAX] {
            // As a token that is read, and as one that is predicted.
            let read = Batch::pack([(&[id, 1, 1][..], &[false, false, true][..])]);
            let predicted = Batch::pack([(&[1, 1, id][..], &[false, false, true][..])]);
            let outcomes = [
                model.log_probabilities(None, &read).map(drop),
                model.log_probabilities(None, &predicted).map(drop),
                model.distributions(None, &predicted, &mut |_, _| ()),
                model.accumulate(&read, Pass { scale: 1.0, dropout: None }),
                model.accumulate(&predicted, Pass { scale: 1.0, dropout: None }),
                model.generate(None, &[vec![1, id]], &limits, Sampler::greedy()).map(drop),
                model.score(None, &[vec![1, id]], &[vec![1]]).map(drop),
                model.score(None, &[vec![1]], &[vec![1, id]]).map(drop),
            ];
            for (way, outcome) in outcomes.into_iter().enumerate() {
                match outcome {
                    Ok(()) => assert!((id as usize) < rows, "way {way} takes {id}"),
                    Err(error) => assert!(
                        id as usize >= rows && error.to_string().starts_with(&format!("token id {id} for")),
                        "way {way}, {id}: {error}"
                    ),
                }
            }
        }
    }
}

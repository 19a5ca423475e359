//! Owns the boundary around an engine whose operations cannot fail in words: what goes wrong in one is an error of the call.
//! Knows the seam; knows no tensor. The engine inside stays as it is.
//!
//! After a failure nothing inside is trusted: every later call gives the same error, and what was saved before stays.

use std::cell::{Cell, RefCell};

use super::{AdapterId, DeviceMemory, Engine, Pass, StepReport, TrainingShape};
use crate::config::ModelConfig;
use crate::device::DeviceFailure;
use crate::device::panics::caught;
use crate::error::{Error, Result};
use crate::generate::{Generated, Limits};
use crate::kernels::AdamWStep;
use crate::lora::LoraLayout;
use crate::plan::{self, Room};
use crate::sampler::Sampler;
use crate::train::Batch;

/// An engine behind a boundary.
pub struct Guarded<E: Engine> {
    engine: E,
    /// As it is told, such as `vulkan:0`.
    device: String,
    /// What the device has room for, where that is known.
    room: Option<Room>,
    /// Bytes that the framework holds of the device.
    held: Option<Box<dyn Fn() -> Option<u64>>>,
    peak: Cell<u64>,
    failure: RefCell<Option<DeviceFailure>>,
}

impl<E: Engine> Guarded<E> {
    /// Around an engine on a device of this name.
    #[must_use]
    pub fn new(engine: E, device: &str) -> Self {
        Guarded {
            engine,
            device: device.to_owned(),
            room: None,
            held: None,
            peak: Cell::new(0),
            failure: RefCell::new(None),
        }
    }

    /// With what the device has room for, and who knows how much is held of it.
    #[must_use]
    pub(crate) fn with_memory(self, room: Room, held: impl Fn() -> Option<u64> + 'static) -> Self {
        Guarded { room: Some(room), held: Some(Box::new(held)), ..self }
    }

    fn asked<T>(&self, ask: impl FnOnce(&E) -> Result<T>) -> Result<T> {
        self.refuse_after_failure()?;
        self.settled(caught(|| ask(&self.engine)))
    }

    fn told<T>(&mut self, tell: impl FnOnce(&mut E) -> Result<T>) -> Result<T> {
        self.refuse_after_failure()?;
        let outcome = caught(|| tell(&mut self.engine));
        self.settled(outcome)
    }

    fn refuse_after_failure(&self) -> Result<()> {
        match &*self.failure.borrow() {
            Some(failure) => Err(failure.clone().into()),
            None => Ok(()),
        }
    }

    fn settled<T>(&self, outcome: std::result::Result<Result<T>, DeviceFailure>) -> Result<T> {
        let failure = match outcome {
            Ok(Err(Error::DeviceFailed(failure))) | Err(failure) => failure.on(&self.device),
            Ok(other) => return other,
        };
        *self.failure.borrow_mut() = Some(failure.clone());
        Err(failure.into())
    }
}

impl<E: Engine> Engine for Guarded<E> {
    fn config(&self) -> &ModelConfig {
        self.engine.config()
    }

    fn positions(&self) -> usize {
        self.engine.positions()
    }

    fn add_adapter(&mut self, layout: &LoraLayout, values: &[f32]) -> Result<AdapterId> {
        self.told(|engine| engine.add_adapter(layout, values))
    }

    fn log_probabilities(&mut self, adapter: Option<AdapterId>, batch: &Batch) -> Result<Vec<f32>> {
        self.told(|engine| engine.log_probabilities(adapter, batch))
    }

    fn distributions(
        &mut self,
        adapter: Option<AdapterId>,
        batch: &Batch,
        accept: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<()> {
        self.told(|engine| engine.distributions(adapter, batch, accept))
    }

    fn generate(
        &mut self,
        adapter: Option<AdapterId>,
        prompts: &[Vec<u32>],
        limits: &Limits,
        sampler: Sampler,
    ) -> Result<Vec<Generated>> {
        self.told(|engine| engine.generate(adapter, prompts, limits, sampler))
    }

    fn score(
        &mut self,
        adapter: Option<AdapterId>,
        prompts: &[Vec<u32>],
        continuations: &[Vec<u32>],
    ) -> Result<Vec<Vec<Vec<f32>>>> {
        self.told(|engine| engine.score(adapter, prompts, continuations))
    }

    fn train(&mut self, layout: &LoraLayout, values: &[f32], shape: TrainingShape) -> Result<AdapterId> {
        let shape = match &self.room {
            Some(room) => plan::resolved(self.config(), layout, room, self.positions(), shape),
            None => shape,
        };
        self.told(|engine| engine.train(layout, values, shape))
    }

    fn accumulate(&mut self, batch: &Batch, pass: Pass) -> Result<()> {
        self.told(|engine| engine.accumulate(batch, pass))
    }

    fn discard(&mut self) -> Result<()> {
        self.told(Engine::discard)
    }

    fn apply(&mut self, step: AdamWStep, max_grad_norm: f32) -> Result<()> {
        self.told(|engine| engine.apply(step, max_grad_norm))
    }

    fn report(&mut self, wait: bool) -> Result<Option<StepReport>> {
        self.told(|engine| engine.report(wait))
    }

    fn training_state(&self) -> Result<[Vec<f32>; 3]> {
        self.asked(Engine::training_state)
    }

    fn set_training_state(&mut self, state: [&[f32]; 3]) -> Result<()> {
        self.told(|engine| engine.set_training_state(state))
    }

    fn end_training(&mut self) -> Result<()> {
        self.told(Engine::end_training)
    }

    fn accumulated(&self) -> Result<(f64, Vec<f32>)> {
        self.asked(Engine::accumulated)
    }

    fn memory(&self) -> Option<DeviceMemory> {
        let (Some(held), Some(total_bytes)) = (&self.held, self.room.as_ref().and_then(|room| room.memory_bytes))
        else {
            return self.asked(|engine| Ok(engine.memory())).ok().flatten();
        };
        // A device that failed holds what it held; asking it would only fail again.
        let held_bytes = match self.refuse_after_failure() {
            Ok(()) => caught(held).ok().flatten().unwrap_or(self.peak.get()),
            Err(_) => self.peak.get(),
        };
        self.peak.set(self.peak.get().max(held_bytes));
        Some(DeviceMemory { peak_bytes: self.peak.get(), held_bytes, total_bytes })
    }
}

#[cfg(test)]
mod tests;

//! Owns one training session: which adapter is trained how, which step it is at, and its whole state as plain numbers.
//! Knows numbers; gradients are the engine's business. Knows no schedule, no record, no file and no clock.

mod batch;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod oracle;

use std::str::FromStr;

pub use batch::Batch;

use crate::engine::{AdapterId, Model, Pass, PassDropout, TrainingShape};
use crate::error::{Error, Result};
use crate::kernels::AdamWStep;
use crate::lora::{LoraConfig, LoraLayout};

/// The optimiser's settings; defaults are PyTorch's, but for the decay, which PEFT recipes set to zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta_1: f32,
    /// Decay of the second moment.
    pub beta_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Largest global norm of a gradient; a larger one is scaled down.
    pub max_grad_norm: f32,
}

/// Whether layers are computed twice to save memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recompute {
    /// As few as the memory of the device asks for; none where its memory is not known.
    #[default]
    Auto,
    /// None: fastest, and an error where memory does not suffice.
    Never,
    /// All: smallest.
    Always,
}

impl FromStr for Recompute {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => Ok(Recompute::Auto),
            "never" => Ok(Recompute::Never),
            "always" => Ok(Recompute::Always),
            other => Err(format!("\"{other}\" is none of auto, never, always")),
        }
    }
}

/// What one optimiser step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepStats {
    /// Sum of the losses of its supervised tokens.
    pub loss: f64,
    /// Global norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Whether it was clipped.
    pub clipped: bool,
}

/// All that a resumed session needs, as plain numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionState {
    /// Optimiser steps done.
    pub step: u64,
    /// The adapter, flat.
    pub parameters: Vec<f32>,
    /// First moments, flat.
    pub first: Vec<f32>,
    /// Second moments, flat.
    pub second: Vec<f32>,
}

/// A model with one adapter in training.
pub struct Session {
    model: Model,
    adapter: AdapterId,
    layout: LoraLayout,
    lora: LoraConfig,
    optimiser: AdamWConfig,
    seed: u64,
    step: u64,
    reported: u64,
    micro_batch: u64,
}

impl Session {
    /// A session whose adapter starts as `lora.init_lora_weights` says.
    pub fn new(
        model: Model,
        lora: LoraConfig,
        optimiser: AdamWConfig,
        shape: TrainingShape,
        seed: u64,
    ) -> Result<Self> {
        let values = LoraLayout::new(model.config(), &lora)?.initial(lora.init_lora_weights, seed);
        Self::starting_from(model, lora, optimiser, shape, seed, &values)
    }

    /// A session whose adapter starts from `values`, in the order of the layout of `lora`.
    pub fn starting_from(
        model: Model,
        lora: LoraConfig,
        optimiser: AdamWConfig,
        shape: TrainingShape,
        seed: u64,
        values: &[f32],
    ) -> Result<Self> {
        let layout = LoraLayout::new(model.config(), &lora)?;
        if values.len() != layout.length() {
            return Err(Error::WrongShape {
                name: "the adapter to start from".to_owned(),
                expected: vec![layout.length()],
                found: vec![values.len()],
            });
        }
        let shape = TrainingShape { dropout: lora.lora_dropout > 0.0, ..shape };
        let adapter = model.engine().train(&layout, values, shape)?;
        Ok(Session { model, adapter, layout, lora, optimiser, seed, step: 0, reported: 0, micro_batch: 0 })
    }

    /// Adds the gradient of a micro-batch. `supervised` counts the supervised tokens of the whole optimiser step, so
    /// that every token weighs the same however the step is cut.
    pub fn accumulate(&mut self, batch: &Batch, supervised: usize) -> Result<()> {
        if batch.supervised_tokens() == 0 {
            return Err(Error::NothingSupervised { tokens: batch.ids.len() });
        }
        let dropout = (self.lora.lora_dropout > 0.0).then_some(PassDropout {
            time: [self.seed, self.step, self.micro_batch],
            probability: self.lora.lora_dropout,
        });
        self.model.accumulate(batch, Pass { scale: 1.0 / supervised as f32, dropout })?;
        self.micro_batch += 1;
        Ok(())
    }

    /// Learns a micro-batch and forgets it: what takes most memory can be tried before the first step.
    pub fn rehearse(&mut self, batch: &Batch) -> Result<()> {
        self.accumulate(batch, batch.supervised_tokens())?;
        self.micro_batch = 0;
        self.model.engine().discard()
    }

    /// Clips the accumulated gradient by its global norm and steps. What came of it is told by [`Session::report`]; the
    /// step may be under way when this returns.
    pub fn apply(&mut self, learning_rate: f32) -> Result<()> {
        let step = AdamWStep {
            learning_rate,
            beta_1: self.optimiser.beta_1,
            beta_2: self.optimiser.beta_2,
            epsilon: self.optimiser.epsilon,
            weight_decay: self.optimiser.weight_decay,
            gradient_scale: 1.0,
            step: self.step as u32 + 1,
        };
        self.model.engine().apply(step, self.optimiser.max_grad_norm)?;
        self.micro_batch = 0;
        self.step += 1;
        Ok(())
    }

    /// What the oldest step came to that was not yet reported: `None` if there is none, or if it is still under way and
    /// `wait` is false. A step whose loss or gradient was not finite changed nothing and is an error.
    pub fn report(&mut self, wait: bool) -> Result<Option<StepStats>> {
        let Some(report) = self.model.engine().report(wait)? else { return Ok(None) };
        if !report.finite {
            let what = if report.loss.is_finite() { "the gradient" } else { "the loss" };
            return Err(Error::Diverged { what: what.to_owned() });
        }
        self.reported += 1;
        let clipped = report.gradient_norm > f64::from(self.optimiser.max_grad_norm);
        Ok(Some(StepStats { loss: report.loss, gradient_norm: report.gradient_norm, clipped }))
    }

    /// Steps that were not yet reported.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.step - self.reported
    }

    /// Log-probability of every supervised token of a batch, in order, without dropout and without a gradient.
    pub fn log_probabilities(&self, batch: &Batch) -> Result<Vec<f32>> {
        self.model.log_probabilities(Some(self.adapter), batch)
    }

    /// The sum of the losses accumulated since the last step, for proofs.
    pub fn accumulated_loss(&self) -> Result<f64> {
        Ok(self.model.engine().accumulated()?.0)
    }

    /// The accumulated gradient of each matrix, by `module.matrix`, for proofs.
    pub fn gradients(&self) -> Result<Vec<(String, Vec<f32>)>> {
        let (_, values) = self.model.engine().accumulated()?;
        if values.is_empty() {
            return Ok(Vec::new());
        }
        let matrices = self.layout.matrices().into_iter();
        Ok(matrices.map(|m| (format!("{}.{}", m.module, m.matrix), values[m.range].to_vec())).collect())
    }

    /// Everything that changes while training. Waits for the steps that are under way.
    pub fn state(&self) -> Result<SessionState> {
        let [parameters, first, second] = self.model.engine().training_state()?;
        Ok(SessionState { step: self.step, parameters, first, second })
    }

    /// Optimiser steps done or under way.
    #[must_use]
    pub fn state_step(&self) -> u64 {
        self.step
    }

    /// Goes back to a state of a session with the same layout.
    pub fn restore(&mut self, state: &SessionState) -> Result<()> {
        for (what, values) in
            [("parameters", &state.parameters), ("first moments", &state.first), ("second moments", &state.second)]
        {
            if values.len() != self.layout.length() {
                return Err(Error::WrongShape {
                    name: what.to_owned(),
                    expected: vec![self.layout.length()],
                    found: vec![values.len()],
                });
            }
        }
        self.model.engine().set_training_state([&state.parameters, &state.first, &state.second])?;
        (self.step, self.reported, self.micro_batch) = (state.step, state.step, 0);
        Ok(())
    }

    /// Gives back the memory that only training needs. The adapter stays, and the model can be asked with it.
    pub fn end(&mut self) -> Result<()> {
        self.model.engine().end_training()
    }

    /// The adapter in training, for whoever asks the model.
    #[must_use]
    pub fn adapter(&self) -> AdapterId {
        self.adapter
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Where each matrix lies in [`SessionState::parameters`].
    #[must_use]
    pub fn layout(&self) -> &LoraLayout {
        &self.layout
    }

    /// The settings of the adapter.
    #[must_use]
    pub fn lora(&self) -> &LoraConfig {
        &self.lora
    }
}

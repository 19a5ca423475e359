//! Owns one training session: accumulate gradients of packed micro-batches, clip, step, and hand out its whole state.
//! Knows tensors and numbers; knows no schedule, no record, no file and no clock.

mod batch;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod oracle;

use burn::tensor::{DType, Tensor};

pub use batch::Batch;

use crate::dropout::DropoutKey;
use crate::error::{Error, Result};
use crate::kernels::AdamWStep;
use crate::kernels::adamw::Moments;
use crate::lora::{LoraConfig, LoraLayout, flat};
use crate::nn::{Decoder, Keep};

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

/// What one optimiser step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepStats {
    /// Global norm of the gradient before clipping.
    pub gradient_norm: f32,
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

/// A frozen decoder, its adapter and the optimiser's state.
pub struct Session {
    decoder: Decoder,
    layout: LoraLayout,
    lora: LoraConfig,
    optimiser: AdamWConfig,
    keep: Keep,
    seed: u64,
    parameters: Tensor<1>,
    moments: Moments,
    gradient: Option<Tensor<1>>,
    step: u64,
    micro_batch: u64,
}

impl Session {
    /// A session whose adapter starts as `lora.init_lora_weights` says.
    pub fn new(decoder: Decoder, lora: LoraConfig, optimiser: AdamWConfig, keep: Keep, seed: u64) -> Result<Self> {
        let layout = LoraLayout::new(&decoder.config, &lora)?;
        let parameters = flat(&layout.initial(lora.init_lora_weights, seed), &decoder.device);
        let zeros = || flat(&vec![0.0; layout.length()], &decoder.device);
        let moments = Moments { first: zeros(), second: zeros() };
        Ok(Session {
            decoder,
            layout,
            lora,
            optimiser,
            keep,
            seed,
            parameters,
            moments,
            gradient: None,
            step: 0,
            micro_batch: 0,
        })
    }

    /// Adds the gradient of a micro-batch. `supervised` counts the supervised tokens of the whole optimiser step, so
    /// that every token weighs the same however the step is cut. Returns the sum of the losses of the micro-batch.
    pub fn accumulate(&mut self, batch: &Batch, supervised: usize) -> Result<f64> {
        let (rows, targets) = batch.targets();
        if rows.is_empty() {
            return Err(Error::NothingSupervised { tokens: batch.ids.len() });
        }
        let documents = batch.documents();
        let adapters = self.layout.operands(&self.parameters, |layer, group| self.dropout(layer, group));
        let (hidden, trace) = self.decoder.forward(&batch.ids, &documents, &rows, &adapters, Some(self.keep));
        let scale = 1.0 / supervised as f32;
        let (losses, d_hidden) =
            self.decoder.kernels.cross_entropy(&hidden, &self.decoder.lm_head, &targets, Some(scale));
        let loss: f64 = losses.iter().map(|&loss| f64::from(loss)).sum();
        if !loss.is_finite() {
            return Err(Error::NonFinite { what: "the loss".to_owned() });
        }
        let mut pieces: Vec<Option<Tensor<1>>> = vec![None; self.decoder.layers.len()];
        if let Some(d_hidden) = d_hidden {
            self.decoder.backward(d_hidden, trace, &documents, &adapters, |layer, gradients| {
                pieces[layer] = LoraLayout::flatten(gradients);
            });
        }
        drop(adapters);
        let piece = LoraLayout::join(pieces);
        self.gradient = match (self.gradient.take(), piece) {
            (Some(sum), Some(piece)) => Some(sum + piece),
            (sum, piece) => sum.or(piece),
        };
        self.micro_batch += 1;
        Ok(loss)
    }

    /// Clips the accumulated gradient by its global norm and steps. A gradient that is not finite changes nothing
    /// and is an error.
    pub fn apply(&mut self, learning_rate: f32) -> Result<StepStats> {
        let gradient = self.gradient.take().ok_or(Error::NothingSupervised { tokens: 0 })?;
        self.micro_batch = 0;
        let norm = global_norm(&gradient);
        if !norm.is_finite() {
            return Err(Error::NonFinite { what: "the gradient".to_owned() });
        }
        let limit = self.optimiser.max_grad_norm;
        // The same small number as PyTorch adds, so that clipped runs agree.
        let gradient_scale = (limit / (norm + 1e-6)).min(1.0);
        self.step += 1;
        let step = AdamWStep {
            learning_rate,
            beta_1: self.optimiser.beta_1,
            beta_2: self.optimiser.beta_2,
            epsilon: self.optimiser.epsilon,
            weight_decay: self.optimiser.weight_decay,
            gradient_scale,
            step: self.step as u32,
        };
        let (moments, parameters) =
            self.decoder.kernels.adamw(self.moments.clone(), self.parameters.clone(), gradient, step);
        (self.moments, self.parameters) = (moments, parameters);
        Ok(StepStats { gradient_norm: norm, clipped: norm > limit })
    }

    /// Log-probability of every supervised token of a batch, in order, without dropout and without a gradient.
    #[must_use]
    pub fn log_probabilities(&self, batch: &Batch) -> Vec<f32> {
        log_probabilities(&self.decoder, &self.adapters(), batch)
    }

    /// The accumulated gradient of each matrix, by `module.matrix`, for proofs.
    #[must_use]
    pub fn gradients(&self) -> Vec<(String, Vec<f32>)> {
        let Some(gradient) = &self.gradient else { return Vec::new() };
        let values = host(gradient);
        let matrices = self.layout.matrices().into_iter();
        matrices.map(|m| (format!("{}.{}", m.module, m.matrix), values[m.range].to_vec())).collect()
    }

    /// Everything that changes while training.
    #[must_use]
    pub fn state(&self) -> SessionState {
        SessionState {
            step: self.step,
            parameters: host(&self.parameters),
            first: host(&self.moments.first),
            second: host(&self.moments.second),
        }
    }

    /// Optimiser steps done.
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
        let device = &self.decoder.device;
        self.parameters = flat(&state.parameters, device);
        self.moments = Moments { first: flat(&state.first, device), second: flat(&state.second, device) };
        self.step = state.step;
        self.gradient = None;
        self.micro_batch = 0;
        Ok(())
    }

    /// The adapter as it stands, for evaluation: without dropout.
    #[must_use]
    pub fn adapters(&self) -> crate::nn::decoder::Adapters {
        self.layout.operands(&self.parameters, |_, _| None)
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

    /// The frozen decoder.
    #[must_use]
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    fn dropout(&self, layer: usize, group: usize) -> Option<DropoutKey> {
        let parts = [self.seed, self.step, self.micro_batch, layer as u64, group as u64];
        (self.lora.lora_dropout > 0.0).then(|| DropoutKey::new(&parts, self.lora.lora_dropout))
    }
}

/// Log-probability of every supervised token of a batch, in order.
#[must_use]
pub fn log_probabilities(decoder: &Decoder, adapters: &crate::nn::decoder::Adapters, batch: &Batch) -> Vec<f32> {
    let (rows, targets) = batch.targets();
    if rows.is_empty() {
        return Vec::new();
    }
    let (hidden, _) = decoder.forward(&batch.ids, &batch.documents(), &rows, adapters, None);
    let (losses, _) = decoder.kernels.cross_entropy(&hidden, &decoder.lm_head, &targets, None);
    losses.into_iter().map(|loss| -loss).collect()
}

/// Root of the sum of squares, summed in f64 in a fixed order.
fn global_norm(gradient: &Tensor<1>) -> f32 {
    host(gradient).iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt() as f32
}

fn host(tensor: &Tensor<1>) -> Vec<f32> {
    tensor.to_data_dtype(DType::F32).iter::<f32>().collect()
}

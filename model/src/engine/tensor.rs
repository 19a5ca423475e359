//! Owns the tensor engine: the hand-written decoder on framework tensors, with the custom operations of the device.
//! Knows tensors; knows no schedule, no record and no file. Work is done when a call returns.

use std::collections::VecDeque;

use burn::tensor::Tensor;

use super::distribution::log_softmax;
use super::loss_scale::LossScale;
use super::{AdapterId, DeviceMemory, Engine, Pass, StepReport, TrainingShape};
use crate::config::ModelConfig;
use crate::device::read;
use crate::error::{Error, Result};
use crate::generate::{self, Generated, Limits};
use crate::kernels::AdamWStep;
use crate::kernels::adamw::Moments;
use crate::lora::{LoraLayout, flat};
use crate::nn::decoder::Adapters;
use crate::nn::{Decoder, Keep, LayerGradients};
use crate::sampler::Sampler;
use crate::train::{Batch, Recompute};

/// Logits that are held at once where whole distributions are asked for.
const LOGITS: usize = 1 << 24;

/// A decoder on framework tensors.
pub struct TensorEngine {
    decoder: Decoder,
    adapters: Vec<Held>,
    training: Option<Training>,
}

struct Held {
    layout: LoraLayout,
    values: Tensor<1>,
}

struct Training {
    adapter: usize,
    moments: Moments,
    gradient: Option<Tensor<1>>,
    loss: f64,
    scale: LossScale,
    keep: Keep,
    halted: bool,
    reports: VecDeque<StepReport>,
}

impl TensorEngine {
    /// Around a decoder.
    #[must_use]
    pub fn new(decoder: Decoder) -> Self {
        TensorEngine { decoder, adapters: Vec::new(), training: None }
    }

    fn operands(&self, adapter: Option<AdapterId>) -> Adapters {
        match adapter.map(|AdapterId(index)| &self.adapters[index]) {
            Some(held) => held.layout.operands(&held.values, |_, _| None),
            None => self.decoder.without_adapters(),
        }
    }

    fn held(&mut self, layout: &LoraLayout, values: &[f32]) -> AdapterId {
        self.adapters.push(Held { layout: layout.clone(), values: flat(values, &self.decoder.device) });
        AdapterId(self.adapters.len() - 1)
    }
}

impl Engine for TensorEngine {
    fn config(&self) -> &ModelConfig {
        &self.decoder.config
    }

    fn positions(&self) -> usize {
        self.decoder.table.length()
    }

    fn add_adapter(&mut self, layout: &LoraLayout, values: &[f32]) -> Result<AdapterId> {
        Ok(self.held(layout, values))
    }

    fn log_probabilities(&mut self, adapter: Option<AdapterId>, batch: &Batch) -> Result<Vec<f32>> {
        let (rows, targets) = batch.targets();
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let (decoder, adapters) = (&self.decoder, self.operands(adapter));
        let (hidden, _) = decoder.forward(&batch.ids, &batch.documents(), &rows, &adapters, None);
        let (losses, _) = decoder.kernels.cross_entropy(&hidden, &decoder.lm_head, &targets, None);
        Ok(host(&losses).into_iter().map(|loss| -loss).collect())
    }

    fn distributions(
        &mut self,
        adapter: Option<AdapterId>,
        batch: &Batch,
        accept: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<()> {
        let (rows, _) = batch.targets();
        if rows.is_empty() {
            return Ok(());
        }
        let (decoder, adapters) = (&self.decoder, self.operands(adapter));
        let (hidden, _) = decoder.forward(&batch.ids, &batch.documents(), &rows, &adapters, None);
        let vocab_size = decoder.config.vocab_size;
        let step = (LOGITS / vocab_size).max(1);
        for first in (0..rows.len()).step_by(step) {
            let some = hidden.clone().narrow(0, first, step.min(rows.len() - first));
            let [count, _] = some.dims();
            let mut logits = host(&decoder.logits(some).reshape([count * vocab_size]));
            log_softmax(&mut logits, vocab_size);
            logits.chunks_exact(vocab_size).enumerate().for_each(|(at, row)| accept(first + at, row));
        }
        Ok(())
    }

    fn generate(
        &mut self,
        adapter: Option<AdapterId>,
        prompts: &[Vec<u32>],
        limits: &Limits,
        sampler: Sampler,
    ) -> Result<Vec<Generated>> {
        generate::generate(&self.decoder, &self.operands(adapter), prompts, limits, sampler)
    }

    fn score(
        &mut self,
        adapter: Option<AdapterId>,
        prompts: &[Vec<u32>],
        continuations: &[Vec<u32>],
    ) -> Result<Vec<Vec<Vec<f32>>>> {
        generate::score(&self.decoder, &self.operands(adapter), prompts, continuations)
    }

    fn train(&mut self, layout: &LoraLayout, values: &[f32], shape: TrainingShape) -> Result<AdapterId> {
        let AdapterId(adapter) = self.held(layout, values);
        let zeros = || flat(&vec![0.0; layout.length()], &self.decoder.device);
        let moments = Moments { first: zeros(), second: zeros() };
        let keep = match shape.recompute {
            Recompute::Always => Keep::Input,
            // How much memory there is, nobody knows here.
            Recompute::Auto | Recompute::Never => Keep::Products,
        };
        self.training = Some(Training {
            adapter,
            moments,
            gradient: None,
            loss: 0.0,
            scale: LossScale::new(self.decoder.dtype),
            keep,
            halted: false,
            reports: VecDeque::new(),
        });
        Ok(AdapterId(adapter))
    }

    fn accumulate(&mut self, batch: &Batch, pass: Pass) -> Result<()> {
        let Some(training) = &mut self.training else { return Err(Error::NothingInTraining) };
        let (decoder, held) = (&self.decoder, &self.adapters[training.adapter]);
        let (rows, targets) = batch.targets();
        let documents = batch.documents();
        let dropout = |layer, group| pass.dropout.map(|dropout| dropout.of(layer, group));
        let adapters = held.layout.operands(&held.values, dropout);
        loop {
            let factor = training.scale.factor();
            let (hidden, trace) = decoder.forward(&batch.ids, &documents, &rows, &adapters, Some(training.keep));
            let scale = Some(pass.scale * factor);
            let (losses, d_hidden) = decoder.kernels.cross_entropy(&hidden, &decoder.lm_head, &targets, scale);
            let mut pieces: Vec<LayerGradients> = vec![LayerGradients::default(); decoder.layers.len()];
            if let Some(d_hidden) = d_hidden {
                decoder.backward(d_hidden, trace, &documents, &adapters, |layer, gradients| {
                    pieces[layer] = gradients;
                });
            }
            let piece = LoraLayout::join(pieces);
            let loss: f64 = host(&losses).into_iter().map(f64::from).sum();
            if factor != 1.0 {
                // A loss that is not finite is no matter of the gradient's range.
                let in_range = piece.as_ref().is_none_or(|piece| decoder.kernels.sum_of_squares(piece).is_finite());
                if in_range {
                    training.scale.held();
                } else if loss.is_finite() && training.scale.overflowed() {
                    continue;
                }
            }
            training.loss += loss;
            let piece = if factor == 1.0 { piece } else { piece.map(|piece| piece * factor.recip()) };
            training.gradient = match (training.gradient.take(), piece) {
                (Some(sum), Some(piece)) => Some(sum + piece),
                (sum, piece) => sum.or(piece),
            };
            return Ok(());
        }
    }

    fn discard(&mut self) -> Result<()> {
        let Some(training) = &mut self.training else { return Err(Error::NothingInTraining) };
        (training.gradient, training.loss) = (None, 0.0);
        Ok(())
    }

    fn apply(&mut self, step: AdamWStep, max_grad_norm: f32) -> Result<()> {
        let Some(training) = &mut self.training else { return Err(Error::NothingInTraining) };
        let gradient = training.gradient.take().ok_or(Error::NothingSupervised { tokens: 0 })?;
        let (loss, norm) = (std::mem::take(&mut training.loss), self.decoder.kernels.sum_of_squares(&gradient).sqrt());
        let finite = loss.is_finite() && norm.is_finite() && !training.halted;
        training.halted = !finite;
        training.reports.push_back(StepReport { loss, gradient_norm: norm, finite });
        if finite {
            // The same small number as PyTorch adds, so that clipped runs agree.
            let gradient_scale = (max_grad_norm / (norm as f32 + 1e-6)).min(1.0);
            let held = &mut self.adapters[training.adapter];
            let (moments, parameters) = self.decoder.kernels.adamw(
                training.moments.clone(),
                held.values.clone(),
                gradient,
                AdamWStep { gradient_scale, ..step },
            );
            (training.moments, held.values) = (moments, parameters);
        }
        Ok(())
    }

    fn report(&mut self, _wait: bool) -> Result<Option<StepReport>> {
        Ok(self.training.as_mut().and_then(|training| training.reports.pop_front()))
    }

    fn training_state(&self) -> Result<[Vec<f32>; 3]> {
        let Some(training) = &self.training else { return Err(Error::NothingInTraining) };
        let values = &self.adapters[training.adapter].values;
        Ok([read::host(values)?, read::host(&training.moments.first)?, read::host(&training.moments.second)?])
    }

    fn set_training_state(&mut self, [values, first, second]: [&[f32]; 3]) -> Result<()> {
        let Some(training) = &mut self.training else { return Err(Error::NothingInTraining) };
        let device = &self.decoder.device;
        self.adapters[training.adapter].values = flat(values, device);
        training.moments = Moments { first: flat(first, device), second: flat(second, device) };
        (training.gradient, training.loss, training.halted) = (None, 0.0, false);
        training.reports.clear();
        Ok(())
    }

    fn end_training(&mut self) -> Result<()> {
        self.training = None;
        Ok(())
    }

    fn accumulated(&self) -> Result<(f64, Vec<f32>)> {
        let Some(training) = &self.training else { return Err(Error::NothingInTraining) };
        Ok((training.loss, training.gradient.as_ref().map(host).unwrap_or_default()))
    }

    fn memory(&self) -> Option<DeviceMemory> {
        None
    }
}

fn host(tensor: &Tensor<1>) -> Vec<f32> {
    read::host_or_unwind(tensor)
}

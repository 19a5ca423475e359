//! Owns the adapter in training on a device: its gradient and moments, micro-batches and steps, and reports of steps that are
//! on their way. Knows no schedule. Nothing here waits for the device but what hands out numbers.

use std::collections::VecDeque;

use cuda::device::Mail;
use cuda::kernels::adamw::{Buffers, StepNumbers, StepReport as Report};
use cuda::{Block, Device, Span};

use super::CudaEngine;
use super::gradients::Gradients;
use super::inputs::{Inputs, choosing_pays, padded};
use super::keep::KeepPlan;
use super::layout::{self, Layout, Size};
use super::pass::Work;
use crate::engine::{Pass, StepReport, TrainingShape};
use crate::error::{Error, Result};
use crate::kernels::AdamWStep;
use crate::lora::LoraLayout;
use crate::train::Batch;

/// Reports that may be on their way before the oldest is waited for.
const MOST_ON_THEIR_WAY: usize = 8;

/// The adapter in training.
pub(super) struct Training {
    /// Which adapter.
    pub(super) adapter: usize,
    block: Block,
    length: usize,
    layout: Layout,
    size: Size,
    fresh: bool,
    on_their_way: VecDeque<Mail<Report>>,
    arrived: VecDeque<Report>,
}

/// Values of a buffer with as many zeros behind them as kernels need that take four at once.
pub(super) fn padded_length(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// Bytes of gradient, moments and the few numbers of a step.
pub(super) fn bytes(length: usize) -> usize {
    3 * 4 * padded_length(length) + NUMBERS_BYTES
}

/// Report, loss sum and flag.
const NUMBERS_BYTES: usize = 256;

/// The size of the largest micro-batch, as buffers are laid out for it.
pub(super) fn size(shape: TrainingShape) -> Size {
    let tokens = padded(shape.max_tokens);
    let supervised = padded(shape.max_supervised).min(tokens);
    // Rows are left out where the largest micro-batch gains by it. Another one whose rows all go on all the same has less than
    // four thirds of them in tokens.
    let chosen = choosing_pays(supervised, tokens);
    let rows = if chosen { padded(supervised * 4 / 3).min(tokens) } else { tokens };
    Size { tokens, rows, chosen, dropout: shape.dropout }
}

impl Training {
    pub(super) fn new(device: &Device, adapter: usize, length: usize, layout: Layout, size: Size) -> Result<Self> {
        let block = device.allocate_zeroed(bytes(length))?;
        let (on_their_way, arrived) = (VecDeque::new(), VecDeque::new());
        Ok(Training { adapter, block, length, layout, size, fresh: true, on_their_way, arrived })
    }

    fn flat(&self, which: usize) -> Span<f32> {
        let length = padded_length(self.length);
        self.block.span(4 * which * length, length)
    }

    pub(super) fn gradient(&self) -> Span<f32> {
        self.flat(0)
    }

    pub(super) fn moments(&self) -> [Span<f32>; 2] {
        [self.flat(1), self.flat(2)]
    }

    fn numbers(&self, offset: usize) -> usize {
        3 * 4 * padded_length(self.length) + offset
    }

    fn report(&self) -> Span<Report> {
        self.block.span(self.numbers(0), 1)
    }

    fn loss_sum(&self) -> Span<f64> {
        self.block.span(self.numbers(128), 1)
    }

    fn halted(&self) -> Span<u32> {
        self.block.span(self.numbers(136), 1)
    }
}

impl CudaEngine {
    /// What is kept so that training fits the memory that is free now.
    pub(super) fn keep_plan(&self, size: Size, wanted: TrainingShape) -> Result<KeepPlan> {
        let held = self.scratch.as_ref().map_or(0, Block::bytes) as u64;
        let free = (self.device.memory()?.0 + held).saturating_sub(super::RESERVE_BYTES);
        let bytes = |keep| layout::training(&self.shape, size, keep).bytes as u64;
        match KeepPlan::fit(self.shape.layers, wanted.recompute, free, bytes) {
            Some(keep) => Ok(keep),
            None => Err(super::plan::does_not_fit(&self.shape, wanted, 0, free)),
        }
    }

    /// Lays out the buffers of training for an adapter.
    pub(super) fn start_training(&mut self, adapter: usize, wanted: TrainingShape) -> Result<()> {
        let size = size(wanted);
        let keep = self.keep_plan(size, wanted)?;
        let layout = layout::training(&self.shape, size, keep);
        self.reserve(layout.bytes, size)?;
        let length = self.adapters[adapter].layout.length();
        self.training = Some(Training::new(&self.device, adapter, length, layout, size)?);
        Ok(())
    }

    /// Lays out the buffers once more, keeping what a test says.
    #[cfg(test)]
    pub(super) fn train_with(&mut self, keep: KeepPlan, pieces: layout::Pieces) {
        let Some(mut training) = self.training.take() else { return };
        training.layout = layout::training_in_pieces(&self.shape, training.size, keep, pieces);
        assert!(self.reserve(training.layout.bytes, training.size).is_ok());
        self.training = Some(training);
    }

    /// Loss and gradient of a micro-batch, added to what is there.
    pub(super) fn accumulate_batch(&mut self, batch: &Batch, pass: Pass) -> Result<()> {
        let training = self.training.as_ref().ok_or(Error::NothingInTraining)?;
        let (adapter, size) = (training.adapter, training.size);
        let inputs = Inputs::new(batch, size.chosen, &self.kernels.attention);
        if inputs.tokens > size.tokens || inputs.rows > size.rows {
            return Err(Error::TooLong { tokens: batch.ids.len(), limit: size.tokens });
        }
        self.install(Some(adapter))?;
        let training = self.training.as_ref().ok_or(Error::NothingInTraining)?;
        let (block, words) = self.memory_of_a_pass()?;
        let work = Work {
            device: &self.device,
            kernels: &self.kernels,
            shape: &self.shape,
            weights: &self.weights,
            layout: &training.layout,
            block,
            inputs: inputs.upload(&self.device, words)?,
            tokens: inputs.tokens,
            adapted: true,
            training: true,
            dropout: pass.dropout,
            epsilon: self.config.rms_norm_eps,
        };
        let rows = work.forward(&inputs)?;
        let (losses, mut stream) = work.loss_and_gradient(rows, pass.scale)?;
        self.kernels.cross_entropy.add(losses, training.loss_sum())?;
        let layout = &self.adapters[adapter].layout;
        let gradients = Gradients { flat: training.gradient(), layout, fresh: training.fresh };
        for layer in (0..self.shape.layers).rev() {
            stream = work.layer_backward(layer, stream, work.chosen(&inputs, layer), &gradients)?;
        }
        if let Some(training) = &mut self.training {
            training.fresh = false;
        }
        Ok(())
    }

    /// Drops what was accumulated.
    pub(super) fn discard_batches(&mut self) -> Result<()> {
        let training = self.training.as_mut().ok_or(Error::NothingInTraining)?;
        training.fresh = true;
        Ok(self.device.zero(training.loss_sum())?)
    }

    /// Clips, steps, and sends the report on its way.
    pub(super) fn step(&mut self, step: AdamWStep, max_grad_norm: f32) -> Result<()> {
        let training = self.training.as_mut().ok_or(Error::NothingInTraining)?;
        if training.fresh {
            return Err(Error::NothingSupervised { tokens: 0 });
        }
        let held = &self.adapters[training.adapter];
        let adamw = &self.kernels.adamw;
        let (loss, halted) = (training.loss_sum(), training.halted());
        adamw.judge(training.gradient(), loss, max_grad_norm, halted, training.report())?;
        let [first, second] = training.moments();
        let buffers = Buffers { first, second, parameters: held.padded_values(), gradient: training.gradient() };
        let numbers = StepNumbers {
            learning_rate: step.learning_rate,
            beta_1: step.beta_1,
            beta_2: step.beta_2,
            epsilon: step.epsilon,
            weight_decay: step.weight_decay,
            step: step.step,
        };
        adamw.update(buffers, training.report(), numbers)?;
        held.install()?;
        self.device.zero(loss)?;
        training.fresh = true;
        if training.on_their_way.len() >= MOST_ON_THEIR_WAY {
            training.receive(true)?;
        }
        training.on_their_way.push_back(self.device.post(training.report())?);
        Ok(())
    }

    /// The oldest report, if it is here or `wait` is true.
    pub(super) fn next_report(&mut self, wait: bool) -> Result<Option<StepReport>> {
        let training = self.training.as_mut().ok_or(Error::NothingInTraining)?;
        if training.arrived.is_empty() {
            training.receive(wait)?;
        }
        Ok(training.arrived.pop_front().map(|report| StepReport {
            loss: report.loss_sum,
            gradient_norm: report.norm,
            finite: report.ok != 0,
        }))
    }

    /// Adapter, first and second moments.
    pub(super) fn state(&self) -> Result<[Vec<f32>; 3]> {
        let training = self.training.as_ref().ok_or(Error::NothingInTraining)?;
        let values = self.device.download(self.adapters[training.adapter].values())?;
        let [first, second] = training.moments().map(|moment| moment.part(0, training.length));
        Ok([values, self.device.download(first)?, self.device.download(second)?])
    }

    /// Goes back to a state.
    pub(super) fn set_state(&mut self, [values, first, second]: [&[f32]; 3]) -> Result<()> {
        let training = self.training.as_mut().ok_or(Error::NothingInTraining)?;
        self.device.upload(self.adapters[training.adapter].values(), values)?;
        let [to_first, to_second] = training.moments().map(|moment| moment.part(0, training.length));
        self.device.upload(to_first, first)?;
        self.device.upload(to_second, second)?;
        self.device.zero(training.halted())?;
        self.device.zero(training.loss_sum())?;
        training.fresh = true;
        while training.receive(true)? {}
        training.arrived.clear();
        self.installed = None;
        Ok(())
    }

    /// Loss and gradient as accumulated so far.
    pub(super) fn accumulated_so_far(&self) -> Result<(f64, Vec<f32>)> {
        let training = self.training.as_ref().ok_or(Error::NothingInTraining)?;
        let loss = self.device.download(training.loss_sum())?[0];
        if training.fresh {
            return Ok((loss, Vec::new()));
        }
        Ok((loss, self.device.download(training.gradient().part(0, training.length))?))
    }
}

impl Training {
    /// Takes the oldest report from its way; false if it is still under way, or there is none.
    fn receive(&mut self, wait: bool) -> Result<bool> {
        let Some(mail) = self.on_their_way.front_mut() else { return Ok(false) };
        let Some(report) = mail.open(wait)? else { return Ok(false) };
        self.on_their_way.pop_front();
        self.arrived.extend(report);
        Ok(true)
    }
}

impl Work<'_> {
    /// Rows that go on after the last attention, in that layer only.
    pub(super) fn chosen(&self, inputs: &Inputs, layer: usize) -> Option<usize> {
        (inputs.chosen && layer + 1 == self.shape.layers).then_some(inputs.rows)
    }

    /// All layers. Returns the rows of the last one's output.
    pub(super) fn forward(&self, inputs: &Inputs) -> Result<usize> {
        self.embed()?;
        for layer in 0..self.shape.layers {
            let chosen = self.chosen(inputs, layer);
            self.attend(layer, chosen)?;
            self.finish_layer(layer, chosen)?;
        }
        Ok(inputs.rows)
    }

    /// From the sum after attention to the input of the next layer, or to the last one's output.
    pub(super) fn finish_layer(&self, layer: usize, chosen: Option<usize>) -> Result<()> {
        let rows = chosen.unwrap_or(self.tokens);
        let output = if layer + 1 == self.shape.layers { self.last(rows) } else { self.buffers(layer + 1).x };
        self.mlp(layer, rows, output)
    }
}

/// Bytes that an adapter takes: its values.
pub(super) fn adapter_bytes(layout: &LoraLayout) -> usize {
    4 * padded_length(layout.length())
}

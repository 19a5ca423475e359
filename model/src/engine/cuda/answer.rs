//! Owns what a pass without a gradient needs, and log-probabilities of a pack. Knows adapters; knows no sampling.

use super::CudaEngine;
use super::inputs::{DeviceInputs, Inputs};
use super::layout::{self, Layout, Size};
use super::pass::Work;
use crate::engine::AdapterId;
use crate::error::Result;
use crate::train::Batch;

impl CudaEngine {
    /// Installs an adapter and lays out a pass of so many tokens and rows of the head.
    pub(super) fn prepare(
        &mut self,
        adapter: Option<AdapterId>,
        tokens: usize,
        rows: usize,
        chosen: bool,
    ) -> Result<Layout> {
        let size = Size { tokens, rows, chosen, dropout: false };
        let layout = layout::answering(&self.shape, size);
        self.reserve(layout.bytes, size)?;
        self.install(adapter.map(|AdapterId(index)| index))?;
        Ok(layout)
    }

    /// A pass without a gradient over memory that was prepared.
    pub(super) fn answering<'a>(
        &'a self,
        layout: &'a Layout,
        inputs: DeviceInputs,
        tokens: usize,
        adapter: Option<AdapterId>,
    ) -> Result<Work<'a>> {
        Ok(Work {
            device: &self.device,
            kernels: &self.kernels,
            shape: &self.shape,
            weights: &self.weights,
            layout,
            block: self.memory_of_a_pass()?.0,
            inputs,
            tokens,
            adapted: adapter.is_some(),
            training: false,
            dropout: None,
            epsilon: self.config.rms_norm_eps,
        })
    }

    /// Log-probability of every supervised token of a pack, in order.
    pub(super) fn batch_log_probabilities(&mut self, adapter: Option<AdapterId>, batch: &Batch) -> Result<Vec<f32>> {
        let inputs = Inputs::new(batch, true, &self.kernels.attention);
        if inputs.targets.is_empty() {
            return Ok(Vec::new());
        }
        let layout = self.prepare(adapter, inputs.tokens, inputs.rows, inputs.chosen)?;
        let uploaded = inputs.upload(&self.device, self.memory_of_a_pass()?.1)?;
        let work = self.answering(&layout, uploaded, inputs.tokens, adapter)?;
        let rows = work.forward(&inputs)?;
        let losses = work.losses_of(work.final_norm(rows)?, uploaded.targets)?;
        let losses = self.device.download(losses)?;
        Ok(inputs.targets.iter().map(|&row| -losses[row]).collect())
    }
}

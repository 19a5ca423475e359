//! Owns what a pass without a gradient needs, and log-probabilities of a pack. Knows adapters; knows no sampling.

use super::CudaEngine;
use super::inputs::{DeviceInputs, Inputs};
use super::layout::{self, Layout, Size};
use super::pass::Work;
use crate::engine::AdapterId;
use crate::engine::distribution::log_softmax;
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

    /// Log-probabilities of the whole vocabulary in the place of every supervised token of a pack.
    pub(super) fn batch_distributions(
        &mut self,
        adapter: Option<AdapterId>,
        batch: &Batch,
        accept: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<()> {
        let inputs = Inputs::new(batch, true, &self.kernels.attention);
        if inputs.targets.is_empty() {
            return Ok(());
        }
        let layout = self.prepare(adapter, inputs.tokens, inputs.rows, inputs.chosen)?;
        let uploaded = inputs.upload(&self.device, self.memory_of_a_pass()?.1)?;
        let work = self.answering(&layout, uploaded, inputs.tokens, adapter)?;
        let rows = work.forward(&inputs)?;
        let normed = work.final_norm(rows)?;
        let mut target_of_row = vec![None; rows];
        inputs.targets.iter().enumerate().for_each(|(target, &row)| target_of_row[row] = Some(target));
        let vocab_size = self.config.vocab_size;
        for (first, count) in work.logit_pieces(rows) {
            let logits = work.logits(normed.row_range(first, count))?;
            let width = logits.columns();
            for (at, row) in self.device.download_matrix(logits)?.chunks_exact_mut(width).enumerate() {
                if let Some(target) = target_of_row[first + at] {
                    let row = &mut row[..vocab_size];
                    log_softmax(row, vocab_size);
                    accept(target, row);
                }
            }
        }
        Ok(())
    }
}

//! Owns what follows the last layer: its norm, the head, and the cross-entropy, some rows of logits at a time.
//! Knows targets as ids; knows no layer.

use cuda::kernels::rms_norm::Backward;
use cuda::{Matrix, Operand, Product, Span, Target};

use super::backward::Stream;
use super::pass::{Narrow, Work};
use crate::error::Result;

/// Logits are taken as they are.
pub(super) const NO_CAP: f32 = 0.0;

impl Work<'_> {
    /// Normed rows of the last layer's output.
    pub(super) fn final_norm(&self, rows: usize) -> Result<Narrow> {
        let (last, normed) = (self.last(rows), self.rows(&self.layout.normed).top(rows));
        self.kernels.rms_norm.forward(last, self.weights.norm, normed, self.epsilon)?;
        Ok(normed)
    }

    /// The output of the last layer.
    pub(super) fn last(&self, rows: usize) -> Narrow {
        self.layout.last.of(self.block, rows)
    }

    /// The loss of each row, and the gradient of `scale * sum(losses)` to the last layer's output.
    pub(super) fn loss_and_gradient(&self, rows: usize, scale: f32) -> Result<(Span<f32>, Stream)> {
        let normed = self.final_norm(rows)?;
        let d_normed = self.layout.dn.reshaped(self.block, rows, self.shape.hidden);
        let losses = self.losses(rows);
        for (first, count) in self.logit_pieces(rows) {
            let logits = self.logits(normed.row_range(first, count))?;
            let (targets, losses) = (self.inputs.targets.part(first, count), losses.part(first, count));
            let d_logits = self.kernels.cross_entropy.loss_and_gradient(logits, targets, losses, NO_CAP, scale)?;
            self.product(Product::new(
                Operand::plain(d_logits),
                Operand::plain(self.weights.head),
                Target::Bf16(d_normed.row_range(first, count)),
            ))?;
        }
        let [d, spare] = self.layout.d.map(|spot| self.rows(&spot));
        let x = self.last(rows);
        let backward = Backward { dy: d_normed, x, residual: None, dx: d.top(rows), y: None };
        self.kernels.rms_norm.backward(backward, self.weights.norm, self.epsilon)?;
        Ok((losses, Stream { d, spare }))
    }

    /// The loss of each of some normed rows against `targets`.
    pub(super) fn losses_of(&self, normed: Narrow, targets: Span<u32>) -> Result<Span<f32>> {
        let losses = self.losses(normed.rows());
        for (first, count) in self.logit_pieces(normed.rows()) {
            let logits = self.logits(normed.row_range(first, count))?;
            let (targets, losses) = (targets.part(first, count), losses.part(first, count));
            self.kernels.cross_entropy.loss(logits, targets, losses, NO_CAP)?;
        }
        Ok(losses)
    }

    /// Logits of some normed rows, in f32.
    pub(super) fn logits(&self, normed: Narrow) -> Result<Matrix<f32>> {
        let logits = self.layout.logits.of(self.block, normed.rows());
        let (normed, head) = (Operand::plain(normed), Operand::transposed(self.weights.head));
        self.product(Product::new(normed, head, Target::F32(logits)))?;
        Ok(logits)
    }

    /// First row and number of rows of each piece of the logits.
    pub(super) fn logit_pieces(&self, rows: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let step = self.layout.logit_rows();
        (0..rows).step_by(step).map(move |first| (first, step.min(rows - first)))
    }

    fn losses(&self, rows: usize) -> Span<f32> {
        self.layout.losses.span(self.block).part(0, rows)
    }
}

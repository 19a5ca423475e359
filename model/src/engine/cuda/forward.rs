//! Owns the order of work of a layer's forward pass, and what of it is done again in the backward pass.
//! Knows buffers and kernels; knows no loss.

use super::pass::{Narrow, Work};
use crate::error::Result;
use crate::nn::Group;

impl Work<'_> {
    /// Rows of the table of embeddings into the input of the first layer.
    pub(super) fn embed(&self) -> Result<()> {
        let x = self.buffers(0).x;
        Ok(self.kernels.rows.gather(self.weights.embed, self.inputs.ids, x)?)
    }

    /// From a layer's input to the sum after its attention, for all tokens. With `chosen` the sum is made for those rows only,
    /// which lie in the first rows of its buffer.
    pub(super) fn attend(&self, layer: usize, chosen: Option<usize>) -> Result<()> {
        self.project(layer)?;
        let b = self.buffers(layer);
        self.kernels.attention.forward(b.qkv, b.attention, b.log_sum_exp, self.inputs.tiles)?;
        self.after_attention(layer, chosen)
    }

    /// Queries, keys and values with their positions.
    pub(super) fn project(&self, layer: usize) -> Result<()> {
        let b = self.buffers(layer);
        let normed = self.rows(&self.layout.normed);
        self.kernels.rms_norm.forward(b.x, self.layer(layer).input_norm, normed, self.epsilon)?;
        let u = self.rows(&self.spots(layer).u[Group::Qkv as usize]);
        self.linear((layer, Group::Qkv), normed, b.qkv_before_norm, None, Some(u))?;
        Ok(self.kernels.rope.forward(b.qkv_before_norm, b.qkv, self.angles(), self.head_norms(layer))?)
    }

    /// The sum after attention.
    pub(super) fn after_attention(&self, layer: usize, chosen: Option<usize>) -> Result<()> {
        let b = self.buffers(layer);
        let (attention, x, middle) = match chosen {
            None => (b.attention, b.x, b.middle),
            Some(rows) => {
                let attention = self.layout.chosen_attention.of(self.block, rows);
                let x = self.layout.dn.reshaped(self.block, rows, self.shape.hidden);
                self.kernels.rows.gather(b.attention, self.inputs.indices, attention)?;
                self.kernels.rows.gather(b.x, self.inputs.indices, x)?;
                (attention, x, b.middle.top(rows))
            }
        };
        self.linear((layer, Group::Output), attention, middle, Some(x), None)
    }

    /// From the sum after attention to the layer's output, `rows` rows of it, in pieces where gate and up are not kept.
    pub(super) fn mlp(&self, layer: usize, rows: usize, output: Narrow) -> Result<()> {
        for (first, count) in self.mlp_pieces(layer, rows) {
            let (gate_up, h) = self.gate_and_up(layer, first, count)?;
            self.kernels.swiglu.forward(gate_up, h)?;
            let u = self.spots(layer).u[Group::Down as usize].of(self.block, count);
            let middle = self.buffers(layer).middle.row_range(first, count);
            self.linear((layer, Group::Down), h, output.row_range(first, count), Some(middle), Some(u))?;
        }
        Ok(())
    }

    /// Gate and up of some rows, and room for their product.
    pub(super) fn gate_and_up(&self, layer: usize, first: usize, count: usize) -> Result<(Narrow, Narrow)> {
        let middle = self.buffers(layer).middle.row_range(first, count);
        let (normed, u) = self.gate_up_input(layer, first, count);
        self.kernels.rms_norm.forward(middle, self.layer(layer).post_attention_norm, normed, self.epsilon)?;
        let gate_up = self.spots(layer).gate_up.of(self.block, count);
        let copy = (!self.layout.keep.of(layer).mlp()).then_some(u);
        self.linear((layer, Group::GateUp), normed, gate_up, None, copy)?;
        Ok((gate_up, self.layout.h.of(self.block, count)))
    }

    /// First row and number of rows of each piece of the MLP.
    pub(super) fn mlp_pieces(&self, layer: usize, rows: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let step = if self.layout.keep.of(layer).mlp() { rows } else { self.layout.mlp_rows };
        (0..rows).step_by(step.max(1)).map(move |first| (first, step.min(rows - first)))
    }
}

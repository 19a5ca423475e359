//! Owns the order of work of a layer's backward pass. Knows buffers and kernels; knows no loss and no optimiser.

use cuda::kernels::attention::AttentionBackward;
use cuda::kernels::rms_norm::Backward;

use super::gradients::{Gated, Gradients};
use super::pass::{At, Narrow, Work};
use crate::error::Result;
use crate::nn::Group;

/// The gradient of the residual stream, and the buffer that takes the next one. The columns behind both are free.
#[derive(Clone, Copy)]
pub(super) struct Stream {
    pub(super) d: Narrow,
    pub(super) spare: Narrow,
}

impl Work<'_> {
    /// The gradient of a layer: from that of its output in `stream.d` to that of its input. With `chosen`, the output's has
    /// those rows only. The first layer's input is frozen, so its gradient is not made.
    pub(super) fn layer_backward(
        &self,
        layer: usize,
        stream: Stream,
        chosen: Option<usize>,
        gradients: &Gradients<'_>,
    ) -> Result<Stream> {
        let keep = self.layout.keep.of(layer);
        if !keep.attention() {
            self.attend(layer, chosen)?;
        }
        let rows = chosen.unwrap_or(self.tokens);
        let stream = self.mlp_backward(layer, rows, stream, gradients)?;
        let (d_attention, stream) = self.output_backward(layer, chosen, stream, gradients)?;
        self.attention_backward(layer, d_attention, stream, gradients)
    }

    /// From the gradient of the output to that of the sum after attention.
    fn mlp_backward(&self, layer: usize, rows: usize, stream: Stream, gradients: &Gradients<'_>) -> Result<Stream> {
        let spots = self.spots(layer);
        let kept = self.layout.keep.of(layer).mlp();
        let (down, gate_up_at) = ((layer, Group::Down), (layer, Group::GateUp));
        let (d, d_middle) = (stream.d.top(rows), stream.spare.top(rows));
        let dn = self.layout.dn.reshaped(self.block, rows, self.shape.hidden);
        for (first, count) in self.mlp_pieces(layer, rows) {
            let fresh = gradients.fresh && first == 0;
            let (gate_up, h) = match kept {
                true => (spots.gate_up.of(self.block, count), self.layout.h.of(self.block, count)),
                false => self.gate_and_up(layer, first, count)?,
            };
            let (normed, u) = self.gate_up_input(layer, first, count);
            let u_down = spots.u[Group::Down as usize].of(self.block, count);
            let dy = d.row_range(first, count);
            self.narrow_gradient(down, dy, gradients)?;
            self.input_gradient(down, dy, h, gradients)?;
            // Where it is rebuilt, the forward pass of these rows ended before the linear that reads h.
            let all = self.gated_backward(layer, Gated { gate_up, h, dy, u, stores_h: !kept }, gradients, fresh)?;
            if !kept {
                self.narrow_product(down, h, u_down)?;
            }
            self.second_factor_gradients(down, dy, u_down, gradients, fresh)?;
            if !all {
                self.first_factor_gradient(down, dy, h, gradients, fresh)?;
                self.narrow_gradient(gate_up_at, gate_up, gradients)?;
                self.second_factor_gradients(gate_up_at, gate_up, u, gradients, fresh)?;
            }
            self.input_gradient(gate_up_at, gate_up, dn.row_range(first, count), gradients)?;
            self.first_factor_gradient(gate_up_at, gate_up, normed, gradients, fresh)?;
        }
        let x = self.buffers(layer).middle.top(rows);
        let backward = Backward { dy: dn, x, residual: Some(d), dx: d_middle, y: None };
        self.kernels.rms_norm.backward(backward, self.layer(layer).post_attention_norm, self.epsilon)?;
        Ok(Stream { d: stream.spare, spare: stream.d })
    }

    /// From the gradient of the sum after attention to that of the attention, and back to all tokens.
    fn output_backward(
        &self,
        layer: usize,
        chosen: Option<usize>,
        stream: Stream,
        gradients: &Gradients<'_>,
    ) -> Result<(Narrow, Stream)> {
        let at = (layer, Group::Output);
        let (inner, ranks) = (self.shape.attention, self.shape.ranks(Group::Output));
        let d_attention = self.rows(&self.layout.d_attention);
        let Some(rows) = chosen else {
            let attention = self.buffers(layer).attention;
            self.linear_backward(
                at,
                stream.d,
                d_attention,
                (attention, attention.column_range(inner, ranks)),
                gradients,
            )?;
            return Ok((d_attention, stream));
        };
        let (d, attention) = (stream.d.top(rows), self.layout.chosen_attention.of(self.block, rows));
        let few = self.layout.d_chosen.of(self.block, rows);
        self.linear_backward(at, d, few, (attention, attention.column_range(inner, ranks)), gradients)?;
        self.kernels.rows.scatter(few, self.inputs.inverse, d_attention)?;
        self.kernels.rows.scatter(d, self.inputs.inverse, stream.spare)?;
        Ok((d_attention, Stream { d: stream.spare, spare: stream.d }))
    }

    /// All gradients of a linear whose input and narrow product are at hand.
    fn linear_backward(
        &self,
        at: At,
        dy: Narrow,
        dx: Narrow,
        (x, u): (Narrow, Narrow),
        gradients: &Gradients<'_>,
    ) -> Result<()> {
        self.narrow_gradient(at, dy, gradients)?;
        self.second_factor_gradients(at, dy, u, gradients, gradients.fresh)?;
        self.first_factor_gradient(at, dy, x, gradients, gradients.fresh)?;
        self.input_gradient(at, dy, dx, gradients)
    }

    /// From the gradient of the attention to that of the layer's input.
    fn attention_backward(
        &self,
        layer: usize,
        d_attention: Narrow,
        stream: Stream,
        gradients: &Gradients<'_>,
    ) -> Result<Stream> {
        let b = self.buffers(layer);
        let at = (layer, Group::Qkv);
        let d_qkv = self.rows(&self.layout.d_qkv);
        let delta = self.layout.delta.of(self.block, self.shape.heads);
        let tiles = self.inputs.tiles;
        let attention = &self.kernels.attention;
        let everything = AttentionBackward {
            d_out: d_attention,
            qkv: b.qkv,
            out: b.attention,
            log_sum_exp: b.log_sum_exp,
            delta,
            d_qkv,
        };
        attention.backward(everything, tiles)?;
        let norm = self.layer(layer).input_norm;
        let normed = self.rows(&self.layout.normed);
        let u = self.rows(&self.spots(layer).u[Group::Qkv as usize]);
        self.rotated_backward(layer, d_qkv, u, gradients)?;
        if layer == 0 {
            self.kernels.rms_norm.forward(b.x, norm, normed, self.epsilon)?;
            self.first_factor_gradient(at, d_qkv, normed, gradients, gradients.fresh)?;
            return Ok(stream);
        }
        let dn = self.layout.dn.reshaped(self.block, self.tokens, self.shape.hidden);
        self.input_gradient(at, d_qkv, dn, gradients)?;
        let backward = Backward { dy: dn, x: b.x, residual: Some(stream.d), dx: stream.spare, y: Some(normed) };
        self.kernels.rms_norm.backward(backward, norm, self.epsilon)?;
        self.first_factor_gradient(at, d_qkv, normed, gradients, gradients.fresh)?;
        Ok(Stream { d: stream.spare, spare: stream.d })
    }
}

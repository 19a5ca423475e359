//! Owns the gradients of a linear with its adapters, product by product. Knows places and widths; the order of work is
//! `backward`.

use cuda::kernels::output_adapters::{self, Part, Rotation};
use cuda::kernels::swiglu_adapters::{self, BackwardPass};
use cuda::{Matrix, Operand, Product, Span, Target};

use super::pass::{At, Narrow, Work};
use crate::error::Result;
use crate::lora::LoraLayout;
use crate::nn::Group;

/// Gradients of the adapter in training, as the backward pass fills them.
pub(super) struct Gradients<'a> {
    /// The flat buffer.
    pub(super) flat: Span<f32>,
    /// Where each matrix lies in it.
    pub(super) layout: &'a LoraLayout,
    /// Whether what is there is overwritten.
    pub(super) fresh: bool,
}

/// What the gated activation goes back over.
#[derive(Clone, Copy)]
pub(super) struct Gated {
    pub(super) gate_up: Narrow,
    /// The gradient of their product.
    pub(super) h: Narrow,
    /// The gradient of the linear behind it, with its `p` behind the rows.
    pub(super) dy: Narrow,
    /// Of gate and up.
    pub(super) u: Narrow,
    /// Whether the product is read again.
    pub(super) stores_h: bool,
}

impl Work<'_> {
    /// The narrow product `p = dy * B` into the free columns behind `dy`, which the input's and the first factor's gradients
    /// read.
    pub(super) fn narrow_gradient(&self, (layer, group): At, dy: Narrow, gradients: &Gradients<'_>) -> Result<()> {
        if gradients.layout.slot(layer, group as usize).is_none() {
            return Ok(());
        }
        let linear = &self.layer(layer).linears[group as usize];
        let p = dy.column_range(linear.outer, linear.ranks);
        self.product(Product::new(Operand::plain(dy), Operand::plain(linear.b()), Target::Bf16(p)))
    }

    /// The gradient of the input of [`Work::linear`], with the adapters' part of it from `p` behind `dy`.
    pub(super) fn input_gradient(&self, at: At, dy: Narrow, dx: Narrow, gradients: &Gradients<'_>) -> Result<()> {
        let (layer, group) = at;
        let linear = &self.layer(layer).linears[group as usize];
        let adapted = gradients.layout.slot(layer, group as usize).is_some();
        let p = dy.column_range(linear.outer, linear.ranks);
        let dropout = self.dropout.filter(|_| adapted).map(|dropout| dropout.of(layer, group as usize));
        let (dy, weight) = match adapted && dropout.is_none() {
            true => (dy.column_range(0, linear.outer + linear.ranks), linear.with_a()),
            false => (dy, linear.weight()),
        };
        self.product(Product::new(Operand::plain(dy), Operand::plain(weight), Target::Bf16(dx)))?;
        let Some(key) = dropout else { return Ok(()) };
        // What the adapter did not see gets no gradient through it.
        let side = self.layout.dropped.reshaped(self.block, dx.rows(), linear.inner);
        self.product(Product::new(Operand::plain(p), Operand::plain(linear.a()), Target::Bf16(side)))?;
        Ok(self.kernels.dropout.add_masked(side, dx, key.key, key.probability)?)
    }

    /// The gradient of the first factors, from `p` behind `dy` and the input. `fresh` says whether it overwrites what is there.
    pub(super) fn first_factor_gradient(
        &self,
        (layer, group): At,
        dy: Narrow,
        x: Narrow,
        gradients: &Gradients<'_>,
        fresh: bool,
    ) -> Result<()> {
        let Some(slot) = gradients.layout.slot(layer, group as usize) else { return Ok(()) };
        let p = dy.column_range(self.layer(layer).linears[group as usize].outer, slot.ranks());
        let input = self.dropped(layer, group, x)?;
        let a = gradients.flat.part(slot.a.start, slot.a.len()).matrix(slot.ranks(), slot.inner, slot.inner);
        self.sum_over_rows(a, p, input, 1.0, fresh)
    }

    /// The gradients of the second factors, from `dy` and `u` of the forward pass.
    pub(super) fn second_factor_gradients(
        &self,
        (layer, group): At,
        dy: Narrow,
        u: Narrow,
        gradients: &Gradients<'_>,
        fresh: bool,
    ) -> Result<()> {
        let Some(slot) = gradients.layout.slot(layer, group as usize) else { return Ok(()) };
        for (part, ranks) in slot.parts.iter().zip(slot.part_ranks()) {
            let (rows, rank) = (part.columns.len(), ranks.len());
            let b = gradients.flat.part(part.b.start, part.b.len()).matrix(rows, rank, rank);
            let (dy, u) = (dy.column_range(part.columns.start, rows), u.column_range(ranks.start, rank));
            self.sum_over_rows(b, dy, u, gradients.layout.scale(), fresh)?;
        }
        Ok(())
    }

    /// `target = scale * a^T b`, or that much more.
    fn sum_over_rows(&self, target: Matrix<f32>, a: Narrow, b: Narrow, scale: f32, fresh: bool) -> Result<()> {
        let product = Product::new(Operand::transposed(a), Operand::plain(b), Target::F32(target)).scaled(scale);
        self.product(if fresh { product } else { product.accumulated() })
    }

    /// The gradient of queries, keys and values before their rotation, in place, and what [`Work::narrow_gradient`] and
    /// [`Work::second_factor_gradients`] make of it: in one kernel where one can.
    pub(super) fn rotated_backward(
        &self,
        layer: usize,
        d_qkv: Narrow,
        u: Narrow,
        gradients: &Gradients<'_>,
    ) -> Result<()> {
        let at = (layer, Group::Qkv);
        let norms = self.head_norms(layer).map(|norms| (norms, self.buffers(layer).qkv_before_norm));
        let (linear, widths) = (&self.layer(layer).linears[Group::Qkv as usize], self.shape.qkv_widths());
        let ranks = linear.ranks / widths.len();
        let slot = gradients.layout.slot(layer, Group::Qkv as usize).filter(|slot| {
            let equal = slot.part_ranks().all(|part| part.len() == ranks) && slot.parts.len() == widths.len();
            let heads = norms.is_none() && output_adapters::suits_heads(self.shape.head_dim);
            equal && heads && output_adapters::suits(&widths, ranks, self.device.info())
        });
        let Some(slot) = slot else {
            self.kernels.rope.backward(d_qkv, self.angles(), norms)?;
            self.narrow_gradient(at, d_qkv, gradients)?;
            return self.second_factor_gradients(at, d_qkv, u, gradients, gradients.fresh);
        };
        let parts = widths.iter().zip(&slot.parts);
        let parts = parts
            .map(|(columns, part)| Part { columns: *columns, d_b: gradients.flat.part(part.b.start, part.b.len()) });
        let pass = output_adapters::BackwardPass {
            d: d_qkv,
            rotation: Some(Rotation {
                angles: self.angles(),
                head_dim: self.shape.head_dim,
                columns: widths[0] + widths[1],
            }),
            parts: &parts.collect::<Vec<_>>(),
            b: linear.b(),
            p: d_qkv.column_range(linear.outer, linear.ranks),
            u,
            scale: gradients.layout.scale(),
            add: !gradients.fresh,
        };
        Ok(self.kernels.output_adapters.backward(&pass, self.layout.qkv_partial.span(self.block))?)
    }

    /// In place: the gradients of gate and up over their values, and, if asked for or where no kernel can leave it out, their
    /// product over its gradient. Where one kernel can, also the products that read them: `p` of gate and up, the gradients of
    /// their second factors, and of the first factor of the linear behind them. Returns whether it did.
    pub(super) fn gated_backward(
        &self,
        layer: usize,
        operands: Gated,
        gradients: &Gradients<'_>,
        fresh: bool,
    ) -> Result<bool> {
        let Gated { gate_up, h, dy, u, stores_h } = operands;
        let slot = |group: Group| gradients.layout.slot(layer, group as usize);
        let (Some(both), Some(down)) = (slot(Group::GateUp), slot(Group::Down)) else {
            return self.gated_alone(gate_up, h);
        };
        let ([gate, up], ranks) = (both.parts.as_slice(), down.ranks()) else { return self.gated_alone(gate_up, h) };
        let [linear, behind] = [Group::GateUp, Group::Down].map(|group| &self.layer(layer).linears[group as usize]);
        let whole = linear.ranks == 2 * ranks && both.ranks() == 2 * ranks && self.dropout.is_none();
        if !whole || !swiglu_adapters::suits(behind.inner, ranks, self.device.info()) {
            return self.gated_alone(gate_up, h);
        }
        let b = linear.b();
        let factor = |index: usize| b.row_range(index * behind.inner, behind.inner).column_range(index * ranks, ranks);
        let flat = |range: &std::ops::Range<usize>| gradients.flat.part(range.start, range.len());
        let pass = BackwardPass {
            gate_up,
            dh: h,
            stores_h,
            b: [factor(0), factor(1)],
            p: gate_up.column_range(linear.outer, linear.ranks),
            u,
            p_down: dy.column_range(behind.outer, ranks),
            scale: gradients.layout.scale(),
            d_b: [flat(&gate.b), flat(&up.b)],
            d_a: flat(&down.a),
            add: !fresh,
        };
        self.kernels.swiglu_adapters.backward(&pass, self.layout.partial.span(self.block))?;
        Ok(true)
    }

    fn gated_alone(&self, gate_up: Narrow, h: Narrow) -> Result<bool> {
        self.kernels.swiglu.backward(gate_up, h)?;
        Ok(false)
    }
}

//! Owns one pass over the layers: the buffers of a micro-batch as matrices, and what is the same for every layer of it.
//! Knows places and widths; the order of work is `forward` and `backward`.

use cuda::kernels::rope::{Angles, HeadNorms};
use cuda::{Block, Device, Matrix, Operand, Product, Target};
use half::bf16;

use super::inputs::DeviceInputs;
use super::kernels::Kernels;
use super::layout::{LayerSpots, Layout};
use super::shape::Shape;
use super::weights::{LayerWeights, Weights};
use crate::engine::PassDropout;
use crate::error::Result;
use crate::nn::Group;

/// Which packed linear: layer and group.
pub(super) type At = (usize, Group);

/// A row of values on the device.
pub(super) type Narrow = Matrix<bf16>;

/// What every layer of a pass shares.
pub(super) struct Work<'a> {
    pub(super) device: &'a Device,
    pub(super) kernels: &'a Kernels,
    pub(super) shape: &'a Shape,
    pub(super) weights: &'a Weights,
    pub(super) layout: &'a Layout,
    /// The memory that `layout` divides.
    pub(super) block: &'a Block,
    pub(super) inputs: DeviceInputs,
    /// Tokens of the pass, padding included.
    pub(super) tokens: usize,
    /// Whether an adapter is installed.
    pub(super) adapted: bool,
    /// Whether a backward pass follows, which needs the narrow products.
    pub(super) training: bool,
    pub(super) dropout: Option<PassDropout>,
    pub(super) epsilon: f32,
}

/// The buffers of a layer in this pass.
#[derive(Clone, Copy)]
pub(super) struct LayerBuffers {
    pub(super) x: Narrow,
    pub(super) qkv_before_norm: Narrow,
    pub(super) qkv: Narrow,
    pub(super) attention: Narrow,
    pub(super) log_sum_exp: Matrix<f32>,
    pub(super) middle: Narrow,
}

impl Work<'_> {
    /// A buffer of the moment with as many rows as the pass has tokens.
    pub(super) fn rows(&self, spot: &super::places::Spot) -> Narrow {
        spot.of(self.block, self.tokens)
    }

    /// The weights of a layer.
    pub(super) fn layer(&self, index: usize) -> &LayerWeights {
        &self.weights.layers[index]
    }

    /// The places of a layer.
    pub(super) fn spots(&self, index: usize) -> &LayerSpots {
        &self.layout.layers[index]
    }

    /// The buffers of a layer.
    pub(super) fn buffers(&self, index: usize) -> LayerBuffers {
        let spots = self.spots(index);
        let qkv = self.rows(&spots.qkv);
        LayerBuffers {
            x: self.rows(&spots.x),
            qkv_before_norm: if self.shape.qk_norm { self.rows(&spots.qkv_before_norm) } else { qkv },
            qkv,
            attention: self.rows(&spots.attention),
            log_sum_exp: spots.log_sum_exp.of(self.block, self.shape.heads),
            middle: self.rows(&spots.middle),
        }
    }

    /// The normed rows that gate and up are made of, `count` of them from row `first`, and the narrow product of those: kept
    /// with the layer, where the product lies behind its rows, or of the moment.
    pub(super) fn gate_up_input(&self, layer: usize, first: usize, count: usize) -> (Narrow, Narrow) {
        let (spots, ranks) = (self.spots(layer), self.shape.ranks(Group::GateUp));
        if self.layout.keep.of(layer).mlp() {
            let normed = spots.mlp_normed.of(self.block, count);
            return (normed, normed.column_range(self.shape.hidden, ranks));
        }
        let normed = self.rows(&self.layout.normed).row_range(first, count);
        (normed, spots.u[Group::GateUp as usize].of(self.block, count))
    }

    /// The angles of the pass.
    pub(super) fn angles(&self) -> Angles {
        Angles { cos: self.weights.cos, sin: self.weights.sin, positions: self.inputs.positions }
    }

    /// The norms of heads of a layer, where the model has them.
    pub(super) fn head_norms(&self, layer: usize) -> Option<HeadNorms> {
        self.layer(layer).head_norms.map(|[q, k]| HeadNorms { q, k, epsilon: self.epsilon })
    }

    /// `y = x * W^T + bias (+ added)`, with the adapters beside it where one is installed. The narrow product `u = x * A^T`
    /// goes behind the rows of x, and a copy of it to `kept` where the backward pass needs one.
    pub(super) fn linear(
        &self,
        (layer, group): At,
        x: Narrow,
        y: Narrow,
        added: Option<Narrow>,
        kept: Option<Narrow>,
    ) -> Result<()> {
        let linear = &self.layer(layer).linears[group as usize];
        let (x, weight) = if self.adapted && linear.ranks > 0 {
            let u = x.column_range(linear.inner, linear.ranks);
            self.narrow_product((layer, group), x, u)?;
            if let Some(kept) = kept.filter(|_| self.training) {
                self.device.copy(u, kept)?;
            }
            (x.column_range(0, linear.inner + linear.ranks), linear.with_b())
        } else {
            (x, linear.weight())
        };
        let product = Product::new(Operand::plain(x), Operand::transposed(weight), Target::Bf16(y)).biased(linear.bias);
        self.product(match added {
            Some(added) => product.plus(Target::Bf16(added)),
            None => product,
        })
    }

    /// `u = x * A^T` of the adapters beside a linear.
    pub(super) fn narrow_product(&self, (layer, group): At, x: Narrow, u: Narrow) -> Result<()> {
        let a = self.layer(layer).linears[group as usize].a();
        let input = self.dropped(layer, group, x)?;
        self.product(Product::new(Operand::plain(input), Operand::transposed(a), Target::Bf16(u)))
    }

    /// The input of an adapter: x, or x with some of its values dropped.
    pub(super) fn dropped(&self, layer: usize, group: Group, x: Narrow) -> Result<Narrow> {
        let Some(dropout) = self.dropout else { return Ok(x) };
        let key = dropout.of(layer, group as usize);
        let masked = self.layout.dropped.reshaped(self.block, x.rows(), x.columns());
        self.kernels.dropout.mask_into(x, masked, key.key, key.probability)?;
        Ok(masked)
    }

    /// Puts a product into the stream. Training is long enough for a choice of the fastest way to pay.
    pub(super) fn product(&self, product: Product) -> Result<()> {
        if self.training {
            self.kernels.tune.prepare(&product)?;
        }
        Ok(self.device.product(&product)?)
    }
}

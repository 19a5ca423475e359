//! Owns a frozen linear with low-rank adapters beside it: shapes of the operands and the plain twin.
//! Knows neither names of modules nor where the adapter's numbers are stored.
//!
//! Several linears that read the same input are packed: W and A are stacked by rows, the products with r come first,
//! and no dense weight gradient exists.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::same_type;
use crate::dropout::DropoutKey;

/// The adapter beside a packed linear.
#[derive(Clone, Debug)]
pub struct LoraOperand {
    /// `[sum of r, in]`, the A of each part stacked.
    pub a: Tensor<2>,
    /// The B of each part that has an adapter.
    pub parts: Vec<LoraPart>,
    /// `alpha / r`, or `alpha / sqrt(r)`.
    pub scale: f32,
    /// Dropout on the adapter's input, while training.
    pub dropout: Option<DropoutKey>,
    /// What the kernels of a device made of it, for every later use of the same numbers.
    pub prepared: Prepared,
}

/// An adapter as a GPU's kernels want it, from its first use on.
#[derive(Clone, Default)]
pub struct Prepared(Arc<OnceLock<cube::lora::Adapter>>);

impl Prepared {
    /// The adapter, made by `make` at the first use.
    pub fn get(&self, make: impl FnOnce() -> cube::lora::Adapter) -> &cube::lora::Adapter {
        self.0.get_or_init(make)
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.get().is_some() { "prepared" } else { "not prepared" })
    }
}

/// One part of a packed linear.
#[derive(Clone, Debug)]
pub struct LoraPart {
    /// `[out of the part, r]`.
    pub b: Tensor<2>,
    /// The columns of y the part writes.
    pub columns: Range<usize>,
    /// The columns of u the part reads.
    pub ranks: Range<usize>,
}

/// Plain twin of `Kernels::lora_linear`.
pub fn plain(
    x: &Tensor<2>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
    adapter: Option<&LoraOperand>,
    residual: Option<Tensor<2>>,
) -> (Tensor<2>, Option<Tensor<2>>) {
    same_type("lora_linear", x.dtype(), weight.dtype());
    let mut y = x.clone().matmul(weight.clone().transpose());
    if let Some(bias) = bias {
        y = y + bias.clone().unsqueeze();
    }
    let u = adapter.map(|adapter| {
        let dtype = x.dtype();
        let input = dropped(x.clone(), adapter.dropout);
        let u = input.matmul(adapter.a.clone().cast(dtype).transpose());
        for part in &adapter.parts {
            let u_part = columns(&u, &part.ranks);
            let added = u_part.matmul(part.b.clone().cast(dtype).transpose()) * adapter.scale;
            y = add_columns(y.clone(), added, &part.columns);
        }
        u
    });
    match residual {
        Some(residual) => {
            let dtype = residual.dtype();
            (y.cast(dtype) + residual, u)
        }
        None => (y, u),
    }
}

/// Plain twin of `Kernels::lora_linear_backward`.
pub fn plain_backward(
    dy: &Tensor<2>,
    x: &Tensor<2>,
    weight: &Tensor<2>,
    adapter: Option<(&LoraOperand, &Tensor<2>)>,
    input_gradient: bool,
) -> (Option<Tensor<2>>, Option<Tensor<1>>) {
    let dy = &dy.clone().cast(weight.dtype());
    same_type("lora_linear_backward", x.dtype(), weight.dtype());
    let mut dx = input_gradient.then(|| dy.clone().matmul(weight.clone()));
    let gradients = adapter.map(|(adapter, u)| {
        let dtype = x.dtype();
        let input = dropped(x.clone(), adapter.dropout);
        let mut p_parts = Vec::with_capacity(adapter.parts.len());
        let mut b = Vec::with_capacity(adapter.parts.len());
        for part in &adapter.parts {
            let dy_part = columns(dy, &part.columns);
            p_parts.push(dy_part.clone().matmul(part.b.clone().cast(dtype)) * adapter.scale);
            let product = dy_part.transpose().matmul(columns(u, &part.ranks)) * adapter.scale;
            b.push(product.cast(DType::F32));
        }
        let p = Tensor::cat(p_parts, 1);
        let a = p.clone().transpose().matmul(input).cast(DType::F32);
        dx = dx.take().map(|dx| dx + dropped(p.matmul(adapter.a.clone().cast(dtype)), adapter.dropout));
        let flat = |matrix: Tensor<2>| {
            let [rows, columns] = matrix.dims();
            matrix.reshape([rows * columns])
        };
        Tensor::cat(std::iter::once(a).chain(b).map(flat).collect(), 0)
    });
    (dx, gradients)
}

fn columns(tensor: &Tensor<2>, range: &Range<usize>) -> Tensor<2> {
    let [rows, _] = tensor.dims();
    tensor.clone().slice([0..rows, range.clone()])
}

fn add_columns(y: Tensor<2>, added: Tensor<2>, range: &Range<usize>) -> Tensor<2> {
    let [rows, width] = y.dims();
    if *range == (0..width) {
        return y + added;
    }
    let sum = columns(&y, range) + added;
    y.slice_assign([0..rows, range.clone()], sum)
}

/// `x` with the mask of `key` applied and the kept values scaled up.
fn dropped(x: Tensor<2>, key: Option<DropoutKey>) -> Tensor<2> {
    match key {
        None => x,
        Some(key) => {
            let mask = mask(key, x.dims(), &x.device()).cast(x.dtype());
            x * mask
        }
    }
}

fn mask(key: DropoutKey, [rows, width]: [usize; 2], device: &Device) -> Tensor<2> {
    let values: Vec<f32> = (0..rows * width).map(|index| key.factor(index as u64)).collect();
    Tensor::from_data(TensorData::new(values, [rows, width]), (device, DType::F32))
}

//! Owns the gated activation `silu(gate) * up` and its gradient: plain twin and slice kernel.
//! Knows only the packed layout `[gate | up]` of a row.

use burn::tensor::{Tensor, activation};

use super::cpu::simd::exp;
use super::same_type;

/// Plain twin of `Kernels::swiglu`.
pub fn plain(gate_up: &Tensor<2>) -> Tensor<2> {
    let (gate, up) = halves(gate_up);
    activation::silu(gate) * up
}

/// Plain twin of `Kernels::swiglu_backward`.
pub fn plain_backward(gate_up: &Tensor<2>, dh: Tensor<2>) -> Tensor<2> {
    same_type("swiglu_backward", gate_up.dtype(), dh.dtype());
    let (gate, up) = halves(gate_up);
    let sigma = activation::sigmoid(gate.clone());
    let slope = sigma.clone() * (gate.clone() * (sigma.clone() * -1.0 + 1.0) + 1.0);
    let d_gate = dh.clone() * up * slope;
    let d_up = dh * gate * sigma;
    Tensor::cat(vec![d_gate, d_up], 1)
}

fn halves(gate_up: &Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let [tokens, width] = gate_up.dims();
    let gate = gate_up.clone().slice([0..tokens, 0..width / 2]);
    let up = gate_up.clone().slice([0..tokens, width / 2..width]);
    (gate, up)
}

/// One row on slices.
#[inline(always)]
pub(super) fn row(gate_up: &[f32], h: &mut [f32]) {
    let (gate, up) = gate_up.split_at(h.len());
    for ((h, g), u) in h.iter_mut().zip(gate).zip(up) {
        *h = g / (1.0 + exp(-g)) * u;
    }
}

/// One row of the gradient on slices.
#[inline(always)]
pub(super) fn row_backward(gate_up: &[f32], dh: &[f32], d_gate_up: &mut [f32]) {
    let (gate, up) = gate_up.split_at(dh.len());
    let (d_gate, d_up) = d_gate_up.split_at_mut(dh.len());
    for ((((dg, du), g), u), dh) in d_gate.iter_mut().zip(d_up).zip(gate).zip(up).zip(dh) {
        let sigma = 1.0 / (1.0 + exp(-g));
        *dg = dh * u * sigma * (1.0 + g * (1.0 - sigma));
        *du = dh * g * sigma;
    }
}

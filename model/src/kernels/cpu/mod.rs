//! Owns the CPU implementation of the custom operations: slices, the processor's vectors, all cores.
//! Knows f32 only; results do not depend on how work was shared between cores.

mod attention;
mod host;
mod linear;
pub(crate) mod product;
mod rows;
pub(crate) mod simd;

use burn::tensor::Tensor;

use host::{Host, HostMut, tensor};
use product::{Cores, Into, Matrix};

use super::adamw::{self, AdamWStep, Moments};
use super::attention::{CachedDocuments, Documents, Heads};
use super::lora_linear::LoraOperand;
use super::rope::{RopeTable, Rotation};
use super::{Kernels, Vocabulary, cross_entropy, rms_norm, rope, swiglu};

/// The CPU kernels.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu;

impl Kernels for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn rms_norm(&self, x: &Tensor<2>, weight: &Tensor<1>, epsilon: f32) -> Tensor<2> {
        let [rows, width] = x.dims();
        let (x, weight) = (Host::read(x), Host::read(weight));
        let (x, weight) = (x.values(), weight.values());
        let mut y = vec![0.0; rows * width];
        simd::each_row(&mut y, width, |row, y| rms_norm::row(&x[row * width..][..width], weight, epsilon, y));
        tensor(y, [rows, width])
    }

    fn rms_norm_backward(
        &self,
        dy: Tensor<2>,
        x: &Tensor<2>,
        weight: &Tensor<1>,
        epsilon: f32,
        residual: Option<Tensor<2>>,
    ) -> Tensor<2> {
        let [rows, width] = x.dims();
        let (dy, x, weight) = (Host::read(&dy), Host::read(x), Host::read(weight));
        let (dy, x, weight) = (dy.values(), x.values(), weight.values());
        let mut dx = match residual {
            Some(residual) => HostMut::take(residual),
            None => HostMut::take(tensor(vec![0.0; rows * width], [rows, width])),
        };
        simd::each_row(dx.values(), width, |row, dx| {
            let at = row * width;
            rms_norm::row_backward(&dy[at..at + width], &x[at..at + width], weight, epsilon, dx);
        });
        dx.tensor()
    }

    fn head_norm(&self, qkv: &Tensor<2>, q: &Tensor<1>, k: &Tensor<1>, heads: Heads, epsilon: f32) -> Tensor<2> {
        let width = heads.packed_width();
        let mut y = HostMut::take(qkv.clone());
        let (x, q, k) = (Host::read(qkv), Host::read(q), Host::read(k));
        let (x, q, k) = (x.values(), q.values(), k.values());
        simd::each_row(y.values(), width, |row, y| {
            let x = &x[row * width..][..width];
            for head in 0..heads.query + heads.key_value {
                let at = head * heads.head_dim..(head + 1) * heads.head_dim;
                rms_norm::row(&x[at.clone()], if head < heads.query { q } else { k }, epsilon, &mut y[at]);
            }
        });
        y.tensor()
    }

    fn head_norm_backward(
        &self,
        dy: Tensor<2>,
        qkv: &Tensor<2>,
        q: &Tensor<1>,
        k: &Tensor<1>,
        heads: Heads,
        epsilon: f32,
    ) -> Tensor<2> {
        let width = heads.packed_width();
        let (dy_read, x) = (Host::read(&dy), Host::read(qkv));
        let (q, k) = (Host::read(q), Host::read(k));
        let (dy_read, x, q, k) = (dy_read.values(), x.values(), q.values(), k.values());
        let mut dx = HostMut::take(dy.clone());
        simd::each_row(dx.values(), width, |row, dx| {
            let (dy, x) = (&dy_read[row * width..][..width], &x[row * width..][..width]);
            for head in 0..heads.query + heads.key_value {
                let at = head * heads.head_dim..(head + 1) * heads.head_dim;
                let weight = if head < heads.query { q } else { k };
                dx[at.clone()].fill(0.0);
                rms_norm::row_backward(&dy[at.clone()], &x[at.clone()], weight, epsilon, &mut dx[at]);
            }
        });
        dx.tensor()
    }

    fn rope(
        &self,
        qkv: Tensor<2>,
        heads: Heads,
        table: &RopeTable,
        positions: &[u32],
        rotation: Rotation,
    ) -> Tensor<2> {
        let (width, half) = (heads.packed_width(), heads.head_dim / 2);
        let rotated = heads.query_width() + heads.key_width();
        let (cos, sin) = (Host::read(&table.cos), Host::read(&table.sin));
        let (cos, sin) = (cos.values(), sin.values());
        let mut qkv = HostMut::take(qkv);
        simd::each_row(qkv.values(), width, |row, values| {
            let at = positions[row] as usize * half;
            rope::row(&mut values[..rotated], &cos[at..at + half], &sin[at..at + half], rotation);
        });
        qkv.tensor()
    }

    fn swiglu(&self, gate_up: &Tensor<2>) -> Tensor<2> {
        let [rows, width] = gate_up.dims();
        let gate_up = Host::read(gate_up);
        let gate_up = gate_up.values();
        let mut h = vec![0.0; rows * width / 2];
        simd::each_row(&mut h, width / 2, |row, h| swiglu::row(&gate_up[row * width..][..width], h));
        tensor(h, [rows, width / 2])
    }

    fn swiglu_backward(&self, gate_up: &Tensor<2>, dh: Tensor<2>) -> Tensor<2> {
        let [rows, width] = gate_up.dims();
        let (gate_up, dh) = (Host::read(gate_up), Host::read(&dh));
        let (gate_up, dh) = (gate_up.values(), dh.values());
        let mut out = vec![0.0; rows * width];
        simd::each_row(&mut out, width, |row, out| {
            swiglu::row_backward(&gate_up[row * width..][..width], &dh[row * width / 2..][..width / 2], out);
        });
        tensor(out, [rows, width])
    }

    fn attention(&self, qkv: &Tensor<2>, heads: Heads, documents: &Documents) -> (Tensor<2>, Tensor<2>) {
        let (output, log_sum_exp) = attention::forward(Host::read(qkv).values(), heads, documents);
        let tokens = documents.tokens();
        (tensor(output, [tokens, heads.query_width()]), tensor(log_sum_exp, [tokens, heads.query]))
    }

    fn attention_backward(
        &self,
        d_output: Tensor<2>,
        qkv: &Tensor<2>,
        output: &Tensor<2>,
        log_sum_exp: &Tensor<2>,
        heads: Heads,
        documents: &Documents,
    ) -> Tensor<2> {
        let saved = (Host::read(qkv), Host::read(output), Host::read(log_sum_exp));
        let d_output = Host::read(&d_output);
        let saved = attention::Saved { qkv: saved.0.values(), output: saved.1.values(), lse: saved.2.values() };
        let gradient = attention::backward(d_output.values(), saved, heads, documents);
        tensor(gradient, [documents.tokens(), heads.packed_width()])
    }

    fn attention_cached(
        &self,
        qkv: &Tensor<2>,
        keys: &Tensor<3>,
        values: &Tensor<3>,
        heads: Heads,
        documents: &CachedDocuments,
    ) -> Tensor<2> {
        let [tokens, _] = qkv.dims();
        let [_, capacity, _] = keys.dims();
        let (qkv, keys, values) = (Host::read(qkv), Host::read(keys), Host::read(values));
        let cache = attention::Cache { keys: keys.values(), values: values.values(), capacity };
        tensor(attention::cached(qkv.values(), cache, heads, documents), [tokens, heads.query_width()])
    }

    fn cache_append(
        &self,
        (keys, values): (Tensor<3>, Tensor<3>),
        qkv: &Tensor<2>,
        heads: Heads,
        documents: &CachedDocuments,
    ) -> (Tensor<3>, Tensor<3>) {
        let [_, capacity, width] = keys.dims();
        let qkv = Host::read(qkv);
        let (mut keys, mut values) = (HostMut::take(keys), HostMut::take(values));
        for (part, cache) in [keys.values(), values.values()].into_iter().enumerate() {
            let column = heads.query_width() + part * width;
            for (range, row, past) in documents.entries() {
                for (token, position) in range.zip(past..) {
                    let from = &qkv.values()[token * heads.packed_width() + column..][..width];
                    cache[(row * capacity + position) * width..][..width].copy_from_slice(from);
                }
            }
        }
        (keys.tensor(), values.tensor())
    }

    fn lora_linear(
        &self,
        x: &Tensor<2>,
        weight: &Tensor<2>,
        bias: Option<&Tensor<1>>,
        adapter: Option<&LoraOperand>,
        residual: Option<Tensor<2>>,
    ) -> (Tensor<2>, Option<Tensor<2>>) {
        linear::forward(x, weight, bias, adapter, residual)
    }

    fn lora_linear_backward(
        &self,
        dy: &Tensor<2>,
        x: &Tensor<2>,
        weight: &Tensor<2>,
        adapter: Option<(&LoraOperand, &Tensor<2>)>,
        input_gradient: bool,
    ) -> (Option<Tensor<2>>, Option<Tensor<1>>) {
        linear::backward(dy, x, weight, adapter, input_gradient)
    }

    fn embed(&self, table: &Vocabulary, ids: &[u32]) -> Tensor<2> {
        rows::gathered(&table.whole(), ids)
    }

    fn gather(&self, tensor: &Tensor<2>, rows: &[u32]) -> Tensor<2> {
        rows::gathered(tensor, rows)
    }

    fn scatter(&self, tensor: Tensor<2>, rows: &[u32], total: usize) -> Tensor<2> {
        rows::scattered(&tensor, rows, total)
    }

    fn logits(&self, hidden: &Tensor<2>, head: &Vocabulary) -> Tensor<2> {
        let ([rows, width], vocabulary) = (hidden.dims(), head.size());
        let (hidden, head) = (Host::read(hidden), Host::read(&head.whole()));
        let head = Matrix::new(head.values(), vocabulary, width, width);
        let logits = product::product(1.0, Matrix::new(hidden.values(), rows, width, width), head.t(), Cores::All);
        tensor(logits, [rows, vocabulary])
    }

    fn sum_of_squares(&self, values: &Tensor<1>) -> f64 {
        Host::read(values).values().iter().map(|value| f64::from(*value) * f64::from(*value)).sum()
    }

    fn cross_entropy(
        &self,
        hidden: &Tensor<2>,
        head: &Vocabulary,
        targets: &[u32],
        scale: Option<f32>,
    ) -> (Tensor<1>, Option<Tensor<2>>) {
        let ([rows, width], vocabulary) = (hidden.dims(), head.size());
        // A processor binds any table whole.
        let (hidden, head) = (Host::read(hidden), Host::read(&head.whole()));
        let head = Matrix::new(head.values(), vocabulary, width, width);
        let mut losses = vec![0.0; rows];
        let mut gradient = vec![0.0; if scale.is_some() { rows * width } else { 0 }];
        let chunk = cross_entropy::chunk_rows(vocabulary);
        for start in (0..rows).step_by(chunk) {
            let count = chunk.min(rows - start);
            let hidden = Matrix::new(&hidden.values()[start * width..], count, width, width);
            let mut logits = product::product(1.0, hidden, head.t(), Cores::All);
            let targets = &targets[start..start + count];
            losses[start..start + count].copy_from_slice(&row_losses(&mut logits, vocabulary, targets, scale));
            if scale.is_some() {
                let logits = Matrix::new(&logits, count, vocabulary, vocabulary);
                let out = &mut gradient[start * width..(start + count) * width];
                product::multiply(out, width, Into::Overwrite, 1.0, logits, head, Cores::All);
            }
        }
        (tensor(losses, [rows]), scale.map(|_| tensor(gradient, [rows, width])))
    }

    fn adamw(
        &self,
        state: Moments,
        parameters: Tensor<1>,
        gradient: Tensor<1>,
        step: AdamWStep,
    ) -> (Moments, Tensor<1>) {
        let gradient = Host::read(&gradient);
        let (mut first, mut second) = (HostMut::take(state.first), HostMut::take(state.second));
        let mut parameters = HostMut::take(parameters);
        let (m, v, p) = (first.values(), second.values(), parameters.values());
        simd::vectorised(|| adamw::slices(m, v, p, gradient.values(), step));
        (Moments { first: first.tensor(), second: second.tensor() }, parameters.tensor())
    }
}

/// Loss of each row of logits; the logits become their gradient.
fn row_losses(logits: &mut [f32], vocabulary: usize, targets: &[u32], scale: Option<f32>) -> Vec<f32> {
    use rayon::prelude::*;
    let rows = logits.par_chunks_exact_mut(vocabulary).zip(targets);
    rows.map(|(row, &target)| simd::vectorised(|| cross_entropy::row(row, target as usize, scale.unwrap_or(0.0))))
        .collect()
}

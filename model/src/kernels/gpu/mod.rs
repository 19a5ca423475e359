//! Owns the GPU implementation of the custom operations: the kernels of `cube` on the framework's tensors.
//! Knows shapes and formats; knows neither layers nor which GPU it is.

mod head;
mod linear;
mod uploads;
mod values;

use burn::tensor::{DType, Tensor};
use cube::Array;
use cube::attention::{self, Cache, Sight};
use cube::optimizer::{self, AdamW};
use cube::rotation::{self, Direction, Table};
use cube::{Packed, head_norm, norm, rows, swiglu};

use values::Values;

use super::adamw::{AdamWStep, Moments};
use super::attention::{CachedDocuments, Documents, Heads};
use super::lora_linear::LoraOperand;
use super::rope::{RopeTable, Rotation};
use super::{Kernels, Vocabulary};
use crate::device::read;

/// The GPU's kernels.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gpu;

impl From<Heads> for Packed {
    fn from(heads: Heads) -> Self {
        Packed { query: heads.query, key_value: heads.key_value, head_dim: heads.head_dim }
    }
}

impl Kernels for Gpu {
    fn name(&self) -> &'static str {
        "gpu"
    }

    fn rms_norm(&self, x: &Tensor<2>, weight: &Tensor<1>, epsilon: f32) -> Tensor<2> {
        let (x, weight) = (Values::read(x), Values::read(weight));
        x.matrix(norm::rms_norm(&x.array, &weight.array, epsilon))
    }

    fn rms_norm_backward(
        &self,
        dy: Tensor<2>,
        x: &Tensor<2>,
        weight: &Tensor<1>,
        epsilon: f32,
        residual: Option<Tensor<2>>,
    ) -> Tensor<2> {
        let (dy, x, weight) = (Values::read(&dy), Values::read(x), Values::read(weight));
        let residual = residual.as_ref().map(Values::read);
        let residual = residual.as_ref().map(|residual| &residual.array);
        x.matrix(norm::rms_norm_backward(&dy.array, &x.array, &weight.array, epsilon, residual))
    }

    fn head_norm(&self, qkv: &Tensor<2>, q: &Tensor<1>, k: &Tensor<1>, heads: Heads, epsilon: f32) -> Tensor<2> {
        let (qkv, q, k) = (Values::read(qkv), Values::read(q), Values::read(k));
        qkv.matrix(head_norm::head_norm(&qkv.array, &q.array, &k.array, heads.into(), epsilon))
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
        let (dy, qkv, q, k) = (Values::read(&dy), Values::read(qkv), Values::read(q), Values::read(k));
        qkv.matrix(head_norm::head_norm_backward(&dy.array, &qkv.array, &q.array, &k.array, heads.into(), epsilon))
    }

    fn attention(&self, qkv: &Tensor<2>, heads: Heads, documents: &Documents) -> (Tensor<2>, Tensor<2>) {
        let qkv = Values::read(qkv);
        let (output, sums) = attention::forward(&qkv.array, heads.into(), &sight(&qkv, heads, documents));
        (qkv.matrix(output), qkv.matrix(sums))
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
        let [d_output, qkv, output, sums] = [&d_output, qkv, output, log_sum_exp].map(Values::read);
        let sight = sight(&qkv, heads, documents);
        let (d_output, output, sums) = (&d_output.array, &output.array, &sums.array);
        qkv.matrix(attention::backward(d_output, &qkv.array, output, sums, heads.into(), &sight))
    }

    fn attention_cached(
        &self,
        qkv: &Tensor<2>,
        keys: &Tensor<3>,
        values: &Tensor<3>,
        heads: Heads,
        documents: &CachedDocuments,
    ) -> Tensor<2> {
        let [_, capacity, _] = keys.dims();
        let (qkv, keys, values) = (Values::read(qkv), Values::read(keys), Values::read(values));
        let places = places(&qkv, heads, documents);
        let cache = Cache { keys: &keys.array, values: &values.array, capacity, places: &places };
        qkv.matrix(attention::cached(&qkv.array, &cache, heads.into()))
    }

    fn cache_append(
        &self,
        (keys, values): (Tensor<3>, Tensor<3>),
        qkv: &Tensor<2>,
        heads: Heads,
        documents: &CachedDocuments,
    ) -> (Tensor<3>, Tensor<3>) {
        let [_, capacity, _] = keys.dims();
        let (qkv_values, key_values, value_values) = (Values::read(qkv), Values::read(&keys), Values::read(&values));
        let places = places(&qkv_values, heads, documents);
        let cache = Cache { keys: &key_values.array, values: &value_values.array, capacity, places: &places };
        attention::append(&qkv_values.array, &cache, heads.into());
        (keys, values)
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

    fn rope(
        &self,
        qkv: Tensor<2>,
        heads: Heads,
        table: &RopeTable,
        positions: &[u32],
        rotation: Rotation,
    ) -> Tensor<2> {
        let (qkv, cos, sin) = (Values::read(&qkv), Values::read(&table.cos), Values::read(&table.sin));
        let table = Table { cos: cos.array, sin: sin.array };
        let direction = match rotation {
            Rotation::Forward => Direction::Forward,
            Rotation::Backward => Direction::Backward,
        };
        let positions = qkv.upload("positions", positions);
        qkv.matrix(rotation::rotate(&qkv.array, heads.into(), &table, &positions, direction))
    }

    fn swiglu(&self, gate_up: &Tensor<2>) -> Tensor<2> {
        let gate_up = Values::read(gate_up);
        gate_up.matrix(swiglu::swiglu(&gate_up.array))
    }

    fn swiglu_backward(&self, gate_up: &Tensor<2>, dh: Tensor<2>) -> Tensor<2> {
        let (gate_up, dh) = (Values::read(gate_up), Values::read(&dh));
        gate_up.matrix(swiglu::swiglu_backward(&gate_up.array, &dh.array))
    }

    fn embed(&self, table: &Vocabulary, ids: &[u32]) -> Tensor<2> {
        let pieces: Vec<Values> = table.pieces.iter().map(Values::read).collect();
        let arrays: Vec<Array> = pieces.iter().map(|piece| piece.array.clone()).collect();
        let ids = pieces[0].upload("ids", ids);
        pieces[0].matrix(rows::gather_pieces(&arrays, &ids, values::element(DType::F32)))
    }

    fn gather(&self, tensor: &Tensor<2>, indices: &[u32]) -> Tensor<2> {
        let tensor = Values::read(tensor);
        let indices = tensor.upload("rows", indices);
        tensor.matrix(rows::gather(&tensor.array, &indices, tensor.array.dtype))
    }

    fn scatter(&self, tensor: Tensor<2>, indices: &[u32], total: usize) -> Tensor<2> {
        let tensor = Values::read(&tensor);
        let indices = tensor.upload("rows", indices);
        tensor.matrix(rows::scatter(&tensor.array, &indices, total))
    }

    fn logits(&self, hidden: &Tensor<2>, head: &Vocabulary) -> Tensor<2> {
        head::logits(hidden, head)
    }

    fn cross_entropy(
        &self,
        hidden: &Tensor<2>,
        head: &Vocabulary,
        targets: &[u32],
        scale: Option<f32>,
    ) -> (Tensor<1>, Option<Tensor<2>>) {
        head::cross_entropy(hidden, head, targets, scale)
    }

    fn sum_of_squares(&self, values: &Tensor<1>) -> f64 {
        let values = Values::read(values);
        let sum: Tensor<2> = values.matrix(optimizer::sum_of_squares(&values.array));
        read::host_or_unwind(&sum).into_iter().map(f64::from).sum()
    }

    fn adamw(
        &self,
        state: Moments,
        parameters: Tensor<1>,
        gradient: Tensor<1>,
        step: AdamWStep,
    ) -> (Moments, Tensor<1>) {
        let [p, g, m, v] = [&parameters, &gradient, &state.first, &state.second].map(Values::read);
        let AdamWStep { learning_rate, beta_1, beta_2, epsilon, weight_decay, gradient_scale, step } = step;
        let step = AdamW { learning_rate, beta_1, beta_2, epsilon, weight_decay, gradient_scale, step };
        optimizer::adamw(&p.array, &g.array, &m.array, &v.array, step);
        (state, parameters)
    }
}

/// What the queries of a batch see.
fn sight(qkv: &Values, heads: Heads, documents: &Documents) -> Sight {
    let mut bounds = vec![0];
    bounds.extend(documents.ranges().map(|range| range.end));
    let [first, last] = Sight::rows(&bounds, heads.window);
    Sight { first: qkv.upload("first keys", &first), last: qkv.upload("last queries", &last) }
}

/// For each new token its row of the cache, the valid tokens of that row, the first new token of its document, and how many
/// tokens it sees.
fn places(qkv: &Values, heads: Heads, documents: &CachedDocuments) -> Array {
    let window = heads.window.and_then(|window| u32::try_from(window).ok()).unwrap_or(u32::MAX);
    let entries = documents.entries();
    let places: Vec<u32> = entries
        .flat_map(|(range, row, past)| {
            let place = [row as u32, past as u32, range.start as u32, window];
            range.flat_map(move |_| place)
        })
        .collect();
    qkv.upload("places", &places)
}

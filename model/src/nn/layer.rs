//! Owns one decoder layer: hand-written forward and backward around frozen weights, and what is kept between them.
//! Knows tensors and adapters' operands; knows neither the loss nor how adapters are stored.

use burn::tensor::Tensor;

use super::linear::{Group, Linear};
use crate::kernels::{CachedDocuments, Documents, Heads, Kernels, LoraOperand, RopeTable, Rotation};

/// The frozen weights of a layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Norm before attention.
    pub input_layernorm: Tensor<1>,
    /// Norm before the MLP.
    pub post_attention_layernorm: Tensor<1>,
    /// Norms of query and key heads, where the architecture has them.
    pub qk_norm: Option<(Tensor<1>, Tensor<1>)>,
    /// One linear for each [`Group`].
    pub linears: [Linear; 4],
    /// Attention shape of this layer.
    pub heads: Heads,
}

/// What a layer needs besides its weights and its input.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The operations.
    pub kernels: &'a dyn Kernels,
    /// Rotary table.
    pub table: &'a RopeTable,
    /// Epsilon of every norm.
    pub epsilon: f32,
    /// Adapters of this layer, one for each [`Group`].
    pub adapters: &'a [Option<LoraOperand>; 4],
}

/// Rows that later work needs; the rest of the pack is left out after the last attention.
#[derive(Clone, Debug)]
pub struct Rows {
    rows: Vec<u32>,
    total: usize,
}

impl Rows {
    /// Distinct rows out of `total`.
    #[must_use]
    pub fn new(rows: &[usize], total: usize) -> Self {
        Rows { rows: rows.iter().map(|&row| row as u32).collect(), total }
    }

    fn gather(&self, tensor: &Tensor<2>, kernels: &dyn Kernels) -> Tensor<2> {
        kernels.gather(tensor, &self.rows)
    }

    fn scatter(&self, tensor: Tensor<2>, kernels: &dyn Kernels) -> Tensor<2> {
        kernels.scatter(tensor, &self.rows, self.total)
    }
}

/// What the forward pass keeps for the backward pass. Normed inputs and the MLP's product are rebuilt, since that
/// costs no matrix product.
pub struct Saved {
    x: Tensor<2>,
    qkv_before_norm: Option<Tensor<2>>,
    qkv: Tensor<2>,
    attention: Tensor<2>,
    log_sum_exp: Tensor<2>,
    /// The attention output of the rows that go on, if not all do.
    attention_rows: Option<Tensor<2>>,
    middle: Tensor<2>,
    gate_up: Tensor<2>,
    u: [Option<Tensor<2>>; 4],
}

/// Gradients of a layer's adapters, one for each [`Group`].
pub type LayerGradients = [Option<Tensor<1>>; 4];

impl Layer {
    /// The layer on a pack of documents. With `rows`, the output holds these rows only.
    ///
    /// # Shapes
    /// - x `[T, hidden_size]`
    /// - output `[T, hidden_size]`, or `[rows, hidden_size]`
    #[must_use]
    pub fn forward(
        &self,
        x: Tensor<2>,
        around: Surroundings<'_>,
        documents: &Documents,
        rows: Option<&Rows>,
    ) -> (Tensor<2>, Saved) {
        let kernels = around.kernels;
        let (projected, u_qkv) = self.projected(&x, around);
        let qkv_before_norm = self.qk_norm.as_ref().map(|_| projected.clone());
        let qkv = self.positioned(projected, around, documents.positions());
        let (attention, log_sum_exp) = kernels.attention(&qkv, self.heads, documents);
        let attention_rows = rows.map(|rows| rows.gather(&attention, kernels));
        let residual = rows.map_or_else(|| x.clone(), |rows| rows.gather(&x, kernels));
        let from_attention = attention_rows.as_ref().unwrap_or(&attention);
        let (middle, u_output) = self.linear(Group::Output, from_attention, around, Some(residual));
        let normed = kernels.rms_norm(&middle, &self.post_attention_layernorm, around.epsilon);
        let (gate_up, u_gate_up) = self.linear(Group::GateUp, &normed, around, None);
        let h = kernels.swiglu(&gate_up);
        let (y, u_down) = self.linear(Group::Down, &h, around, Some(middle.clone()));
        let u = [u_qkv, u_output, u_gate_up, u_down];
        (y, Saved { x, qkv_before_norm, qkv, attention, log_sum_exp, attention_rows, middle, gate_up, u })
    }

    /// The gradient of x (unless `input_gradient` is false) and of the adapters, from the gradient of the output.
    #[must_use]
    pub fn backward(
        &self,
        dy: Tensor<2>,
        saved: Saved,
        around: Surroundings<'_>,
        documents: &Documents,
        rows: Option<&Rows>,
        input_gradient: bool,
    ) -> (Option<Tensor<2>>, LayerGradients) {
        let kernels = around.kernels;
        let Saved { x, qkv_before_norm, qkv, attention, log_sum_exp, attention_rows, middle, gate_up, u } = saved;
        let backward = |group: Group, dy: &Tensor<2>, x: &Tensor<2>, needed: bool| {
            let place = group as usize;
            let adapter = around.adapters[place].as_ref().zip(u[place].as_ref());
            kernels.lora_linear_backward(dy, x, &self.linears[place].weight, adapter, needed)
        };

        let h = kernels.swiglu(&gate_up);
        let (dh, g_down) = backward(Group::Down, &dy, &h, true);
        drop(h);
        let d_gate_up = kernels.swiglu_backward(&gate_up, required(dh));
        drop(gate_up);
        let normed = kernels.rms_norm(&middle, &self.post_attention_layernorm, around.epsilon);
        let (d_normed, g_gate_up) = backward(Group::GateUp, &d_gate_up, &normed, true);
        drop((d_gate_up, normed));
        let weight = &self.post_attention_layernorm;
        let d_middle = kernels.rms_norm_backward(required(d_normed), &middle, weight, around.epsilon, Some(dy));
        let from_attention = attention_rows.as_ref().unwrap_or(&attention);
        let (d_attention, g_output) = backward(Group::Output, &d_middle, from_attention, true);
        let (d_attention, d_middle) = match rows {
            Some(rows) => (rows.scatter(required(d_attention), kernels), rows.scatter(d_middle, kernels)),
            None => (required(d_attention), d_middle),
        };
        let d_qkv = kernels.attention_backward(d_attention, &qkv, &attention, &log_sum_exp, self.heads, documents);
        drop((qkv, attention));
        let d_qkv = kernels.rope(d_qkv, self.heads, around.table, documents.positions(), Rotation::Backward);
        let d_qkv = match (&self.qk_norm, &qkv_before_norm) {
            (Some((q, k)), Some(before)) => kernels.head_norm_backward(d_qkv, before, q, k, self.heads, around.epsilon),
            _ => d_qkv,
        };
        let normed = kernels.rms_norm(&x, &self.input_layernorm, around.epsilon);
        let (d_normed, g_qkv) = backward(Group::Qkv, &d_qkv, &normed, input_gradient);
        let dx = d_normed.map(|d_normed| {
            kernels.rms_norm_backward(d_normed, &x, &self.input_layernorm, around.epsilon, Some(d_middle))
        });
        (dx, [g_qkv, g_output, g_gate_up, g_down])
    }

    /// The layer on new tokens that continue cached documents; keys and values are appended to `cache`.
    #[must_use]
    pub fn forward_cached(
        &self,
        x: Tensor<2>,
        around: Surroundings<'_>,
        documents: &CachedDocuments,
        cache: (Tensor<3>, Tensor<3>),
        append: bool,
    ) -> (Tensor<2>, (Tensor<3>, Tensor<3>)) {
        let kernels = around.kernels;
        let (projected, _) = self.projected(&x, around);
        let qkv = self.positioned(projected, around, &documents.positions());
        let attention = kernels.attention_cached(&qkv, &cache.0, &cache.1, self.heads, documents);
        let cache = if append { kernels.cache_append(cache, &qkv, self.heads, documents) } else { cache };
        let (middle, _) = self.linear(Group::Output, &attention, around, Some(x));
        let normed = kernels.rms_norm(&middle, &self.post_attention_layernorm, around.epsilon);
        let (gate_up, _) = self.linear(Group::GateUp, &normed, around, None);
        let (y, _) = self.linear(Group::Down, &kernels.swiglu(&gate_up), around, Some(middle));
        (y, cache)
    }

    fn projected(&self, x: &Tensor<2>, around: Surroundings<'_>) -> (Tensor<2>, Option<Tensor<2>>) {
        let normed = around.kernels.rms_norm(x, &self.input_layernorm, around.epsilon);
        self.linear(Group::Qkv, &normed, around, None)
    }

    fn positioned(&self, qkv: Tensor<2>, around: Surroundings<'_>, positions: &[u32]) -> Tensor<2> {
        let qkv = match &self.qk_norm {
            Some((q, k)) => around.kernels.head_norm(&qkv, q, k, self.heads, around.epsilon),
            None => qkv,
        };
        around.kernels.rope(qkv, self.heads, around.table, positions, Rotation::Forward)
    }

    fn linear(
        &self,
        group: Group,
        x: &Tensor<2>,
        around: Surroundings<'_>,
        residual: Option<Tensor<2>>,
    ) -> (Tensor<2>, Option<Tensor<2>>) {
        let Linear { weight, bias } = &self.linears[group as usize];
        around.kernels.lora_linear(x, weight, bias.as_ref(), around.adapters[group as usize].as_ref(), residual)
    }
}

#[expect(clippy::expect_used, reason = "the gradient was asked for in the call that returned it")]
fn required(gradient: Option<Tensor<2>>) -> Tensor<2> {
    gradient.expect("an input gradient was asked for")
}

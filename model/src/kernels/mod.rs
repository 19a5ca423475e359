//! Owns the custom operations of the engine: one trait, whose default bodies are the plain twins, and the list of its
//! implementations. Knows tensors and shapes; knows nothing of layers, parameters' names or files.

pub mod adamw;
pub mod attention;
pub mod cpu;
pub mod cross_entropy;
pub mod gpu;
pub mod lora_linear;
pub mod rms_norm;
pub mod rope;
pub mod swiglu;
pub mod vocabulary;

#[cfg(test)]
mod twins;

use burn::tensor::{DType, Tensor};

pub use adamw::AdamWStep;
pub use attention::{CachedDocuments, Documents, Heads};
pub use lora_linear::{LoraOperand, LoraPart, Prepared};
pub use rope::{RopeTable, Rotation};
pub use vocabulary::Vocabulary;

/// The custom operations. Every default body is the plain twin, built from framework operations only, so a new device
/// runs correctly before it runs fast, and each override has something to be tested against.
///
/// # Shapes
/// `T` tokens of one packed micro-batch, `H` hidden size, `I` MLP width, `r` adapter rank, `V` vocabulary.
/// `qkv` is `[T, (heads + 2 * kv_heads) * head_dim]`: queries, keys and values of a token side by side.
///
/// # Formats
/// Weights and activations have the format of the device. The residual stream, which is what layers add to, and its gradient
/// are f32 on every device: sixteen bits lose what many small additions bring, and f16 overflows there.
pub trait Kernels: Send + Sync {
    /// The name shown to users.
    fn name(&self) -> &'static str;

    /// `y = w * x / rms(x)` per row, x `[T, H]`, w `[H]`; y has the format of w.
    fn rms_norm(&self, x: &Tensor<2>, weight: &Tensor<1>, epsilon: f32) -> Tensor<2> {
        rms_norm::plain(x, weight, epsilon)
    }

    /// Gradient of [`Kernels::rms_norm`] with respect to x, plus `residual` when given, in the format of x.
    fn rms_norm_backward(
        &self,
        dy: Tensor<2>,
        x: &Tensor<2>,
        weight: &Tensor<1>,
        epsilon: f32,
        residual: Option<Tensor<2>>,
    ) -> Tensor<2> {
        rms_norm::plain_backward(dy, x, weight, epsilon, residual)
    }

    /// RMS norm of every query head and every key head of `qkv` (Qwen3), weights `[head_dim]`.
    fn head_norm(&self, qkv: &Tensor<2>, q: &Tensor<1>, k: &Tensor<1>, heads: Heads, epsilon: f32) -> Tensor<2> {
        rms_norm::plain_heads(qkv, q, k, heads, epsilon)
    }

    /// Gradient of [`Kernels::head_norm`] with respect to `qkv`, the values before the norm.
    fn head_norm_backward(
        &self,
        dy: Tensor<2>,
        qkv: &Tensor<2>,
        q: &Tensor<1>,
        k: &Tensor<1>,
        heads: Heads,
        epsilon: f32,
    ) -> Tensor<2> {
        rms_norm::plain_heads_backward(dy, qkv, q, k, heads, epsilon)
    }

    /// Rotates queries and keys of `qkv` by the position of their token; `Rotation::Backward` is the gradient.
    fn rope(
        &self,
        qkv: Tensor<2>,
        heads: Heads,
        table: &RopeTable,
        positions: &[u32],
        rotation: Rotation,
    ) -> Tensor<2> {
        rope::plain(qkv, heads, table, positions, rotation)
    }

    /// `silu(gate) * up` of `gate_up` `[T, 2 * I]`.
    fn swiglu(&self, gate_up: &Tensor<2>) -> Tensor<2> {
        swiglu::plain(gate_up)
    }

    /// Gradient of [`Kernels::swiglu`] with respect to `gate_up`.
    fn swiglu_backward(&self, gate_up: &Tensor<2>, dh: Tensor<2>) -> Tensor<2> {
        swiglu::plain_backward(gate_up, dh)
    }

    /// Causal attention inside each document of the pack.
    /// Returns the output `[T, heads * head_dim]` and the log-sum-exp of the scores `[T, heads]`.
    fn attention(&self, qkv: &Tensor<2>, heads: Heads, documents: &Documents) -> (Tensor<2>, Tensor<2>) {
        attention::plain(qkv, heads, documents)
    }

    /// Gradient of [`Kernels::attention`] with respect to `qkv`.
    fn attention_backward(
        &self,
        d_output: Tensor<2>,
        qkv: &Tensor<2>,
        output: &Tensor<2>,
        log_sum_exp: &Tensor<2>,
        heads: Heads,
        documents: &Documents,
    ) -> Tensor<2> {
        attention::plain_backward(d_output, qkv, output, log_sum_exp, heads, documents)
    }

    /// Attention of new tokens over cached keys and values followed by their own, for generation and scoring.
    /// `keys` and `values` are `[rows, capacity, kv_heads * head_dim]`.
    fn attention_cached(
        &self,
        qkv: &Tensor<2>,
        keys: &Tensor<3>,
        values: &Tensor<3>,
        heads: Heads,
        documents: &CachedDocuments,
    ) -> Tensor<2> {
        attention::plain_cached(qkv, keys, values, heads, documents)
    }

    /// Writes the keys and values of new tokens into the cache rows of their documents.
    fn cache_append(
        &self,
        cache: (Tensor<3>, Tensor<3>),
        qkv: &Tensor<2>,
        heads: Heads,
        documents: &CachedDocuments,
    ) -> (Tensor<3>, Tensor<3>) {
        attention::plain_append(cache, qkv, heads, documents)
    }

    /// `y = residual + x * W^T + bias + scale * (x * A^T) * B^T` with W `[out, in]`.
    /// Returns y, in the format of the residual or else of x, and, where there is an adapter, `u = x * A^T`, which
    /// may have more columns than the adapter has ranks.
    fn lora_linear(
        &self,
        x: &Tensor<2>,
        weight: &Tensor<2>,
        bias: Option<&Tensor<1>>,
        adapter: Option<&LoraOperand>,
        residual: Option<Tensor<2>>,
    ) -> (Tensor<2>, Option<Tensor<2>>) {
        lora_linear::plain(x, weight, bias, adapter, residual)
    }

    /// Gradients of [`Kernels::lora_linear`]: with respect to x unless `input_gradient` is false, and to A and then the B of
    /// each part, row by row in f32 in one piece. `dy` may have another format than the weight.
    fn lora_linear_backward(
        &self,
        dy: &Tensor<2>,
        x: &Tensor<2>,
        weight: &Tensor<2>,
        adapter: Option<(&LoraOperand, &Tensor<2>)>,
        input_gradient: bool,
    ) -> (Option<Tensor<2>>, Option<Tensor<1>>) {
        lora_linear::plain_backward(dy, x, weight, adapter, input_gradient)
    }

    /// The rows of `ids`, in f32.
    fn embed(&self, table: &Vocabulary, ids: &[u32]) -> Tensor<2> {
        vocabulary::plain_embed(table, ids)
    }

    /// Some rows, in order.
    fn gather(&self, tensor: &Tensor<2>, rows: &[u32]) -> Tensor<2> {
        vocabulary::plain_gather(tensor, rows)
    }

    /// `total` rows that are zero but for some distinct ones.
    fn scatter(&self, tensor: Tensor<2>, rows: &[u32], total: usize) -> Tensor<2> {
        vocabulary::plain_scatter(tensor, rows, total)
    }

    /// `hidden * head^T` in f32.
    fn logits(&self, hidden: &Tensor<2>, head: &Vocabulary) -> Tensor<2> {
        vocabulary::plain_logits(hidden, head)
    }

    /// Cross-entropy of `hidden * head^T` against `targets`, all rows supervised.
    /// Returns the loss of each row and, when `scale` is given, the gradient of `scale * sum(loss)` to `hidden`.
    fn cross_entropy(
        &self,
        hidden: &Tensor<2>,
        head: &Vocabulary,
        targets: &[u32],
        scale: Option<f32>,
    ) -> (Tensor<1>, Option<Tensor<2>>) {
        cross_entropy::plain(hidden, head, targets, scale)
    }

    /// Sum of the squares, in a fixed order.
    fn sum_of_squares(&self, values: &Tensor<1>) -> f64 {
        let values = values.to_data_dtype(DType::F32);
        values.iter::<f32>().map(|value| f64::from(value) * f64::from(value)).sum()
    }

    /// One AdamW step over flat buffers; the gradient is scaled by the clip factor first.
    fn adamw(
        &self,
        state: adamw::Moments,
        parameters: Tensor<1>,
        gradient: Tensor<1>,
        step: AdamWStep,
    ) -> (adamw::Moments, Tensor<1>) {
        adamw::plain(state, parameters, gradient, step)
    }
}

/// GPU backends read the bytes of a second operand with the type of the first, without an error, so every product of
/// two tensors is preceded by this.
///
/// # Panics
/// When the types differ, which is a defect of the engine.
pub(crate) fn same_type(what: &str, a: DType, b: DType) {
    assert_eq!(a, b, "{what}: operands of different types");
}

/// Framework operations only: right everywhere, fast nowhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Kernels for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }
}

//! Owns what is asked of the head on a GPU: logits, and cross-entropy without whole logits. Knows tensors and arrays; the
//! mathematics stands in the kernels.

use burn::tensor::Tensor;
use cube::Array;
use cube::loss::Softmax;
use cube::product::Product;
use cubecl::prelude::*;

use super::values::Values;
use crate::kernels::Vocabulary;

/// Bytes of logits that are held at once.
const LOGITS: usize = 256 << 20;
/// Rows are taken in multiples of what fills the tiles of a product.
const ROWS: usize = 128;

/// See `Kernels::logits`.
pub(super) fn logits(hidden: &Tensor<2>, head: &Vocabulary) -> Tensor<2> {
    let hidden = Values::read(hidden);
    let wide = f32::elem_type_native();
    let piece = |piece: &Tensor<2>| {
        hidden.matrix(Product::of(hidden.array.plain(), Values::read(piece).array.transposed()).run(wide))
    };
    let mut pieces: Vec<Tensor<2>> = head.pieces.iter().map(piece).collect();
    if pieces.len() == 1 { pieces.remove(0) } else { Tensor::cat(pieces, 1) }
}

/// See `Kernels::cross_entropy`.
pub(super) fn cross_entropy(
    hidden: &Tensor<2>,
    head: &Vocabulary,
    targets: &[u32],
    scale: Option<f32>,
) -> (Tensor<1>, Option<Tensor<2>>) {
    let [_, width] = hidden.dims();
    let head: Vec<Array> = head.pieces.iter().map(|piece| Values::read(piece).array).collect();
    let columns: usize = head.iter().map(|piece| piece.shape[0]).sum();
    let step = (LOGITS / (columns * hidden.dtype().size()) / ROWS * ROWS).max(ROWS);
    let (mut losses, mut gradients) = (Vec::new(), Vec::new());
    for (chunk, targets) in targets.chunks(step).enumerate() {
        let start = chunk * step;
        let hidden = Values::read(&hidden.clone().slice([start..start + targets.len(), 0..width]));
        let dtype = hidden.array.dtype;
        let logits: Vec<Array> =
            head.iter().map(|piece| Product::of(hidden.array.plain(), piece.transposed()).run(dtype)).collect();
        let targets = hidden.upload("targets", targets);
        let softmax = Softmax::of(&logits, Some(&targets));
        if let Some(scale) = scale {
            let mut offset = 0;
            for piece in &logits {
                softmax.gradient(piece, offset, &targets, scale);
                offset += piece.shape[1];
            }
            gradients.push(hidden.matrix(backward(&logits, &head, dtype)));
        }
        let rows = softmax.losses.length();
        losses.push(hidden.tensor(softmax.losses, [rows]));
    }
    (joined(losses), scale.map(|_| joined(gradients)))
}

/// The sum of `gradient * head` over the pieces, kept in f32 until it is whole.
fn backward(gradients: &[Array], head: &[Array], dtype: ElemType) -> Array {
    let mut sum: Option<Array> = None;
    for (at, (gradient, piece)) in gradients.iter().zip(head).enumerate() {
        let product = Product { residual: sum.as_ref(), ..Product::of(gradient.plain(), piece.plain()) };
        let last = at + 1 == head.len();
        sum = Some(product.run(if last { dtype } else { f32::elem_type_native() }));
    }
    #[expect(clippy::expect_used, reason = "a vocabulary has a token")]
    sum.expect("a head has a piece")
}

fn joined<const D: usize>(mut parts: Vec<Tensor<D>>) -> Tensor<D> {
    if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, 0) }
}

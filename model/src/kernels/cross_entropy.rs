//! Owns linear + cross-entropy over supervised rows without whole logits: the chunk size and the plain twin.
//! Knows nothing of masks: every row it gets has a target. The head is frozen, so its gradient does not exist.

use burn::tensor::{DType, Int, Tensor, TensorData};

use super::{Vocabulary, vocabulary};

/// Bytes of f32 logits one chunk may take.
const CHUNK_BYTES: usize = 64 << 20;

/// Rows per chunk for a vocabulary.
#[must_use]
pub fn chunk_rows(vocabulary: usize) -> usize {
    (CHUNK_BYTES / (4 * vocabulary)).max(16)
}

/// Plain twin of `Kernels::cross_entropy`.
pub fn plain(
    hidden: &Tensor<2>,
    head: &Vocabulary,
    targets: &[u32],
    scale: Option<f32>,
) -> (Tensor<1>, Option<Tensor<2>>) {
    let [_, width] = hidden.dims();
    let vocabulary = head.size();
    let device = hidden.device();
    let mut losses = Vec::new();
    let mut gradients = Vec::new();
    for (chunk, targets) in targets.chunks(chunk_rows(vocabulary)).enumerate() {
        let start = chunk * chunk_rows(vocabulary);
        let rows = targets.len();
        let indices: Vec<i32> = targets.iter().map(|&target| target as i32).collect();
        let indices = Tensor::<2, Int>::from_data(TensorData::new(indices, [rows, 1]), &device);
        let hidden = hidden.clone().slice([start..start + rows, 0..width]);
        let logits = vocabulary::plain_logits(&hidden, head);
        let peak = logits.clone().max_dim(1);
        let shifted = logits - peak;
        let log_sum = shifted.clone().exp().sum_dim(1).log();
        let chosen = shifted.clone().gather(1, indices.clone());
        losses.push((log_sum.clone() - chosen).reshape([rows]));
        if let Some(scale) = scale {
            let softmax = (shifted - log_sum).exp();
            let ones = Tensor::<2>::ones([rows, 1], (&device, DType::F32)) * -1.0;
            let d_logits = softmax.scatter(1, indices, ones, burn::tensor::IndexingUpdateOp::Add) * scale;
            let piece = |(first, piece): (usize, &Tensor<2>)| {
                let columns = d_logits.clone().slice([0..rows, first..first + piece.dims()[0]]);
                columns.cast(head.dtype()).matmul(piece.clone())
            };
            let pieces: Option<Tensor<2>> = head.offsets().map(piece).reduce(|sum, piece| sum + piece);
            gradients.extend(pieces);
        }
    }
    (Tensor::cat(losses, 0), scale.map(|_| Tensor::cat(gradients, 0)))
}

/// Loss of one row of logits on slices; the row becomes `scale * (softmax - onehot)`.
#[inline(always)]
pub(super) fn row(logits: &mut [f32], target: usize, scale: f32) -> f32 {
    let peak = super::cpu::simd::maximum(logits);
    let chosen = logits[target] - peak;
    let sum = super::cpu::simd::exp_in_place(logits, peak);
    let factor = scale / sum;
    for logit in logits.iter_mut() {
        *logit *= factor;
    }
    logits[target] -= scale;
    sum.ln() - chosen
}

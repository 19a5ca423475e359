//! Owns moving whole rows on the CPU: out of a table by index, and back among rows of zeros.
//! Knows no mathematics and no vocabulary. An index that is no row stops the program: ids are checked where they enter.

use burn::tensor::Tensor;

use super::host::{Host, tensor};

/// The rows of `indices`, in order; `[indices, width]`.
pub(super) fn gathered(table: &Tensor<2>, indices: &[u32]) -> Tensor<2> {
    let [_, width] = table.dims();
    let table = Host::read(table);
    let mut out = Vec::with_capacity(indices.len() * width);
    for &index in indices {
        out.extend_from_slice(&table.values()[index as usize * width..][..width]);
    }
    tensor(out, [indices.len(), width])
}

/// `total` rows that are zero but for those of `indices`, which are distinct.
pub(super) fn scattered(from: &Tensor<2>, indices: &[u32], total: usize) -> Tensor<2> {
    let [_, width] = from.dims();
    let from = Host::read(from);
    let mut out = vec![0.0; total * width];
    for (values, &index) in from.values().chunks_exact(width).zip(indices) {
        out[index as usize * width..][..width].copy_from_slice(values);
    }
    tensor(out, [total, width])
}

//! Owns a table with one row a token of the vocabulary (embedding or head), cut by rows into pieces that a device can bind,
//! and the plain twins of what is asked of
//! it and of rows in general. Knows neither which table it is nor how it was loaded.

use burn::tensor::{DType, Device, IndexingUpdateOp, Int, Tensor, TensorData};

use super::same_type;

/// `[vocab_size, hidden_size]` in pieces of equal height; the last may be lower.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// The pieces in order.
    pub pieces: Vec<Tensor<2>>,
}

impl From<Tensor<2>> for Vocabulary {
    fn from(whole: Tensor<2>) -> Self {
        Vocabulary { pieces: vec![whole] }
    }
}

impl Vocabulary {
    /// Tokens.
    #[must_use]
    pub fn size(&self) -> usize {
        self.pieces.iter().map(|piece| piece.dims()[0]).sum()
    }

    /// Values a token.
    #[must_use]
    pub fn width(&self) -> usize {
        self.pieces.first().map_or(0, |piece| piece.dims()[1])
    }

    /// How the values are stored.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.pieces.first().map_or(DType::F32, Tensor::dtype)
    }

    /// Each piece with its first token.
    pub fn offsets(&self) -> impl Iterator<Item = (usize, &Tensor<2>)> {
        self.pieces.iter().scan(0, |end, piece| {
            let first = *end;
            *end += piece.dims()[0];
            Some((first, piece))
        })
    }

    /// All rows as one tensor, for proofs.
    #[must_use]
    pub fn whole(&self) -> Tensor<2> {
        match self.pieces.as_slice() {
            [one] => one.clone(),
            pieces => Tensor::cat(pieces.to_vec(), 0),
        }
    }

    /// Rows of a piece when none may be larger than `bytes`.
    #[must_use]
    pub fn height(vocab_size: usize, width: usize, dtype: DType, bytes: u64) -> usize {
        let row = (width * dtype.size()) as u64;
        let pieces = (vocab_size as u64 * row).div_ceil(bytes.max(row)).max(1);
        vocab_size.div_ceil(pieces as usize)
    }
}

/// Plain twin of `Kernels::embed`.
pub fn plain_embed(table: &Vocabulary, ids: &[u32]) -> Tensor<2> {
    let mut sum: Option<Tensor<2>> = None;
    for (first, piece) in table.offsets() {
        let (device, rows) = (piece.device(), piece.dims()[0]);
        let inside = |id: u32| (first..first + rows).contains(&(id as usize));
        let indices: Vec<i32> = ids.iter().map(|&id| if inside(id) { id as i32 - first as i32 } else { 0 }).collect();
        let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [ids.len()]), &device);
        let found = piece.clone().select(0, indices).cast(DType::F32);
        if table.pieces.len() == 1 {
            return found;
        }
        let kept: Vec<f32> = ids.iter().map(|&id| if inside(id) { 1.0 } else { 0.0 }).collect();
        let kept = Tensor::<2>::from_data(TensorData::new(kept, [ids.len(), 1]), (&device, DType::F32));
        let found = found * kept;
        sum = Some(match sum {
            Some(sum) => sum + found,
            None => found,
        });
    }
    #[expect(clippy::expect_used, reason = "a vocabulary has a token")]
    sum.expect("a vocabulary has a piece")
}

/// Plain twin of `Kernels::gather`.
pub fn plain_gather(tensor: &Tensor<2>, rows: &[u32]) -> Tensor<2> {
    tensor.clone().select(0, indices(rows, &tensor.device()))
}

/// Plain twin of `Kernels::scatter`.
pub fn plain_scatter(tensor: Tensor<2>, rows: &[u32], total: usize) -> Tensor<2> {
    let ([_, width], device) = (tensor.dims(), tensor.device());
    let zeros = Tensor::zeros([total, width], (&device, tensor.dtype()));
    zeros.select_assign(0, indices(rows, &device), tensor, IndexingUpdateOp::Add)
}

fn indices(rows: &[u32], device: &Device) -> Tensor<1, Int> {
    let indices: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
    Tensor::from_data(TensorData::new(indices, [rows.len()]), device)
}

/// Plain twin of `Kernels::logits`.
pub fn plain_logits(hidden: &Tensor<2>, head: &Vocabulary) -> Tensor<2> {
    same_type("logits", hidden.dtype(), head.dtype());
    let pieces = head.pieces.iter().map(|piece| hidden.clone().matmul(piece.clone().transpose()).cast(DType::F32));
    let mut pieces: Vec<_> = pieces.collect();
    if pieces.len() == 1 { pieces.remove(0) } else { Tensor::cat(pieces, 1) }
}

//! Owns rotary positions, half-rotation form (Hugging Face order): the table, the plain twin and the slice kernel.
//! Knows positions as numbers; where they restart is the pack's business.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::Heads;

/// Cosines and sines for every position up to a length.
#[derive(Clone, Debug)]
pub struct RopeTable {
    /// `[positions, head_dim / 2]`.
    pub cos: Tensor<2>,
    /// `[positions, head_dim / 2]`.
    pub sin: Tensor<2>,
}

/// Whether values are rotated forward or, as the gradient needs, back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// By `+angle`.
    Forward,
    /// By `-angle`.
    Backward,
}

impl RopeTable {
    /// A table for positions `0..length` from the inverse frequencies and the attention factor of the configuration.
    #[must_use]
    pub fn new(inverse_frequencies: &[f32], factor: f32, length: usize, device: &Device) -> Self {
        let half = inverse_frequencies.len();
        let (cos, sin) = angles(inverse_frequencies, factor, length);
        let tensor =
            |values: Vec<f32>| Tensor::from_data(TensorData::new(values, [length, half]), (device, DType::F32));
        RopeTable { cos: tensor(cos), sin: tensor(sin) }
    }

    /// How many positions the table covers.
    #[must_use]
    pub fn length(&self) -> usize {
        self.cos.dims()[0]
    }
}

/// Cosines and sines of positions `0..length`, `[length, head_dim / 2]` each, times the attention factor.
#[must_use]
pub fn angles(inverse_frequencies: &[f32], factor: f32, length: usize) -> (Vec<f32>, Vec<f32>) {
    let values = length * inverse_frequencies.len();
    let (mut cos, mut sin) = (Vec::with_capacity(values), Vec::with_capacity(values));
    for position in 0..length {
        for frequency in inverse_frequencies {
            // The angle is formed in f32, as the reference implementations form it.
            let angle = position as f32 * frequency;
            cos.push(angle.cos() * factor);
            sin.push(angle.sin() * factor);
        }
    }
    (cos, sin)
}

/// Plain twin of `Kernels::rope`.
pub fn plain(qkv: Tensor<2>, heads: Heads, table: &RopeTable, positions: &[u32], rotation: Rotation) -> Tensor<2> {
    let [tokens, width] = qkv.dims();
    let dtype = qkv.dtype();
    let device = qkv.device();
    let half = heads.head_dim / 2;
    let rotated_heads = heads.query + heads.key_value;
    let indices: Vec<i32> = positions.iter().map(|&position| position as i32).collect();
    let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [tokens]), &device);
    let gather = |table: &Tensor<2>| -> Tensor<3> {
        table.clone().select(0, indices.clone()).cast(dtype).reshape([tokens, 1, half])
    };
    let cos = gather(&table.cos);
    let sin = match rotation {
        Rotation::Forward => gather(&table.sin),
        Rotation::Backward => gather(&table.sin) * -1.0,
    };
    let rotated_width = rotated_heads * heads.head_dim;
    let x = qkv.clone().slice([0..tokens, 0..rotated_width]).reshape([tokens, rotated_heads, heads.head_dim]);
    let first = x.clone().slice([0..tokens, 0..rotated_heads, 0..half]);
    let second = x.slice([0..tokens, 0..rotated_heads, half..heads.head_dim]);
    let y_first = first.clone() * cos.clone() - second.clone() * sin.clone();
    let y_second = second * cos + first * sin;
    let y = Tensor::cat(vec![y_first, y_second], 2).reshape([tokens, rotated_width]);
    Tensor::cat(vec![y, qkv.slice([0..tokens, rotated_width..width])], 1)
}

/// One token on slices: every head in `heads` (queries and keys side by side) is rotated in place.
#[inline(always)]
pub(super) fn row(heads: &mut [f32], cos: &[f32], sin: &[f32], rotation: Rotation) {
    let half = cos.len();
    let sign = match rotation {
        Rotation::Forward => 1.0,
        Rotation::Backward => -1.0,
    };
    for head in heads.chunks_exact_mut(2 * half) {
        let (first, second) = head.split_at_mut(half);
        for (((a, b), c), s) in first.iter_mut().zip(second).zip(cos).zip(sin) {
            let (x, y, s) = (*a, *b, s * sign);
            *a = x * c - y * s;
            *b = y * c + x * s;
        }
    }
}

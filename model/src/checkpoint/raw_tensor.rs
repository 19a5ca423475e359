//! A tensor as a checkpoint stores it: shape, type and little-endian bytes, and its conversion to f32 and bf16.
//! Knows no names and no file format.

use std::borrow::Cow;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

/// Number types in which weights are handed out. Quantised weights are handed out as f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredType {
    /// 32-bit IEEE.
    F32,
    /// 16-bit IEEE.
    F16,
    /// The upper half of an f32.
    BF16,
}

impl StoredType {
    /// Bytes per number.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }
}

/// One tensor, borrowed from the file where it can be.
#[derive(Clone, Debug)]
pub struct RawTensor<'a> {
    /// Dimensions, slowest first.
    pub shape: Vec<usize>,
    /// The type of `bytes`.
    pub dtype: StoredType,
    /// Little-endian numbers, rows one after another.
    pub bytes: Cow<'a, [u8]>,
}

/// Numbers per parallel piece: large enough to hide the cost of a task.
const PIECE: usize = 1 << 16;

impl RawTensor<'_> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// No elements at all.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// A copy in f32; exact for every stored type.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.len()];
        out.par_chunks_mut(PIECE)
            .zip(self.bytes.par_chunks(PIECE * self.dtype.size()))
            .for_each(|(out, bytes)| widen(self.dtype, bytes, out));
        out
    }

    /// The numbers from element `from` on as f32, as many as `out` has places.
    pub(crate) fn widen(&self, from: usize, out: &mut [f32]) {
        let bytes = &self.bytes[from * self.dtype.size()..][..out.len() * self.dtype.size()];
        widen(self.dtype, bytes, out);
    }

    /// A copy in bf16, rounded to nearest even; exact if bf16 is what is stored.
    pub fn to_bf16(&self) -> Vec<bf16> {
        let mut out = vec![bf16::ZERO; self.len()];
        out.par_chunks_mut(PIECE).zip(self.bytes.par_chunks(PIECE * self.dtype.size())).for_each_init(
            || vec![0.0; PIECE.min(self.len())],
            |wide, (out, bytes)| {
                if self.dtype == StoredType::BF16 {
                    for (to, from) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                        *to = bf16::from_le_bytes([from[0], from[1]]);
                    }
                } else {
                    let wide = &mut wide[..out.len()];
                    widen(self.dtype, bytes, wide);
                    out.convert_from_f32_slice(wide);
                }
            },
        );
        out
    }
}

/// Widens little-endian numbers. The fast paths need aligned bytes and a little-endian machine; the others do not.
fn widen(dtype: StoredType, bytes: &[u8], out: &mut [f32]) {
    let native = cfg!(target_endian = "little");
    match dtype {
        StoredType::F32 => {
            for (to, from) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                *to = f32::from_le_bytes([from[0], from[1], from[2], from[3]]);
            }
        }
        StoredType::F16 => match bytemuck::try_cast_slice::<u8, f16>(bytes) {
            Ok(halves) if native => halves.convert_to_f32_slice(out),
            _ => {
                for (to, from) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *to = f16::from_le_bytes([from[0], from[1]]).to_f32();
                }
            }
        },
        StoredType::BF16 => {
            for (to, from) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                *to = f32::from_bits(u32::from(u16::from_le_bytes([from[0], from[1]])) << 16);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn tensor(dtype: StoredType, bytes: &[u8]) -> RawTensor<'_> {
        RawTensor { shape: vec![bytes.len() / dtype.size()], dtype, bytes: Cow::Borrowed(bytes) }
    }

    #[test]
    fn every_half_widens_exactly_at_any_alignment() {
        let mut bytes = vec![0_u8];
        bytes.extend((0..=u16::MAX).flat_map(u16::to_le_bytes));
        for dtype in [StoredType::F16, StoredType::BF16] {
            let shifted = tensor(dtype, &bytes[1..]).to_f32();
            let aligned_copy = bytes[1..].to_vec();
            let aligned = tensor(dtype, &aligned_copy).to_f32();
            for (bits, (one, two)) in (0..=u16::MAX).zip(shifted.iter().zip(&aligned)) {
                let expected = if dtype == StoredType::F16 {
                    f16::from_bits(bits).to_f32()
                } else {
                    bf16::from_bits(bits).to_f32()
                };
                assert!(expected.is_nan() && one.is_nan() && two.is_nan() || expected == *one && expected == *two);
            }
        }
    }

    #[test]
    fn narrowing_rounds_to_nearest_even() {
        let values = [1.0_f32, 1.003_906_3, 1.011_718_8, -3.17, 1e-30];
        let bytes: Vec<u8> = values.iter().flat_map(|one| one.to_le_bytes()).collect();
        let narrow = tensor(StoredType::F32, &bytes).to_bf16();
        assert_eq!(narrow, values.map(bf16::from_f32));
        let halves: Vec<u8> = values.iter().flat_map(|one| bf16::from_f32(*one).to_le_bytes()).collect();
        assert_eq!(tensor(StoredType::BF16, &halves).to_bf16(), values.map(bf16::from_f32));
    }
}

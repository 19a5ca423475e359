//! The number formats of GGUF: how many bytes a block has, what its weights are as f32, and how they are rounded to it.
//! Knows no file and no tensor names. Layouts are those of ggml's `ggml-quants`.

use half::f16;
use half::slice::HalfFloatSliceExt;

mod k_quants;
mod quantise;

/// A number format of a GGUF file that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockType {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

/// What is known of a format: its code in the file, name, weights and bytes per block.
const FORMATS: [(BlockType, u32, &str, usize, usize); 10] = [
    (BlockType::F32, 0, "F32", 1, 4),
    (BlockType::F16, 1, "F16", 1, 2),
    (BlockType::BF16, 30, "BF16", 1, 2),
    (BlockType::Q4_0, 2, "Q4_0", 32, 18),
    (BlockType::Q4_1, 3, "Q4_1", 32, 20),
    (BlockType::Q5_0, 6, "Q5_0", 32, 22),
    (BlockType::Q8_0, 8, "Q8_0", 32, 34),
    (BlockType::Q4K, 12, "Q4_K", 256, 144),
    (BlockType::Q5K, 13, "Q5_K", 256, 176),
    (BlockType::Q6K, 14, "Q6_K", 256, 210),
];

impl BlockType {
    /// The format with a code, or the name of the code for a message.
    pub(super) fn from_code(code: u32) -> Result<Self, String> {
        FORMATS.iter().find(|format| format.1 == code).map(|format| format.0).ok_or_else(|| {
            let name = match code {
                7 => "Q5_1",
                9 => "Q8_1",
                10 => "Q2_K",
                11 => "Q3_K",
                15 => "Q8_K",
                16..=23 | 29 => "an IQ format",
                24..=28 => "integers or f64",
                34 | 35 => "a ternary format",
                39 => "MXFP4",
                _ => "an unknown format",
            };
            let known = FORMATS.map(|format| format.2).join(", ");
            format!("{name} (code {code}; readable are {known})")
        })
    }

    /// The code of the format in a file.
    pub(crate) fn code(self) -> u32 {
        self.format().1
    }

    /// The name of the format as ggml writes it.
    pub(crate) fn name(self) -> &'static str {
        self.format().2
    }

    /// Weights per block.
    pub(crate) fn weights(self) -> usize {
        self.format().3
    }

    /// Bytes per block.
    pub(crate) fn bytes(self) -> usize {
        self.format().4
    }

    fn format(self) -> &'static (Self, u32, &'static str, usize, usize) {
        // Every variant is in the table, which a test checks; the fallback is never taken.
        FORMATS.iter().find(|format| format.0 == self).unwrap_or(&FORMATS[0])
    }

    /// Writes the weights of whole blocks to `out`, which has exactly as many places.
    pub(crate) fn dequantise(self, blocks: &[u8], out: &mut [f32]) {
        let block = match self {
            Self::F32 => |b: &[u8], out: &mut [f32]| out[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            Self::F16 => |b: &[u8], out: &mut [f32]| out[0] = half(b, 0),
            Self::BF16 => |b: &[u8], out: &mut [f32]| out[0] = half::bf16::from_le_bytes([b[0], b[1]]).to_f32(),
            Self::Q4_0 => q4_0,
            Self::Q4_1 => q4_1,
            Self::Q5_0 => q5_0,
            Self::Q8_0 => q8_0,
            Self::Q4K => q4_k,
            Self::Q5K => q5_k,
            Self::Q6K => q6_k,
        };
        for (from, to) in blocks.chunks_exact(self.bytes()).zip(out.chunks_exact_mut(self.weights())) {
            block(from, to);
        }
    }

    /// Rounds whole blocks of weights to `out`, which has exactly as many bytes; the inverse of [`Self::dequantise`].
    /// `None` for Q4_1, which is read and never chosen.
    pub(crate) fn quantise(self, weights: &[f32], out: &mut [u8]) -> Option<()> {
        let block: fn(&[f32], &mut [u8]) = match self {
            Self::F32 => {
                out.as_chunks_mut::<4>().0.iter_mut().zip(weights).for_each(|(to, from)| *to = from.to_le_bytes());
                return Some(());
            }
            Self::F16 => {
                narrow(out, weights, |wide, narrow: &mut [f16]| narrow.convert_from_f32_slice(wide), f16::to_le_bytes);
                return Some(());
            }
            Self::BF16 => {
                let each = out.as_chunks_mut::<2>().0.iter_mut().zip(weights);
                each.for_each(|(to, from)| *to = half::bf16::from_f32(*from).to_le_bytes());
                return Some(());
            }
            Self::Q4_1 => return None,
            Self::Q4_0 => quantise::q4_0,
            Self::Q5_0 => quantise::q5_0,
            Self::Q8_0 => quantise::q8_0,
            Self::Q4K => k_quants::q4_k,
            Self::Q5K => k_quants::q5_k,
            Self::Q6K => k_quants::q6_k,
        };
        for (from, to) in weights.chunks_exact(self.weights()).zip(out.chunks_exact_mut(self.bytes())) {
            block(from, to);
        }
        Some(())
    }
}

/// Narrows in pieces that the processor's own instructions convert.
fn narrow<T: Copy + Default>(
    out: &mut [u8],
    weights: &[f32],
    convert: impl Fn(&[f32], &mut [T]),
    bytes: impl Fn(T) -> [u8; 2],
) {
    const PIECE: usize = 256;
    let mut piece = [T::default(); PIECE];
    for (out, weights) in out.chunks_mut(2 * PIECE).zip(weights.chunks(PIECE)) {
        let piece = &mut piece[..weights.len()];
        convert(weights, piece);
        out.as_chunks_mut::<2>().0.iter_mut().zip(piece.iter()).for_each(|(to, from)| *to = bytes(*from));
    }
}

/// A 16-bit number inside a block.
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn q4_0(block: &[u8], out: &mut [f32]) {
    let scale = half(block, 0);
    for (i, byte) in block[2..18].iter().enumerate() {
        out[i] = scale * (i32::from(byte & 15) - 8) as f32;
        out[i + 16] = scale * (i32::from(byte >> 4) - 8) as f32;
    }
}

fn q4_1(block: &[u8], out: &mut [f32]) {
    let (scale, least) = (half(block, 0), half(block, 2));
    for (i, byte) in block[4..20].iter().enumerate() {
        out[i] = scale * f32::from(byte & 15) + least;
        out[i + 16] = scale * f32::from(byte >> 4) + least;
    }
}

fn q5_0(block: &[u8], out: &mut [f32]) {
    let scale = half(block, 0);
    let high = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
    for (i, byte) in block[6..22].iter().enumerate() {
        let fifth = |at: usize| ((high >> at) & 1) << 4;
        out[i] = scale * ((u32::from(byte & 15) | fifth(i)) as i32 - 16) as f32;
        out[i + 16] = scale * ((u32::from(byte >> 4) | fifth(i + 16)) as i32 - 16) as f32;
    }
}

fn q8_0(block: &[u8], out: &mut [f32]) {
    let scale = half(block, 0);
    for (to, byte) in out.iter_mut().zip(&block[2..34]) {
        *to = scale * f32::from(*byte as i8);
    }
}

/// Scale and minimum of the eight groups of a Q4_K or Q5_K block, six bits each, packed in twelve bytes.
fn six_bit_pair(packed: &[u8], group: usize) -> (f32, f32) {
    let (scale, least) = if group < 4 {
        (packed[group] & 63, packed[group + 4] & 63)
    } else {
        (
            (packed[group + 4] & 15) | ((packed[group - 4] >> 6) << 4),
            (packed[group + 4] >> 4) | ((packed[group] >> 6) << 4),
        )
    };
    (f32::from(scale), f32::from(least))
}

fn q4_k(block: &[u8], out: &mut [f32]) {
    let (scale, least) = (half(block, 0), half(block, 2));
    for (group, to) in out.chunks_exact_mut(32).enumerate() {
        let (own_scale, own_least) = six_bit_pair(&block[4..16], group);
        let (d, m) = (scale * own_scale, least * own_least);
        let low = &block[16 + group / 2 * 32..][..32];
        for (to, byte) in to.iter_mut().zip(low) {
            *to = d * f32::from((byte >> (group % 2 * 4)) & 15) - m;
        }
    }
}

fn q5_k(block: &[u8], out: &mut [f32]) {
    let (scale, least) = (half(block, 0), half(block, 2));
    let high = &block[16..48];
    for (group, to) in out.chunks_exact_mut(32).enumerate() {
        let (own_scale, own_least) = six_bit_pair(&block[4..16], group);
        let (d, m) = (scale * own_scale, least * own_least);
        let low = &block[48 + group / 2 * 32..][..32];
        for ((to, byte), high) in to.iter_mut().zip(low).zip(high) {
            *to = d * f32::from((byte >> (group % 2 * 4)) & 15 | ((high >> group) & 1) << 4) - m;
        }
    }
}

fn q6_k(block: &[u8], out: &mut [f32]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let scale = half(block, 208);
    for (group, to) in out.chunks_exact_mut(32).enumerate() {
        // Two halves of 128 weights; in each, four groups of 32 share 64 low bytes and 32 high bytes.
        let (part, quarter) = (group / 4, group % 4);
        let low = &low[part * 64 + quarter % 2 * 32..][..32];
        let high = &high[part * 32..][..32];
        for (i, to) in to.iter_mut().enumerate() {
            let bits = (low[i] >> (quarter / 2 * 4)) & 15 | ((high[i] >> (quarter * 2)) & 3) << 4;
            *to = scale * f32::from(scales[group * 2 + i / 16] as i8) * (f32::from(bits) - 32.0);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    /// The block of the golden script: pseudo-random bytes with the scales overwritten by small numbers.
    fn sample(format: BlockType) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..format.bytes()).map(|i| ((i * i * 31 + i * 17 + 5) % 251) as u8).collect();
        let scales: &[(usize, u16)] = match format {
            BlockType::F32 | BlockType::F16 | BlockType::BF16 => &[],
            BlockType::Q4_0 | BlockType::Q5_0 | BlockType::Q8_0 => &[(0, 0x2A66)],
            BlockType::Q4_1 | BlockType::Q4K | BlockType::Q5K => &[(0, 0x2A66), (2, 0x2E00)],
            BlockType::Q6K => &[(208, 0x2A66)],
        };
        for (at, bits) in scales {
            bytes[*at..at + 2].copy_from_slice(&bits.to_le_bytes());
        }
        bytes
    }

    // The values are printed by tests/golden/gguf_blocks.py, which asks the reference package `gguf`.
    #[test]
    fn every_format_gives_the_values_of_the_reference_package() {
        let golden: [(BlockType, f64, f64, [f64; 4]); 7] = [
            (
                BlockType::Q4_0,
                -0.24993896484375,
                13.24676513671875,
                [-0.24993896484375, -0.199951171875, -0.04998779296875, 0.24993896484375],
            ),
            (
                BlockType::Q5_0,
                -1.8995361328125,
                -27.64324951171875,
                [0.54986572265625, 0.44989013671875, -0.34991455078125, -0.0999755859375],
            ),
            (
                BlockType::Q8_0,
                -32.4920654296875,
                -674.035400390625,
                [-4.64886474609375, 4.198974609375, -1.399658203125, -3.34918212890625],
            ),
            (
                BlockType::Q4_1,
                15.34698486328125,
                250.4501953125,
                [0.24371337890625, 0.09375, 0.49365234375, 0.7935791015625],
            ),
            (
                BlockType::Q4K,
                2126.3895263671875,
                333613.70819091797,
                [-4.21893310546875, -3.61907958984375, 7.10394287109375, 5.272705078125],
            ),
            (
                BlockType::Q5K,
                5241.4288330078125,
                834623.4114990234,
                [-2.5693359375, -0.769775390625, 13.852294921875, 2.92327880859375],
            ),
            (
                BlockType::Q6K,
                -970.56298828125,
                -137897.92529296875,
                [9.8975830078125, 9.8975830078125, -56.6861572265625, 18.4954833984375],
            ),
        ];
        for (format, total, moment, picks) in golden {
            let size = format.weights();
            let mut out = vec![f32::NAN; size];
            format.dequantise(&sample(format), &mut out);
            assert_eq!([0, 1, size / 2 + 3, size - 1].map(|at| f64::from(out[at])), picks, "{format:?}");
            assert_eq!(out.iter().map(|one| f64::from(*one)).sum::<f64>(), total, "{format:?}");
            let found: f64 = out.iter().enumerate().map(|(at, one)| f64::from(*one) * at as f64).sum();
            assert!((found - moment).abs() < 1e-6, "{format:?}: {found} instead of {moment}");
        }
    }

    #[test]
    fn every_format_is_in_the_table_under_its_own_code() {
        for (format, code, _, weights, bytes) in FORMATS {
            assert_eq!(BlockType::from_code(code), Ok(format));
            assert_eq!((format.weights(), format.bytes()), (weights, bytes));
        }
        assert!(BlockType::from_code(10).unwrap_err().contains("Q2_K"));
        assert!(BlockType::from_code(9999).unwrap_err().contains("9999"));
    }
}

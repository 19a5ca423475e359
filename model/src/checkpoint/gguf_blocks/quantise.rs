//! Rounds weights to the plain block formats: one scale a block of 32, no super-blocks.
//! Knows no file and no tensor. Each function is the inverse of the one in `gguf_blocks.rs` and follows ggml's
//! `quantize_row_*_ref`.

use half::f16;

/// 34 bytes: `d = max|w| / 127`, then 32 signed bytes `round(w / d)`. Error at most `d / 2` and the rounding of `d`.
pub(super) fn q8_0(weights: &[f32], block: &mut [u8]) {
    let scale = largest(weights).abs() / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    put_half(block, 0, scale);
    for (to, weight) in block[2..34].iter_mut().zip(weights) {
        *to = (weight * inverse).round() as i8 as u8;
    }
}

/// 18 bytes: `d = w_max / -8` with the sign of the largest weight, then 32 nibbles `w / d + 8`.
pub(super) fn q4_0(weights: &[f32], block: &mut [u8]) {
    let scale = largest(weights) / -8.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    put_half(block, 0, scale);
    let level = |weight: f32| ((weight * inverse + 8.5) as i8).min(15) as u8;
    for (i, to) in block[2..18].iter_mut().enumerate() {
        *to = level(weights[i]) | (level(weights[i + 16]) << 4);
    }
}

/// 22 bytes: `d = w_max / -16`, the fifth bits of all 32 as one word, then 32 nibbles.
pub(super) fn q5_0(weights: &[f32], block: &mut [u8]) {
    let scale = largest(weights) / -16.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    put_half(block, 0, scale);
    let level = |weight: f32| ((weight * inverse + 16.5) as i8).min(31) as u8;
    let mut fifth = 0_u32;
    for i in 0..16 {
        let (low, high) = (level(weights[i]), level(weights[i + 16]));
        block[6 + i] = (low & 15) | ((high & 15) << 4);
        fifth |= u32::from(low >> 4) << i | u32::from(high >> 4) << (i + 16);
    }
    block[2..6].copy_from_slice(&fifth.to_le_bytes());
}

/// A 16-bit number inside a block.
pub(super) fn put_half(block: &mut [u8], at: usize, value: f32) {
    block[at..at + 2].copy_from_slice(&f16::from_f32(value).to_le_bytes());
}

/// The weight with the largest magnitude, the first of equal ones, with its sign.
fn largest(weights: &[f32]) -> f32 {
    weights.iter().fold(0.0_f32, |best, weight| if weight.abs() > best.abs() { *weight } else { best })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::BlockType;
    use crate::dropout::normal;

    fn round_trip(format: BlockType, weights: &[f32]) -> Vec<f32> {
        let mut blocks = vec![0; weights.len() / format.weights() * format.bytes()];
        format.quantise(weights, &mut blocks).unwrap();
        let mut out = vec![f32::NAN; weights.len()];
        format.dequantise(&blocks, &mut out);
        out
    }

    #[test]
    fn rounding_stays_within_the_step_of_each_format() {
        for seed in 0..50 {
            let weights: Vec<f32> = (0..256).map(|at| normal(seed, at) * 0.02 * (1.0 + seed as f32)).collect();
            for (format, steps, block) in [
                (BlockType::Q8_0, 127.0, 32),
                (BlockType::Q5_0, 16.0, 32),
                (BlockType::Q4_0, 8.0, 32),
                (BlockType::Q6K, 32.0, 256),
                (BlockType::Q5K, 15.0, 256),
                (BlockType::Q4K, 7.0, 256),
            ] {
                let found = round_trip(format, &weights);
                for (weights, found) in weights.chunks(block).zip(found.chunks(block)) {
                    let most = weights.iter().fold(0.0_f32, |most, one| most.max(one.abs()));
                    for (weight, found) in weights.iter().zip(found) {
                        // The largest weight of the other sign may lie one step beyond the last level.
                        let bound = most / steps * 1.02;
                        assert!((weight - found).abs() <= bound, "{format:?}: {weight} became {found}");
                    }
                }
            }
        }
    }

    #[test]
    fn more_bits_are_nearer_and_zeros_stay_zeros() {
        let weights: Vec<f32> = (0..2560).map(|at| normal(9, at)).collect();
        let error = |format: BlockType| -> f64 {
            let found = round_trip(format, &weights);
            weights.iter().zip(found).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / weights.len() as f64
        };
        let formats =
            [BlockType::Q8_0, BlockType::Q6K, BlockType::Q5K, BlockType::Q5_0, BlockType::Q4K, BlockType::Q4_0];
        let errors = formats.map(error);
        for pair in errors.windows(2) {
            assert!(pair[0] < pair[1], "{errors:?}");
        }
        // Mean squared errors of unit normal weights; a wrong search or a lost bit shows at once.
        for (found, most) in errors.iter().zip([3.5e-5, 5e-4, 2e-3, 3e-3, 7e-3, 1e-2]) {
            assert!(*found < most, "{errors:?}");
        }
        for format in formats {
            assert!(round_trip(format, &[0.0; 256]).iter().all(|one| *one == 0.0), "{format:?}");
        }
    }

    #[test]
    fn what_a_format_can_say_exactly_survives_twice() {
        for format in
            [BlockType::Q8_0, BlockType::Q4_0, BlockType::Q5_0, BlockType::F16, BlockType::BF16, BlockType::F32]
        {
            let once = round_trip(format, &(0..256).map(|at| normal(4, at)).collect::<Vec<f32>>());
            assert_eq!(once, round_trip(format, &once), "{format:?}");
        }
        assert_eq!(BlockType::Q4_1.quantise(&[0.0; 32], &mut [0; 20]), None);
    }
}

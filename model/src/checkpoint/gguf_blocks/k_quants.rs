//! Rounds weights to the formats of 256 weights a block: groups with scales of their own, which are rounded too.
//! Knows no file and no tensor. Each function is the inverse of the one in `gguf_blocks.rs`.
//!
//! The search for scale and minimum is that of ggml (`make_qkx2_quants`, `make_qx_quants` in `ggml-quants.c`) without an
//! importance matrix, so that a file from here is as good as one from llama.cpp.

use half::f16;

use super::quantise::put_half;

/// Weights of one block.
const BLOCK: usize = 256;
/// Groups smaller than this are all zero.
const NOTHING: f32 = 1e-15;

/// 144 bytes: `w = d·s·q - dmin·m` with `q` of 4 bits; eight groups of 32 with `s` and `m` of 6 bits.
pub(super) fn q4_k(weights: &[f32], block: &mut [u8]) {
    let mut levels = [0_u8; BLOCK];
    let search = Search { most: 15, from: -1.0, step: 0.1, steps: 20 };
    groups_with_minimum(weights, search, &mut levels, block);
    for (pair, to) in block[16..144].chunks_exact_mut(32).enumerate() {
        for (i, to) in to.iter_mut().enumerate() {
            *to = levels[pair * 64 + i] | (levels[pair * 64 + 32 + i] << 4);
        }
    }
}

/// 176 bytes: as Q4_K, with a fifth bit of every weight in 32 bytes before the nibbles.
pub(super) fn q5_k(weights: &[f32], block: &mut [u8]) {
    let mut levels = [0_u8; BLOCK];
    let search = Search { most: 31, from: -0.5, step: 0.1, steps: 15 };
    groups_with_minimum(weights, search, &mut levels, block);
    let (high, low) = block[16..176].split_at_mut(32);
    high.fill(0);
    for (pair, to) in low.chunks_exact_mut(32).enumerate() {
        for (i, to) in to.iter_mut().enumerate() {
            let (one, two) = (levels[pair * 64 + i], levels[pair * 64 + 32 + i]);
            *to = (one & 15) | ((two & 15) << 4);
            high[i] |= (one >> 4) << (2 * pair) | (two >> 4) << (2 * pair + 1);
        }
    }
}

/// 210 bytes: `w = d·s·(q - 32)` with `q` of 6 bits; sixteen groups of 16 with signed `s` of 8 bits.
pub(super) fn q6_k(weights: &[f32], block: &mut [u8]) {
    let mut levels = [0_u8; BLOCK];
    let mut scales = [0.0_f32; 16];
    let mut largest = 0.0_f32;
    for (group, scale) in scales.iter_mut().enumerate() {
        let at = group * 16;
        *scale = symmetric(&weights[at..at + 16], 32, &mut levels[at..at + 16]);
        if scale.abs() > largest.abs() {
            largest = *scale;
        }
    }
    if largest.abs() < NOTHING {
        block.fill(0);
        return;
    }
    let inverse = -128.0 / largest;
    put_half(block, 208, 1.0 / inverse);
    let scale = half(block, 208);
    for (group, own) in scales.iter().enumerate() {
        let rounded = nearest(inverse * own).min(127);
        block[192 + group] = rounded as i8 as u8;
        let d = scale * rounded as f32;
        if d != 0.0 {
            for i in group * 16..group * 16 + 16 {
                levels[i] = (nearest(weights[i] / d).clamp(-32, 31) + 32) as u8;
            }
        }
    }
    for part in 0..2 {
        let levels = &levels[part * 128..][..128];
        for i in 0..32 {
            let [one, two, three, four] = [0, 32, 64, 96].map(|from| levels[from + i]);
            block[part * 64 + i] = (one & 15) | ((three & 15) << 4);
            block[part * 64 + 32 + i] = (two & 15) | ((four & 15) << 4);
            block[128 + part * 32 + i] = one >> 4 | (two >> 4) << 2 | (three >> 4) << 4 | (four >> 4) << 6;
        }
    }
}

/// How the inverse scale of a group is searched: `(most + from + step·i) / (max - min)` for `i` up to `steps`.
struct Search {
    most: i32,
    from: f32,
    step: f32,
    steps: u32,
}

/// Levels of eight groups of 32, and the first 16 bytes of the block: `d`, `dmin`, and the 6-bit pairs.
fn groups_with_minimum(weights: &[f32], search: Search, levels: &mut [u8; BLOCK], block: &mut [u8]) {
    let (mut scales, mut minima) = ([0.0_f32; 8], [0.0_f32; 8]);
    for group in 0..8 {
        let x = &weights[group * 32..][..32];
        let mean_square: f32 = x.iter().map(|one| one * one).sum::<f32>() / 32.0;
        let root = mean_square.sqrt();
        let mut importance = [0.0_f32; 32];
        importance.iter_mut().zip(x).for_each(|(to, one)| *to = root + one.abs());
        (scales[group], minima[group]) = with_minimum(x, &importance, &search, &mut levels[group * 32..][..32]);
    }
    let most = |values: &[f32; 8]| values.iter().fold(0.0_f32, |best, one| best.max(*one));
    let (most_scale, most_minimum) = (most(&scales), most(&minima));
    let inverse = |most: f32| if most > 0.0 { 63.0 / most } else { 0.0 };
    block[..16].fill(0);
    for group in 0..8 {
        let scale = nearest(inverse(most_scale) * scales[group]).clamp(0, 63) as u8;
        let minimum = nearest(inverse(most_minimum) * minima[group]).clamp(0, 63) as u8;
        let packed = &mut block[4..16];
        if group < 4 {
            packed[group] = scale;
            packed[group + 4] = minimum;
        } else {
            packed[group + 4] = (scale & 15) | ((minimum & 15) << 4);
            packed[group - 4] |= (scale >> 4) << 6;
            packed[group] |= (minimum >> 4) << 6;
        }
    }
    put_half(block, 0, most_scale / 63.0);
    put_half(block, 2, most_minimum / 63.0);
    // The levels once more, against what a reader will multiply by.
    let (scale, minimum) = (half(block, 0), half(block, 2));
    for group in 0..8 {
        let (own_scale, own_minimum) = super::six_bit_pair(&block[4..16], group);
        let (d, m) = (scale * own_scale, minimum * own_minimum);
        if d != 0.0 {
            for i in group * 32..group * 32 + 32 {
                levels[i] = nearest((weights[i] + m) / d).clamp(0, search.most) as u8;
            }
        }
    }
}

/// Scale and minimum (negated) of one group, with the least weighted squared error the search meets.
fn with_minimum(x: &[f32], importance: &[f32; 32], search: &Search, levels: &mut [u8]) -> (f32, f32) {
    let most = search.most;
    let (mut min, mut max) = (x[0], x[0]);
    let (mut sum_w, mut sum_x) = (0.0_f32, 0.0_f32);
    for (one, w) in x.iter().zip(importance) {
        min = min.min(*one);
        max = max.max(*one);
        sum_w += w;
        sum_x += w * one;
    }
    min = min.min(0.0);
    if max == min {
        levels.fill(0);
        return (0.0, -min);
    }
    let mut inverse = most as f32 / (max - min);
    let mut scale = 1.0 / inverse;
    let error = |scale: f32, min: f32, levels: &[u8]| -> f32 {
        let each = x.iter().zip(importance).zip(levels);
        each.map(|((one, w), level)| w * (scale * f32::from(*level) + min - one).powi(2)).sum()
    };
    let round = |inverse: f32, min: f32, out: &mut [u8]| {
        for (to, one) in out.iter_mut().zip(x) {
            *to = nearest(inverse * (one - min)).clamp(0, most) as u8;
        }
    };
    round(inverse, min, levels);
    let mut best = error(scale, min, levels);
    let mut tried = [0_u8; 32];
    for i in 0..=search.steps {
        inverse = (search.from + search.step * i as f32 + most as f32) / (max - min);
        round(inverse, min, &mut tried);
        let (mut sum_l, mut sum_l2, mut sum_xl) = (0.0_f32, 0.0_f32, 0.0_f32);
        for ((one, w), level) in x.iter().zip(importance).zip(&tried) {
            let level = f32::from(*level);
            sum_l += w * level;
            sum_l2 += w * level * level;
            sum_xl += w * level * one;
        }
        let determinant = sum_w * sum_l2 - sum_l * sum_l;
        if determinant > 0.0 {
            let mut new_scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
            let mut new_min = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
            if new_min > 0.0 {
                new_min = 0.0;
                new_scale = sum_xl / sum_l2;
            }
            let found = error(new_scale, new_min, &tried);
            if found < best {
                levels.copy_from_slice(&tried);
                (best, scale, min) = (found, new_scale, new_min);
            }
        }
    }
    (scale, -min)
}

/// Scale of a group around zero; levels are `0..2·most`, with zero at `most`. Errors weigh by the squared weight.
fn symmetric(x: &[f32], most: i32, levels: &mut [u8]) -> f32 {
    let largest = x.iter().fold(0.0_f32, |best, one| if one.abs() > best.abs() { *one } else { best });
    if largest.abs() < NOTHING {
        levels.fill(0);
        return 0.0;
    }
    let level = |inverse: f32, one: f32| nearest(inverse * one).clamp(-most, most - 1);
    let sums = |inverse: f32| {
        x.iter().fold((0.0_f32, 0.0_f32), |(xl, l2), one| {
            let (level, w) = (level(inverse, *one) as f32, one * one);
            (xl + w * one * level, l2 + w * level * level)
        })
    };
    let mut chosen = -(most as f32) / largest;
    let (sum_xl, sum_l2) = sums(chosen);
    let mut scale = if sum_l2 == 0.0 { 0.0 } else { sum_xl / sum_l2 };
    let mut best = scale * sum_xl;
    for i in (-9..=9).filter(|i| *i != 0) {
        let inverse = -(most as f32 + 0.1 * i as f32) / largest;
        let (sum_xl, sum_l2) = sums(inverse);
        if sum_l2 > 0.0 && sum_xl * sum_xl > best * sum_l2 {
            chosen = inverse;
            scale = sum_xl / sum_l2;
            best = scale * sum_xl;
        }
    }
    levels.iter_mut().zip(x).for_each(|(to, one)| *to = (level(chosen, *one) + most) as u8);
    scale
}

/// To the nearest integer, ties to even, as ggml rounds.
fn nearest(value: f32) -> i32 {
    // Adding and taking away 1.5·2²³ leaves no fraction; a call of the maths library would cost most of the time.
    const SHIFT: f32 = 12_582_912.0;
    (value + SHIFT - SHIFT) as i32
}

fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

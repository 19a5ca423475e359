//! Owns running a loop with the widest vectors of this processor, and the elementary functions such loops need.
//! Knows slices of f32 only.

use rayon::prelude::*;

/// Runs `f` compiled for the processor's vector width, chosen at run time.
#[inline(always)]
pub(crate) fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// The widest vectors of this processor, as its makers call them.
#[cfg(target_arch = "x86_64")]
pub(crate) fn vectors() -> &'static str {
    if std::arch::is_x86_feature_detected!("avx512f") {
        "avx512"
    } else if std::arch::is_x86_feature_detected!("avx2") {
        "avx2"
    } else {
        "sse2"
    }
}

/// What this processor is.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn vectors() -> &'static str {
    std::env::consts::ARCH
}

/// Calls `f(row index, row)` for every row of `rows`, in parallel over blocks of rows.
pub(crate) fn each_row(rows: &mut [f32], width: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    const BLOCK: usize = 32;
    rows.par_chunks_mut(width * BLOCK).enumerate().for_each(|(block, rows)| {
        vectorised(|| {
            for (row, values) in rows.chunks_exact_mut(width).enumerate() {
                f(block * BLOCK + row, values);
            }
        });
    });
}

/// `e^x` to about one unit in the last place on the range where the result is normal; NaN stays NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LOWEST: f32 = -87.3;
    const HIGHEST: f32 = 88.7;
    // 1.5 * 2^23: adding it leaves the nearest integer in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Comparisons, not min and max, which would turn NaN into a number.
    let x = if x < LOWEST { LOWEST } else { x };
    let x = if x > HIGHEST { HIGHEST } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    // Coefficients of the Cephes library for e^r on [-ln 2 / 2, ln 2 / 2].
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(0x3f80_0000));
    p * power
}

/// The largest value, or minus infinity; NaN is returned if it stands anywhere.
#[inline(always)]
pub(crate) fn maximum(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let mut not_a_number = 0_u32;
    let (chunks, rest) = values.as_chunks::<16>();
    for chunk in chunks {
        for i in 0..16 {
            not_a_number |= u32::from(chunk[i].is_nan());
            lanes[i] = if chunk[i] > lanes[i] { chunk[i] } else { lanes[i] };
        }
    }
    let peak = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |peak, &value| if value > peak { value } else { peak });
    if not_a_number != 0 || rest.iter().any(|value| value.is_nan()) { f32::NAN } else { peak }
}

/// Replaces each value by `e^(value - shift)` and returns their sum, in a fixed order.
#[inline(always)]
pub(crate) fn exp_in_place(values: &mut [f32], shift: f32) -> f32 {
    let mut lanes = [0.0_f32; 16];
    let (chunks, rest) = values.as_chunks_mut::<16>();
    for chunk in chunks {
        for i in 0..16 {
            chunk[i] = exp(chunk[i] - shift);
            lanes[i] += chunk[i];
        }
    }
    let mut sum = lanes.iter().sum::<f32>();
    for value in rest {
        *value = exp(*value - shift);
        sum += *value;
    }
    sum
}

/// Sum of `a * b`, in a fixed order.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 16];
    let (a_chunks, a_rest) = a.as_chunks::<16>();
    let (b_chunks, b_rest) = b.as_chunks::<16>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..16 {
            lanes[i] += a[i] * b[i];
        }
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_right_to_a_few_units() {
        let mut worst = 0.0_f64;
        for step in -870_000..=870_000 {
            let x = step as f32 * 1e-4;
            let reference = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) / reference - 1.0).abs());
        }
        assert!(worst < 3e-7, "largest relative error {worst}");
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(-1000.0) < 1e-37);
    }

    #[test]
    fn a_nan_is_never_hidden() {
        let mut values = vec![1.0; 40];
        assert_eq!(maximum(&values), 1.0);
        values[17] = f32::NAN;
        assert!(maximum(&values).is_nan());
        assert!(vectorised(|| exp_in_place(&mut values, 0.0)).is_nan());
    }
}

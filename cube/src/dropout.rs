//! Owns dropout masks on the device: a factor is a function of a key and an index, equal bit for bit to that of the model crate's
//! `DropoutKey`, made where it is used and never stored. Knows no layer and no step: those are in the key.

use cubecl::prelude::*;

use crate::Array;
use crate::launch::spread;
use crate::vector::vector_size;

/// `x * factor`, where the factor of value `row * columns + column` is zero or `1 / (1 - probability)`.
///
/// # Shapes
/// - x `[T, H]`, fewer than 2^32 values; the result has the format of x
#[must_use]
pub fn dropped(x: &Array, key: u64, probability: f32) -> Array {
    let out = x.like();
    start(x, None, &out, key, probability);
    out
}

/// `dx + side * factor`, rounded once: the gradient of what went through [`dropped`], added to that of what did not.
///
/// # Shapes
/// - side, dx `[T, H]` in one format, fewer than 2^32 values
#[must_use]
pub fn add_dropped(dx: &Array, side: &Array, key: u64, probability: f32) -> Array {
    let out = dx.like();
    start(side, Some(dx), &out, key, probability);
    out
}

fn start(x: &Array, added: Option<&Array>, out: &Array, key: u64, probability: f32) {
    debug_assert!((0.0..1.0).contains(&probability) && u32::try_from(x.length()).is_ok());
    if x.length() == 0 {
        return;
    }
    let size = vector_size(&x.client, &[x.dtype], &[x.length()]);
    let units = x.length() / size;
    let (count, dim) = spread(&x.client, units);
    // A uniform number is 24 bits over 2^24, so comparing the bits is comparing the numbers.
    let threshold = (probability * (1 << 24) as f32).ceil() as u32;
    dropout_kernel::launch(
        &x.client,
        count,
        dim,
        size,
        x.vectors(size),
        added.unwrap_or(x).vectors(size),
        out.vectors(size),
        units,
        (key >> 32) as u32,
        key as u32,
        threshold,
        1.0 / (1.0 - probability),
        added.is_some(),
        x.dtype,
    );
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn dropout_kernel<F: Float, N: Size>(
    x: &[Vector<F, N>],
    added: &[Vector<F, N>],
    out: &mut [Vector<F, N>],
    units: usize,
    key_high: u32,
    key_low: u32,
    threshold: u32,
    kept: f32,
    #[comptime] adds: bool,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS < units {
        let size = N::value();
        let mut factor = Vector::<f32, N>::new(0.0);
        #[unroll]
        for i in 0..size {
            let index = mix(0u32, (ABSOLUTE_POS * size + i) as u32);
            let bits = mix(index.0 ^ key_high, index.1 ^ key_low);
            factor.insert(i, select(bits.0 >> 8 < threshold, 0.0f32, kept));
        }
        let mut value = Vector::<f32, N>::cast_from(x[ABSOLUTE_POS]) * factor;
        if comptime!(adds) {
            value += Vector::<f32, N>::cast_from(added[ABSOLUTE_POS]);
        }
        out[ABSOLUTE_POS] = Vector::cast_from(value);
    }
}

/// The finaliser of SplitMix64 over a golden-ratio step, on the halves of a number, high half first: not every device has
/// integers of 64 bits.
#[cube]
fn mix(high: u32, low: u32) -> (u32, u32) {
    let sum = low + 0x7f4a_7c15u32;
    let carry = u32::cast_from(sum < low);
    let first = fold(high + 0x9e37_79b9u32 + carry, sum, 30u32);
    let second = times(first.0, first.1, 0xbf58_476du32, 0x1ce4_e5b9u32);
    let third = fold(second.0, second.1, 27u32);
    let fourth = times(third.0, third.1, 0x94d0_49bbu32, 0x1331_11ebu32);
    fold(fourth.0, fourth.1, 31u32)
}

/// `z ^ (z >> by)`.
#[cube]
fn fold(high: u32, low: u32, #[comptime] by: u32) -> (u32, u32) {
    let back = comptime!(32 - by);
    (high ^ (high >> by), low ^ ((low >> by) | (high << back)))
}

/// The low 64 bits of a product.
#[cube]
fn times(high: u32, low: u32, #[comptime] by_high: u32, #[comptime] by_low: u32) -> (u32, u32) {
    (u32::mul_hi(low, by_low) + low * by_high + high * by_low, low * by_low)
}

#[cfg(test)]
mod tests {
    use ground::random::{mix, unit_f32};

    use super::*;
    use crate::testing::{array, close, formats, numbers, read, stored, tolerance};

    /// `DropoutKey::factor` of the model crate.
    fn factor(key: u64, probability: f32, index: u64) -> f32 {
        let uniform = unit_f32(mix(key ^ mix(index)));
        if uniform < probability { 0.0 } else { 1.0 / (1.0 - probability) }
    }

    #[test]
    fn masks_equal_those_of_the_model_bit_for_bit() {
        if !crate::testing::asked() {
            return;
        }
        for shape in [[1, 7], [33, 64], [70, 130], [1000, 1000], [0, 64]] {
            for (key, probability) in [(0x0123_4567_89ab_cdef, 0.05), (u64::MAX - 12, 0.5), (7, 0.0), (1 << 63, 0.3)] {
                let length = shape[0] * shape[1];
                let [x, dx] = [numbers(length, 1), numbers(length, 2)];
                let masked = |i: usize| x[i] * factor(key, probability, i as u64);
                let want: Vec<f32> = (0..length).map(masked).collect();
                let side = array(shape, &x);
                assert!(read(&dropped(&side, key, probability)) == want, "{shape:?} {key} {probability}");
                let ones = array(shape, &vec![1.0; length]);
                let factors: Vec<f32> = (0..length).map(|i| factor(key, probability, i as u64)).collect();
                assert!(read(&dropped(&ones, key, probability)) == factors, "{shape:?} {key} {probability}");
                let sums: Vec<f64> = (0..length).map(|i| f64::from(masked(i)) + f64::from(dx[i])).collect();
                let got = read(&add_dropped(&array(shape, &dx), &side, key, probability));
                close(&got, &sums, 1e-5);
            }
        }
    }

    #[test]
    fn every_format_has_the_same_masks() {
        if !crate::testing::asked() {
            return;
        }
        let (key, probability) = (0x0123_4567_89ab_cdef, 0.3);
        for (dtype, shape) in formats().into_iter().flat_map(|dtype| [[1, 7], [33, 64]].map(|shape| (dtype, shape))) {
            let length = shape[0] * shape[1];
            let (side, x) = stored(shape, &numbers(length, 1), dtype);
            let (dx, added) = stored(shape, &numbers(length, 2), dtype);
            let masked = |i: usize| f64::from(x[i] * factor(key, probability, i as u64));
            let (got, want) = (read(&dropped(&side, key, probability)), (0..length).map(masked).collect::<Vec<f64>>());
            close(&got, &want, tolerance(dtype, 0.0));
            assert!(got.iter().zip(&want).all(|(got, want)| (*got == 0.0) == (*want == 0.0)), "{dtype:?}");
            let sums: Vec<f64> = (0..length).map(|i| masked(i) + f64::from(added[i])).collect();
            close(&read(&add_dropped(&dx, &side, key, probability)), &sums, tolerance(dtype, 1e-5));
        }
    }
}

//! Owns what an optimiser step needs over flat f32 arrays: sums of squares, accumulation and the AdamW update. Knows neither
//! schedules nor which numbers belong to which tensor.

use cubecl::prelude::*;

use crate::Array;
use crate::elementwise::zeros;
use crate::launch::{UNITS, grid, spread};
use crate::vector::{Sharing, row_sum, vector_size};

/// Most workgroups of the first stage of a sum, hence values of the second.
const PARTS: usize = 1024;
/// Vectors one unit of the first stage reads at least, where there are so many.
const DEPTH: usize = 4;

/// The numbers of one AdamW step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate of this step.
    pub learning_rate: f32,
    /// Decay of the first moment.
    pub beta_1: f32,
    /// Decay of the second moment.
    pub beta_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// What the gradient is multiplied by first (the clip factor).
    pub gradient_scale: f32,
    /// This step, counted from one.
    pub step: u32,
}

/// `sum(x^2)` as f32 `[1, 1]`, in an order that depends on the length alone. It is not finite where a value is not.
#[must_use]
pub fn sum_of_squares(x: &Array) -> Array {
    let kind = f32::elem_type_native();
    if x.length() == 0 {
        return zeros(&x.client, [1, 1], kind);
    }
    let size = vector_size(&x.client, &[x.dtype], &[x.length()]);
    let vectors = x.length() / size;
    let parts = vectors.div_ceil(UNITS as usize * DEPTH).min(PARTS);
    let partial = Array::empty(&x.client, [1, parts], kind);
    sum_of_squares_stage(x, size, &partial, true);
    let sum = Array::empty(&x.client, [1, 1], kind);
    sum_of_squares_stage(&partial, 1, &sum, false);
    sum
}

fn sum_of_squares_stage(x: &Array, size: usize, sums: &Array, squares: bool) {
    let sharing = Sharing::new(&x.client, UNITS as usize);
    sum_kernel::launch(
        &x.client,
        grid(&x.client, sums.length()),
        sharing.dim(),
        size,
        x.vectors(size),
        sums.arg(),
        x.length() / size,
        sums.length(),
        squares,
        sharing,
        x.dtype,
    );
}

/// One AdamW step in place over flat f32 arrays of one length, as the model crate's CPU kernel does it:
/// `g = gradient * gradient_scale`, `m = beta_1 * m + (1 - beta_1) * g`, `v = beta_2 * v + (1 - beta_2) * g^2`,
/// `p = p * (1 - learning_rate * weight_decay) - learning_rate * m' / (sqrt(v') + epsilon)` with m' and v' corrected for their
/// start at zero.
pub fn adamw(parameters: &Array, gradient: &Array, first: &Array, second: &Array, step: AdamW) {
    if parameters.length() == 0 {
        return;
    }
    let client = &parameters.client;
    let size = vector_size(client, &[parameters.dtype], &[parameters.length()]);
    let units = parameters.length() / size;
    let (count, dim) = spread(client, units);
    let correction = |beta: f32| (1.0 / (1.0 - f64::from(beta).powi(step.step as i32))) as f32;
    adamw_kernel::launch(
        client,
        count,
        dim,
        size,
        parameters.vectors(size),
        gradient.vectors(size),
        first.vectors(size),
        second.vectors(size),
        units,
        step.gradient_scale,
        step.beta_1,
        1.0 - step.beta_1,
        step.beta_2,
        1.0 - step.beta_2,
        step.epsilon,
        1.0 - step.learning_rate * step.weight_decay,
        step.learning_rate * correction(step.beta_1),
        correction(step.beta_2),
    );
}

/// `sum += piece * factor` in place, both f32 and of one length.
pub fn accumulate(sum: &Array, piece: &Array, factor: f32) {
    if sum.length() == 0 {
        return;
    }
    let size = vector_size(&sum.client, &[sum.dtype], &[sum.length()]);
    let units = sum.length() / size;
    let (count, dim) = spread(&sum.client, units);
    accumulate_kernel::launch(&sum.client, count, dim, size, sum.vectors(size), piece.vectors(size), units, factor);
}

#[cube(launch)]
fn sum_kernel<X: Float, N: Size>(
    x: &[Vector<X, N>],
    sums: &mut [f32],
    vectors: usize,
    parts: usize,
    #[comptime] squares: bool,
    #[comptime] sharing: Sharing,
    #[define(X)] _x_format: ElemType,
) {
    let mut sum = Vector::<f32, N>::new(0.0);
    if CUBE_POS < parts {
        let first = CUBE_POS * comptime!(sharing.units) + UNIT_POS as usize;
        for at in range_stepped(first, vectors, parts * comptime!(sharing.units)) {
            let value = Vector::<f32, N>::cast_from(x[at]);
            if comptime!(squares) {
                sum += value * value;
            } else {
                sum += value;
            }
        }
    }
    let whole = row_sum(sum.vector_sum(), sharing);
    if UNIT_POS == 0 && CUBE_POS < parts {
        sums[CUBE_POS] = whole;
    }
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn adamw_kernel<N: Size>(
    parameters: &mut [Vector<f32, N>],
    gradient: &[Vector<f32, N>],
    first: &mut [Vector<f32, N>],
    second: &mut [Vector<f32, N>],
    units: usize,
    gradient_scale: f32,
    beta_1: f32,
    rest_1: f32,
    beta_2: f32,
    rest_2: f32,
    epsilon: f32,
    decay: f32,
    rate: f32,
    correct_2: f32,
) {
    let at = ABSOLUTE_POS;
    if at < units {
        let g = gradient[at] * Vector::new(gradient_scale);
        let m = first[at] * Vector::new(beta_1) + g * Vector::new(rest_1);
        let v = second[at] * Vector::new(beta_2) + g * g * Vector::new(rest_2);
        first[at] = m;
        second[at] = v;
        let root = Vector::sqrt(v * Vector::new(correct_2)) + Vector::new(epsilon);
        parameters[at] = parameters[at] * Vector::new(decay) - m * Vector::new(rate) / root;
    }
}

#[cube(launch)]
fn accumulate_kernel<N: Size>(sum: &mut [Vector<f32, N>], piece: &[Vector<f32, N>], units: usize, factor: f32) {
    if ABSOLUTE_POS < units {
        sum[ABSOLUTE_POS] += piece[ABSOLUTE_POS] * Vector::new(factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{array, close, formats, numbers, read, stored};

    #[test]
    fn squares_are_summed_and_repeat() {
        if !crate::testing::asked() {
            return;
        }
        let lengths = [0, 1, 7, 2112, 9100, 1 << 20, 3_000_001];
        for (dtype, length) in formats().into_iter().flat_map(|dtype| lengths.map(|length| (dtype, length))) {
            let (x, values) = stored([1, length], &numbers(length, 1), dtype);
            let want = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
            let sum = read(&sum_of_squares(&x));
            close(&sum, &[want], 1e-5);
            assert_eq!(sum, read(&sum_of_squares(&x)));
        }
    }

    #[test]
    fn a_value_that_is_not_finite_is_seen() {
        if !crate::testing::asked() {
            return;
        }
        for odd in [f32::NAN, f32::INFINITY] {
            let mut x = numbers(9100, 1);
            x[4711] = odd;
            assert!(!read(&sum_of_squares(&array([1, 9100], &x)))[0].is_finite());
        }
    }

    #[test]
    fn steps_of_adamw_equal_those_of_the_host() {
        if !crate::testing::asked() {
            return;
        }
        for length in [0, 1, 7, 2112, 9100] {
            let mut p: Vec<f64> = numbers(length, 1).iter().map(|&x| f64::from(x)).collect();
            let (mut m, mut v) = (vec![0.0; length], vec![0.0; length]);
            let narrow = |x: &[f64]| x.iter().map(|&x| x as f32).collect::<Vec<_>>();
            let arrays = [narrow(&p), narrow(&m), narrow(&v)].map(|x| array([1, length], &x));
            for step in 1..4 {
                let s = AdamW {
                    learning_rate: 3e-3,
                    beta_1: 0.9,
                    beta_2: 0.99,
                    epsilon: 1e-6,
                    weight_decay: 0.1,
                    gradient_scale: 0.25,
                    step,
                };
                let gradient = numbers(length, 10 + u64::from(step));
                let [lr, b1, b2] = [s.learning_rate, s.beta_1, s.beta_2].map(f64::from);
                for i in 0..length {
                    let g = f64::from(gradient[i]) * 0.25;
                    m[i] = b1 * m[i] + (1.0 - b1) * g;
                    v[i] = b2 * v[i] + (1.0 - b2) * g * g;
                    let [m, v] = [m[i] / (1.0 - b1.powi(step as i32)), v[i] / (1.0 - b2.powi(step as i32))];
                    p[i] = p[i] * (1.0 - lr * f64::from(s.weight_decay)) - lr * m / (v.sqrt() + f64::from(s.epsilon));
                }
                adamw(&arrays[0], &array([1, length], &gradient), &arrays[1], &arrays[2], s);
            }
            close(&read(&arrays[0]), &p, 1e-5);
            close(&read(&arrays[1]), &m, 1e-5);
            close(&read(&arrays[2]), &v, 1e-5);
        }
    }

    #[test]
    fn pieces_are_accumulated() {
        if !crate::testing::asked() {
            return;
        }
        for length in [0, 1, 7, 2112, 9100] {
            let [a, b] = [numbers(length, 1), numbers(length, 2)];
            let want: Vec<f64> = a.iter().zip(&b).map(|(&a, &b)| f64::from(a) + f64::from(b) * 0.3).collect();
            let sum = array([1, length], &a);
            accumulate(&sum, &array([1, length], &b), 0.3);
            close(&read(&sum), &want, 1e-5);
        }
    }
}

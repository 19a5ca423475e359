//! Owns root-mean-square normalisation of rows, forward and backward. Knows no layer.
//! Sums are made in f32 in a fixed order; the normed value is rounded to the weight's format before the weight.

use cubecl::prelude::*;

use crate::Array;
use crate::vector::{Sharing, lane_of, row_of, row_sum, vector_size};

/// `y = w * x / rms(x)` per row, with `rms(x) = sqrt(mean(x^2) + epsilon)`; y has the format of w.
///
/// # Shapes
/// - x, y `[T, H]`, weight `[1, H]`
#[must_use]
pub fn rms_norm(x: &Array, weight: &Array, epsilon: f32) -> Array {
    let [rows, width] = x.shape;
    let y = Array::empty(&x.client, x.shape, weight.dtype);
    if y.length() == 0 {
        return y;
    }
    let size = vector_size(&x.client, &[x.dtype, weight.dtype], &[width]);
    let sharing = Sharing::new(&x.client, width / size);
    rms_norm_kernel::launch(
        &x.client,
        sharing.grid(&x.client, rows),
        sharing.dim(),
        size,
        x.vectors(size),
        weight.vectors(size),
        y.vectors(size),
        rows,
        epsilon,
        sharing,
        x.dtype,
        weight.dtype,
    );
    y
}

/// Gradient of [`rms_norm`] with respect to x, plus `residual` where given, in the format of x:
/// `dx = rstd * (g - n * mean(g * n)) + residual` with `g = dy * w`, `n = x * rstd`, `rstd = 1 / rms(x)`.
///
/// # Shapes
/// - dy `[T, H]` in the format of the weight; x, residual, dx `[T, H]`; weight `[1, H]`
#[must_use]
pub fn rms_norm_backward(dy: &Array, x: &Array, weight: &Array, epsilon: f32, residual: Option<&Array>) -> Array {
    let [rows, width] = x.shape;
    debug_assert!(dy.dtype == weight.dtype && residual.is_none_or(|residual| residual.dtype == x.dtype));
    let dx = x.like();
    if dx.length() == 0 {
        return dx;
    }
    let size = vector_size(&x.client, &[x.dtype, weight.dtype], &[width]);
    let sharing = Sharing::new(&x.client, width / size);
    rms_norm_backward_kernel::launch(
        &x.client,
        sharing.grid(&x.client, rows),
        sharing.dim(),
        size,
        dy.vectors(size),
        x.vectors(size),
        weight.vectors(size),
        residual.unwrap_or(x).vectors(size),
        dx.vectors(size),
        rows,
        epsilon,
        residual.is_some(),
        sharing,
        x.dtype,
        weight.dtype,
    );
    dx
}

#[cube(launch)]
fn rms_norm_kernel<X: Float, W: Float, N: Size>(
    x: &[Vector<X, N>],
    weight: &[Vector<W, N>],
    y: &mut [Vector<W, N>],
    rows: usize,
    epsilon: f32,
    #[comptime] sharing: Sharing,
    #[define(X)] _x_format: ElemType,
    #[define(W)] _weight_format: ElemType,
) {
    let (vectors, lanes) = comptime!((sharing.vectors, sharing.lanes));
    let (row, lane) = (row_of(sharing), lane_of(sharing));
    // Units beyond the last row take part in the sums of one that exists: all of a workgroup must meet there.
    let start = min(row, rows - 1) * vectors;
    let rstd = inverse_rms(x, start, epsilon, sharing);
    if row < rows {
        for at in range_stepped(lane, vectors, lanes) {
            y[start + at] = normed(x[start + at], weight[at], rstd);
        }
    }
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn rms_norm_backward_kernel<X: Float, W: Float, N: Size>(
    dy: &[Vector<W, N>],
    x: &[Vector<X, N>],
    weight: &[Vector<W, N>],
    residual: &[Vector<X, N>],
    dx: &mut [Vector<X, N>],
    rows: usize,
    epsilon: f32,
    #[comptime] adds: bool,
    #[comptime] sharing: Sharing,
    #[define(X)] _x_format: ElemType,
    #[define(W)] _weight_format: ElemType,
) {
    let (vectors, lanes) = comptime!((sharing.vectors, sharing.lanes));
    let (row, lane) = (row_of(sharing), lane_of(sharing));
    let start = min(row, rows - 1) * vectors;
    let mut squares = Vector::<f32, N>::new(0.0);
    let mut products = Vector::<f32, N>::new(0.0);
    for at in range_stepped(lane, vectors, lanes) {
        let value = Vector::<f32, N>::cast_from(x[start + at]);
        let slope = Vector::<f32, N>::cast_from(dy[start + at]) * Vector::<f32, N>::cast_from(weight[at]);
        squares += value * value;
        products += value * slope;
    }
    let (rstd, pull) = backward_factors(squares.vector_sum(), products.vector_sum(), epsilon, N::value(), sharing);
    if row < rows {
        for at in range_stepped(lane, vectors, lanes) {
            let value = Vector::<f32, N>::cast_from(x[start + at]);
            let slope = Vector::<f32, N>::cast_from(dy[start + at]) * Vector::<f32, N>::cast_from(weight[at]);
            let mut result = slope * Vector::new(rstd) - value * Vector::new(pull);
            if comptime!(adds) {
                result += Vector::<f32, N>::cast_from(residual[start + at]);
            }
            dx[start + at] = Vector::cast_from(result);
        }
    }
}

#[cube]
pub(crate) fn inverse_rms<X: Float, N: Size>(
    x: &[Vector<X, N>],
    start: usize,
    epsilon: f32,
    #[comptime] sharing: Sharing,
) -> f32 {
    let mut squares = Vector::<f32, N>::new(0.0);
    for at in range_stepped(lane_of(sharing), comptime!(sharing.vectors), comptime!(sharing.lanes)) {
        let value = Vector::<f32, N>::cast_from(x[start + at]);
        squares += value * value;
    }
    let size = N::value();
    let width = comptime!((sharing.vectors * size) as f32);
    1.0 / f32::sqrt(row_sum(squares.vector_sum(), sharing) / width + epsilon)
}

#[cube]
pub(crate) fn normed<X: Float, W: Float, N: Size>(x: Vector<X, N>, weight: Vector<W, N>, rstd: f32) -> Vector<W, N> {
    // Rounded before the weight, as the reference implementations do; multiplied in f32, since not every device can in f16.
    let rounded = Vector::<W, N>::cast_from(Vector::<f32, N>::cast_from(x) * Vector::new(rstd));
    Vector::cast_from(Vector::<f32, N>::cast_from(rounded) * Vector::<f32, N>::cast_from(weight))
}

/// `rstd` and what x is multiplied by in the gradient: `rstd^3 * mean(x * g)`.
#[cube]
pub(crate) fn backward_factors(
    squares: f32,
    products: f32,
    epsilon: f32,
    #[comptime] size: usize,
    #[comptime] sharing: Sharing,
) -> (f32, f32) {
    let width = comptime!((sharing.vectors * size) as f32);
    let rstd = 1.0 / f32::sqrt(row_sum(squares, sharing) / width + epsilon);
    let mean = row_sum(products, sharing) * rstd / width;
    (rstd, rstd * rstd * mean)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use crate::testing::{array, client, close, formats, numbers, read, stored, tolerance};

    fn forward(x: &[f32], weight: &[f32], epsilon: f64) -> Vec<f64> {
        x.chunks(weight.len()).flat_map(|row| one(row, weight, epsilon)).collect()
    }

    fn rstd(row: &[f32], epsilon: f64) -> f64 {
        let mean = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / row.len() as f64;
        1.0 / (mean + epsilon).sqrt()
    }

    pub(crate) fn one(row: &[f32], weight: &[f32], epsilon: f64) -> Vec<f64> {
        let rstd = rstd(row, epsilon);
        row.iter().zip(weight).map(|(&x, &w)| f64::from(x) * rstd * f64::from(w)).collect()
    }

    pub(crate) fn one_backward(dy: &[f32], row: &[f32], weight: &[f32], epsilon: f64) -> Vec<f64> {
        let rstd = rstd(row, epsilon);
        let slopes: Vec<f64> = dy.iter().zip(weight).map(|(&d, &w)| f64::from(d) * f64::from(w)).collect();
        let mean = slopes.iter().zip(row).map(|(g, &x)| g * f64::from(x) * rstd).sum::<f64>() / row.len() as f64;
        slopes.iter().zip(row).map(|(g, &x)| rstd * (g - f64::from(x) * rstd * mean)).collect()
    }

    #[test]
    fn rows_are_normed_as_on_the_host() {
        if !crate::testing::asked() {
            return;
        }
        let shapes = [[1, 7], [33, 64], [70, 130], [5, 2048], [3, 1111], [0, 64]];
        for (dtype, shape) in formats().into_iter().flat_map(|dtype| shapes.map(|shape| (dtype, shape))) {
            let x = numbers(shape[0] * shape[1], 1);
            let (weight, w) = stored([1, shape[1]], &numbers(shape[1], 2), dtype);
            let y = rms_norm(&array(shape, &x), &weight, 1e-5);
            close(&read(&y), &forward(&x, &w, 1e-5), tolerance(dtype, 1e-5));
        }
    }

    #[test]
    fn more_rows_than_one_axis_takes_are_normed() {
        if !crate::testing::asked() {
            return;
        }
        let [x, w] = [numbers(70_001 * 64, 1), numbers(64, 2)];
        let y = rms_norm(&array([70_001, 64], &x), &array([1, 64], &w), 1e-5);
        close(&read(&y), &forward(&x, &w, 1e-5), 1e-5);
        let [x, w] = [numbers(66_000 * 256, 3), numbers(256, 4)];
        let y = rms_norm(&array([66_000, 256], &x), &array([1, 256], &w), 1e-5);
        close(&read(&y), &forward(&x, &w, 1e-5), 1e-5);
    }

    #[test]
    fn gradients_of_rows_equal_those_of_the_host() {
        if !crate::testing::asked() {
            return;
        }
        let shapes = [[1, 7], [33, 64], [70, 130], [5, 2048], [0, 64]];
        for (dtype, shape) in formats().into_iter().flat_map(|dtype| shapes.map(|shape| (dtype, shape))) {
            let within = tolerance(dtype, 1e-5);
            let length = shape[0] * shape[1];
            let [x, residual] = [numbers(length, 1), numbers(length, 4)];
            let (c, w) = stored([1, shape[1]], &numbers(shape[1], 2), dtype);
            let (a, dy) = stored(shape, &numbers(length, 3), dtype);
            let b = array(shape, &x);
            let want: Vec<f64> =
                dy.chunks(shape[1]).zip(x.chunks(shape[1])).flat_map(|(dy, x)| one_backward(dy, x, &w, 1e-5)).collect();
            close(&read(&rms_norm_backward(&a, &b, &c, 1e-5, None)), &want, within);
            let sum: Vec<f64> = want.iter().zip(&residual).map(|(a, &b)| a + f64::from(b)).collect();
            close(&read(&rms_norm_backward(&a, &b, &c, 1e-5, Some(&array(shape, &residual)))), &sum, within);
        }
    }

    #[test]
    fn sums_are_the_same_with_planes_and_without() {
        if !crate::testing::asked() {
            return;
        }
        let client = client();
        let [x, w] = [numbers(9 * 1024, 1), numbers(1024, 2)];
        let [x_array, w_array] = [array([9, 1024], &x), array([1, 1024], &w)];
        let kind = f32::elem_type_native();
        let hardware = client.properties().hardware.clone();
        for plane in [0, hardware.plane_size_min as usize] {
            if plane > 0 && hardware.plane_size_min != hardware.plane_size_max {
                continue;
            }
            let y = x_array.like();
            let sharing = Sharing { plane, ..Sharing::new(&client, 256) };
            rms_norm_kernel::launch(
                &client,
                sharing.grid(&client, 9),
                sharing.dim(),
                4,
                x_array.vectors(4),
                w_array.vectors(4),
                y.vectors(4),
                9,
                1e-5,
                sharing,
                kind,
                kind,
            );
            close(&read(&y), &forward(&x, &w, 1e-5), 1e-5);
        }
    }
}

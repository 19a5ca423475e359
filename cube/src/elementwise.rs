//! Owns operations on single values: conversion, addition, a bias, zeros. Knows no layer.

use cubecl::client::Client;
use cubecl::prelude::*;

use crate::Array;
use crate::launch::spread;
use crate::vector::vector_size;

/// An array of zeros.
#[must_use]
pub fn zeros(client: &Client, shape: [usize; 2], dtype: ElemType) -> Array {
    let out = Array::empty(client, shape, dtype);
    if out.length() > 0 {
        let size = vector_size(client, &[dtype], &[out.length()]);
        let units = out.length() / size;
        let (count, dim) = spread(client, units);
        zeros_kernel::launch(client, count, dim, size, out.vectors(size), units, dtype);
    }
    out
}

/// `x * factor` in a format.
#[must_use]
pub fn cast(x: &Array, dtype: ElemType, factor: f32) -> Array {
    let out = Array::empty(&x.client, x.shape, dtype);
    if out.length() > 0 {
        let size = vector_size(&x.client, &[x.dtype, dtype], &[x.length()]);
        let units = out.length() / size;
        let (count, dim) = spread(&x.client, units);
        cast_kernel::launch(
            &x.client,
            count,
            dim,
            size,
            x.vectors(size),
            out.vectors(size),
            units,
            factor,
            x.dtype,
            dtype,
        );
    }
    out
}

/// `a + b` in the format of a.
///
/// # Shapes
/// - a, b alike
#[must_use]
pub fn add(a: &Array, b: &Array) -> Array {
    sum(a, b, a.length())
}

/// `x + bias` for every row, in the format of x.
///
/// # Shapes
/// - x `[T, H]`, bias `[1, H]`
#[must_use]
pub fn add_bias(x: &Array, bias: &Array) -> Array {
    sum(x, bias, x.shape[1])
}

/// `a[i] + b[i % period]`.
fn sum(a: &Array, b: &Array, period: usize) -> Array {
    debug_assert!(b.length() == period);
    let out = a.like();
    if out.length() > 0 {
        let size = vector_size(&a.client, &[a.dtype, b.dtype], &[period]);
        let units = out.length() / size;
        let (count, dim) = spread(&a.client, units);
        sum_kernel::launch(
            &a.client,
            count,
            dim,
            size,
            a.vectors(size),
            b.vectors(size),
            out.vectors(size),
            units,
            period / size,
            a.dtype,
            b.dtype,
        );
    }
    out
}

#[cube(launch)]
fn zeros_kernel<F: Float, N: Size>(out: &mut [Vector<F, N>], units: usize, #[define(F)] _dtype: ElemType) {
    if ABSOLUTE_POS < units {
        out[ABSOLUTE_POS] = Vector::cast_from(Vector::<f32, N>::new(0.0));
    }
}

#[cube(launch)]
fn cast_kernel<X: Float, O: Float, N: Size>(
    x: &[Vector<X, N>],
    out: &mut [Vector<O, N>],
    units: usize,
    factor: f32,
    #[define(X)] _x_format: ElemType,
    #[define(O)] _out_format: ElemType,
) {
    if ABSOLUTE_POS < units {
        out[ABSOLUTE_POS] = Vector::cast_from(Vector::<f32, N>::cast_from(x[ABSOLUTE_POS]) * Vector::new(factor));
    }
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn sum_kernel<A: Float, B: Float, N: Size>(
    a: &[Vector<A, N>],
    b: &[Vector<B, N>],
    out: &mut [Vector<A, N>],
    units: usize,
    period: usize,
    #[define(A)] _a_format: ElemType,
    #[define(B)] _b_format: ElemType,
) {
    if ABSOLUTE_POS < units {
        let value = Vector::<f32, N>::cast_from(a[ABSOLUTE_POS]);
        let other = Vector::<f32, N>::cast_from(b[ABSOLUTE_POS % period]);
        out[ABSOLUTE_POS] = Vector::cast_from(value + other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{client, close, formats, numbers, read, stored, tolerance};

    const SHAPES: [[usize; 2]; 4] = [[1, 7], [33, 64], [70, 130], [0, 64]];

    #[test]
    fn zeros_are_zero() {
        if !crate::testing::asked() {
            return;
        }
        for (dtype, shape) in formats().into_iter().flat_map(|dtype| SHAPES.map(|shape| (dtype, shape))) {
            let out = zeros(&client(), shape, dtype);
            close(&read(&out), &vec![0.0; shape[0] * shape[1]], 0.0);
        }
    }

    #[test]
    fn values_are_scaled_and_added() {
        if !crate::testing::asked() {
            return;
        }
        for (dtype, shape) in formats().into_iter().flat_map(|dtype| SHAPES.map(|shape| (dtype, shape))) {
            let within = tolerance(dtype, 1e-5);
            let length = shape[0] * shape[1];
            let (x, a) = stored(shape, &numbers(length, 1), dtype);
            let (y, b) = stored(shape, &numbers(length, 2), dtype);
            let (z, bias) = stored([1, shape[1]], &numbers(shape[1], 3), dtype);
            let wide = |f: &dyn Fn(usize) -> f64| (0..length).map(f).collect::<Vec<f64>>();
            close(&read(&cast(&x, dtype, 0.7)), &wide(&|i| f64::from(a[i]) * f64::from(0.7_f32)), within);
            close(&read(&add(&x, &y)), &wide(&|i| f64::from(a[i]) + f64::from(b[i])), within);
            close(&read(&add_bias(&x, &z)), &wide(&|i| f64::from(a[i]) + f64::from(bias[i % shape[1]])), within);
            for there in formats() {
                // What another format holds as it is comes back as it was.
                let (x, a) =
                    stored(shape, &(0..length).map(|i| (i % 65) as f32 / 8.0 - 4.0).collect::<Vec<_>>(), dtype);
                assert_eq!(read(&cast(&cast(&x, there, 1.0), dtype, 1.0)), a, "{dtype:?} {there:?}");
            }
        }
    }
}

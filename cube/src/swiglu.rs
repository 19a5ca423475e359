//! Owns the gated activation `silu(gate) * up` and its gradient. Knows only the packed layout `[gate | up]` of a row.

use cubecl::prelude::*;

use crate::Array;
use crate::launch::spread;
use crate::vector::vector_size;

/// `h = silu(gate) * up` with `silu(g) = g / (1 + exp(-g))`.
///
/// # Shapes
/// - gate_up `[T, 2 * I]`, h `[T, I]`
#[must_use]
pub fn swiglu(gate_up: &Array) -> Array {
    let [tokens, width] = gate_up.shape;
    let h = Array::empty(&gate_up.client, [tokens, width / 2], gate_up.dtype);
    if h.length() == 0 {
        return h;
    }
    let size = vector_size(&gate_up.client, &[gate_up.dtype], &[width / 2]);
    let (count, dim) = spread(&gate_up.client, h.length() / size);
    swiglu_kernel::launch(
        &gate_up.client,
        count,
        dim,
        size,
        gate_up.vectors(size),
        h.vectors(size),
        h.length() / size,
        width / 2 / size,
        gate_up.dtype,
    );
    h
}

/// Gradient of [`swiglu`] with respect to gate_up: with `s = 1 / (1 + exp(-g))`,
/// `d_gate = dh * up * s * (1 + g * (1 - s))` and `d_up = dh * g * s`.
///
/// # Shapes
/// - gate_up, d_gate_up `[T, 2 * I]`, dh `[T, I]` in the format of gate_up
#[must_use]
pub fn swiglu_backward(gate_up: &Array, dh: &Array) -> Array {
    backward(gate_up, dh, None)
}

/// [`swiglu_backward`] and, from the same read of gate_up, h again.
#[must_use]
pub fn swiglu_backward_with_h(gate_up: &Array, dh: &Array) -> (Array, Array) {
    let h = dh.like();
    (backward(gate_up, dh, Some(&h)), h)
}

fn backward(gate_up: &Array, dh: &Array, h: Option<&Array>) -> Array {
    let width = gate_up.shape[1] / 2;
    debug_assert!(dh.dtype == gate_up.dtype && dh.shape == [gate_up.shape[0], width]);
    let d_gate_up = gate_up.like();
    if dh.length() == 0 {
        return d_gate_up;
    }
    let size = vector_size(&gate_up.client, &[gate_up.dtype], &[width]);
    let (count, dim) = spread(&gate_up.client, dh.length() / size);
    // Where nothing is written to h, its argument is another name of an output: a kernel takes no argument less.
    let h_arg = match h {
        Some(h) => h.vectors(size),
        None => BufferArg::Alias { input_pos: 2, length: [d_gate_up.length() / size] },
    };
    swiglu_backward_kernel::launch(
        &gate_up.client,
        count,
        dim,
        size,
        gate_up.vectors(size),
        dh.vectors(size),
        d_gate_up.vectors(size),
        h_arg,
        dh.length() / size,
        width / size,
        h.is_some(),
        gate_up.dtype,
    );
    d_gate_up
}

#[cube(launch)]
fn swiglu_kernel<F: Float, N: Size>(
    gate_up: &[Vector<F, N>],
    h: &mut [Vector<F, N>],
    units: usize,
    #[comptime] width: usize,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS < units {
        let at = ABSOLUTE_POS / width * comptime!(2 * width) + ABSOLUTE_POS % width;
        let gate = Vector::<f32, N>::cast_from(gate_up[at]);
        let up = Vector::<f32, N>::cast_from(gate_up[at + width]);
        h[ABSOLUTE_POS] = Vector::cast_from(gate * sigmoid(gate) * up);
    }
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn swiglu_backward_kernel<F: Float, N: Size>(
    gate_up: &[Vector<F, N>],
    dh: &[Vector<F, N>],
    d_gate_up: &mut [Vector<F, N>],
    h: &mut [Vector<F, N>],
    units: usize,
    #[comptime] width: usize,
    #[comptime] gives_h: bool,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS < units {
        let at = ABSOLUTE_POS / width * comptime!(2 * width) + ABSOLUTE_POS % width;
        let gate = Vector::<f32, N>::cast_from(gate_up[at]);
        let up = Vector::<f32, N>::cast_from(gate_up[at + width]);
        let d = Vector::<f32, N>::cast_from(dh[ABSOLUTE_POS]);
        let one = Vector::<f32, N>::new(1.0);
        let sigma = sigmoid(gate);
        d_gate_up[at] = Vector::cast_from(d * up * sigma * (one + gate * (one - sigma)));
        d_gate_up[at + width] = Vector::cast_from(d * gate * sigma);
        if comptime!(gives_h) {
            h[ABSOLUTE_POS] = Vector::cast_from(gate * sigma * up);
        }
    }
}

#[cube]
fn sigmoid<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let one = Vector::<f32, N>::new(1.0);
    one / (one + Vector::exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{close, formats, numbers, read, stored, tolerance};

    #[test]
    fn values_and_gradients_equal_those_of_the_host() {
        if !crate::testing::asked() {
            return;
        }
        let shapes = [[1, 7], [33, 64], [70, 130], [0, 64]];
        for (dtype, [tokens, width]) in formats().into_iter().flat_map(|dtype| shapes.map(|shape| (dtype, shape))) {
            let within = tolerance(dtype, 1e-5);
            let mut gate_up = numbers(tokens * width * 2, 1);
            gate_up.iter_mut().step_by(5).for_each(|x| *x *= 60.0);
            let (gate_up_array, gate_up) = stored([tokens, 2 * width], &gate_up, dtype);
            let (dh_array, dh) = stored([tokens, width], &numbers(tokens * width, 2), dtype);
            let (mut h, mut d) = (Vec::new(), vec![0.0; gate_up.len()]);
            for row in 0..tokens {
                for j in 0..width {
                    let at = row * 2 * width + j;
                    let [g, u, dh] = [gate_up[at], gate_up[at + width], dh[row * width + j]].map(f64::from);
                    let s = 1.0 / (1.0 + (-g).exp());
                    h.push(g * s * u);
                    d[at] = dh * u * s * (1.0 + g * (1.0 - s));
                    d[at + width] = dh * g * s;
                }
            }
            close(&read(&swiglu(&gate_up_array)), &h, within);
            close(&read(&swiglu_backward(&gate_up_array, &dh_array)), &d, within);
            let (d_again, h_again) = swiglu_backward_with_h(&gate_up_array, &dh_array);
            close(&read(&d_again), &d, within);
            close(&read(&h_again), &h, within);
        }
    }
}

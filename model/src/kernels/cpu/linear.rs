//! Owns the packed LoRA linear on the CPU: the twin of `lora_linear::plain`, with the side products added in place.
//! Knows slices and strides; knows no module.

use burn::tensor::Tensor;

use super::super::lora_linear::LoraOperand;
use super::host::{Host, HostMut, tensor};
use super::product::{Cores, Into, Matrix, multiply, product};
use super::simd;
use crate::dropout::DropoutKey;

pub(super) fn forward(
    x: &Tensor<2>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
    adapter: Option<&LoraOperand>,
    residual: Option<Tensor<2>>,
) -> (Tensor<2>, Option<Tensor<2>>) {
    let ([rows, inner], [width, _]) = (x.dims(), weight.dims());
    let (x, weight) = (Host::read(x), Host::read(weight));
    let x = Matrix::new(x.values(), rows, inner, inner);
    let weight = Matrix::new(weight.values(), width, inner, inner);
    let mut y = match residual {
        Some(residual) => {
            let mut y = HostMut::take(residual);
            multiply(y.values(), width, Into::Add, 1.0, x, weight.t(), Cores::All);
            y
        }
        None => HostMut::take(tensor(product(1.0, x, weight.t(), Cores::All), [rows, width])),
    };
    if let Some(bias) = bias {
        let bias = Host::read(bias);
        simd::each_row(y.values(), width, |_, y| y.iter_mut().zip(bias.values()).for_each(|(y, b)| *y += b));
    }
    let u = adapter.map(|adapter| {
        let [ranks, _] = adapter.a.dims();
        let a = Host::read(&adapter.a);
        let masked = adapter.dropout.map(|key| dropped(x, rows, inner, key));
        let input = masked.as_ref().map_or(x, |values| Matrix::new(values, rows, inner, inner));
        let u = product(1.0, input, Matrix::new(a.values(), ranks, inner, inner).t(), Cores::All);
        for part in &adapter.parts {
            let [out, rank] = part.b.dims();
            let b = Host::read(&part.b);
            let b = Matrix::new(b.values(), out, rank, rank);
            let u = Matrix::new(&u[part.ranks.start..], rows, rank, ranks);
            let y = &mut y.values()[part.columns.start..];
            multiply(y, width, Into::Add, adapter.scale, u, b.t(), Cores::All);
        }
        tensor(u, [rows, ranks])
    });
    (y.tensor(), u)
}

pub(super) fn backward(
    dy: &Tensor<2>,
    x: &Tensor<2>,
    weight: &Tensor<2>,
    adapter: Option<(&LoraOperand, &Tensor<2>)>,
    input_gradient: bool,
) -> (Option<Tensor<2>>, Option<Tensor<1>>) {
    let ([rows, inner], [width, _]) = (x.dims(), weight.dims());
    let (dy, x, weight) = (Host::read(dy), Host::read(x), Host::read(weight));
    let dy_all = Matrix::new(dy.values(), rows, width, width);
    let x = Matrix::new(x.values(), rows, inner, inner);
    let weight = Matrix::new(weight.values(), width, inner, inner);
    let mut dx = input_gradient.then(|| product(1.0, dy_all, weight, Cores::All));
    let gradients = adapter.map(|(adapter, u)| {
        let [ranks, _] = adapter.a.dims();
        let (a, u) = (Host::read(&adapter.a), Host::read(u));
        let a = Matrix::new(a.values(), ranks, inner, inner);
        let mut p = vec![0.0; rows * ranks];
        let mut b_gradients = Vec::new();
        for part in &adapter.parts {
            let [out, rank] = part.b.dims();
            let b = Host::read(&part.b);
            let b = Matrix::new(b.values(), out, rank, rank);
            let dy = Matrix::new(&dy.values()[part.columns.start..], rows, out, width);
            let u = Matrix::new(&u.values()[part.ranks.start..], rows, rank, ranks);
            multiply(&mut p[part.ranks.start..], ranks, Into::Overwrite, adapter.scale, dy, b, Cores::All);
            b_gradients.extend(product(adapter.scale, dy.t(), u, Cores::All));
        }
        let p = Matrix::new(&p, rows, ranks, ranks);
        let masked = adapter.dropout.map(|key| dropped(x, rows, inner, key));
        let input = masked.as_ref().map_or(x, |values| Matrix::new(values, rows, inner, inner));
        let mut gradients = product(1.0, p.t(), input, Cores::All);
        gradients.append(&mut b_gradients);
        if let Some(dx) = &mut dx {
            match adapter.dropout {
                None => multiply(dx, inner, Into::Add, 1.0, p, a, Cores::All),
                Some(key) => {
                    let side = product(1.0, p, a, Cores::All);
                    simd::each_row(dx, inner, |row, dx| {
                        for (column, (dx, side)) in dx.iter_mut().zip(&side[row * inner..]).enumerate() {
                            *dx += side * key.factor((row * inner + column) as u64);
                        }
                    });
                }
            }
        }
        let length = gradients.len();
        tensor(gradients, [length])
    });
    (dx.map(|dx| tensor(dx, [rows, inner])), gradients)
}

fn dropped(x: Matrix<'_>, rows: usize, width: usize, key: DropoutKey) -> Vec<f32> {
    let x = x.values();
    let mut out = vec![0.0; rows * width];
    simd::each_row(&mut out, width, |row, out| {
        for (column, (out, x)) in out.iter_mut().zip(&x[row * width..]).enumerate() {
            *out = x * key.factor((row * width + column) as u64);
        }
    });
    out
}

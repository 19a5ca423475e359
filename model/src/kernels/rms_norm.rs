//! Owns root-mean-square normalisation, of whole rows and of attention heads: plain twin and slice kernel.
//! Knows no layer. Statistics are kept in f32; the normed value is rounded to the tensor's type before the weight.

use burn::tensor::{DType, Tensor};

use super::{Heads, same_type};

/// Plain twin of `Kernels::rms_norm`.
pub fn plain(x: &Tensor<2>, weight: &Tensor<1>, epsilon: f32) -> Tensor<2> {
    let dtype = weight.dtype();
    let x = x.clone().cast(DType::F32);
    let rstd = inverse_rms(&x, epsilon);
    (x * rstd).cast(dtype) * weight.clone().unsqueeze()
}

/// Plain twin of `Kernels::rms_norm_backward`.
pub fn plain_backward(
    dy: Tensor<2>,
    x: &Tensor<2>,
    weight: &Tensor<1>,
    epsilon: f32,
    residual: Option<Tensor<2>>,
) -> Tensor<2> {
    let dtype = x.dtype();
    let x = x.clone().cast(DType::F32);
    let gamma = dy.cast(DType::F32) * weight.clone().cast(DType::F32).unsqueeze();
    let rstd = inverse_rms(&x, epsilon);
    let normed = x * rstd.clone();
    let mean = (gamma.clone() * normed.clone()).mean_dim(1);
    let dx = ((gamma - normed * mean) * rstd).cast(dtype);
    match residual {
        Some(residual) => {
            same_type("residual of rms_norm_backward", dx.dtype(), residual.dtype());
            dx + residual
        }
        None => dx,
    }
}

/// Plain twin of `Kernels::head_norm`.
pub fn plain_heads(qkv: &Tensor<2>, q: &Tensor<1>, k: &Tensor<1>, heads: Heads, epsilon: f32) -> Tensor<2> {
    over_heads(qkv, heads, |part, is_query| plain(&part, if is_query { q } else { k }, epsilon))
}

/// Plain twin of `Kernels::head_norm_backward`.
pub fn plain_heads_backward(
    dy: Tensor<2>,
    qkv: &Tensor<2>,
    q: &Tensor<1>,
    k: &Tensor<1>,
    heads: Heads,
    epsilon: f32,
) -> Tensor<2> {
    let [tokens, width] = dy.dims();
    let rows = |tensor: &Tensor<2>, from: usize, to: usize| {
        tensor.clone().slice([0..tokens, from..to]).reshape([tokens * (to - from) / heads.head_dim, heads.head_dim])
    };
    let (query_end, key_end) = (heads.query_width(), heads.query_width() + heads.key_width());
    let part = |from: usize, to: usize, weight: &Tensor<1>| {
        plain_backward(rows(&dy, from, to), &rows(qkv, from, to), weight, epsilon, None).reshape([tokens, to - from])
    };
    let queries = part(0, query_end, q);
    let keys = part(query_end, key_end, k);
    let values = dy.clone().slice([0..tokens, key_end..width]);
    Tensor::cat(vec![queries, keys, values], 1)
}

fn inverse_rms(x: &Tensor<2>, epsilon: f32) -> Tensor<2> {
    (x.clone().powi_scalar(2).mean_dim(1) + epsilon).sqrt().recip()
}

fn over_heads(qkv: &Tensor<2>, heads: Heads, f: impl Fn(Tensor<2>, bool) -> Tensor<2>) -> Tensor<2> {
    let [tokens, width] = qkv.dims();
    let (query_end, key_end) = (heads.query_width(), heads.query_width() + heads.key_width());
    let part = |from: usize, to: usize, is_query: bool| {
        let rows = qkv.clone().slice([0..tokens, from..to]);
        f(rows.reshape([tokens * (to - from) / heads.head_dim, heads.head_dim]), is_query).reshape([tokens, to - from])
    };
    let values = qkv.clone().slice([0..tokens, key_end..width]);
    Tensor::cat(vec![part(0, query_end, true), part(query_end, key_end, false), values], 1)
}

/// One row on slices: `y = w * x / rms(x)`.
#[inline(always)]
pub(super) fn row(x: &[f32], weight: &[f32], epsilon: f32, y: &mut [f32]) {
    let rstd = row_rstd(x, epsilon);
    for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
        *y = x * rstd * w;
    }
}

/// One row of the gradient on slices; `dx` holds the residual gradient on entry and the sum on return.
#[inline(always)]
pub(super) fn row_backward(dy: &[f32], x: &[f32], weight: &[f32], epsilon: f32, dx: &mut [f32]) {
    let rstd = row_rstd(x, epsilon);
    let mut lanes = [0.0_f32; 16];
    let (dy_chunks, dy_rest) = dy.as_chunks::<16>();
    let (x_chunks, x_rest) = x.as_chunks::<16>();
    let (w_chunks, w_rest) = weight.as_chunks::<16>();
    for ((d, x), w) in dy_chunks.iter().zip(x_chunks).zip(w_chunks) {
        for i in 0..16 {
            lanes[i] += d[i] * w[i] * x[i];
        }
    }
    let rest: f32 = dy_rest.iter().zip(x_rest).zip(w_rest).map(|((d, x), w)| d * w * x).sum();
    let mean = (lanes.iter().sum::<f32>() + rest) * rstd / x.len() as f32;
    for (((dx, dy), x), w) in dx.iter_mut().zip(dy).zip(x).zip(weight) {
        *dx += rstd * (dy * w - x * rstd * mean);
    }
}

#[inline(always)]
fn row_rstd(x: &[f32], epsilon: f32) -> f32 {
    let mut lanes = [0.0_f32; 16];
    let (chunks, rest) = x.as_chunks::<16>();
    for chunk in chunks {
        for i in 0..16 {
            lanes[i] += chunk[i] * chunk[i];
        }
    }
    let sum = lanes.iter().sum::<f32>() + rest.iter().map(|x| x * x).sum::<f32>();
    1.0 / (sum / x.len() as f32 + epsilon).sqrt()
}

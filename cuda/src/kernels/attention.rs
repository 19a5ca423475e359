//! Owns attention over packed documents, forward and backward, for one shape of heads: which kernels compute it on a device,
//! and the tables they work off. Knows document bounds; knows no layer.

use half::bf16;

use super::attention_hopper::HopperAttention;
use super::attention_portable::PortableAttention;
use super::tiles::{self, Order};
use crate::device::Device;
use crate::error::Result;
use crate::kernels::{assert_aligned, steps};
use crate::launch;
use crate::launch::{Function, Grid};
use crate::memory::{Matrix, Span};
use crate::source::Source;

static DELTA: Source =
    Source { name: "attention_delta", text: include_str!("../../kernels/attention_delta.cu"), hopper: false };

/// Heads and what attention does with them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadShape {
    /// Query heads.
    pub heads: usize,
    /// Key heads, and as many value heads; divides `heads`.
    pub kv_heads: usize,
    /// Values of a head.
    pub head_dim: usize,
    /// Keys that a query sees, its own included; zero for all before it.
    pub window: usize,
    /// Scores become `soft_cap * tanh(score / soft_cap)`; zero for none.
    pub soft_cap: f32,
    /// What scores are multiplied by.
    pub scale: f32,
}

impl HeadShape {
    /// Values of a packed row: queries, keys and values of a token side by side.
    #[must_use]
    pub fn packed_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Values of a row of the output.
    #[must_use]
    pub fn width(&self) -> usize {
        self.heads * self.head_dim
    }
}

/// The work tables of a pack on the device.
#[derive(Clone, Copy)]
pub struct Tiles {
    /// Of the forward pass.
    pub forward: Span<u32>,
    /// Of the gradients of keys and values.
    pub keys: Span<u32>,
    /// Of the gradients of queries.
    pub queries: Span<u32>,
}

/// What the backward pass reads and writes.
///
/// # Shapes
/// - d_out, out `[T, heads * D]`, qkv, d_qkv `[T, (heads + 2 * kv_heads) * D]`, log_sum_exp, delta `[heads, T]`
#[derive(Clone, Copy)]
pub struct AttentionBackward {
    /// The gradient of the output.
    pub d_out: Matrix<bf16>,
    /// The input.
    pub qkv: Matrix<bf16>,
    /// The output.
    pub out: Matrix<bf16>,
    /// What the forward pass left.
    pub log_sum_exp: Matrix<f32>,
    /// Scratch.
    pub delta: Matrix<f32>,
    /// Gets the gradient of the input.
    pub d_qkv: Matrix<bf16>,
}

/// The kernels of attention for one shape of heads.
pub struct Attention {
    kernels: Kernels,
    delta: Function,
    shape: HeadShape,
}

/// What computes it.
enum Kernels {
    Hopper(HopperAttention),
    Portable(PortableAttention),
}

impl Attention {
    /// Compiles them. Fails where there are none for the head size.
    ///
    /// # Panics
    /// When the shape is none, which is a defect of the caller.
    pub fn new(device: &Device, shape: HeadShape) -> Result<Self> {
        if HopperAttention::suits(device, &shape) {
            return Self::with(device, shape, Kernels::Hopper(HopperAttention::new(device, shape)?));
        }
        Self::portable(device, shape)
    }

    fn portable(device: &Device, shape: HeadShape) -> Result<Self> {
        Self::with(device, shape, Kernels::Portable(PortableAttention::new(device, shape)?))
    }

    fn with(device: &Device, shape: HeadShape, kernels: Kernels) -> Result<Self> {
        assert!(shape.kv_heads > 0 && shape.heads.is_multiple_of(shape.kv_heads), "query heads per key head");
        assert!(shape.scale > 0.0 && shape.soft_cap >= 0.0, "scale and soft cap of scores");
        Ok(Attention { kernels, delta: device.program(&DELTA, &[])?.function("attention_delta")?, shape })
    }

    /// The tables of a pack for the device: forward, keys, queries.
    #[must_use]
    pub fn tables(&self, bounds: &[usize]) -> [Vec<u32>; 3] {
        let [forward, keys, queries] = match &self.kernels {
            Kernels::Hopper(kernels) => kernels.tile_rows(),
            Kernels::Portable(kernels) => kernels.tile_rows(),
        };
        let window = self.shape.window;
        [
            tiles::table(bounds, forward, window, Order::Queries),
            tiles::table(bounds, keys, window, Order::Keys),
            tiles::table(bounds, queries, window, Order::Queries),
        ]
    }

    /// Causal attention inside each document, and the log-sum-exp of each query's scores.
    ///
    /// # Shapes
    /// - qkv `[T, (heads + 2 * kv_heads) * D]`, out `[T, heads * D]`, log_sum_exp `[heads, T]`
    pub fn forward(&self, qkv: Matrix<bf16>, out: Matrix<bf16>, log_sum_exp: Matrix<f32>, tiles: Tiles) -> Result<()> {
        self.check(qkv, out, log_sum_exp);
        match &self.kernels {
            Kernels::Hopper(kernels) => kernels.forward(qkv, out, log_sum_exp, tiles.forward),
            Kernels::Portable(kernels) => kernels.forward(qkv, out, log_sum_exp, tiles.forward),
        }
    }

    /// The gradient of [`Attention::forward`], in the same bits each time.
    pub fn backward(&self, b: AttentionBackward, tiles: Tiles) -> Result<()> {
        self.check(b.qkv, b.out, b.log_sum_exp);
        self.check(b.d_qkv, b.d_out, b.delta);
        assert_eq!(b.log_sum_exp.pitch(), b.delta.pitch(), "pitches of sums over scores");
        let (rows, HeadShape { heads, head_dim, .. }) = (b.out.rows(), self.shape);
        let lanes = (head_dim / 8).next_power_of_two();
        launch!(
            self.delta, Grid::new(steps(rows * heads * lanes, 256), 256);
            b.d_out, b.d_out.pitch(), b.out, b.out.pitch(), b.delta, b.delta.pitch(), rows, heads, head_dim, lanes,
        )?;
        match &self.kernels {
            Kernels::Hopper(kernels) => kernels.backward(b, tiles),
            Kernels::Portable(kernels) => kernels.backward(b, tiles),
        }
    }

    fn check(&self, packed: Matrix<bf16>, out: Matrix<bf16>, sums: Matrix<f32>) {
        let rows = packed.rows();
        assert!(
            packed.columns() == self.shape.packed_width() && out.columns() == self.shape.width(),
            "widths of attention"
        );
        assert!(out.rows() == rows && sums.rows() == self.shape.heads && sums.pitch() >= rows, "rows of attention");
        assert_aligned(&[packed, out]);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Case, close, device};

    /// What attention means, one query after the other: output, log-sum-exp, delta, and the gradient of the input.
    struct Plain {
        out: Vec<f64>,
        log_sum_exp: Vec<f64>,
        d_qkv: Vec<f64>,
    }

    fn plain(
        shape: HeadShape,
        bounds: &[usize],
        qkv: &dyn Fn(usize) -> Vec<f64>,
        d_out: &dyn Fn(usize) -> Vec<f64>,
    ) -> Plain {
        let HeadShape { heads, kv_heads, head_dim, window, .. } = shape;
        let (tokens, width, scale) = (bounds[bounds.len() - 1], shape.packed_width(), f64::from(shape.scale));
        let rows: Vec<Vec<f64>> = (0..tokens).map(qkv).collect();
        let at = |row: usize, head: usize| &rows[row][head * head_dim..][..head_dim];
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mut found = Plain {
            out: vec![0.0; tokens * shape.width()],
            log_sum_exp: vec![0.0; heads * tokens],
            d_qkv: vec![0.0; tokens * width],
        };
        let places = bounds.windows(2).flat_map(|pair| (pair[0]..pair[1]).map(|query| (pair[0], query)));
        for (start, i) in places {
            for head in 0..heads {
                let (key_head, value_head) =
                    (heads + head / (heads / kv_heads), heads + kv_heads + head / (heads / kv_heads));
                let seen: Vec<usize> = (start..=i).filter(|j| window == 0 || i - j < window).collect();
                let raw: Vec<f64> = seen.iter().map(|&j| dot(at(i, head), at(j, key_head)) * scale).collect();
                let cap = f64::from(shape.soft_cap);
                let scores: Vec<f64> =
                    raw.iter().map(|s| if cap == 0.0 { *s } else { cap * (s / cap).tanh() }).collect();
                let peak = scores.iter().copied().fold(f64::MIN, f64::max);
                let total: f64 = scores.iter().map(|s| (s - peak).exp()).sum();
                found.log_sum_exp[head * tokens + i] = peak + total.ln();
                let p: Vec<f64> = scores.iter().map(|s| (s - peak).exp() / total).collect();
                let out = &mut found.out[i * shape.width() + head * head_dim..][..head_dim];
                for (p, &j) in p.iter().zip(&seen) {
                    out.iter_mut().zip(at(j, value_head)).for_each(|(o, v)| *o += p * v);
                }
                let d = d_out(i)[head * head_dim..][..head_dim].to_vec();
                let mean = dot(&d, out);
                for ((p, s), &j) in p.iter().zip(&scores).zip(&seen) {
                    let slope = if cap == 0.0 { 1.0 } else { 1.0 - (s / cap).powi(2) };
                    let ds = p * (dot(&d, at(j, value_head)) - mean) * scale * slope;
                    let mut add = |row: usize, head: usize, factor: f64, values: &[f64]| {
                        let to = &mut found.d_qkv[row * width + head * head_dim..][..head_dim];
                        to.iter_mut().zip(values).for_each(|(to, value)| *to += factor * value);
                    };
                    add(i, head, ds, at(j, key_head));
                    add(j, key_head, ds, at(i, head));
                    add(j, value_head, *p, &d);
                }
            }
        }
        found
    }

    fn check(device: &Device, kernels: &Attention, bounds: &[usize]) {
        let shape = kernels.shape;
        let (tokens, width) = (bounds[bounds.len() - 1], shape.packed_width());
        let mut case = Case::new(device);
        let qkv = case.random("qkv", tokens, width, width + 16);
        let d_out = case.random("d_out", tokens, shape.width(), shape.width() + 8);
        let out = case.empty(tokens, shape.width(), shape.width() + 8);
        let d_qkv = case.empty(tokens, width, width + 8);
        let pitch = tokens + 4;
        let numbers = device.allocate_zeroed(2 * 4 * shape.heads * pitch).unwrap();
        let sums = |which: usize| numbers.span::<f32>(4 * which * shape.heads * pitch, shape.heads * pitch);
        let (log_sum_exp, delta) =
            (sums(0).matrix(shape.heads, tokens, pitch), sums(1).matrix(shape.heads, tokens, pitch));
        let uploaded = kernels.tables(bounds).map(|table| case.upload(&table));
        let [forward, keys, queries] = uploaded.each_ref().map(|(_, span)| *span);
        let tiles = Tiles { forward, keys, queries };
        kernels.forward(qkv.matrix(), out.matrix(), log_sum_exp, tiles).unwrap();
        let expected = plain(shape, bounds, &|row| qkv.row(row).to_vec(), &|row| d_out.row(row).to_vec());
        let name = format!("{shape:?}");
        close(&format!("out of {name}"), &out.read(), &expected.out, 0.01);
        let found: Vec<f64> = device.download_matrix(log_sum_exp).unwrap().iter().map(|v| f64::from(*v)).collect();
        close(&format!("log_sum_exp of {name}"), &found, &expected.log_sum_exp, 1e-3);
        let backward = AttentionBackward {
            d_out: d_out.matrix(),
            qkv: qkv.matrix(),
            out: out.matrix(),
            log_sum_exp,
            delta,
            d_qkv: d_qkv.matrix(),
        };
        kernels.backward(backward, tiles).unwrap();
        let found = d_qkv.read();
        let HeadShape { heads, kv_heads, head_dim, window, .. } = shape;
        let parts = [("dq", 0, heads), ("dk", heads, heads + kv_heads), ("dv", heads + kv_heads, heads + 2 * kv_heads)];
        // A query that sees its own key alone has no gradient but that of the value.
        let parts = if window == 1 { &[("d_qkv", 0, heads + 2 * kv_heads)][..] } else { &parts };
        for &(part, from, to) in parts {
            let cut = |values: &[f64]| -> Vec<f64> {
                values.chunks(width).flat_map(|row| row[from * head_dim..to * head_dim].to_vec()).collect()
            };
            close(&format!("{part} of {name}"), &cut(&found), &cut(&expected.d_qkv), 0.02);
        }
        kernels.backward(backward, tiles).unwrap();
        assert!(found.iter().zip(d_qkv.read()).all(|(a, b)| a.to_bits() == b.to_bits()), "{name}: other bits");
    }

    fn shape(heads: usize, kv_heads: usize, head_dim: usize, window: usize) -> HeadShape {
        HeadShape { heads, kv_heads, head_dim, window, soft_cap: 0.0, scale: 1.0 / (head_dim as f32).sqrt() }
    }

    #[test]
    fn attention_on_hopper_equals_its_twin() {
        let device = if Device::count() > 0 { Device::open(0, None) } else { Device::emulated(true) }.unwrap();
        let check = |shape, bounds: &[usize]| check(&device, &Attention::new(&device, shape).unwrap(), bounds);
        check(shape(2, 1, 128, 0), &[0, 13, 150]);
        check(shape(3, 1, 64, 0), &[0, 1, 66, 200]);
        check(shape(1, 1, 80, 0), &[0, 65, 140]);
        check(shape(2, 1, 64, 70), &[0, 21, 210]);
        check(shape(1, 1, 128, 64), &[0, 200]);
    }

    /// On the kernels that any GPU has, whatever the device.
    fn check_portable(shape: HeadShape, bounds: &[usize]) {
        let device = device();
        check(&device, &Attention::portable(&device, shape).unwrap(), bounds);
    }

    #[test]
    fn portable_attention_of_documents_of_any_length_equals_its_twin() {
        check_portable(shape(3, 1, 64, 0), &[0, 1, 14, 78, 143, 143, 273]);
    }

    #[test]
    fn portable_attention_of_heads_of_any_size_equals_its_twin() {
        check_portable(shape(4, 2, 16, 0), &[0, 13, 40]);
        check_portable(shape(2, 2, 80, 0), &[0, 65, 90]);
        check_portable(shape(4, 1, 128, 0), &[0, 13, 78]);
        check_portable(shape(1, 1, 128, 0), &[0, 140]);
        check_portable(shape(2, 1, 256, 0), &[0, 5, 75]);
    }

    #[test]
    fn portable_attention_in_a_window_equals_its_twin() {
        check_portable(shape(1, 1, 64, 1), &[0, 70]);
        check_portable(shape(1, 1, 64, 64), &[0, 150]);
        check_portable(shape(1, 1, 64, 100), &[0, 20, 230]);
        check_portable(shape(1, 1, 128, 6), &[0, 140]);
    }

    #[test]
    fn portable_attention_with_a_soft_cap_equals_its_twin() {
        let capped = |shape: HeadShape| HeadShape { soft_cap: 1.5, ..shape };
        check_portable(capped(shape(2, 1, 96, 0)), &[0, 20, 90]);
        check_portable(capped(shape(1, 1, 256, 50)), &[0, 130]);
    }

    #[test]
    fn heads_there_is_no_kernel_for_are_refused() {
        let device = device();
        for head_dim in [8, 72, 272] {
            assert!(Attention::new(&device, HeadShape { soft_cap: 1.0, ..shape(1, 1, head_dim, 0) }).is_err());
        }
    }
}

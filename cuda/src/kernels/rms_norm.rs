//! Owns the root-mean-square norm of rows, forward and backward.

use half::bf16;

use crate::device::Device;
use crate::error::Result;
use crate::kernels::{VECTOR, assert_aligned, steps};
use crate::launch;
use crate::launch::{Function, Grid};
use crate::memory::{Matrix, Span};
use crate::source::Source;

static SOURCE: Source = Source { name: "rms_norm", text: include_str!("../../kernels/rms_norm.cu"), hopper: false };

/// Widest row: what the registers of a block hold.
pub const MAX_WIDTH: usize = 8192;

/// The kernels of the norm.
#[derive(Clone)]
pub struct RmsNorm {
    forward: Function,
    backward: Function,
}

/// What a backward pass reads and writes, all `[T, H]`.
#[derive(Clone, Copy)]
pub struct Backward {
    /// The gradient of the norm's output.
    pub dy: Matrix<bf16>,
    /// The norm's input.
    pub x: Matrix<bf16>,
    /// Added to the gradient of the input; may be `dx`.
    pub residual: Option<Matrix<bf16>>,
    /// Gets the gradient of the input.
    pub dx: Matrix<bf16>,
    /// Gets the norm itself, where it is wanted.
    pub y: Option<Matrix<bf16>>,
}

impl RmsNorm {
    /// Compiles them.
    pub fn new(device: &Device) -> Result<Self> {
        let program = device.program(&SOURCE, &[])?;
        Ok(RmsNorm { forward: program.function("rms_norm")?, backward: program.function("rms_norm_backward")? })
    }

    /// `y = w * x / rms(x)` per row.
    ///
    /// # Shapes
    /// - x, y `[T, H]`, weight `[H]`, H a multiple of eight, at most [`MAX_WIDTH`]
    pub fn forward(&self, x: Matrix<bf16>, weight: Span<bf16>, y: Matrix<bf16>, epsilon: f32) -> Result<()> {
        let width = x.columns();
        assert!(y.columns() == width && weight.len() == width && y.rows() == x.rows(), "shapes of a norm");
        assert_aligned(&[x, y]);
        let (grid, lanes) = grid(x.rows(), width);
        launch!(self.forward, grid; x, x.pitch(), weight, y, y.pitch(), x.rows(), width, lanes, epsilon)
    }

    /// The gradient of the input, and the norm once more where it is wanted.
    pub fn backward(&self, b: Backward, weight: Span<bf16>, epsilon: f32) -> Result<()> {
        let width = b.x.columns();
        let y = b.y.unwrap_or(b.dx);
        let shapes = [b.dy, b.x, b.dx, y].map(|matrix| [matrix.rows(), matrix.columns()]);
        assert!(shapes.iter().all(|shape| *shape == shapes[0]) && weight.len() == width, "shapes of a norm's gradient");
        let added = b.residual.unwrap_or(b.x);
        assert!([added.rows(), added.columns()] == shapes[0], "shape of a norm's residual");
        assert_aligned(&[b.dy, b.x, b.dx, y, added]);
        let (grid, lanes) = grid(b.x.rows(), width);
        launch!(
            self.backward, grid;
            b.dy, b.dy.pitch(), b.x, b.x.pitch(), weight, b.residual, added.pitch(),
            b.dx, b.dx.pitch(), b.y, y.pitch(), b.x.rows(), width, lanes, epsilon,
        )
    }
}

/// The launch for rows of a width, and how many threads share a row. A thread holds at most four times eight values.
fn grid(rows: usize, width: usize) -> (Grid, usize) {
    assert!(width.is_multiple_of(VECTOR) && width <= MAX_WIDTH, "a norm over {width} values");
    match width {
        0..=1024 => (Grid::new(steps(rows, 4), 128), 32),
        1025..=4096 => (Grid::new(rows, 128), 128),
        _ => (Grid::new(rows, 256), 256),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Case, close, device};

    /// Plain twin: `(y, rms)` of one row.
    fn plain(x: &[f64], weight: &[f64], epsilon: f64) -> (Vec<f64>, f64) {
        let rms = (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + epsilon).sqrt();
        (x.iter().zip(weight).map(|(x, w)| x / rms * w).collect(), rms)
    }

    /// Plain twin of the gradient of one row.
    fn plain_backward(dy: &[f64], x: &[f64], weight: &[f64], epsilon: f64) -> Vec<f64> {
        let (_, rms) = plain(x, weight, epsilon);
        let mean = dy.iter().zip(weight).zip(x).map(|((d, w), x)| d * w * x / rms).sum::<f64>() / x.len() as f64;
        dy.iter().zip(weight).zip(x).map(|((d, w), x)| (d * w - x / rms * mean) / rms).collect()
    }

    #[test]
    fn norms_equal_their_twins() {
        let device = device();
        let kernels = RmsNorm::new(&device).unwrap();
        for (rows, width, pitch) in
            [(1, 8, 8), (5, 64, 72), (3, 576, 640), (5, 960, 960), (3, 1536, 1600), (2, 4096, 4160), (1, 8192, 8192)]
        {
            let mut case = Case::new(&device);
            let (x, weight) = (case.random("x", rows, width, pitch), case.random("weight", 1, width, width));
            let (dy, residual) = (case.random("dy", rows, width, pitch), case.random("residual", rows, width, width));
            let (y, dx, y2) =
                (case.empty(rows, width, pitch), case.empty(rows, width, width), case.empty(rows, width, pitch));
            let w = weight.span();
            kernels.forward(x.matrix(), w, y.matrix(), 1e-5).unwrap();
            let backward = Backward {
                dy: dy.matrix(),
                x: x.matrix(),
                residual: Some(residual.matrix()),
                dx: dx.matrix(),
                y: Some(y2.matrix()),
            };
            kernels.backward(backward, w, 1e-5).unwrap();
            let (mut expected, mut expected_dx) = (Vec::new(), Vec::new());
            for row in 0..rows {
                expected.extend(plain(x.row(row), weight.row(0), 1e-5).0);
                let gradient = plain_backward(dy.row(row), x.row(row), weight.row(0), 1e-5);
                expected_dx.extend(gradient.iter().zip(residual.row(row)).map(|(d, r)| d + r));
            }
            close("y", &y.read(), &expected, 0.01);
            close("y again", &y2.read(), &expected, 0.01);
            close("dx", &dx.read(), &expected_dx, 0.01);
            let alone = Backward { residual: None, ..backward };
            kernels.backward(alone, w, 1e-5).unwrap();
            let expected: Vec<f64> =
                (0..rows).flat_map(|row| plain_backward(dy.row(row), x.row(row), weight.row(0), 1e-5)).collect();
            close("dx alone", &dx.read(), &expected, 0.01);
        }
    }
}

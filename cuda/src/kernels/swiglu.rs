//! Owns the gated activation `silu(gate) * up` of packed rows `[gate | up]`, forward and backward.

use half::bf16;

use crate::device::Device;
use crate::error::Result;
use crate::kernels::{assert_aligned, each_vector};
use crate::launch;
use crate::launch::Function;
use crate::memory::Matrix;
use crate::source::Source;

static SOURCE: Source = Source { name: "swiglu", text: include_str!("../../kernels/swiglu.cu"), hopper: false };

/// The kernels of the activation.
#[derive(Clone)]
pub struct Swiglu {
    forward: Function,
    backward: Function,
}

impl Swiglu {
    /// Compiles them.
    pub fn new(device: &Device) -> Result<Self> {
        let program = device.program(&SOURCE, &[])?;
        Ok(Swiglu { forward: program.function("swiglu")?, backward: program.function("swiglu_backward")? })
    }

    /// `h = gate * sigmoid(gate) * up`.
    ///
    /// # Shapes
    /// - gate_up `[T, 2 * I]`, h `[T, I]`, I a multiple of eight
    pub fn forward(&self, gate_up: Matrix<bf16>, h: Matrix<bf16>) -> Result<()> {
        self.start(&self.forward, gate_up, h)
    }

    /// In place: the gradients of gate and up over gate and up, and h, which an adapter's gradient needs, over `dh`.
    ///
    /// # Shapes
    /// - gate_up `[T, 2 * I]`, dh `[T, I]`, I a multiple of eight
    pub fn backward(&self, gate_up: Matrix<bf16>, dh: Matrix<bf16>) -> Result<()> {
        self.start(&self.backward, gate_up, dh)
    }

    fn start(&self, function: &Function, gate_up: Matrix<bf16>, h: Matrix<bf16>) -> Result<()> {
        let (rows, width) = (h.rows(), h.columns());
        assert!(gate_up.rows() == rows && gate_up.columns() == 2 * width, "shapes of a gated activation");
        assert_aligned(&[gate_up, h]);
        launch!(function, each_vector(rows, width); gate_up, gate_up.pitch(), h, h.pitch(), rows, width)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Case, Known, close, device};

    /// Plain twin: `[d_gate, d_up, h]` of one value.
    fn plain(gate: f64, up: f64, dh: f64) -> [f64; 3] {
        let sigma = 1.0 / (1.0 + (-gate).exp());
        [dh * up * sigma * (1.0 + gate * (1.0 - sigma)), dh * gate * sigma, gate * sigma * up]
    }

    fn parts(gate_up: &Known, dh: &Known, [rows, width]: [usize; 2]) -> [Vec<f64>; 2] {
        let (mut gradients, mut h) = (Vec::new(), Vec::new());
        for row in 0..rows {
            let (gate, up) = gate_up.row(row).split_at(width);
            let values: Vec<[f64; 3]> = (0..width).map(|at| plain(gate[at], up[at], dh.row(row)[at])).collect();
            gradients.extend(values.iter().map(|value| value[0]));
            gradients.extend(values.iter().map(|value| value[1]));
            h.extend(values.iter().map(|value| value[2]));
        }
        [gradients, h]
    }

    #[test]
    fn activations_equal_their_twins() {
        let device = device();
        let kernels = Swiglu::new(&device).unwrap();
        for (rows, width, pitch, scale) in
            [(1, 8, 16, 1.0), (7, 576, 1160, 4.0), (3, 1536, 3072, 40.0), (2, 2560, 5184, 300.0)]
        {
            let mut case = Case::new(&device);
            let gate_up = case.scaled("gate_up", [rows, 2 * width, pitch], scale);
            let (dh, h) = (case.random("dh", rows, width, width + 8), case.empty(rows, width, width + 24));
            let [gradients, expected] = parts(&gate_up, &dh, [rows, width]);
            kernels.forward(gate_up.matrix(), h.matrix()).unwrap();
            close("h", &h.read(), &expected, 0.003);
            kernels.backward(gate_up.matrix(), dh.matrix()).unwrap();
            close("h again", &dh.read(), &expected, 0.003);
            close("gradients", &gate_up.read(), &gradients, 0.003);
        }
    }
}

//! Owns dropout on the input of an adapter. Masks are functions of a key and an index, equal to those of the model crate's
//! `DropoutKey`, made where they are used and never stored. Knows no layer and no step: those are in the key.

use half::bf16;

use crate::device::Device;
use crate::error::Result;
use crate::kernels::{assert_aligned, each_vector};
use crate::launch;
use crate::launch::Function;
use crate::memory::Matrix;
use crate::source::Source;

static SOURCE: Source = Source { name: "dropout", text: include_str!("../../kernels/dropout.cu"), hopper: false };

/// The kernels of dropout. Value `row * columns + column` of a matrix is multiplied by `factor(key, index)`: zero where
/// `uniform(key, index) < probability`, else `1 / (1 - probability)`.
#[derive(Clone)]
pub struct Dropout {
    mask: Function,
    add: Function,
}

impl Dropout {
    /// Compiles them.
    pub fn new(device: &Device) -> Result<Self> {
        let program = device.program(&SOURCE, &[])?;
        Ok(Dropout { mask: program.function("dropout_mask")?, add: program.function("dropout_add")? })
    }

    /// `out = x * factor`; `out` may be `x`.
    ///
    /// # Shapes
    /// - x, out `[T, K]`, K a multiple of eight
    pub fn mask_into(&self, x: Matrix<bf16>, out: Matrix<bf16>, key: u64, probability: f32) -> Result<()> {
        self.start(&self.mask, x, out, key, probability)
    }

    /// `dx += p * factor`, rounded once.
    ///
    /// # Shapes
    /// - p, dx `[T, K]`, K a multiple of eight
    pub fn add_masked(&self, p: Matrix<bf16>, dx: Matrix<bf16>, key: u64, probability: f32) -> Result<()> {
        self.start(&self.add, p, dx, key, probability)
    }

    fn start(&self, function: &Function, x: Matrix<bf16>, out: Matrix<bf16>, key: u64, probability: f32) -> Result<()> {
        let (rows, width) = (x.rows(), x.columns());
        assert!(out.rows() == rows && out.columns() == width, "shapes of dropout");
        assert!((0.0..1.0).contains(&probability), "a dropout probability of {probability}");
        assert_aligned(&[x, out]);
        // A uniform number is 24 bits over 2^24, so comparing the bits is comparing the numbers.
        let threshold = (probability * (1 << 24) as f32).ceil() as u32;
        let kept = 1.0 / (1.0 - probability);
        let grid = each_vector(rows, width);
        launch!(function, grid; x, x.pitch(), out, out.pitch(), rows, width, key, threshold, kept)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ground::random::{mix, unit_f32};

    use super::*;
    use crate::kernels::testing::{Case, close, device};

    /// `DropoutKey::factor` of the model crate.
    fn factor(key: u64, probability: f32, index: u64) -> f64 {
        let uniform = unit_f32(mix(key ^ mix(index)));
        if uniform < probability { 0.0 } else { f64::from(1.0 / (1.0 - probability)) }
    }

    #[test]
    fn masks_equal_those_of_the_model() {
        let device = device();
        let kernels = Dropout::new(&device).unwrap();
        for (rows, width, pitch, probability) in
            [(1, 8, 8, 0.5), (33, 64, 96, 0.1), (5, 576, 640, 0.05), (3, 1536, 1536, 0.0)]
        {
            let (mut case, key) = (Case::new(&device), 0x1234_5678_9abc_def0 ^ rows as u64);
            let (x, out) = (case.random("x", rows, width, pitch), case.empty(rows, width, width + 8));
            let (p, dx) = (case.random("p", rows, width, pitch), case.random("dx", rows, width, pitch));
            kernels.mask_into(x.matrix(), out.matrix(), key, probability).unwrap();
            kernels.add_masked(p.matrix(), dx.matrix(), key, probability).unwrap();
            let factors: Vec<f64> = (0..rows * width).map(|index| factor(key, probability, index as u64)).collect();
            let all = |known: &crate::kernels::testing::Known| -> Vec<f64> {
                (0..rows).flat_map(|row| known.row(row).to_vec()).collect()
            };
            let masked: Vec<f64> = all(&x).iter().zip(&factors).map(|(x, f)| bf16::from_f64(x * f).to_f64()).collect();
            assert_eq!(out.read(), masked);
            let sums: Vec<f64> = all(&p).iter().zip(&factors).zip(all(&dx)).map(|((p, f), dx)| dx + p * f).collect();
            close("dx", &dx.read(), &sums, 0.003);
        }
    }
}

//! Owns the cross-entropy of rows of logits, its gradient over the same memory, and the sum of losses.
//! Knows no head and no mask: a row counts if it has a target.

use half::bf16;

use crate::device::Device;
use crate::error::Result;
use crate::kernels::assert_aligned;
use crate::launch;
use crate::launch::{Function, Grid};
use crate::memory::{Matrix, Span};
use crate::source::Source;

static SOURCE: Source =
    Source { name: "cross_entropy", text: include_str!("../../kernels/cross_entropy.cu"), hopper: false };

/// Threads of a block.
const THREADS: usize = 1024;

/// The target of a row that predicts nothing: its loss and its gradient are zero.
pub const NO_TARGET: u32 = u32::MAX;

/// The kernels of the loss.
#[derive(Clone)]
pub struct CrossEntropy {
    rows: Function,
    sum: Function,
}

impl CrossEntropy {
    /// Compiles them.
    pub fn new(device: &Device) -> Result<Self> {
        let program = device.program(&SOURCE, &[])?;
        Ok(CrossEntropy { rows: program.function("cross_entropy")?, sum: program.function("loss_sum")? })
    }

    /// `losses[row] = ln(sum(exp(z))) - z[target]` with `z = cap * tanh(logits / cap)`, or the logits where `cap` is zero.
    /// A NaN among the logits or a target that is no column gives NaN; [`NO_TARGET`] gives zero.
    ///
    /// # Shapes
    /// - logits `[C, V]` with a pitch that is a multiple of four, targets and losses `[C]`
    pub fn loss(&self, logits: Matrix<f32>, targets: Span<u32>, losses: Span<f32>, cap: f32) -> Result<()> {
        self.start(logits, targets, losses, cap, None)
    }

    /// [`CrossEntropy::loss`], and the gradient of `scale * sum(losses)` over the logits' own memory, which is returned
    /// as [`Matrix::halves`] of the logits.
    pub fn loss_and_gradient(
        &self,
        logits: Matrix<f32>,
        targets: Span<u32>,
        losses: Span<f32>,
        cap: f32,
        scale: f32,
    ) -> Result<Matrix<bf16>> {
        self.start(logits, targets, losses, cap, Some(scale))?;
        Ok(logits.halves())
    }

    /// Adds losses to a sum, in one order whatever the device.
    ///
    /// # Shapes
    /// - losses `[C]`, sum `[1]`
    pub fn add(&self, losses: Span<f32>, sum: Span<f64>) -> Result<()> {
        assert!(sum.len() == 1, "one sum of losses");
        launch!(self.sum, Grid::new(1, THREADS); losses, losses.len(), sum)
    }

    fn start(
        &self,
        logits: Matrix<f32>,
        targets: Span<u32>,
        losses: Span<f32>,
        cap: f32,
        scale: Option<f32>,
    ) -> Result<()> {
        let (rows, columns) = (logits.rows(), logits.columns());
        assert!(targets.len() == rows && losses.len() == rows, "shapes of a loss");
        assert!(columns > 0 && cap >= 0.0, "{columns} logits with a cap of {cap}");
        assert_aligned(&[logits]);
        launch!(
            self.rows, Grid::new(rows, THREADS);
            logits, logits.pitch(), targets, losses, columns, cap, i32::from(scale.is_some()), scale.unwrap_or(0.0),
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Case, close, device};
    use crate::memory::Block;

    /// Plain twin of one row: its loss and the gradient of it.
    fn plain(logits: &[f32], target: usize, cap: f64) -> (f64, Vec<f64>) {
        let cap_of = |z: f32| if cap == 0.0 { f64::from(z) } else { cap * (f64::from(z) / cap).tanh() };
        let z: Vec<f64> = logits.iter().map(|z| cap_of(*z)).collect();
        let peak = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = z.iter().map(|z| (z - peak).exp()).sum();
        let slope = |at: usize| if cap == 0.0 { 1.0 } else { 1.0 - (z[at] / cap).powi(2) };
        let hit = |at: usize| if at == target { 1.0 } else { 0.0 };
        let gradient = (0..z.len()).map(|at| ((z[at] - peak).exp() / sum - hit(at)) * slope(at)).collect();
        (sum.ln() + peak - z[target], gradient)
    }

    /// Rows of logits on the device, with NaN between them, and on the host.
    fn logits(
        case: &mut Case<'_>,
        [rows, columns, pitch]: [usize; 3],
        size: f64,
    ) -> (Block, Matrix<f32>, Vec<Vec<f32>>) {
        let values: Vec<Vec<f32>> =
            (0..rows).map(|_| (0..columns).map(|_| (size * case.uniform()) as f32).collect()).collect();
        let mut stored = vec![f32::NAN; rows * pitch];
        values.iter().enumerate().for_each(|(row, values)| stored[row * pitch..][..columns].copy_from_slice(values));
        let (block, span) = case.upload(&stored);
        (block, span.matrix(rows, columns, pitch), values)
    }

    #[test]
    fn a_row_without_a_target_counts_nothing() {
        let device = device();
        let kernels = CrossEntropy::new(&device).unwrap();
        let mut case = Case::new(&device);
        let (_memory, z, _) = logits(&mut case, [2, 577, 580], 3.0);
        let (_targets, ids) = case.upload(&[5, NO_TARGET]);
        let (_losses, losses) = case.upload(&[f32::NAN; 2]);
        let gradient = kernels.loss_and_gradient(z, ids, losses, 0.0, 1.0).unwrap();
        assert_eq!(device.download(losses).unwrap()[1], 0.0);
        let gradient = device.download_matrix(gradient).unwrap();
        assert!(gradient[577..].iter().all(|value| value.to_bits() == 0) && gradient[5].to_f32() < 0.0);
    }

    #[test]
    fn losses_and_gradients_equal_their_twins() {
        let device = device();
        let kernels = CrossEntropy::new(&device).unwrap();
        for (shape, size, cap) in [
            ([1, 1, 4], 1.0, 0.0),
            ([3, 7, 12], 5.0, 0.0),
            ([2, 576, 576], 80.0, 0.0),
            ([2, 16_385, 16_388], 3.0, 0.0),
            ([1, 49_155, 49_160], 80.0, 0.0),
            ([2, 1001, 1004], 80.0, 30.0),
        ] {
            let [rows, columns, pitch] = shape;
            let mut case = Case::new(&device);
            let (_memory, z, values) = logits(&mut case, shape, size);
            let targets: Vec<u32> = (0..rows).map(|row| ((row + 1) * 7919 % columns) as u32).collect();
            let (_targets, ids) = case.upload(&targets);
            let (_losses, losses) = case.upload(&vec![f32::NAN; rows]);
            let twins: Vec<_> = (0..rows).map(|row| plain(&values[row], targets[row] as usize, cap)).collect();
            let expected: Vec<f64> = twins.iter().map(|twin| twin.0).collect();
            let found = || device.download(losses).unwrap().iter().map(|loss| f64::from(*loss)).collect::<Vec<f64>>();

            kernels.loss(z, ids, losses, cap as f32).unwrap();
            close("loss", &found(), &expected, 2e-6);
            let gradient = kernels.loss_and_gradient(z, ids, losses, cap as f32, 0.125).unwrap();
            close("loss again", &found(), &expected, 2e-6);
            let found: Vec<f64> = device.download_matrix(gradient).unwrap().iter().map(|d| d.to_f64()).collect();
            close(
                "gradient",
                &found,
                &twins.iter().flat_map(|twin| twin.1.iter().map(|d| d / 8.0)).collect::<Vec<f64>>(),
                0.003,
            );
            let after = device.download_matrix(z.column_range(columns, pitch - columns)).unwrap();
            assert!(after.iter().all(|value| value.is_nan()), "written between the rows");
        }
    }

    #[test]
    fn a_wrong_logit_or_target_shows() {
        let device = device();
        let kernels = CrossEntropy::new(&device).unwrap();
        let case = Case::new(&device);
        for place in [0, 500, 998] {
            let mut values = vec![1.0_f32; 1000];
            values[place] = f32::NAN;
            let (_memory, z) = case.upload(&values);
            let (_losses, losses) = case.upload(&[0.0_f32]);
            kernels.loss(z.matrix(1, 999, 1000), case.upload(&[3_u32]).1, losses, 0.0).unwrap();
            assert!(device.download(losses).unwrap()[0].is_nan());
        }
        let ((_memory, z), (_losses, losses)) = (case.upload(&[1.0_f32; 8]), case.upload(&[0.0_f32]));
        kernels.loss(z.matrix(1, 7, 8), case.upload(&[7_u32]).1, losses, 0.0).unwrap();
        assert!(device.download(losses).unwrap()[0].is_nan());
    }

    #[test]
    fn masked_logits_count_nothing() {
        let device = device();
        let kernels = CrossEntropy::new(&device).unwrap();
        let case = Case::new(&device);
        let mut values = vec![f32::NEG_INFINITY; 20_000];
        (values[17], values[19_999]) = (2.0, 2.0);
        let ((_memory, z), (_losses, losses)) = (case.upload(&values), case.upload(&[0.0_f32]));
        let (_targets, targets) = case.upload(&[17_u32]);
        let gradient = kernels.loss_and_gradient(z.matrix(1, 20_000, 20_000), targets, losses, 0.0, 1.0).unwrap();
        close("loss", &[f64::from(device.download(losses).unwrap()[0])], &[2.0_f64.ln()], 1e-6);
        let gradient = device.download_matrix(gradient).unwrap();
        assert_eq!([gradient[0], gradient[17], gradient[19_999]].map(|d| d.to_f32()), [0.0, -0.5, 0.5]);
    }

    #[test]
    fn losses_are_added_to_what_there_is() {
        let device = device();
        let kernels = CrossEntropy::new(&device).unwrap();
        for count in [0, 1, 33, 5000] {
            let mut case = Case::new(&device);
            let values: Vec<f32> = (0..count).map(|_| case.uniform() as f32).collect();
            let (_losses, losses) = case.upload(&values);
            let (_sum, sum) = case.upload(&[2.5_f64]);
            kernels.add(losses, sum).unwrap();
            let expected = 2.5 + values.iter().map(|value| f64::from(*value)).sum::<f64>();
            close("sum", &device.download(sum).unwrap(), &[expected], 1e-12);
        }
    }
}

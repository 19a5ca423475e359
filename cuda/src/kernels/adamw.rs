//! Owns one step of the optimiser over flat f32 buffers: the norm of the gradient, the judgement of the step, the update.
//! Knows neither schedules nor which numbers belong to which tensor. Nothing here waits for the device.
#![expect(unsafe_code, reason = "a report is read as bytes")]

use crate::device::Device;
use crate::error::Result;
use crate::launch;
use crate::launch::{Function, Grid};
use crate::memory::{Block, Element, Span};
use crate::source::Source;

static SOURCE: Source = Source { name: "adamw", text: include_str!("../../kernels/adamw.cu"), hopper: false };

/// Threads of a block.
const THREADS: usize = 256;
/// Values that a block of the partial sums takes at once.
const RUN: usize = 16 * THREADS;
/// Most partial sums of squares. How many there are depends on nothing but the length, so that sums are the same everywhere.
const PARTS: usize = 512;

/// What became of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct StepReport {
    /// The sum of its losses.
    pub loss_sum: f64,
    /// The norm of its gradient before clipping.
    pub norm: f64,
    /// What its gradient was multiplied by.
    pub clip: f64,
    /// One if it counts: norm and loss are finite and no step before was refused. Else parameters and moments stayed.
    pub ok: u32,
    /// One if a step before it had been refused.
    pub halted: u32,
}

// SAFETY: numbers only, three of eight bytes and two of four, without padding; zeros are a value.
unsafe impl bytemuck::Zeroable for StepReport {}
// SAFETY: as above, and any bytes are a value.
unsafe impl bytemuck::Pod for StepReport {}
impl Element for StepReport {
    const NAME: &'static str = "step report";
}

/// The flat buffers of a step, all of one length, a multiple of four.
#[derive(Clone, Copy)]
pub struct Buffers {
    /// Running mean of the gradient.
    pub first: Span<f32>,
    /// Running mean of its square.
    pub second: Span<f32>,
    /// What is trained.
    pub parameters: Span<f32>,
    /// Its gradient.
    pub gradient: Span<f32>,
}

/// The numbers of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepNumbers {
    /// Learning rate of this step.
    pub learning_rate: f32,
    /// Decay of the first moment.
    pub beta_1: f32,
    /// Decay of the second moment.
    pub beta_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// This step, counted from one.
    pub step: u32,
}

/// The kernels of the optimiser, and their partial sums.
pub struct AdamW {
    squares: Function,
    judge: Function,
    update: Function,
    parts: Block,
}

impl StepNumbers {
    /// `1 / (1 - beta^step)` for both moments, computed in f64.
    #[must_use]
    pub fn bias_corrections(&self) -> (f32, f32) {
        let correction = |beta: f32| (1.0 / (1.0 - f64::from(beta).powi(self.step as i32))) as f32;
        (correction(self.beta_1), correction(self.beta_2))
    }
}

impl AdamW {
    /// Compiles them.
    pub fn new(device: &Device) -> Result<Self> {
        let program = device.program(&SOURCE, &[])?;
        Ok(AdamW {
            squares: program.function("gradient_squares")?,
            judge: program.function("step_judge")?,
            update: program.function("adamw")?,
            parts: device.allocate(PARTS * size_of::<f64>())?,
        })
    }

    /// Judges a step by its gradient and its loss, and clips the gradient to a norm of `max_norm`; infinity clips nothing.
    /// A step that does not count sets `halted`, and then no later one counts until the caller zeroes it.
    ///
    /// # Shapes
    /// - gradient a multiple of four, loss_sum, halted and report `[1]`
    pub fn judge(
        &self,
        gradient: Span<f32>,
        loss_sum: Span<f64>,
        max_norm: f32,
        halted: Span<u32>,
        report: Span<StepReport>,
    ) -> Result<()> {
        assert!(loss_sum.len() == 1 && halted.len() == 1 && report.len() == 1, "one judgement of a step");
        assert_flat(gradient);
        let count = gradient.len().div_ceil(RUN).min(PARTS);
        let parts = self.parts.span::<f64>(0, count);
        launch!(self.squares, Grid::new(count, THREADS); gradient, gradient.len() as u64, parts)?;
        launch!(self.judge, Grid::new(1, THREADS); parts, count, loss_sum, max_norm, halted, report)
    }

    /// AdamW as in PyTorch on a step that counts by its report; else nothing.
    ///
    /// # Shapes
    /// - report `[1]`
    pub fn update(&self, buffers: Buffers, report: Span<StepReport>, numbers: StepNumbers) -> Result<()> {
        let Buffers { first, second, parameters, gradient } = buffers;
        let count = gradient.len();
        assert!([first, second, parameters].iter().all(|span| span.len() == count), "flat buffers of one length");
        [first, second, parameters, gradient].into_iter().for_each(assert_flat);
        assert!(report.len() == 1, "one report of a step");
        let (correct_1, correct_2) = numbers.bias_corrections();
        let decay = 1.0 - numbers.learning_rate * numbers.weight_decay;
        launch!(
            self.update, Grid::new(count.div_ceil(4 * THREADS), THREADS);
            first, second, parameters, gradient, count as u64, report, numbers.beta_1, numbers.beta_2,
            numbers.epsilon, decay, numbers.learning_rate * correct_1, correct_2,
        )
    }
}

fn assert_flat(span: Span<f32>) {
    let aligned = span.address().is_multiple_of(16) && span.len().is_multiple_of(4);
    assert!(aligned, "{} flat values at {:#x}", span.len(), span.address());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Case, close, device};

    /// Plain twin of the update of one value: first and second moment, parameter.
    fn plain([m, v, p, g]: [f64; 4], clip: f64, n: StepNumbers) -> [f64; 3] {
        let [lr, beta_1, beta_2, epsilon, decay] =
            [n.learning_rate, n.beta_1, n.beta_2, n.epsilon, n.weight_decay].map(f64::from);
        let g = g * clip;
        let (m, v) = (beta_1 * m + (1.0 - beta_1) * g, beta_2 * v + (1.0 - beta_2) * g * g);
        let corrected = |moment: f64, beta: f64| moment / (1.0 - beta.powi(n.step as i32));
        let p = p * (1.0 - lr * decay);
        [m, v, p - lr * corrected(m, beta_1) / (corrected(v, beta_2).sqrt() + epsilon)]
    }

    const NUMBERS: StepNumbers =
        StepNumbers { learning_rate: 0.01, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.1, step: 3 };

    /// Buffers on the device, with their values on the host.
    struct State {
        device: Device,
        _blocks: Vec<Block>,
        buffers: Buffers,
        values: [Vec<f32>; 4],
        loss_sum: Span<f64>,
        halted: Span<u32>,
        report: Span<StepReport>,
    }

    impl State {
        fn new(device: &Device, count: usize, loss_sum: f64, spoil: Option<(usize, f32)>) -> Self {
            let mut case = Case::new(device);
            let mut values = [(); 4].map(|()| (0..count).map(|_| case.uniform() as f32).collect::<Vec<f32>>());
            values[1].iter_mut().for_each(|second| *second *= *second);
            spoil.into_iter().for_each(|(place, value)| values[3][place] = value);
            let mut blocks = Vec::new();
            let mut keep = |(block, span): (Block, Span<f32>)| {
                blocks.push(block);
                span
            };
            let [first, second, parameters, gradient] = [0, 1, 2, 3].map(|which| keep(case.upload(&values[which])));
            let (loss_block, loss_sum) = case.upload(&[loss_sum]);
            let (halted_block, halted) = case.upload(&[0_u32]);
            let (report_block, report) = case.upload(&[StepReport::default()]);
            blocks.extend([loss_block, halted_block, report_block]);
            let buffers = Buffers { first, second, parameters, gradient };
            State { device: device.clone(), _blocks: blocks, buffers, values, loss_sum, halted, report }
        }

        fn step(&self, kernels: &AdamW, max_norm: f32) -> (StepReport, [Vec<f32>; 3]) {
            kernels.judge(self.buffers.gradient, self.loss_sum, max_norm, self.halted, self.report).unwrap();
            kernels.update(self.buffers, self.report, NUMBERS).unwrap();
            let read = [self.buffers.first, self.buffers.second, self.buffers.parameters];
            (self.device.download(self.report).unwrap()[0], read.map(|span| self.device.download(span).unwrap()))
        }
    }

    #[test]
    fn steps_equal_their_twin() {
        let device = device();
        let kernels = AdamW::new(&device).unwrap();
        for (count, max_norm) in [(4, 1.0), (1028, 0.5), (2_100_000, f32::INFINITY), (4096, 1e6)] {
            let state = State::new(&device, count, 12.5, None);
            let (report, found) = state.step(&kernels, max_norm);
            let norm = state.values[3].iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            let clip = (f64::from(max_norm) / (norm + 1e-6)).min(1.0);
            close("report", &[report.loss_sum, report.norm, report.clip], &[12.5, norm, clip], 1e-12);
            assert_eq!([report.ok, report.halted], [1, 0]);
            for (which, found) in found.iter().enumerate() {
                let value = |at: usize, which: usize| f64::from(state.values[which][at]);
                let twin = |at: usize| plain([0, 1, 2, 3].map(|which| value(at, which)), clip, NUMBERS)[which];
                let found: Vec<f64> = found.iter().map(|value| f64::from(*value)).collect();
                close(
                    ["first", "second", "parameters"][which],
                    &found,
                    &(0..count).map(twin).collect::<Vec<f64>>(),
                    1e-6,
                );
            }
        }
    }

    #[test]
    fn a_step_that_is_not_finite_changes_nothing_and_halts_the_rest() {
        let device = device();
        let kernels = AdamW::new(&device).unwrap();
        let spoils =
            [(1.0, Some((2999, f32::NAN))), (1.0, Some((0, f32::INFINITY))), (f64::NAN, None), (f64::INFINITY, None)];
        for (loss_sum, spoil) in spoils {
            let state = State::new(&device, 3000, loss_sum, spoil);
            let (report, found) = state.step(&kernels, 1.0);
            assert_eq!([report.ok, report.halted], [0, 0], "{report:?}");
            assert_eq!(found[..], state.values[..3]);
            device.upload(state.loss_sum, &[1.0]).unwrap();
            device.upload(state.buffers.gradient, &vec![0.5; 3000]).unwrap();
            let (report, found) = state.step(&kernels, 1.0);
            assert_eq!([report.ok, report.halted], [0, 1], "{report:?}");
            assert_eq!(found[..], state.values[..3]);
            device.zero(state.halted).unwrap();
            assert_eq!(state.step(&kernels, 1.0).0.ok, 1);
        }
    }

    #[test]
    fn a_report_fits_a_letter() {
        let device = device();
        let (_block, report) = Case::new(&device).upload(&[StepReport { norm: 2.0, ok: 1, ..StepReport::default() }]);
        let found = device.post(report).unwrap().open(true).unwrap().unwrap();
        assert_eq!(found, [StepReport { norm: 2.0, ok: 1, ..StepReport::default() }]);
    }
}

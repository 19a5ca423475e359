//! Owns the gradient of the gated activation together with the narrow products of its results that the adapters around it
//! need, reading and writing the wide matrices once: what [`super::swiglu`] and several products do in turn. Owns the choice
//! of panels and runs. Knows shapes; knows no adapter and no layer.

use half::bf16;

use super::{assert_aligned, steps};
use crate::device::{Device, DeviceInfo};
use crate::error::Result;
use crate::launch;
use crate::launch::{Function, Grid};
use crate::memory::{Matrix, Span};
use crate::source::Source;

static SOURCE: Source =
    Source { name: "swiglu_adapters", text: include_str!("../../kernels/swiglu_adapters.cu"), hopper: false };

/// Rows of a stage, as in `swiglu_adapters.cu`.
const ROWS: usize = 16;
/// Threads of a block of the second kernel.
const SUM_THREADS: usize = 256;

/// What the kernels are compiled for. A block has as many threads as its panel has columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    width: usize,
    stages: usize,
    /// Sixteens of ranks.
    tiles: usize,
}

impl Plan {
    /// The widest panels whose stages fit: the wider they are, the fewer parts of p there are to add. With more than 16
    /// ranks the sums of a wide panel do not fit into the registers.
    fn of(ranks: usize, info: &DeviceInfo) -> Option<Self> {
        let plan = |width, stages, tiles| Plan { width, stages, tiles };
        let plans = match steps(ranks, 16) {
            1 => vec![plan(512, 4, 1), plan(256, 4, 1), plan(256, 3, 1)],
            2 => vec![plan(256, 4, 2)],
            _ => Vec::new(),
        };
        plans.into_iter().find(|plan| plan.shared_bytes() <= info.shared_bytes)
    }

    /// Stages, and two places where the warps add up p.
    fn shared_bytes(&self) -> usize {
        let stage = ROWS * (3 * self.width + 64 * self.tiles) * 2;
        let place = self.width / 32 * self.tiles * (ROWS * 8 + 8) * 4;
        self.stages * stage + 2 * place
    }

    /// Panels of a row, and runs of each panel. Together at most one block for each multiprocessor, as each run writes
    /// the sums of its own; and the memory is busy before every multiprocessor is, so that those without a block cost
    /// nothing.
    fn blocks(&self, rows: usize, width: usize, info: &DeviceInfo) -> [usize; 2] {
        let panels = steps(width, self.width);
        [panels, (info.multiprocessors as usize / panels).clamp(1, steps(rows, ROWS).max(1))]
    }

    /// Values of the sums over rows of all runs.
    fn sums(&self, [panels, runs]: [usize; 2], ranks: usize) -> usize {
        runs * panels * 3 * ranks * self.width
    }
}

/// The kernels for one number of sixteens of ranks.
#[derive(Clone)]
struct Pair {
    plan: Plan,
    products: Function,
    sum: Function,
}

/// In place: the gradients of gate and up over gate and up, and, if asked for, h over its gradient. Beside them, of the rounded
/// results, `p = [d_gate b_gate | d_up b_up]` and the gradients of the adapters' factors.
#[derive(Clone, Copy)]
pub struct BackwardPass {
    /// Rows `[gate | up]`, `[T, 2 * I]`; becomes their gradients.
    pub gate_up: Matrix<bf16>,
    /// The gradient of h, `[T, I]`; becomes h with `stores_h`, else stays.
    pub dh: Matrix<bf16>,
    /// Whether h is wanted: it costs a sixth of the traffic.
    pub stores_h: bool,
    /// The second factors of the adapters beside gate and up, as the forward pass used them, `[I, R]` each.
    pub b: [Matrix<bf16>; 2],
    /// Gets the product, `[T, 2 * R]`; may lie in what the pitch of `gate_up` leaves free.
    pub p: Matrix<bf16>,
    /// The narrow products of gate and up, `[T, 2 * R]`.
    pub u: Matrix<bf16>,
    /// The gradient of the narrow product of the adapter that reads h, `[T, R]`.
    pub p_down: Matrix<bf16>,
    /// A factor of `d_b`.
    pub scale: f32,
    /// Get `scale * d_gate^T u_gate` and `scale * d_up^T u_up`, `[I, R]` each.
    pub d_b: [Span<f32>; 2],
    /// Gets `p_down^T h`, `[R, I]`.
    pub d_a: Span<f32>,
    /// Whether `d_b` and `d_a` are added to what is there.
    pub add: bool,
}

/// The kernels, for up to 16 ranks, and for up to 32 where the device has room for them.
#[derive(Clone)]
pub struct SwigluAdapters {
    kernels: Vec<Pair>,
    info: DeviceInfo,
}

/// Whether a device has kernels for adapters of R = `ranks` beside rows of I = `width`.
#[must_use]
pub fn suits(width: usize, ranks: usize, info: &DeviceInfo) -> bool {
    let whole = width > 0 && width.is_multiple_of(8) && ranks > 0 && ranks.is_multiple_of(8);
    whole && Plan::of(ranks, info).is_some()
}

/// How many f32 values of scratch a pass needs for at most T = `rows`, I = `width` and R = `ranks`, where [`suits`] is true;
/// else none. Never fewer for more rows.
#[must_use]
pub fn scratch_values(rows: usize, width: usize, ranks: usize, info: &DeviceInfo) -> usize {
    let Some(plan) = Plan::of(ranks, info).filter(|_| suits(width, ranks, info)) else { return 0 };
    let blocks = plan.blocks(rows, width, info);
    plan.sums(blocks, ranks) + blocks[0] * rows * 2 * ranks
}

impl SwigluAdapters {
    /// Compiles them.
    pub fn new(device: &Device) -> Result<Self> {
        Self::with(device, device.info())
    }

    fn with(device: &Device, info: &DeviceInfo) -> Result<Self> {
        let pair = |plan: Plan| {
            let Plan { width, stages, tiles } = plan;
            let defines = [("WIDTH", width as i64), ("STAGES", stages as i64), ("TILES", tiles as i64)];
            let program = device.program(&SOURCE, &defines)?;
            let products = program.function_with("swiglu_adapters_backward", plan.shared_bytes())?;
            Ok(Pair { plan, products, sum: program.function("swiglu_adapters_sum")? })
        };
        let plans = [16, 32].into_iter().filter_map(|ranks| Plan::of(ranks, info));
        Ok(SwigluAdapters { kernels: plans.map(pair).collect::<Result<_>>()?, info: info.clone() })
    }

    /// The gradients in place, and the narrow products of them.
    ///
    /// # Shapes
    /// - as in [`BackwardPass`], where [`suits`] is true
    /// - scratch: [`scratch_values`] values
    pub fn backward(&self, pass: &BackwardPass, scratch: Span<f32>) -> Result<()> {
        let BackwardPass { gate_up, dh, stores_h, b, p, u, p_down, scale, d_b, d_a, add } = *pass;
        let (rows, width, ranks) = (dh.rows(), dh.columns(), p_down.columns());
        assert!(suits(width, ranks, &self.info), "a width of {width} and {ranks} ranks");
        assert!(scratch.len() >= scratch_values(rows, width, ranks, &self.info), "scratch of a gated activation");
        assert!(scratch.address().is_multiple_of(16), "scratch at address {:#x}", scratch.address());
        let Pair { plan, products, sum } = &self.kernels[steps(ranks, 16) - 1];
        assert_eq!([gate_up.rows(), gate_up.columns()], [rows, 2 * width], "gate and up");
        assert!(b.iter().all(|b| [b.rows(), b.columns()] == [width, ranks]), "second factors");
        assert!([p, u].iter().all(|narrow| [narrow.rows(), narrow.columns()] == [rows, 2 * ranks]), "narrow products");
        assert_eq!(p_down.rows(), rows, "the gradient of a narrow product");
        assert!([d_b[0], d_b[1], d_a].iter().all(|span| span.len() == width * ranks), "gradients of factors");
        assert_aligned(&[gate_up, dh, b[0], b[1], p, u, p_down]);
        let blocks @ [panels, runs] = plan.blocks(rows, width, &self.info);
        let sums = scratch.part(0, plan.sums(blocks, ranks));
        let partial = scratch.part(sums.len(), panels * rows * 2 * ranks);
        launch!(
            products, Grid::flat(panels, runs, plan.width).shared(plan.shared_bytes());
            gate_up, gate_up.pitch(), dh, dh.pitch(), b[0], b[0].pitch(), b[1], b[1].pitch(), u, u.pitch(),
            p_down, p_down.pitch(), sums, partial, rows, width, ranks, usize::from(stores_h),
        )?;
        // A thread has four values of p, or one rank of eight columns.
        let product_blocks = steps(rows * ranks / 2, SUM_THREADS);
        let sum_blocks = steps(panels * 3 * ranks / 8 * plan.width, SUM_THREADS);
        launch!(
            sum, Grid::new(product_blocks + sum_blocks, SUM_THREADS);
            sums, runs, partial, panels, d_b[0], d_b[1], d_a, scale, usize::from(add), p, p.pitch(),
            rows, width, ranks, product_blocks,
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::kernels::swiglu::Swiglu;
    use crate::kernels::testing::{Case, Known, close, device};
    use crate::memory::Block;

    /// The wide results of a pass, as rows: `[d_gate | d_up]`, and h.
    type Wide = (Vec<Vec<f64>>, Vec<Vec<f64>>);

    /// The operands of a pass, with two rows more than it is asked for. p lies behind gate and up.
    struct Operands {
        shape: [usize; 3],
        gate_up: Known,
        dh: Known,
        b: [Known; 2],
        u: Known,
        p_down: Known,
        sums: [(Block, Span<f32>); 3],
    }

    impl Operands {
        fn new(case: &mut Case<'_>, shape @ [rows, width, ranks]: [usize; 3]) -> Self {
            let sums = [0, 1, 2].map(|_| case.upload(&vec![f32::NAN; width * ranks]));
            let pitch = 2 * width + 2 * ranks + 8;
            let more = rows + 2;
            Operands {
                shape,
                gate_up: case.scaled("gate_up", [more, 2 * width, pitch], 2.0),
                dh: case.random("dh", more, width, width + 24),
                b: [case.random("b_gate", width, ranks, ranks + 16), case.random("b_up", width, ranks, ranks + 8)],
                u: case.random("u", more, 2 * ranks, 2 * ranks + 8),
                p_down: case.random("p_down", more, ranks, ranks + 16),
                sums,
            }
        }

        fn pass(&self, add: bool) -> BackwardPass {
            let [rows, width, ranks] = self.shape;
            let [d_b_gate, d_b_up, d_a] = [0, 1, 2].map(|i| self.sums[i].1);
            BackwardPass {
                gate_up: self.gate_up.matrix().top(rows),
                dh: self.dh.matrix().top(rows),
                stores_h: !add,
                b: [self.b[0].matrix(), self.b[1].matrix()],
                p: self.gate_up.matrix().top(rows).column_range(2 * width, 2 * ranks),
                u: self.u.matrix().top(rows),
                p_down: self.p_down.matrix().top(rows),
                scale: 0.25,
                d_b: [d_b_gate, d_b_up],
                d_a,
                add,
            }
        }

        fn wide(&self) -> Wide {
            let [_, width, _] = self.shape;
            let rows = |known: &Known, width| known.read_rows().chunks(width).map(<[f64]>::to_vec).collect();
            (rows(&self.gate_up, 2 * width), rows(&self.dh, width))
        }
    }

    /// Plain twin of the narrow products, from the wide results: p, and the sums of gate, up and down.
    fn plain(operands: &Operands, (gradients, h): &Wide) -> (Vec<f64>, [Vec<f64>; 3]) {
        let [rows, width, ranks] = operands.shape;
        let mut p = vec![0.0; rows * 2 * ranks];
        let mut sums = [0, 1, 2].map(|_| vec![0.0; width * ranks]);
        for row in 0..rows {
            for rank in 0..ranks {
                for (part, b) in operands.b.iter().enumerate() {
                    let d = &gradients[row][part * width..][..width];
                    for (k, d) in d.iter().enumerate() {
                        p[(row * 2 + part) * ranks + rank] += d * b.row(k)[rank];
                        sums[part][k * ranks + rank] += 0.25 * d * operands.u.row(row)[part * ranks + rank];
                    }
                }
                for (k, h) in h[row].iter().enumerate() {
                    sums[2][rank * width + k] += operands.p_down.row(row)[rank] * h;
                }
            }
        }
        (p, sums)
    }

    /// Runs a shape twice on fresh operands, the second time adding to the sums of the first.
    fn check(device: &Device, kernels: &SwigluAdapters, shape @ [rows, width, ranks]: [usize; 3]) {
        // What swiglu alone makes of the same operands.
        let alone = Operands::new(&mut Case::new(device), shape);
        Swiglu::new(device).unwrap().backward(alone.pass(false).gate_up, alone.pass(false).dh).unwrap();
        let wide = alone.wide();
        let slopes = Operands::new(&mut Case::new(device), shape).wide().1;
        let (p, sums) = plain(&alone, &wide);
        let values = scratch_values(rows, width, ranks, &kernels.info);
        let scratch = device.allocate(4 * values).unwrap();
        let mut before: Option<(Operands, Vec<f64>)> = None;
        for times in [1.0, 2.0] {
            let operands = Operands::new(&mut Case::new(device), shape);
            if let Some((before, _)) = &before {
                for (from, to) in before.sums.iter().zip(&operands.sums) {
                    device.upload(to.1, &device.download(from.1).unwrap()).unwrap();
                }
            }
            let pass = operands.pass(before.is_some());
            kernels.backward(&pass, scratch.span(0, values)).unwrap();
            // The second time h is not asked for, and its gradient stays.
            let expected = if pass.stores_h { &wide } else { &(wide.0.clone(), slopes.clone()) };
            assert!(operands.wide() == *expected, "what swiglu makes of {shape:?}");
            operands.dh.read();
            let all = operands.gate_up.matrix();
            let right = all.column_range(2 * width + 2 * ranks, 8);
            let below = all.row_range(rows, 2).column_range(2 * width, 2 * ranks);
            for free in [right, below] {
                assert!(device.download_matrix(free).unwrap().iter().all(|value| value.is_nan()), "beside p");
            }
            let found: Vec<f64> = device.download_matrix(pass.p).unwrap().iter().map(|value| value.to_f64()).collect();
            close("p", &found, &p, 0.003);
            for ((sum, (_, span)), name) in sums.iter().zip(&operands.sums).zip(["gate", "up", "down"]) {
                let sum: Vec<f64> = sum.iter().map(|sum| times * sum).collect();
                let found: Vec<f64> = device.download(*span).unwrap().into_iter().map(f64::from).collect();
                close(name, &found, &sum, 1e-4);
            }
            if let Some((before, p)) = &before {
                assert_eq!(*p, found, "bits of p in a second run");
                // A sum on top of the same sum is its double to the last bit.
                for (once, twice) in before.sums.iter().zip(&operands.sums) {
                    let (once, twice) = (device.download(once.1).unwrap(), device.download(twice.1).unwrap());
                    assert!(once.iter().zip(&twice).all(|(once, twice)| 2.0 * once == *twice), "bits of sums");
                }
            }
            before = Some((operands, found));
        }
    }

    #[test]
    fn gradients_and_their_narrow_products_equal_their_twins() {
        let device = device();
        // Shared memory for each of the plans, and multiprocessors: several make several runs of a panel.
        let cases: [(usize, u32, &[[usize; 3]]); 4] = [
            (227 << 10, 1, &[[0, 8, 8], [1, 8, 8], [90, 40, 16], [17, 520, 16]]),
            (227 << 10, 6, &[[100, 264, 8], [67, 1032, 16], [50, 264, 32], [33, 40, 24]]),
            (163 << 10, 4, &[[83, 264, 16], [20, 520, 24]]),
            (99 << 10, 3, &[[70, 40, 16], [16, 296, 8]]),
        ];
        for (shared_bytes, multiprocessors, shapes) in cases {
            let shared_bytes = device.info().shared_bytes.min(shared_bytes);
            let info = DeviceInfo { multiprocessors, shared_bytes, ..device.info().clone() };
            let kernels = SwigluAdapters::with(&device, &info).unwrap();
            for shape in shapes.iter().filter(|[_, _, ranks]| suits(8, *ranks, &info)) {
                check(&device, &kernels, *shape);
            }
        }
    }

    fn info(multiprocessors: u32, shared_bytes: usize) -> DeviceInfo {
        DeviceInfo { multiprocessors, shared_bytes, ..device().info().clone() }
    }

    #[test]
    fn scratch_never_shrinks_with_more_rows() {
        for info in [info(132, 227 << 10), info(108, 163 << 10), info(128, 99 << 10)] {
            for (width, ranks) in [(14336, 16), (1536, 8), (8, 16), (18944, 32)] {
                if !suits(width, ranks, &info) {
                    continue;
                }
                let values: Vec<usize> =
                    (0..5000).step_by(7).map(|rows| scratch_values(rows, width, ranks, &info)).collect();
                assert!(values.is_sorted(), "scratch of [.., {width}] with {ranks} ranks");
            }
        }
    }

    #[test]
    fn shapes_without_kernels_are_refused() {
        let (large, small) = (info(132, 227 << 10), info(84, 99 << 10));
        assert!([8, 16, 24, 32].iter().all(|ranks| suits(14336, *ranks, &large)));
        assert!([8, 16].iter().all(|ranks| suits(14336, *ranks, &small)));
        assert!(!suits(14336, 32, &small));
        assert!([(14336, 40), (14336, 4), (14336, 0), (12, 16), (0, 16)].iter().all(|(i, r)| !suits(*i, *r, &large)));
    }
}

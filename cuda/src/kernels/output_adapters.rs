//! Owns the narrow products of the gradient of a linear's output that the adapters beside it need, with the rotation of
//! queries and keys on the way, reading the wide matrix once: what [`super::rope`] and several products do in turn.
//! Knows shapes; knows no adapter and no layer.

use half::bf16;

use super::rope::Angles;
use super::{assert_aligned, steps};
use crate::device::{Device, DeviceInfo};
use crate::error::Result;
use crate::launch;
use crate::launch::{Function, Grid};
use crate::memory::{Matrix, Span};
use crate::source::Source;

static SOURCE: Source =
    Source { name: "output_adapters", text: include_str!("../../kernels/output_adapters.cu"), hopper: false };

/// Columns of a panel and threads of a block, and rows of a stage.
const WIDTH: usize = 256;
const ROWS: usize = 32;
/// Blocks of a multiprocessor, so that one computes while another waits.
const PER_MULTIPROCESSOR: usize = 2;
/// Threads of a block of the second kernel.
const SUM_THREADS: usize = 256;
/// Values of half a head where nothing is rotated; any that divides a panel would do.
const ANY_HALF: usize = 64;

/// What the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    stages: usize,
    /// Sixteens of ranks.
    tiles: usize,
}

impl Plan {
    /// As many stages as fit.
    fn of(ranks: usize, info: &DeviceInfo) -> Option<Self> {
        let tiles = steps(ranks, 16);
        let plans = [4, 3].map(|stages| Plan { stages, tiles });
        plans.into_iter().find(|plan| {
            (1..=2).contains(&tiles) && PER_MULTIPROCESSOR * (plan.shared_bytes() + 1024) <= info.shared_bytes + 1024
        })
    }

    /// Stages, and two places where the warps add up p.
    fn shared_bytes(&self) -> usize {
        let place = WIDTH / 32 * self.tiles * (ROWS * 8 + 8) * 4;
        self.stages * ROWS * (2 * WIDTH + 8 * 16) + 2 * place
    }
}

/// The kernels for one number of sixteens of ranks.
#[derive(Clone)]
struct Pair {
    plan: Plan,
    products: Function,
    sum: Function,
}

/// Columns of the gradient that one adapter made.
#[derive(Clone, Copy)]
pub struct Part {
    /// How many; they come after those of the parts before it.
    pub columns: usize,
    /// Gets `scale * d^T u` of them, `[columns, R]`.
    pub d_b: Span<f32>,
}

/// A rotation to undo.
#[derive(Clone, Copy)]
pub struct Rotation {
    /// Of each row.
    pub angles: Angles,
    /// Values of a head.
    pub head_dim: usize,
    /// How many columns, from the first, are rotated: whole parts.
    pub columns: usize,
}

/// For parts of W columns together, one to three of them, with R ranks each: `p = d * b`, and the gradients of b.
pub struct BackwardPass<'a> {
    /// The gradient of a linear's output, `[T, W]`; its rotated columns become the gradient before the rotation.
    pub d: Matrix<bf16>,
    /// What was rotated.
    pub rotation: Option<Rotation>,
    /// The columns of each adapter.
    pub parts: &'a [Part],
    /// The second factors as the forward pass used them, the ranks of part after part side by side, `[W, parts * R]`. What
    /// lies outside of a part's own rows is not read.
    pub b: Matrix<bf16>,
    /// Gets the products, `[T, parts * R]`; may lie in what the pitch of `d` leaves free.
    pub p: Matrix<bf16>,
    /// The narrow products of the forward pass, `[T, parts * R]`.
    pub u: Matrix<bf16>,
    /// A factor of `d_b`.
    pub scale: f32,
    /// Whether `d_b` is added to what is there.
    pub add: bool,
}

/// The kernels, for up to 16 and for up to 32 ranks, where the device has room for them.
#[derive(Clone)]
pub struct OutputAdapters {
    kernels: Vec<Pair>,
    info: DeviceInfo,
}

/// Whether a device has kernels for parts of these widths with R = `ranks` each.
#[must_use]
pub fn suits(widths: &[usize], ranks: usize, info: &DeviceInfo) -> bool {
    let whole = widths.iter().all(|width| *width > 0 && width.is_multiple_of(8));
    let narrow = ranks > 0 && ranks.is_multiple_of(8) && Plan::of(ranks, info).is_some();
    whole && narrow && (1..=3).contains(&widths.len())
}

/// Whether the kernels can undo a rotation of heads of this size.
#[must_use]
pub fn suits_heads(head_dim: usize) -> bool {
    (16..=128).contains(&head_dim) && head_dim.is_power_of_two()
}

fn panels(widths: impl IntoIterator<Item = usize>) -> usize {
    widths.into_iter().map(|width| steps(width, WIDTH)).sum()
}

/// Runs of each panel: no more blocks than run at once, as each run leaves the sums of its own.
fn runs(panels: usize, rows: usize, info: &DeviceInfo) -> usize {
    (PER_MULTIPROCESSOR * info.multiprocessors as usize / panels).clamp(1, steps(rows, ROWS).max(1))
}

/// How many f32 values of scratch a pass needs for at most T = `rows`, where [`suits`] is true; else none. Never fewer for
/// more rows.
#[must_use]
pub fn scratch_values(rows: usize, widths: &[usize], ranks: usize, info: &DeviceInfo) -> usize {
    if !suits(widths, ranks, info) {
        return 0;
    }
    let panels = panels(widths.iter().copied());
    panels * ranks * (runs(panels, rows, info) * WIDTH + rows)
}

impl OutputAdapters {
    /// Compiles them.
    pub fn new(device: &Device) -> Result<Self> {
        Self::with(device, device.info())
    }

    fn with(device: &Device, info: &DeviceInfo) -> Result<Self> {
        let pair = |plan: Plan| {
            let defines = [
                ("WIDTH", WIDTH),
                ("ROWS", ROWS),
                ("STAGES", plan.stages),
                ("TILES", plan.tiles),
                ("PER_MULTIPROCESSOR", PER_MULTIPROCESSOR),
            ];
            let defines = defines.map(|(name, value)| (name, value as i64));
            let program = device.program(&SOURCE, &defines)?;
            let products = program.function_with("output_adapters", plan.shared_bytes())?;
            Ok(Pair { plan, products, sum: program.function("output_adapters_sum")? })
        };
        let plans = [16, 32].into_iter().filter_map(|ranks| Plan::of(ranks, info));
        Ok(OutputAdapters { kernels: plans.map(pair).collect::<Result<_>>()?, info: info.clone() })
    }

    /// The narrow products of a gradient, whose rotation is undone in place.
    ///
    /// # Shapes
    /// - as in [`BackwardPass`], where [`suits`] is true, and [`suits_heads`] where there is a rotation
    /// - scratch: [`scratch_values`] values
    pub fn backward(&self, pass: &BackwardPass<'_>, scratch: Span<f32>) -> Result<()> {
        let BackwardPass { d, rotation, parts, b, p, u, scale, add } = *pass;
        let (rows, ranks) = (d.rows(), u.columns() / parts.len());
        let widths: Vec<usize> = parts.iter().map(|part| part.columns).collect();
        assert!(suits(&widths, ranks, &self.info), "parts of {widths:?} columns with {ranks} ranks");
        assert!(scratch.len() >= scratch_values(rows, &widths, ranks, &self.info), "scratch of narrow products");
        assert!(scratch.address().is_multiple_of(16), "scratch at address {:#x}", scratch.address());
        assert_eq!(d.columns(), widths.iter().sum::<usize>(), "columns of all parts");
        let all = parts.len() * ranks;
        assert_eq!([b.rows(), b.columns()], [d.columns(), all], "second factors");
        assert!([p, u].iter().all(|narrow| [narrow.rows(), narrow.columns()] == [rows, all]), "narrow products");
        assert!(parts.iter().all(|part| part.d_b.len() == part.columns * ranks), "gradients of second factors");
        assert_aligned(&[d, b, p, u]);
        let (half, turned) = rotation.map_or((ANY_HALF, 0), |rotation| (rotation.head_dim / 2, rotation.columns));
        if let Some(Rotation { angles, head_dim, columns }) = rotation {
            let ends = |count: usize| widths[..count].iter().sum::<usize>() == columns;
            let heads = suits_heads(head_dim) && widths.iter().all(|width| width.is_multiple_of(head_dim));
            assert!(heads && (0..=widths.len()).any(ends), "{columns} rotated columns of heads of {head_dim}");
            assert!(angles.positions.len() == rows && angles.cos.len() == angles.sin.len(), "angles of a rotation");
        }
        let angles = rotation.map(|rotation| rotation.angles);
        let Pair { plan, products, sum } = &self.kernels[steps(ranks, 16) - 1];
        let panels = panels(widths.iter().copied());
        let runs = runs(panels, rows, &self.info);
        let sums = scratch.part(0, runs * panels * ranks * WIDTH);
        let partial = scratch.part(sums.len(), panels * rows * ranks);
        let [c0, c1, c2] = [0, 1, 2].map(|part| widths.get(part).copied().unwrap_or(0));
        launch!(
            products, Grid::flat(panels, runs, WIDTH).shared(plan.shared_bytes());
            d, d.pitch(), b, b.pitch(), u, u.pitch(), c0, c1, c2, angles.map(|angles| angles.cos),
            angles.map(|angles| angles.sin), angles.map(|angles| angles.positions), half, turned, sums, partial, rows, ranks,
        )?;
        // A thread has four values of p, or one rank of eight columns.
        let product_blocks = steps(rows * ranks / 4, SUM_THREADS);
        let sum_blocks = steps(panels * ranks / 8 * WIDTH, SUM_THREADS);
        let [g0, g1, g2] = [0, 1, 2].map(|part| parts.get(part).map(|part| part.d_b));
        launch!(
            sum, Grid::flat(product_blocks + sum_blocks, parts.len(), SUM_THREADS);
            sums, runs, partial, c0, c1, c2, g0, g1, g2, scale, usize::from(add), p, p.pitch(), rows, ranks,
            product_blocks,
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::kernels::rope::{Heads, Rope};
    use crate::kernels::testing::{Case, Known, close, device};
    use crate::memory::Block;

    /// A rotation of heads of a size over some columns.
    type Turned = Option<(usize, usize)>;

    /// The operands of a pass, with two rows more than it is asked for. p lies behind d.
    struct Operands {
        rows: usize,
        widths: Vec<usize>,
        ranks: usize,
        d: Known,
        b: Known,
        u: Known,
        sums: Vec<(Block, Span<f32>)>,
        turned: Turned,
        angles: Angles,
        _tables: [Block; 3],
    }

    impl Operands {
        fn new(case: &mut Case<'_>, rows: usize, widths: &[usize], ranks: usize, turned: Turned) -> Self {
            let (width, all) = (widths.iter().sum::<usize>(), ranks * widths.len());
            let half = turned.map_or(8, |(head_dim, _)| head_dim / 2);
            let table = |f: fn(f32) -> f32| (0..40 * half).map(|at| f(at as f32 * 0.37)).collect::<Vec<f32>>();
            let positions: Vec<u32> = (0..rows).map(|row| (row as u32 * 7 + 3) % 40).collect();
            let ((a, cos), (b, sin), (c, positions)) =
                (case.upload(&table(f32::cos)), case.upload(&table(f32::sin)), case.upload(&positions));
            Operands {
                rows,
                widths: widths.to_vec(),
                ranks,
                d: case.random("d", rows + 2, width, width + all + 8),
                b: case.random("b", width, all, all + 16),
                u: case.random("u", rows + 2, all, all + 8),
                sums: widths.iter().map(|columns| case.upload(&vec![f32::NAN; columns * ranks])).collect(),
                turned,
                angles: Angles { cos, sin, positions },
                _tables: [a, b, c],
            }
        }

        fn parts(&self) -> Vec<Part> {
            let parts = self.widths.iter().zip(&self.sums);
            parts.map(|(columns, (_, d_b))| Part { columns: *columns, d_b: *d_b }).collect()
        }

        fn pass<'a>(&self, parts: &'a [Part], add: bool) -> BackwardPass<'a> {
            let (width, all) = (self.b.matrix().rows(), self.b.matrix().columns());
            let d = self.d.matrix().top(self.rows);
            let angles = self.angles;
            BackwardPass {
                d,
                rotation: self.turned.map(|(head_dim, columns)| Rotation { angles, head_dim, columns }),
                parts,
                b: self.b.matrix(),
                p: d.column_range(width, all),
                u: self.u.matrix().top(self.rows),
                scale: 0.25,
                add,
            }
        }
    }

    /// What the rotation's own kernel makes of d. It has queries and keys; here all turned columns are queries, but for one
    /// head of keys.
    fn turned_back(device: &Device, operands: &Operands) -> Vec<f64> {
        if let Some((head_dim, columns)) = operands.turned {
            let heads = Heads { query: columns / head_dim - 1, key_value: 1, head_dim };
            let width = heads.packed_width();
            let kernel = Rope::new(device, heads).unwrap();
            let d = operands.d.matrix().top(operands.rows);
            // The packed row may be wider than d; what lies behind the turned columns is not touched.
            kernel.backward(d.column_range(0, width), operands.angles, None).unwrap();
        }
        operands.d.read_rows()
    }

    /// Plain twin of the narrow products of turned rows.
    fn plain(operands: &Operands, d: &[f64]) -> (Vec<f64>, Vec<Vec<f64>>) {
        let (ranks, parts, width) = (operands.ranks, operands.widths.len(), operands.widths.iter().sum::<usize>());
        let mut p = vec![0.0; operands.rows * parts * ranks];
        let mut sums: Vec<Vec<f64>> = operands.widths.iter().map(|columns| vec![0.0; columns * ranks]).collect();
        for row in 0..operands.rows {
            let mut before = 0;
            for (part, columns) in operands.widths.iter().enumerate() {
                for k in 0..*columns {
                    let value = d[row * width + before + k];
                    for rank in 0..ranks {
                        let at = part * ranks + rank;
                        p[row * parts * ranks + at] += value * operands.b.row(before + k)[at];
                        sums[part][k * ranks + rank] += 0.25 * value * operands.u.row(row)[at];
                    }
                }
                before += columns;
            }
        }
        (p, sums)
    }

    fn check(device: &Device, kernels: &OutputAdapters, rows: usize, widths: &[usize], ranks: usize, turned: Turned) {
        let what = format!("{rows} rows of {widths:?} with {ranks} ranks, {turned:?}");
        let alone = Operands::new(&mut Case::new(device), rows, widths, ranks, turned);
        let expected = turned_back(device, &alone);
        let (p, sums) = plain(&alone, &expected);
        let values = scratch_values(rows, widths, ranks, &kernels.info);
        let scratch = device.allocate(4 * values).unwrap();
        let operands = Operands::new(&mut Case::new(device), rows, widths, ranks, turned);
        let fresh = device.download(operands.d.span()).unwrap();
        let mut first = Vec::new();
        for times in [1.0, 2.0] {
            device.upload(operands.d.span(), &fresh).unwrap();
            let parts = operands.parts();
            let pass = operands.pass(&parts, times > 1.0);
            kernels.backward(&pass, scratch.span(0, values)).unwrap();
            assert!(operands.d.read_rows() == expected, "d of {what}");
            let found: Vec<f64> = device.download_matrix(pass.p).unwrap().iter().map(|value| value.to_f64()).collect();
            close(&format!("p of {what}"), &found, &p, 0.003);
            let bits: Vec<Vec<f32>> = operands.sums.iter().map(|(_, span)| device.download(*span).unwrap()).collect();
            for (sum, found) in sums.iter().zip(&bits) {
                let sum: Vec<f64> = sum.iter().map(|sum| times * sum).collect();
                let found: Vec<f64> = found.iter().copied().map(f64::from).collect();
                close(&format!("sums of {what}"), &found, &sum, 1e-4);
            }
            let below = operands.d.matrix().row_range(rows, 2);
            let beside = below.column_range(pass.d.columns(), pass.p.columns());
            assert!(device.download_matrix(beside).unwrap().iter().all(|value| value.is_nan()), "below p of {what}");
            if times > 1.0 {
                let doubled =
                    |(once, twice): (&Vec<f32>, &Vec<f32>)| once.iter().zip(twice).all(|(a, b)| 2.0 * a == *b);
                assert!(first.iter().zip(&bits).all(doubled), "bits of sums of {what}");
            }
            first = bits;
        }
    }

    #[test]
    fn narrow_products_equal_their_twins() {
        let device = device();
        let plain: &[(usize, &[usize], usize)] =
            &[(0, &[8], 8), (1, &[8], 8), (90, &[40], 16), (70, &[520, 16], 16), (33, &[1032, 512, 40], 24)];
        let turned: &[(usize, &[usize], usize, usize, usize)] = &[
            (50, &[128, 64, 64], 16, 64, 192),
            (37, &[576, 192, 192], 8, 64, 768),
            (100, &[1024, 256, 256], 16, 128, 1280),
            (33, &[512, 512], 32, 128, 512),
            (9, &[32, 16, 16], 8, 16, 48),
        ];
        for (shared_bytes, multiprocessors) in [(227 << 10, 7), (163 << 10, 1)] {
            let shared_bytes = device.info().shared_bytes.min(shared_bytes);
            let info = DeviceInfo { multiprocessors, shared_bytes, ..device.info().clone() };
            let kernels = OutputAdapters::with(&device, &info).unwrap();
            for (rows, widths, ranks) in plain.iter().filter(|(_, widths, ranks)| suits(widths, *ranks, &info)) {
                check(&device, &kernels, *rows, widths, *ranks, None);
            }
            for (rows, widths, ranks, head_dim, columns) in turned.iter().filter(|case| suits(case.1, case.2, &info)) {
                check(&device, &kernels, *rows, widths, *ranks, Some((*head_dim, *columns)));
            }
        }
    }

    #[test]
    fn shapes_without_kernels_are_refused() {
        let info = |shared_bytes| DeviceInfo { shared_bytes, ..device().info().clone() };
        let large = info(227 << 10);
        assert!([8, 16, 24, 32].iter().all(|ranks| suits(&[4096, 1024, 1024], *ranks, &large)));
        assert!(suits(&[4096], 16, &info(163 << 10)) && !suits(&[4096], 32, &info(163 << 10)));
        assert!(!suits(&[4096], 16, &info(99 << 10)));
        assert!(!suits(&[], 16, &large) && !suits(&[8; 4], 16, &large) && !suits(&[12], 16, &large));
        assert!(!suits(&[64], 40, &large) && !suits(&[64], 4, &large) && !suits(&[0], 16, &large));
        assert!(suits_heads(64) && suits_heads(128) && !suits_heads(80) && !suits_heads(256) && !suits_heads(8));
    }
}

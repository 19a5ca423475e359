//! Owns sums over tokens of the products of a wide matrix with a narrow one, as the gradients of adapters are: many of them
//! in one launch. Knows shapes; knows no adapter and no layer.

use half::bf16;

use super::narrow::MOST_RANKS;
use super::split::Split;
use super::steps;
use crate::device::Device;
use crate::error::Result;
use crate::launch;
use crate::launch::{Function, Grid};
use crate::memory::{Block, Matrix, Span};
use crate::source::Source;

static SOURCE: Source = Source { name: "tall", text: include_str!("../../kernels/tall.cu"), hopper: false };

/// As in `tall.cu`.
const THREADS: usize = 256;
const WIDTH: usize = 256;
const ROWS: usize = 32;
const SHARED_BYTES: usize = 4 * ROWS * (WIDTH + MOST_RANKS) * 2;

/// What a run of rows costs beyond its steps: a pipeline to fill, and partial sums to write and read.
const OVERHEAD: usize = 8;

/// The kernels of the sums.
#[derive(Clone)]
pub struct Tall {
    sums: Function,
    reduce: Function,
    device: Device,
    multiprocessors: u32,
}

/// One sum: `out = scale * x^T p`, or that much more.
#[derive(Clone, Copy)]
pub struct Gradient {
    /// The wide matrix, `[T, K]`.
    pub x: Matrix<bf16>,
    /// The narrow matrix, `[T, R]`.
    pub p: Matrix<bf16>,
    /// A factor of the sum.
    pub scale: f32,
    /// Gets the sum, K times R values.
    pub out: Span<f32>,
    /// How `out` is stored.
    pub layout: Layout,
}

/// How a gradient is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[R, K]`, as the first factor of an adapter is.
    RankRows,
    /// `[K, R]`, as the second one is.
    RankColumns,
}

/// Sums that are done together, in a table on the device. Their matrices and results keep their places.
pub struct Table {
    lines: Block,
    panels: usize,
    most_ranks: usize,
    /// Values that the partial sums of all panels over the same rows take.
    pub(super) size: usize,
    /// Most rows of a sum.
    pub(super) rows: usize,
}

impl Table {
    fn split(&self, rows: usize, multiprocessors: u32) -> Split {
        Split::new(self.panels, steps(rows, ROWS), OVERHEAD, multiprocessors)
    }

    /// How many f32 values of scratch the sums over T = `rows` need.
    /// Fewer rows may need more, as they are split into more runs.
    #[must_use]
    pub fn scratch_values(&self, rows: usize, multiprocessors: u32) -> usize {
        self.split(rows, multiprocessors).runs * self.size
    }

    /// Values that the partial sums of one gradient over the same rows take.
    pub(super) fn values(width: usize, ranks: usize) -> usize {
        steps(width, WIDTH) * WIDTH * ranks
    }

    fn span(&self) -> Span<u64> {
        self.lines.span(0, LINE_WORDS * self.panels)
    }
}

/// Words of eight bytes of a line of the table.
const LINE_WORDS: usize = 8;

/// The lines of one sum, as `Panel` in `tall.cu`. Its partial sums begin at `offset`.
fn lines(gradient: &Gradient, offset: usize) -> impl Iterator<Item = [u64; LINE_WORDS]> {
    let Gradient { x, p, scale, out, layout } = *gradient;
    let (width, ranks) = (x.columns(), p.columns());
    assert_eq!(out.len(), width * ranks, "values of a gradient");
    assert!(out.address().is_multiple_of(16), "a gradient at address {:#x}", out.address());
    assert!(ranks > 0 && ranks <= MOST_RANKS, "{ranks} ranks");
    let sizes = [width, ranks, x.pitch(), p.pitch()];
    assert!(sizes.iter().all(|size| size.is_multiple_of(8)), "sizes and pitches {sizes:?}");
    let (column_stride, rank_stride) = match layout {
        Layout::RankRows => (1, width),
        Layout::RankColumns => (ranks, 1),
    };
    let both = |low: usize, high: usize| low as u64 | (high as u64) << 32;
    (0..width).step_by(WIDTH).map(move |column| {
        let columns = WIDTH.min(width - column);
        [
            x.column_range(column, columns).address(),
            p.address(),
            out.part(column * column_stride, 0).address(),
            (offset + column * ranks) as u64,
            both(x.pitch(), p.pitch()),
            both(columns, ranks),
            both(column_stride, rank_stride),
            u64::from(scale.to_bits()),
        ]
    })
}

impl Tall {
    /// Compiles them.
    pub fn new(device: &Device) -> Result<Self> {
        let program = device.program(&SOURCE, &[])?;
        Ok(Tall {
            sums: program.function_with("tall", SHARED_BYTES)?,
            reduce: program.function("tall_sum")?,
            device: device.clone(),
            multiprocessors: device.info().multiprocessors,
        })
    }

    /// Puts sums into a table. The rows of their matrices are the most that a call may ask for.
    ///
    /// # Shapes
    /// - x `[T, K]`, p `[T, R]`, out `[R, K]` or `[K, R]`; K and R multiples of eight, R at most 64
    pub fn table(&self, gradients: &[Gradient]) -> Result<Table> {
        let (mut words, mut size) = (Vec::new(), 0);
        for gradient in gradients {
            lines(gradient, size).for_each(|line| words.extend(line));
            size += Table::values(gradient.x.columns(), gradient.p.columns());
        }
        let rows = gradients.iter().map(|gradient| gradient.x.rows().min(gradient.p.rows())).min().unwrap_or(0);
        let most_ranks = gradients.iter().map(|gradient| gradient.p.columns()).max().unwrap_or(0);
        let lines = self.device.allocate(size_of_val(words.as_slice()))?;
        let table = Table { lines, panels: words.len() / LINE_WORDS, most_ranks, size, rows };
        self.device.upload(table.span(), &words)?;
        Ok(table)
    }

    /// Does the sums of a table over the first `rows` rows; adds them to what is there if `add` is true.
    ///
    /// # Shapes
    /// - scratch: [`Table::scratch_values`] values
    pub fn run(&self, table: &Table, rows: usize, add: bool, scratch: Span<f32>) -> Result<()> {
        assert!(rows <= table.rows, "{rows} rows of {}", table.rows);
        assert!(scratch.len() >= table.scratch_values(rows, self.multiprocessors), "scratch of gradients");
        let Split { runs, steps: stages } = table.split(rows, self.multiprocessors);
        launch!(
            self.sums, Grid::flat(table.panels, runs, THREADS).shared(SHARED_BYTES);
            table.span(), scratch, table.size as u64, rows, stages,
        )?;
        self.reduce(table, runs, add, scratch)
    }

    /// Ends the sums of a table whose partial sums, `runs` times the table's size, are in `scratch`.
    pub(super) fn reduce(&self, table: &Table, runs: usize, add: bool, scratch: Span<f32>) -> Result<()> {
        launch!(
            self.reduce, Grid::flat(table.panels, steps(table.most_ranks, 8), THREADS);
            table.span(), scratch, table.size as u64, runs, usize::from(add),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Case, Known, close, device};

    /// Plain twin: `scale * x^T p` over the first `rows` rows.
    fn plain(x: &Known, p: &Known, rows: usize, scale: f64, layout: Layout) -> Vec<f64> {
        let (width, ranks) = (x.row(0).len(), p.row(0).len());
        let mut sums = vec![0.0; width * ranks];
        for row in 0..rows {
            for (k, x) in x.row(row).iter().enumerate() {
                for (rank, p) in p.row(row).iter().enumerate() {
                    let at = match layout {
                        Layout::RankRows => rank * width + k,
                        Layout::RankColumns => k * ranks + rank,
                    };
                    sums[at] += scale * x * p;
                }
            }
        }
        sums
    }

    #[test]
    fn a_table_of_gradients_equals_their_twins() {
        let device = device();
        let mut kernels = Tall::new(&device).unwrap();
        // The widths and ranks of the sums of one table, and rows.
        let tables: [(usize, &[(usize, usize)]); 4] = [
            (1, &[(8, 8)]),
            (70, &[(576, 48), (192, 16), (264, 24)]),
            (513, &[(40, 64)]),
            (200, &[(256, 32), (8, 16)]),
        ];
        for (rows, shapes) in tables {
            let mut case = Case::new(&device);
            let known: Vec<(Known, Known, Layout)> = shapes
                .iter()
                .enumerate()
                .map(|(i, (width, ranks))| {
                    let layout = if i % 2 == 0 { Layout::RankRows } else { Layout::RankColumns };
                    let x = case.random("x", rows + 3, *width, width + 64);
                    (x, case.random("p", rows + 3, *ranks, ranks + 8), layout)
                })
                .collect();
            let outs: Vec<_> =
                shapes.iter().map(|(width, ranks)| case.upload(&vec![f32::NAN; width * ranks])).collect();
            let gradients: Vec<Gradient> = known
                .iter()
                .zip(&outs)
                .map(|((x, p, layout), (_, out))| Gradient {
                    x: x.matrix(),
                    p: p.matrix(),
                    scale: 0.25,
                    out: *out,
                    layout: *layout,
                })
                .collect();
            let table = kernels.table(&gradients).unwrap();
            // One multiprocessor makes one long run of each sum, several make more and shorter ones, on any device.
            for multiprocessors in [1, 4] {
                kernels.multiprocessors = multiprocessors;
                let values = table.scratch_values(rows, multiprocessors);
                let block = device.allocate(4 * values).unwrap();
                let mut bits: [Vec<u32>; 3] = Default::default();
                for (bits, (add, times)) in bits.iter_mut().zip([(false, 0.25), (true, 0.5), (false, 0.25)]) {
                    kernels.run(&table, rows, add, block.span(0, values)).unwrap();
                    for ((x, p, layout), (_, out)) in known.iter().zip(&outs) {
                        let found = device.download(*out).unwrap();
                        bits.extend(found.iter().map(|value| value.to_bits()));
                        let found: Vec<f64> = found.into_iter().map(f64::from).collect();
                        close("gradient", &found, &plain(x, p, rows, times, *layout), 1e-4);
                    }
                }
                assert_eq!(bits[0], bits[2], "bits of a second run");
            }
        }
    }
}

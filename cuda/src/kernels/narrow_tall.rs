//! Owns the two products that the gradient of an adapter's second factor needs, done in one read of the wide matrix: what
//! [`super::narrow`] and [`super::tall`] do in two. Knows shapes; knows no adapter and no layer.

use half::bf16;

use super::split::Split;
use super::steps;
use super::tall::{Gradient, Layout, Table, Tall};
use crate::device::Device;
use crate::error::Result;
use crate::launch;
use crate::launch::{Function, Grid};
use crate::memory::{Block, Matrix, Span};
use crate::source::Source;

static SOURCE: Source =
    Source { name: "narrow_tall", text: include_str!("../../kernels/narrow_tall.cu"), hopper: false };

/// Most columns of a narrow matrix. With more, the sums and the factor no longer fit into the registers.
pub const MOST_RANKS: usize = 32;

/// As in `narrow_tall.cu`.
const THREADS: usize = 256;
const WIDTH: usize = 512;
const ROWS: usize = 16;
const STAGE_BYTES: usize = ROWS * (WIDTH + 64) * 2;
/// Dynamic shared memory of the kernels with room for 16 and for 32 ranks: stages, and two places of the eight warps.
const SHARED_BYTES: [usize; 2] = [4 * STAGE_BYTES + 2 * 8 * ROWS * 24 * 4, 3 * STAGE_BYTES + 2 * 8 * ROWS * 40 * 4];

/// What a run of rows costs beyond its steps: a pipeline to fill, the factor to read, partial sums to write and read.
const OVERHEAD: usize = 8;

/// The kernels of the products.
#[derive(Clone)]
pub struct NarrowTall {
    products: [Function; 2],
    sum: Function,
    tall: Tall,
    device: Device,
    multiprocessors: u32,
}

/// One part of a packed matrix: `product = x s`, and `out = scale * x^T u` or that much more.
#[derive(Clone, Copy)]
pub struct Part {
    /// The part's columns of the wide matrix, `[T, K]`.
    pub x: Matrix<bf16>,
    /// The factor of the product, `[K, R]`.
    pub s: Matrix<bf16>,
    /// Gets the product, `[T, R]`; may lie in what the pitch of `x` leaves free.
    pub product: Matrix<bf16>,
    /// The narrow matrix of the sum, `[T, R]`.
    pub u: Matrix<bf16>,
    /// A factor of the sum.
    pub scale: f32,
    /// Gets the sum, `[K, R]`.
    pub out: Span<f32>,
}

/// Parts that are done together, in tables on the device. Their matrices and results keep their places.
pub struct Parts {
    lines: Block,
    panels: usize,
    ends: Block,
    parts: usize,
    most_ranks: usize,
    /// Ranks of all panels: the partial products take so many values for each row.
    panel_ranks: usize,
    sums: Table,
    rows: usize,
}

/// Words of eight bytes of a line of each table.
const LINE_WORDS: usize = 8;
const END_WORDS: usize = 4;

impl Parts {
    fn split(&self, rows: usize, multiprocessors: u32) -> Split {
        Split::new(self.panels, steps(rows, ROWS), OVERHEAD, multiprocessors)
    }

    /// How many f32 values of scratch the products over T = `rows` need.
    /// Fewer rows may need more, as they are split into more runs.
    #[must_use]
    pub fn scratch_values(&self, rows: usize, multiprocessors: u32) -> usize {
        self.split(rows, multiprocessors).runs * self.sums.size + self.panel_ranks * rows
    }

    fn span(&self) -> Span<u64> {
        self.lines.span(0, LINE_WORDS * self.panels)
    }

    fn end_span(&self) -> Span<u64> {
        self.ends.span(0, END_WORDS * self.parts)
    }
}

fn both(low: usize, high: usize) -> u64 {
    low as u64 | (high as u64) << 32
}

/// Fails where the shapes of a part do not belong together.
fn check(part: &Part) {
    let (width, ranks) = (part.x.columns(), part.u.columns());
    assert_eq!([part.s.rows(), part.s.columns(), part.product.columns()], [width, ranks, ranks], "shapes of a part");
    assert!(ranks > 0 && ranks <= MOST_RANKS, "{ranks} ranks");
    let pitches = [part.s.pitch(), part.product.pitch()];
    assert!(pitches.iter().all(|size| size.is_multiple_of(8)), "pitches {pitches:?}");
}

impl NarrowTall {
    /// Compiles them.
    pub fn new(device: &Device, tall: &Tall) -> Result<Self> {
        let program = device.program(&SOURCE, &[])?;
        Ok(NarrowTall {
            products: [
                program.function_with("narrow_tall_16", SHARED_BYTES[0])?,
                program.function_with("narrow_tall_32", SHARED_BYTES[1])?,
            ],
            sum: program.function("narrow_tall_sum")?,
            tall: tall.clone(),
            device: device.clone(),
            multiprocessors: device.info().multiprocessors,
        })
    }

    /// Puts parts into tables. The rows of their matrices are the most that a call may ask for.
    ///
    /// # Shapes
    /// - x `[T, K]`, s `[K, R]`, product and u `[T, R]`, out `[K, R]`; K and R multiples of eight, R at most 32
    pub fn parts(&self, parts: &[Part]) -> Result<Parts> {
        let gradient = |part: &Part| {
            let Part { x, u, scale, out, .. } = *part;
            Gradient { x, p: u, scale, out, layout: Layout::RankColumns }
        };
        let sums = self.tall.table(&parts.iter().map(gradient).collect::<Vec<_>>())?;
        let (mut lines, mut ends, mut panel_ranks) = (Vec::new(), Vec::new(), 0);
        let mut offset = 0;
        for part in parts {
            check(part);
            let (width, ranks) = (part.x.columns(), part.u.columns());
            let panels = steps(width, WIDTH);
            ends.extend([part.product.address(), both(part.product.pitch(), ranks), both(panels, panel_ranks), 0]);
            for column in (0..width).step_by(WIDTH) {
                let columns = WIDTH.min(width - column);
                lines.extend([
                    part.x.column_range(column, columns).address(),
                    part.u.address(),
                    part.s.row_range(column, columns).address(),
                    (offset + column * ranks) as u64,
                    both(part.x.pitch(), part.u.pitch()),
                    both(part.s.pitch(), columns),
                    both(ranks, panel_ranks),
                    0,
                ]);
                panel_ranks += ranks;
            }
            offset += Table::values(width, ranks);
        }
        let most_ranks = parts.iter().map(|part| part.u.columns()).max().unwrap_or(0);
        let rows = parts.iter().map(|part| part.product.rows()).min().unwrap_or(0).min(sums.rows);
        let parts = Parts {
            panels: lines.len() / LINE_WORDS,
            lines: self.device.allocate(size_of_val(lines.as_slice()))?,
            parts: parts.len(),
            ends: self.device.allocate(size_of_val(ends.as_slice()))?,
            most_ranks,
            panel_ranks,
            sums,
            rows,
        };
        self.device.upload(parts.span(), &lines)?;
        self.device.upload(parts.end_span(), &ends)?;
        Ok(parts)
    }

    /// Does the products of parts over the first `rows` rows; adds the sums to what is there if `add` is true.
    ///
    /// # Shapes
    /// - scratch: [`Parts::scratch_values`] values
    pub fn run(&self, parts: &Parts, rows: usize, add: bool, scratch: Span<f32>) -> Result<()> {
        assert!(rows <= parts.rows, "{rows} rows of {}", parts.rows);
        assert!(scratch.len() >= parts.scratch_values(rows, self.multiprocessors), "scratch of products");
        if parts.panels == 0 {
            return Ok(());
        }
        let Split { runs, steps: stages } = parts.split(rows, self.multiprocessors);
        let kernel = steps(parts.most_ranks, 16) - 1;
        let sums = runs * parts.sums.size;
        let products = scratch.part(sums, parts.panel_ranks * rows);
        launch!(
            self.products[kernel], Grid::flat(parts.panels, runs, THREADS).shared(SHARED_BYTES[kernel]);
            parts.span(), scratch, parts.sums.size as u64, products, rows, stages,
        )?;
        launch!(
            self.sum, Grid::flat(steps(rows * parts.most_ranks / 8, THREADS), parts.parts, THREADS);
            parts.end_span(), products, rows,
        )?;
        self.tall.reduce(&parts.sums, runs, add, scratch.part(0, sums))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Case, close, device};

    /// Plain twin: `x s`, of the first `rows` rows, and `scale * x^T u`.
    fn plain(x: &[&[f64]], s: &[&[f64]], u: &[&[f64]], scale: f64) -> (Vec<f64>, Vec<f64>) {
        let (width, ranks) = (s.len(), s[0].len());
        let (mut product, mut sum) = (vec![0.0; x.len() * ranks], vec![0.0; width * ranks]);
        for row in 0..x.len() {
            for k in 0..width {
                for rank in 0..ranks {
                    product[row * ranks + rank] += x[row][k] * s[k][rank];
                    sum[k * ranks + rank] += scale * x[row][k] * u[row][rank];
                }
            }
        }
        (product, sum)
    }

    #[test]
    fn products_of_packed_parts_equal_their_twins() {
        let device = device();
        let mut kernels = NarrowTall::new(&device, &Tall::new(&device).unwrap()).unwrap();
        // Rows, and the widths and ranks of the parts.
        let cases: [(usize, &[(usize, usize)]); 5] = [
            (1, &[(8, 8)]),
            (70, &[(576, 16), (192, 8), (192, 16)]),
            (100, &[(264, 24), (40, 32)]),
            (20, &[(1032, 32)]),
            (150, &[(40, 16)]),
        ];
        for (rows, shapes) in cases {
            let mut case = Case::new(&device);
            let all_columns: usize = shapes.iter().map(|(width, _)| width).sum();
            let all_ranks: usize = shapes.iter().map(|(_, ranks)| ranks).sum();
            // The products lie beside x, in the rows that are asked for and in no other.
            let x = case.random("x", rows + 2, all_columns, all_columns + all_ranks + 8);
            let s = case.random("s", all_columns, all_ranks, all_ranks + 16);
            let u = case.random("u", rows + 2, all_ranks, all_ranks + 8);
            let (mut parts, mut expected, mut blocks) = (Vec::new(), Vec::new(), Vec::new());
            let (mut column, mut rank) = (0, 0);
            for &(width, ranks) in shapes {
                let (block, out) = case.upload(&vec![f32::NAN; width * ranks]);
                blocks.push(block);
                parts.push(Part {
                    x: x.matrix().column_range(column, width),
                    s: s.matrix().row_range(column, width).column_range(rank, ranks),
                    product: x.matrix().column_range(all_columns + rank, ranks),
                    u: u.matrix().column_range(rank, ranks),
                    scale: 0.25,
                    out,
                });
                let part_x: Vec<_> = (0..rows).map(|row| &x.row(row)[column..][..width]).collect();
                let part_s: Vec<_> = (column..column + width).map(|k| &s.row(k)[rank..][..ranks]).collect();
                let part_u: Vec<_> = (0..rows).map(|row| &u.row(row)[rank..][..ranks]).collect();
                expected.push(plain(&part_x, &part_s, &part_u, 0.25));
                column += width;
                rank += ranks;
            }
            let table = kernels.parts(&parts).unwrap();
            // One multiprocessor makes one long run of each sum, several make more and shorter ones, on any device.
            for multiprocessors in [1, 4] {
                kernels.multiprocessors = multiprocessors;
                let values = table.scratch_values(rows, multiprocessors);
                let block = device.allocate(4 * values).unwrap();
                for (add, times) in [(false, 1.0), (true, 2.0)] {
                    kernels.run(&table, rows, add, block.span(0, values)).unwrap();
                    for (part, (product, sum)) in parts.iter().zip(&expected) {
                        let found = device.download_matrix(part.product).unwrap();
                        let found: Vec<f64> = found.iter().map(|value| value.to_f64()).collect();
                        close("product", &found[..product.len()], product, 0.005);
                        assert!(found[product.len()..].iter().all(|value| value.is_nan()), "rows after the last");
                        let sum: Vec<f64> = sum.iter().map(|sum| times * sum).collect();
                        let found: Vec<f64> = device.download(part.out).unwrap().into_iter().map(f64::from).collect();
                        close("sum", &found, &sum, 1e-4);
                    }
                }
            }
            let all: Vec<f64> = (0..rows + 2).flat_map(|row| x.row(row).to_vec()).collect();
            assert_eq!(x.read_rows(), all, "x");
            // Over no rows a sum is zero, and no product is written.
            let values = table.scratch_values(0, 4);
            let block = device.allocate(4 * values).unwrap();
            kernels.run(&table, 0, false, block.span(0, values)).unwrap();
            assert!(parts.iter().all(|part| device.download(part.out).unwrap().iter().all(|value| *value == 0.0)));
        }
    }
}

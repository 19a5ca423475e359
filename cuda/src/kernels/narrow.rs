//! Owns the product of a tall matrix with a narrow one, as the first factor of an adapter and the gradient before its
//! second one are. Knows shapes; knows no adapter. Larger products are [`crate::product`]'s.

use half::bf16;

use super::split::Split;
use super::steps;
use crate::device::Device;
use crate::error::Result;
use crate::launch;
use crate::launch::{Function, Grid};
use crate::memory::{Matrix, Span};
use crate::source::Source;

static SOURCE: Source = Source { name: "narrow", text: include_str!("../../kernels/narrow.cu"), hopper: false };

/// Most columns of a narrow matrix.
pub const MOST_RANKS: usize = 64;

/// As in `narrow.cu`.
const THREADS: usize = 256;
const ROWS: usize = 128;
const DEPTH: usize = 64;
const SHARED_BYTES: usize = 4 * (ROWS + MOST_RANKS) * DEPTH * 2;

/// The kernels of the product.
#[derive(Clone)]
pub struct Narrow {
    rows: [Function; 4],
    columns: [Function; 4],
    sum: Function,
    multiprocessors: u32,
}

/// How the narrow matrix is stored.
#[derive(Clone, Copy)]
pub enum Factor {
    /// `[R, K]`: a row for each rank, as the first factor of an adapter is.
    Rows(Matrix<bf16>),
    /// `[K, R]`: as columns beside a weight.
    Columns(Matrix<bf16>),
}

impl Factor {
    /// K and R.
    fn shape(&self) -> (usize, usize) {
        match self {
            Factor::Rows(matrix) => (matrix.columns(), matrix.rows()),
            Factor::Columns(matrix) => (matrix.rows(), matrix.columns()),
        }
    }
}

/// How many f32 values of scratch [`Narrow::product`] needs for T = `rows`, K = `width` and R = `ranks`.
/// Fewer rows may need more, as the width is split into more runs.
#[must_use]
pub fn scratch_values(rows: usize, width: usize, ranks: usize, multiprocessors: u32) -> usize {
    match split(rows, width, ranks, multiprocessors).runs {
        1 => 0,
        runs => runs * rows * ranks,
    }
}

fn split(rows: usize, width: usize, ranks: usize, multiprocessors: u32) -> Split {
    // A partial result of f32, written and read, weighs as much as a sixteenth of a step for each rank.
    let overhead = 4 + steps(ranks, 16);
    Split::new(steps(rows, ROWS), steps(width, DEPTH), overhead, multiprocessors)
}

impl Narrow {
    /// Compiles them.
    pub fn new(device: &Device) -> Result<Self> {
        let program = device.program(&SOURCE, &[])?;
        let function = |name| program.function_with(name, SHARED_BYTES);
        Ok(Narrow {
            rows: [
                function("narrow_rows_16")?,
                function("narrow_rows_32")?,
                function("narrow_rows_48")?,
                function("narrow_rows_64")?,
            ],
            columns: [
                function("narrow_columns_16")?,
                function("narrow_columns_32")?,
                function("narrow_columns_48")?,
                function("narrow_columns_64")?,
            ],
            sum: program.function("narrow_sum")?,
            multiprocessors: device.info().multiprocessors,
        })
    }

    /// `out = x s`, and the same to `copy` where one is given. `out` may lie in what the pitch of `x` leaves free.
    ///
    /// # Shapes
    /// - x `[T, K]`, s `[R, K]` or `[K, R]`, out and copy `[T, R]`; K and R multiples of eight, R at most 64
    /// - scratch: [`scratch_values`] values
    pub fn product(
        &self,
        x: Matrix<bf16>,
        s: Factor,
        out: Matrix<bf16>,
        copy: Option<Matrix<bf16>>,
        scratch: Span<f32>,
    ) -> Result<()> {
        let (rows, width, ranks) = (x.rows(), x.columns(), out.columns());
        assert_eq!(s.shape(), (width, ranks), "shape of a narrow factor");
        let is_result = |matrix: Matrix<bf16>| [matrix.rows(), matrix.columns()] == [rows, ranks];
        assert!(is_result(out) && copy.is_none_or(is_result), "shapes of a narrow product");
        assert!(ranks > 0 && ranks <= MOST_RANKS, "{ranks} ranks");
        let (functions, factor) = match s {
            Factor::Rows(matrix) => (&self.rows, matrix),
            Factor::Columns(matrix) => (&self.columns, matrix),
        };
        let multiples = [width, ranks, x.pitch(), factor.pitch(), out.pitch(), copy.map_or(0, |copy| copy.pitch())];
        assert!(multiples.iter().all(|size| size.is_multiple_of(8)), "sizes and pitches {multiples:?}");
        assert!(scratch.len() >= scratch_values(rows, width, ranks, self.multiprocessors), "scratch of a product");
        let Split { runs, steps: stages } = split(rows, width, ranks, self.multiprocessors);
        let partial = (runs > 1).then_some(scratch);
        let copy_pitch = copy.map_or(0, |copy| copy.pitch());
        launch!(
            functions[steps(ranks, 16) - 1], Grid::flat(steps(rows, ROWS), runs, THREADS).shared(SHARED_BYTES);
            x, x.pitch(), factor, factor.pitch(), out, out.pitch(), copy, copy_pitch, partial, rows, width, ranks, stages,
        )?;
        if runs == 1 {
            return Ok(());
        }
        launch!(
            self.sum, Grid::new(steps(rows * ranks / 8, THREADS), THREADS);
            scratch, runs, out, out.pitch(), copy, copy_pitch, rows, ranks,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Case, close, device};

    /// Plain twin: `x s` with x `[T, K]`, and `s(k, r)`.
    fn plain(x: &[f64], width: usize, ranks: usize, s: impl Fn(usize, usize) -> f64) -> Vec<f64> {
        let product = |row: &[f64], rank| row.iter().enumerate().map(|(k, x)| x * s(k, rank)).sum();
        x.chunks(width)
            .flat_map(|row| (0..ranks).map(move |rank| (row, rank)))
            .map(|(row, r)| product(row, r))
            .collect()
    }

    #[test]
    fn narrow_products_equal_their_twins() {
        let device = device();
        let mut kernels = Narrow::new(&device).unwrap();
        let shapes = [(1, 8, 8), (130, 72, 24), (33, 576, 48), (129, 1000, 16), (257, 200, 64), (64, 328, 32)];
        for (rows, width, ranks) in shapes {
            let mut case = Case::new(&device);
            // The result lies beside x in the same rows; what is not written of them must stay as it is.
            let pitch = width + ranks + 8;
            let x = case.random("x", rows, width, pitch);
            let by_row = case.random("s", ranks, width, width + 16);
            let by_column = case.random("s", width, ranks, ranks + 24);
            let copy = case.empty(rows, ranks, ranks + 8);
            let out = x.matrix().column_range(width, ranks);
            let all: Vec<f64> = (0..rows).flat_map(|row| x.row(row).to_vec()).collect();
            let read =
                || -> Vec<f64> { device.download_matrix(out).unwrap().iter().map(|value| value.to_f64()).collect() };

            let expected_rows = plain(&all, width, ranks, |k, rank| by_row.row(rank)[k]);
            let expected_columns = plain(&all, width, ranks, |k, rank| by_column.row(k)[rank]);
            // One multiprocessor makes one long run of each sum, several make more and shorter ones, on any device.
            for multiprocessors in [1, 4] {
                kernels.multiprocessors = multiprocessors;
                let values = scratch_values(rows, width, ranks, multiprocessors);
                let block = device.allocate(4 * values).unwrap();
                let scratch = block.span(0, values);
                kernels.product(x.matrix(), Factor::Rows(by_row.matrix()), out, Some(copy.matrix()), scratch).unwrap();
                close("product with rows", &read(), &expected_rows, 0.005);
                assert_eq!(read(), copy.read(), "copy");
                kernels.product(x.matrix(), Factor::Columns(by_column.matrix()), out, None, scratch).unwrap();
                close("product with columns", &read(), &expected_columns, 0.005);
                let first = read();
                kernels.product(x.matrix(), Factor::Columns(by_column.matrix()), out, None, scratch).unwrap();
                assert_eq!(read(), first, "a second run");
            }
            assert_eq!(x.read_rows(), all, "x");
            let after = device.download_matrix(x.matrix().column_range(width + ranks, 8)).unwrap();
            assert!(after.iter().all(|value| value.is_nan()), "what lies behind the result");
        }
    }
}

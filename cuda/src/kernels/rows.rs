//! Owns rows by index: gathered, which is also the lookup of embeddings, and scattered. Knows no meaning of a row.

use half::bf16;

use crate::device::Device;
use crate::error::Result;
use crate::kernels::{assert_aligned, each_vector};
use crate::launch;
use crate::launch::Function;
use crate::memory::{Matrix, Span};
use crate::source::Source;

static SOURCE: Source = Source { name: "rows", text: include_str!("../../kernels/rows.cu"), hopper: false };

/// The kernels that move rows.
#[derive(Clone)]
pub struct Rows {
    gather: Function,
    scatter: Function,
}

impl Rows {
    /// Compiles them.
    pub fn new(device: &Device) -> Result<Self> {
        let program = device.program(&SOURCE, &[])?;
        Ok(Rows { gather: program.function("gather_rows")?, scatter: program.function("scatter_rows")? })
    }

    /// `out[i] = x[indices[i]]`; NaN where x has no such row. With the table of embeddings and ids it is their lookup.
    ///
    /// # Shapes
    /// - x `[T, H]`, indices `[n]`, out `[n, H]`, H a multiple of eight
    pub fn gather(&self, x: Matrix<bf16>, indices: Span<u32>, out: Matrix<bf16>) -> Result<()> {
        let (rows, width) = (out.rows(), out.columns());
        assert!(x.columns() == width && indices.len() == rows, "shapes of gathered rows");
        assert_aligned(&[x, out]);
        let grid = each_vector(rows, width);
        launch!(self.gather, grid; x, x.pitch(), x.rows(), indices, out, out.pitch(), rows, width)
    }

    /// `out[t] = x[inverse[t]]`, zeros where that is negative, NaN where x has no such row: every row of `out` is written.
    ///
    /// # Shapes
    /// - x `[n, H]`, inverse `[T]`, out `[T, H]`, H a multiple of eight
    pub fn scatter(&self, x: Matrix<bf16>, inverse: Span<i32>, out: Matrix<bf16>) -> Result<()> {
        let (rows, width) = (out.rows(), out.columns());
        assert!(x.columns() == width && inverse.len() == rows, "shapes of scattered rows");
        assert_aligned(&[x, out]);
        let grid = each_vector(rows, width);
        launch!(self.scatter, grid; x, x.pitch(), x.rows(), inverse, out, out.pitch(), rows, width)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Case, device};

    #[test]
    fn rows_go_where_they_should() {
        let device = device();
        let kernels = Rows::new(&device).unwrap();
        for (tokens, width, pitch, indices) in [
            (1, 8, 8, vec![0]),
            (9, 64, 72, vec![8, 1, 3]),
            (5, 576, 576, vec![4, 4, 0, 2, 1, 3, 0]),
            (300, 960, 1024, (0..150).map(|i| 2 * i).collect()),
        ] {
            let mut case = Case::new(&device);
            let x = case.random("x", tokens, width, pitch);
            let out = case.empty(indices.len(), width, width + 16);
            let (_ids, ids) = case.upload(&indices);
            kernels.gather(x.matrix(), ids, out.matrix()).unwrap();
            let expected: Vec<f64> = indices.iter().flat_map(|&index| x.row(index as usize).to_vec()).collect();
            assert_eq!(out.read(), expected);

            let mut inverse = vec![-1; tokens];
            indices.iter().enumerate().for_each(|(row, &index)| inverse[index as usize] = row as i32);
            let (_inverse, places) = case.upload(&inverse);
            let back = case.empty(tokens, width, width + 8);
            kernels.scatter(out.matrix(), places, back.matrix()).unwrap();
            let kept = |t: usize| if inverse[t] < 0 { vec![0.0; width] } else { x.row(t).to_vec() };
            assert_eq!(back.read(), (0..tokens).flat_map(kept).collect::<Vec<f64>>());
        }
    }

    #[test]
    fn rows_that_do_not_exist_are_no_numbers() {
        let device = device();
        let kernels = Rows::new(&device).unwrap();
        let mut case = Case::new(&device);
        let (x, out) = (case.random("x", 3, 8, 8), case.empty(2, 8, 8));
        kernels.gather(x.matrix(), case.upload(&[3_u32, 2]).1, out.matrix()).unwrap();
        assert!(out.read()[..8].iter().all(|value| value.is_nan()) && out.read()[8..] == *x.row(2));
        kernels.scatter(x.matrix(), case.upload(&[1, 3]).1, out.matrix()).unwrap();
        assert!(out.read()[..8] == *x.row(1) && out.read()[8..].iter().all(|value| value.is_nan()));
    }
}

//! Owns the choice of rows of a table and their return. Knows neither tokens nor embeddings.

use cubecl::prelude::*;

use crate::Array;
use crate::elementwise::zeros;
use crate::launch::spread;
use crate::vector::vector_size;

/// Rows of a table in a format of the caller's choice.
///
/// # Shapes
/// - table `[V, H]`, indices u32 `[1, n]`, each below V; the result `[n, H]`
#[must_use]
pub fn gather(table: &Array, indices: &Array, dtype: ElemType) -> Array {
    gather_pieces(std::slice::from_ref(table), indices, dtype)
}

/// [`gather`] from a table that is split by rows, so that no piece passes a device's limit: pieces of equal height, except the
/// last, which may be lower. One launch a piece, which writes the rows that it holds.
#[must_use]
pub fn gather_pieces(pieces: &[Array], indices: &Array, dtype: ElemType) -> Array {
    let client = &indices.client;
    let width = pieces.first().map_or(0, |piece| piece.shape[1]);
    let out = Array::empty(client, [indices.length(), width], dtype);
    if out.length() == 0 {
        return out;
    }
    let mut first = 0;
    for piece in pieces {
        let height = piece.shape[0];
        let size = vector_size(client, &[piece.dtype, dtype], &[width]);
        let units = out.length() / size;
        let (count, dim) = spread(client, units);
        gather_kernel::launch(
            client,
            count,
            dim,
            size,
            piece.vectors(size),
            indices.arg(),
            out.vectors(size),
            units,
            first as u32,
            height as u32,
            width / size,
            piece.dtype,
            dtype,
        );
        first += height;
    }
    out
}

/// `[total, H]` with row `indices[i]` equal to `rows[i]`, and zeros in all others. No index may stand twice.
///
/// # Shapes
/// - rows `[n, H]`, indices u32 `[1, n]`, each below `total`
#[must_use]
pub fn scatter(rows: &Array, indices: &Array, total: usize) -> Array {
    let width = rows.shape[1];
    let out = zeros(&rows.client, [total, width], rows.dtype);
    if rows.length() > 0 {
        let size = vector_size(&rows.client, &[rows.dtype], &[width]);
        let units = rows.length() / size;
        let (count, dim) = spread(&rows.client, units);
        scatter_kernel::launch(
            &rows.client,
            count,
            dim,
            size,
            rows.vectors(size),
            indices.arg(),
            out.vectors(size),
            units,
            width / size,
            rows.dtype,
        );
    }
    out
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn gather_kernel<X: Float, O: Float, N: Size>(
    table: &[Vector<X, N>],
    indices: &[u32],
    out: &mut [Vector<O, N>],
    units: usize,
    first: u32,
    height: u32,
    #[comptime] width: usize,
    #[define(X)] _table_format: ElemType,
    #[define(O)] _out_format: ElemType,
) {
    if ABSOLUTE_POS < units {
        let index = indices[ABSOLUTE_POS / width];
        if index >= first && index - first < height {
            // Once, and not by way of f32: a row that keeps its format is copied.
            out[ABSOLUTE_POS] = Vector::cast_from(table[(index - first) as usize * width + ABSOLUTE_POS % width]);
        }
    }
}

#[cube(launch)]
fn scatter_kernel<F: Float, N: Size>(
    rows: &[Vector<F, N>],
    indices: &[u32],
    out: &mut [Vector<F, N>],
    units: usize,
    #[comptime] width: usize,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS < units {
        let index = indices[ABSOLUTE_POS / width] as usize;
        out[index * width + ABSOLUTE_POS % width] = rows[ABSOLUTE_POS];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{array, client, close, formats, numbers, read, stored};

    #[test]
    fn rows_are_gathered_from_one_table_and_from_pieces() {
        if !crate::testing::asked() {
            return;
        }
        let shapes = [[1, 7], [33, 64], [70, 130]];
        for (dtype, [height, width]) in formats().into_iter().flat_map(|dtype| shapes.map(|shape| (dtype, shape))) {
            let (whole, table) = stored([height, width], &numbers(height * width, 1), dtype);
            let indices: Vec<u32> = (0..51).map(|i| (i * 29 % height) as u32).collect();
            let want: Vec<f64> = indices
                .iter()
                .flat_map(|&i| table[i as usize * width..][..width].iter().map(|&x| f64::from(x)))
                .collect();
            let places = Array::from_u32(&client(), &indices);
            let piece = height.div_ceil(4);
            let pieces: Vec<Array> =
                table.chunks(piece * width).map(|rows| stored([rows.len() / width, width], rows, dtype).0).collect();
            for kind in [f32::elem_type_native(), dtype] {
                close(&read(&gather(&whole, &places, kind)), &want, 0.0);
                close(&read(&gather_pieces(&pieces, &places, kind)), &want, 0.0);
            }
        }
    }

    #[test]
    fn rows_return_to_their_places() {
        if !crate::testing::asked() {
            return;
        }
        let shapes = [[1, 7, 3], [33, 64, 40], [70, 130, 70], [0, 64, 5]];
        for (dtype, [rows, width, total]) in formats().into_iter().flat_map(|dtype| shapes.map(|shape| (dtype, shape)))
        {
            let (array, values) = stored([rows, width], &numbers(rows * width, 1), dtype);
            let indices: Vec<u32> = (0..rows).map(|i| ((i * 7 + 2) % total) as u32).collect();
            let indices: Vec<u32> = if total == 70 { (0..70).rev().collect() } else { indices };
            let mut want = vec![0.0; total * width];
            for (row, &index) in values.chunks(width).zip(&indices) {
                for (want, &x) in want[index as usize * width..][..width].iter_mut().zip(row) {
                    *want = f64::from(x);
                }
            }
            let places = match rows {
                0 => Array::empty(&client(), [1, 0], u32::elem_type_native()),
                _ => Array::from_u32(&client(), &indices),
            };
            close(&read(&scatter(&array, &places, total)), &want, 0.0);
        }
    }

    #[test]
    fn no_indices_give_no_rows() {
        if !crate::testing::asked() {
            return;
        }
        let none = Array::empty(&client(), [1, 0], u32::elem_type_native());
        assert_eq!(gather(&array([2, 3], &numbers(6, 1)), &none, f32::elem_type_native()).shape, [0, 3]);
    }
}

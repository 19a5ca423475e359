//! Owns the kernels: one file each, with what it is called with, its plain twin and the test between them; the sources
//! are under `kernels/` beside `src/`. Knows shapes and types; knows no layer.
//!
//! A twin is a loop over host values in f64 that says what the kernel means. A test runs on a GPU where one answers, and
//! else on the emulator.

pub mod adamw;
pub mod attention;
mod attention_hopper;
mod attention_portable;
pub mod cached_attention;
pub mod cross_entropy;
pub mod dropout;
pub mod install;
pub mod kv_cache;
pub mod output_adapters;
pub mod rms_norm;
pub mod rope;
pub mod rows;
pub mod sample;
pub mod swiglu;
pub mod swiglu_adapters;
pub mod tiles;
pub mod tune;

#[cfg(test)]
pub(crate) mod testing;

use crate::launch::Grid;
use crate::memory::{Element, Matrix};

/// Values of a thread that moves sixteen bytes of bfloat16.
const VECTOR: usize = 8;

/// Rounds up to whole steps.
#[must_use]
pub fn steps(length: usize, step: usize) -> usize {
    length.div_ceil(step)
}

/// One thread for every eight values of `rows` rows: the launch of `Place` in `elementwise.cuh`.
///
/// # Panics
/// When the rows do not divide into eights, or are too many.
pub(crate) fn each_vector(rows: usize, columns: usize) -> Grid {
    assert!(columns.is_multiple_of(VECTOR), "{columns} columns are no multiple of {VECTOR}");
    let vectors = rows * columns / VECTOR;
    assert!(i32::try_from(vectors).is_ok(), "[{rows}, {columns}] is too large for one launch");
    Grid::new(steps(vectors, 256), 256)
}

/// # Panics
/// When the rows of a matrix do not begin at multiples of sixteen bytes, so that they cannot be read in such.
pub(crate) fn assert_aligned<T: Element>(matrices: &[Matrix<T>]) {
    for matrix in matrices {
        let pitch_bytes = matrix.pitch() * size_of::<T>();
        let aligned = matrix.address().is_multiple_of(16) && (matrix.rows() <= 1 || pitch_bytes.is_multiple_of(16));
        assert!(aligned, "rows at {:#x}, {pitch_bytes} bytes apart", matrix.address());
    }
}

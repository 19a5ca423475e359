//! Owns matrix products on slices with any strides, and the buffers they fill.
//! Knows no tensor. The one place of the CPU kernels that hands raw pointers on.

use std::mem::MaybeUninit;

/// A matrix in a slice.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Row-major, `stride` values from row to row.
    pub(crate) fn new(values: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        check(values.len(), rows, columns, stride);
        Matrix { values, rows, columns, row_stride: stride, column_stride: 1 }
    }

    /// The values the matrix lies in.
    pub(crate) fn values(&self) -> &'a [f32] {
        self.values
    }

    /// The transposed view.
    pub(crate) fn t(self) -> Self {
        Matrix {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// What a product does with the values that are there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Into {
    /// Overwrites them.
    Overwrite,
    /// Adds to them.
    Add,
}

/// Whether a product may use all cores; `Here` inside code that is parallel already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cores {
    All,
    Here,
}

/// `out (+)= scale * a * b`, `out` row-major with `stride` values from row to row.
pub(crate) fn multiply(
    out: &mut [f32],
    stride: usize,
    into: Into,
    scale: f32,
    a: Matrix<'_>,
    b: Matrix<'_>,
    cores: Cores,
) {
    check(out.len(), a.rows, b.columns, stride);
    raw(out.as_mut_ptr(), stride, into, scale, a, b, cores);
}

/// `scale * a * b` in a fresh buffer.
pub(crate) fn product(scale: f32, a: Matrix<'_>, b: Matrix<'_>, cores: Cores) -> Vec<f32> {
    let length = a.rows * b.columns;
    if a.columns == 0 {
        return vec![0.0; length];
    }
    let mut out: Vec<MaybeUninit<f32>> = Vec::with_capacity(length);
    raw(out.spare_capacity_mut().as_mut_ptr().cast(), b.columns, Into::Overwrite, scale, a, b, cores);
    let mut out = std::mem::ManuallyDrop::new(out);
    let (pointer, capacity) = (out.as_mut_ptr().cast::<f32>(), out.capacity());
    #[expect(unsafe_code, reason = "the product above wrote all `length` values; zeroing them first costs 7 % of it")]
    unsafe {
        Vec::from_raw_parts(pointer, length, capacity)
    }
}

fn raw(out: *mut f32, stride: usize, into: Into, scale: f32, a: Matrix<'_>, b: Matrix<'_>, cores: Cores) {
    assert_eq!(a.columns, b.rows, "inner sizes of a product differ");
    let cores = match cores {
        Cores::All if a.rows * a.columns * b.columns > 1 << 15 => gemm::Parallelism::Rayon(0),
        _ => gemm::Parallelism::None,
    };
    #[expect(unsafe_code, reason = "`check` proved that every index of the three matrices lies in its buffer")]
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out,
            1,
            stride as isize,
            into == Into::Add,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0_f32,
            scale,
            false,
            false,
            false,
            cores,
        );
    }
}

fn check(length: usize, rows: usize, columns: usize, stride: usize) {
    assert!(columns <= stride || rows <= 1, "rows of a matrix overlap");
    assert!(rows == 0 || columns == 0 || (rows - 1) * stride + columns <= length, "a matrix is larger than its buffer");
}

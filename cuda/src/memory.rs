//! Owns device memory: who frees it, and typed views of it. Knows sizes and addresses; knows no meaning.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::device::Inner;
use crate::error::Result;

/// A value as it lies on a device.
pub trait Element: bytemuck::Pod + Send + Sync {
    /// Its name in a message.
    const NAME: &'static str;
}

impl Element for half::bf16 {
    const NAME: &'static str = "bf16";
}
impl Element for f32 {
    const NAME: &'static str = "f32";
}
impl Element for f64 {
    const NAME: &'static str = "f64";
}
impl Element for u32 {
    const NAME: &'static str = "u32";
}
impl Element for u64 {
    const NAME: &'static str = "u64";
}
impl Element for i32 {
    const NAME: &'static str = "i32";
}
impl Element for u8 {
    const NAME: &'static str = "u8";
}

/// Device memory that is freed when it is dropped. Its views are plain addresses, so whoever lays buffers over a block
/// keeps the block for as long as its views are in use.
pub struct Block {
    pub(crate) device: Arc<Inner>,
    pub(crate) address: u64,
    pub(crate) bytes: usize,
}

impl Block {
    /// Its size.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// `length` values from `offset` bytes on.
    ///
    /// # Panics
    /// When they do not lie inside the block or are not aligned, which is a defect of the layout.
    #[must_use]
    pub fn span<T: Element>(&self, offset: usize, length: usize) -> Span<T> {
        let end = offset + length * size_of::<T>();
        assert!(end <= self.bytes, "bytes {offset}..{end} of a block of {}", self.bytes);
        let address = self.address + offset as u64;
        assert!(address.is_multiple_of(align_of::<T>() as u64), "{} at address {address:#x}", T::NAME);
        Span { address, length, element: PhantomData }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // Nothing can be done about a failure here: the process goes on with less memory, or is about to end.
        let _: Result<()> = self.device.release(self.address, self.bytes);
    }
}

/// A run of values on a device. A plain address: it does not keep its block alive.
pub struct Span<T> {
    pub(crate) address: u64,
    pub(crate) length: usize,
    element: PhantomData<T>,
}

impl<T> Clone for Span<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Span<T> {}

impl<T: Element> Span<T> {
    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The address, as kernels take it.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Values `start..start + length` of it.
    ///
    /// # Panics
    /// When they do not lie inside, which is a defect of the caller.
    #[must_use]
    pub fn part(&self, start: usize, length: usize) -> Self {
        assert!(start + length <= self.length, "values {start}..{} of {}", start + length, self.length);
        Span { address: self.address + (start * size_of::<T>()) as u64, length, element: PhantomData }
    }

    /// The same memory as rows that lie `pitch` values apart.
    ///
    /// # Panics
    /// When it is too short.
    #[must_use]
    pub fn matrix(&self, rows: usize, columns: usize, pitch: usize) -> Matrix<T> {
        let needed = if rows == 0 { 0 } else { (rows - 1) * pitch + columns };
        assert!(columns <= pitch && needed <= self.length, "[{rows}, {columns}; {pitch}] in {} values", self.length);
        Matrix { address: self.address, rows, columns, pitch, element: PhantomData }
    }
}

/// Rows of values on a device that lie `pitch` values apart. A plain address, as [`Span`] is.
pub struct Matrix<T> {
    pub(crate) address: u64,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) pitch: usize,
    element: PhantomData<T>,
}

impl<T> Clone for Matrix<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Matrix<T> {}

impl<T: Element> Matrix<T> {
    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values of a row.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Distance from one row to the next, in values.
    #[must_use]
    pub fn pitch(&self) -> usize {
        self.pitch
    }

    /// The address of the first value, as kernels take it.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.address
    }

    /// The first `rows` rows.
    ///
    /// # Panics
    /// When there are fewer.
    #[must_use]
    pub fn top(&self, rows: usize) -> Self {
        self.row_range(0, rows)
    }

    /// Rows `start..start + rows`.
    ///
    /// # Panics
    /// When they do not lie inside.
    #[must_use]
    pub fn row_range(&self, start: usize, rows: usize) -> Self {
        assert!(start + rows <= self.rows, "rows {start}..{} of {}", start + rows, self.rows);
        let address = self.address + (start * self.pitch * size_of::<T>()) as u64;
        Matrix { address, rows, ..*self }
    }

    /// Columns `start..start + columns`. They may lie in what the pitch leaves free beside the matrix.
    ///
    /// # Panics
    /// When they do not lie inside a row.
    #[must_use]
    pub fn column_range(&self, start: usize, columns: usize) -> Self {
        assert!(start + columns <= self.pitch, "columns {start}..{} of {}", start + columns, self.pitch);
        Matrix { address: self.address + (start * size_of::<T>()) as u64, columns, ..*self }
    }
}

impl Matrix<f32> {
    /// The memory of each row once more, as bfloat16 from the row's first byte on: as many values, at twice the pitch. For
    /// what is written over f32 rows that are no longer needed.
    #[must_use]
    pub fn halves(&self) -> Matrix<half::bf16> {
        Matrix {
            address: self.address,
            rows: self.rows,
            columns: self.columns,
            pitch: 2 * self.pitch,
            element: PhantomData,
        }
    }
}

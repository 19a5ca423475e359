//! Owns the seam between this crate and what runs its work: a GPU, or a processor that plays one in tests.
//! Knows addresses and bytes; every call is one ordered stream of work.

#[cfg(feature = "emulator")]
pub(crate) mod emulator;
pub(crate) mod nvidia;

use crate::device::DeviceInfo;
use crate::error::Result;
use crate::launch::{Argument, Grid, TensorMap};
use crate::product::Product;
use crate::source::{Define, Source};

/// What runs the work of a device. Calls take effect in their order; only the ones that say so wait.
pub(crate) trait Driver: Send + Sync {
    /// What the device is.
    fn info(&self) -> Result<DeviceInfo>;

    /// Free bytes now, and bytes in all.
    fn memory(&self) -> Result<(u64, u64)>;

    /// Device memory, with any content.
    fn allocate(&self, bytes: usize) -> Result<u64>;

    /// Frees what [`Driver::allocate`] gave, once all work so far is done.
    fn free(&self, address: u64) -> Result<()>;

    /// Writes bytes to the device. They may be reused when this returns.
    fn upload(&self, to: u64, bytes: &[u8]) -> Result<()>;

    /// Reads bytes of the device; waits for all work before it.
    fn download(&self, from: u64, bytes: &mut [u8]) -> Result<()>;

    /// Reads at most [`MAIL_BYTES`] bytes of the device without waiting; [`Driver::open_letter`] waits for them.
    fn post_letter(&self, from: u64, length: usize) -> Result<Letter>;

    /// The bytes of a letter, once they have arrived; `None` if they have not and `wait` is false.
    fn open_letter(&self, letter: Letter, wait: bool) -> Result<Option<Vec<u8>>>;

    /// Zeroes bytes.
    fn zero(&self, address: u64, bytes: usize) -> Result<()>;

    /// Zeroes `rows` rows of `width` bytes.
    fn zero_rows(&self, to: Rows, width: usize, rows: usize) -> Result<()>;

    /// Copies `rows` rows of `width` bytes that lie `pitch` bytes apart, from device to device.
    fn copy_rows(&self, from: Rows, to: Rows, width: usize, rows: usize) -> Result<()>;

    /// Writes rows of `width` bytes that lie side by side on the host. They may be reused when this returns, and several
    /// threads may write at once.
    fn upload_rows(&self, from: &[u8], to: Rows, width: usize, rows: usize) -> Result<()>;

    /// Compiles a source, or finds it compiled.
    fn program(&self, source: &'static Source, defines: &[Define]) -> Result<u64>;

    /// A kernel of a program; `shared_bytes` is the most dynamic shared memory it will be started with.
    fn function(&self, program: u64, name: &'static str, shared_bytes: usize) -> Result<u64>;

    /// Starts a kernel.
    fn launch(&self, function: u64, name: &'static str, grid: Grid, arguments: &[Argument]) -> Result<()>;

    /// How the copy engine sees rows of 16-bit values that lie `pitch` values apart: boxes of `box_rows` rows of 64
    /// values, swizzled by 128 bytes, with zeros beyond the matrix. `heads` sizes of `columns` values lie side by side.
    fn tensor_map(&self, address: u64, shape: MapShape) -> Result<TensorMap>;

    /// Puts a matrix product into the stream.
    fn product(&self, product: &Product) -> Result<()>;

    /// Finds out how products like this one are computed fastest, if that is not known. Runs it several times: its target is
    /// none of its operands. `digest` tells what the target holds.
    fn tune(&self, product: &Product, digest: &mut dyn FnMut() -> Result<u64>) -> Result<()>;

    /// Waits for all work.
    fn synchronize(&self) -> Result<()>;

    /// Marks a place in the stream whose time is taken.
    fn mark(&self) -> Result<u64>;

    /// Milliseconds between two marks; waits for the second, and frees both.
    fn elapsed(&self, start: u64, end: u64) -> Result<f32>;
}

/// Rows of bytes on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    /// The first byte.
    pub(crate) address: u64,
    /// Bytes from one row to the next.
    pub(crate) pitch: usize,
}

/// A matrix of heads as the copy engine sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapShape {
    /// Values of a head.
    pub(crate) head_dim: usize,
    /// Heads of a row.
    pub(crate) heads: usize,
    /// Rows.
    pub(crate) rows: usize,
    /// Values from one row to the next.
    pub(crate) pitch: usize,
    /// Rows of a box.
    pub(crate) box_rows: usize,
}

/// Bytes on their way to the host.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) slot: usize,
    pub(crate) length: usize,
}

/// Memory that products may use for themselves.
pub(crate) const PRODUCT_WORKSPACE_BYTES: usize = 64 << 20;
/// Most bytes of a letter.
pub(crate) const MAIL_BYTES: usize = 64;
/// Most letters on their way at once.
pub(crate) const MAIL_SLOTS: usize = 16;

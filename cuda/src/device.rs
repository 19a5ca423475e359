//! Owns an open device: memory, copies, programs, products and the order of its work. Knows no kernel by name.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::driver::{Driver, Letter, MAIL_BYTES, MapShape, PRODUCT_WORKSPACE_BYTES, Rows};
use crate::error::Result;
use crate::launch::{Function, TensorMap};
use crate::memory::{Block, Element, Matrix, Span};
use crate::product::Product;
use crate::source::{Define, Source};

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its name.
    pub name: String,
    /// Major and minor compute capability.
    pub compute_capability: (u32, u32),
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Most dynamic shared memory of a block.
    pub shared_bytes: usize,
    /// The driver's CUDA version, such as 13000.
    pub driver_version: u32,
    /// Its place on the bus, such as `0000:3B:00.0`; empty where the driver does not tell it.
    pub bus: String,
}

pub(crate) struct Inner {
    pub(crate) driver: Box<dyn Driver>,
    info: DeviceInfo,
    held: AtomicU64,
    peak: AtomicU64,
}

impl Inner {
    /// Frees what a block held.
    pub(crate) fn release(&self, address: u64, bytes: usize) -> Result<()> {
        self.held.fetch_sub(bytes as u64, Ordering::Relaxed);
        self.driver.free(address)
    }
}

/// A device with one stream of work: everything happens in the order it was asked for. Clones share it.
#[derive(Clone)]
pub struct Device {
    inner: Arc<Inner>,
}

/// A compiled source.
#[derive(Clone)]
pub struct Program {
    device: Arc<Inner>,
    handle: u64,
}

/// A place in the stream whose time is taken.
pub struct Mark(u64);

/// Values on their way to the host.
pub struct Mail<T> {
    device: Arc<Inner>,
    letter: Option<Letter>,
    element: std::marker::PhantomData<T>,
}

impl Device {
    /// Memory that products use for themselves.
    pub const PRODUCT_WORKSPACE_BYTES: usize = PRODUCT_WORKSPACE_BYTES;

    /// Opens a GPU by its index. Compiled kernels are kept under `cache` where one is given.
    pub fn open(index: usize, cache: Option<PathBuf>) -> Result<Self> {
        Self::with(crate::driver::nvidia::open(index, cache)?)
    }

    /// What a GPU is, from the driver alone: needs no library, and opens nothing.
    pub fn look(index: usize) -> Result<DeviceInfo> {
        crate::driver::nvidia::look(index)
    }

    /// How many GPUs the driver reports; zero where there is no driver.
    #[must_use]
    pub fn count() -> usize {
        crate::driver::nvidia::count()
    }

    /// A processor that plays a GPU, for tests. It claims compute capability 8.0, or 9.0 with `hopper`.
    #[cfg(feature = "emulator")]
    pub fn emulated(hopper: bool) -> Result<Self> {
        Self::with(Box::new(crate::driver::emulator::Emulator::new(hopper)))
    }

    fn with(driver: Box<dyn Driver>) -> Result<Self> {
        let info = driver.info()?;
        let held = PRODUCT_WORKSPACE_BYTES as u64;
        let (held, peak) = (AtomicU64::new(held), AtomicU64::new(held));
        Ok(Device { inner: Arc::new(Inner { driver, info, held, peak }) })
    }

    fn driver(&self) -> &dyn Driver {
        self.inner.driver.as_ref()
    }

    /// What it is.
    #[must_use]
    pub fn info(&self) -> &DeviceInfo {
        &self.inner.info
    }

    /// Free bytes now, and bytes in all.
    pub fn memory(&self) -> Result<(u64, u64)> {
        self.driver().memory()
    }

    /// Bytes that blocks of this device hold now, and the library of products for itself.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.inner.held.load(Ordering::Relaxed)
    }

    /// The most of [`Device::held_bytes`] so far.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        self.inner.peak.load(Ordering::Relaxed)
    }

    /// Memory with any content.
    pub fn allocate(&self, bytes: usize) -> Result<Block> {
        let bytes = bytes.max(1);
        let address = self.driver().allocate(bytes)?;
        let held = self.inner.held.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        self.inner.peak.fetch_max(held, Ordering::Relaxed);
        Ok(Block { address, device: Arc::clone(&self.inner), bytes })
    }

    /// Memory full of zeros.
    pub fn allocate_zeroed(&self, bytes: usize) -> Result<Block> {
        let block = self.allocate(bytes)?;
        self.driver().zero(block.address, block.bytes)?;
        Ok(block)
    }

    /// Writes values.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn upload<T: Element>(&self, to: Span<T>, values: &[T]) -> Result<()> {
        assert_eq!(to.len(), values.len(), "values to write");
        self.driver().upload(to.address(), bytemuck::cast_slice(values))
    }

    /// Writes rows of `width` bytes, which lie side by side on the host, to rows that lie `pitch` bytes apart.
    pub fn upload_rows<T: Element>(&self, to: Matrix<T>, bytes: &[u8]) -> Result<()> {
        let width = to.columns() * size_of::<T>();
        assert_eq!(bytes.len(), width * to.rows(), "bytes of rows to write");
        self.driver().upload_rows(bytes, rows_of(to), width, to.rows())
    }

    /// Reads values; waits for all work before it.
    pub fn download<T: Element>(&self, from: Span<T>) -> Result<Vec<T>> {
        let mut values = vec![T::zeroed(); from.len()];
        self.driver().download(from.address(), bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }

    /// Reads a matrix without what lies between its rows; waits for all work before it.
    pub fn download_matrix<T: Element>(&self, from: Matrix<T>) -> Result<Vec<T>> {
        let mut values = Vec::with_capacity(from.rows() * from.columns());
        if from.rows() == 0 {
            return Ok(values);
        }
        let mut all = vec![T::zeroed(); (from.rows() - 1) * from.pitch() + from.columns()];
        self.driver().download(from.address(), bytemuck::cast_slice_mut(&mut all))?;
        all.chunks(from.pitch()).for_each(|row| values.extend_from_slice(&row[..from.columns()]));
        Ok(values)
    }

    /// Sends a few values to the host without waiting.
    ///
    /// # Panics
    /// When they are more than a letter holds.
    pub fn post<T: Element>(&self, from: Span<T>) -> Result<Mail<T>> {
        let bytes = from.len() * size_of::<T>();
        assert!(bytes <= MAIL_BYTES, "{bytes} bytes in a letter of {MAIL_BYTES}");
        let letter = Some(self.driver().post_letter(from.address(), bytes)?);
        Ok(Mail { device: Arc::clone(&self.inner), letter, element: std::marker::PhantomData })
    }

    /// Zeroes values.
    pub fn zero<T: Element>(&self, span: Span<T>) -> Result<()> {
        if span.is_empty() {
            return Ok(());
        }
        self.driver().zero(span.address(), span.len() * size_of::<T>())
    }

    /// Zeroes a matrix and nothing between its rows.
    pub fn zero_matrix<T: Element>(&self, matrix: Matrix<T>) -> Result<()> {
        self.driver().zero_rows(rows_of(matrix), matrix.columns() * size_of::<T>(), matrix.rows())
    }

    /// Copies a matrix to one of the same shape.
    ///
    /// # Panics
    /// When the shapes differ.
    pub fn copy<T: Element>(&self, from: Matrix<T>, to: Matrix<T>) -> Result<()> {
        assert_eq!([from.rows(), from.columns()], [to.rows(), to.columns()], "matrices to copy");
        if from.rows() == 0 || from.columns() == 0 {
            return Ok(());
        }
        self.driver().copy_rows(rows_of(from), rows_of(to), from.columns() * size_of::<T>(), from.rows())
    }

    /// Compiles a source, or finds it compiled.
    pub fn program(&self, source: &'static Source, defines: &[Define]) -> Result<Program> {
        Ok(Program { handle: self.driver().program(source, defines)?, device: Arc::clone(&self.inner) })
    }

    /// How the copy engine sees rows of heads.
    pub fn tensor_map(&self, matrix: Matrix<half::bf16>, head_dim: usize, box_rows: usize) -> Result<TensorMap> {
        let (rows, pitch, heads) = (matrix.rows(), matrix.pitch(), matrix.columns() / head_dim);
        self.driver().tensor_map(matrix.address(), MapShape { head_dim, heads, rows, pitch, box_rows })
    }

    /// Puts a matrix product into the stream.
    pub fn product(&self, product: &Product) -> Result<()> {
        let [m, n, _] = product.shape();
        if m == 0 || n == 0 {
            return Ok(());
        }
        let parts = product.parts(self.info().multiprocessors as usize);
        parts.iter().flatten().try_for_each(|part| self.driver().product(part))
    }

    /// Finds out how products like this one are computed fastest, as [`Driver::tune`].
    pub(crate) fn tune(&self, product: &Product, digest: &mut dyn FnMut() -> Result<u64>) -> Result<()> {
        self.driver().tune(product, digest)
    }

    /// Waits for all work.
    pub fn synchronize(&self) -> Result<()> {
        self.driver().synchronize()
    }

    /// Marks a place in the stream.
    pub fn mark(&self) -> Result<Mark> {
        Ok(Mark(self.driver().mark()?))
    }

    /// Milliseconds of the device between two marks; waits for the second.
    pub fn elapsed(&self, start: Mark, end: Mark) -> Result<f32> {
        self.driver().elapsed(start.0, end.0)
    }
}

impl Program {
    /// A kernel of it.
    pub fn function(&self, name: &'static str) -> Result<Function> {
        self.function_with(name, 0)
    }

    /// A kernel that is started with at most `shared_bytes` of dynamic shared memory.
    pub fn function_with(&self, name: &'static str, shared_bytes: usize) -> Result<Function> {
        let handle = self.device.driver.function(self.handle, name, shared_bytes)?;
        Ok(Function { device: Arc::clone(&self.device), handle, name })
    }
}

impl<T: Element> Mail<T> {
    /// The values if they have arrived, or in any case when `wait` is true. They are given once.
    pub fn open(&mut self, wait: bool) -> Result<Option<Vec<T>>> {
        let Some(letter) = self.letter.take() else { return Ok(None) };
        let (slot, length) = (letter.slot, letter.length);
        let bytes = self.device.driver.open_letter(letter, wait)?;
        if bytes.is_none() {
            self.letter = Some(Letter { slot, length });
        }
        Ok(bytes.map(|bytes| bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()))
    }
}

fn rows_of<T: Element>(matrix: Matrix<T>) -> Rows {
    Rows { address: matrix.address(), pitch: matrix.pitch() * size_of::<T>() }
}

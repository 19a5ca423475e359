//! Owns how a kernel is started: its function, its grid and its arguments. Knows no kernel by name.

use std::sync::Arc;

use crate::device::Inner;
use crate::error::Result;
use crate::memory::{Element, Matrix, Span};

/// A compiled kernel on a device.
#[derive(Clone)]
pub struct Function {
    pub(crate) device: Arc<Inner>,
    pub(crate) handle: u64,
    pub(crate) name: &'static str,
}

/// Blocks of a launch, threads of a block, and bytes of dynamic shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Blocks in each direction.
    pub blocks: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
    /// Dynamic shared memory of a block.
    pub shared_bytes: u32,
}

impl Grid {
    /// `blocks` blocks in one direction.
    #[must_use]
    pub fn new(blocks: usize, threads: usize) -> Self {
        Grid { blocks: [blocks as u32, 1, 1], threads: threads as u32, shared_bytes: 0 }
    }

    /// Blocks in two directions.
    #[must_use]
    pub fn flat(columns: usize, rows: usize, threads: usize) -> Self {
        Grid { blocks: [columns as u32, rows as u32, 1], threads: threads as u32, shared_bytes: 0 }
    }

    /// With dynamic shared memory.
    #[must_use]
    pub fn shared(self, bytes: usize) -> Self {
        Grid { shared_bytes: bytes as u32, ..self }
    }
}

/// How the copy engine of compute capability 9.0 sees a matrix; opaque to everyone but the driver.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct TensorMap(pub(crate) [u8; 128]);

/// One argument of a kernel, in the bytes the kernel reads.
#[derive(Clone, Copy)]
pub enum Argument {
    /// An address or a number of at most eight bytes.
    Word(u64),
    /// A tensor map, by value.
    Map(TensorMap),
}

impl Argument {
    /// Where its bytes lie.
    pub(crate) fn pointer(&self) -> *const std::ffi::c_void {
        match self {
            Argument::Word(word) => std::ptr::from_ref(word).cast(),
            Argument::Map(map) => std::ptr::from_ref(map).cast(),
        }
    }
}

impl<T: Element> From<Span<T>> for Argument {
    fn from(span: Span<T>) -> Self {
        Argument::Word(span.address)
    }
}
impl<T: Element> From<Matrix<T>> for Argument {
    fn from(matrix: Matrix<T>) -> Self {
        Argument::Word(matrix.address)
    }
}
impl<T: Element> From<Option<Span<T>>> for Argument {
    fn from(span: Option<Span<T>>) -> Self {
        Argument::Word(span.map_or(0, |span| span.address))
    }
}
impl<T: Element> From<Option<Matrix<T>>> for Argument {
    fn from(matrix: Option<Matrix<T>>) -> Self {
        Argument::Word(matrix.map_or(0, |matrix| matrix.address))
    }
}
impl From<u32> for Argument {
    fn from(value: u32) -> Self {
        Argument::Word(u64::from(value))
    }
}
impl From<i32> for Argument {
    fn from(value: i32) -> Self {
        Argument::Word(u64::from(value as u32))
    }
}
impl From<u64> for Argument {
    fn from(value: u64) -> Self {
        Argument::Word(value)
    }
}
impl From<f32> for Argument {
    fn from(value: f32) -> Self {
        Argument::Word(u64::from(value.to_bits()))
    }
}
/// Counts are `int` in every kernel.
impl From<usize> for Argument {
    fn from(value: usize) -> Self {
        debug_assert!(i32::try_from(value).is_ok(), "{value} does not fit the int of a kernel");
        Argument::Word(value as u64)
    }
}
impl From<TensorMap> for Argument {
    fn from(map: TensorMap) -> Self {
        Argument::Map(map)
    }
}

impl Function {
    /// Puts a launch into the stream. A grid without blocks does nothing.
    pub fn launch(&self, grid: Grid, arguments: &[Argument]) -> Result<()> {
        if grid.blocks.contains(&0) {
            return Ok(());
        }
        self.device.driver.launch(self.handle, self.name, grid, arguments)
    }
}

/// Puts a launch into the stream: `launch!(function, grid; a, b, c)?`.
#[macro_export]
macro_rules! launch {
    ($function:expr, $grid:expr; $($argument:expr),* $(,)?) => {
        $function.launch($grid, &[$($crate::launch::Argument::from($argument)),*])
    };
}

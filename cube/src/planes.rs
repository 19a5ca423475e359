//! Owns what kernels on the matrix units of planes share (`VK_KHR_cooperative_matrix`, 16 x 16 x 16, f32 sums): which devices
//! have them, and how a matrix leaves shared memory. Knows no operation.
//!
//! Values lie in shared memory as quadruples of words, sixteen bytes each, whatever their format.

use cubecl::cmma::{self, Matrix, MatrixIdent, MatrixLayout};
use cubecl::features::MmaConfig;
use cubecl::ir::DeviceProperties;
use cubecl::ir::features::Plane;
use cubecl::prelude::*;

/// Side of a matrix.
pub(crate) const SIDE: usize = 16;
/// Units of a plane.
pub(crate) const PLANE: usize = 32;
/// Words moved at once.
pub(crate) const WORDS: usize = 4;
/// Values of two bytes in as many words.
pub(crate) const WIDTH: usize = 8;

/// Whether a device has matrices for values of a format, planes of a known size, and so many units and bytes of shared memory
/// for a workgroup.
#[must_use]
pub(crate) fn are_offered(properties: &DeviceProperties, dtype: ElemType, units: usize, bytes: usize) -> bool {
    let (hardware, features) = (&properties.hardware, &properties.features);
    let config = MmaConfig { a_type: dtype, b_type: dtype, cd_type: f32::elem_type_native(), m: 16, n: 16, k: 16 };
    [hardware.plane_size_min, hardware.plane_size_max] == [PLANE as u32; 2]
        && features.plane.contains(Plane::Ops)
        && features.matmul.cmma.contains(&config)
        && units <= hardware.max_units_per_cube as usize
        && bytes <= hardware.max_shared_memory_size
}

/// The matrix that begins at an element of shared memory, each of four words or values, with `pitch` elements between rows of
/// memory.
#[cube]
#[allow(unsafe_code, reason = "the matrix is loaded before it is read")]
pub(crate) fn fragment<I: Float, V: CubePrimitive>(
    shared: &[V],
    from: usize,
    #[comptime] pitch: usize,
    #[comptime] ident: MatrixIdent,
    #[comptime] layout: MatrixLayout,
) -> Matrix<I> {
    let mut matrix = unsafe { Matrix::<I>::uninitialized(ident, SIDE, SIDE, SIDE, layout) };
    cmma::load(&mut matrix, &shared[from..from + comptime!(SIDE * pitch)], comptime!((pitch * WORDS) as u32));
    matrix
}

/// Sums that are still zero.
#[cube]
pub(crate) fn zeros(#[comptime] count: usize) -> Sequence<Matrix<f32>> {
    let mut sums = Sequence::<Matrix<f32>>::new();
    #[unroll]
    for _ in 0..count {
        sums.push(Matrix::<f32>::from_value(MatrixIdent::Accumulator, SIDE, SIDE, SIDE, MatrixLayout::Undefined, 0.0));
    }
    sums
}

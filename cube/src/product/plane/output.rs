//! Owns how the sums of a tile leave: through shared memory, so that rows are written whole, with what is added to them on the
//! way. Knows no product.

use cubecl::cmma::{self, Matrix, MatrixLayout};
use cubecl::prelude::*;

use super::Form;
use crate::planes::{PLANE, SIDE};

/// Values written at once.
pub(super) const WIDTH: usize = 4;

/// How a plane's share of the output passes shared memory: a row of fragments at a time, each plane in a place of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Passage {
    /// Fragments of a row.
    pub(super) fragments: usize,
}

impl Passage {
    /// Quadruples of a row.
    const fn width(self) -> usize {
        self.fragments * SIDE / WIDTH
    }

    /// Quadruples between rows, one more than fit, which keeps rows out of each other's banks.
    const fn pitch(self) -> usize {
        self.width() + 1
    }

    /// Quadruples that a plane takes.
    pub(super) const fn size(self) -> usize {
        SIDE * self.pitch()
    }
}

/// Writes a plane's sums with their upper left corner at `top` and `left`; `base` rows lie before the output.
#[cube]
#[allow(clippy::too_many_arguments)]
pub(super) fn leave<B: Float, O: Float, N: Size>(
    sums: &Sequence<Matrix<f32>>,
    shared: &mut [Vector<u32, N>],
    bias: &[Vector<B, N>],
    residual: &[Vector<f32, N>],
    out: &mut [Vector<O, N>],
    base: u32,
    top: u32,
    left: u32,
    m: u32,
    n: u32,
    #[comptime] form: Form,
) {
    let passage = comptime!(form.tile.passage());
    let own = UNIT_POS_Y as usize * comptime!(passage.size());
    let unit = UNIT_POS_X;
    #[unroll]
    for i in 0..comptime!(form.tile.fragments[0]) {
        #[unroll]
        for j in 0..comptime!(passage.fragments) {
            let from = own + comptime!(j * SIDE / WIDTH);
            let to = from + comptime!(SIDE * passage.pitch());
            let sum = sums.index(comptime!(i * passage.fragments + j));
            let pitch = comptime!((passage.pitch() * WIDTH) as u32);
            cmma::store(&mut shared[from..to], sum, pitch, MatrixLayout::RowMajor);
        }
        sync_plane();
        #[unroll]
        for part in 0..comptime!(SIDE * passage.width() / PLANE) {
            let at = unit + comptime!((part * PLANE) as u32);
            let (y, x) = (at / comptime!(passage.width() as u32), at % comptime!(passage.width() as u32));
            let (row, column) = (top + comptime!((i * SIDE) as u32) + y, left / comptime!(WIDTH as u32) + x);
            let columns = n / comptime!(WIDTH as u32);
            if comptime!(form.exact) || (row < m && column < columns) {
                let mut sum =
                    Vector::<f32, N>::reinterpret(shared[own + (y * comptime!(passage.pitch() as u32) + x) as usize]);
                if comptime!(form.bias) {
                    sum += Vector::cast_from(bias[column as usize]);
                }
                let place = ((base + row) * columns + column) as usize;
                if comptime!(form.residual) {
                    sum += residual[place];
                }
                out[place] = Vector::cast_from(sum);
            }
        }
        sync_plane();
    }
}

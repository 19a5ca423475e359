//! Owns products on the matrix units of planes. Knows no layer.
//!
//! A workgroup makes one tile of the output. It carries a step of both factors into shared memory, and each plane multiplies
//! its own part of the tile. While one workgroup waits for a step, another on the same multiprocessor multiplies: reading
//! ahead takes registers that keep fewer of them there, and is slower.

mod output;
mod stage;

use cubecl::cmma::{self, Matrix, MatrixIdent};
use cubecl::ir::{DeviceProperties, ElemType};
use cubecl::prelude::*;

use super::{Factor, Product};
use crate::Array;
use crate::planes::{PLANE, SIDE, WIDTH, WORDS, are_offered, zeros};
use output::{Passage, leave};
use stage::{Stage, fetch, matrix, put};

/// One workgroup's share of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Tile {
    /// Planes along the rows and the columns of the output.
    planes: [usize; 2],
    /// Fragments of each plane along the rows and the columns.
    fragments: [usize; 2],
    /// Steps of the inner dimension in shared memory at once.
    step: usize,
}

impl Tile {
    const fn side(self, axis: usize) -> usize {
        self.planes[axis] * self.fragments[axis] * SIDE
    }

    const fn planes(self) -> usize {
        self.planes[0] * self.planes[1]
    }

    const fn units(self) -> usize {
        self.planes() * PLANE
    }

    /// Bytes of shared memory at most.
    fn bytes(self) -> usize {
        let factor = |axis| self.stage(axis, false, 0, 0).size().max(self.stage(axis, true, 0, 0).size());
        (factor(0).max(self.passages()) + factor(1)) * WORDS * size_of::<u32>()
    }

    /// How the sums of a plane leave.
    const fn passage(self) -> Passage {
        Passage { fragments: self.fragments[1] }
    }

    /// Quadruples of words that the sums of all planes take when they leave.
    const fn passages(self) -> usize {
        self.planes() * self.passage().size()
    }

    /// How the left factor (axis 0) or the right one (axis 1) lies in shared memory, of an output of a length and an inner
    /// dimension of k.
    const fn stage(self, axis: usize, across: bool, length: usize, k: usize) -> Stage {
        let (outer, step) = (self.side(axis), self.step);
        let (height, width) = if across { (step, outer) } else { (outer, step) };
        let (over, partial) = (!length.is_multiple_of(outer), !k.is_multiple_of(step));
        Stage { across, height, width, units: self.units(), over, partial }
    }
}

/// What a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Form {
    tile: Tile,
    /// Left and right factor of the product and of the one beside it.
    stages: [Stage; 4],
    /// The step of the one beside it.
    step_beside: usize,
    beside: bool,
    bias: bool,
    residual: bool,
    /// Whether no tile reaches over an edge of the output.
    exact: bool,
}

impl Form {
    /// Quadruples of words in shared memory for the factors on a side; the sums leave through those of the left ones.
    fn size(self, axis: usize) -> usize {
        let beside = if self.beside { self.stages[axis + 2].size() } else { 0 };
        let sums = if axis == 0 { self.tile.passages() } else { 0 };
        self.stages[axis].size().max(beside).max(sums)
    }
}

/// The tile of a large product, where its two steps fit into shared memory; half the step elsewhere.
const LARGE: Tile = Tile { planes: [2, 2], fragments: [4, 4], step: 64 };
/// Workgroups that keep a large device busy.
const BUSY: usize = 264;

/// Whether a device has the matrices for values of a format.
#[must_use]
pub(super) fn is_offered(properties: &DeviceProperties, dtype: ElemType) -> bool {
    are_offered(properties, dtype, LARGE.units(), Tile { step: LARGE.step / 2, ..LARGE }.bytes())
}

/// Whether rows of the factors, and of a product with so many columns, are as long as sixteen bytes ask for.
#[must_use]
pub(super) fn takes(factors: &[Factor<'_>], columns: usize) -> bool {
    factors.iter().all(|factor| factor.array.shape[1].is_multiple_of(WIDTH)) && columns.is_multiple_of(output::WIDTH)
}

/// `a * b + c * d + bias + residual` in a format.
#[must_use]
pub(super) fn product(product: &Product<'_>, [m, n]: [usize; 2], dtype: ElemType) -> Array {
    let client = &product.main[0].array.client;
    let out = Array::empty(client, [m, n], dtype);
    let fits = client.properties().hardware.max_shared_memory_size >= LARGE.bytes();
    let step = if fits { LARGE.step } else { LARGE.step / 2 };
    launch(product, &out, [m, n], Tile { step, ..LARGE }, [product.main[0].shape()[1], 1]);
    out
}

/// A product with few rows or few columns in f32 parts, `[splits * m, n]`, and how many.
#[must_use]
pub(super) fn narrow(a: Factor<'_>, b: Factor<'_>) -> (Array, usize) {
    let ([m, k], n) = (a.shape(), b.shape()[1]);
    let short = |side: usize| if side <= 32 { 2 } else { 4 };
    let (planes, fragments) = if m < n { ([1, 4], [short(m), 2]) } else { ([4, 1], [2, short(n)]) };
    let tile = Tile { planes, fragments, step: 32 };
    let tiles = m.div_ceil(tile.side(0)) * n.div_ceil(tile.side(1));
    let cut @ [_, splits] = cut(k, tiles, tile.step);
    let out = Array::empty(&a.array.client, [splits * m, n], f32::elem_type_native());
    launch(&Product::of(a, b), &out, [m, n], tile, cut);
    (out, splits)
}

/// How an inner dimension is cut so that so many tiles keep a device busy: the length of a part, and how many parts. Each has
/// something to do: a kernel counts its steps without a sign.
fn cut(k: usize, tiles: usize, step: usize) -> [usize; 2] {
    let wanted = (2 * BUSY / tiles).clamp(1, k.div_ceil(8 * step));
    let length = k.div_ceil(wanted).next_multiple_of(step);
    [length, k.div_ceil(length)]
}

fn launch(product: &Product<'_>, out: &Array, [m, n]: [usize; 2], tile: Tile, [chunk, splits]: [usize; 2]) {
    let [a, b] = product.main;
    // What is absent is bound to something present and not read.
    let [c, d] = product.beside.unwrap_or(product.main);
    let (k, inner) = (a.shape()[1], c.shape()[1]);
    let client = &a.array.client;
    // What stands beside has a short inner dimension, and takes no longer steps than that.
    let short = Tile { step: inner.next_power_of_two().clamp(SIDE, tile.step), ..tile };
    let absent = || a.array.vectors(WIDTH);
    // SAFETY: what lies beyond an edge is neither read nor written.
    #[allow(unsafe_code)]
    unsafe {
        plane_kernel::launch_unchecked(
            client,
            CubeCount::Static(m.div_ceil(tile.side(0)) as u32, n.div_ceil(tile.side(1)) as u32, splits as u32),
            CubeDim::new_2d(PLANE as u32, tile.planes() as u32),
            WORDS,
            a.array.vectors(WIDTH),
            b.array.vectors(WIDTH),
            c.array.vectors(WIDTH),
            d.array.vectors(WIDTH),
            product.bias.map_or_else(absent, |bias| bias.vectors(output::WIDTH)),
            product.residual.map_or_else(absent, |residual| residual.vectors(output::WIDTH)),
            out.vectors(output::WIDTH),
            m as u32,
            n as u32,
            k as u32,
            inner as u32,
            chunk as u32,
            Form {
                tile,
                stages: [
                    tile.stage(0, a.transposed, m, k),
                    tile.stage(1, !b.transposed, n, k),
                    short.stage(0, c.transposed, m, inner),
                    short.stage(1, !d.transposed, n, inner),
                ],
                step_beside: short.step,
                beside: product.beside.is_some(),
                bias: product.bias.is_some(),
                residual: product.residual.is_some(),
                exact: m.is_multiple_of(tile.side(0)) && n.is_multiple_of(tile.side(1)),
            },
            a.array.dtype,
            product.bias.map_or(a.array.dtype, |bias| bias.dtype),
            out.dtype,
        );
    }
}

#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
fn plane_kernel<I: Float, B: Float, O: Float, N: Size>(
    a: &[Vector<u32, N>],
    b: &[Vector<u32, N>],
    c: &[Vector<u32, N>],
    d: &[Vector<u32, N>],
    bias: &[Vector<B, N>],
    residual: &[Vector<f32, N>],
    out: &mut [Vector<O, N>],
    m: u32,
    n: u32,
    k: u32,
    inner: u32,
    chunk: u32,
    #[comptime] form: Form,
    #[define(I)] _input: ElemType,
    #[define(B)] _bias: ElemType,
    #[define(O)] _output: ElemType,
) {
    let tile = comptime!(form.tile);
    let mut shared_a = Shared::<[Vector<u32, N>]>::new_slice(comptime!(form.size(0)));
    let mut shared_b = Shared::<[Vector<u32, N>]>::new_slice(comptime!(form.size(1)));
    let row = CUBE_POS_X * comptime!(tile.side(0) as u32);
    let column = CUBE_POS_Y * comptime!(tile.side(1) as u32);

    let sums = zeros(comptime!(tile.fragments[0] * tile.fragments[1]));
    let from = CUBE_POS_Z * chunk;
    let to = u32::min(from + chunk, k);
    let stages = comptime!([form.stages[0], form.stages[1]]);
    accumulate::<I, N>(a, b, &mut shared_a, &mut shared_b, &sums, row, column, m, n, k, from, to, tile, stages);
    if comptime!(form.beside) {
        let stages = comptime!([form.stages[2], form.stages[3]]);
        let tile = comptime!(Tile { step: form.step_beside, ..tile });
        accumulate::<I, N>(c, d, &mut shared_a, &mut shared_b, &sums, row, column, m, n, inner, 0, inner, tile, stages);
    }

    let top = row + UNIT_POS_Y / comptime!(tile.planes[1] as u32) * comptime!((tile.fragments[0] * SIDE) as u32);
    let left = column + UNIT_POS_Y % comptime!(tile.planes[1] as u32) * comptime!((tile.fragments[1] * SIDE) as u32);
    leave::<B, O, N>(&sums, &mut shared_a, bias, residual, out, CUBE_POS_Z * m, top, left, m, n, form);
}

/// Adds the inner dimension of a product between `from` and `to` to a tile at `row` and `column`. Every unit is past its last
/// read of shared memory when it returns.
#[cube]
#[allow(clippy::too_many_arguments)]
fn accumulate<I: Float, N: Size>(
    a: &[Vector<u32, N>],
    b: &[Vector<u32, N>],
    shared_a: &mut [Vector<u32, N>],
    shared_b: &mut [Vector<u32, N>],
    sums: &Sequence<Matrix<f32>>,
    row: u32,
    column: u32,
    m: u32,
    n: u32,
    k: u32,
    from: u32,
    to: u32,
    #[comptime] tile: Tile,
    #[comptime] stages: [Stage; 2],
) {
    let (left, right) = comptime!((stages[0], stages[1]));
    let plane = UNIT_POS_Y as usize;
    let plane_row = plane / comptime!(tile.planes[1]) * comptime!(tile.fragments[0] * SIDE);
    let plane_column = plane % comptime!(tile.planes[1]) * comptime!(tile.fragments[1] * SIDE);
    let steps = (to - from).div_ceil(comptime!(tile.step as u32));
    let held_a = fetch::<N>(a, row, from, m, k, left);
    let held_b = fetch::<N>(b, column, from, n, k, right);
    put::<N>(&held_a, shared_a, left);
    put::<N>(&held_b, shared_b, right);
    sync_cube();
    for at in 0..steps {
        multiply::<I, N>(&*shared_a, &*shared_b, sums, plane_row, plane_column, tile, left, right);
        // The last step has no next one, and reads its own again.
        let next = from + u32::min(at + 1, steps - 1) * comptime!(tile.step as u32);
        let held_a = fetch::<N>(a, row, next, m, k, left);
        let held_b = fetch::<N>(b, column, next, n, k, right);
        sync_cube();
        put::<N>(&held_a, shared_a, left);
        put::<N>(&held_b, shared_b, right);
        sync_cube();
    }
}

/// Adds the product of what lies in shared memory to a plane's sums.
#[cube]
#[allow(clippy::too_many_arguments)]
fn multiply<I: Float, N: Size>(
    shared_a: &[Vector<u32, N>],
    shared_b: &[Vector<u32, N>],
    sums: &Sequence<Matrix<f32>>,
    row: usize,
    column: usize,
    #[comptime] tile: Tile,
    #[comptime] left: Stage,
    #[comptime] right: Stage,
) {
    #[unroll]
    for inner in 0..comptime!(tile.step / SIDE) {
        let mut columns = Sequence::<Matrix<I>>::new();
        #[unroll]
        for j in 0..comptime!(tile.fragments[1]) {
            let outer = column + comptime!(j * SIDE);
            columns.push(matrix::<I, N>(shared_b, outer, comptime!(inner * SIDE), MatrixIdent::B, right));
        }
        #[unroll]
        for i in 0..comptime!(tile.fragments[0]) {
            let outer = row + comptime!(i * SIDE);
            let rows = matrix::<I, N>(shared_a, outer, comptime!(inner * SIDE), MatrixIdent::A, left);
            #[unroll]
            for j in 0..comptime!(tile.fragments[1]) {
                let sum = sums.index(comptime!(i * tile.fragments[1] + j));
                cmma::execute(&rows, columns.index(j), sum, sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inner_dimension_is_cut_into_parts_that_all_have_something_to_do() {
        // Rounding up to whole steps leaves nothing for the last of sixteen parts.
        assert_eq!(cut(4100, 32, 32), [288, 15]);
        for k in (1..9000).step_by(13) {
            for tiles in [1, 2, 5, 31, 32, 33, 64, 128, 528, 529] {
                let [length, parts] = cut(k, tiles, 32);
                assert!(length.is_multiple_of(32) && (parts - 1) * length < k && parts * length >= k, "{k} by {tiles}");
                assert!(parts <= (2 * BUSY / tiles).max(1), "{k} by {tiles}: {parts} parts");
            }
        }
    }
}

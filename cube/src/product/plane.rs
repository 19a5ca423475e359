//! Owns products on the matrix units of planes (`VK_KHR_cooperative_matrix`, 16 x 16 x 16, f32 sums). Knows no layer.
//!
//! A workgroup makes one tile of the output. It carries a step of both factors through shared memory, reading the next step
//! while it multiplies the present one; each plane multiplies its own part of the tile. Values travel sixteen bytes at a time,
//! as four u32, whatever their format.

use cubecl::client::Client;
use cubecl::cmma::{self, Matrix, MatrixIdent, MatrixLayout};
use cubecl::features::MmaConfig;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::*;

use super::{Factor, Product};
use crate::Array;

/// Words read at once.
const WORDS: usize = 4;
/// Values read at once.
const WIDTH: usize = 8;
/// Side of a fragment.
const SIDE: usize = 16;
/// Values between rows in shared memory that keep rows out of each other's banks.
const PAD: usize = 8;

/// One workgroup's share of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Tile {
    /// Planes along the rows and the columns of the output.
    planes: [usize; 2],
    /// Fragments of each plane along the rows and the columns.
    fragments: [usize; 2],
    /// Steps of the inner dimension in shared memory at once.
    step: usize,
    /// Units of a plane.
    plane: usize,
}

impl Tile {
    const fn side(self, axis: usize) -> usize {
        self.planes[axis] * self.fragments[axis] * SIDE
    }

    const fn units(self) -> usize {
        self.planes[0] * self.planes[1] * self.plane
    }
}

/// How one factor lies in shared memory, and how units share its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stage {
    /// Whether rows of memory run along the output instead of the inner dimension.
    across: bool,
    /// Rows in shared memory.
    height: usize,
    /// Values of a row.
    width: usize,
    /// Units that share it.
    units: usize,
    /// Whether nothing reaches over an edge.
    exact: bool,
}

impl Stage {
    /// Reads of one unit.
    const fn parts(self) -> usize {
        self.height * self.width / WIDTH / self.units
    }

    /// Quadruples of words between rows.
    const fn pitch(self) -> usize {
        (self.width + PAD) / WIDTH
    }

    const fn size(self) -> usize {
        self.height * self.pitch()
    }
}

impl Tile {
    /// How the left factor (axis 0) or the right one (axis 1) lies in shared memory.
    const fn stage(self, axis: usize, across: bool, exact: bool) -> Stage {
        let (outer, step) = (self.side(axis), self.step);
        let (height, width) = if across { (step, outer) } else { (outer, step) };
        Stage { across, height, width, units: self.units(), exact }
    }
}

/// What a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Form {
    tile: Tile,
    /// Left and right factor of the product and of the one beside it.
    stages: [Stage; 4],
    beside: bool,
    exact: bool,
}

impl Form {
    /// Quadruples of words that one step of the factors on a side takes.
    fn size(self, axis: usize) -> usize {
        self.stages[axis].size().max(if self.beside { self.stages[axis + 2].size() } else { 0 })
    }
}

/// The tile of a large product.
const LARGE: Tile = Tile { planes: [2, 4], fragments: [4, 2], step: 32, plane: 32 };
/// Workgroups that keep a large device busy.
const BUSY: usize = 264;

/// Whether a device has the matrices for values of a format.
#[must_use]
pub(super) fn is_offered(client: &Client, dtype: ElemType) -> bool {
    let properties = client.properties();
    let config = MmaConfig { a_type: dtype, b_type: dtype, cd_type: f32::elem_type_native(), m: 16, n: 16, k: 16 };
    let units = Tile { plane: properties.hardware.plane_size_max as usize, ..LARGE }.units();
    properties.hardware.plane_size_min == properties.hardware.plane_size_max
        && properties.features.matmul.cmma.contains(&config)
        && units <= properties.hardware.max_units_per_cube as usize
        && properties.hardware.max_shared_memory_size >= 2 * 2 * 128 * (32 + PAD) * 2
}

/// Whether rows are as long as sixteen bytes ask for.
#[must_use]
pub(super) fn takes(factors: &[Factor<'_>]) -> bool {
    factors.iter().all(|factor| factor.array.shape[1].is_multiple_of(WIDTH))
}

/// `a * b + c * d` in a format.
#[must_use]
pub(super) fn product(product: &Product<'_>, [m, n]: [usize; 2], dtype: ElemType) -> Array {
    let out = Array::empty(&product.main[0].array.client, [m, n], dtype);
    launch(product, &out, [m, n], LARGE, 1);
    out
}

/// A product with few rows or few columns in f32 parts, `[splits * m, n]`, and how many.
#[must_use]
pub(super) fn narrow(a: Factor<'_>, b: Factor<'_>) -> (Array, usize) {
    let ([m, k], n) = (a.shape(), b.shape()[1]);
    let short = |side: usize| if side <= 32 { 2 } else { 4 };
    let (planes, fragments) = if m < n { ([1, 4], [short(m), 2]) } else { ([4, 1], [2, short(n)]) };
    let tile = Tile { planes, fragments, ..LARGE };
    let tiles = m.div_ceil(tile.side(0)) * n.div_ceil(tile.side(1));
    let splits = (2 * BUSY / tiles).clamp(1, k.div_ceil(8 * tile.step));
    let out = Array::empty(&a.array.client, [splits * m, n], f32::elem_type_native());
    launch(&Product::of(a, b), &out, [m, n], tile, splits);
    (out, splits)
}

fn launch(product: &Product<'_>, out: &Array, [m, n]: [usize; 2], tile: Tile, splits: usize) {
    let [a, b] = product.main;
    // What is absent is bound to something present and not read.
    let [c, d] = product.beside.unwrap_or(product.main);
    let (k, inner) = (a.shape()[1], c.shape()[1]);
    let client = &a.array.client;
    let tile = Tile { plane: client.properties().hardware.plane_size_max as usize, ..tile };
    let edges = m.is_multiple_of(tile.side(0)) && n.is_multiple_of(tile.side(1));
    let chunk = k.div_ceil(splits).next_multiple_of(tile.step);
    let exact = edges && k.is_multiple_of(tile.step);
    let also = edges && inner.is_multiple_of(tile.step);
    // SAFETY: what lies beyond an edge is neither read nor written.
    #[allow(unsafe_code)]
    unsafe {
        plane_kernel::launch_unchecked(
            client,
            CubeCount::Static(m.div_ceil(tile.side(0)) as u32, n.div_ceil(tile.side(1)) as u32, splits as u32),
            CubeDim::new_2d(tile.plane as u32, (tile.planes[0] * tile.planes[1]) as u32),
            WORDS,
            a.array.vectors(WIDTH),
            b.array.vectors(WIDTH),
            c.array.vectors(WIDTH),
            d.array.vectors(WIDTH),
            out.arg(),
            m as u32,
            n as u32,
            k as u32,
            inner as u32,
            chunk as u32,
            Form {
                tile,
                stages: [
                    tile.stage(0, a.transposed, exact),
                    tile.stage(1, !b.transposed, exact),
                    tile.stage(0, c.transposed, also),
                    tile.stage(1, !d.transposed, also),
                ],
                beside: product.beside.is_some(),
                // A tile in bf16 cannot be stored from a matrix: its sums leave value by value.
                exact: edges && !matches!(out.dtype, ElemType::Float(FloatKind::BF16)),
            },
            a.array.dtype,
            out.dtype,
        );
    }
}

#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments)]
fn plane_kernel<I: Float, O: Float, N: Size>(
    a: &[Vector<u32, N>],
    b: &[Vector<u32, N>],
    c: &[Vector<u32, N>],
    d: &[Vector<u32, N>],
    out: &mut [O],
    m: u32,
    n: u32,
    k: u32,
    inner: u32,
    chunk: u32,
    #[comptime] form: Form,
    #[define(I)] _input: ElemType,
    #[define(O)] _output: ElemType,
) {
    let tile = comptime!(form.tile);
    let mut shared_a = Shared::<[Vector<u32, N>]>::new_slice(comptime!(2 * form.size(0)));
    let mut shared_b = Shared::<[Vector<u32, N>]>::new_slice(comptime!(2 * form.size(1)));
    let row = CUBE_POS_X * comptime!(tile.side(0) as u32);
    let column = CUBE_POS_Y * comptime!(tile.side(1) as u32);

    let mut sums = Sequence::<Matrix<f32>>::new();
    #[unroll]
    for _ in 0..comptime!(tile.fragments[0] * tile.fragments[1]) {
        sums.push(Matrix::<f32>::from_value(MatrixIdent::Accumulator, SIDE, SIDE, SIDE, MatrixLayout::Undefined, 0.0));
    }
    let from = CUBE_POS_Z * chunk;
    let to = u32::min(from + chunk, k);
    let stages = comptime!([form.stages[0], form.stages[1]]);
    accumulate::<I, N>(a, b, &mut shared_a, &mut shared_b, &sums, row, column, m, n, k, from, to, tile, stages);
    if comptime!(form.beside) {
        let stages = comptime!([form.stages[2], form.stages[3]]);
        accumulate::<I, N>(c, d, &mut shared_a, &mut shared_b, &sums, row, column, m, n, inner, 0, inner, tile, stages);
    }

    let plane = UNIT_POS_Y as usize;
    let top = row as usize + plane / comptime!(tile.planes[1]) * comptime!(tile.fragments[0] * SIDE);
    let left = column as usize + plane % comptime!(tile.planes[1]) * comptime!(tile.fragments[1] * SIDE);
    let base = (CUBE_POS_Z * m) as usize * n as usize;
    let mut scratch = Shared::<[f32]>::new_slice(comptime!(if form.exact {
        1
    } else {
        tile.planes[0] * tile.planes[1] * SIDE * SIDE
    }));
    #[unroll]
    for i in 0..comptime!(tile.fragments[0]) {
        #[unroll]
        for j in 0..comptime!(tile.fragments[1]) {
            let sum = sums.index(comptime!(i * tile.fragments[1] + j));
            let (top, left) = (top + comptime!(i * SIDE), left + comptime!(j * SIDE));
            let from = base + top * n as usize + left;
            if comptime!(form.exact) {
                let rounded = cmma::cast::<f32, O, cmma::Plane>(sum);
                let to = from + comptime!(SIDE - 1) * n as usize + SIDE;
                cmma::store(&mut out[from..to], &rounded, n, MatrixLayout::RowMajor);
            } else {
                // A fragment may reach over the edge, so its values are written one by one.
                let own = plane * comptime!(SIDE * SIDE);
                cmma::store(
                    &mut scratch[own..own + comptime!(SIDE * SIDE)],
                    sum,
                    comptime!(SIDE as u32),
                    MatrixLayout::RowMajor,
                );
                sync_cube();
                for at in range_stepped(UNIT_POS_X as usize, comptime!(SIDE * SIDE), comptime!(tile.plane)) {
                    let (y, x) = (at / SIDE, at % SIDE);
                    if top + y < m as usize && left + x < n as usize {
                        out[from + y * n as usize + x] = O::cast_from(scratch[own + at]);
                    }
                }
                sync_cube();
            }
        }
    }
}

/// Adds the inner dimension of a product between `from` and `to` to a tile at `row` and `column`.
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

    let held_a = fetch::<N>(a, row, from, m, k, left);
    let held_b = fetch::<N>(b, column, from, n, k, right);
    put::<N>(&held_a, shared_a, 0, left);
    put::<N>(&held_b, shared_b, 0, right);
    sync_cube();

    let steps = (to - from).div_ceil(comptime!(tile.step as u32));
    let mut half = 0usize;
    for at in 0..steps {
        // The last step has no next one, and reads its own again.
        let next = from + u32::min(at + 1, steps - 1) * comptime!(tile.step as u32);
        let held_a = fetch::<N>(a, row, next, m, k, left);
        let held_b = fetch::<N>(b, column, next, n, k, right);
        let from_a = half * comptime!(left.size());
        let from_b = half * comptime!(right.size());
        #[unroll]
        for inner in 0..comptime!(tile.step / SIDE) {
            let mut columns = Sequence::<Matrix<I>>::new();
            #[unroll]
            for j in 0..comptime!(tile.fragments[1]) {
                let from = from_b + place(plane_column + comptime!(j * SIDE), comptime!(inner * SIDE), right);
                columns.push(fragment::<I, N>(&*shared_b, from, MatrixIdent::B, right));
            }
            #[unroll]
            for i in 0..comptime!(tile.fragments[0]) {
                let from = from_a + place(plane_row + comptime!(i * SIDE), comptime!(inner * SIDE), left);
                let rows = fragment::<I, N>(&*shared_a, from, MatrixIdent::A, left);
                #[unroll]
                for j in 0..comptime!(tile.fragments[1]) {
                    let sum = sums.index(comptime!(i * tile.fragments[1] + j));
                    cmma::execute(&rows, columns.index(j), sum, sum);
                }
            }
        }
        half = 1 - half;
        put::<N>(&held_a, shared_a, half * comptime!(left.size()), left);
        put::<N>(&held_b, shared_b, half * comptime!(right.size()), right);
        sync_cube();
    }
}

/// Where a fragment lies in a stage, by its place along the output and along the inner dimension.
#[cube]
fn place(outer: usize, #[comptime] inner: usize, #[comptime] stage: Stage) -> usize {
    if comptime!(stage.across) {
        comptime!(inner * stage.pitch()) + outer / WIDTH
    } else {
        outer * comptime!(stage.pitch()) + comptime!(inner / WIDTH)
    }
}

#[cube]
#[allow(unsafe_code, reason = "the matrix is loaded before it is read")]
fn fragment<I: Float, N: Size>(
    shared: &[Vector<u32, N>],
    from: usize,
    #[comptime] ident: MatrixIdent,
    #[comptime] stage: Stage,
) -> Matrix<I> {
    let along =
        comptime!(if matches!(ident, MatrixIdent::A) { MatrixLayout::RowMajor } else { MatrixLayout::ColMajor });
    let across =
        comptime!(if matches!(ident, MatrixIdent::A) { MatrixLayout::ColMajor } else { MatrixLayout::RowMajor });
    let layout = comptime!(if stage.across { across } else { along });
    let mut matrix = unsafe { Matrix::<I>::uninitialized(ident, SIDE, SIDE, SIDE, layout) };
    let to = from + comptime!(SIDE * stage.pitch());
    cmma::load(&mut matrix, &shared[from..to], comptime!((stage.pitch() * WORDS) as u32));
    matrix
}

/// Reads a unit's share of one step of a factor. `start` is where the tile starts along the output, which has `length`.
#[cube]
fn fetch<N: Size>(
    array: &[Vector<u32, N>],
    start: u32,
    inner: u32,
    length: u32,
    k: u32,
    #[comptime] stage: Stage,
) -> Sequence<Vector<u32, N>> {
    let mut held = Sequence::<Vector<u32, N>>::new();
    let across = comptime!(stage.width / WIDTH);
    let (top, left) = if comptime!(stage.across) { (inner, start) } else { (start, inner) };
    let (rows, columns) = if comptime!(stage.across) { (k, length) } else { (length, k) };
    let unit = UNIT_POS;
    let base = (top + unit / comptime!(across as u32)) * (columns / comptime!(WIDTH as u32))
        + left / comptime!(WIDTH as u32)
        + unit % comptime!(across as u32);
    #[unroll]
    for part in 0..comptime!(stage.parts()) {
        // Units take whole rows at a time, so that the next share is some rows below.
        let below = comptime!((part * stage.units / across) as u32);
        let at = base + below * (columns / comptime!(WIDTH as u32));
        if comptime!(stage.exact) {
            held.push(array[at as usize]);
        } else {
            let i = top + unit / comptime!(across as u32) + below;
            let j = left + unit % comptime!(across as u32) * comptime!(WIDTH as u32);
            let inside = i < rows && j < columns;
            let value = array[select(inside, at, 0u32) as usize];
            held.push(select(inside, value, Vector::new(0u32)));
        }
    }
    held
}

/// Writes what was read into shared memory.
#[cube]
fn put<N: Size>(
    held: &Sequence<Vector<u32, N>>,
    shared: &mut [Vector<u32, N>],
    start: usize,
    #[comptime] stage: Stage,
) {
    let across = comptime!(stage.width / WIDTH);
    let unit = UNIT_POS as usize;
    let base = start + unit / across * comptime!(stage.pitch()) + unit % across;
    #[unroll]
    for part in 0..comptime!(stage.parts()) {
        shared[base + comptime!(part * stage.units / across * stage.pitch())] = *held.index(part);
    }
}

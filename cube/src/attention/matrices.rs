//! Owns attention on the matrix units of a workgroup, forward and backward. Knows no layer and no document: which keys a query
//! sees is given for every row.
//!
//! A workgroup owns a tile of queries or of keys of one head. Scores pass through shared memory, where each unit has a part of a row.
//! The forward pass goes over the keys twice, once for the log-sum-exp and once for the output, so that sums on the matrix units
//! are never rescaled. No sum is shared between workgroups, so results do not depend on their order.

use cubecl::client::Client;
use cubecl::cmma::{self, Cube, Matrix, MatrixIdent, MatrixLayout};
use cubecl::prelude::Array as Local;
use cubecl::prelude::*;

use super::{Shape, Sight};
use crate::Array;

/// Rows and columns of a tile of scores.
const TILE: usize = 64;
/// Units of a workgroup.
const UNITS: usize = 256;
/// Units of each row of scores.
const LANES: usize = UNITS / TILE;
/// Scores of one unit.
const SHARE: usize = TILE * TILE / UNITS;
/// Values between rows of scores in shared memory.
const WIDE: usize = TILE + 4;
/// Values between rows of probabilities in shared memory.
const NARROW: usize = TILE + 8;

/// Whether a device has matrices of a workgroup (`VK_NV_cooperative_matrix2`) for values of a format, with sides of 32.
#[must_use]
pub(super) fn is_offered(client: &Client, dtype: ElemType) -> bool {
    let wide = f32::elem_type_native();
    client.features().matmul.cube_mma.iter().any(|config| {
        config.a_type == dtype
            && config.b_type == dtype
            && config.cd_type == wide
            && config.units_per_block.is_none_or(|units| units == UNITS as u32)
            && [config.m_granularity, config.n_granularity, config.k_granularity].iter().all(|side| 32 % side == 0)
            && config.m_max.min(config.n_max) as usize >= 128
    })
}

/// See [`super::forward`].
#[must_use]
pub(super) fn forward(qkv: &Array, shape: Shape, sight: &Sight) -> (Array, Array) {
    let tokens = qkv.shape[0];
    let output = Array::empty(&qkv.client, [tokens, shape.heads.query * shape.heads.head_dim], qkv.dtype);
    let sums = Array::empty(&qkv.client, [tokens, shape.heads.query], f32::elem_type_native());
    forward_kernel::launch(
        &qkv.client,
        CubeCount::Static(tokens.div_ceil(TILE) as u32, shape.heads.query as u32, 1),
        CubeDim::new_1d(UNITS as u32),
        qkv.arg(),
        sight.first.arg(),
        output.arg(),
        sums.arg(),
        tokens as u32,
        shape,
        qkv.dtype,
    );
    (output, sums)
}

/// See [`super::backward`].
pub(super) fn backward(
    d_output: &Array,
    qkv: &Array,
    sums: &Array,
    deltas: &Array,
    d_qkv: &Array,
    shape: Shape,
    sight: &Sight,
) {
    let tokens = qkv.shape[0];
    let tiles = tokens.div_ceil(TILE) as u32;
    queries_kernel::launch(
        &qkv.client,
        CubeCount::Static(tiles, shape.heads.query as u32, 1),
        CubeDim::new_1d(UNITS as u32),
        d_output.arg(),
        qkv.arg(),
        sums.arg(),
        deltas.arg(),
        sight.first.arg(),
        d_qkv.arg(),
        tokens as u32,
        shape,
        qkv.dtype,
    );
    keys_kernel::launch(
        &qkv.client,
        CubeCount::Static(tiles, shape.heads.key_value as u32, 1),
        CubeDim::new_1d(UNITS as u32),
        d_output.arg(),
        qkv.arg(),
        sums.arg(),
        deltas.arg(),
        sight.first.arg(),
        sight.last.arg(),
        d_qkv.arg(),
        tokens as u32,
        shape,
        qkv.dtype,
    );
}

#[cube(launch)]
fn forward_kernel<F: Float>(
    qkv: &[F],
    first: &[u32],
    output: &mut [F],
    sums: &mut [f32],
    tokens: u32,
    #[comptime] shape: Shape,
    #[define(F)] _format: ElemType,
) {
    let heads = comptime!(shape.heads);
    let (head, start) = (CUBE_POS_Y, CUBE_POS_X * comptime!(TILE as u32));
    let key_head = head / comptime!((heads.query / heads.key_value) as u32);
    let own = UNIT_POS / comptime!(LANES as u32);
    let row = start + own;
    let seen = first[u32::min(row, tokens - 1) as usize];
    let mut scores = Shared::<[f32]>::new_slice(comptime!(TILE * WIDE));
    let mut shares = Shared::<[F]>::new_slice(comptime!(TILE * NARROW));

    let end = u32::min(start + comptime!(TILE as u32), tokens);
    let begin = first[start as usize];
    let q = load_rows::<F>(qkv, tokens, start, head, shape);

    // The units of a row each see a part of its scores.
    let mut peak = f32::new(-3.0e38);
    let mut sum = 0.0f32;
    for keys in range_stepped(begin, end, comptime!(TILE as u32)) {
        score_tile::<F>(&q, qkv, &mut scores, tokens, keys, key_head, shape);
        let mut largest = peak;
        #[unroll]
        for part in 0..SHARE {
            let column = comptime!((LANES * part) as u32) + UNIT_POS % comptime!(LANES as u32);
            let key = keys + column;
            let score = scores[(own as usize) * WIDE + column as usize] * comptime!(shape.scale());
            if key >= seen && key <= row {
                largest = f32::max(largest, score);
            }
        }
        sum *= f32::exp(peak - largest);
        peak = largest;
        #[unroll]
        for part in 0..SHARE {
            let column = comptime!((LANES * part) as u32) + UNIT_POS % comptime!(LANES as u32);
            let key = keys + column;
            let score = scores[(own as usize) * WIDE + column as usize] * comptime!(shape.scale());
            if key >= seen && key <= row {
                sum += f32::exp(score - peak);
            }
        }
        sync_cube();
    }
    scores[UNIT_POS as usize] = peak;
    scores[UNIT_POS as usize + UNITS] = sum;
    sync_cube();
    let lanes = own as usize * LANES;
    let mut largest = scores[lanes];
    #[unroll]
    for lane in 1..LANES {
        largest = f32::max(largest, scores[lanes + lane]);
    }
    let mut whole = 0.0f32;
    #[unroll]
    for lane in 0..LANES {
        whole += scores[lanes + UNITS + lane] * f32::exp(scores[lanes + lane] - largest);
    }
    let log_sum = largest + f32::ln(whole);
    sync_cube();
    if UNIT_POS % comptime!(LANES as u32) == 0 && row < tokens {
        sums[(row * comptime!(heads.query as u32) + head) as usize] = log_sum;
    }

    let total = empty_sum(comptime!(heads.head_dim), comptime!(TILE));
    for keys in range_stepped(begin, end, comptime!(TILE as u32)) {
        score_tile::<F>(&q, qkv, &mut scores, tokens, keys, key_head, shape);
        #[unroll]
        for part in 0..SHARE {
            let column = comptime!((LANES * part) as u32) + UNIT_POS % comptime!(LANES as u32);
            let key = keys + column;
            let score = scores[(own as usize) * WIDE + column as usize] * comptime!(shape.scale());
            let share = select(key >= seen && key <= row, f32::exp(score - log_sum), 0.0f32);
            shares[(own as usize) * NARROW + column as usize] = F::cast_from(share);
        }
        sync_cube();
        let p = load_shares::<F>(&shares, comptime!(heads.head_dim), false);
        let v =
            load_columns::<F>(qkv, tokens, keys, key_head + comptime!((heads.query + heads.key_value) as u32), shape);
        cmma::execute(&p, &v, &total, &total);
        sync_cube();
    }
    let width = comptime!((heads.query * heads.head_dim) as u32);
    let place = TensorView::new(&*output, seq![tokens, width]).finish();
    let mut place = place.slice(
        seq![start, head * comptime!(heads.head_dim as u32)],
        seq![comptime!(TILE as u32), comptime!(heads.head_dim as u32)],
    );
    cmma::store_tensor(&mut place, &cmma::cast::<f32, F, Cube>(&total));
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn queries_kernel<F: Float>(
    d_output: &[F],
    qkv: &[F],
    sums: &[f32],
    deltas: &[f32],
    first: &[u32],
    d_qkv: &mut [F],
    tokens: u32,
    #[comptime] shape: Shape,
    #[define(F)] _format: ElemType,
) {
    let heads = comptime!(shape.heads);
    let (head, start) = (CUBE_POS_Y, CUBE_POS_X * comptime!(TILE as u32));
    let key_head = head / comptime!((heads.query / heads.key_value) as u32);
    let value_head = key_head + comptime!((heads.query + heads.key_value) as u32);
    let own = UNIT_POS / comptime!(LANES as u32);
    let row = start + own;
    let known = u32::min(row, tokens - 1);
    let seen = first[known as usize];
    let log_sum = sums[(known * comptime!(heads.query as u32) + head) as usize];
    let delta = deltas[(known * comptime!(heads.query as u32) + head) as usize];
    let mut scores = Shared::<[f32]>::new_slice(comptime!(TILE * WIDE));
    let mut shares = Shared::<[F]>::new_slice(comptime!(TILE * NARROW));
    let mut held = Local::<f32>::new(SHARE);

    let end = u32::min(start + comptime!(TILE as u32), tokens);
    let q = load_rows::<F>(qkv, tokens, start, head, shape);
    let d_o = load_outputs::<F>(d_output, tokens, start, head, shape);
    let total = empty_sum(comptime!(heads.head_dim), comptime!(TILE));
    for keys in range_stepped(first[start as usize], end, comptime!(TILE as u32)) {
        score_tile::<F>(&q, qkv, &mut scores, tokens, keys, key_head, shape);
        #[unroll]
        for part in 0..SHARE {
            let column = comptime!((LANES * part) as u32) + UNIT_POS % comptime!(LANES as u32);
            let key = keys + column;
            let score = scores[(own as usize) * WIDE + column as usize] * comptime!(shape.scale());
            held[part] = select(key >= seen && key <= row, f32::exp(score - log_sum), 0.0f32);
        }
        sync_cube();
        product_tile::<F>(&d_o, qkv, &mut scores, tokens, keys, value_head, shape);
        #[unroll]
        for part in 0..SHARE {
            let column = comptime!(LANES * part) + UNIT_POS as usize % LANES;
            let change = scores[(own as usize) * WIDE + column] - delta;
            shares[(own as usize) * NARROW + column] = F::cast_from(held[part] * change * comptime!(shape.scale()));
        }
        sync_cube();
        let ds = load_shares::<F>(&shares, comptime!(heads.head_dim), false);
        let k = load_columns::<F>(qkv, tokens, keys, key_head + comptime!(heads.query as u32), shape);
        cmma::execute(&ds, &k, &total, &total);
        sync_cube();
    }
    store_rows::<F>(&total, d_qkv, tokens, start, head, shape);
}

#[cube(launch)]
#[allow(clippy::too_many_arguments)]
fn keys_kernel<F: Float>(
    d_output: &[F],
    qkv: &[F],
    sums: &[f32],
    deltas: &[f32],
    first: &[u32],
    last: &[u32],
    d_qkv: &mut [F],
    tokens: u32,
    #[comptime] shape: Shape,
    #[define(F)] _format: ElemType,
) {
    let heads = comptime!(shape.heads);
    let (key_head, keys) = (CUBE_POS_Y, CUBE_POS_X * comptime!(TILE as u32));
    let value_head = key_head + comptime!((heads.query + heads.key_value) as u32);
    let own = UNIT_POS / comptime!(LANES as u32);
    let mut scores = Shared::<[f32]>::new_slice(comptime!(TILE * WIDE));
    let mut shares = Shared::<[F]>::new_slice(comptime!(TILE * NARROW));
    let mut held = Local::<f32>::new(SHARE);

    let end = last[u32::min(keys + comptime!(TILE as u32 - 1), tokens - 1) as usize] + 1;
    let d_k = empty_sum(comptime!(heads.head_dim), comptime!(TILE));
    let d_v = empty_sum(comptime!(heads.head_dim), comptime!(TILE));
    for member in 0..comptime!((heads.query / heads.key_value) as u32) {
        let head = key_head * comptime!((heads.query / heads.key_value) as u32) + member;
        for start in range_stepped(keys, end, comptime!(TILE as u32)) {
            let row = start + own;
            let known = u32::min(row, tokens - 1);
            let seen = first[known as usize];
            let log_sum = sums[(known * comptime!(heads.query as u32) + head) as usize];
            let delta = deltas[(known * comptime!(heads.query as u32) + head) as usize];
            let q = load_rows::<F>(qkv, tokens, start, head, shape);
            score_tile::<F>(&q, qkv, &mut scores, tokens, keys, key_head, shape);
            #[unroll]
            for part in 0..SHARE {
                let column = comptime!((LANES * part) as u32) + UNIT_POS % comptime!(LANES as u32);
                let key = keys + column;
                let score = scores[(own as usize) * WIDE + column as usize] * comptime!(shape.scale());
                let visible = key >= seen && key <= row && row < tokens;
                held[part] = select(visible, f32::exp(score - log_sum), 0.0f32);
                shares[(own as usize) * NARROW + column as usize] = F::cast_from(held[part]);
            }
            sync_cube();
            let p = load_shares::<F>(&shares, comptime!(heads.head_dim), true);
            let d_o = load_output_columns::<F>(d_output, tokens, start, head, shape);
            cmma::execute(&p, &d_o, &d_v, &d_v);
            let d_o = load_outputs::<F>(d_output, tokens, start, head, shape);
            product_tile::<F>(&d_o, qkv, &mut scores, tokens, keys, value_head, shape);
            #[unroll]
            for part in 0..SHARE {
                let column = comptime!(LANES * part) + UNIT_POS as usize % LANES;
                let change = scores[(own as usize) * WIDE + column] - delta;
                shares[(own as usize) * NARROW + column] = F::cast_from(held[part] * change * comptime!(shape.scale()));
            }
            sync_cube();
            let ds = load_shares::<F>(&shares, comptime!(heads.head_dim), true);
            let q = load_columns::<F>(qkv, tokens, start, head, shape);
            cmma::execute(&ds, &q, &d_k, &d_k);
            sync_cube();
        }
    }
    store_rows::<F>(&d_k, d_qkv, tokens, keys, key_head + comptime!(heads.query as u32), shape);
    store_rows::<F>(&d_v, d_qkv, tokens, keys, value_head, shape);
}

#[cube]
fn empty_sum(#[comptime] columns: usize, #[comptime] inner: usize) -> Matrix<f32, Cube> {
    Matrix::<f32, Cube>::from_value(MatrixIdent::Accumulator, TILE, columns, inner, MatrixLayout::Undefined, 0.0)
}

/// A tile of rows of one packed head, as the left factor of a product over its values.
#[cube]
#[allow(unsafe_code, reason = "the matrix is loaded before it is read")]
fn load_rows<F: Float>(qkv: &[F], tokens: u32, start: u32, head: u32, #[comptime] shape: Shape) -> Matrix<F, Cube> {
    let size = comptime!(shape.heads.head_dim);
    let mut rows =
        unsafe { Matrix::<F, Cube>::uninitialized(MatrixIdent::A, TILE, TILE, size, MatrixLayout::Undefined) };
    let view = TensorView::new(qkv, seq![tokens, comptime!(shape.width() as u32)]).finish();
    let view =
        view.slice(seq![start, head * comptime!(size as u32)], seq![comptime!(TILE as u32), comptime!(size as u32)]);
    cmma::load_tensor(&mut rows, &view);
    rows
}

/// The same of the gradient of the output.
#[cube]
#[allow(unsafe_code, reason = "the matrix is loaded before it is read")]
fn load_outputs<F: Float>(
    d_output: &[F],
    tokens: u32,
    start: u32,
    head: u32,
    #[comptime] shape: Shape,
) -> Matrix<F, Cube> {
    let size = comptime!(shape.heads.head_dim);
    let mut rows =
        unsafe { Matrix::<F, Cube>::uninitialized(MatrixIdent::A, TILE, TILE, size, MatrixLayout::Undefined) };
    let view = TensorView::new(d_output, seq![tokens, comptime!((shape.heads.query * size) as u32)]).finish();
    let view =
        view.slice(seq![start, head * comptime!(size as u32)], seq![comptime!(TILE as u32), comptime!(size as u32)]);
    cmma::load_tensor(&mut rows, &view);
    rows
}

/// A tile of rows of one packed head, as the right factor of a product over its rows.
#[cube]
#[allow(unsafe_code, reason = "the matrix is loaded before it is read")]
fn load_columns<F: Float>(qkv: &[F], tokens: u32, start: u32, head: u32, #[comptime] shape: Shape) -> Matrix<F, Cube> {
    let size = comptime!(shape.heads.head_dim);
    let mut columns =
        unsafe { Matrix::<F, Cube>::uninitialized(MatrixIdent::B, TILE, size, TILE, MatrixLayout::Undefined) };
    let view = TensorView::new(qkv, seq![tokens, comptime!(shape.width() as u32)]).finish();
    let view =
        view.slice(seq![start, head * comptime!(size as u32)], seq![comptime!(TILE as u32), comptime!(size as u32)]);
    cmma::load_tensor(&mut columns, &view);
    columns
}

/// The same of the gradient of the output.
#[cube]
#[allow(unsafe_code, reason = "the matrix is loaded before it is read")]
fn load_output_columns<F: Float>(
    d_output: &[F],
    tokens: u32,
    start: u32,
    head: u32,
    #[comptime] shape: Shape,
) -> Matrix<F, Cube> {
    let size = comptime!(shape.heads.head_dim);
    let mut columns =
        unsafe { Matrix::<F, Cube>::uninitialized(MatrixIdent::B, TILE, size, TILE, MatrixLayout::Undefined) };
    let view = TensorView::new(d_output, seq![tokens, comptime!((shape.heads.query * size) as u32)]).finish();
    let view =
        view.slice(seq![start, head * comptime!(size as u32)], seq![comptime!(TILE as u32), comptime!(size as u32)]);
    cmma::load_tensor(&mut columns, &view);
    columns
}

/// Probabilities or their gradient out of shared memory, as the left factor of a product with `columns` columns.
#[cube]
fn load_shares<F: Float>(shares: &[F], #[comptime] columns: usize, #[comptime] transposed: bool) -> Matrix<F, Cube> {
    Matrix::<F, Cube>::from_slice(
        MatrixIdent::A,
        TILE,
        columns,
        TILE,
        comptime!(if transposed { MatrixLayout::ColMajor } else { MatrixLayout::RowMajor }),
        shares,
        comptime!(NARROW as u32),
    )
}

/// Products of a tile of queries with a tile of keys of one head, in shared memory.
#[cube]
fn score_tile<F: Float>(
    q: &Matrix<F, Cube>,
    qkv: &[F],
    scores: &mut [f32],
    tokens: u32,
    keys: u32,
    key_head: u32,
    #[comptime] shape: Shape,
) {
    product_tile::<F>(q, qkv, scores, tokens, keys, key_head + comptime!(shape.heads.query as u32), shape);
}

/// Products of a tile of rows with a tile of rows of one packed head, in shared memory.
#[cube]
#[allow(unsafe_code, reason = "the matrix is loaded before it is read")]
fn product_tile<F: Float>(
    left: &Matrix<F, Cube>,
    qkv: &[F],
    scores: &mut [f32],
    tokens: u32,
    start: u32,
    head: u32,
    #[comptime] shape: Shape,
) {
    let size = comptime!(shape.heads.head_dim);
    let mut right =
        unsafe { Matrix::<F, Cube>::uninitialized(MatrixIdent::B, TILE, TILE, size, MatrixLayout::Undefined) };
    let view = TensorView::new(qkv, seq![tokens, comptime!(shape.width() as u32)]).finish();
    let view =
        view.slice(seq![start, head * comptime!(size as u32)], seq![comptime!(TILE as u32), comptime!(size as u32)]);
    cmma::load_tensor(&mut right, &view.permuted(seq![1, 0]));
    let products = empty_sum(TILE, size);
    cmma::execute(left, &right, &products, &products);
    cmma::store(scores, &products, comptime!(WIDE as u32), MatrixLayout::RowMajor);
    sync_cube();
}

/// Writes a tile of the gradient of one packed head.
#[cube]
fn store_rows<F: Float>(
    total: &Matrix<f32, Cube>,
    d_qkv: &mut [F],
    tokens: u32,
    start: u32,
    head: u32,
    #[comptime] shape: Shape,
) {
    let size = comptime!(shape.heads.head_dim);
    let place = TensorView::new(&*d_qkv, seq![tokens, comptime!(shape.width() as u32)]).finish();
    let mut place =
        place.slice(seq![start, head * comptime!(size as u32)], seq![comptime!(TILE as u32), comptime!(size as u32)]);
    cmma::store_tensor(&mut place, &cmma::cast::<f32, F, Cube>(total));
}

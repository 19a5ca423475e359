//! Owns attention on the matrix units of planes, forward and backward: its tiles and launches. Knows no layer and no document:
//! which keys a query sees is given for every row.
//!
//! A workgroup owns a tile of queries or of keys of one head, and each of its planes sixteen rows of it, so that what becomes of
//! scores between two products is a matter of one plane. The other side passes through shared memory a tile at a time. No sum
//! is shared between workgroups, so results do not depend on their order.

mod forward;
mod keys;
mod queries;
mod stage;
mod tile;

use cubecl::client::Client;
use cubecl::prelude::*;

use super::{Shape, Sight};
use crate::Array;
use crate::planes::{PLANE, SIDE, WIDTH, WORDS, are_offered};

/// Planes of a workgroup.
const PLANES: usize = 4;
/// Rows that a workgroup owns.
const ROWS: usize = PLANES * SIDE;
/// Values of a row of scores that a unit writes at once.
const QUAD: usize = 4;

/// What a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Form {
    shape: Shape,
    /// Rows of the other side that pass at once.
    columns: usize,
}

impl Form {
    /// Wider heads hold more in registers. Fewer columns at once would do so little between two waits that more workgroups on a
    /// multiprocessor do not make up for it.
    fn of(shape: Shape) -> Self {
        Form { shape, columns: if shape.heads.head_dim <= 64 { 32 } else { 16 } }
    }

    /// Matrices along a head.
    fn depth(self) -> usize {
        self.shape.heads.head_dim / SIDE
    }

    /// Quadruples of words between staged rows, one more than a row takes, to keep rows out of each other's banks.
    fn pitch(self) -> usize {
        self.shape.heads.head_dim / WIDTH + 1
    }

    /// Quadruples of words of one staged side; a workgroup's own rows pass through the same place.
    fn staged(self) -> usize {
        self.columns * self.pitch()
    }

    /// Quadruples of words between rows of scores.
    fn score_pitch(self) -> usize {
        self.columns / QUAD + 1
    }

    /// Quadruples of words of a plane's scores.
    fn scores(self) -> usize {
        SIDE * self.score_pitch()
    }

    /// Quadruples of values between rows of probabilities.
    fn share_pitch(self) -> usize {
        self.columns / QUAD + 2
    }

    /// Quadruples of values of a plane's probabilities.
    fn shares(self) -> usize {
        SIDE * self.share_pitch()
    }

    /// Bytes of shared memory.
    fn bytes(self) -> usize {
        let (quad, values) = (WORDS * size_of::<u32>(), QUAD * 2);
        2 * self.staged() * quad + PLANES * (self.scores() * quad + self.shares() * values) + 3 * self.columns * 4
    }
}

/// Whether a device has what heads of this shape need.
#[must_use]
pub(super) fn are_offered_for(client: &Client, dtype: ElemType, shape: Shape) -> bool {
    let size = shape.heads.head_dim;
    let bytes = Form::of(shape).bytes();
    size.is_multiple_of(SIDE) && size <= 128 && are_offered(client.properties(), dtype, PLANES * PLANE, bytes)
}

fn grid(tokens: usize, heads: usize) -> CubeCount {
    CubeCount::Static(tokens.div_ceil(ROWS) as u32, heads as u32, 1)
}

fn dim() -> CubeDim {
    CubeDim::new_2d(PLANE as u32, PLANES as u32)
}

/// See [`super::forward`].
pub(super) fn forward(qkv: &Array, output: &Array, sums: &Array, shape: Shape, sight: &Sight) {
    let tokens = qkv.shape[0];
    forward::forward_kernel::launch(
        &qkv.client,
        grid(tokens, shape.heads.query),
        dim(),
        WORDS,
        qkv.vectors(WIDTH),
        sight.first.arg(),
        output.vectors(QUAD),
        sums.arg(),
        tokens as u32,
        Form::of(shape),
        qkv.dtype,
    );
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
    queries::queries_kernel::launch(
        &qkv.client,
        grid(tokens, shape.heads.query),
        dim(),
        WORDS,
        d_output.vectors(WIDTH),
        qkv.vectors(WIDTH),
        sums.arg(),
        deltas.arg(),
        sight.first.arg(),
        d_qkv.vectors(QUAD),
        tokens as u32,
        Form::of(shape),
        qkv.dtype,
    );
    keys::keys_kernel::launch(
        &qkv.client,
        grid(tokens, shape.heads.key_value),
        dim(),
        WORDS,
        d_output.vectors(WIDTH),
        qkv.vectors(WIDTH),
        sums.arg(),
        deltas.arg(),
        sight.first.arg(),
        sight.last.arg(),
        d_qkv.vectors(QUAD),
        tokens as u32,
        Form::of(shape),
        qkv.dtype,
    );
}

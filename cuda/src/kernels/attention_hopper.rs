//! Owns flash attention on compute capability 9.0: head sizes up to 128, through its matrix unit and copy engine.
//! Knows work tables and shapes; the portable kernels are the ones it is held against.

use half::bf16;

use super::attention::{AttentionBackward, HeadShape, Tiles};
use super::tiles::ENTRY_WORDS;
use crate::device::Device;
use crate::error::Result;
use crate::launch;
use crate::launch::{Function, Grid};
use crate::memory::{Matrix, Span};
use crate::source::Source;

static FORWARD: Source = Source {
    name: "attention_hopper_forward",
    text: include_str!("../../kernels/attention_hopper_forward.cu"),
    hopper: true,
};
static BACKWARD: Source = Source {
    name: "attention_hopper_backward",
    text: include_str!("../../kernels/attention_hopper_backward.cu"),
    hopper: true,
};

/// Threads of a warp group.
const GROUP: usize = 128;
/// Rows of a box of the copy engine.
const BOX_ROWS: usize = 64;
/// Rows of a tile of the backward pass.
const BACKWARD_ROWS: usize = 128;

/// The kernels for one shape of heads.
pub(super) struct HopperAttention {
    device: Device,
    forward: Function,
    keys: Function,
    queries: Function,
    shape: HeadShape,
    sizes: Sizes,
}

/// Numbers that follow from the head size, as the sources compute them.
#[derive(Clone, Copy)]
struct Sizes {
    /// Warp groups that compute in the forward pass, each with 64 queries.
    consumers: usize,
    forward_shared: usize,
    keys_shared: usize,
    queries_shared: usize,
}

impl Sizes {
    fn of(head_dim: usize) -> Self {
        let padded = if head_dim <= 64 { 64 } else { 128 };
        let consumers = if padded == 64 { 3 } else { 2 };
        // Queries and output, two stages of keys and of values, ten barriers.
        let forward_shared = 2 * padded * (2 * 64 * consumers + 4 * 128) + 10 * 8;
        // Pairs of tiles that stay, three stages of two that pass by, and a full and an empty barrier for each pair and stage.
        let operands = |own: usize| 2 * padded * 2 * (own * BACKWARD_ROWS + 3 * 64) + 2 * 8 * (own + 3);
        // For each of two groups of warps, two numbers of each query of two steps.
        let keys_shared = operands(1) + 2 * 2 * 2 * 64 * 4;
        Sizes { consumers, forward_shared, keys_shared, queries_shared: operands(2) }
    }
}

impl HopperAttention {
    /// Whether a device and a shape are ones for these kernels.
    pub(super) fn suits(device: &Device, shape: &HeadShape) -> bool {
        device.info().compute_capability == (9, 0) && shape.head_dim <= 128 && shape.soft_cap == 0.0
    }

    /// Compiles them.
    pub(super) fn new(device: &Device, shape: HeadShape) -> Result<Self> {
        let defines = [("HEAD_DIM", shape.head_dim as i64), ("WINDOW", i64::from(shape.window > 0))];
        let sizes = Sizes::of(shape.head_dim);
        let (forward, backward) = (device.program(&FORWARD, &defines)?, device.program(&BACKWARD, &defines)?);
        Ok(HopperAttention {
            device: device.clone(),
            forward: forward.function_with("attention_hopper_forward", sizes.forward_shared)?,
            keys: backward.function_with("attention_hopper_keys", sizes.keys_shared)?,
            queries: backward.function_with("attention_hopper_queries", sizes.queries_shared)?,
            shape,
            sizes,
        })
    }

    /// Rows of a tile: forward, keys, queries.
    pub(super) fn tile_rows(&self) -> [usize; 3] {
        [64 * self.sizes.consumers, BACKWARD_ROWS, BACKWARD_ROWS]
    }

    /// See [`super::attention::Attention::forward`].
    pub(super) fn forward(
        &self,
        qkv: Matrix<bf16>,
        out: Matrix<bf16>,
        log_sum_exp: Matrix<f32>,
        table: Span<u32>,
    ) -> Result<()> {
        let HeadShape { heads, kv_heads, head_dim, window, scale, .. } = self.shape;
        let items = table.len() / ENTRY_WORDS * heads;
        let map = self.device.tensor_map(qkv, head_dim, BOX_ROWS)?;
        let grid = Grid::new(self.blocks(items), GROUP * (self.sizes.consumers + 1)).shared(self.sizes.forward_shared);
        launch!(
            self.forward, grid;
            map, table, items, heads, kv_heads, window, scale, out, out.pitch(), log_sum_exp, log_sum_exp.pitch(),
        )
    }

    /// See [`super::attention::Attention::backward`]; `delta` was computed.
    pub(super) fn backward(&self, b: AttentionBackward, tiles: Tiles) -> Result<()> {
        let HeadShape { heads, kv_heads, head_dim, window, scale, .. } = self.shape;
        let map = self.device.tensor_map(b.qkv, head_dim, BOX_ROWS)?;
        let d_map = self.device.tensor_map(b.d_out, head_dim, BOX_ROWS)?;
        let pitch = b.log_sum_exp.pitch();
        let key_tiles = tiles.keys.len() / ENTRY_WORDS;
        launch!(
            self.keys, Grid::flat(kv_heads, key_tiles, 3 * GROUP).shared(self.sizes.keys_shared);
            map, d_map, tiles.keys, heads, kv_heads, window, scale, b.log_sum_exp, b.delta, pitch,
            b.d_qkv, b.d_qkv.pitch(),
        )?;
        let items = tiles.queries.len() / ENTRY_WORDS * heads;
        launch!(
            self.queries, Grid::new(self.blocks(items), 3 * GROUP).shared(self.sizes.queries_shared);
            map, d_map, tiles.queries, items, heads, kv_heads, window, scale, b.log_sum_exp, b.delta, pitch,
            b.d_qkv, b.d_qkv.pitch(),
        )
    }

    /// Blocks that work off `items` pieces: one a multiprocessor.
    fn blocks(&self, items: usize) -> usize {
        items.min(self.device.info().multiprocessors as usize)
    }
}

//! Owns flash attention on any GPU from compute capability 8.0 on: heads of any multiple of sixteen values up to 256.
//! Knows work tables and shapes.

use half::bf16;

use super::attention::{AttentionBackward, HeadShape, Tiles};
use super::tiles::ENTRY_WORDS;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::launch;
use crate::launch::{Function, Grid};
use crate::memory::{Matrix, Span};
use crate::source::{Define, Source};

static FORWARD: Source =
    Source { name: "attention_forward", text: include_str!("../../kernels/attention_forward.cu"), hopper: false };
static KEYS: Source =
    Source { name: "attention_keys", text: include_str!("../../kernels/attention_keys.cu"), hopper: false };
static QUERIES: Source =
    Source { name: "attention_queries", text: include_str!("../../kernels/attention_queries.cu"), hopper: false };

/// The kernels for one shape of heads.
pub(super) struct PortableAttention {
    forward: Function,
    /// Gradients of keys and values: one kernel for both, or one for each where a head is too wide for that.
    keys: Vec<Function>,
    queries: Function,
    shape: HeadShape,
    launches: Launches,
}

/// How a kernel is started, as its source says it.
#[derive(Clone, Copy)]
struct Launch {
    /// Rows of a tile.
    rows: usize,
    /// Threads of a block.
    threads: usize,
    /// Dynamic shared memory.
    shared_bytes: usize,
}

/// Numbers that follow from the head size.
#[derive(Clone, Copy)]
struct Launches {
    forward: Launch,
    keys: Launch,
    queries: Launch,
}

impl Launch {
    /// A row of shared memory has eight values of padding.
    fn new(head_dim: usize, rows: usize, threads: usize, shared_rows: usize) -> Self {
        Launch { rows, threads, shared_bytes: shared_rows * (head_dim + 8) * size_of::<bf16>() }
    }

    fn grid(self, table: Span<u32>, heads: usize) -> Grid {
        Grid::new(table.len() / ENTRY_WORDS * heads, self.threads).shared(self.shared_bytes)
    }
}

impl Launches {
    /// Shared memory is a tile of queries, one of keys and one of values forward. Backward it is two stages of 64 rows of two
    /// matrices; what a block owns lies there first, and then in registers, or where it finds no room there in a place of its
    /// own. Wide heads have one stage of 32 rows.
    fn of(head_dim: usize) -> Self {
        let new = |rows, threads, shared_rows| Launch::new(head_dim, rows, threads, shared_rows);
        let stages = 2 * 2 * 64;
        match head_dim {
            ..=64 => Launches {
                forward: new(128, 128, 128 + 2 * 64),
                keys: new(128, 128, 2 * 128 + stages),
                queries: new(128, 128, stages),
            },
            65..=128 => Launches {
                forward: new(128, 128, 128 + 2 * 64),
                keys: new(128, 256, stages),
                queries: new(128, 256, stages),
            },
            _ => Launches {
                forward: new(64, 128, 64 + 2 * 64),
                keys: new(64, 128, 2 * 64 + 2 * 32),
                queries: new(64, 128, 2 * 64 + 2 * 32),
            },
        }
    }
}

/// What the sources of attention are specialised for; fails where there is no kernel for the head size.
pub(super) fn defines(shape: &HeadShape) -> Result<[Define; 3]> {
    let HeadShape { head_dim, window, soft_cap, .. } = *shape;
    if !head_dim.is_multiple_of(16) || !(16..=256).contains(&head_dim) {
        let what = format!("attention heads of {head_dim} values; what would do is a multiple of 16 up to 256");
        return Err(Error::Unsupported { what });
    }
    let flags = [("WINDOW", i64::from(window > 0)), ("SOFT_CAP", i64::from(soft_cap > 0.0))];
    Ok([("HEAD_DIM", head_dim as i64), flags[0], flags[1]])
}

impl PortableAttention {
    /// Compiles them.
    pub(super) fn new(device: &Device, shape: HeadShape) -> Result<Self> {
        let (defines, launches) = (defines(&shape)?, Launches::of(shape.head_dim));
        let forward = device.program(&FORWARD, &defines)?;
        let (keys, queries) = (device.program(&KEYS, &defines)?, device.program(&QUERIES, &defines)?);
        let names: &[_] = match shape.head_dim {
            ..=128 => &["attention_keys_and_values"],
            _ => &["attention_keys", "attention_values"],
        };
        let keys = names.iter().map(|name| keys.function_with(name, launches.keys.shared_bytes));
        Ok(PortableAttention {
            forward: forward.function_with("attention_forward", launches.forward.shared_bytes)?,
            keys: keys.collect::<Result<_>>()?,
            queries: queries.function_with("attention_queries", launches.queries.shared_bytes)?,
            shape,
            launches,
        })
    }

    /// Rows of a tile: forward, keys, queries.
    pub(super) fn tile_rows(&self) -> [usize; 3] {
        let Launches { forward, keys, queries } = self.launches;
        [forward.rows, keys.rows, queries.rows]
    }

    /// See [`super::attention::Attention::forward`].
    pub(super) fn forward(
        &self,
        qkv: Matrix<bf16>,
        out: Matrix<bf16>,
        log_sum_exp: Matrix<f32>,
        table: Span<u32>,
    ) -> Result<()> {
        let HeadShape { heads, kv_heads, window, soft_cap, scale, .. } = self.shape;
        launch!(
            self.forward, self.launches.forward.grid(table, heads);
            qkv, qkv.pitch(), table, heads, kv_heads, window, soft_cap, scale,
            out, out.pitch(), log_sum_exp, log_sum_exp.pitch(),
        )
    }

    /// See [`super::attention::Attention::backward`]; `delta` was computed.
    pub(super) fn backward(&self, b: AttentionBackward, tiles: Tiles) -> Result<()> {
        let HeadShape { heads, kv_heads, window, soft_cap, scale, .. } = self.shape;
        let run = |kernel: &Function, grid: Grid, table: Span<u32>| {
            launch!(
                kernel, grid;
                b.qkv, b.qkv.pitch(), b.d_out, b.d_out.pitch(), table, heads, kv_heads, window, soft_cap, scale,
                b.log_sum_exp, b.delta, b.delta.pitch(), b.d_qkv, b.d_qkv.pitch(),
            )
        };
        for kernel in &self.keys {
            run(kernel, self.launches.keys.grid(tiles.keys, kv_heads), tiles.keys)?;
        }
        run(&self.queries, self.launches.queries.grid(tiles.queries, heads), tiles.queries)
    }
}

//! Owns the frozen weights on a device and their way there: straight from the mapped file, several tensors at once.
//! Knows Hugging Face tensor names; knows no file format and no arithmetic.
//!
//! A linear lies with room around it: its rows have columns behind them for the adapters' B (times their scale), and behind its
//! rows come the adapters' A. So `[x | u] * [W | B]^T` is the linear with its adapters, `[dy | p] * [W ; A]` its gradient, each
//! one product, and nothing is copied.

use cuda::{Block, Device, Matrix, Span};
use half::bf16;
use rayon::prelude::*;

use super::places::{Places, Spot};
use super::shape::{Shape, pitch};
use crate::checkpoint::{Checkpoint, StoredType};
use crate::config::ModelConfig;
use crate::dropout::{key_of, normal};
use crate::error::Result;
use crate::kernels::rope::angles;
use crate::nn::Group;

/// Where everything lies in the block.
struct Spots {
    embed: Spot,
    head: Spot,
    norm: Spot,
    cos: Spot,
    sin: Spot,
    layers: Vec<LayerSpots>,
}

struct LayerSpots {
    norms: [Spot; 2],
    head_norms: [Spot; 2],
    bias: Spot,
    linears: [Spot; 4],
}

/// Bytes of all weights.
pub(super) fn bytes(shape: &Shape) -> usize {
    spots(shape).1
}

fn spots(shape: &Shape) -> (Spots, usize) {
    let mut places = Places::default();
    let table = |places: &mut Places| places.narrow(shape.vocabulary, shape.hidden);
    let embed = table(&mut places);
    let head = if shape.tied { embed } else { table(&mut places) };
    let norm = places.narrow(1, shape.hidden);
    let [cos, sin] = [0, 1].map(|_| places.rows(shape.positions, shape.head_dim / 2, shape.head_dim / 2, 4));
    let layers = (0..shape.layers)
        .map(|_| LayerSpots {
            norms: [0, 1].map(|_| places.narrow(1, shape.hidden)),
            head_norms: [0, 1].map(|_| places.narrow(usize::from(shape.qk_norm), shape.head_dim)),
            bias: places.narrow(usize::from(shape.qkv_bias), shape.qkv),
            linears: Group::ALL.map(|group| {
                let (inner, ranks) = (shape.inner(group), shape.ranks(group));
                places.rows(shape.outer(group) + ranks, inner + ranks, pitch(inner, ranks), 2)
            }),
        })
        .collect();
    (Spots { embed, head, norm, cos, sin, layers }, places.bytes())
}

/// A packed frozen linear with room for adapters.
#[derive(Clone, Copy)]
pub(super) struct Linear {
    extended: Matrix<bf16>,
    pub(super) inner: usize,
    pub(super) outer: usize,
    /// Columns and rows for adapters.
    pub(super) ranks: usize,
    /// `[outer]`.
    pub(super) bias: Option<Span<bf16>>,
}

impl Linear {
    /// `[outer, inner]`.
    pub(super) fn weight(&self) -> Matrix<bf16> {
        self.extended.top(self.outer).column_range(0, self.inner)
    }

    /// `[outer, inner + ranks]`: the weight and the scaled B behind its rows.
    pub(super) fn with_b(&self) -> Matrix<bf16> {
        self.extended.top(self.outer)
    }

    /// `[outer + ranks, inner]`: the weight and the A below it.
    pub(super) fn with_a(&self) -> Matrix<bf16> {
        self.extended.column_range(0, self.inner)
    }

    /// `[ranks, inner]`.
    pub(super) fn a(&self) -> Matrix<bf16> {
        self.extended.row_range(self.outer, self.ranks).column_range(0, self.inner)
    }

    /// `[outer, ranks]`, scaled.
    pub(super) fn b(&self) -> Matrix<bf16> {
        self.extended.top(self.outer).column_range(self.inner, self.ranks)
    }
}

/// The weights of a layer.
pub(super) struct LayerWeights {
    pub(super) input_norm: Span<bf16>,
    pub(super) post_attention_norm: Span<bf16>,
    pub(super) head_norms: Option<[Span<bf16>; 2]>,
    pub(super) linears: [Linear; 4],
}

/// All weights on a device.
pub(super) struct Weights {
    pub(super) embed: Matrix<bf16>,
    pub(super) head: Matrix<bf16>,
    pub(super) norm: Span<bf16>,
    pub(super) cos: Span<f32>,
    pub(super) sin: Span<f32>,
    pub(super) layers: Vec<LayerWeights>,
    /// Keeps the memory of all of the above.
    _block: Block,
}

impl Weights {
    /// From a checkpoint. `progress` gets layers done and in all.
    pub(super) fn load(
        checkpoint: &Checkpoint,
        device: &Device,
        shape: &Shape,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Self> {
        let weights = Self::allocate(device, shape, &checkpoint.config)?;
        let mut wanted = vec![("model.embed_tokens.weight".to_owned(), weights.embed)];
        if !shape.tied {
            wanted.push(("lm_head.weight".to_owned(), weights.head));
        }
        wanted.push(("model.norm.weight".to_owned(), row(weights.norm)));
        upload(checkpoint, device, &wanted)?;
        for (index, layer) in weights.layers.iter().enumerate() {
            upload(checkpoint, device, &layer.wanted(&checkpoint.config, index))?;
            progress(index + 1, shape.layers);
        }
        Ok(weights)
    }

    /// Random weights of the true shape, for timing: the same few million values again and again.
    pub(super) fn random(device: &Device, shape: &Shape, config: &ModelConfig) -> Result<Self> {
        let weights = Self::allocate(device, shape, config)?;
        let key = key_of(0, "weights");
        let values: Vec<bf16> = (0..1 << 21).map(|index| bf16::from_f32(0.02 * normal(key, index))).collect();
        let ones = vec![bf16::ONE; shape.hidden.max(shape.head_dim)];
        let fill = |to: Matrix<bf16>| -> Result<()> {
            let step = (values.len() / to.columns()).max(1);
            for first in (0..to.rows()).step_by(step) {
                let rows = step.min(to.rows() - first);
                device.upload_rows(to.row_range(first, rows), bytemuck::cast_slice(&values[..rows * to.columns()]))?;
            }
            Ok(())
        };
        let one = |to: Span<bf16>| device.upload(to, &ones[..to.len()]);
        fill(weights.embed)?;
        fill(weights.head)?;
        one(weights.norm)?;
        for layer in &weights.layers {
            one(layer.input_norm)?;
            one(layer.post_attention_norm)?;
            layer.head_norms.into_iter().flatten().try_for_each(one)?;
            layer.linears.iter().try_for_each(|linear| fill(linear.weight()))?;
        }
        Ok(weights)
    }

    fn allocate(device: &Device, shape: &Shape, config: &ModelConfig) -> Result<Self> {
        let (spots, bytes) = spots(shape);
        // Zeros, so that columns without an adapter add nothing.
        let block = device.allocate_zeroed(bytes)?;
        let (frequencies, factor) = config.inverse_frequencies();
        let (cos_values, sin_values) = angles(&frequencies, factor, shape.positions);
        let (cos, sin) = (spots.cos.span(&block), spots.sin.span(&block));
        device.upload(cos, &cos_values)?;
        device.upload(sin, &sin_values)?;
        let layers = spots.layers.iter().map(|layer| {
            let linears = Group::ALL.map(|group| {
                let (inner, outer, ranks) = (shape.inner(group), shape.outer(group), shape.ranks(group));
                let extended = layer.linears[group as usize].of(&block, outer + ranks);
                let biased = group == Group::Qkv && shape.qkv_bias;
                Linear { extended, inner, outer, ranks, bias: biased.then(|| layer.bias.span(&block)) }
            });
            LayerWeights {
                input_norm: layer.norms[0].span(&block),
                post_attention_norm: layer.norms[1].span(&block),
                head_norms: shape.qk_norm.then(|| layer.head_norms.map(|spot| spot.span(&block))),
                linears,
            }
        });
        let layers = layers.collect();
        let (embed, head) = (spots.embed.of(&block, shape.vocabulary), spots.head.of(&block, shape.vocabulary));
        Ok(Weights { embed, head, norm: spots.norm.span(&block), cos, sin, layers, _block: block })
    }
}

impl LayerWeights {
    /// Every tensor of the layer by its name, and where it goes.
    fn wanted(&self, config: &ModelConfig, index: usize) -> Vec<(String, Matrix<bf16>)> {
        let name = |rest: &str| format!("model.layers.{index}.{rest}");
        let mut wanted = vec![
            (name("input_layernorm.weight"), row(self.input_norm)),
            (name("post_attention_layernorm.weight"), row(self.post_attention_norm)),
        ];
        if let Some([q, k]) = self.head_norms {
            wanted.push((name("self_attn.q_norm.weight"), row(q)));
            wanted.push((name("self_attn.k_norm.weight"), row(k)));
        }
        for group in Group::ALL {
            let linear = &self.linears[group as usize];
            for part in group.parts(config) {
                let (start, rows) = (part.columns.start, part.columns.len());
                wanted.push((name(&format!("{}.weight", part.name)), linear.weight().row_range(start, rows)));
                if let Some(bias) = linear.bias {
                    wanted.push((name(&format!("{}.bias", part.name)), row(bias.part(start, rows))));
                }
            }
        }
        wanted
    }
}

fn row(span: Span<bf16>) -> Matrix<bf16> {
    span.matrix(1, span.len(), span.len())
}

/// Copies tensors to their places. Filling pinned memory is what takes time, so several threads do it.
fn upload(checkpoint: &Checkpoint, device: &Device, wanted: &[(String, Matrix<bf16>)]) -> Result<()> {
    /// Bytes of one copy: enough for the bus, and little enough that large tensors are shared between threads.
    const PIECE_BYTES: usize = 32 << 20;
    wanted.par_iter().try_for_each(|(name, to)| {
        let tensor = checkpoint.tensor(name)?;
        let width = 2 * to.columns();
        let narrow = match tensor.dtype {
            StoredType::BF16 => None,
            _ => Some(tensor.to_bf16()),
        };
        let bytes: &[u8] = narrow.as_ref().map_or(&tensor.bytes, |narrow| bytemuck::cast_slice(narrow));
        let rows = (PIECE_BYTES / width).max(1);
        bytes.par_chunks(rows * width).enumerate().try_for_each(|(index, bytes)| {
            let to = to.row_range(index * rows, bytes.len() / width);
            device.upload_rows(to, bytes)?;
            Ok(())
        })
    })
}

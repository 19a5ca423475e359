//! Owns the kernels of one model, compiled for its shape. Knows which there are; what they do, the `cuda` crate says.

use cuda::Device;
use cuda::kernels::adamw::AdamW;
use cuda::kernels::attention::{Attention, HeadShape};
use cuda::kernels::cached_attention::CachedAttention;
use cuda::kernels::cross_entropy::CrossEntropy;
use cuda::kernels::dropout::Dropout;
use cuda::kernels::kv_cache::KvCache;
use cuda::kernels::output_adapters::OutputAdapters;
use cuda::kernels::rms_norm::RmsNorm;
use cuda::kernels::rope::{Heads, Rope};
use cuda::kernels::rows::Rows;
use cuda::kernels::sample::Sample;
use cuda::kernels::swiglu::Swiglu;
use cuda::kernels::swiglu_adapters::SwigluAdapters;
use cuda::kernels::tune::Tune;

use super::layout::LOGIT_ROWS;
use super::shape::Shape;
use crate::config::ModelConfig;
use crate::error::Result;

/// Every kernel.
pub(super) struct Kernels {
    pub(super) attention: Attention,
    pub(super) cached_attention: CachedAttention,
    pub(super) rms_norm: RmsNorm,
    pub(super) rope: Rope,
    pub(super) output_adapters: OutputAdapters,
    pub(super) swiglu: Swiglu,
    pub(super) swiglu_adapters: SwigluAdapters,
    pub(super) cross_entropy: CrossEntropy,
    pub(super) adamw: AdamW,
    pub(super) dropout: Dropout,
    pub(super) rows: Rows,
    pub(super) kv_cache: KvCache,
    pub(super) sample: Sample,
    pub(super) tune: Tune,
}

impl Kernels {
    /// Compiles them, or finds them compiled.
    pub(super) fn new(device: &Device, shape: &Shape, config: &ModelConfig) -> Result<Self> {
        let heads = HeadShape {
            heads: shape.heads,
            kv_heads: shape.kv_heads,
            head_dim: shape.head_dim,
            window: config.sliding_window.unwrap_or(0),
            soft_cap: 0.0,
            scale: crate::weights::heads(config).scale(),
        };
        let rope = Heads { query: shape.heads, key_value: shape.kv_heads, head_dim: shape.head_dim };
        Ok(Kernels {
            attention: Attention::new(device, heads)?,
            cached_attention: CachedAttention::new(device, heads)?,
            rms_norm: RmsNorm::new(device)?,
            rope: Rope::new(device, rope)?,
            output_adapters: OutputAdapters::new(device)?,
            swiglu: Swiglu::new(device)?,
            swiglu_adapters: SwigluAdapters::new(device)?,
            cross_entropy: CrossEntropy::new(device)?,
            adamw: AdamW::new(device)?,
            dropout: Dropout::new(device)?,
            rows: Rows::new(device)?,
            kv_cache: KvCache::new(device)?,
            sample: Sample::new(device, LOGIT_ROWS)?,
            tune: Tune::new(device)?,
        })
    }
}

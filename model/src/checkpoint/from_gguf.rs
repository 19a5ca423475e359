//! Opens a GGUF file: maps its tensor names to those of Hugging Face and marks the rows that must be put back in order.
//! Knows the names of the tensors and the traps of quantisers; the header is read elsewhere.

use std::collections::BTreeMap;
use std::path::Path;

use super::gguf::{self, TensorInfo};
use super::{Checkpoint, Mapped, Origin, Stored};
use crate::config::{GgufTensorFacts, ModelConfig};
use crate::error::{Error, Result};

const EMBEDDING: &str = "token_embd.weight";
const HEAD: &str = "output.weight";
const ROPE_DIVISORS: &str = "rope_freqs.weight";

/// GGUF and Hugging Face names inside a layer.
const IN_LAYER: [(&str, &str); 11] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// Opens the file and checks every tensor.
pub(super) fn open(path: &Path) -> Result<Checkpoint> {
    let file = Mapped::open(path)?;
    let gguf::Header { metadata, tensors: mut described } = gguf::parse(file.bytes(), path)?;
    let read = |info: &TensorInfo| stored(info, None).read(&file.bytes()[info.range.clone()]).to_f32();

    let rope_divisors = described.remove(ROPE_DIVISORS).map(|info| read(&info));
    let embedding = described
        .get(EMBEDDING)
        .ok_or_else(|| Error::MissingTensor { path: path.to_path_buf(), name: EMBEDDING.to_string() })?;
    let vocab_size = embedding.shape[0];
    let mut tied = true;
    if let Some(head) = described.get(HEAD) {
        tied = stored_twice(embedding, head, file.bytes());
        if tied {
            let bits = |info: &TensorInfo| info.format.bytes() * 8 * 256 / info.format.weights();
            let head_is_finer = bits(head) > bits(embedding);
            if let (Some(head), true) = (described.remove(HEAD), head_is_finer) {
                described.insert(EMBEDDING.to_string(), head);
            }
        }
    }
    let config = ModelConfig::from_gguf(&metadata, GgufTensorFacts { vocab_size, tied, rope_divisors }, path)?;
    let tensors: BTreeMap<String, Stored> = described
        .into_iter()
        .map(|(name, info)| {
            let name = hugging_face_name(&name).unwrap_or(name);
            let stored = stored(&info, interleaved_heads(&name, &config));
            (name, stored)
        })
        .collect();
    let origin = Origin::Gguf(metadata);
    Checkpoint { config, path: path.to_path_buf(), files: vec![file], tensors, origin, words: None, template: None }
        .verify()
}

/// A tensor of the only file.
fn stored(info: &TensorInfo, interleaved_heads: Option<usize>) -> Stored {
    Stored { file: 0, range: info.range.clone(), shape: info.shape.clone(), format: info.format, interleaved_heads }
}

/// The Hugging Face name, where there is one.
fn hugging_face_name(name: &str) -> Option<String> {
    match name {
        EMBEDDING => return Some("model.embed_tokens.weight".to_string()),
        HEAD => return Some("lm_head.weight".to_string()),
        "output_norm.weight" => return Some("model.norm.weight".to_string()),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let (part, kind) = rest.rsplit_once('.')?;
    let (_, part) = IN_LAYER.iter().find(|(gguf, _)| *gguf == part)?;
    // Only the plain decimal form, so that no two GGUF names can become the same.
    let layer: usize = layer.parse().ok().filter(|number: &usize| number.to_string() == layer)?;
    Some(format!("model.layers.{layer}.{part}.{kind}"))
}

/// The name in a GGUF file of a tensor of Hugging Face; the inverse of what a file is opened with.
pub(crate) fn gguf_name(name: &str) -> Option<String> {
    match name {
        "model.embed_tokens.weight" => return Some(EMBEDDING.to_string()),
        "lm_head.weight" => return Some(HEAD.to_string()),
        "model.norm.weight" => return Some("output_norm.weight".to_string()),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (part, kind) = rest.rsplit_once('.')?;
    let (part, _) = IN_LAYER.iter().find(|(_, hugging_face)| *hugging_face == part)?;
    Some(format!("blk.{layer}.{part}.{kind}"))
}

/// The number of heads, where the converter has interleaved the halves of each; it reorders nothing but q and k.
pub(crate) fn interleaved_heads(name: &str, config: &ModelConfig) -> Option<usize> {
    if !config.model_type.gguf.interleaved_heads {
        return None;
    }
    match name.rsplit_once("self_attn.")?.1 {
        "q_proj.weight" => Some(config.num_attention_heads),
        "k_proj.weight" => Some(config.num_key_value_heads),
        _ => None,
    }
}

/// Whether the head is the embedding once more in another precision, as some quantisers write tied models.
/// Judged on a sample of rows: two roundings of the same weights differ by far less than two matrices.
fn stored_twice(embedding: &TensorInfo, head: &TensorInfo, bytes: &[u8]) -> bool {
    const SAMPLE: usize = 64;
    const MOST_ROUNDING_ENERGY: f64 = 0.05;
    let (&[rows, columns], true) = (&embedding.shape[..], embedding.shape == head.shape) else { return false };
    let row = |info: &TensorInfo, at: usize| {
        let row_bytes = columns / info.format.weights() * info.format.bytes();
        let mut out = vec![0.0_f32; columns];
        info.format.dequantise(&bytes[info.range.start + at * row_bytes..][..row_bytes], &mut out);
        out
    };
    let (mut difference, mut energy) = (0.0, 0.0);
    for at in (0..rows).step_by(rows.div_ceil(SAMPLE)) {
        for (one, two) in row(embedding, at).into_iter().zip(row(head, at)) {
            difference += f64::from(one - two).powi(2);
            energy += f64::from(one).powi(2) + f64::from(two).powi(2);
        }
    }
    difference <= MOST_ROUNDING_ENERGY * energy / 2.0
}

//! Writes a merged model as one GGUF file: the metadata that llama.cpp reads, the vocabulary, and the tensors in their
//! formats. Knows the keys; the inverse of `config/gguf.rs` and `checkpoint/from_gguf.rs`, which a written file is opened
//! with before it counts.
//!
//! Keys and order of rows: `convert_hf_to_gguf.py` in <https://github.com/ggml-org/llama.cpp>.

use std::collections::BTreeMap;
use std::path::Path;

use super::gguf_header::{self, Entry, Value};
use super::gguf_notes;
use super::gguf_type::GgufType;
use super::pipeline::{self, OutFile, OutTensor};
use super::{Merged, Watch, Written};
use crate::checkpoint::gguf_blocks::BlockType;
use crate::checkpoint::{Checkpoint, gguf_name, interleaved_heads};
use crate::config::{ModelConfig, RopeScaling};
use crate::error::{Error, Result};

/// What a file says of itself besides the model.
#[derive(Clone, Debug)]
pub struct GgufOptions {
    /// The number formats.
    pub kind: GgufType,
    /// `general.name`.
    pub name: String,
    /// `general.license`, where it is known.
    pub licence: Option<String>,
    /// The base it was made from, where there is an adapter.
    pub base_model: Option<String>,
}

/// Writes the file and syncs it; the caller gives it its place.
///
/// # Errors
/// A base with a feature that GGUF or llama.cpp has no word for, a tokenizer that it would cut differently, a sum that is
/// not finite or too large for half precision, a disk that is full.
pub fn write_gguf(merged: &Merged<'_>, path: &Path, options: &GgufOptions, watch: Watch<'_>) -> Result<Written> {
    let checkpoint = merged.checkpoint();
    let config = &checkpoint.config;
    let mut notes = Vec::new();
    if let Some(format) = checkpoint.quantised_as().filter(|_| options.kind.is_quantised()) {
        notes.push(format!(
            "the base is rounded already ({format}) and is rounded once more; from the Hugging Face folder of the same \
             base (--model) it is rounded once"
        ));
    }
    let mut values = general(config, options);
    values.extend(architecture(config, path, &mut notes)?);
    let tokenizer = checkpoint.tokenizer()?;
    values.extend(tokenizer.gguf_values(config)?);
    notes.extend(gguf_notes::of_base(config, &tokenizer));
    let mut tensors = Vec::new();
    let mut entries = Vec::new();
    let mut formats: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut put = |name: String, shape: Vec<usize>, tensor: OutTensor| {
        *formats.entry(tensor.encoding.name()).or_default() += 1;
        entries.push(Entry { name, shape, encoding: tensor.encoding, bytes: tensor.bytes() });
        let padding = gguf_header::padding(tensor.bytes());
        tensors.push(OutTensor { padding, ..tensor });
    };
    if let Some(divisors) = divisors(config) {
        let shape = [1, divisors.len()];
        let values = Some(divisors);
        let name = "rope_freqs.weight".to_owned();
        let encoding = BlockType::F32;
        let tensor = OutTensor { name: name.clone(), shape, encoding, values, interleaved_heads: None, padding: 0 };
        put(name, vec![shape[1]], tensor);
    }
    for (name, shape) in config.tensors() {
        let there = gguf_name(&name).ok_or_else(|| Error::feature(checkpoint.path(), format!("{name} in GGUF")))?;
        let columns = shape.last().copied().unwrap_or(1);
        let rows = shape.iter().product::<usize>() / columns.max(1);
        let encoding = options.kind.of_tensor(&there, &shape, config);
        let interleaved_heads = interleaved_heads(&name, config);
        let tensor = OutTensor { name, shape: [rows, columns], encoding, values: None, interleaved_heads, padding: 0 };
        put(there, shape, tensor);
    }
    let header = gguf_header::header(&values, &entries);
    let bytes = pipeline::write(merged, &[OutFile { path: path.to_path_buf(), header, tensors }], watch)?;
    let formats: Vec<_> = formats.into_iter().collect();
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // A file that our own reader refuses is no export.
    let written = Checkpoint::open(path)?;
    if let Some(change) = difference(config, &written.config) {
        return Err(Error::malformed(path, format!("{change} does not survive in GGUF")));
    }
    Ok(Written { files: vec![file], bytes, formats, notes })
}

fn general(config: &ModelConfig, options: &GgufOptions) -> Vec<(String, Value)> {
    let mut values = Vec::new();
    let mut put = |key: &str, value: Value| values.push((format!("general.{key}"), value));
    put("architecture", Value::Text(config.model_type.gguf.architecture.to_owned()));
    put("type", Value::Text("model".to_owned()));
    put("name", Value::Text(options.name.clone()));
    if let Some(licence) = &options.licence {
        put("license", Value::Text(licence.clone()));
    }
    if let Some(base) = &options.base_model {
        put("base_model.count", Value::U32(1));
        put("base_model.0.name", Value::Text(base.clone()));
    }
    put("file_type", Value::U32(options.kind.file_type()));
    put("quantization_version", Value::U32(2));
    values
}

/// The numbers of the architecture.
fn architecture(config: &ModelConfig, path: &Path, notes: &mut Vec<String>) -> Result<Vec<(String, Value)>> {
    let mut values = Vec::new();
    let mut put = |key: &str, value: Value| {
        values.push((format!("{}.{key}", config.model_type.gguf.architecture), value));
    };
    let mut context = config.max_position_embeddings;
    if let Some(window) = gguf_notes::window(config) {
        notes.push(format!(
            "the sliding window of {window} tokens has no word in this architecture of GGUF; the file says that the \
             context is {window} instead of {context}, within which both compute the same"
        ));
        context = window;
    }
    let number = |value: usize| Value::U32(u32::try_from(value).unwrap_or(u32::MAX));
    put("block_count", number(config.num_hidden_layers));
    put("context_length", number(context));
    put("embedding_length", number(config.hidden_size));
    put("feed_forward_length", number(config.intermediate_size));
    put("attention.head_count", number(config.num_attention_heads));
    put("attention.head_count_kv", number(config.num_key_value_heads));
    put("attention.key_length", number(config.head_dim));
    put("attention.value_length", number(config.head_dim));
    put("attention.layer_norm_rms_epsilon", Value::F32(config.rms_norm_eps));
    put("rope.freq_base", Value::F32(config.rope_theta as f32));
    put("rope.dimension_count", number(config.head_dim));
    put("vocab_size", number(config.vocab_size));
    match &config.rope_scaling {
        // Llama 3's stretch and given divisors lie in a tensor of the file.
        RopeScaling::None | RopeScaling::Llama3 { .. } | RopeScaling::Factors { .. } => {}
        RopeScaling::Linear { factor } => {
            put("rope.scaling.type", Value::Text("linear".to_owned()));
            put("rope.scaling.factor", Value::F32(*factor as f32));
        }
        RopeScaling::Yarn {
            factor,
            original_max_position_embeddings: original,
            attention_factor: None,
            beta_fast,
            beta_slow,
            mscale: None,
            mscale_all_dim: None,
            truncate: true,
        } => {
            put("rope.scaling.type", Value::Text("yarn".to_owned()));
            put("rope.scaling.factor", Value::F32(*factor as f32));
            put("rope.scaling.original_context_length", number(*original));
            put("rope.scaling.yarn_beta_fast", Value::F32(*beta_fast as f32));
            put("rope.scaling.yarn_beta_slow", Value::F32(*beta_slow as f32));
        }
        RopeScaling::Yarn { .. } => {
            return Err(Error::feature(
                path,
                "yarn with attention_factor, mscale or truncate = false in GGUF\nhint: --format safetensors; that",
            ));
        }
    }
    Ok(values)
}

/// What each plain frequency is divided by, where that is no key but a tensor.
fn divisors(config: &ModelConfig) -> Option<Vec<f32>> {
    match &config.rope_scaling {
        RopeScaling::Factors { divisors } => Some(divisors.clone()),
        RopeScaling::Llama3 { .. } => {
            let plain = ModelConfig { rope_scaling: RopeScaling::None, ..config.clone() };
            let (plain, _) = plain.inverse_frequencies();
            let (stretched, _) = config.inverse_frequencies();
            Some(plain.iter().zip(&stretched).map(|(plain, stretched)| plain / stretched).collect())
        }
        _ => None,
    }
}

/// The first number that another file would compute with differently.
fn difference(ours: &ModelConfig, read: &ModelConfig) -> Option<&'static str> {
    let close = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-6 * a);
    let (one, two) = (ours.inverse_frequencies(), read.inverse_frequencies());
    let same = [
        ("the number of layers", ours.num_hidden_layers == read.num_hidden_layers),
        ("the number of heads", ours.num_attention_heads == read.num_attention_heads),
        ("the number of key heads", ours.num_key_value_heads == read.num_key_value_heads),
        ("head_dim", ours.head_dim == read.head_dim),
        ("the size of the vocabulary", ours.vocab_size == read.vocab_size),
        ("rms_norm_eps", ours.rms_norm_eps == read.rms_norm_eps),
        ("the rotary embedding", close(&one.0, &two.0) && (one.1 - two.1).abs() <= 1e-6 * one.1),
        ("qkv_bias", ours.qkv_bias == read.qkv_bias),
        ("qk_norm", ours.qk_norm == read.qk_norm),
    ];
    same.into_iter().find(|(_, same)| !same).map(|(what, _)| what)
}

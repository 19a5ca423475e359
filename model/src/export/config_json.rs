//! Owns the `config.json` and `generation_config.json` of a written folder: those of the base with the type of the
//! weights changed, or made from what a GGUF file says. Knows the keys of Hugging Face; knows no weights.

use ground::read::Kind;
use serde_json::{Map, Value, json};

use crate::checkpoint::{Checkpoint, StoredType};
use crate::config::{ModelConfig, RopeScaling};
use crate::error::{Error, Result};
use crate::foreign;

/// The name of a number type in a `config.json`.
pub(super) fn dtype_name(dtype: StoredType) -> &'static str {
    match dtype {
        StoredType::F32 => "float32",
        StoredType::F16 => "float16",
        StoredType::BF16 => "bfloat16",
    }
}

/// `config.json` for weights of a type.
pub(super) fn config(checkpoint: &Checkpoint, dtype: StoredType) -> Result<Value> {
    let mut map = if checkpoint.is_folder() {
        let path = checkpoint.path().join("config.json");
        match foreign::json(&path, Kind::ModelConfig)? {
            Value::Object(map) => map,
            _ => return Err(Error::malformed(&path, "not a JSON object")),
        }
    } else {
        made(&checkpoint.config, checkpoint)?
    };
    // A path of the machine it was saved on.
    map.shift_remove("_name_or_path");
    let keys = ["dtype", "torch_dtype"];
    if !keys.iter().any(|key| map.contains_key(*key)) {
        // The older of the two spellings, which every version of transformers reads.
        map.insert("torch_dtype".to_owned(), Value::Null);
    }
    for key in keys {
        if let Some(value) = map.get_mut(key) {
            *value = json!(dtype_name(dtype));
        }
    }
    Ok(Value::Object(map))
}

/// `generation_config.json` of a base that has none of its own: its special tokens.
pub(super) fn generation(config: &ModelConfig) -> Value {
    let eos = match config.eos_token_ids.as_slice() {
        [] => Value::Null,
        [only] => json!(only),
        several => json!(several),
    };
    let tokens = [
        ("bos_token_id", json!(config.bos_token_id)),
        ("eos_token_id", eos),
        ("pad_token_id", json!(config.pad_token_id)),
    ];
    Value::Object(tokens.into_iter().filter(|(_, id)| !id.is_null()).map(|(key, id)| (key.to_owned(), id)).collect())
}

/// Adds a token to those that end an answer. Returns whether it was none of them.
pub(super) fn ends_at(generation: &mut Map<String, Value>, end: u32) -> bool {
    let ends = generation.entry("eos_token_id").or_insert(Value::Null);
    let mut all = match ends.take() {
        Value::Array(ids) => ids,
        Value::Null => Vec::new(),
        only => vec![only],
    };
    let is_new = !all.contains(&json!(end));
    if is_new {
        all.push(json!(end));
    }
    *ends = if all.len() == 1 { all.remove(0) } else { Value::Array(all) };
    is_new
}

fn made(config: &ModelConfig, checkpoint: &Checkpoint) -> Result<Map<String, Value>> {
    let name = config.model_type.model_type;
    let class = format!("{}{}ForCausalLM", name[..1].to_ascii_uppercase(), &name[1..]);
    let rope_scaling = match &config.rope_scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Factors { .. } => {
            return Err(Error::feature(
                checkpoint.path(),
                "rope_freqs.weight, which a config.json cannot say\nhint: merge into the Hugging Face folder of this \
                 base: that",
            ));
        }
        other => {
            let mut value =
                serde_json::to_value(other).map_err(|error| Error::malformed(checkpoint.path(), error.to_string()))?;
            if let Value::Object(keys) = &mut value {
                keys.retain(|_, value| !value.is_null());
            }
            value
        }
    };
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    put("architectures", json!([class]));
    put("model_type", json!(name));
    put("hidden_size", json!(config.hidden_size));
    put("intermediate_size", json!(config.intermediate_size));
    put("num_hidden_layers", json!(config.num_hidden_layers));
    put("num_attention_heads", json!(config.num_attention_heads));
    put("num_key_value_heads", json!(config.num_key_value_heads));
    put("head_dim", json!(config.head_dim));
    put("vocab_size", json!(config.vocab_size));
    put("max_position_embeddings", json!(config.max_position_embeddings));
    // As written in f32, so that reading it back gives the same bits.
    put("rms_norm_eps", json!(config.rms_norm_eps.to_string().parse::<f64>().unwrap_or(config.rms_norm_eps.into())));
    put("rope_theta", json!(config.rope_theta));
    put("rope_scaling", rope_scaling);
    put("hidden_act", json!("silu"));
    put("attention_bias", json!(false));
    put("tie_word_embeddings", json!(config.tie_word_embeddings));
    if let Value::Object(tokens) = generation(config) {
        tokens.into_iter().for_each(|(key, id)| drop(put(&key, id)));
    }
    Ok(map)
}

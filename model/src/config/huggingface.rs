//! Reads a Hugging Face `config.json` and its generation settings, with the defaults of transformers.
//! Knows the keys and both spellings of the rotary ones; which keys are refused, how a window is said and what an
//! architecture assumes is known elsewhere.

use std::path::Path;

use serde_json::Value;

use super::json_keys::Keys;
use super::refused::refuse_features;
use super::sliding_window::sliding_window;
use super::{ModelConfig, RopeScaling};
use crate::arch;
use crate::error::{Error, Result};

impl ModelConfig {
    /// Reads a parsed `config.json`. `path` is only for messages.
    pub fn from_hf_json(json: &Value, path: &Path) -> Result<Self> {
        let map = json.as_object().ok_or_else(|| Error::malformed(path, "not a JSON object"))?;
        let keys = Keys { map, path };
        let name = keys.text("model_type")?.ok_or_else(|| Error::malformed(path, "model_type is missing"))?;
        let architecture = arch::find(name)?;
        let defaults = &architecture.defaults;
        refuse_features(&keys)?;

        let hidden_size = keys.size("hidden_size")?.unwrap_or(defaults.hidden_size);
        let num_attention_heads = keys.size("num_attention_heads")?.unwrap_or(defaults.num_attention_heads);
        let num_hidden_layers = keys.size("num_hidden_layers")?.unwrap_or(defaults.num_hidden_layers);
        let max_position_embeddings = keys.size("max_position_embeddings")?.unwrap_or(defaults.max_position_embeddings);
        let (rope_theta, rope_scaling) = rope(&keys, defaults.rope_theta, max_position_embeddings)?;
        let head_dim = match keys.size("head_dim")?.or(defaults.head_dim) {
            Some(given) => given,
            None if num_attention_heads == 0 || hidden_size % num_attention_heads != 0 => {
                return Err(Error::malformed(
                    path,
                    format!("hidden_size {hidden_size} is not a multiple of num_attention_heads {num_attention_heads}"),
                ));
            }
            None => hidden_size / num_attention_heads,
        };
        let vocab_size = keys.size("vocab_size")?.unwrap_or(defaults.vocab_size);
        for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
            refuse_ids_beyond(&keys, key, vocab_size)?;
        }
        Self {
            model_type: architecture,
            hidden_size,
            intermediate_size: keys.size("intermediate_size")?.unwrap_or(defaults.intermediate_size),
            num_hidden_layers,
            num_attention_heads,
            // An absent key is the default of the architecture, `null` is as many as query heads.
            num_key_value_heads: match map.get("num_key_value_heads") {
                None => defaults.num_key_value_heads.unwrap_or(num_attention_heads),
                Some(_) => keys.size("num_key_value_heads")?.unwrap_or(num_attention_heads),
            },
            head_dim,
            vocab_size,
            max_position_embeddings,
            rms_norm_eps: keys.number("rms_norm_eps")?.unwrap_or(defaults.rms_norm_eps) as f32,
            rope_theta,
            rope_scaling,
            tie_word_embeddings: keys.switch("tie_word_embeddings")?.unwrap_or(defaults.tie_word_embeddings),
            qkv_bias: architecture.qkv_bias,
            qk_norm: architecture.qk_norm,
            sliding_window: sliding_window(&keys, architecture, num_hidden_layers)?,
            bos_token_id: match map.get("bos_token_id") {
                None => defaults.bos_token_id,
                Some(_) => keys.ids("bos_token_id")?.first().copied(),
            },
            eos_token_ids: match map.get("eos_token_id") {
                None => defaults.eos_token_id.into_iter().collect(),
                Some(_) => keys.ids("eos_token_id")?,
            },
            pad_token_id: keys.ids("pad_token_id")?.first().copied(),
        }
        .validate(path)
    }

    /// Adds the end tokens of a parsed `generation_config.json`. `path` is only for messages.
    pub fn add_generation_settings(&mut self, json: &Value, path: &Path) -> Result<()> {
        let map = json.as_object().ok_or_else(|| Error::malformed(path, "not a JSON object"))?;
        let keys = Keys { map, path };
        refuse_ids_beyond(&keys, "eos_token_id", self.vocab_size)?;
        for id in keys.ids("eos_token_id")? {
            if !self.eos_token_ids.contains(&id) {
                self.eos_token_ids.push(id);
            }
        }
        Ok(())
    }
}

/// An id for which there is no row can never come out of the model, so an answer would never end.
fn refuse_ids_beyond(keys: &Keys<'_>, key: &str, rows: usize) -> Result<()> {
    match keys.ids(key)?.into_iter().find(|id| *id as usize >= rows) {
        Some(id) => Err(Error::malformed(
            keys.path,
            format!(
                "{key} {id} is beyond the {rows} rows of the embedding\nhint: take all files of the model from one place"
            ),
        )),
        None => Ok(()),
    }
}

/// The base and the stretch of the rotary embedding, from `rope_parameters` or the older `rope_scaling` and `rope_theta`.
fn rope(keys: &Keys<'_>, default_theta: f64, max_position_embeddings: usize) -> Result<(f64, RopeScaling)> {
    let outer_theta = keys.number("rope_theta")?.unwrap_or(default_theta);
    // The older key wins where both are given, as in transformers.
    let found = ["rope_scaling", "rope_parameters"].into_iter().find_map(|key| match keys.map.get(key) {
        Some(Value::Object(inner)) if !inner.is_empty() => Some(inner),
        _ => None,
    });
    let Some(inner) = found else { return Ok((outer_theta, RopeScaling::None)) };
    let rope = Keys { map: inner, path: keys.path };
    if let Some((layer, _)) = inner.iter().find(|(_, value)| value.is_object()) {
        return Err(Error::feature(keys.path, format!("rotary settings of their own for \"{layer}\" layers")));
    }
    let kind = rope.text("rope_type")?.or(rope.text("type")?).unwrap_or("default");
    let original = match keys.size("original_max_position_embeddings")? {
        Some(outer) => outer,
        None => rope.size("original_max_position_embeddings")?.unwrap_or(max_position_embeddings),
    };
    let need = |key: &str| -> Result<f64> {
        rope.number(key)?.ok_or_else(|| Error::malformed(keys.path, format!("rope type \"{kind}\" without {key}")))
    };
    let mut known = vec!["rope_type", "type", "rope_theta", "partial_rotary_factor"];
    let scaling = match kind {
        "default" => RopeScaling::None,
        "linear" => {
            known.push("factor");
            RopeScaling::Linear { factor: need("factor")? }
        }
        "llama3" => {
            known.extend(["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]);
            RopeScaling::Llama3 {
                factor: need("factor")?,
                low_freq_factor: need("low_freq_factor")?,
                high_freq_factor: need("high_freq_factor")?,
                original_max_position_embeddings: original,
            }
        }
        "yarn" => {
            known.extend(["factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow"]);
            known.extend(["mscale", "mscale_all_dim", "truncate"]);
            let or = |value: Option<f64>, default: f64| value.filter(|one| *one != 0.0).unwrap_or(default);
            RopeScaling::Yarn {
                factor: match rope.number("factor")? {
                    Some(factor) => factor,
                    None => max_position_embeddings as f64 / original as f64,
                },
                original_max_position_embeddings: original,
                attention_factor: rope.number("attention_factor")?,
                beta_fast: or(rope.number("beta_fast")?, 32.0),
                beta_slow: or(rope.number("beta_slow")?, 1.0),
                mscale: rope.number("mscale")?,
                mscale_all_dim: rope.number("mscale_all_dim")?,
                truncate: rope.switch("truncate")?.unwrap_or(true),
            }
        }
        other => {
            return Err(Error::feature(
                keys.path,
                format!("rope type \"{other}\" (known: default, linear, llama3, yarn)"),
            ));
        }
    };
    if rope.number("partial_rotary_factor")?.is_some_and(|share| share != 1.0) {
        return Err(Error::feature(keys.path, "partial_rotary_factor"));
    }
    // Some publishers leave the original context in a "default" block; transformers warns and computes the same.
    if kind == "default" {
        known.extend(["factor", "original_max_position_embeddings"]);
    }
    if let Some((key, _)) = inner.iter().find(|(key, value)| !known.contains(&key.as_str()) && !value.is_null()) {
        return Err(Error::feature(keys.path, format!("{key} in rotary settings of type \"{kind}\"")));
    }
    Ok((rope.number("rope_theta")?.unwrap_or(outer_theta), scaling))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn small(model_type: &str) -> Value {
        json!({
            "model_type": model_type, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 128
        })
    }

    fn read(json: &Value) -> Result<ModelConfig> {
        ModelConfig::from_hf_json(json, Path::new("config.json"))
    }

    fn with(model_type: &str, extra: Value) -> Value {
        let mut json = small(model_type);
        for (key, value) in extra.as_object().unwrap() {
            json[key] = value.clone();
        }
        json
    }

    #[test]
    fn silence_means_what_transformers_assumes() {
        let llama = read(&small("llama")).unwrap();
        assert_eq!((llama.rope_theta, llama.max_position_embeddings, llama.head_dim), (10_000.0, 2048, 16));
        assert_eq!((llama.bos_token_id, llama.eos_token_ids.as_slice()), (Some(1), &[2][..]));
        assert!(!llama.qkv_bias && !llama.qk_norm && !llama.tie_word_embeddings);
        let mistral = read(&small("mistral")).unwrap();
        assert_eq!((mistral.sliding_window, mistral.head_dim), (Some(4096), 16));
        assert_eq!(read(&with("mistral", json!({"sliding_window": null}))).unwrap().sliding_window, None);
        let qwen2 = read(&small("qwen2")).unwrap();
        assert!(qwen2.qkv_bias && !qwen2.qk_norm && qwen2.eos_token_ids.is_empty());
        let qwen3 = read(&small("qwen3")).unwrap();
        assert!(!qwen3.qkv_bias && qwen3.qk_norm);
        assert_eq!(qwen3.head_dim, 128);
    }

    #[test]
    fn both_spellings_of_rotary_settings_give_the_same() {
        let old = with(
            "llama",
            json!({
                "rope_theta": 500000.0,
                "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                 "original_max_position_embeddings": 8192}
            }),
        );
        let new = with(
            "llama",
            json!({
                "rope_parameters": {"rope_theta": 500000.0, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                    "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
            }),
        );
        assert_eq!(read(&old).unwrap(), read(&new).unwrap());
        let legacy = with(
            "qwen2",
            json!({"rope_scaling": {"type": "yarn", "factor": 4.0,
                                                           "original_max_position_embeddings": 32768}}),
        );
        assert!(matches!(read(&legacy).unwrap().rope_scaling, RopeScaling::Yarn { factor, .. } if factor == 4.0));
    }

    #[test]
    fn features_that_are_not_computed_are_refused_by_name() {
        for (model_type, extra, name) in [
            ("llama", json!({"attention_bias": true}), "attention_bias"),
            ("llama", json!({"mlp_bias": true}), "mlp_bias"),
            ("llama", json!({"hidden_act": "gelu"}), "hidden_act"),
            ("llama", json!({"quantization_config": {"quant_method": "gptq"}}), "quantization_config"),
            ("llama", json!({"partial_rotary_factor": 0.5}), "partial_rotary_factor"),
            ("llama", json!({"num_local_experts": 8}), "num_local_experts"),
            ("llama", json!({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}), "dynamic"),
            ("llama", json!({"rope_scaling": {"rope_type": "longrope"}}), "longrope"),
            ("llama", json!({"rope_scaling": {"rope_type": "linear", "factor": 2.0, "mystery": 1}}), "mystery"),
            ("llama", json!({"rope_parameters": {"full_attention": {"rope_type": "default"}}}), "full_attention"),
            ("llama", json!({"architectures": ["LlamaForSequenceClassification"]}), "LlamaForSequenceClassification"),
            ("qwen3", json!({"attention_bias": true}), "attention_bias"),
            ("qwen2", json!({"use_sliding_window": true, "max_window_layers": 1}), "sliding"),
            ("qwen2", json!({"layer_types": ["full_attention", "linear_attention"]}), "linear_attention"),
        ] {
            let message = read(&with(model_type, extra)).unwrap_err().to_string();
            assert!(message.contains(name) && message.contains("config.json"), "{message}");
        }
    }

    #[test]
    fn a_window_in_all_layers_or_in_none_is_accepted() {
        let all = with("qwen2", json!({"use_sliding_window": true, "max_window_layers": 0, "sliding_window": 7}));
        assert_eq!(read(&all).unwrap().sliding_window, Some(7));
        let none = with("qwen2", json!({"use_sliding_window": true, "max_window_layers": 2, "sliding_window": 7}));
        assert_eq!(read(&none).unwrap().sliding_window, None);
        let off = with(
            "qwen3",
            json!({"use_sliding_window": false, "sliding_window": 7,
                                       "layer_types": ["full_attention", "full_attention"]}),
        );
        assert_eq!(read(&off).unwrap().sliding_window, None);
    }

    #[test]
    fn end_tokens_are_collected_from_both_files() {
        let mut config = read(&with("qwen2", json!({"eos_token_id": 5, "bos_token_id": null}))).unwrap();
        config.add_generation_settings(&json!({"eos_token_id": [5, 9]}), Path::new("generation_config.json")).unwrap();
        assert_eq!((config.bos_token_id, config.eos_token_ids), (None, vec![5, 9]));
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named() {
        for extra in [json!({"hidden_size": "64"}), json!({"hidden_size": -1}), json!({"eos_token_id": "x"})] {
            let key = extra.as_object().unwrap().keys().next().unwrap().clone();
            let message = read(&with("llama", extra)).unwrap_err().to_string();
            assert!(message.contains(&key), "{message}");
        }
        let message = read(&with("llama", json!({"num_attention_heads": 0}))).unwrap_err().to_string();
        assert!(message.contains("num_attention_heads"), "{message}");
    }
}

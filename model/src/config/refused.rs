//! Owns the keys of a `config.json` that ask for something the engine does not compute, and refuses them by name.
//! Knows neither what the other keys mean nor any architecture: a key that is harmless in one is harmless in all.

use serde_json::Value;

use super::json_keys::{Keys, shorten};
use crate::error::{Error, Result};

/// Refuses by name whatever the engine would compute wrongly.
pub(super) fn refuse_features(keys: &Keys<'_>) -> Result<()> {
    for (key, harmless) in REFUSED {
        let Some(value) = keys.map.get(*key) else { continue };
        if !value.is_null() && !harmless.iter().any(|one| one.matches(value)) {
            return Err(Error::feature(keys.path, format!("{key} = {}", shorten(value))));
        }
    }
    let architectures = keys.map.get("architectures").and_then(Value::as_array);
    for name in architectures.into_iter().flatten().filter_map(Value::as_str) {
        if !name.ends_with("ForCausalLM") {
            return Err(Error::feature(
                keys.path,
                format!("architecture {name}, which is not a causal language model,"),
            ));
        }
    }
    Ok(())
}

/// Keys that switch on something the engine does not compute, unless they hold one of these harmless values.
/// `null` is harmless everywhere.
const REFUSED: &[(&str, &[Harmless])] = &[
    ("attention_bias", &[Harmless::False]),
    ("mlp_bias", &[Harmless::False]),
    ("attention_dropout", &[Harmless::Number(0.0)]),
    ("hidden_act", &[Harmless::Text("silu"), Harmless::Text("swish")]),
    ("partial_rotary_factor", &[Harmless::Number(1.0)]),
    ("rope_interleave", &[Harmless::False]),
    ("rope_interleaved", &[Harmless::False]),
    ("no_rope_layers", &[Harmless::Empty]),
    ("num_experts", &[Harmless::Number(0.0), Harmless::Number(1.0)]),
    ("num_local_experts", &[Harmless::Number(0.0), Harmless::Number(1.0)]),
    ("n_routed_experts", &[Harmless::Number(0.0)]),
    ("moe_intermediate_size", &[Harmless::Number(0.0)]),
    ("quantization_config", &[]),
    ("attn_logit_softcapping", &[]),
    ("final_logit_softcapping", &[]),
    ("query_pre_attn_scalar", &[]),
    ("logit_scale", &[Harmless::Number(1.0)]),
    ("logits_scaling", &[Harmless::Number(1.0)]),
    ("embedding_multiplier", &[Harmless::Number(1.0)]),
    ("residual_multiplier", &[Harmless::Number(1.0)]),
    ("attention_multiplier", &[]),
    ("use_qk_norm", &[Harmless::False]),
    ("qk_layernorm", &[Harmless::False]),
    ("attention_sinks", &[Harmless::False]),
    ("text_config", &[]),
    ("vision_config", &[]),
];

/// A value with which a key of [`REFUSED`] changes nothing.
enum Harmless {
    False,
    Empty,
    Number(f64),
    Text(&'static str),
}

impl Harmless {
    fn matches(&self, value: &Value) -> bool {
        match self {
            Self::False => value == &Value::Bool(false),
            Self::Empty => value.as_array().is_some_and(Vec::is_empty),
            Self::Number(number) => value.as_f64() == Some(*number),
            Self::Text(text) => value.as_str() == Some(text),
        }
    }
}

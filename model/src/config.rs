//! The configuration of a model, whatever file it came from, and the tensors that follow from it.
//! Knows the names and shapes that the switches lead to; knows no tensor values and no arithmetic of layers, and only
//! `arch` knows in what the architectures differ.

use std::path::Path;

use crate::arch::Architecture;
use crate::error::{Error, Result};

mod gguf;
mod huggingface;
mod json_keys;
mod refused;
mod rope;
mod sliding_window;

pub(crate) use gguf::TensorFacts as GgufTensorFacts;
pub use rope::RopeScaling;

/// Everything the engine must know about a model. Field names are those of Hugging Face where it has one.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ModelConfig {
    /// The architecture.
    pub model_type: &'static Architecture,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the gated MLP.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides the query heads.
    pub num_key_value_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Longest sequence the model was made for.
    pub max_position_embeddings: usize,
    /// ε of the RMS norms, in f32 as the file has it.
    pub rms_norm_eps: f32,
    /// Base of the rotary embedding.
    pub rope_theta: f64,
    /// How the rotary frequencies are stretched.
    pub rope_scaling: RopeScaling,
    /// The head is the embedding.
    pub tie_word_embeddings: bool,
    /// Biases on the q, k and v projections.
    pub qkv_bias: bool,
    /// RMS norms on each head of q and k.
    pub qk_norm: bool,
    /// Attention reaches this many tokens back, in every layer.
    pub sliding_window: Option<usize>,
    /// Start of sequence.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a generation, of the model and of its generation settings, without repeats.
    pub eos_token_ids: Vec<u32>,
    /// Padding, as the file names it; the engine never masks by it.
    pub pad_token_id: Option<u32>,
}

impl ModelConfig {
    /// Width of all query heads together.
    pub fn query_size(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Width of all key heads together, which is also that of the values.
    pub fn key_value_size(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// Every tensor of the checkpoint with its shape, in the order of computation.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let (query, key_value) = (self.query_size(), self.key_value_size());
        let mut all = vec![("model.embed_tokens.weight".to_string(), vec![self.vocab_size, hidden])];
        for layer in 0..self.num_hidden_layers {
            let mut add = |name: &str, shape: Vec<usize>| all.push((format!("model.layers.{layer}.{name}"), shape));
            add("input_layernorm.weight", vec![hidden]);
            for (name, rows) in [("q_proj", query), ("k_proj", key_value), ("v_proj", key_value)] {
                add(&format!("self_attn.{name}.weight"), vec![rows, hidden]);
                if self.qkv_bias {
                    add(&format!("self_attn.{name}.bias"), vec![rows]);
                }
            }
            if self.qk_norm {
                add("self_attn.q_norm.weight", vec![self.head_dim]);
                add("self_attn.k_norm.weight", vec![self.head_dim]);
            }
            add("self_attn.o_proj.weight", vec![hidden, query]);
            add("post_attention_layernorm.weight", vec![hidden]);
            add("mlp.gate_proj.weight", vec![inner, hidden]);
            add("mlp.up_proj.weight", vec![inner, hidden]);
            add("mlp.down_proj.weight", vec![hidden, inner]);
        }
        all.push(("model.norm.weight".to_string(), vec![hidden]));
        if !self.tie_word_embeddings {
            all.push(("lm_head.weight".to_string(), vec![self.vocab_size, hidden]));
        }
        all
    }

    /// Number of weights; a tied head counts once.
    pub fn num_parameters(&self) -> usize {
        self.tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// Inverse rotary frequencies, one for each pair of a head, and the factor on cosine and sine.
    pub fn inverse_frequencies(&self) -> (Vec<f32>, f32) {
        self.rope_scaling.inverse_frequencies(self.rope_theta, self.head_dim)
    }

    /// Refuses numbers that no model has, so that no later product can overflow and no allocation is absurd.
    fn validate(self, path: &Path) -> Result<Self> {
        let bounds = [
            ("hidden_size", self.hidden_size, 1 << 18),
            ("intermediate_size", self.intermediate_size, 1 << 20),
            ("num_hidden_layers", self.num_hidden_layers, 1 << 10),
            ("num_attention_heads", self.num_attention_heads, 1 << 10),
            ("num_key_value_heads", self.num_key_value_heads, 1 << 10),
            ("head_dim", self.head_dim, 1 << 12),
            ("vocab_size", self.vocab_size, 1 << 24),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 32),
        ];
        for (name, value, most) in bounds {
            if value == 0 || value > most {
                return Err(Error::malformed(path, format!("{name} is {value}, expected 1 to {most}")));
            }
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            return Err(Error::malformed(
                path,
                format!(
                    "num_attention_heads {} is not a multiple of num_key_value_heads {}",
                    self.num_attention_heads, self.num_key_value_heads
                ),
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(Error::malformed(path, format!("head_dim {} is odd", self.head_dim)));
        }
        if !(self.rms_norm_eps > 0.0 && self.rms_norm_eps < 1.0) {
            return Err(Error::malformed(path, format!("rms_norm_eps is {}", self.rms_norm_eps)));
        }
        if !(self.rope_theta > 1.0 && self.rope_theta < 1e30) {
            return Err(Error::malformed(path, format!("rope_theta is {}", self.rope_theta)));
        }
        self.rope_scaling.validate(path, self.head_dim)?;
        let frequencies = self.inverse_frequencies();
        if !frequencies.1.is_finite() || frequencies.0.iter().any(|one| !one.is_finite()) {
            return Err(Error::malformed(path, "the rotary settings give frequencies that are not finite"));
        }
        Ok(self)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
pub(crate) mod tests {
    use super::*;

    /// The shape of SmolLM2-135M.
    pub(crate) fn smollm2() -> ModelConfig {
        let json = serde_json::json!({
            "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
            "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "rope_theta": 100000,
            "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "tie_word_embeddings": true
        });
        ModelConfig::from_hf_json(&json, Path::new("config.json")).unwrap()
    }

    #[test]
    fn smollm2_has_the_published_number_of_weights() {
        assert_eq!(smollm2().num_parameters(), 134_515_008);
    }

    #[test]
    fn absurd_sizes_are_refused_by_name() {
        for (name, edit) in [
            (
                "hidden_size",
                Box::new(|c: &mut ModelConfig| c.hidden_size = usize::MAX) as Box<dyn Fn(&mut ModelConfig)>,
            ),
            ("num_key_value_heads", Box::new(|c| c.num_key_value_heads = 2)),
            ("head_dim", Box::new(|c| c.head_dim = 63)),
            ("rms_norm_eps", Box::new(|c| c.rms_norm_eps = f32::NAN)),
            ("rope_theta", Box::new(|c| c.rope_theta = 0.0)),
        ] {
            let mut config = smollm2();
            edit(&mut config);
            let message = config.validate(Path::new("config.json")).unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
        }
    }
}

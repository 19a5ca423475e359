//! Reads a configuration from GGUF metadata.
//! Knows the metadata keys, which are the same for every architecture, and refuses what they can say and the engine
//! does not compute.

use std::path::Path;

use super::{ModelConfig, RopeScaling};
use crate::arch;
use crate::checkpoint::gguf::{Metadata, Metadatum};
use crate::error::{Error, Result};

/// What the tensors of a GGUF file say about the configuration.
pub(crate) struct TensorFacts {
    /// Rows of the embedding.
    pub(crate) vocab_size: usize,
    /// There is no head of its own.
    pub(crate) tied: bool,
    /// The values of `rope_freqs.weight`.
    pub(crate) rope_divisors: Option<Vec<f32>>,
}

/// Keys below the architecture that are read here.
const KNOWN: &[&str] = &[
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "rope.scaling.attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "vocab_size",
];

impl ModelConfig {
    /// Reads GGUF metadata. `path` is only for messages.
    pub(crate) fn from_gguf(metadata: &Metadata, tensors: TensorFacts, path: &Path) -> Result<Self> {
        let name = metadata
            .text("general.architecture")
            .ok_or_else(|| Error::malformed(path, "general.architecture is missing"))?;
        let architecture = arch::find_gguf(name)?;
        let keys = Keys { metadata, architecture: name, path };
        keys.refuse_unknown()?;

        let hidden_size = keys.size("embedding_length")?;
        let num_attention_heads = keys.size("attention.head_count")?;
        let head_dim = match keys.optional_size("attention.key_length")? {
            Some(length) => length,
            None if num_attention_heads == 0 || hidden_size % num_attention_heads != 0 => {
                return Err(Error::malformed(
                    path,
                    format!("{hidden_size} embedding_length for {num_attention_heads} heads"),
                ));
            }
            None => hidden_size / num_attention_heads,
        };
        for key in ["attention.value_length", "rope.dimension_count"] {
            if let Some(found) = keys.optional_size(key)?.filter(|found| *found != head_dim) {
                return Err(Error::feature(path, format!("{key} {found} beside heads of {head_dim}")));
            }
        }
        let max_position_embeddings = keys.size("context_length")?;
        if let Some(window) = keys.optional_size("attention.sliding_window")?
            && window > 0
            && window < max_position_embeddings
        {
            return Err(Error::feature(path, format!("attention.sliding_window {window} in a GGUF file")));
        }
        let id = |key: &str| -> Result<Option<u32>> {
            let key = format!("tokenizer.ggml.{key}");
            let Some(id) = metadata.number(&key) else { return Ok(None) };
            match u32::try_from(id) {
                Ok(id) if (id as usize) < tensors.vocab_size => Ok(Some(id)),
                _ => {
                    let rows = tensors.vocab_size;
                    Err(Error::malformed(path, format!("{key} {id} is beyond the {rows} rows of the embedding")))
                }
            }
        };
        let mut eos_token_ids: Vec<u32> = Vec::new();
        for key in ["eos_token_id", "eot_token_id"] {
            eos_token_ids.extend(id(key)?.filter(|id| !eos_token_ids.contains(id)));
        }
        Self {
            model_type: architecture,
            hidden_size,
            intermediate_size: keys.size("feed_forward_length")?,
            num_hidden_layers: keys.size("block_count")?,
            num_attention_heads,
            num_key_value_heads: keys.optional_size("attention.head_count_kv")?.unwrap_or(num_attention_heads),
            head_dim,
            vocab_size: tensors.vocab_size,
            max_position_embeddings,
            rms_norm_eps: keys
                .float("attention.layer_norm_rms_epsilon")?
                .ok_or_else(|| Error::malformed(path, format!("{name}.attention.layer_norm_rms_epsilon is missing")))?
                as f32,
            rope_theta: keys.float("rope.freq_base")?.unwrap_or(10_000.0),
            rope_scaling: keys.rope(tensors.rope_divisors, max_position_embeddings)?,
            tie_word_embeddings: tensors.tied,
            qkv_bias: architecture.qkv_bias,
            qk_norm: architecture.qk_norm,
            sliding_window: None,
            bos_token_id: id("bos_token_id")?,
            eos_token_ids,
            pad_token_id: id("padding_token_id")?,
        }
        .validate(path)
    }
}

/// The keys below one architecture.
struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
    path: &'a Path,
}

impl Keys<'_> {
    fn refuse_unknown(&self) -> Result<()> {
        if self.metadata.number("split.count").is_some_and(|count| count > 1) {
            return Err(Error::feature(self.path, "a GGUF model split over several files"));
        }
        let prefix = format!("{}.", self.architecture);
        for key in self.metadata.keys().filter_map(|key| key.strip_prefix(&prefix)) {
            let zero = self.metadata.float(&format!("{prefix}{key}")) == Some(0.0);
            let off = self.metadata.switch(&format!("{prefix}{key}")) == Some(false);
            if !KNOWN.contains(&key) && !zero && !off {
                return Err(Error::feature(self.path, format!("metadata key {prefix}{key}")));
            }
        }
        Ok(())
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        let full = format!("{}.{key}", self.architecture);
        match self.metadata.get(&full) {
            None => Ok(None),
            Some(Metadatum::Integers(_) | Metadatum::Other(_)) => {
                Err(Error::feature(self.path, format!("{full} that differs between layers")))
            }
            Some(other) => match self.metadata.number(&full).and_then(|number| usize::try_from(number).ok()) {
                Some(number) => Ok(Some(number)),
                None => Err(Error::malformed(self.path, format!("{full} is {other:?}"))),
            },
        }
    }

    fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(key)?
            .ok_or_else(|| Error::malformed(self.path, format!("{}.{key} is missing", self.architecture)))
    }

    fn float(&self, key: &str) -> Result<Option<f64>> {
        let full = format!("{}.{key}", self.architecture);
        match (self.metadata.get(&full), self.metadata.float(&full)) {
            (Some(other), None) => Err(Error::malformed(self.path, format!("{full} is {other:?}"))),
            (_, found) => Ok(found),
        }
    }

    fn rope(&self, divisors: Option<Vec<f32>>, context: usize) -> Result<RopeScaling> {
        let kind = self.metadata.text(&format!("{}.rope.scaling.type", self.architecture)).unwrap_or("none");
        let factor = self.float("rope.scaling.factor")?;
        match (kind, factor, divisors) {
            ("none", None, None) => Ok(RopeScaling::None),
            ("none", None, Some(divisors)) => Ok(RopeScaling::Factors { divisors }),
            ("linear", Some(factor), None) => Ok(RopeScaling::Linear { factor }),
            ("yarn", Some(factor), None) => Ok(RopeScaling::Yarn {
                factor,
                original_max_position_embeddings: self
                    .optional_size("rope.scaling.original_context_length")?
                    .unwrap_or(context),
                attention_factor: self.float("rope.scaling.attn_factor")?,
                beta_fast: self.float("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                beta_slow: self.float("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
                mscale: None,
                mscale_all_dim: None,
                truncate: true,
            }),
            (kind, factor, divisors) => {
                let own = if divisors.is_some() { " beside rope_freqs.weight" } else { "" };
                Err(Error::feature(self.path, format!("rope.scaling.type \"{kind}\" with factor {factor:?}{own}")))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use Metadatum::{F32, Integers, Text, Unsigned};

    fn smollm2(extra: &[(&'static str, Metadatum)]) -> Result<ModelConfig> {
        let mut values = vec![
            ("general.architecture", Text("llama".into())),
            ("llama.block_count", Unsigned(30)),
            ("llama.context_length", Unsigned(8192)),
            ("llama.embedding_length", Unsigned(576)),
            ("llama.feed_forward_length", Unsigned(1536)),
            ("llama.attention.head_count", Unsigned(9)),
            ("llama.attention.head_count_kv", Unsigned(3)),
            ("llama.rope.freq_base", F32(100_000.0)),
            ("llama.rope.dimension_count", Unsigned(64)),
            ("llama.attention.layer_norm_rms_epsilon", F32(1e-5)),
        ];
        values.extend(extra.iter().cloned());
        let facts = TensorFacts { vocab_size: 49152, tied: true, rope_divisors: None };
        ModelConfig::from_gguf(&Metadata::of(values), facts, Path::new("m.gguf"))
    }

    #[test]
    fn gguf_and_hugging_face_files_give_the_same_configuration() {
        let mut other = crate::config::tests::smollm2();
        other.bos_token_id = None;
        other.eos_token_ids = Vec::new();
        assert_eq!(smollm2(&[]).unwrap(), other);
    }

    #[test]
    fn features_that_are_not_computed_are_refused_by_name() {
        for (extra, name) in [
            (("general.architecture", Text("gemma3".into())), "gemma3"),
            (("llama.expert_count", Unsigned(8)), "llama.expert_count"),
            (("llama.rope.dimension_count", Unsigned(32)), "rope.dimension_count"),
            (("llama.attention.head_count_kv", Integers(vec![3, 1])), "differs between layers"),
            (("llama.rope.scaling.type", Text("longrope".into())), "longrope"),
            (("llama.attention.sliding_window", Unsigned(100)), "sliding_window"),
            (("split.count", Unsigned(3)), "several files"),
        ] {
            let message = smollm2(&[extra]).unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
        }
    }

    #[test]
    fn a_missing_size_is_named() {
        let message = smollm2(&[("llama.block_count", Text("x".into()))]).unwrap_err().to_string();
        assert!(message.contains("llama.block_count"), "{message}");
    }
}

//! THE list of architectures, and everything in which two of them can differ.
//! Owns the names and the facts; knows no file format beyond those names, no tensor and no arithmetic of layers.

use std::fmt;

use crate::error::{Error, Result};

pub mod llama;
pub mod mistral;
pub mod qwen2;
pub mod qwen3;

/// Every architecture that the engine computes, in the order in which they are listed to users.
pub static ALL: &[&Architecture] = &[&llama::LLAMA, &mistral::MISTRAL, &qwen2::QWEN2, &qwen3::QWEN3];

/// What is special about one architecture. All of them are decoders with RMS norms before attention and MLP, rotary
/// embeddings on whole heads, grouped queries and a gated SiLU; what is not said here, they share.
///
/// It compares, prints and serialises as its name.
pub struct Architecture {
    /// The `model_type` of a Hugging Face `config.json`, which is also the name of the file that owns it here.
    pub model_type: &'static str,
    /// Biases on the q, k and v projections.
    pub qkv_bias: bool,
    /// RMS norms on each head of q and k, before the rotary embedding.
    pub qk_norm: bool,
    /// What an absent key means.
    pub defaults: Defaults,
    /// Which layers reach back only so far.
    pub window: WindowRule,
    /// How GGUF writes it.
    pub gguf: Gguf,
}

/// What transformers assumes for keys that a `config.json` leaves out. Field names are those of Hugging Face.
pub struct Defaults {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the gated MLP.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; `None` is as many as query heads.
    pub num_key_value_heads: Option<usize>,
    /// Width of one head; `None` is `hidden_size` shared out among the query heads.
    pub head_dim: Option<usize>,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Longest sequence.
    pub max_position_embeddings: usize,
    /// ε of the RMS norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary embedding.
    pub rope_theta: f64,
    /// The head is the embedding.
    pub tie_word_embeddings: bool,
    /// Start of sequence.
    pub bos_token_id: Option<u32>,
    /// End of sequence.
    pub eos_token_id: Option<u32>,
}

/// How the keys of a `config.json` say which layers attend within a sliding window.
/// Whatever they say, the engine computes one window for all layers or none.
pub enum WindowRule {
    /// There is no window: a file that gives one asks for something else than this architecture.
    Never,
    /// Every layer has the window of `sliding_window`, unless that is `null`.
    EveryLayer {
        /// The window where the key is absent.
        sliding_window: usize,
    },
    /// Layers have the window from number `max_window_layers` on, and only if `use_sliding_window` says so.
    Switched {
        /// The window where it is switched on and the key gives none.
        sliding_window: usize,
        /// The first layer with a window, where the key is absent.
        max_window_layers: usize,
    },
}

/// How GGUF files name and store an architecture.
pub struct Gguf {
    /// The value of `general.architecture`. Where two architectures share one, a file is read as the first of [`ALL`].
    pub architecture: &'static str,
    /// The converter stores the rows of q and k with the two halves of each head interleaved.
    pub interleaved_heads: bool,
}

/// Looks up a `model_type` of Hugging Face.
pub fn find(name: &str) -> Result<&'static Architecture> {
    ALL.iter().copied().find(|known| known.model_type == name).ok_or_else(|| Error::UnsupportedArchitecture {
        model_type: name.to_string(),
        known: ALL.iter().map(|known| known.model_type).collect::<Vec<_>>().join(", "),
    })
}

/// Looks up a `general.architecture` of GGUF.
pub(crate) fn find_gguf(name: &str) -> Result<&'static Architecture> {
    ALL.iter().copied().find(|known| known.gguf.architecture == name).ok_or_else(|| Error::UnsupportedArchitecture {
        model_type: format!("{name} (GGUF)"),
        known: gguf_names().join(", "),
    })
}

/// The names of GGUF, each with the architectures that it covers besides its own.
fn gguf_names() -> Vec<String> {
    let mut names = Vec::new();
    for (at, known) in ALL.iter().enumerate() {
        let name = known.gguf.architecture;
        let shares_it = |other: &&&Architecture| other.gguf.architecture == name;
        if ALL[..at].iter().any(|earlier| shares_it(&earlier)) {
            continue;
        }
        let others: Vec<_> = ALL[at + 1..].iter().filter(shares_it).map(|other| other.model_type).collect();
        names.push(match others.is_empty() {
            true => name.to_string(),
            false => format!("{name} ({} included)", others.join(", ")),
        });
    }
    names
}

impl PartialEq for Architecture {
    fn eq(&self, other: &Self) -> bool {
        self.model_type == other.model_type
    }
}

impl Eq for Architecture {}

impl fmt::Display for Architecture {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.model_type)
    }
}

impl fmt::Debug for Architecture {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.model_type)
    }
}

impl serde::Serialize for Architecture {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.model_type)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn every_architecture_is_found_by_its_name_and_written_as_it() {
        for known in ALL {
            let found = find(known.model_type).unwrap();
            assert!(std::ptr::eq(found, *known), "{known} is in the list twice");
            assert_eq!(serde_json::to_value(found).unwrap(), known.model_type);
            assert_eq!(format!("{found} {found:?}"), format!("{0} {0}", known.model_type));
        }
    }

    #[test]
    fn an_unknown_architecture_lists_the_known_ones() {
        let message = find("gemma3").unwrap_err().to_string();
        assert!(message.contains("gemma3") && message.contains("llama, mistral, qwen2, qwen3"), "{message}");
        let message = find_gguf("gemma3").unwrap_err().to_string();
        assert!(message.contains("\"gemma3 (GGUF)\""), "{message}");
        assert!(message.ends_with("are llama (mistral included), qwen2, qwen3"), "{message}");
    }

    #[test]
    fn a_name_of_gguf_means_one_way_of_storing() {
        for known in ALL {
            let found = find_gguf(known.gguf.architecture).unwrap();
            assert_eq!(found.gguf.interleaved_heads, known.gguf.interleaved_heads, "{known}");
        }
        assert_eq!(find_gguf("llama").unwrap(), &llama::LLAMA);
    }
}

//! Owns what is special about `mistral`: Mistral 7B and its relatives. Knows no other architecture.
//!
//! It is `llama` with a sliding window in every layer; later checkpoints switch the window off with `null`, and only
//! an absent key means 4096. GGUF has no name of its own for it: the converter writes it as `llama`, with its row order.
//!
//! - Configuration: <https://github.com/huggingface/transformers/blob/main/src/transformers/models/mistral/configuration_mistral.py>
//! - GGUF: the names registered for `LlamaModel` in <https://github.com/ggml-org/llama.cpp/blob/master/convert_hf_to_gguf.py>

use super::{Architecture, Defaults, Gguf, WindowRule};

/// `MistralForCausalLM`.
pub static MISTRAL: Architecture = Architecture {
    model_type: "mistral",
    qkv_bias: false,
    qk_norm: false,
    defaults: Defaults {
        hidden_size: 4096,
        intermediate_size: 14_336,
        num_hidden_layers: 32,
        num_attention_heads: 32,
        num_key_value_heads: Some(8),
        head_dim: None,
        vocab_size: 32_000,
        max_position_embeddings: 131_072,
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
        tie_word_embeddings: false,
        bos_token_id: Some(1),
        eos_token_id: Some(2),
    },
    window: WindowRule::EveryLayer { sliding_window: 4096 },
    gguf: Gguf { architecture: "llama", interleaved_heads: true },
};

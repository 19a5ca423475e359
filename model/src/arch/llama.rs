//! Owns what is special about `llama`: Llama 2 and 3, SmolLM2 and their relatives. Knows no other architecture.
//!
//! It is the plain form: no biases, no norms on heads, no window. Its converter to GGUF reorders the rows of q and k.
//!
//! - Configuration: <https://github.com/huggingface/transformers/blob/main/src/transformers/models/llama/configuration_llama.py>
//! - GGUF: `LlamaModel.permute` in <https://github.com/ggml-org/llama.cpp/blob/master/convert_hf_to_gguf.py>

use super::{Architecture, Defaults, Gguf, WindowRule};

/// `LlamaForCausalLM`.
pub static LLAMA: Architecture = Architecture {
    model_type: "llama",
    qkv_bias: false,
    qk_norm: false,
    defaults: Defaults {
        hidden_size: 4096,
        intermediate_size: 11_008,
        num_hidden_layers: 32,
        num_attention_heads: 32,
        num_key_value_heads: None,
        head_dim: None,
        vocab_size: 32_000,
        max_position_embeddings: 2048,
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
        tie_word_embeddings: false,
        bos_token_id: Some(1),
        eos_token_id: Some(2),
    },
    window: WindowRule::Never,
    gguf: Gguf { architecture: "llama", interleaved_heads: true },
};

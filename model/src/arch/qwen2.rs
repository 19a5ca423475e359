//! Owns what is special about `qwen2`: Qwen 2 and 2.5. Knows no other architecture.
//!
//! The projections of q, k and v have biases, which no key of the configuration says: they are part of the
//! architecture. A `sliding_window` stands in most files and means nothing unless `use_sliding_window` is true.
//! Without a key there is neither a start nor an end token.
//!
//! - Configuration: <https://github.com/huggingface/transformers/blob/main/src/transformers/models/qwen2/configuration_qwen2.py>
//! - Biases: `Qwen2Attention` in <https://github.com/huggingface/transformers/blob/main/src/transformers/models/qwen2/modeling_qwen2.py>

use super::{Architecture, Defaults, Gguf, WindowRule};

/// `Qwen2ForCausalLM`.
pub static QWEN2: Architecture = Architecture {
    model_type: "qwen2",
    qkv_bias: true,
    qk_norm: false,
    defaults: Defaults {
        hidden_size: 4096,
        intermediate_size: 22_016,
        num_hidden_layers: 32,
        num_attention_heads: 32,
        num_key_value_heads: Some(32),
        head_dim: None,
        vocab_size: 151_936,
        max_position_embeddings: 32_768,
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
        tie_word_embeddings: false,
        bos_token_id: None,
        eos_token_id: None,
    },
    window: WindowRule::Switched { sliding_window: 4096, max_window_layers: 28 },
    gguf: Gguf { architecture: "qwen2", interleaved_heads: false },
};

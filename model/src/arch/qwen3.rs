//! Owns what is special about `qwen3`: the dense models of Qwen 3. Knows no other architecture.
//!
//! Each head of q and k passes an RMS norm before the rotary embedding, with one weight for all heads; the biases of
//! Qwen 2 are gone. Heads are 128 wide whatever the hidden size, so q may be wider than the residual stream.
//! The window is switched as in Qwen 2. Without a key there is neither a start nor an end token.
//!
//! - Configuration: <https://github.com/huggingface/transformers/blob/main/src/transformers/models/qwen3/configuration_qwen3.py>
//! - Norms: `Qwen3Attention` in <https://github.com/huggingface/transformers/blob/main/src/transformers/models/qwen3/modeling_qwen3.py>

use super::{Architecture, Defaults, Gguf, WindowRule};

/// `Qwen3ForCausalLM`.
pub static QWEN3: Architecture = Architecture {
    model_type: "qwen3",
    qkv_bias: false,
    qk_norm: true,
    defaults: Defaults {
        hidden_size: 4096,
        intermediate_size: 22_016,
        num_hidden_layers: 32,
        num_attention_heads: 32,
        num_key_value_heads: Some(32),
        head_dim: Some(128),
        vocab_size: 151_936,
        max_position_embeddings: 32_768,
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
        tie_word_embeddings: false,
        bos_token_id: None,
        eos_token_id: None,
    },
    window: WindowRule::Switched { sliding_window: 4096, max_window_layers: 28 },
    gguf: Gguf { architecture: "qwen3", interleaved_heads: false },
};

//! Owns the sentences on what llama.cpp computes otherwise from a GGUF file than this program from the base, and what to
//! do about it. Knows the habits of llama.cpp; writes no file. `tests/golden/llama_cpp.py` asks llama.cpp whether they hold.

use crate::config::{ModelConfig, RopeScaling};
use crate::tokenizer::Tokenizer;

/// With what llama.cpp computes YaRN for the architectures that are written here, whatever a file says.
const LLAMA_CPP_BETAS: (f64, f64) = (32.0, 1.0);

/// What holds for a base and for every adapter beside it.
pub(super) fn of_base(config: &ModelConfig, tokenizer: &Tokenizer) -> Vec<String> {
    betas(config).into_iter().chain(normal_form(tokenizer)).collect()
}

/// The sliding window of a base that llama.cpp would attend beyond, where the context is longer.
pub(super) fn window(config: &ModelConfig) -> Option<usize> {
    config.sliding_window.filter(|window| *window < config.max_position_embeddings)
}

fn betas(config: &ModelConfig) -> Option<String> {
    let RopeScaling::Yarn { beta_fast, beta_slow, .. } = &config.rope_scaling else { return None };
    let (theirs_fast, theirs_slow) = LLAMA_CPP_BETAS;
    ((*beta_fast, *beta_slow) != LLAMA_CPP_BETAS).then(|| {
        format!(
            "YaRN has beta_fast = {beta_fast} and beta_slow = {beta_slow} here; llama.cpp reads them for other \
             architectures only and computes with {theirs_fast} and {theirs_slow}, so its answers differ unless it is \
             started with --yarn-beta-fast {beta_fast} --yarn-beta-slow {beta_slow}; --format safetensors keeps them"
        )
    })
}

fn normal_form(tokenizer: &Tokenizer) -> Option<String> {
    tokenizer.normal_form().map(|form| {
        format!(
            "the tokenizer brings text into Unicode form {form} first, llama.cpp does not: text with letters composed \
             otherwise is cut into other tokens there, so give it in that form"
        )
    })
}

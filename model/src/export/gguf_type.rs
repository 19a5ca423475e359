//! Owns which number format each tensor of a GGUF file gets, by the rules of llama.cpp's `llama-quantize` and
//! `convert_hf_to_gguf`. Knows names and shapes; knows no values.
//!
//! Rules: `llama_tensor_get_type_impl` and `tensor_type_fallback` in
//! <https://github.com/ggml-org/llama.cpp/blob/master/src/llama-quant.cpp>, without an importance matrix.

use std::fmt;
use std::str::FromStr;

use crate::checkpoint::gguf_blocks::BlockType;
use crate::config::ModelConfig;

/// The mixture of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GgufType {
    /// Matrices in half precision.
    F16,
    /// Matrices in bfloat16.
    BF16,
    /// 8 bits and one scale for 32 weights.
    Q8_0,
    /// 4 bits and one scale for 32 weights; the head in Q6_K.
    Q4_0,
    /// 4 bits in blocks of 256, with Q6_K where errors show most: head, half of the values and of the MLP's last matrix.
    Q4KM,
}

const ALL: [GgufType; 5] = [GgufType::F16, GgufType::BF16, GgufType::Q8_0, GgufType::Q4_0, GgufType::Q4KM];

impl GgufType {
    /// The code that `general.file_type` has for it.
    pub(super) fn file_type(self) -> u32 {
        self.entry().1
    }

    /// Whether weights are rounded to blocks.
    pub(super) fn is_quantised(self) -> bool {
        !matches!(self, GgufType::F16 | GgufType::BF16)
    }

    /// The format of a tensor by its GGUF name.
    pub(super) fn of_tensor(self, name: &str, shape: &[usize], config: &ModelConfig) -> BlockType {
        let (&[_, columns], true) = (shape, name.ends_with(".weight")) else { return BlockType::F32 };
        if name.ends_with("_norm.weight") {
            return BlockType::F32;
        }
        let ordinary = self.entry().2;
        if !self.is_quantised() {
            return ordinary;
        }
        let is_head = name == "output.weight" || (config.tie_word_embeddings && name == "token_embd.weight");
        let wanted = if is_head {
            match ordinary {
                _ if columns % ordinary.weights() != 0 => BlockType::Q8_0,
                BlockType::Q8_0 => BlockType::Q8_0,
                _ => BlockType::Q6K,
            }
        } else if self == GgufType::Q4KM {
            q4_k_m(name, config)
        } else {
            ordinary
        };
        fallback(wanted, columns)
    }

    /// Name on the command line, code of `general.file_type`, and the format of an ordinary matrix.
    fn entry(self) -> (&'static str, u32, BlockType) {
        match self {
            GgufType::F16 => ("f16", 1, BlockType::F16),
            GgufType::BF16 => ("bf16", 32, BlockType::BF16),
            GgufType::Q8_0 => ("q8_0", 7, BlockType::Q8_0),
            GgufType::Q4_0 => ("q4_0", 2, BlockType::Q4_0),
            GgufType::Q4KM => ("q4_k_m", 15, BlockType::Q4K),
        }
    }
}

/// Values and the MLP's last matrix of every third layer, and of the first and last eighth, get more bits.
fn q4_k_m(name: &str, config: &ModelConfig) -> BlockType {
    let layer = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    let layers = config.num_hidden_layers;
    let eighth = layers / 8;
    let between = eighth..7 * layers / 8;
    let more = |layer: usize| !between.contains(&layer) || (layer - eighth) % 3 == 2;
    let part = name.rsplit('.').nth(1).unwrap_or_default();
    match (part, layer.is_some_and(more)) {
        ("attn_v" | "ffn_down", true) => BlockType::Q6K,
        // llama.cpp calls every model of 80 layers a 70B one, whose few value heads are cheap to keep.
        ("attn_v", false) if layers == 80 => BlockType::Q5K,
        _ => BlockType::Q4K,
    }
}

/// What a row that is no multiple of the block gets instead.
fn fallback(wanted: BlockType, columns: usize) -> BlockType {
    let fits = |format: BlockType| columns.is_multiple_of(format.weights());
    let smaller = match wanted {
        _ if fits(wanted) => wanted,
        BlockType::Q4K => BlockType::Q5_0,
        // llama.cpp takes Q5_1 for Q5_K, which nothing else here uses; no model of 80 layers has such rows.
        _ => BlockType::Q8_0,
    };
    if fits(smaller) { smaller } else { BlockType::F16 }
}

impl fmt::Display for GgufType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.entry().0)
    }
}

impl FromStr for GgufType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = ALL.into_iter().find(|kind| kind.entry().0.eq_ignore_ascii_case(text));
        found.ok_or_else(|| format!("\"{text}\" is none of {}", ALL.map(|kind| kind.entry().0).join(", ")))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::tests::smollm2;

    #[test]
    fn every_mixture_is_in_the_table_under_its_own_name() {
        for kind in ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let names: std::collections::BTreeSet<String> = ALL.iter().map(GgufType::to_string).collect();
        assert_eq!(names.len(), ALL.len());
        assert!("q4".parse::<GgufType>().unwrap_err().contains("q4_k_m"));
    }

    // The shape of Llama-3-8B, for which llama.cpp's own files list these formats.
    #[test]
    fn the_medium_mixture_is_that_of_llama_cpp() {
        let mut config = smollm2();
        (config.num_hidden_layers, config.tie_word_embeddings) = (32, false);
        let of = |name: &str| GgufType::Q4KM.of_tensor(name, &[4096, 4096], &config);
        assert_eq!([of("output.weight"), of("token_embd.weight")], [BlockType::Q6K, BlockType::Q4K]);
        let more: Vec<usize> =
            (0..32).filter(|layer| of(&format!("blk.{layer}.ffn_down.weight")) == BlockType::Q6K).collect();
        assert_eq!(more, [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]);
        assert_eq!(of("blk.0.attn_v.weight"), BlockType::Q6K);
        assert_eq!(of("blk.0.attn_output.weight"), BlockType::Q4K);
        assert_eq!(GgufType::Q4KM.of_tensor("blk.0.attn_norm.weight", &[4096], &config), BlockType::F32);
        config.num_hidden_layers = 80;
        let of = |name: &str| GgufType::Q4KM.of_tensor(name, &[4096, 4096], &config);
        assert_eq!(of("blk.10.attn_v.weight"), BlockType::Q5K);
    }

    #[test]
    fn rows_that_no_block_divides_fall_back_as_in_llama_cpp() {
        let config = smollm2();
        let of = |kind: GgufType, name: &str, columns: usize| kind.of_tensor(name, &[8, columns], &config);
        assert_eq!(of(GgufType::Q4KM, "blk.7.attn_q.weight", 576), BlockType::Q5_0);
        assert_eq!(of(GgufType::Q4KM, "token_embd.weight", 576), BlockType::Q8_0);
        assert_eq!(of(GgufType::Q4_0, "token_embd.weight", 576), BlockType::Q8_0);
        assert_eq!(of(GgufType::Q8_0, "blk.7.attn_q.weight", 38), BlockType::F16);
        assert_eq!(of(GgufType::F16, "blk.7.attn_q.bias", 38), BlockType::F32);
    }
}

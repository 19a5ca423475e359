//! vLLM. Sources: `vllm/lora/peft_helper.py` (what it refuses), `vllm/config/lora.py` (ranks) and
//! `vllm/lora/lora_model.py` (modules) of <https://github.com/vllm-project/vllm>.

use super::{Facts, Judgement, MERGE, MERGE_WITH_PEFT, Reader};

/// The vLLM server.
pub(super) struct Vllm;

/// Values that `--max-lora-rank` takes.
const RANKS: [u64; 9] = [1, 8, 16, 32, 64, 128, 256, 320, 512];
/// What it allows where nothing is typed.
const DEFAULT_RANK: u64 = 16;
/// Linears of the architectures here that it can adapt, and the two ends of a model.
const MODULES: [&str; 9] =
    ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "embed_tokens", "lm_head"];

/// The least of them that an adapter of this rank needs; none where it takes no such rank.
pub(super) fn allowed_rank(rank: u64) -> Option<u64> {
    RANKS.into_iter().find(|allowed| *allowed >= rank)
}

impl Reader for Vllm {
    fn name(&self) -> &'static str {
        "vLLM"
    }

    fn judge(&self, facts: &Facts) -> Judgement {
        let mut judgement = Judgement::default();
        // It reads `r` and `lora_alpha` alone, and scales every module by them.
        let settings = ["modules_to_save", "use_dora", "lora_bias", "alpha_pattern", "rank_pattern"];
        judgement.refuse_settings(facts, &settings);
        judgement.refuse_methods(facts, &[]);
        judgement.refuse_all_but_lora(facts);
        if let Some(bias) = facts.bias() {
            judgement.refuse_if(
                true,
                format!("bias = \"{bias}\": it takes no trained biases"),
                "train with bias = \"none\"",
            );
        }
        for key in ["r", "lora_alpha", "target_modules"] {
            judgement.refuse_if(
                facts.config.get(key).is_none(),
                format!("{key} is missing"),
                format!("write {key} into adapter_config.json"),
            );
        }
        judgement.refuse_without_weights(facts);
        let strange: Vec<String> =
            facts.leaves().into_iter().filter(|leaf| !MODULES.contains(&leaf.as_str())).collect();
        judgement.refuse_if(!strange.is_empty(), format!("it adapts no {}", strange.join(", ")), MERGE_WITH_PEFT);
        judgement.refuse_tensor(facts.others().first().copied(), "is no part of a low-rank pair");
        judgement.refuse_changed_base(facts);
        let Some(rank) = facts.largest_rank() else { return judgement };
        let allowed = allowed_rank(rank);
        judgement.refuse_if(allowed.is_none(), format!("rank {rank} is above {}", RANKS[RANKS.len() - 1]), MERGE);
        if let Some(allowed) = allowed {
            let option = if allowed > DEFAULT_RANK { format!(" --max-lora-rank {allowed}") } else { String::new() };
            judgement.how =
                format!("vllm serve BASE --enable-lora --lora-modules NAME={}{option}", facts.folder.display());
        }
        judgement
    }
}

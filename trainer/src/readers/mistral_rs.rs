//! mistral.rs. Sources: `mistralrs-quant/src/lora/mod.rs` (`validate_dynamic`) and `dynamic/loader.rs` of
//! <https://github.com/EricLBuehler/mistral.rs>, as of 2026. Versions before that scaled rsLoRA wrongly.

use super::{Facts, Judgement, MERGE_WITH_PEFT, Reader};

/// The mistral.rs server.
pub(super) struct MistralRs;

/// Settings that it refuses by name.
const REFUSED: [&str; 9] = [
    "use_dora",
    "lora_bias",
    "modules_to_save",
    "alora_invocation_tokens",
    "use_qalora",
    "layer_replication",
    "ensure_weight_tying",
    "trainable_token_indices",
    "megatron_config",
];

impl Reader for MistralRs {
    fn name(&self) -> &'static str {
        "mistral.rs"
    }

    fn judge(&self, facts: &Facts) -> Judgement {
        let mut judgement = Judgement {
            how: format!("mistralrs serve -m BASE --lora {}", facts.folder.display()),
            ..Judgement::default()
        };
        judgement.refuse_settings(facts, &REFUSED);
        judgement.refuse_methods(facts, &REFUSED);
        judgement.refuse_all_but_lora(facts);
        if let Some(bias) = facts.bias() {
            judgement.refuse_if(
                true,
                format!("bias = \"{bias}\": it takes no trained biases"),
                "train with bias = \"none\"",
            );
        }
        judgement.refuse_if(facts.rank().is_none(), "r is missing or 0", "write r into adapter_config.json");
        judgement.refuse_without_alpha(facts);
        judgement.refuse_if(
            facts.tensors.is_empty(),
            "there is no adapter_model.safetensors",
            "fetch the adapter again, not as a pickle",
        );
        let ends: Vec<String> =
            facts.leaves().into_iter().filter(|leaf| ["lm_head", "embed_tokens"].contains(&leaf.as_str())).collect();
        judgement.refuse_if(!ends.is_empty(), format!("it adapts no {}", ends.join(", ")), MERGE_WITH_PEFT);
        let why = "belongs to no linear, and it refuses what it cannot use";
        judgement.refuse_tensor(facts.others().first().copied(), why);
        judgement.refuse_foreign_modules(facts);
        judgement.refuse_changed_base(facts);
        if facts.is_set("use_rslora") {
            judgement
                .notes
                .push("use_rslora needs a version of 2026 or later: older ones scale by lora_alpha / r".to_owned());
        }
        judgement
    }
}

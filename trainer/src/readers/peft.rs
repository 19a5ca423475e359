//! PEFT, which defines the format. Source: `PeftModel.from_pretrained` and `load_peft_weights` of
//! <https://github.com/huggingface/peft>, version 0.21.

use model::adapter::Contradiction;

use super::{Facts, Judgement, Reader};

/// Hugging Face PEFT on transformers.
pub(super) struct Peft;

impl Reader for Peft {
    fn name(&self) -> &'static str {
        "PEFT"
    }

    fn judge(&self, facts: &Facts) -> Judgement {
        let mut judgement = Judgement {
            how: format!("PeftModel.from_pretrained(base, \"{}\")", facts.folder.display()),
            ..Judgement::default()
        };
        judgement.refuse_if(
            facts.text("peft_type").is_none(),
            "peft_type is missing",
            "write \"peft_type\": \"LORA\" into adapter_config.json",
        );
        judgement.refuse_without_weights(facts);
        // AdaLoRA has an A and a B of the same names.
        if let Some(method) = facts.other_method().filter(|method| *method != "ADALORA")
            && let Some(name) = facts.tensors.keys().find(|name| name.contains(".lora_A."))
        {
            judgement.refuse_if(
                true,
                format!("peft_type = \"{method}\", and {name} is of LoRA, so PEFT leaves it out without an error"),
                "fetch both files of the adapter again, from where they are from",
            );
        }
        judgement.refuse_misfits(facts, &[Contradiction::Rank, Contradiction::Alone, Contradiction::Untargeted]);
        if facts.alpha_is_zero() {
            judgement.notes.push(super::ALPHA_IS_ZERO.to_owned());
        }
        judgement.refuse_if(
            facts.config.get("target_modules").is_none_or(serde_json::Value::is_null),
            "target_modules is missing",
            "list the adapted modules in adapter_config.json",
        );
        if let Some(name) = facts.without_prefix() {
            judgement.refuse_if(
                true,
                format!("tensor {name} lacks the prefix base_model.model., so PEFT leaves it out without an error"),
                "save the adapter with PEFT or with trainer",
            );
        }
        if let Some(name) = facts.tensors.keys().find(|name| is_misnamed(name)) {
            judgement.refuse_if(
                true,
                format!("tensor {name} is not named as PEFT names A and B, so PEFT leaves it out without an error"),
                "save the adapter with PEFT or with trainer",
            );
        }
        if let Some(module) = facts.beyond_the_base() {
            judgement.refuse_if(
                true,
                format!("{module} is not in the base"),
                "name the right base in base_model_name_or_path",
            );
        }
        if let Some(start) = facts.changed_base() {
            judgement.notes.push(format!(
                "init_lora_weights = \"{start}\" changes the base too: it only fits the base it was made with"
            ));
        }
        judgement
    }
}

/// Whether a tensor of A and B has another name than those that PEFT writes, which are without the name of the adapter and
/// with one prefix.
fn is_misnamed(name: &str) -> bool {
    let ends = [".lora_A.", ".lora_B."].iter().find_map(|part| name.split_once(part));
    ends.is_some_and(|(module, end)| {
        !matches!(end, "weight" | "bias") || module.starts_with("base_model.model.base_model.model.")
    })
}

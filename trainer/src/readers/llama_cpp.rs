//! llama.cpp, through its converter. Sources: `convert_lora_to_gguf.py` (what it takes) and `src/llama-adapter.cpp` (what
//! it loads) of <https://github.com/ggml-org/llama.cpp>.

use super::{Facts, Judgement, Reader};

/// aLoRA, which its converter and its server know, and the export of this program does not.
const ALORA: &str = "alora_invocation_tokens";

/// llama.cpp and what is built on it, such as Ollama.
pub(super) struct LlamaCpp;

impl Reader for LlamaCpp {
    fn name(&self) -> &'static str {
        "llama.cpp"
    }

    fn judge(&self, facts: &Facts) -> Judgement {
        let mut judgement = Judgement {
            how: "trainer export ADAPTER --type lora --out adapter.gguf, then llama-server -m BASE.gguf --lora adapter.gguf".to_owned(),
            ..Judgement::default()
        };
        let settings = ["use_dora", "modules_to_save", "alpha_pattern", "rank_pattern", "lora_bias"];
        judgement.refuse_settings(facts, &settings);
        judgement.refuse_methods(facts, &[ALORA]);
        judgement.refuse_all_but_lora(facts);
        if facts.alpha_is_zero() {
            judgement.notes.clear();
            let what = "lora_alpha = 0: it reads that as no scale at all, and adds B A as it is";
            judgement.refuse_if(true, what, "leave the adapter out: scaled by 0 it changes nothing");
        }
        let exports = facts.is_computed_here();
        if !exports {
            let writes = if facts.is_set(ALORA) { ", which writes the invocation tokens" } else { "" };
            judgement.how = format!(
                "convert_lora_to_gguf.py --base BASE --outfile adapter.gguf ADAPTER{writes}, then llama-server -m BASE.gguf \
                 --lora adapter.gguf"
            );
        }
        if let Some(bias) = facts.bias() {
            let what = format!("bias = \"{bias}\": only A and B are converted");
            judgement.refuse_if(true, what, "train with bias = \"none\"");
        }
        judgement.refuse_without_alpha(facts);
        judgement.refuse_without_weights(facts);
        let is_norm = |name: &&str| name.contains("_layernorm") || name.contains(".norm");
        let other = facts.others().into_iter().find(|name| !is_norm(name));
        judgement.refuse_tensor(other, "is neither A nor B, and the converter takes no other");
        let tied_head = facts.base.as_ref().is_some_and(|base| base.tie_word_embeddings)
            && facts.leaves().iter().any(|leaf| leaf == "lm_head");
        judgement.refuse_if(
            tied_head,
            "lm_head is adapted, and the base has no head of its own (tied)",
            "train without lm_head",
        );
        judgement.refuse_foreign_modules(facts);
        judgement.refuse_changed_base(facts);
        if facts.is_set("use_rslora") && !exports {
            let what = "use_rslora: convert_lora_to_gguf.py writes lora_alpha as it is, and llama.cpp then scales by \
                        lora_alpha / r";
            judgement.refuse_if(true, what, "write lora_alpha * sqrt(r) as lora_alpha, and use_rslora = false");
        } else if facts.is_set("use_rslora") {
            judgement.notes.push(
                "use_rslora: use trainer export; convert_lora_to_gguf.py writes lora_alpha as it is, and llama.cpp then \
                 scales by lora_alpha / r"
                    .to_owned(),
            );
        }
        judgement
    }
}

//! llama.cpp, through its converter. Sources: `convert_lora_to_gguf.py` (what it takes) and `src/llama-adapter.cpp` (what
//! it loads) of <https://github.com/ggml-org/llama.cpp>.

use super::{Facts, Judgement, Reader};

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
        let merged = "trainer export ADAPTER --type q8_0 --out model.gguf writes the merged model instead";
        judgement.refuse_settings(
            facts,
            &["use_dora", "modules_to_save", "alpha_pattern", "rank_pattern", "lora_bias"],
            merged,
        );
        if let Some(bias) = facts.bias() {
            judgement.refuse_if(true, format!("bias = \"{bias}\": only A and B are converted"), merged);
        }
        judgement.refuse_without_alpha(facts);
        judgement.refuse_without_weights(facts);
        let is_norm = |name: &&str| name.contains("_layernorm") || name.contains(".norm");
        if let Some(name) = facts.others().into_iter().find(|name| !is_norm(name)) {
            judgement.refuse_if(true, format!("tensor {name}: the converter takes A and B alone"), merged);
        }
        let tied_head = facts.base.as_ref().is_some_and(|base| base.tie_word_embeddings)
            && facts.leaves().iter().any(|leaf| leaf == "lm_head");
        judgement.refuse_if(
            tied_head,
            "lm_head is adapted, and the base has no head of its own (tied)",
            "train without lm_head",
        );
        judgement.refuse_foreign_modules(facts);
        judgement.refuse_changed_base(facts);
        if facts.is_set("use_rslora") {
            judgement.notes.push(
                "use_rslora: use trainer export; convert_lora_to_gguf.py writes lora_alpha as it is, and llama.cpp then \
                 scales by lora_alpha / r"
                    .to_owned(),
            );
        }
        judgement
    }
}

//! Would it load? THE list of programs that read adapters, each with its own rules. Owns the questions and the form of
//! the answers; what an adapter is lies in `facts`. Knows no network and loads no weights.
//!
//! Rules were read in the sources of each program, as named in its file; a newer version may take more.

use model::adapter::{self, Contradiction, MERGE_WITH_PEFT};

mod facts;
mod llama_cpp;
mod mistral_rs;
mod own;
mod peft;
mod vllm;

pub use facts::Facts;

/// What `--max-lora-rank` of vLLM must be for an adapter of this rank; none where vLLM takes no such rank.
#[must_use]
pub fn vllm_rank(rank: u64) -> Option<u64> {
    vllm::allowed_rank(rank)
}

/// A program that reads adapters.
pub trait Reader: Sync {
    /// Its name, as its users write it.
    fn name(&self) -> &'static str;

    /// Whether it would load the adapter and compute what was trained.
    fn judge(&self, facts: &Facts) -> Judgement;
}

/// Every reader, in the order in which they are told.
pub const ALL: [&dyn Reader; 5] =
    [&peft::Peft, &vllm::Vllm, &mistral_rs::MistralRs, &llama_cpp::LlamaCpp, &own::Trainer];

/// What to do where this program computes an adapter that a reader does not.
const MERGE: &str = "merge it: trainer merge ADAPTER --out DIR, and serve the folder";

/// What is to know of an adapter that is scaled by nothing.
const ALPHA_IS_ZERO: &str = "lora_alpha = 0: it changes nothing of the base";

/// Settings of PEFT that change what A and B mean, or adapt more than linears.
const METHODS: [&str; 9] = [
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "megatron_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
];

/// What a reader would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Why it would not load, or would compute something else; none means that it loads.
    pub against: Vec<Reason>,
    /// What to type to load it.
    pub how: String,
    /// What else to know.
    pub notes: Vec<String>,
}

/// Why not, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What the reader refuses.
    pub what: String,
    /// What to do about it.
    pub hint: String,
}

impl Judgement {
    /// Whether it loads.
    #[must_use]
    pub fn loads(&self) -> bool {
        self.against.is_empty()
    }

    /// Adds a reason if it holds.
    fn refuse_if(&mut self, holds: bool, what: impl Into<String>, hint: impl Into<String>) {
        if holds {
            self.against.push(Reason { what: what.into(), hint: hint.into() });
        }
    }

    /// Refuses an adapter whose training changed its base.
    fn refuse_changed_base(&mut self, facts: &Facts) {
        if let Some(start) = facts.changed_base() {
            let what = format!("init_lora_weights = \"{start}\": the adapter only fits a base that was changed");
            self.refuse_if(true, what, "convert it with PEFT's path_initial_model_for_weight_conversion");
        }
    }

    /// Refuses modules that the base does not have.
    fn refuse_foreign_modules(&mut self, facts: &Facts) {
        if let Some(module) = facts.beyond_the_base() {
            self.refuse_if(true, format!("{module} is not in the base"), "name the right base");
        }
    }

    /// Refuses another method than LoRA, and tensors that the settings speak against: which of the two was trained is not
    /// known, so what is computed need not be it.
    fn refuse_all_but_lora(&mut self, facts: &Facts) {
        if let Some(method) = facts.other_method() {
            let what = format!("peft_type = \"{method}\": it reads LoRA alone");
            self.refuse_if(
                true,
                what,
                "use an adapter of LoRA, or what PEFT makes of this one with merge_and_unload()",
            );
        }
        self.refuse_misfits(facts, &[Contradiction::Rank, Contradiction::Alone]);
        if facts.alpha_is_zero() {
            self.notes.push(ALPHA_IS_ZERO.to_owned());
        }
    }

    /// A reason for each contradiction of these kinds.
    fn refuse_misfits(&mut self, facts: &Facts, kinds: &[Contradiction]) {
        for misfit in facts.misfits(kinds) {
            self.refuse_if(true, misfit.what, misfit.way_out);
        }
    }

    /// Refuses a config without its scale.
    fn refuse_without_alpha(&mut self, facts: &Facts) {
        let missing = facts.config.get("lora_alpha").is_none();
        self.refuse_if(missing, "lora_alpha is missing", "write lora_alpha into adapter_config.json");
    }

    /// Refuses a folder without weights, or without a number to scale them by.
    fn refuse_without_weights(&mut self, facts: &Facts) {
        let missing = facts.tensors.is_empty() && !facts.pickle;
        self.refuse_if(missing, "there is no adapter_model.safetensors, or no tensor in it", "fetch the adapter again");
        // Whoever scales by it computes with it.
        let scale = facts.config.get("lora_alpha").filter(|alpha| !alpha.is_null() && !alpha.is_number());
        self.refuse_if(scale.is_some(), "lora_alpha is no number", "write the number without quotes");
    }

    /// A reason for each of these settings that a reader has no form for. What this program does not compute either has a
    /// way out of its own.
    fn refuse_settings(&mut self, facts: &Facts, keys: &[&str]) {
        let refusals = adapter::refusals(&facts.config);
        for key in keys.iter().filter(|key| facts.is_set(key)) {
            let own = refusals.iter().find(|refusal| refusal.key == **key);
            let hint = own.map_or(MERGE, |refusal| refusal.way_out);
            self.refuse_if(true, format!("{key} = {}", facts.shown(key)), hint);
        }
    }

    /// A reason for each method of PEFT that a reader of A and B does not look for, and computes as if it were not there.
    /// `known` are those that it looks for.
    fn refuse_methods(&mut self, facts: &Facts, known: &[&str]) {
        for refusal in adapter::refusals(&facts.config) {
            let key = refusal.key.as_str();
            let holds = METHODS.contains(&key) && !known.contains(&key);
            self.refuse_if(holds, refusal.what, refusal.way_out);
        }
    }

    /// Refuses tensors that are neither A nor B.
    fn refuse_tensor(&mut self, name: Option<&str>, why: &str) {
        if let Some(name) = name {
            self.refuse_if(true, format!("tensor {name} {why}"), MERGE_WITH_PEFT);
        }
    }
}

#[cfg(test)]
mod tests;

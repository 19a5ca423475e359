//! Owns the words that other programs have for our keys and sections: axolotl, LLaMA-Factory, TRL, PEFT, transformers,
//! unsloth, mlx-lm and torchtune. A word that means something else there than the key does here carries a note.
//! Knows nothing about what a value may be.

use super::schema::path;

/// A word of another program, and the key that it is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Synonym {
    /// The word, alone or with our section where it is a key of another one.
    word: &'static str,
    /// The path of our key.
    pub(super) key: &'static str,
    /// What differs; empty where nothing does.
    note: &'static str,
}

const fn same(word: &'static str, key: &'static str) -> Synonym {
    Synonym { word, key, note: "" }
}

const fn other(word: &'static str, key: &'static str, note: &'static str) -> Synonym {
    Synonym { word, key, note }
}

const ROWS: &str = "rows of one optimiser step, which is rows a device times accumulation steps times devices; what goes \
                    through at once is train.micro_batch_tokens";
const LENGTH: &str = "a longer row is refused and told, not cut, unless data.overflow says so";
const ALPHA: &str = "as in PEFT, the scale is lora_alpha / r";
const SCALE: &str = "the scale is lora_alpha / r, so lora_alpha is the scale times r";
const LEARNT: &str = "\"last\" learns the last answer, \"assistant\" every answer, \"all\" the whole text";
const SHARE: &str = "a share of the groups outside test, from 0 to below 1";
const BETAS: &str = "the other one is train.adam_beta2";
const RECOMPUTE: &str = "\"auto\", \"always\" or \"never\"; it changes no result";
const FORMAT: &str = "\"auto\", \"f32\", \"f16\" or \"bf16\"; the adapter and its optimiser are f32 always";
const WARMUP: &str = "a number of steps, no share; left out, it is a tenth of the run, at most 10";
const MODULES: &str = "\"all-linear\", a list of names, or a regular expression";
const ROWS_FILE: &str = "the path of JSON lines; a set with a dataset.toml is data.set";
const SET: &str = "a name under datasets/, or a folder with a dataset.toml; JSON lines of your own are data.train";
const TEMPLATE: &str =
    "a Jinja file around the last user message, whose one variable is `text`; the chat template is the model's own";
const STEPS: &str = "a number of steps";

/// Every word, one entry each.
const KEYS: &[Synonym] = &[
    same("base_model", "model.base"),
    same("base_model_name_or_path", "model.base"),
    same("model_name", "model.base"),
    same("model_name_or_path", "model.base"),
    same("pretrained_model_name_or_path", "model.base"),
    same("model_path", "model.base"),
    other("dataset", "data.set", SET),
    other("dataset_name", "data.set", SET),
    other("datasets", "data.train", ROWS_FILE),
    other("data_path", "data.train", ROWS_FILE),
    other("data_files", "data.train", ROWS_FILE),
    other("train_file", "data.train", ROWS_FILE),
    other("train_dataset", "data.train", ROWS_FILE),
    other("eval_dataset", "data.valid", "rows whose loss is watched; rows that are scored at the end are data.test"),
    other("validation_file", "data.valid", "rows whose loss is watched; rows that are scored at the end are data.test"),
    same("test_file", "data.test"),
    same("system_prompt", "data.system"),
    same("system_message", "data.system"),
    same("default_system", "data.system"),
    other("prompt_template", "data.prompt", TEMPLATE),
    other("max_seq_length", "data.max_tokens", LENGTH),
    other("max_seq_len", "data.max_tokens", LENGTH),
    other("max_length", "data.max_tokens", LENGTH),
    other("sequence_len", "data.max_tokens", LENGTH),
    other("cutoff_len", "data.max_tokens", LENGTH),
    other("model_max_length", "data.max_tokens", LENGTH),
    same("excess_length_strategy", "data.overflow"),
    same("truncation_mode", "data.overflow"),
    other("train_on_inputs", "data.train_on", LEARNT),
    other("train_on_input", "data.train_on", LEARNT),
    other("train_on_prompt", "data.train_on", LEARNT),
    other("mask_prompt", "data.train_on", LEARNT),
    other("completion_only_loss", "data.train_on", LEARNT),
    other("assistant_only_loss", "data.train_on", LEARNT),
    other("val_set_size", "data.valid_fraction", SHARE),
    other("val_size", "data.valid_fraction", SHARE),
    other("validation_split", "data.valid_fraction", SHARE),
    same("max_samples", "data.limit_train"),
    same("max_train_samples", "data.limit_train"),
    same("lora_r", "lora.r"),
    same("lora_rank", "lora.r"),
    same("rank", "lora.r"),
    other("lora.alpha", "lora.lora_alpha", ALPHA),
    other("scale", "lora.lora_alpha", SCALE),
    other("scaling", "lora.lora_alpha", SCALE),
    other("lora_scale", "lora.lora_alpha", SCALE),
    same("dropout", "lora.lora_dropout"),
    other("lora_target", "lora.target_modules", MODULES),
    other("lora_target_modules", "lora.target_modules", MODULES),
    other("lora_target_linear", "lora.target_modules", MODULES),
    other("lora_attn_modules", "lora.target_modules", MODULES),
    same("peft_use_rslora", "lora.use_rslora"),
    same("rslora", "lora.use_rslora"),
    same("peft_init_lora_weights", "lora.init_lora_weights"),
    same("lora_model_dir", "lora.init_adapter"),
    same("adapter_name_or_path", "lora.init_adapter"),
    same("resume_adapter_file", "lora.init_adapter"),
    same("num_train_epochs", "train.epochs"),
    same("num_epochs", "train.epochs"),
    same("iters", "train.max_steps"),
    same("num_train_steps", "train.max_steps"),
    other("batch_size", "train.rows_per_step", ROWS),
    other("micro_batch_size", "train.rows_per_step", ROWS),
    other("train_batch_size", "train.rows_per_step", ROWS),
    other("per_device_train_batch_size", "train.rows_per_step", ROWS),
    other("gradient_accumulation_steps", "train.rows_per_step", ROWS),
    other("grad_accumulation_steps", "train.rows_per_step", ROWS),
    same("lr", "train.learning_rate"),
    same("lr_scheduler", "train.schedule"),
    same("lr_scheduler_type", "train.schedule"),
    same("lr_schedule", "train.schedule"),
    other("warmup", "train.warmup_steps", WARMUP),
    other("warmup_ratio", "train.warmup_steps", WARMUP),
    other("num_warmup_steps", "train.warmup_steps", WARMUP),
    other("min_lr", "train.min_learning_rate_share", "a share of the peak, no rate"),
    same("min_lr_ratio", "train.min_learning_rate_share"),
    same("cosine_min_lr_ratio", "train.min_learning_rate_share"),
    other("betas", "train.adam_beta1", BETAS),
    other("beta1", "train.adam_beta1", BETAS),
    same("beta2", "train.adam_beta2"),
    same("eps", "train.adam_epsilon"),
    same("adam_eps", "train.adam_epsilon"),
    same("max_norm", "train.max_grad_norm"),
    same("clip_grad_norm", "train.max_grad_norm"),
    same("gradient_clipping", "train.max_grad_norm"),
    same("random_state", "train.seed"),
    same("random_seed", "train.seed"),
    other("gradient_checkpointing", "train.recompute", RECOMPUTE),
    other("use_gradient_checkpointing", "train.recompute", RECOMPUTE),
    other("grad_checkpoint", "train.recompute", RECOMPUTE),
    other("enable_activation_checkpointing", "train.recompute", RECOMPUTE),
    same("save_steps", "train.save_every_steps"),
    same("save_every", "train.save_every_steps"),
    other("saves_per_epoch", "train.save_every_steps", STEPS),
    same("save_total_limit", "train.keep_checkpoints"),
    same("eval_steps", "train.valid_every_steps"),
    same("steps_per_eval", "train.valid_every_steps"),
    other("evals_per_epoch", "train.valid_every_steps", STEPS),
    same("logging_steps", "train.log_every_steps"),
    same("steps_per_report", "train.log_every_steps"),
    same("log_every_n_steps", "train.log_every_steps"),
    other("per_device_eval_batch_size", "eval.batch_rows", "rows that are asked at once at the end"),
    other("eval_batch_size", "eval.batch_rows", "rows that are asked at once at the end"),
    same("max_completion_tokens", "eval.max_new_tokens"),
    same("eval_max_new_tokens", "eval.max_new_tokens"),
    other("bf16", "device.precision", FORMAT),
    other("fp16", "device.precision", FORMAT),
    other("dtype", "device.precision", FORMAT),
    other("torch_dtype", "device.precision", FORMAT),
    other("mixed_precision", "device.precision", FORMAT),
    other("output_dir", "output.dir", "the folder of all runs; the run's own is named by `name`"),
    same("run_name", "name"),
    same("experiment_name", "name"),
];

const ONE_BASE: &str = "the base is held as device.precision says, not in four or eight bits: leave it out";
const ONE_DEVICE: &str = "a run is of one device, device.name: leave it out";
const ATTENTION: &str = "the device decides how attention is computed: leave it out";
const PACKED: &str = "rows are packed always, and none sees another: leave it out";
const RECORD: &str = "each step of a run is in its events.jsonl, and nothing is sent elsewhere: leave it out";
const ADAPTED: &str = "the matrices of lora.target_modules are adapted and nothing else is trained: leave it out";

/// Words of other programs for what is not here, each with what is instead: a key of ours with nearly the same letters
/// means something else.
const NOT_HERE: &[(&str, &str)] = &[
    ("attn_implementation", ATTENTION),
    ("bias", ADAPTED),
    ("bnb_4bit_compute_dtype", ONE_BASE),
    ("bnb_4bit_quant_type", ONE_BASE),
    ("chat_template", "the chat template is the model's own, chat_template.jinja beside it: leave it out"),
    ("deepspeed", ONE_DEVICE),
    ("flash_attention", ATTENTION),
    ("flash_attn", ATTENTION),
    ("fsdp", ONE_DEVICE),
    ("group_by_length", PACKED),
    ("hub_model_id", "trainer publish RUN --repo OWNER/NAME publishes a run: leave it out"),
    ("load_in_4bit", ONE_BASE),
    ("load_in_8bit", ONE_BASE),
    ("lora_bias", ADAPTED),
    ("lora_modules_to_save", ADAPTED),
    ("loraplus_lr_ratio", "both matrices of an adapter have one rate, train.learning_rate: leave it out"),
    ("modules_to_save", ADAPTED),
    ("neftune_noise_alpha", "no noise is added to the embeddings: leave it out"),
    ("packing", PACKED),
    ("peft_use_dora", "DoRA is not computed here, lora.use_rslora is something else: leave it out"),
    ("push_to_hub", "trainer publish RUN --repo OWNER/NAME publishes a run: leave it out"),
    ("quantization", ONE_BASE),
    ("quantization_bit", ONE_BASE),
    ("report_to", RECORD),
    ("resume_from_checkpoint", "trainer fit CONFIG --resume goes on with a run: leave it out"),
    ("sample_packing", PACKED),
    ("task_type", "a base writes text and is trained to: leave it out"),
    ("use_dora", "DoRA is not computed here, lora.use_rslora is something else: leave it out"),
    ("wandb_project", RECORD),
];

/// Sections of other programs, and ours.
const SECTIONS: &[(&str, &str)] = &[
    ("adapter", "lora"),
    ("dataset", "data"),
    ("datasets", "data"),
    ("evaluation", "eval"),
    ("hardware", "device"),
    ("lora_config", "lora"),
    ("lora_parameters", "lora"),
    ("lr_scheduler", "train"),
    ("optim", "train"),
    ("optimizer", "train"),
    ("peft", "lora"),
    ("peft_config", "lora"),
    ("scheduler", "train"),
    ("trainer", "train"),
    ("training", "train"),
];

impl Synonym {
    /// What to type instead.
    pub(super) fn hint(self) -> String {
        let colon = if self.note.is_empty() { "" } else { ": " };
        format!("here it is `{}`{colon}{}", self.key, self.note)
    }
}

/// The key that a word of another program means.
pub(super) fn of_key(section: &str, name: &str) -> Option<Synonym> {
    let (alone, whole) = (plain(name)?, plain(&path(section, name)));
    KEYS.iter().copied().find(|one| Some(one.word) == whole.as_deref() || one.word == alone)
}

/// What is instead of a key of another program for something that is not here.
pub(super) fn not_here(name: &str) -> Option<&'static str> {
    let name = plain(name)?;
    NOT_HERE.iter().find(|(word, _)| *word == name).map(|(_, hint)| *hint)
}

/// The section that one of another program is here.
pub(super) fn of_section(name: &str) -> Option<&'static str> {
    let name = plain(name)?;
    SECTIONS.iter().find(|(word, _)| *word == name).map(|(_, section)| *section)
}

/// As the tables write it; none for what is longer than any word of them.
fn plain(name: &str) -> Option<String> {
    (name.len() < 64).then(|| name.to_lowercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::schema;
    use super::*;

    #[test]
    fn every_target_is_a_key_and_no_synonym_is_one() {
        let words: BTreeSet<&str> = KEYS.iter().map(|one| one.word).collect();
        assert_eq!(words.len(), KEYS.len(), "a word stands twice");
        assert!(KEYS.len() >= 40);
        for Synonym { word, key, .. } in KEYS.iter().copied() {
            assert!(schema::Key::find(key).is_some(), "{key} is no key");
            let is_ours = |known: &schema::Key| known.path() == word || known.field.name == word;
            assert!(!schema::KEYS.iter().any(is_ours), "{word} is a key of ours");
            assert_eq!(plain(word).as_deref(), Some(word));
        }
        for (word, hint) in NOT_HERE {
            assert!(!words.contains(word) && !schema::KEYS.iter().any(|known| known.field.name == *word), "{word}");
            assert_eq!(not_here(&word.to_uppercase()), Some(*hint));
            // What a hint names is a key.
            let named = hint.split([' ', ',', ':']).filter(|part| part.contains('.') && !part.contains(".j"));
            named.for_each(|key| assert!(schema::Key::find(key).is_some(), "{word}: {key}"));
        }
        assert!(NOT_HERE.is_sorted_by(|one, next| one.0 < next.0));
        for (word, section) in SECTIONS {
            assert!(schema::SECTIONS.contains(section) && !schema::SECTIONS.contains(word), "{word} {section}");
        }
    }

    #[test]
    fn a_word_with_a_section_is_meant_there_alone() {
        assert_eq!(of_key("lora", "alpha").map(|one| one.key), Some("lora.lora_alpha"));
        assert_eq!(of_key("train", "alpha"), None);
        assert_eq!(of_key("", "LR").map(|one| one.key), Some("train.learning_rate"));
        assert_eq!(of_key("train", "learning_rte"), None);
        assert_eq!(of_key("train", &"l".repeat(1 << 20)), None);
    }
}

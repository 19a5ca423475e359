//! Owns the config file as it is typed: one struct per section, one doc comment per key, all defaults in one place.
//! Knows nothing about what the values mean together; `plan` does.

use std::path::PathBuf;

use eval::egress::Egress;
use eval::scorer::ScorerOptions;
use model::lora::TargetModules;
use serde::{Deserialize, Serialize};

use super::arm::RawArm;
use super::decision::{RawCost, RawDecision, RawRedact};

/// The version of the format this program reads and no other.
pub const VERSION: u32 = 1;

/// A whole config file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// Version of this format.
    pub version: u32,
    /// Name of the run, and of its folder.
    pub name: String,
    /// What is trained.
    pub model: RawModel,
    /// What it is trained on.
    pub data: RawData,
    /// The adapter, by PEFT's names.
    pub lora: RawLora,
    /// The loop and the optimiser.
    pub train: RawTrain,
    /// The evaluation at the end.
    pub eval: RawEval,
    /// What is decided before the first answer is seen.
    pub decision: RawDecision,
    /// What things cost.
    pub cost: RawCost,
    /// What must not leave this machine.
    pub redact: RawRedact,
    /// Where it runs.
    pub device: RawDevice,
    /// Where results go.
    pub output: RawOutput,
}

/// `[model]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawModel {
    /// A name under `configs/models/`, a checkpoint folder or a `.gguf` file.
    pub base: String,
}

/// `[data]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawData {
    /// A name under `datasets/`, or a folder with a `dataset.toml`. Instead of `train`.
    pub set: Option<String>,
    /// JSON lines to learn from, relative to the config file. Instead of `set`.
    pub train: Option<PathBuf>,
    /// JSON lines to validate on. Needs `train` and `test`.
    pub valid: Option<PathBuf>,
    /// Held-out JSON lines, only scored. Without it `train` is split by group.
    pub test: Option<PathBuf>,
    /// A system message for rows that have none.
    pub system: Option<String>,
    /// A template around the last user message, relative to the config file; its variable is `text`.
    pub prompt: Option<PathBuf>,
    /// The longest row in tokens.
    pub max_tokens: usize,
    /// What happens to a longer row: `refuse`, `truncate-left` or `truncate-right`.
    pub overflow: Overflow,
    /// Which tokens are learnt: those of the `last` answer, of every `assistant` turn, or `all`.
    pub train_on: TrainOn,
    /// Share of the groups outside test that is used for validation.
    pub valid_fraction: Option<f64>,
    /// One group in this many is held out.
    pub split_modulus: Option<u64>,
    /// Which residue class of the group's hash is held out.
    pub split_remainder: Option<u64>,
    /// How near duplicates between splits are found: `none`, `minhash`, `tfidf-cosine` or `both`.
    pub near_duplicates: Option<datasets::overlap::Near>,
    /// Near by MinHash: at least this similarity of word five-grams.
    pub jaccard: Option<f64>,
    /// Near by TF-IDF: a cosine above this.
    pub cosine: Option<f64>,
    /// At most this many training rows, the first of a seeded shuffle.
    pub limit_train: Option<usize>,
    /// At most this many validation rows.
    pub limit_valid: Option<usize>,
    /// At most this many held-out rows.
    pub limit_test: Option<usize>,
}

/// `[lora]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLora {
    /// Rank.
    pub r: usize,
    /// Numerator of the scale.
    pub lora_alpha: f64,
    /// Dropout on the adapter's input.
    pub lora_dropout: f64,
    /// `all-linear`, a list of module names, or a regular expression over module paths.
    pub target_modules: TargetModules,
    /// Scale by `lora_alpha / sqrt(r)` instead of `lora_alpha / r`.
    pub use_rslora: bool,
    /// `true` as PyTorch starts a linear layer, or `gaussian`.
    pub init_lora_weights: InitWeights,
    /// An adapter to start from instead: a run, an adapter folder, or `owner/name` on the hub. Rank, alpha and modules are
    /// those above, and must be its own.
    pub init_adapter: Option<String>,
}

/// `[train]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTrain {
    /// How often the training rows are passed, in full or in part.
    pub epochs: f64,
    /// Stop after this many steps, if the epochs have not ended before.
    pub max_steps: Option<u64>,
    /// Rows of one optimiser step.
    pub rows_per_step: usize,
    /// Most tokens that go through the model at once.
    pub micro_batch_tokens: usize,
    /// Learning rate at its peak.
    pub learning_rate: f64,
    /// How the learning rate falls: `linear`, `cosine` or `constant`.
    pub schedule: Decay,
    /// Steps over which the learning rate rises.
    pub warmup_steps: u64,
    /// Where the fall ends, as a share of the peak.
    pub min_learning_rate_share: f64,
    /// Decay of the first moment.
    pub adam_beta1: f64,
    /// Decay of the second moment.
    pub adam_beta2: f64,
    /// Added to the root of the second moment.
    pub adam_epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest global norm of a gradient.
    pub max_grad_norm: f64,
    /// Seed of everything random.
    pub seed: u64,
    /// Whether layers are computed twice to save memory: `auto` as few as must be, `never` or `always`.
    pub recompute: Recompute,
    /// Steps between checkpoints.
    pub save_every_steps: u64,
    /// Checkpoints that are kept.
    pub keep_checkpoints: usize,
    /// Steps between validations; 0 validates only at the end.
    pub valid_every_steps: u64,
    /// Steps between progress lines.
    pub log_every_steps: u64,
}

/// `[eval]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawEval {
    /// Whether a run ends with an evaluation.
    pub enabled: bool,
    /// Longest answer in tokens.
    pub max_new_tokens: usize,
    /// Rows asked at once.
    pub batch_rows: usize,
    /// Closed list of answers; without it that of the set's manifest.
    pub labels: Option<Vec<String>>,
    /// Who answers; without any: `majority`, `tfidf` (`nearest` without labels), `base` and `tuned`.
    pub arm: Vec<RawArm>,
    /// At most this many held-out rows are scored.
    pub limit: Option<usize>,
    /// What judges each answer; without any: exact match, and with labels the label and its likelihood.
    pub scorer: Vec<ScorerOptions>,
    /// How far a prompt may travel: `none`, `loopback`, `private` or `public`.
    pub egress: Egress,
    /// Hosts of your own network, by name; one that begins with a dot means all names below it.
    pub private_hosts: Vec<String>,
}

/// `[device]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawDevice {
    /// `auto`, `cpu`, `cuda`, `cuda:N`, `vulkan`, `vulkan:N`, `metal` or `metal:N`.
    pub name: String,
    /// The number format of weights and activations on it: `auto` what is fast there, `f32`, `f16` or `bf16`.
    pub precision: Stored,
}

/// `[output]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawOutput {
    /// The folder of all runs, relative to the current folder.
    pub dir: PathBuf,
}

/// What happens to a row above `max_tokens`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// It is left out and counted.
    Refuse,
    /// Its start is cut off and counted.
    TruncateLeft,
    /// Its end is cut off and counted.
    TruncateRight,
}

/// Which tokens are learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainOn {
    /// The last assistant turn.
    Last,
    /// Every assistant turn.
    Assistant,
    /// Everything but the first token.
    All,
}

/// How the learning rate falls after its peak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// In a straight line.
    Linear,
    /// Along half a cosine.
    Cosine,
    /// Not at all.
    Constant,
}

/// Whether layers are computed twice to save memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recompute {
    /// As few as the memory of the device asks for; none where that is not known.
    Auto,
    /// None.
    Never,
    /// All.
    Always,
}

/// The number format of weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stored {
    /// What is fast on the device.
    Auto,
    /// Four bytes.
    F32,
    /// Half precision.
    F16,
    /// Two bytes with the range of f32.
    Bf16,
}

/// PEFT's `init_lora_weights`: a flag or a word.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum InitWeights {
    /// `true`.
    Flag(bool),
    /// `gaussian`.
    Named(String),
}

impl Default for RawConfig {
    /// What a key that is left out means. `name`, `model.base` and the data have no default.
    fn default() -> Self {
        RawConfig {
            version: VERSION,
            name: String::new(),
            model: RawModel { base: String::new() },
            data: RawData {
                set: None,
                train: None,
                valid: None,
                test: None,
                system: None,
                prompt: None,
                max_tokens: 512,
                overflow: Overflow::Refuse,
                train_on: TrainOn::Last,
                valid_fraction: None,
                split_modulus: None,
                split_remainder: None,
                near_duplicates: None,
                jaccard: None,
                cosine: None,
                limit_train: None,
                limit_valid: None,
                limit_test: None,
            },
            lora: RawLora {
                r: 16,
                lora_alpha: 32.0,
                lora_dropout: 0.0,
                target_modules: TargetModules::Pattern("all-linear".to_owned()),
                use_rslora: false,
                init_lora_weights: InitWeights::Flag(true),
                init_adapter: None,
            },
            train: RawTrain {
                epochs: 1.0,
                max_steps: None,
                rows_per_step: 16,
                micro_batch_tokens: 4096,
                learning_rate: 1e-3,
                schedule: Decay::Linear,
                warmup_steps: 10,
                min_learning_rate_share: 0.0,
                adam_beta1: 0.9,
                adam_beta2: 0.999,
                adam_epsilon: 1e-8,
                weight_decay: 0.0,
                max_grad_norm: 1.0,
                seed: 0,
                recompute: Recompute::Auto,
                save_every_steps: 50,
                keep_checkpoints: 2,
                valid_every_steps: 0,
                log_every_steps: 1,
            },
            eval: RawEval {
                enabled: true,
                max_new_tokens: 16,
                batch_rows: 16,
                labels: None,
                arm: Vec::new(),
                limit: None,
                scorer: Vec::new(),
                egress: Egress::None,
                private_hosts: Vec::new(),
            },
            decision: RawDecision::default(),
            cost: RawCost::default(),
            redact: RawRedact::default(),
            device: RawDevice { name: "auto".to_owned(), precision: Stored::Auto },
            output: RawOutput { dir: PathBuf::from("runs") },
        }
    }
}

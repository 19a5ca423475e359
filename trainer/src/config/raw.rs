//! Owns the config file as it is typed: one struct per section, and of every key its doc comment, its range and its
//! default. `schema` reads all of them; there is no other list of keys.
//! Knows nothing about what the values mean together; `plan` does.

use std::collections::BTreeMap;
use std::path::PathBuf;

use eval::egress::Egress;
use eval::scorer::ScorerOptions;
use model::lora::TargetModules;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::arm::RawArm;
pub use super::choices::{Decay, InitWeights, Overflow, Recompute, Stored, TrainOn, Variable};
use super::decision::{RawCost, RawDecision, RawRedact};
use super::limits::{MOST_NEW_TOKENS, MOST_ROWS, MOST_STEPS, MOST_TABLES, MOST_TOKENS};

/// The version of the format this program reads and no other.
pub const VERSION: u32 = 1;

/// A whole config file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawConfig {
    /// The version of this format.
    #[schemars(range(min = 1, max = VERSION), extend("x-default" = "needed"))]
    pub version: u32,
    /// Name of the run and of its folder.
    #[schemars(length(max = 200), extend("x-default" = "needed"))]
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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawModel {
    /// A name under `models/` or `configs/models/` beside the config, or one of those here; a checkpoint folder or a `.gguf`
    /// file; with a `/` in it, it is a path.
    #[schemars(extend("x-default" = "needed"))]
    pub base: String,
    /// Variables that the chat template reads, such as `{ enable_thinking = false }`: yes or no, a number or a text each.
    #[schemars(schema_with = "variables", extend("x-default" = "none"))]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub template: BTreeMap<String, Variable>,
}

/// `[data]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawData {
    /// A name under `datasets/`, or a folder with a `dataset.toml`; instead of `train`.
    pub set: Option<String>,
    /// JSON lines to learn from; instead of `set`; split by group unless `test` is given.
    pub train: Option<PathBuf>,
    /// JSON lines to validate on; needs `test`.
    pub valid: Option<PathBuf>,
    /// Held-out JSON lines, only scored.
    pub test: Option<PathBuf>,
    /// A system message for rows that have none.
    pub system: Option<String>,
    /// A Jinja file around the last user message; its variable is `text`.
    pub prompt: Option<PathBuf>,
    /// The longest row in tokens.
    #[schemars(range(min = 1, max = MOST_TOKENS))]
    pub max_tokens: usize,
    /// What happens to a longer row.
    pub overflow: Overflow,
    /// Where the chat template's prompt opens a think block: learn answers without reasoning with the block closed at once.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(extend("x-default" = "`false`"))]
    pub close_think_block: bool,
    /// Which tokens are learnt.
    pub train_on: TrainOn,
    /// Share of the groups outside test that is used for validation.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1, "x-default" = "the set's, else 0"))]
    pub valid_fraction: Option<f64>,
    /// One group in this many is held out.
    #[schemars(range(min = 2, max = MOST_ROWS), extend("x-default" = "the set's, else 5"))]
    pub split_modulus: Option<u64>,
    /// Which class of the group's hash is held out.
    #[schemars(range(max = MOST_ROWS), extend("x-default" = "the set's, else 0"))]
    pub split_remainder: Option<u64>,
    /// How near duplicates between splits are found; exact duplicates are always dropped from held-out rows.
    #[schemars(extend("x-default" = "the set's, else `\"minhash\"`"))]
    pub near_duplicates: Option<datasets::overlap::Near>,
    /// Near by MinHash from this similarity of word five-grams.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0, "x-default" = "the set's, else 0.8"))]
    pub jaccard: Option<f64>,
    /// Near by TF-IDF above this cosine.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0, "x-default" = "the set's, else 0.9"))]
    pub cosine: Option<f64>,
    /// At most this many training rows, the first of a seeded shuffle.
    #[schemars(range(min = 1, max = MOST_ROWS), extend("x-default" = "all rows"))]
    pub limit_train: Option<usize>,
    /// At most this many validation rows, the first of a seeded shuffle.
    #[schemars(range(min = 1, max = MOST_ROWS), extend("x-default" = "all rows"))]
    pub limit_valid: Option<usize>,
    /// At most this many held-out rows, the first of a seeded shuffle.
    #[schemars(range(min = 1, max = MOST_ROWS), extend("x-default" = "all rows"))]
    pub limit_test: Option<usize>,
}

/// `[lora]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawLora {
    /// Rank.
    #[schemars(range(min = 1, max = 4096))]
    pub r: usize,
    /// Numerator of the scale.
    #[schemars(range(max = 1e6), extend("exclusiveMinimum" = 0))]
    pub lora_alpha: f64,
    /// Dropout on the adapter's input.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub lora_dropout: f64,
    /// `"all-linear"`, a regular expression over module paths, or a list of module names.
    #[schemars(schema_with = "text_or_texts")]
    pub target_modules: TargetModules,
    /// Scale by `lora_alpha / sqrt(r)` instead of `lora_alpha / r`.
    pub use_rslora: bool,
    /// `true` as PyTorch starts a linear layer, or `"gaussian"`.
    pub init_lora_weights: InitWeights,
    /// An adapter to start from: a run, an adapter folder, or `owner/name` on the hub; its rank, alpha and modules must be
    /// those above.
    pub init_adapter: Option<String>,
}

/// `[train]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawTrain {
    /// Passes over the training rows, fractions allowed.
    #[schemars(range(max = 10_000), extend("exclusiveMinimum" = 0))]
    pub epochs: f64,
    /// Stop after this many steps, if the epochs have not ended before.
    #[schemars(range(min = 1, max = MOST_STEPS))]
    pub max_steps: Option<u64>,
    /// Rows of one optimiser step.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub rows_per_step: usize,
    /// Most tokens that go through the model at once; at least `data.max_tokens`.
    #[schemars(range(min = 1, max = MOST_TOKENS))]
    pub micro_batch_tokens: usize,
    /// Learning rate at its peak.
    #[schemars(range(max = 10), extend("exclusiveMinimum" = 0))]
    pub learning_rate: f64,
    /// How the learning rate falls.
    pub schedule: Decay,
    /// Steps over which the learning rate rises; fewer than the run has.
    #[schemars(range(max = MOST_STEPS), extend("x-default" = "a tenth of the run, at most 10"))]
    pub warmup_steps: Option<u64>,
    /// Where the fall ends, as a share of the peak.
    #[schemars(range(min = 0, max = 1))]
    pub min_learning_rate_share: f64,
    /// Decay of the first moment of AdamW.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub adam_beta1: f64,
    /// Decay of the second moment of AdamW.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub adam_beta2: f64,
    /// Added to the root of the second moment of AdamW.
    #[schemars(range(min = 1e-30, max = 1))]
    pub adam_epsilon: f64,
    /// Decoupled weight decay.
    #[schemars(range(min = 0, max = 1000))]
    pub weight_decay: f64,
    /// Largest global norm of a gradient.
    #[schemars(range(max = 1e30), extend("exclusiveMinimum" = 0))]
    pub max_grad_norm: f64,
    /// Seed of everything random.
    pub seed: u64,
    /// Whether layers are computed twice to save memory; it changes no result.
    pub recompute: Recompute,
    /// Steps between checkpoints.
    #[schemars(range(min = 1, max = MOST_STEPS))]
    pub save_every_steps: u64,
    /// How many checkpoints are kept.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub keep_checkpoints: usize,
    /// Steps between validations; 0 validates only at the end.
    #[schemars(range(max = MOST_STEPS))]
    pub valid_every_steps: u64,
    /// Steps between progress lines.
    #[schemars(range(min = 1, max = MOST_STEPS))]
    pub log_every_steps: u64,
}

/// `[eval]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawEval {
    /// Whether a run ends with an evaluation.
    pub enabled: bool,
    /// Longest answer in tokens; thoughts of a hosted model count.
    #[schemars(range(min = 1, max = MOST_NEW_TOKENS))]
    pub max_new_tokens: usize,
    /// Rows a local model is asked at once.
    #[schemars(range(min = 1, max = 65_536))]
    pub batch_rows: usize,
    /// Closed list of answers.
    #[schemars(length(max = 100_000), extend("x-default" = "the set's"))]
    pub labels: Option<Vec<String>>,
    /// Who answers, see [arms](#arms).
    #[schemars(length(max = MOST_TABLES), extend("x-default" = "majority, `tfidf` (`nearest` without labels), base, tuned"))]
    pub arm: Vec<RawArm>,
    /// Whether `majority` and `tfidf` (`nearest` without labels) stand beside the arms that are named.
    pub baselines: bool,
    /// At most this many held-out rows are scored, a seeded sample; a sample gives no verdict.
    #[schemars(range(min = 1, max = MOST_ROWS), extend("x-default" = "all rows"))]
    pub limit: Option<usize>,
    /// What judges an answer, see [scorers](#scorers-and-metrics).
    #[schemars(
        length(max = MOST_TABLES),
        extend("x-default" = "exact match; with labels also the label and its likelihood")
    )]
    pub scorer: Vec<ScorerOptions>,
    /// How far a prompt may travel, see [egress](#egress-and-redaction).
    pub egress: Egress,
    /// Hosts of your own network by name or number; one that begins with a dot means all names below it.
    pub private_hosts: Vec<String>,
}

/// `[device]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawDevice {
    /// `"auto"`, `"cpu"`, `"cuda"`, `"cuda:N"`, `"vulkan"`, `"vulkan:N"`, `"metal"` or `"metal:N"`, see [devices](#devices).
    pub name: String,
    /// The number format of weights and activations.
    pub precision: Stored,
}

/// `[output]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawOutput {
    /// The folder of all runs, relative to the current folder.
    pub dir: PathBuf,
}

fn variables(_: &mut SchemaGenerator) -> Schema {
    let kinds = json_schema!({ "anyOf": [
        { "type": "boolean" }, { "type": "integer", "minimum": 0, "maximum": 1_000_000_000 },
        { "type": "string", "maxLength": 1000 },
    ] });
    json_schema!({ "type": "object", "additionalProperties": kinds, "maxProperties": 32 })
}

fn text_or_texts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
}

impl Default for RawConfig {
    /// What a key that is left out means. `name`, `model.base` and the data have no default.
    fn default() -> Self {
        RawConfig {
            version: VERSION,
            name: String::new(),
            model: RawModel::default(),
            data: RawData::default(),
            lora: RawLora::default(),
            train: RawTrain::default(),
            eval: RawEval::default(),
            decision: RawDecision::default(),
            cost: RawCost::default(),
            redact: RawRedact::default(),
            device: RawDevice::default(),
            output: RawOutput::default(),
        }
    }
}

impl Default for RawData {
    fn default() -> Self {
        RawData {
            set: None,
            train: None,
            valid: None,
            test: None,
            system: None,
            prompt: None,
            max_tokens: 512,
            overflow: Overflow::Refuse,
            close_think_block: false,
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
        }
    }
}

impl Default for RawLora {
    fn default() -> Self {
        RawLora {
            r: 16,
            lora_alpha: 32.0,
            lora_dropout: 0.0,
            target_modules: TargetModules::Pattern("all-linear".to_owned()),
            use_rslora: false,
            init_lora_weights: InitWeights::Flag(true),
            init_adapter: None,
        }
    }
}

impl Default for RawTrain {
    fn default() -> Self {
        RawTrain {
            epochs: 1.0,
            max_steps: None,
            rows_per_step: 16,
            micro_batch_tokens: 4096,
            learning_rate: 1e-3,
            schedule: Decay::Linear,
            warmup_steps: None,
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
        }
    }
}

impl Default for RawEval {
    fn default() -> Self {
        RawEval {
            enabled: true,
            max_new_tokens: 16,
            batch_rows: 16,
            labels: None,
            arm: Vec::new(),
            baselines: true,
            limit: None,
            scorer: Vec::new(),
            egress: Egress::None,
            private_hosts: Vec::new(),
        }
    }
}

impl Default for RawDevice {
    fn default() -> Self {
        RawDevice { name: "auto".to_owned(), precision: Stored::Auto }
    }
}

impl Default for RawOutput {
    fn default() -> Self {
        RawOutput { dir: PathBuf::from("runs") }
    }
}

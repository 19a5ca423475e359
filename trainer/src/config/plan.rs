//! Owns what the program needs from a config: every path absolute, every word a type, nothing left to contradict.
//! Knows nothing about rows, weights or a run; it only looks at which files exist and reads the prompt.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use eval::scorer::ScorerOptions;
use model::device::Format;
use model::engine::TrainingShape;
use model::lora::{InitLoraWeights, LoraConfig};
use model::train::AdamWConfig;
use model::{DeviceChoice, Precision};
use toml::{Table, Value};

use super::decision::{RawCost, RawDecision, RawRedact};
use super::raw::{InitWeights, RawConfig, RawData, RawEval, RawTrain, Recompute, Stored, Variable};
use super::validate::{self, Contradiction};

/// A config that was checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// Name of the run.
    pub name: String,
    /// The base model.
    pub base: Base,
    /// Variables of the chat template.
    pub template: BTreeMap<String, Variable>,
    /// Where the rows are.
    pub source: Source,
    /// How rows become samples. Paths are absolute.
    pub data: RawData,
    /// The template around the last user message.
    pub prompt: Option<Prompt>,
    /// The adapter.
    pub lora: LoraConfig,
    /// The adapter that training starts from: an absolute path, or `owner/name` on the hub.
    pub init_adapter: Option<String>,
    /// The loop and the optimiser.
    pub train: RawTrain,
    /// The evaluation at the end.
    pub eval: RawEval,
    /// What is decided before the first answer is seen.
    pub decision: RawDecision,
    /// What things cost. Paths are absolute.
    pub cost: RawCost,
    /// What must not leave this machine. Paths are absolute.
    pub redact: RawRedact,
    /// Where it runs.
    pub device: DeviceChoice,
    /// The number format of weights and activations there.
    pub precision: Precision,
    /// The folder of this run.
    pub run_folder: PathBuf,
    /// Where names are looked up.
    pub roots: Roots,
    resolved: RawConfig,
}

/// A base model as the config names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// A file under `configs/models/`.
    Name(String),
    /// A checkpoint folder or a `.gguf` file.
    Path(PathBuf),
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Base::Name(name) => f.write_str(name),
            Base::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Where the rows are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A name under `datasets/`, or the absolute path of a folder with a `dataset.toml`.
    Set(String),
    /// Files of the user.
    Files {
        /// Rows to learn from; divided by group if there is no `test`.
        train: PathBuf,
        /// Rows to validate on.
        valid: Option<PathBuf>,
        /// Held-out rows.
        test: Option<PathBuf>,
    },
}

/// A prompt template that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Its file.
    pub path: PathBuf,
    /// Its text.
    pub template: String,
}

/// Where names of models and sets are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// The folder with `models/`.
    pub configs: PathBuf,
    /// The folder of the sets.
    pub datasets: PathBuf,
}

impl Roots {
    /// Beside a config: `models/` or `configs/models/` in its folder, and `datasets/` there, beside a folder `configs`, or
    /// where the command runs. Nothing further above is looked at: a folder that others may write into, such as one of
    /// temporary files, must not say where the models of everybody below it come from.
    ///
    /// What lies beside the config of a run came with the run, so its names mean what they mean where the command runs.
    #[must_use]
    pub fn of(file: &Path) -> Roots {
        let here = absolute(Path::new(""), Path::new("."));
        let file = absolute(Path::new(""), file);
        let folder = file.parent().unwrap_or(&here);
        if is_of_a_run(&file) {
            return Roots { configs: here.join("configs"), datasets: here.join("datasets") };
        }
        let beside = [folder.to_path_buf(), folder.join("configs")];
        let configs = beside.into_iter().find(|configs| configs.join("models").is_dir());
        let of_configs = folder.parent().filter(|_| folder.ends_with("configs")).map(|home| home.join("datasets"));
        let sets = [Some(folder.join("datasets")), of_configs].into_iter().flatten().find(|sets| sets.is_dir());
        Roots {
            configs: configs.unwrap_or_else(|| folder.to_path_buf()),
            datasets: sets.unwrap_or_else(|| here.join("datasets")),
        }
    }
}

/// Whether a config is the one that a run wrote down.
fn is_of_a_run(file: &Path) -> bool {
    let beside = |name: &str| file.with_file_name(name).exists();
    file.ends_with("config.toml") && ["events.jsonl", "summary.json", "adapter", "checkpoints"].into_iter().any(beside)
}

/// What a config is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A run or an evaluation, which needs every file that it names.
    ToRun,
    /// What a run that is over was made of.
    RunIsOver,
}

/// Keys that name a file which nobody needs once the run is over.
const NEEDED_TO_RUN: &[&str] =
    &["model.base", "data.set", "data.train", "data.valid", "data.test", "cost.prices", "redact.kinds"];

/// The prompt template that a run was trained with, beside its config: the file that the config names may have changed since.
pub const PROMPT_OF_RUN: &str = "prompt.jinja";

/// Settings that cannot change the adapter a run ends with. Paths are among them, because what lies there has a hash
/// of its own that a resumed run compares.
const NO_PART_OF_TRAINING: &[&str] = &[
    "name",
    "model.base",
    "data.set",
    "data.train",
    "data.valid",
    "data.test",
    "data.limit_valid",
    "data.limit_test",
    "lora.init_adapter",
    "train.recompute",
    "train.save_every_steps",
    "train.keep_checkpoints",
    "train.valid_every_steps",
    "train.log_every_steps",
];

impl Config {
    /// Whether it renders the chat template otherwise than the template does by itself.
    #[must_use]
    pub fn sets_template(&self) -> bool {
        !self.template.is_empty() || self.data.close_think_block
    }

    /// The optimiser's settings.
    #[must_use]
    pub fn adamw(&self) -> AdamWConfig {
        AdamWConfig {
            beta_1: self.train.adam_beta1 as f32,
            beta_2: self.train.adam_beta2 as f32,
            epsilon: self.train.adam_epsilon as f32,
            weight_decay: self.train.weight_decay as f32,
            max_grad_norm: self.train.max_grad_norm as f32,
        }
    }

    /// What training on micro-batches of these sizes asks of a device.
    #[must_use]
    pub fn training_shape(&self, max_tokens: usize, max_supervised: usize) -> TrainingShape {
        let recompute = match self.train.recompute {
            Recompute::Auto => model::train::Recompute::Auto,
            Recompute::Never => model::train::Recompute::Never,
            Recompute::Always => model::train::Recompute::Always,
        };
        TrainingShape { max_tokens, max_supervised, dropout: self.lora.lora_dropout > 0.0, recompute }
    }

    /// The whole config as it was resolved, defaults written out and paths absolute. Reads back as the same config.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let text = toml::to_string(&self.resolved)?;
        Ok(format!("# As resolved from {} by trainer {}\n{text}", self.file.display(), env!("CARGO_PKG_VERSION")))
    }

    /// The same as JSON, for what is told of a run elsewhere.
    pub fn to_json(&self) -> serde_json::Result<serde_json::Value> {
        serde_json::to_value(&self.resolved)
    }

    /// How far a prompt may travel.
    #[must_use]
    pub fn egress(&self) -> eval::egress::Egress {
        self.eval.egress
    }

    /// The config file as one types it from the current folder, for commands in reports.
    #[must_use]
    pub fn file_name(&self) -> String {
        let here = std::env::current_dir().unwrap_or_default();
        self.file.strip_prefix(&here).unwrap_or(&self.file).display().to_string()
    }

    /// SHA-256 of everything that changes what is learnt; a resumed run must have the same.
    #[must_use]
    pub fn hash(&self) -> String {
        let lines: String = self.training_values().iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        datasets::digest::sha256_hex(lines.as_bytes())
    }

    /// The training settings in which another config differs, one line each.
    #[must_use]
    pub fn training_differences(&self, other: &Config) -> Vec<String> {
        let (ours, theirs) = (self.training_values(), other.training_values());
        let of = |values: &[(String, String)], key: &str| -> String {
            values.iter().find(|(known, _)| known == key).map_or("unset".to_owned(), |(_, value)| value.clone())
        };
        let mut keys: Vec<&String> = ours.iter().chain(&theirs).map(|(key, _)| key).collect();
        keys.sort();
        keys.dedup();
        keys.into_iter()
            .map(|key| (key, of(&ours, key), of(&theirs, key)))
            .filter(|(_, ours, theirs)| ours != theirs)
            .map(|(key, ours, theirs)| format!("{key} is {ours}, was {theirs}"))
            .collect()
    }

    fn training_values(&self) -> Vec<(String, String)> {
        let table = Table::try_from(&self.resolved).unwrap_or_default();
        let mut values = Vec::new();
        for section in ["model", "data", "lora", "train"] {
            for (name, value) in table.get(section).and_then(Value::as_table).into_iter().flatten() {
                values.push((format!("{section}.{name}"), value.to_string()));
            }
        }
        values.retain(|(key, _)| !NO_PART_OF_TRAINING.contains(&key.as_str()));
        for (key, value) in &mut values {
            if let ("data.prompt", Some(prompt)) = (key.as_str(), &self.prompt) {
                *value = format!("sha256 {}", datasets::digest::sha256_hex(prompt.template.as_bytes()));
            }
        }
        values
    }
}

/// Resolves a config; every contradiction in it is reported.
pub(super) fn resolve(mut raw: RawConfig, file: &Path, usage: Use) -> Result<Config, Vec<Contradiction>> {
    let file = absolute(Path::new(""), file);
    let folder = file.parent().unwrap_or(Path::new("/")).to_path_buf();
    let roots = Roots::of(&file);
    for path in
        [&mut raw.data.train, &mut raw.data.valid, &mut raw.data.test, &mut raw.data.prompt].into_iter().flatten()
    {
        *path = absolute(&folder, path);
    }
    let arms = raw.eval.arm.iter_mut().flat_map(|arm| [&mut arm.adapter, &mut arm.file]);
    for path in arms.chain([&mut raw.cost.prices, &mut raw.redact.names]).flatten() {
        *path = absolute(&folder, path);
    }
    if let Some(start) = raw.lora.init_adapter.as_mut() {
        let path = absolute(&folder, Path::new(start));
        // What is no folder here may be a repository of the hub, which has the same form.
        if path.exists() || !crate::pull::is_repository(start) {
            *start = path.display().to_string();
        }
    }
    for scorer in &mut raw.eval.scorer {
        if let ScorerOptions::JsonValid(eval::scorer::json_valid::Options { schema: Some(path), .. }) = scorer {
            *path = absolute(&folder, path);
        }
    }
    if is_path(&raw.model.base) {
        raw.model.base = absolute(&folder, Path::new(&raw.model.base)).display().to_string();
    }
    if let Some(set) = raw.data.set.as_mut().filter(|set| is_path(set)) {
        *set = absolute(&folder, Path::new(set)).display().to_string();
    }
    let kept = folder.join(PROMPT_OF_RUN);
    if is_of_a_run(&file) && raw.data.prompt.is_some() && kept.is_file() {
        raw.data.prompt = Some(kept);
    }
    let mut wrong = validate::contradictions(&raw, &roots);
    if usage == Use::RunIsOver {
        // What is said of one such key alone is said of its file; of two, that they contradict each other.
        wrong.retain(|one| !matches!(one.keys[..], [key] if NEEDED_TO_RUN.contains(&key)));
    }
    if !raw.output.dir.as_os_str().is_empty() {
        raw.output.dir = absolute(Path::new(""), &raw.output.dir);
    }
    let prompt = raw.data.prompt.clone().and_then(|path| {
        let read = validate::read_prompt(&path);
        read.map(|template| Prompt { path, template }).map_err(|one| wrong.push(one)).ok()
    });
    let source = match (&raw.data.set, &raw.data.train) {
        (Some(set), None) => Some(Source::Set(set.clone())),
        (None, Some(train)) => {
            Some(Source::Files { train: train.clone(), valid: raw.data.valid.clone(), test: raw.data.test.clone() })
        }
        // Both or none was reported above.
        _ => None,
    };
    let device = DeviceChoice::from_str(&raw.device.name)
        .map_err(|error| wrong.push(validate::device_fault(&raw.device.name, &error)));
    match (source, device) {
        (Some(source), Ok(device)) if wrong.is_empty() => Ok(Config {
            name: raw.name.clone(),
            base: match is_path(&raw.model.base) {
                true => Base::Path(PathBuf::from(&raw.model.base)),
                false => Base::Name(raw.model.base.clone()),
            },
            template: raw.model.template.clone(),
            source,
            data: raw.data.clone(),
            prompt,
            lora: lora(&raw),
            init_adapter: raw.lora.init_adapter.clone(),
            train: raw.train.clone(),
            eval: raw.eval.clone(),
            decision: raw.decision.clone(),
            cost: raw.cost.clone(),
            redact: raw.redact.clone(),
            device,
            precision: match raw.device.precision {
                Stored::Auto => Precision::Auto,
                Stored::F32 => Precision::Is(Format::F32),
                Stored::F16 => Precision::Is(Format::F16),
                Stored::Bf16 => Precision::Is(Format::Bf16),
            },
            run_folder: raw.output.dir.join(&raw.name),
            roots,
            file,
            resolved: raw,
        }),
        _ => Err(wrong),
    }
}

/// Whether the name of a model or set is meant as a path.
#[must_use]
pub(super) fn is_path(text: &str) -> bool {
    text.contains(['/', '\\']) || text.ends_with(".gguf") || matches!(text, "." | "..")
}

fn lora(raw: &RawConfig) -> LoraConfig {
    LoraConfig {
        r: raw.lora.r,
        lora_alpha: raw.lora.lora_alpha as f32,
        lora_dropout: raw.lora.lora_dropout as f32,
        target_modules: raw.lora.target_modules.clone(),
        use_rslora: raw.lora.use_rslora,
        init_lora_weights: match &raw.lora.init_lora_weights {
            InitWeights::Named(_) => InitLoraWeights::Gaussian,
            InitWeights::Flag(_) => InitLoraWeights::KaimingUniform,
        },
    }
}

/// The path from the root, with `.` and `..` taken out by name, so that a link to a file keeps the link's name.
fn absolute(folder: &Path, path: &Path) -> PathBuf {
    let joined = folder.join(path);
    let from_root = if joined.as_os_str().is_empty() { std::env::current_dir() } else { std::path::absolute(&joined) };
    // Only a vanished current folder makes this fail; the path as it was given is then the best there is.
    let from_root = from_root.unwrap_or(joined);
    let mut clean = PathBuf::new();
    for part in from_root.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn folder_with(folders: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().canonicalize().unwrap();
        folders.iter().for_each(|folder| std::fs::create_dir_all(path.join(folder)).unwrap());
        (home, path)
    }

    #[test]
    fn names_are_looked_up_beside_the_config_and_never_above_it() {
        let (_home, shared) = folder_with(&["configs/models", "datasets", "models", "me/project"]);
        let here = std::env::current_dir().unwrap();
        let roots = Roots::of(&shared.join("me/project/mine.toml"));
        assert_eq!(roots, Roots { configs: shared.join("me/project"), datasets: here.join("datasets") });
        std::fs::create_dir_all(shared.join("me/project/configs/models")).unwrap();
        assert_eq!(Roots::of(&shared.join("me/project/mine.toml")).configs, shared.join("me/project/configs"));
    }

    #[test]
    fn a_clone_and_a_folder_of_its_own_have_their_places() {
        let (_home, clone) = folder_with(&["configs/models", "datasets", "own/models", "own/datasets"]);
        let roots = Roots::of(&clone.join("configs/legal.toml"));
        assert_eq!(roots, Roots { configs: clone.join("configs"), datasets: clone.join("datasets") });
        let roots = Roots::of(&clone.join("own/mine.toml"));
        assert_eq!(roots, Roots { configs: clone.join("own"), datasets: clone.join("own/datasets") });
    }

    #[test]
    fn what_came_with_a_run_says_nothing_about_its_names() {
        let (_home, home) = folder_with(&["run/models", "run/configs/models", "run/datasets", "run/adapter"]);
        let here = std::env::current_dir().unwrap();
        let roots = Roots::of(&home.join("run/config.toml"));
        assert_eq!(roots, Roots { configs: here.join("configs"), datasets: here.join("datasets") });
    }
}
